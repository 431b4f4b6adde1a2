//! Who may do what with a file (path_resolution(7), "Permissions"; inode(7)).

use alloc::sync::Arc;

use super::flags::{S_ISGID, S_ISVTX};
use super::inode::{FileType, Inode, Owner};
use crate::process::cred::{Capability, Cred};
use crate::{Errno, Result};

/// Running a file, searching a directory.
pub const MAY_EXEC: u32 = 1;
/// Writing.
pub const MAY_WRITE: u32 = 2;
/// Reading.
pub const MAY_READ: u32 = 4;

/// `EACCES` unless everything in `wanted` is granted.
pub fn check(inode: &Arc<dyn Inode>, cred: &Cred, wanted: u32) -> Result<()> {
    let owner = inode.owner();
    let bits = if cred.fsuid == owner.uid {
        owner.mode >> 6
    } else if cred.in_group(owner.gid) {
        owner.mode >> 3
    } else {
        owner.mode
    };
    if wanted & !bits & 7 == 0 {
        return Ok(());
    }
    let is_directory = inode.kind() == FileType::Directory;
    if cred.has(Capability::DacOverride) && (is_directory || wanted & MAY_EXEC == 0 || owner.mode & 0o111 != 0) {
        return Ok(());
    }
    let read_only = wanted == MAY_READ || (is_directory && wanted & MAY_WRITE == 0);
    if cred.has(Capability::DacReadSearch) && read_only {
        return Ok(());
    }
    Err(Errno::EACCES)
}

/// Whether `cred` counts as the file's owner.
pub fn is_owner(owner: &Owner, cred: &Cred) -> bool {
    cred.fsuid == owner.uid || cred.has(Capability::Fowner)
}

/// Whether a name of `victim` may be taken out of `dir`: `EACCES`, and `EPERM` by the sticky bit.
pub fn may_delete(dir: &Arc<dyn Inode>, victim: &Arc<dyn Inode>, cred: &Cred) -> Result<()> {
    check(dir, cred, MAY_WRITE | MAY_EXEC)?;
    let d = dir.owner();
    if d.mode & S_ISVTX != 0 && d.uid != cred.fsuid && victim.owner().uid != cred.fsuid && !cred.has(Capability::Fowner)
    {
        return Err(Errno::EPERM);
    }
    Ok(())
}

/// Group and mode of a file that is made in `dir` (the set-group-id bit of directories is inherited).
pub fn new_owner(dir: &Arc<dyn Inode>, cred: &Cred, kind: FileType, mode: u32) -> (u32, u32) {
    let d = dir.owner();
    if d.mode & S_ISGID == 0 {
        return (cred.fsgid, mode);
    }
    let mode = if kind == FileType::Directory {
        mode | S_ISGID
    } else if mode & (S_ISGID | 0o010) == S_ISGID | 0o010 && !cred.in_group(d.gid) && !cred.has(Capability::Fsetid) {
        mode & !S_ISGID
    } else {
        mode
    };
    (d.gid, mode)
}
