//! Descriptors: dup, close, fcntl, flock, the generic part of ioctl.

use alloc::sync::Arc;

use sis_abi::fs::{
    F_ADD_SEALS, F_DUPFD, F_DUPFD_CLOEXEC, F_GET_SEALS, F_GETFD, F_GETFL, F_GETLEASE, F_GETLK, F_GETOWN, F_GETPIPE_SZ,
    F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW, F_SETFD, F_SETFL, F_SETLK, F_SETLKW, F_SETPIPE_SZ, Flock, LOCK_EX, LOCK_NB,
    LOCK_SH, LOCK_UN,
};

use super::args;
use super::{Call, Row, built, partial};
use crate::fs::file::{FdTable, OpenFile};
use crate::fs::flags::{O_CLOEXEC, O_DIRECT, O_LARGEFILE, O_NONBLOCK, SETFL_FLAGS};
use crate::fs::locks::{self, Owner};
use crate::fs::pipe;
use crate::user::UserPtr;
use crate::{Errno, Result};

pub(super) const CALLS: &[Row] = &[
    built(23, "dup", dup),
    built(24, "dup3", dup3),
    partial(
        25,
        "fcntl",
        fcntl,
        "leases, notification, signal-driven I/O; waiting record locks are not searched for deadlocks",
    ),
    built(29, "ioctl", ioctl),
    partial(32, "flock", flock, "an interrupted wait restarts"),
    built(57, "close", close),
    built(436, "close_range", close_range),
];

fn dup(call: &mut Call<'_>) -> Result<usize> {
    let files = call.thread.files();
    let file = files.get(call.int(0))?;
    Ok(files.insert(file, false, 0, call.thread.process.nofile_limit())? as usize)
}

fn dup3(call: &mut Call<'_>) -> Result<usize> {
    let (old, new, flags) = (call.int(0), call.int(1), call.uint(2));
    if flags & !O_CLOEXEC != 0 || old == new {
        return Err(Errno::EINVAL);
    }
    let files = call.thread.files();
    let file = files.get(old)?;
    let replaced = files.replace(new, file, flags & O_CLOEXEC != 0, call.thread.process.nofile_limit())?;
    if let Some(gone) = replaced {
        closed(&files, gone);
    }
    Ok(new as usize)
}

/// What follows when a descriptor has been taken out of a table.
fn closed(files: &Arc<FdTable>, file: Arc<OpenFile>) {
    locks::descriptor_closed(files, &file);
    drop(file);
}

fn close(call: &mut Call<'_>) -> Result<usize> {
    let files = call.thread.files();
    let file = files.remove(call.int(0))?;
    closed(&files, file);
    Ok(0)
}

const CLOSE_RANGE_UNSHARE: u32 = 2;
const CLOSE_RANGE_CLOEXEC: u32 = 4;

fn close_range(call: &mut Call<'_>) -> Result<usize> {
    let (first, last, flags) = (call.uint(0), call.uint(1), call.uint(2));
    if flags & !(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC) != 0 || first > last {
        return Err(Errno::EINVAL);
    }
    let mut files = call.thread.files();
    if flags & CLOSE_RANGE_UNSHARE != 0 {
        files = Arc::new(files.duplicate());
        drop(call.thread.set_files(files.clone()));
    }
    for (fd, _) in files.list() {
        if (first..=last).contains(&(fd as u32)) {
            if flags & CLOSE_RANGE_CLOEXEC != 0 {
                let _ = files.set_close_on_exec(fd, true);
            } else if let Ok(file) = files.remove(fd) {
                closed(&files, file);
            }
        }
    }
    Ok(0)
}

