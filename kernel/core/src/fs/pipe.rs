//! Pipes and FIFOs (pipe(7), fifo(7)).
//!
//! The bytes are in a `ring` of page frames. Writes of up to [`PIPE_BUF`] bytes are whole; longer ones may be mixed with others'. How full the ring is and who is
//! at its ends is also kept in atomics, so that poll takes no lock.

mod ring;

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use sis_abi::signal::{SIGPIPE, SigInfo};
use sis_machine::mm::PAGE_SIZE;
use sis_machine::sync::{Mutex, Rank};

use super::file::{File, IoFlags, OpenFile};
use super::flags::{O_ACCMODE, O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY};
use super::inode::{Inode, Metadata, now};
use super::mount::anonymous_device;
use crate::poll::{Events, PollTable};
use crate::process::{signal, thread};
use crate::user::{Sink, Source, UserPtr};
use crate::wait::{Observer, Registration, WaitQueue};
use crate::{Errno, Result};

use ring::Ring;

/// Writes of up to this many bytes are whole.
pub const PIPE_BUF: usize = 4096;
/// Bytes of a new pipe.
const DEFAULT_BYTES: usize = 16 * PAGE_SIZE;
/// Most bytes that fcntl(F_SETPIPE_SZ) gives to anyone (/proc/sys/fs/pipe-max-size).
pub const MAX_BYTES: usize = 1 << 20;
/// FIONREAD.
const FIONREAD: u32 = 0x541b;

/// A pipe.
pub struct Pipe {
    ino: u64,
    made_ns: i64,
    ring: Mutex<Ring>,
    len: AtomicUsize,
    capacity: AtomicUsize,
    readers: AtomicUsize,
    writers: AtomicUsize,
    /// Opens so far for reading and for writing: who waits for the other end of a FIFO sees even one that came and went.
    reader_opens: AtomicU64,
    writer_opens: AtomicU64,
    readable: Arc<WaitQueue>,
    writable: Arc<WaitQueue>,
}

static NEXT_INO: AtomicU64 = AtomicU64::new(1);

impl Pipe {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            ino: NEXT_INO.fetch_add(1, Ordering::Relaxed),
            made_ns: now(),
            ring: Mutex::new(Rank::Stream, Ring::new(DEFAULT_BYTES / PAGE_SIZE)),
            len: AtomicUsize::new(0),
            capacity: AtomicUsize::new(DEFAULT_BYTES),
            readers: AtomicUsize::new(0),
            writers: AtomicUsize::new(0),
            reader_opens: AtomicU64::new(0),
            writer_opens: AtomicU64::new(0),
            readable: Arc::new(WaitQueue::new()),
            writable: Arc::new(WaitQueue::new()),
        })
    }

    fn len(&self) -> usize {
        self.len.load(Ordering::SeqCst)
    }

    fn has_writers(&self) -> bool {
        self.writers.load(Ordering::SeqCst) != 0
    }

    fn has_readers(&self) -> bool {
        self.readers.load(Ordering::SeqCst) != 0
    }

    fn free(&self) -> usize {
        self.capacity.load(Ordering::SeqCst).saturating_sub(self.len())
    }

    fn read(&self, to: &mut Sink<'_>, flags: IoFlags) -> Result<usize> {
        if to.remaining() == 0 {
            return Ok(0);
        }
        loop {
            let mut ring = self.ring.lock();
            if ring.len > 0 {
                let got = ring.take(to);
                self.len.store(ring.len, Ordering::SeqCst);
                drop(ring);
                self.writable.wake_all(Events::WRITE);
                return got;
            }
            drop(ring);
            if !self.has_writers() {
                return Ok(0);
            }
            if flags.nonblock {
                return Err(Errno::EAGAIN);
            }
            self.readable
                .wait(|| (self.len() > 0 || !self.has_writers()).then_some(()))?;
        }
    }

    fn write(&self, from: &mut Source<'_>, flags: IoFlags) -> Result<usize> {
        let total = from.remaining();
        let whole = total <= PIPE_BUF;
        let mut done = 0;
        loop {
            if !self.has_readers() {
                if done == 0 {
                    broken_pipe();
                    return Err(Errno::EPIPE);
                }
                return Ok(done);
            }
            if total == 0 {
                return Ok(0);
            }
            let mut ring = self.ring.lock();
            let free = ring.capacity() - ring.len;
            let fits = if whole { free >= total } else { free > 0 };
            if fits {
                let put = ring.put(from, total - done);
                self.len.store(ring.len, Ordering::SeqCst);
                drop(ring);
                match put {
                    Ok(0) => return Ok(done),
                    Ok(n) => done += n,
                    Err(e) if done == 0 => return Err(e),
                    Err(_) => return Ok(done),
                }
                self.readable.wake_all(Events::READ);
                if done == total {
                    return Ok(done);
                }
                continue;
            }
            drop(ring);
            if flags.nonblock {
                return if done > 0 { Ok(done) } else { Err(Errno::EAGAIN) };
            }
            let need = if whole { total } else { 1 };
            let waited = self
                .writable
                .wait(|| (self.free() >= need || !self.has_readers()).then_some(()));
            if let Err(e) = waited {
                return if done > 0 { Ok(done) } else { Err(e) };
            }
        }
    }

    /// Changes the size (F_SETPIPE_SZ) and answers the new one.
    fn resize(&self, bytes: usize) -> Result<usize> {
        let pages = bytes.max(1).div_ceil(PAGE_SIZE).next_power_of_two();
        if pages * PAGE_SIZE > MAX_BYTES {
            return Err(Errno::EPERM);
        }
        let mut ring = self.ring.lock();
        if pages * PAGE_SIZE < ring.len {
            return Err(Errno::EBUSY);
        }
        let mut new = Ring::new(pages);
        let mut buf = alloc::vec![0u8; ring.len];
        let n = ring.take(&mut Sink::kernel(&mut buf))?;
        new.put(&mut Source::kernel(buf.get(..n).unwrap_or_default()), n)?;
        *ring = new;
        self.capacity.store(pages * PAGE_SIZE, Ordering::SeqCst);
        drop(ring);
        self.writable.wake_all(Events::WRITE);
        Ok(pages * PAGE_SIZE)
    }

    fn open_end(self: &Arc<Self>, access: u32) -> Arc<End> {
        let end = End {
            pipe: self.clone(),
            access,
            seen_writers: self.writer_opens.load(Ordering::SeqCst),
        };
        if end.reads() {
            self.readers.fetch_add(1, Ordering::SeqCst);
            self.reader_opens.fetch_add(1, Ordering::SeqCst);
            self.writable.wake_all(Events::WRITE);
        }
        if end.writes() {
            self.writers.fetch_add(1, Ordering::SeqCst);
            self.writer_opens.fetch_add(1, Ordering::SeqCst);
            self.readable.wake_all(Events::READ);
        }
        Arc::new(end)
    }
}

