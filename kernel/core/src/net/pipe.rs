//! A byte stream inside the kernel: one direction of an AF_UNIX stream, or of a TCP connection to ourselves.
//!
//! Bytes are copied once from the writer's memory into page frames (or, when few, into a small buffer) and once out of
//! them, both without a spinning lock; the lock is held only to queue and unqueue pieces.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use sis_machine::mm::PAGE_SIZE;
use sis_machine::mm::frames::Frame;
use sis_machine::sync::{Mutex, Rank, SpinLock};

use super::message::Ucred;
use super::passed::Passed;
use crate::poll::Events;
use crate::user::{Sink, Source};
use crate::wait::WaitQueue;
use crate::{Errno, Result};

/// Up to this many bytes are kept outside of pages.
const SMALL: usize = 512;
/// Pieces queued at once.
const BATCH: usize = 16;
/// What a piece costs besides its bytes.
const OVERHEAD: usize = 64;

/// What travels with bytes.
#[derive(Default)]
pub(crate) struct Extra {
    pub(crate) files: Passed,
    pub(crate) cred: Option<Ucred>,
}

enum Bytes {
    Small(Vec<u8>),
    Page(Frame),
}

struct Piece {
    bytes: Bytes,
    at: usize,
    end: usize,
    extra: Option<Box<Extra>>,
}

impl Piece {
    fn cost(&self) -> usize {
        OVERHEAD
            + match &self.bytes {
                Bytes::Small(v) => v.capacity(),
                Bytes::Page(_) => PAGE_SIZE,
            }
    }

    /// Copies out from `from`; answers how much.
    fn put(&self, from: usize, to: &mut Sink<'_>) -> Result<usize> {
        match &self.bytes {
            Bytes::Small(v) => to.put(v.get(from..self.end).unwrap_or_default()),
            Bytes::Page(f) => to.put_frame(f, from, self.end - from),
        }
    }
}

struct State {
    pieces: VecDeque<Piece>,
    cost: usize,
    bytes: usize,
    limit: usize,
    /// The writer has ended.
    is_ended: bool,
    /// The reader is gone or wants no more.
    is_deaf: bool,
    /// The other end went away without reading everything: the next read says so once.
    is_reset: bool,
}

/// One direction.
pub(crate) struct Pipe {
    state: SpinLock<State>,
    /// Held by the one who takes bytes out, across user copies.
    taking: Mutex<()>,
    /// Who waits for bytes.
    reader: Arc<WaitQueue>,
    /// Who waits for room.
    writer: Arc<WaitQueue>,
}

/// How a read is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taking {
    /// Leave the bytes where they are.
    pub(crate) is_peek: bool,
    /// Stop before bytes with another sender's credentials.
    pub(crate) splits_by_cred: bool,
}