fn fcntl(call: &mut Call<'_>) -> Result<usize> {
    let (fd, command, argument) = (call.int(0), call.uint(1), call.usize(2));
    let files = call.thread.files();
    let limit = call.thread.process.nofile_limit();
    match command {
        F_DUPFD | F_DUPFD_CLOEXEC => {
            let file = files.get(fd)?;
            let from = usize::try_from(call.int(2)).map_err(|_| Errno::EINVAL)?;
            if from >= limit {
                return Err(Errno::EINVAL);
            }
            return Ok(files.insert(file, command == F_DUPFD_CLOEXEC, from, limit)? as usize);
        }
        F_GETFD => return Ok(usize::from(files.close_on_exec(fd)?)),
        F_SETFD => {
            files.set_close_on_exec(fd, argument & 1 != 0)?;
            return Ok(0);
        }
        F_GETFL => return Ok((files.get(fd)?.flags() | O_LARGEFILE) as usize),
        _ => {}
    }
    let file = args::file(call, 0)?;
    match command {
        F_SETFL => {
            let flags = call.uint(2);
            if flags & O_DIRECT != 0 && !file.ops.can_direct() {
                return Err(Errno::EINVAL);
            }
            file.set_flags(SETFL_FLAGS, flags);
            Ok(0)
        }
        F_GETLK | F_OFD_GETLK => {
            let pointer = UserPtr::<Flock>::new(argument);
            let wanted = pointer.read()?;
            pointer.write(&locks::query(
                &file,
                owner(command == F_OFD_GETLK, &files, &file),
                &wanted,
            )?)?;
            Ok(0)
        }
        F_SETLK | F_SETLKW | F_OFD_SETLK | F_OFD_SETLKW => {
            let wanted = UserPtr::<Flock>::new(argument).read()?;
            let is_ofd = matches!(command, F_OFD_SETLK | F_OFD_SETLKW);
            if is_ofd && wanted.l_pid != 0 {
                return Err(Errno::EINVAL);
            }
            let waits = matches!(command, F_SETLKW | F_OFD_SETLKW);
            locks::set(
                &file,
                owner(is_ofd, &files, &file),
                call.thread.process.pid,
                &wanted,
                waits,
            )?;
            Ok(0)
        }
        F_GETPIPE_SZ => Ok(pipe::end_of(&file).ok_or(Errno::EBADF)?.size()),
        F_SETPIPE_SZ => pipe::end_of(&file).ok_or(Errno::EBADF)?.set_size(argument),
        F_GETOWN => Ok(0),
        // No lease is ever held.
        F_GETLEASE => Ok(sis_abi::fs::F_UNLCK as usize),
        F_ADD_SEALS | F_GET_SEALS => file.ops.seals(command == F_ADD_SEALS, call.uint(2)),
        _ => Err(Errno::EINVAL),
    }
}

fn owner(is_ofd: bool, files: &Arc<FdTable>, file: &Arc<OpenFile>) -> Owner {
    if is_ofd {
        Owner::description(file)
    } else {
        Owner::table(files)
    }
}

fn flock(call: &mut Call<'_>) -> Result<usize> {
    let file = args::file(call, 0)?;
    let operation = call.uint(1);
    let waits = operation & LOCK_NB == 0;
    match operation & !LOCK_NB {
        LOCK_SH => locks::flock(&file, Some(false), waits)?,
        LOCK_EX => locks::flock(&file, Some(true), waits)?,
        LOCK_UN => locks::flock(&file, None, waits)?,
        _ => return Err(Errno::EINVAL),
    }
    Ok(0)
}

const FIONBIO: u32 = 0x5421;
const FIONCLEX: u32 = 0x5450;
const FIOCLEX: u32 = 0x5451;
const FIOASYNC: u32 = 0x5452;
const FIONREAD: u32 = 0x541b;

fn ioctl(call: &mut Call<'_>) -> Result<usize> {
    let (fd, command, argument) = (call.int(0), call.uint(1), call.usize(2));
    let file = args::file(call, 0)?;
    match command {
        FIOCLEX | FIONCLEX => {
            call.thread.files().set_close_on_exec(fd, command == FIOCLEX)?;
            Ok(0)
        }
        FIONBIO => {
            let on = UserPtr::<i32>::new(argument).read()? != 0;
            file.set_flags(O_NONBLOCK, if on { O_NONBLOCK } else { 0 });
            Ok(0)
        }
        FIOASYNC => {
            let on = UserPtr::<i32>::new(argument).read()? != 0;
            if on { Err(Errno::ENOTTY) } else { Ok(0) }
        }
        FIONREAD
            if file
                .inode()
                .is_some_and(|i| i.kind() == crate::fs::inode::FileType::Regular) =>
        {
            let size = file.inode().map_or(0, |i| i.metadata().size);
            let left = size.saturating_sub(*file.position.lock());
            UserPtr::<i32>::new(argument).write(&i32::try_from(left).unwrap_or(i32::MAX))?;
            Ok(0)
        }
        _ => file.ops.ioctl(command, argument),
    }
}
