//! inotify(7).

use alloc::sync::Arc;

use super::args;
use super::{Call, Row, built};
use crate::fs::file::OpenFile;
use crate::fs::flags::{AT_FDCWD, O_CLOEXEC, O_NONBLOCK, O_RDONLY};
use crate::fs::notify::event::{
    IN_ALL_EVENTS, IN_DONT_FOLLOW, IN_EXCL_UNLINK, IN_IGNORED, IN_ISDIR, IN_MASK_ADD, IN_MASK_CREATE, IN_ONESHOT,
    IN_ONLYDIR, IN_Q_OVERFLOW, IN_UNMOUNT,
};
use crate::fs::notify::inotify::Inotify;
use crate::fs::permission::{self, MAY_READ};
use crate::fs::walk::Base;
use crate::{Errno, Result};

pub(super) const CALLS: &[Row] = &[
    built(26, "inotify_init1", inotify_init1),
    built(27, "inotify_add_watch", inotify_add_watch),
    built(28, "inotify_rm_watch", inotify_rm_watch),
];

fn inotify_init1(call: &mut Call<'_>) -> Result<usize> {
    let flags = call.uint(0);
    if flags & !(O_CLOEXEC | O_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let instance = Inotify::new(call.thread.cred().euid)?;
    let file = OpenFile::new(instance, O_RDONLY | (flags & O_NONBLOCK), None);
    let limit = call.thread.process.nofile_limit();
    Ok(call.thread.files().insert(file, flags & O_CLOEXEC != 0, 0, limit)? as usize)
}

fn instance(file: &Arc<OpenFile>) -> Result<&Inotify> {
    file.ops.as_any().downcast_ref().ok_or(Errno::EINVAL)
}

/// A mask without any of these asks for nothing.
const KNOWN: u32 = IN_ALL_EVENTS
    | IN_UNMOUNT
    | IN_Q_OVERFLOW
    | IN_IGNORED
    | IN_ONLYDIR
    | IN_DONT_FOLLOW
    | IN_EXCL_UNLINK
    | IN_MASK_CREATE
    | IN_MASK_ADD
    | IN_ISDIR
    | IN_ONESHOT;

fn inotify_add_watch(call: &mut Call<'_>) -> Result<usize> {
    let mask = call.uint(2);
    // Linux ignores other bits next to one of these.
    if mask & KNOWN == 0 {
        return Err(Errno::EINVAL);
    }
    let file = call.thread.files().get(call.int(0))?;
    if mask & IN_MASK_ADD != 0 && mask & IN_MASK_CREATE != 0 {
        return Err(Errno::EINVAL);
    }
    let instance = instance(&file)?;
    let name = args::path(call, 1)?;
    let base = Base::at(call.thread, AT_FDCWD, &name)?;
    let path = base.resolve(&name, mask & IN_DONT_FOLLOW == 0)?;
    if mask & IN_ONLYDIR != 0 && !path.dentry.is_directory() {
        return Err(Errno::ENOTDIR);
    }
    permission::check(path.inode(), &base.cred, MAY_READ)?;
    Ok(instance.add(&path, mask)? as usize)
}

fn inotify_rm_watch(call: &mut Call<'_>) -> Result<usize> {
    let file = call.thread.files().get(call.int(0))?;
    instance(&file)?.remove(call.int(1))?;
    Ok(0)
}