impl Pipe {
    pub(crate) fn new(limit: usize, reader: Arc<WaitQueue>, writer: Arc<WaitQueue>) -> Arc<Self> {
        Arc::new(Self {
            state: SpinLock::new(
                Rank::Leaf,
                State {
                    pieces: VecDeque::new(),
                    cost: 0,
                    bytes: 0,
                    limit,
                    is_ended: false,
                    is_deaf: false,
                    is_reset: false,
                },
            ),
            taking: Mutex::new(Rank::Stream, ()),
            reader,
            writer,
        })
    }

    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.state.lock().bytes
    }

    /// As the reader sees it: readable, ended, reset.
    pub(crate) fn reader_events(&self) -> (bool, bool, bool) {
        let s = self.state.lock();
        (s.bytes > 0 || s.is_ended || s.is_reset, s.is_ended, s.is_reset)
    }

    /// As the writer sees it: writable (a quarter is free), deaf.
    pub(crate) fn writer_events(&self) -> (bool, bool) {
        let s = self.state.lock();
        (s.is_deaf || s.cost * 4 <= s.limit * 3, s.is_deaf)
    }

    /// Whether there is room for a write; `EPIPE` when nobody will read it.
    pub(crate) fn room(&self) -> Option<Result<usize>> {
        let s = self.state.lock();
        if s.is_deaf || s.is_ended {
            return Some(Err(Errno::EPIPE));
        }
        (s.cost < s.limit).then(|| Ok(s.limit - s.cost))
    }

    /// Puts up to `room` bytes in; answers how many. `extra` goes with the first of them. No waiting.
    pub(crate) fn put(&self, from: &mut Source<'_>, room: usize, extra: &mut Option<Box<Extra>>) -> Result<usize> {
        let want = from.remaining().min(room.max(SMALL));
        if want <= SMALL {
            let mut small = [0; SMALL];
            let n = from.take(small.get_mut(..want).unwrap_or_default())?;
            let data = small.get(..n).unwrap_or_default();
            return self.put_small(data, extra);
        }
        let mut batch: [Option<Piece>; BATCH] = [const { None }; BATCH];
        let mut total = 0;
        let mut failure = None;
        for slot in &mut batch {
            let n = (want - total).min(PAGE_SIZE);
            if n == 0 {
                break;
            }
            let Some(frame) = Frame::alloc_user() else {
                failure = Some(Errno::ENOMEM);
                break;
            };
            match from.take_to_frame(&frame, 0, n) {
                Ok(n) => {
                    *slot = Some(Piece {
                        bytes: Bytes::Page(frame),
                        at: 0,
                        end: n,
                        extra: extra.take(),
                    });
                    total += n;
                }
                Err(e) => {
                    failure = Some(e);
                    break;
                }
            }
        }
        if total == 0 {
            return Err(failure.unwrap_or(Errno::EFAULT));
        }
        let mut s = self.state.lock();
        if s.is_deaf {
            drop(s);
            return Err(Errno::EPIPE);
        }
        for piece in batch.into_iter().flatten() {
            s.cost += piece.cost();
            s.bytes += piece.end;
            s.pieces.push_back(piece);
        }
        drop(s);
        self.reader.wake_all(Events::READ);
        Ok(total)
    }

    fn put_small(&self, data: &[u8], extra: &mut Option<Box<Extra>>) -> Result<usize> {
        let mut s = self.state.lock();
        if s.is_deaf {
            return Err(Errno::EPIPE);
        }
        let s_ref = &mut *s;
        s_ref.bytes += data.len();
        let tail = s_ref.pieces.back_mut().filter(|_| extra.is_none());
        let merged = match tail {
            Some(Piece {
                bytes: Bytes::Small(v),
                end,
                extra: None,
                ..
            }) if v.capacity() - v.len() >= data.len() => {
                v.extend_from_slice(data);
                *end = v.len();
                true
            }
            _ => false,
        };
        if !merged {
            let mut v = Vec::with_capacity(data.len().next_power_of_two().max(64));
            v.extend_from_slice(data);
            let piece = Piece {
                at: 0,
                end: v.len(),
                bytes: Bytes::Small(v),
                extra: extra.take(),
            };
            s_ref.cost += piece.cost();
            s_ref.pieces.push_back(piece);
        }
        drop(s);
        self.reader.wake_all(Events::READ);
        Ok(data.len())
    }

    /// Takes bytes out; `None` when there are none yet, `Some(0)` at the end. What travels with the first of them goes
    /// to `extra`; bytes with something else are left for the next call. No waiting.
    pub(crate) fn take(&self, to: &mut Sink<'_>, how: Taking, extra: &mut Option<Extra>) -> Option<Result<usize>> {
        let _one = self.taking.lock();
        let mut done = 0;
        let mut skip = 0;
        loop {
            if to.remaining() == 0 {
                break;
            }
            let mut s = self.state.lock();
            let Some(piece) = (if how.is_peek {
                take_peek(&mut s, skip)
            } else {
                s.pieces.pop_front()
            }) else {
                if done == 0 {
                    if core::mem::take(&mut s.is_reset) {
                        return Some(Err(Errno::ECONNRESET));
                    }
                    return if s.is_ended { Some(Ok(0)) } else { None };
                }
                break;
            };
            drop(s);
            let mut piece = piece;
            if done > 0 && is_boundary(extra.as_ref(), piece.extra.as_deref(), how) {
                self.give_back(piece, how);
                break;
            }
            let put = piece.put(piece.at, to);
            let n = match put {
                Ok(n) => n,
                Err(e) => {
                    self.give_back(piece, how);
                    return if done > 0 { Some(Ok(done)) } else { Some(Err(e)) };
                }
            };
            if let Some(e) = &mut piece.extra {
                let into = extra.get_or_insert_with(Extra::default);
                into.cred = into.cred.or(e.cred);
                into.files.join(&mut e.files);
            }
            done += n;
            let is_whole = piece.at + n == piece.end;
            let had_files = extra.as_ref().is_some_and(|e| !e.files.is_empty());
            if how.is_peek {
                self.give_back(piece, how);
                skip += 1;
            } else {
                piece.at += n;
                self.settle(piece, n, is_whole);
            }
            if !is_whole || had_files {
                break;
            }
        }
        Some(Ok(done))
    }

    fn give_back(&self, piece: Piece, how: Taking) {
        if !how.is_peek {
            self.state.lock().pieces.push_front(piece);
        }
    }

    /// Accounts for `n` bytes that were taken, and tells the writer of the room.
    fn settle(&self, piece: Piece, n: usize, is_whole: bool) {
        let mut s = self.state.lock();
        s.bytes -= n;
        let mut gone = None;
        if is_whole {
            s.cost -= piece.cost();
            gone = Some(piece);
        } else {
            s.pieces.push_front(piece);
        }
        let has_room = is_whole && (s.cost * 4 <= s.limit * 3 || s.pieces.is_empty());
        drop(s);
        drop(gone);
        if has_room {
            self.writer.wake_all(Events::WRITE);
        }
    }

    /// The writer ends: the reader gets what is there, then the end.
    pub(crate) fn end(&self) {
        self.state.lock().is_ended = true;
        self.reader.wake_all(Events::READ | Events::RDHUP | Events::HUP);
        self.writer.wake_all(Events::WRITE | Events::HUP);
    }

    /// The reader goes away: writers get `EPIPE`. Answers whether bytes were lost.
    pub(crate) fn deafen(&self) -> bool {
        let mut s = self.state.lock();
        s.is_deaf = true;
        let lost = core::mem::take(&mut s.pieces);
        let had = s.bytes > 0;
        s.bytes = 0;
        s.cost = 0;
        drop(s);
        drop(lost);
        self.writer.wake_all(Events::WRITE | Events::ERR | Events::HUP);
        self.reader.wake_all(Events::READ | Events::HUP);
        had
    }

    /// Ends the stream with an error instead of an end.
    pub(crate) fn reset(&self) {
        let mut s = self.state.lock();
        s.is_reset = true;
        s.is_ended = true;
        drop(s);
        self.reader
            .wake_all(Events::READ | Events::ERR | Events::HUP | Events::RDHUP);
    }
}

