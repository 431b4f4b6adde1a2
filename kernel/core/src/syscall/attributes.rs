//! Changing attributes: chmod, chown, times.

use alloc::sync::Arc;

use sis_abi::fs::{UTIME_NOW, UTIME_OMIT};
use sis_abi::time::Timespec;

use super::args;
use super::{Call, Row, built};
use crate::fs::file::OpenFile;
use crate::fs::flags::{AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, S_IFMT, S_ISGID, S_ISUID};
use crate::fs::inode::{AttributeChange, FileType, Inode, now};
use crate::fs::notify;
use crate::fs::path::Path;
use crate::fs::permission::{self, MAY_WRITE};
use crate::fs::walk::Base;
use crate::process::cred::{Capability, Cred};
use crate::user::UserPtr;
use crate::{Errno, Result};

pub(super) const CALLS: &[Row] = &[
    built(52, "fchmod", fchmod),
    built(53, "fchmodat", fchmodat),
    built(54, "fchownat", fchownat),
    built(55, "fchown", fchown),
    built(88, "utimensat", utimensat),
    built(452, "fchmodat2", fchmodat2),
];

const NS: i64 = 1_000_000_000;

/// What an *at call means: a place, or an open file without one.
enum Target {
    Place(Path),
    Loose(Arc<dyn Inode>),
}

impl Target {
    fn inode(&self) -> &Arc<dyn Inode> {
        match self {
            Self::Place(p) => p.inode(),
            Self::Loose(i) => i,
        }
    }

    fn change(&self, change: &AttributeChange) -> Result<()> {
        self.inode().set_attributes(change)?;
        if let Self::Place(p) = self {
            notify::attributes_changed(&p.dentry, change);
        }
        Ok(())
    }

    fn writable(&self) -> Result<()> {
        match self {
            Self::Place(p) => p.mount.writable(),
            Self::Loose(_) => Ok(()),
        }
    }

    fn of_file(file: &OpenFile) -> Result<Self> {
        match &file.path {
            Some(p) => Ok(Self::Place(p.clone())),
            None => file.ops.inode().map(Self::Loose).ok_or(Errno::EPERM),
        }
    }
}

fn target_at(call: &Call<'_>, flags: u32) -> Result<Target> {
    let name = args::path(call, 1)?;
    if name.is_empty() && flags & AT_EMPTY_PATH != 0 && call.int(0) != AT_FDCWD {
        return Target::of_file(&*call.thread.files().get(call.int(0))?);
    }
    let base = Base::at(call.thread, call.int(0), &name)?;
    Ok(Target::Place(base.resolve_at(
        &name,
        flags & AT_SYMLINK_NOFOLLOW == 0,
        flags,
    )?))
}

fn change_mode(target: &Target, cred: &Cred, mode: u32) -> Result<usize> {
    target.writable()?;
    let inode = target.inode();
    let owner = inode.owner();
    if !permission::is_owner(&owner, cred) {
        return Err(Errno::EPERM);
    }
    if inode.kind() == FileType::Symlink {
        return Err(Errno::EOPNOTSUPP);
    }
    let mut mode = mode & 0o7777;
    if !cred.in_group(owner.gid) && !cred.has(Capability::Fsetid) {
        mode &= !S_ISGID;
    }
    target.change(&AttributeChange {
        mode: Some(mode),
        ..AttributeChange::default()
    })?;
    Ok(0)
}

fn fchmod(call: &mut Call<'_>) -> Result<usize> {
    let target = Target::of_file(&*args::file(call, 0)?)?;
    change_mode(&target, &call.thread.cred(), call.uint(1))
}

fn fchmodat(call: &mut Call<'_>) -> Result<usize> {
    change_mode(&target_at(call, 0)?, &call.thread.cred(), call.uint(2))
}

fn fchmodat2(call: &mut Call<'_>) -> Result<usize> {
    let flags = call.uint(3);
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    change_mode(&target_at(call, flags)?, &call.thread.cred(), call.uint(2))
}

fn change_owner(target: &Target, cred: &Cred, uid: u32, gid: u32) -> Result<usize> {
    target.writable()?;
    let inode = target.inode();
    let owner = inode.owner();
    let (uid, gid) = ((uid != u32::MAX).then_some(uid), (gid != u32::MAX).then_some(gid));
    if !cred.has(Capability::Chown) {
        let is_mine = cred.fsuid == owner.uid;
        if uid.is_some_and(|u| !is_mine || u != owner.uid)
            || gid.is_some_and(|g| !is_mine || (g != owner.gid && !cred.in_group(g)))
        {
            return Err(Errno::EPERM);
        }
    }
    let mut change = AttributeChange {
        uid,
        gid,
        ..AttributeChange::default()
    };
    // A new owner does not inherit set-id bits (chown(2)).
    let mut mode = owner.mode & !S_IFMT;
    if inode.kind() == FileType::Regular && mode & (S_ISUID | S_ISGID) != 0 {
        mode &= !S_ISUID;
        if mode & 0o010 != 0 {
            mode &= !S_ISGID;
        }
        change.mode = Some(mode);
    }
    target.change(&change)?;
    Ok(0)
}

fn fchown(call: &mut Call<'_>) -> Result<usize> {
    let target = Target::of_file(&*args::file(call, 0)?)?;
    change_owner(&target, &call.thread.cred(), call.uint(1), call.uint(2))
}

fn fchownat(call: &mut Call<'_>) -> Result<usize> {
    let flags = call.uint(4);
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    change_owner(
        &target_at(call, flags)?,
        &call.thread.cred(),
        call.uint(2),
        call.uint(3),
    )
}

/// A time of utimensat: `None` leaves it, the flag says that it is simply now.
fn time(t: Timespec, current: i64) -> Result<(Option<i64>, bool)> {
    match t.tv_nsec {
        UTIME_NOW => Ok((Some(current), true)),
        UTIME_OMIT => Ok((None, false)),
        n @ 0..NS => Ok((Some(t.tv_sec.saturating_mul(NS).saturating_add(n)), false)),
        _ => Err(Errno::EINVAL),
    }
}

fn utimensat(call: &mut Call<'_>) -> Result<usize> {
    let flags = call.uint(3);
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let current = now();
    let times = UserPtr::<Timespec>::new(call.usize(2));
    let (atime, mtime) = if times.is_null() {
        ((Some(current), true), (Some(current), true))
    } else {
        (time(times.read()?, current)?, time(times.nth(1)?.read()?, current)?)
    };
    if atime.0.is_none() && mtime.0.is_none() {
        return Ok(0);
    }
    // A NULL name is the descriptor itself (futimens).
    let target = if call.usize(1) == 0 {
        if call.int(0) == AT_FDCWD {
            return Err(Errno::EFAULT);
        }
        if flags & AT_SYMLINK_NOFOLLOW != 0 {
            return Err(Errno::EINVAL);
        }
        Target::of_file(&*call.thread.files().get(call.int(0))?)?
    } else {
        target_at(call, flags)?
    };
    target.writable()?;
    let cred = call.thread.cred();
    if !permission::is_owner(&target.inode().owner(), &cred) {
        if !(atime.1 && mtime.1) {
            return Err(Errno::EPERM);
        }
        permission::check(target.inode(), &cred, MAY_WRITE)?;
    }
    let change = AttributeChange {
        atime_ns: atime.0,
        mtime_ns: mtime.0,
        ..AttributeChange::default()
    };
    target.change(&change)?;
    Ok(0)
}
