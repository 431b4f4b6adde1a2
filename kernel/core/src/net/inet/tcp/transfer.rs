//! Bytes, from a program to a connection and back: `_here` with this machine, `_away` with another.

use core::sync::atomic::Ordering;

use super::super::super::interface::LOOPBACK_COUNTERS;
use super::super::super::message::{Incoming, MsgFlags, Outgoing};
use super::super::super::pipe::{Ends, Taking};
use super::super::super::stack;
use super::super::connections::{self, ConnId};
use super::TcpSocket;
use crate::{Errno, Result};

/// Bytes moved between a program and a connection at once.
const CHUNK: usize = 16 * 1024;

impl TcpSocket {
    pub(super) fn send_here(&self, ends: &Ends, message: &mut Outgoing<'_, '_>) -> Result<usize> {
        let total = message.data.remaining();
        let mut done = 0;
        while done < total {
            let room = match self
                .common
                .wait_send(message.nonblock, || match self.common.take_error() {
                    Some(e) => Some(Err(e)),
                    None => ends.tx.room(),
                }) {
                Ok(room) => room,
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            };
            match ends.tx.put(message.data, room, &mut None) {
                Ok(n) => done += n,
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            }
        }
        LOOPBACK_COUNTERS.add(done);
        Ok(done)
    }

    pub(super) fn send_away(&self, id: ConnId, message: &mut Outgoing<'_, '_>) -> Result<usize> {
        let total = message.data.remaining();
        let mut done = 0;
        while done < total {
            // Room first: bytes taken from the program must not be lost.
            let room = self.common.wait_send(message.nonblock, || {
                if let Some(e) = self.common.take_error() {
                    return Some(Err(e));
                }
                let state = stack::with(|s| connections::inspect(s, id, |c| (c.may_send(), c.writable())));
                match state {
                    Some((true, 0)) => None,
                    Some((true, room)) => Some(Ok(room)),
                    _ => Some(Err(Errno::EPIPE)),
                }
            });
            let room = match room {
                Ok(room) => room,
                Err(_) if done > 0 => return Ok(done),
                Err(e) => return Err(e),
            };
            let mut chunk = self.sending.lock();
            chunk.resize(room.min(CHUNK).min(total - done), 0);
            let taken = match message.data.take(&mut chunk) {
                Ok(n) => n,
                Err(_) if done > 0 => return Ok(done),
                Err(e) => return Err(e),
            };
            let data = chunk.get(..taken).unwrap_or_default();
            let sent = stack::with(|s| connections::work(s, id, |c| c.send(data))).unwrap_or(0);
            drop(chunk);
            done += sent;
            if sent < taken {
                // Another thread took the room, or the connection broke: what was not sent is reported as such.
                return if done > 0 { Ok(done) } else { Err(Errno::EPIPE) };
            }
        }
        Ok(done)
    }

    pub(super) fn receive_away(&self, id: ConnId, message: &mut Incoming<'_, '_>) -> Result<usize> {
        let all = message.flags.contains(MsgFlags::WAITALL) && !message.is_peek();
        let mut done = 0;
        while message.data.remaining() > 0 {
            let ready = self.common.wait_receive(message.nonblock, || {
                let state = stack::with(|s| connections::inspect(s, id, |c| (c.readable(), c.may_receive())));
                match state {
                    Some((n, _)) if n > 0 => Some(Ok(n)),
                    _ if self.common.has_error() => self.common.take_error().map(Err),
                    _ if self.is_read_shut.load(Ordering::Relaxed) => Some(Ok(0)),
                    Some((_, true)) => None,
                    _ => Some(Ok(0)),
                }
            });
            match ready {
                Ok(0) => break,
                Ok(_) => {}
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            }
            match self.take_chunk(id, message) {
                Ok(0) => {}
                Ok(n) => done += n,
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            }
            if message.is_peek() {
                break;
            }
            let more = stack::with(|s| connections::inspect(s, id, |c| c.readable())).unwrap_or(0);
            if !all && more == 0 {
                break;
            }
        }
        Ok(done)
    }

    /// Copies what is there to the program, then takes as much from the connection.
    fn take_chunk(&self, id: ConnId, message: &mut Incoming<'_, '_>) -> Result<usize> {
        let mut chunk = self.receiving.lock();
        chunk.resize(message.data.remaining().min(CHUNK), 0);
        let Some(got) = stack::with(|s| connections::peek(s, id, &mut chunk)) else {
            return Ok(0);
        };
        let n = message.data.put(chunk.get(..got).unwrap_or_default())?;
        if !message.is_peek() && n > 0 {
            stack::with(|s| connections::work(s, id, |c| c.consume(n)));
        }
        Ok(n)
    }

    pub(super) fn receive_here(&self, ends: &Ends, message: &mut Incoming<'_, '_>) -> Result<usize> {
        let how = Taking {
            is_peek: message.is_peek(),
            splits_by_cred: false,
        };
        let all = message.flags.contains(MsgFlags::WAITALL) && !message.is_peek();
        let mut done = 0;
        loop {
            let nonblock = message.nonblock;
            let data = &mut *message.data;
            let got = self.common.wait_receive(nonblock, || {
                if let Some(r) = ends.rx.take(data, how, &mut None) {
                    return Some(r);
                }
                self.is_read_shut.load(Ordering::Relaxed).then_some(Ok(0))
            });
            match got {
                Ok(0) => return Ok(done),
                Ok(n) => done += n,
                Err(_) if done > 0 => return Ok(done),
                Err(e) => return Err(e),
            }
            if !all || message.data.remaining() == 0 {
                return Ok(done);
            }
        }
    }
}