/// An open end of a pipe, or both of a FIFO.
pub struct End {
    pipe: Arc<Pipe>,
    access: u32,
    /// Opens for writing before this one: a FIFO's reader is not told of a hang-up before there was a writer.
    seen_writers: u64,
}

impl End {
    fn reads(&self) -> bool {
        self.access != O_WRONLY
    }

    fn writes(&self) -> bool {
        self.access != O_RDONLY
    }

    /// fcntl(F_GETPIPE_SZ).
    pub fn size(&self) -> usize {
        self.pipe.capacity.load(Ordering::SeqCst)
    }

    /// fcntl(F_SETPIPE_SZ).
    pub fn set_size(&self, bytes: usize) -> Result<usize> {
        self.pipe.resize(bytes)
    }

    /// The pipe.
    pub fn pipe(&self) -> Arc<Pipe> {
        self.pipe.clone()
    }

    /// Bytes that a write takes now.
    pub fn free_bytes(&self) -> usize {
        self.pipe.free()
    }

    /// Waits for room; `EAGAIN` if it may not wait. No reader counts as room: the write says so.
    pub fn wait_writable(&self, nonblock: bool) -> Result<()> {
        let ready = || (self.pipe.free() > 0 || !self.pipe.has_readers()).then_some(());
        match ready() {
            Some(()) => Ok(()),
            None if nonblock => Err(Errno::EAGAIN),
            None => self.pipe.writable.wait(ready),
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if self.reads() && self.pipe.readers.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.pipe.writable.wake_all(Events::WRITE | Events::ERR);
        }
        if self.writes() && self.pipe.writers.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.pipe.readable.wake_all(Events::READ | Events::HUP);
        }
    }
}

impl File for End {
    fn read(&self, to: &mut Sink<'_>, _offset: u64, flags: IoFlags) -> Result<usize> {
        self.pipe.read(to, flags)
    }

    fn write(&self, from: &mut Source<'_>, offset: u64, flags: IoFlags) -> Result<(usize, u64)> {
        self.pipe.write(from, flags).map(|n| (n, offset))
    }

