//! Opening files, and what concerns their content as a whole: size, space, durability.

use sis_abi::fs::OpenHow;

use super::args;
use super::{Call, Row, built, partial};
use crate::fs::file::{Advice, OpenFile};
use crate::fs::flags::{
    AT_FDCWD, O_CLOEXEC, O_CREAT, O_DIRECTORY, O_NOFOLLOW, O_PATH, O_TMPFILE, O_TMPFILE_BIT, OPEN_FLAGS,
};
use crate::fs::inode::{FileType, Inode};
use crate::fs::notify;
use crate::fs::permission::{self, MAY_WRITE};
use crate::fs::text::Writing;
use crate::fs::tmpfs::memfd;
use crate::fs::walk::{Base, Resolve};
use crate::fs::{self, mount};
use crate::user::{UserSlice, read_cstr};
use crate::{Errno, Result};
use alloc::sync::Arc;

pub(super) const CALLS: &[Row] = &[
    built(45, "truncate", truncate),
    built(46, "ftruncate", ftruncate),
    partial(47, "fallocate", fallocate, "collapsing and inserting ranges"),
    built(56, "openat", openat),
    built(81, "sync", sync),
    built(82, "fsync", fsync),
    built(83, "fdatasync", fdatasync),
    built(84, "sync_file_range", sync_file_range),
    built(166, "umask", umask),
    built(213, "readahead", readahead),
    built(223, "fadvise64", fadvise64),
    built(267, "syncfs", syncfs),
    partial(279, "memfd_create", memfd_create, "sealing and huge pages"),
    built(437, "openat2", openat2),
];

fn openat(call: &mut Call<'_>) -> Result<usize> {
    let name = args::path(call, 1)?;
    // openat ignores bits that it does not know; openat2 does not.
    let flags = call.uint(2) & OPEN_FLAGS;
    let base = Base::at(call.thread, call.int(0), &name)?;
    open(call, &base, &name, flags, call.uint(3))
}

fn open(call: &Call<'_>, base: &Base, name: &[u8], flags: u32, mode: u32) -> Result<usize> {
    let mode = mode & 0o7777 & !call.thread.fs().umask();
    let file = fs::open(base, name, flags, mode)?;
    let files = call.thread.files();
    let fd = files.insert(file, flags & O_CLOEXEC != 0, 0, call.thread.process.nofile_limit())?;
    Ok(fd as usize)
}

/// The most bytes of an `open_how`, as on Linux a page.
const OPEN_HOW_MAX: usize = 4096;

fn openat2(call: &mut Call<'_>) -> Result<usize> {
    let size = call.usize(3);
    if size < 24 {
        return Err(Errno::EINVAL);
    }
    if size > OPEN_HOW_MAX {
        return Err(Errno::E2BIG);
    }
    let bytes = UserSlice::new(call.usize(2), size).read_to_vec(OPEN_HOW_MAX)?;
    let how: OpenHow = sis_abi::Layout::read(&bytes).ok_or(Errno::EINVAL)?;
    if bytes.iter().skip(24).any(|b| *b != 0) {
        return Err(Errno::E2BIG);
    }
    let flags = u32::try_from(how.flags).map_err(|_| Errno::EINVAL)?;
    if flags & !OPEN_FLAGS != 0
        || (flags & O_PATH != 0 && flags & !(O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) != 0)
    {
        return Err(Errno::EINVAL);
    }
    let makes = flags & O_CREAT != 0 || flags & O_TMPFILE_BIT != 0;
    if (how.mode != 0 && !makes) || how.mode & !0o7777 != 0 || (makes && flags & O_TMPFILE == O_TMPFILE_BIT) {
        return Err(Errno::EINVAL);
    }
    let resolve = Resolve::from_bits(how.resolve & !RESOLVE_CACHED).ok_or(Errno::EINVAL)?;
    if how.resolve & RESOLVE_CACHED != 0 {
        return Err(Errno::EAGAIN);
    }
    if resolve.contains(Resolve::BENEATH | Resolve::IN_ROOT) {
        return Err(Errno::EINVAL);
    }
    let name = args::path(call, 1)?;
    let relative = name.first() != Some(&b'/') || resolve.intersects(Resolve::IN_ROOT | Resolve::BENEATH);
    let mut base = Base::at(call.thread, call.int(0), if relative { b"." } else { &name })?;
    if resolve.contains(Resolve::IN_ROOT) {
        base.root = base.start.clone();
    }
    base.resolve = resolve;
    open(call, &base, &name, flags, how.mode as u32)
}

/// RESOLVE_CACHED: answer only from memory; `EAGAIN` says to try without.
const RESOLVE_CACHED: u64 = 32;

fn umask(call: &mut Call<'_>) -> Result<usize> {
    Ok(call.thread.fs().set_umask(call.uint(0)) as usize)
}

/// The new size of a truncation; `EINVAL` when negative.
fn size(value: u64) -> Result<u64> {
    if i64::try_from(value).is_ok() {
        Ok(value)
    } else {
        Err(Errno::EINVAL)
    }
}

fn truncate(call: &mut Call<'_>) -> Result<usize> {
    let size = size(call.arg(1))?;
    let name = args::path(call, 0)?;
    let base = Base::at(call.thread, AT_FDCWD, &name)?;
    let path = base.resolve(&name, true)?;
    match path.dentry.kind() {
        FileType::Regular => {}
        FileType::Directory => return Err(Errno::EISDIR),
        _ => return Err(Errno::EINVAL),
    }
    path.mount.writable()?;
    permission::check(path.inode(), &base.cred, MAY_WRITE)?;
    let _writing = Writing::begin(path.inode())?;
    path.inode().set_size(size)?;
    notify::truncated(&path.dentry);
    Ok(0)
}

