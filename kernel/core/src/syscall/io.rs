//! Reading and writing: read, write and their vector, positioned and file-to-file forms, lseek.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use super::args::{self, IO_MAX};
use super::{Call, Row, built, partial};
use crate::fs::file::{IoFlags, OpenFile, Whence};
use crate::fs::flags::O_APPEND;
use crate::fs::notify;
use crate::fs::pipe;
use crate::user::{Sink, Source, UserPtr, UserSlice};
use crate::{Errno, Result};

pub(super) const CALLS: &[Row] = &[
    built(62, "lseek", lseek),
    built(63, "read", read),
    built(64, "write", write),
    built(65, "readv", readv),
    built(66, "writev", writev),
    built(67, "pread64", pread64),
    built(68, "pwrite64", pwrite64),
    built(69, "preadv", preadv),
    built(70, "pwritev", pwritev),
    built(71, "sendfile", sendfile),
    partial(76, "splice", splice, "copies the bytes instead of moving pages"),
    partial(285, "copy_file_range", copy_file_range, "copies the bytes"),
    built(286, "preadv2", preadv2),
    built(287, "pwritev2", pwritev2),
];

/// Bytes that a copy from file to file takes at once.
const COPY_STEP: usize = 64 * 1024;

/// Notes bytes read, for /proc/PID/io.
fn count_read(call: &Call<'_>, n: usize) -> Result<usize> {
    call.thread.process.read_bytes.fetch_add(n as u64, Ordering::Relaxed);
    Ok(n)
}

/// Notes bytes written, for /proc/PID/io.
fn count_written(call: &Call<'_>, n: usize) -> Result<usize> {
    call.thread.process.written_bytes.fetch_add(n as u64, Ordering::Relaxed);
    Ok(n)
}

fn read(call: &mut Call<'_>) -> Result<usize> {
    let file = args::file(call, 0)?;
    let slice = UserSlice::new(call.usize(1), call.usize(2).min(IO_MAX));
    count_read(call, file.read(&mut Sink::user(slice))?)
}

fn write(call: &mut Call<'_>) -> Result<usize> {
    let file = args::file(call, 0)?;
    let slice = UserSlice::new(call.usize(1), call.usize(2).min(IO_MAX));
    count_written(call, file.write(&mut Source::user(slice))?)
}

fn readv(call: &mut Call<'_>) -> Result<usize> {
    let file = args::file(call, 0)?;
    let n = file.read(&mut Sink::iovecs(args::iovecs(call.usize(1), call.usize(2))?))?;
    count_read(call, n)
}

fn writev(call: &mut Call<'_>) -> Result<usize> {
    let file = args::file(call, 0)?;
    let n = file.write(&mut Source::iovecs(args::iovecs(call.usize(1), call.usize(2))?))?;
    count_written(call, n)
}

/// The offset of a positioned call; `EINVAL` when negative.
fn offset(value: u64) -> Result<u64> {
    if i64::try_from(value).is_ok() {
        Ok(value)
    } else {
        Err(Errno::EINVAL)
    }
}

fn read_at(file: &OpenFile, to: &mut Sink<'_>, offset: u64, flags: IoFlags) -> Result<usize> {
    if !file.readable() {
        return Err(Errno::EBADF);
    }
    if !file.ops.is_seekable() {
        return Err(Errno::ESPIPE);
    }
    let n = file.ops.read(to, offset, flags)?;
    notify::read(file, n);
    Ok(n)
}

fn write_at(file: &OpenFile, from: &mut Source<'_>, offset: u64, flags: IoFlags) -> Result<usize> {
    if !file.writable() {
        return Err(Errno::EBADF);
    }
    if !file.ops.is_seekable() {
        return Err(Errno::ESPIPE);
    }
    let (n, _) = file.ops.write(from, offset, flags)?;
    notify::written(file, n);
    Ok(n)
}

fn pread64(call: &mut Call<'_>) -> Result<usize> {
    let at = offset(call.arg(3))?;
    let file = args::file(call, 0)?;
    let slice = UserSlice::new(call.usize(1), call.usize(2).min(IO_MAX));
    read_at(&file, &mut Sink::user(slice), at, file.io_flags())
}

fn pwrite64(call: &mut Call<'_>) -> Result<usize> {
    let at = offset(call.arg(3))?;
    let file = args::file(call, 0)?;
    let slice = UserSlice::new(call.usize(1), call.usize(2).min(IO_MAX));
    write_at(&file, &mut Source::user(slice), at, file.io_flags())
}