    fn poll(&self, table: Option<&mut PollTable>) -> Events {
        let pipe = &self.pipe;
        if let Some(t) = table {
            if self.reads() {
                t.watch(&pipe.readable);
            }
            if self.writes() {
                t.watch(&pipe.writable);
            }
        }
        let mut events = Events::empty();
        if self.reads() {
            if pipe.len() > 0 {
                events |= Events::READ;
            }
            if !pipe.has_writers() && pipe.writer_opens.load(Ordering::SeqCst) != self.seen_writers {
                events |= Events::HUP;
            }
        }
        if self.writes() {
            if pipe.free() >= PIPE_BUF {
                events |= Events::WRITE;
            }
            if !pipe.has_readers() {
                events |= Events::ERR;
            }
        }
        events
    }

    fn observe(&self, observer: alloc::sync::Weak<dyn Observer>) -> Result<Vec<Registration>> {
        let mut out = Vec::new();
        if self.reads() {
            out.push(self.pipe.readable.observe(observer.clone()));
        }
        if self.writes() {
            out.push(self.pipe.writable.observe(observer));
        }
        Ok(out)
    }

    fn ioctl(&self, command: u32, argument: usize) -> Result<usize> {
        if command != FIONREAD {
            return Err(Errno::ENOTTY);
        }
        let n = i32::try_from(self.pipe.len()).unwrap_or(i32::MAX);
        UserPtr::<i32>::new(argument).write(&n)?;
        Ok(0)
    }

    fn metadata(&self) -> Option<Metadata> {
        Some(Metadata {
            dev: device(),
            ino: self.pipe.ino,
            mode: 0o010600,
            nlink: 1,
            block_size: 4096,
            atime_ns: self.pipe.made_ns,
            mtime_ns: self.pipe.made_ns,
            ctime_ns: self.pipe.made_ns,
            btime_ns: self.pipe.made_ns,
            ..Metadata::default()
        })
    }

    fn describe(&self) -> String {
        alloc::format!("pipe:[{}]", self.pipe.ino)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The device number of pipes.
fn device() -> u64 {
    static DEVICE: sis_machine::sync::Once<u64> = sis_machine::sync::Once::new();
    *DEVICE.call_once(anonymous_device)
}

/// pipe2(2): the reading and the writing end. `flags` are O_NONBLOCK and its like.
pub fn pair(flags: u32) -> (Arc<OpenFile>, Arc<OpenFile>) {
    let pipe = Pipe::new();
    let reader = pipe.open_end(O_RDONLY);
    let writer = pipe.open_end(O_WRONLY);
    (
        OpenFile::new(reader, O_RDONLY | flags, None),
        OpenFile::new(writer, O_WRONLY | flags, None),
    )
}

/// Opens a FIFO: waits for the other end unless told not to (fifo(7)).
pub fn open_fifo(inode: &Arc<dyn Inode>, flags: u32) -> Result<Arc<dyn File>> {
    let attachment = inode.attachment().ok_or(Errno::ENXIO)?;
    let pipe = {
        let mut slot = attachment.lock();
        let any = slot.get_or_insert_with(|| Pipe::new()).clone();
        drop(slot);
        any.downcast::<Pipe>().map_err(|_| Errno::ENXIO)?
    };
    let nonblock = flags & O_NONBLOCK != 0;
    let access = flags & O_ACCMODE;
    match access {
        O_RDWR => Ok(pipe.open_end(O_RDWR)),
        O_WRONLY => {
            if nonblock && !pipe.has_readers() {
                return Err(Errno::ENXIO);
            }
            let seen = pipe.reader_opens.load(Ordering::SeqCst);
            let end = pipe.open_end(O_WRONLY);
            if !pipe.has_readers() {
                let opens = || pipe.reader_opens.load(Ordering::SeqCst);
                pipe.writable
                    .wait(|| (opens() != seen || pipe.has_readers()).then_some(()))?;
            }
            Ok(end)
        }
        _ => {
            let seen = pipe.writer_opens.load(Ordering::SeqCst);
            let end = pipe.open_end(O_RDONLY);
            if !nonblock && !pipe.has_writers() {
                let opens = || pipe.writer_opens.load(Ordering::SeqCst);
                pipe.readable
                    .wait(|| (opens() != seen || pipe.has_writers()).then_some(()))?;
            }
            Ok(end)
        }
    }
}

/// The end behind an open file, if it is one.
pub fn end_of(file: &OpenFile) -> Option<&End> {
    file.ops.as_any().downcast_ref::<End>()
}

/// Sends the running thread SIGPIPE, for a write that nobody can read any more.
pub fn broken_pipe() {
    if let Some(t) = thread::try_current() {
        // A standard signal is never refused.
        let _ = signal::send_to_thread(&t.to_arc(), SigInfo::kernel(SIGPIPE));
    }
}