/// The regular file behind a descriptor that is open for writing.
fn writable_regular(file: &OpenFile) -> Result<Arc<dyn Inode>> {
    let inode = file
        .inode()
        .filter(|i| i.kind() == FileType::Regular)
        .ok_or(Errno::EINVAL)?;
    if file.writable() { Ok(inode) } else { Err(Errno::EINVAL) }
}

fn ftruncate(call: &mut Call<'_>) -> Result<usize> {
    let size = size(call.arg(1))?;
    let file = args::file(call, 0)?;
    writable_regular(&file)?.set_size(size)?;
    notify::resized(&file);
    Ok(0)
}

fn fallocate(call: &mut Call<'_>) -> Result<usize> {
    let (mode, offset, len) = (call.uint(1), call.arg(2) as i64, call.arg(3) as i64);
    if offset < 0 || len <= 0 {
        return Err(Errno::EINVAL);
    }
    let file = args::file(call, 0)?;
    if !file.writable() {
        return Err(Errno::EBADF);
    }
    let inode = file.inode().ok_or(Errno::ESPIPE)?;
    match inode.kind() {
        FileType::Regular => {}
        FileType::Fifo => return Err(Errno::ESPIPE),
        FileType::Directory => return Err(Errno::EISDIR),
        _ => return Err(Errno::ENODEV),
    }
    inode.allocate(mode, offset as u64, len as u64)?;
    notify::resized(&file);
    Ok(0)
}

fn sync(_call: &mut Call<'_>) -> Result<usize> {
    mount::sync_all();
    crate::block::flush_all();
    Ok(0)
}

fn fsync(call: &mut Call<'_>) -> Result<usize> {
    sync_file(call, false)
}

fn fdatasync(call: &mut Call<'_>) -> Result<usize> {
    sync_file(call, true)
}

fn sync_file(call: &Call<'_>, data_only: bool) -> Result<usize> {
    let file = args::file(call, 0)?;
    if let Some(done) = file.ops.sync(data_only) {
        return done.map(|()| 0);
    }
    match &file.path {
        Some(p)
            if matches!(
                p.dentry.kind(),
                FileType::Regular | FileType::Directory | FileType::BlockDevice
            ) =>
        {
            p.mount.superblock().fs().sync()?;
            Ok(0)
        }
        None if file.inode().is_some() => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}

fn syncfs(call: &mut Call<'_>) -> Result<usize> {
    let file = args::file(call, 0)?;
    if let Some(p) = &file.path {
        p.mount.superblock().fs().sync()?;
    }
    Ok(0)
}

const SYNC_FILE_RANGE_FLAGS: u32 = 7;

fn sync_file_range(call: &mut Call<'_>) -> Result<usize> {
    if call.uint(3) & !SYNC_FILE_RANGE_FLAGS != 0 || (call.arg(1) as i64) < 0 || (call.arg(2) as i64) < 0 {
        return Err(Errno::EINVAL);
    }
    let file = args::file(call, 0)?;
    if file.inode().is_none_or(|i| i.kind() == FileType::Fifo) {
        return Err(Errno::ESPIPE);
    }
    // What is under way already (SYNC_FILE_RANGE_WAIT_BEFORE), starting, and waiting for it.
    let wait = call.uint(3) & (1 | 4) != 0;
    let len = match call.arg(2) {
        0 => u64::MAX,
        n => n,
    };
    if call.uint(3) == 0 {
        return Ok(0);
    }
    match file.ops.sync_range(call.arg(1), len, wait) {
        Some(done) => done.map(|()| 0),
        None => fsync(call),
    }
}

fn fadvise64(call: &mut Call<'_>) -> Result<usize> {
    let file = args::file(call, 0)?;
    if !file.ops.is_seekable() {
        return Err(Errno::ESPIPE);
    }
    let advice = match call.uint(3) {
        0 => Advice::Normal,
        1 => Advice::Random,
        2 => Advice::Sequential,
        3 => Advice::WillNeed,
        4 => Advice::DontNeed,
        5 => Advice::NoReuse,
        _ => return Err(Errno::EINVAL),
    };
    let (offset, len) = (call.arg(1), call.arg(2) as i64);
    // 0: to the end.
    let len = match u64::try_from(len).map_err(|_| Errno::EINVAL)? {
        0 => u64::MAX,
        n => n,
    };
    file.ops.advise(offset, len, advice);
    Ok(0)
}

fn readahead(call: &mut Call<'_>) -> Result<usize> {
    let file = args::file(call, 0)?;
    if !file.readable() {
        return Err(Errno::EBADF);
    }
    match file.inode().map(|i| i.kind()) {
        Some(FileType::Regular | FileType::BlockDevice) => {
            file.ops.advise(call.arg(1), call.arg(2), Advice::WillNeed);
            Ok(0)
        }
        _ => Err(Errno::EINVAL),
    }
}

const MFD_CLOEXEC: u32 = 1;
const MFD_NAME_MAX: usize = 249;

fn memfd_create(call: &mut Call<'_>) -> Result<usize> {
    let flags = call.uint(1);
    if flags & !MFD_CLOEXEC != 0 {
        return Err(Errno::EINVAL);
    }
    let name = read_cstr(call.usize(0), MFD_NAME_MAX).map_err(|e| match e {
        Errno::ENAMETOOLONG => Errno::EINVAL,
        other => other,
    })?;
    let file = memfd::create(&name, &call.thread.cred())?;
    let files = call.thread.files();
    Ok(files.insert(file, flags & MFD_CLOEXEC != 0, 0, call.thread.process.nofile_limit())? as usize)
}