fn preadv(call: &mut Call<'_>) -> Result<usize> {
    let at = offset(call.arg(3))?;
    let file = args::file(call, 0)?;
    read_at(
        &file,
        &mut Sink::iovecs(args::iovecs(call.usize(1), call.usize(2))?),
        at,
        file.io_flags(),
    )
}

fn pwritev(call: &mut Call<'_>) -> Result<usize> {
    let at = offset(call.arg(3))?;
    let file = args::file(call, 0)?;
    write_at(
        &file,
        &mut Source::iovecs(args::iovecs(call.usize(1), call.usize(2))?),
        at,
        file.io_flags(),
    )
}

const RWF_HIPRI: u32 = 1;
const RWF_DSYNC: u32 = 2;
const RWF_SYNC: u32 = 4;
const RWF_NOWAIT: u32 = 8;
const RWF_APPEND: u32 = 16;

/// The per-call flags over the file's own; `EOPNOTSUPP` for unknown ones.
fn rw_flags(file: &OpenFile, flags: u32, writes: bool) -> Result<IoFlags> {
    let known = RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT | if writes { RWF_APPEND } else { 0 };
    if flags & !known != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let mut io = file.io_flags();
    io.nonblock |= flags & RWF_NOWAIT != 0;
    io.append |= flags & RWF_APPEND != 0;
    Ok(io)
}

fn preadv2(call: &mut Call<'_>) -> Result<usize> {
    let file = args::file(call, 0)?;
    let io = rw_flags(&file, call.uint(5), false)?;
    let mut to = Sink::iovecs(args::iovecs(call.usize(1), call.usize(2))?);
    if call.arg(3) as i64 == -1 {
        return file.read_with(&mut to, io);
    }
    read_at(&file, &mut to, offset(call.arg(3))?, io)
}

fn pwritev2(call: &mut Call<'_>) -> Result<usize> {
    let file = args::file(call, 0)?;
    let io = rw_flags(&file, call.uint(5), true)?;
    let mut from = Source::iovecs(args::iovecs(call.usize(1), call.usize(2))?);
    if call.arg(3) as i64 == -1 {
        return file.write_with(&mut from, io);
    }
    write_at(&file, &mut from, offset(call.arg(3))?, io)
}

fn lseek(call: &mut Call<'_>) -> Result<usize> {
    let file = args::file(call, 0)?;
    let whence = match call.uint(2) {
        0 => Whence::Start,
        1 => Whence::Current,
        2 => Whence::End,
        3 => Whence::Data,
        4 => Whence::Hole,
        _ => return Err(Errno::EINVAL),
    };
    if !file.ops.is_seekable() {
        return Err(Errno::ESPIPE);
    }
    let mut position = file.position.lock();
    *position = file.ops.seek(*position, call.arg(1) as i64, whence)?;
    Ok(*position as usize)
}

/// An offset that the caller keeps, behind a pointer; or the file's own when that is NULL.
struct Cursor {
    pointer: UserPtr<i64>,
    at: u64,
}

impl Cursor {
    fn new(file: &OpenFile, address: usize) -> Result<Self> {
        let pointer = UserPtr::new(address);
        let at = match pointer.read_opt()? {
            None if file.ops.is_seekable() => *file.position.lock(),
            None => 0,
            Some(_) if !file.ops.is_seekable() => return Err(Errno::ESPIPE),
            Some(at) => u64::try_from(at).map_err(|_| Errno::EINVAL)?,
        };
        Ok(Self { pointer, at })
    }

    fn finish(self, file: &OpenFile) -> Result<()> {
        if self.pointer.is_null() {
            if file.ops.is_seekable() {
                *file.position.lock() = self.at;
            }
            return Ok(());
        }
        self.pointer.write(&(self.at as i64))
    }
}

/// Copies up to `len` bytes from one file to another, advancing the cursors by what was written. `nonblock` is for what
/// comes after the first bytes too: a copy never waits once something has been copied.
fn copy(
    from: (&OpenFile, &mut Cursor),
    to: (&OpenFile, &mut Cursor),
    len: usize,
    nonblock: (bool, bool),
) -> Result<usize> {
    let mut buf = alloc::vec![0u8; len.min(COPY_STEP)];
    let mut done = 0;
    while done < len {
        let want = (len - done).min(buf.len());
        let part = buf.get_mut(..want).unwrap_or_default();
        let flags = IoFlags {
            nonblock: nonblock.0 || done > 0,
            append: false,
        };
        let got = match from.0.ops.read(&mut Sink::kernel(part), from.1.at, flags) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if done == 0 => return Err(e),
            Err(_) => break,
        };
        let mut put = 0;
        while put < got {
            let mut source = Source::kernel(buf.get(put..got).unwrap_or_default());
            let flags = IoFlags {
                nonblock: nonblock.1,
                append: to.0.io_flags().append,
            };
            match to.0.ops.write(&mut source, to.1.at, flags) {
                Ok((0, _)) => break,
                Ok((n, after)) => {
                    put += n;
                    to.1.at = after;
                }
                Err(e) if done + put == 0 => return Err(e),
                // What was read from a stream and cannot be written is lost only if the target fails for good.
                Err(_) => break,
            }
        }
        from.1.at += put as u64;
        done += put;
        if put < got {
            break;
        }
        crate::sched::cond_resched();
    }
    notify::read(from.0, done);
    notify::written(to.0, done);
    Ok(done)
}