/// The piece to look at next, as a copy that shares the page.
fn take_peek(s: &mut State, skip: usize) -> Option<Piece> {
    let p = s.pieces.get(skip)?;
    let bytes = match &p.bytes {
        Bytes::Small(v) => Bytes::Small(v.clone()),
        Bytes::Page(f) => Bytes::Page(f.clone()),
    };
    let extra = p.extra.as_ref().map(|e| {
        Box::new(Extra {
            files: e.files.copy(),
            cred: e.cred,
        })
    });
    Some(Piece {
        bytes,
        at: p.at,
        end: p.end,
        extra,
    })
}

fn is_boundary(before: Option<&Extra>, next: Option<&Extra>, how: Taking) -> bool {
    if next.is_some_and(|e| !e.files.is_empty()) {
        return true;
    }
    let cred = |e: Option<&Extra>| e.and_then(|e| e.cred);
    how.splits_by_cred && cred(before) != cred(next)
}

/// Both directions of a connection, as one end sees them.
pub(crate) struct Ends {
    pub(crate) rx: Arc<Pipe>,
    pub(crate) tx: Arc<Pipe>,
}

impl Ends {
    /// A connection between two sockets whose waiters are on `a` and `b`.
    pub(crate) fn pair(limit: usize, a: &Arc<WaitQueue>, b: &Arc<WaitQueue>) -> (Self, Self) {
        let ab = Pipe::new(limit, b.clone(), a.clone());
        let ba = Pipe::new(limit, a.clone(), b.clone());
        (
            Self {
                rx: ba.clone(),
                tx: ab.clone(),
            },
            Self { rx: ab, tx: ba },
        )
    }

    /// What this end is ready for.
    pub(crate) fn events(&self) -> Events {
        let (readable, ended, reset) = self.rx.reader_events();
        let (writable, deaf) = self.tx.writer_events();
        let mut e = Events::empty();
        if readable {
            e |= Events::READ;
        }
        if ended {
            e |= Events::RDHUP;
        }
        if writable {
            e |= Events::WRITE;
        }
        if ended && deaf {
            e |= Events::HUP;
        }
        if reset {
            e |= Events::ERR;
        }
        e
    }

    /// This end goes away. Unread bytes reset the connection.
    pub(crate) fn close(&self) {
        let lost = self.rx.deafen();
        if lost {
            self.tx.reset();
        } else {
            self.tx.end();
        }
    }
}