/// The two files of a copy, checked.
fn ends(call: &Call<'_>, from: usize, to: usize) -> Result<(Arc<OpenFile>, Arc<OpenFile>)> {
    let (from, to) = (args::file(call, from)?, args::file(call, to)?);
    if !from.readable() || !to.writable() {
        return Err(Errno::EBADF);
    }
    Ok((from, to))
}

fn sendfile(call: &mut Call<'_>) -> Result<usize> {
    let (from, to) = ends(call, 1, 0)?;
    if to.flags() & O_APPEND != 0 {
        return Err(Errno::EINVAL);
    }
    // As Linux does: what cannot seek (terminals, pipes, sockets) would lose what the other end does not take.
    if !from.ops.is_seekable() {
        return Err(Errno::EINVAL);
    }
    let mut source = Cursor::new(&from, call.usize(2))?;
    let mut target = Cursor::new(&to, 0)?;
    let len = call.usize(3).min(IO_MAX);
    let nonblock = (from.io_flags().nonblock, to.io_flags().nonblock);
    let n = copy((&from, &mut source), (&to, &mut target), len, nonblock)?;
    source.finish(&from)?;
    target.finish(&to)?;
    Ok(n)
}

fn copy_file_range(call: &mut Call<'_>) -> Result<usize> {
    if call.uint(5) != 0 {
        return Err(Errno::EINVAL);
    }
    let (from, to) = ends(call, 0, 2)?;
    for f in [&from, &to] {
        match f.inode().map(|i| i.kind()) {
            Some(crate::fs::inode::FileType::Regular) => {}
            Some(crate::fs::inode::FileType::Directory) => return Err(Errno::EISDIR),
            _ => return Err(Errno::EINVAL),
        }
    }
    if to.flags() & O_APPEND != 0 {
        return Err(Errno::EBADF);
    }
    let mut source = Cursor::new(&from, call.usize(1))?;
    let mut target = Cursor::new(&to, call.usize(3))?;
    let len = call.usize(4).min(IO_MAX);
    let same = match (from.inode(), to.inode()) {
        (Some(a), Some(b)) => Arc::ptr_eq(&a, &b),
        _ => false,
    };
    if same && source.at.abs_diff(target.at) < len as u64 {
        return Err(Errno::EINVAL);
    }
    let n = copy((&from, &mut source), (&to, &mut target), len, (false, false))?;
    source.finish(&from)?;
    target.finish(&to)?;
    Ok(n)
}

const SPLICE_F_NONBLOCK: u32 = 2;
const SPLICE_FLAGS: u32 = 15;

fn splice(call: &mut Call<'_>) -> Result<usize> {
    let flags = call.uint(5);
    if flags & !SPLICE_FLAGS != 0 {
        return Err(Errno::EINVAL);
    }
    let (from, to) = ends(call, 0, 2)?;
    let (from_pipe, to_pipe) = (pipe::end_of(&from), pipe::end_of(&to));
    if from_pipe.is_none() && to_pipe.is_none() {
        return Err(Errno::EINVAL);
    }
    if (from_pipe.is_some() && call.usize(1) != 0) || (to_pipe.is_some() && call.usize(3) != 0) {
        return Err(Errno::ESPIPE);
    }
    if to.flags() & O_APPEND != 0 {
        return Err(Errno::EINVAL);
    }
    let mut source = Cursor::new(&from, call.usize(1))?;
    let mut target = Cursor::new(&to, call.usize(3))?;
    // What is read from a pipe must have a place: no more than the target pipe takes now.
    let mut len = call.usize(4).min(IO_MAX);
    let nonblock = flags & SPLICE_F_NONBLOCK != 0;
    if let Some(end) = to_pipe {
        end.wait_writable(nonblock || to.io_flags().nonblock)?;
        len = len.min(end.free_bytes());
    }
    let quiet = (nonblock || from.io_flags().nonblock, false);
    let n = copy((&from, &mut source), (&to, &mut target), len, quiet)?;
    source.finish(&from)?;
    target.finish(&to)?;
    Ok(n)
}
