//! Directories and names: mkdir, unlink, rename, links, getdents64, and where a process is.

use alloc::vec::Vec;

use sis_abi::fs::{dirent64_bytes, write_dirent64};

use super::args;
use super::{Call, Row, built};
use crate::fs::flags::{AT_EMPTY_PATH, AT_FDCWD, AT_REMOVEDIR, AT_SYMLINK_FOLLOW, PATH_MAX, S_IFMT};
use crate::fs::inode::{FileType, LinkTarget, NewKind};
use crate::fs::names;
use crate::fs::notify;
use crate::fs::path::Path;
use crate::fs::permission::{self, MAY_EXEC};
use crate::fs::walk::Base;
use crate::process::cred::Capability;
use crate::user::UserSlice;
use crate::{Errno, Result};

pub(super) const CALLS: &[Row] = &[
    built(17, "getcwd", getcwd),
    built(33, "mknodat", mknodat),
    built(34, "mkdirat", mkdirat),
    built(35, "unlinkat", unlinkat),
    built(36, "symlinkat", symlinkat),
    built(37, "linkat", linkat),
    built(38, "renameat", renameat),
    built(49, "chdir", chdir),
    built(50, "fchdir", fchdir),
    built(51, "chroot", chroot),
    built(61, "getdents64", getdents64),
    built(78, "readlinkat", readlinkat),
    built(276, "renameat2", renameat2),
];

fn getcwd(call: &mut Call<'_>) -> Result<usize> {
    let (root, cwd) = call.thread.fs().places();
    if cwd.dentry.is_unlinked() {
        return Err(Errno::ENOENT);
    }
    let mut text = match cwd.from_root(&root) {
        Some(t) => t,
        None => {
            let mut t = Vec::from(&b"(unreachable)"[..]);
            t.extend_from_slice(&cwd.display(&root));
            t
        }
    };
    text.push(0);
    if text.len() > call.usize(1) {
        return Err(Errno::ERANGE);
    }
    UserSlice::new(call.usize(0), text.len()).write_prefix(&text)
}

/// `EACCES` and `ENOTDIR` unless `path` is a directory that may be searched.
fn check_directory(base: &Base, path: &Path) -> Result<()> {
    if !path.dentry.is_directory() {
        return Err(Errno::ENOTDIR);
    }
    permission::check(path.inode(), &base.cred, MAY_EXEC)
}

fn chdir(call: &mut Call<'_>) -> Result<usize> {
    let name = args::path(call, 0)?;
    let base = Base::of(call.thread);
    let path = base.resolve(&name, true)?;
    check_directory(&base, &path)?;
    call.thread.fs().set_cwd(path);
    Ok(0)
}

fn fchdir(call: &mut Call<'_>) -> Result<usize> {
    let file = call.thread.files().get(call.int(0))?;
    let path = file.path.clone().ok_or(Errno::ENOTDIR)?;
    check_directory(&Base::of(call.thread), &path)?;
    call.thread.fs().set_cwd(path);
    Ok(0)
}

fn chroot(call: &mut Call<'_>) -> Result<usize> {
    let name = args::path(call, 0)?;
    let base = Base::of(call.thread);
    let path = base.resolve(&name, true)?;
    check_directory(&base, &path)?;
    if !base.cred.has(Capability::SysChroot) {
        return Err(Errno::EPERM);
    }
    call.thread.fs().set_root(path);
    Ok(0)
}

fn mkdirat(call: &mut Call<'_>) -> Result<usize> {
    let name = args::path(call, 1)?;
    let base = Base::at(call.thread, call.int(0), &name)?;
    let mode = call.uint(2) & 0o1777 & !call.thread.fs().umask();
    names::create(&base, &name, NewKind::Directory, mode)?;
    Ok(0)
}

fn mknodat(call: &mut Call<'_>) -> Result<usize> {
    let name = args::path(call, 1)?;
    let mode = call.uint(2);
    let kind = match FileType::from_mode(mode) {
        None if mode & S_IFMT == 0 => NewKind::File,
        Some(FileType::Regular) => NewKind::File,
        Some(FileType::Directory) => return Err(Errno::EPERM),
        Some(FileType::Symlink) | None => return Err(Errno::EINVAL),
        Some(k @ (FileType::CharDevice | FileType::BlockDevice)) => {
            // The kernel's own encoding of 32 bits (new_decode_dev).
            let dev = call.uint(3);
            let (major, minor) = ((dev & 0xf_ff00) >> 8, (dev & 0xff) | ((dev >> 12) & 0xf_ff00));
            NewKind::Node(k, crate::fs::inode::make_dev(major, minor))
        }
        Some(k) => NewKind::Node(k, 0),
    };
    let base = Base::at(call.thread, call.int(0), &name)?;
    names::create(&base, &name, kind, mode & 0o7777 & !call.thread.fs().umask())?;
    Ok(0)
}

fn symlinkat(call: &mut Call<'_>) -> Result<usize> {
    let target = args::path(call, 0)?;
    if target.is_empty() {
        return Err(Errno::ENOENT);
    }
    let name = args::path(call, 2)?;
    let base = Base::at(call.thread, call.int(1), &name)?;
    names::create(&base, &name, NewKind::Symlink(&target), 0o777)?;
    Ok(0)
}

fn linkat(call: &mut Call<'_>) -> Result<usize> {
    let flags = call.uint(4);
    if flags & !(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let (old, new) = (args::path(call, 1)?, args::path(call, 3)?);
    let old_base = Base::at(call.thread, call.int(0), &old)?;
    if flags & AT_EMPTY_PATH != 0 && !old_base.cred.has(Capability::DacReadSearch) {
        return Err(Errno::ENOENT);
    }
    let path = old_base.resolve_at(&old, flags & AT_SYMLINK_FOLLOW != 0, flags)?;
    let new_base = Base::at(call.thread, call.int(2), &new)?;
    names::link(&path, &new_base, &new)?;
    Ok(0)
}

fn unlinkat(call: &mut Call<'_>) -> Result<usize> {
    let flags = call.uint(2);
    if flags & !AT_REMOVEDIR != 0 {
        return Err(Errno::EINVAL);
    }
    let name = args::path(call, 1)?;
    let base = Base::at(call.thread, call.int(0), &name)?;
    if flags & AT_REMOVEDIR != 0 {
        names::rmdir(&base, &name)?;
    } else {
        names::unlink(&base, &name)?;
    }
    Ok(0)
}

fn rename(call: &Call<'_>, flags: u32) -> Result<usize> {
    let (old, new) = (args::path(call, 1)?, args::path(call, 3)?);
    let old_base = Base::at(call.thread, call.int(0), &old)?;
    let new_base = Base::at(call.thread, call.int(2), &new)?;
    names::rename(&old_base, &old, &new_base, &new, flags)?;
    Ok(0)
}

fn renameat(call: &mut Call<'_>) -> Result<usize> {
    rename(call, 0)
}

fn renameat2(call: &mut Call<'_>) -> Result<usize> {
    rename(call, call.uint(4))
}

fn readlinkat(call: &mut Call<'_>) -> Result<usize> {
    let size = call.int(3);
    if size <= 0 {
        return Err(Errno::EINVAL);
    }
    let name = args::path(call, 1)?;
    let base = Base::at(call.thread, call.int(0), &name)?;
    // An empty name is the link itself, opened with O_PATH.
    let path = base.resolve_at(&name, false, if call.int(0) == AT_FDCWD { 0 } else { AT_EMPTY_PATH })?;
    if path.dentry.kind() != FileType::Symlink {
        return Err(if name.is_empty() { Errno::ENOENT } else { Errno::EINVAL });
    }
    let text = match path.inode().read_link()? {
        LinkTarget::Text(t) | LinkTarget::Place(_, t) => t,
    };
    UserSlice::new(call.usize(2), (size as usize).min(PATH_MAX)).write_prefix(&text)
}

/// Most bytes that one getdents64 gathers.
const GATHER_MAX: usize = 32 * 1024;

fn getdents64(call: &mut Call<'_>) -> Result<usize> {
    let file = args::file(call, 0)?;
    let path = file
        .path
        .as_ref()
        .filter(|p| p.dentry.is_directory())
        .ok_or(Errno::ENOTDIR)?;
    if path.dentry.is_unlinked() {
        return Err(Errno::ENOENT);
    }
    let root = call.thread.fs().root();
    let mut position = file.position.lock();
    let mut out = alloc::vec![0u8; call.usize(2).min(GATHER_MAX)];
    let mut used = 0;
    let mut at = *position;
    let mut full = false;
    let mut add = |name: &[u8], ino: u64, kind: FileType, next: u64| -> bool {
        let room = out.get_mut(used..).unwrap_or_default();
        match write_dirent64(room, ino, i64::try_from(next).unwrap_or(i64::MAX), kind as u8, name) {
            Some(n) => {
                used += n;
                at = next;
                true
            }
            None => {
                full = true;
                false
            }
        }
    };
    let mut going = true;
    if *position == 0 {
        going = add(b".", path.inode().metadata().ino, FileType::Directory, 1);
    }
    if going && *position <= 1 {
        going = add(b"..", path.up(&root).inode().metadata().ino, FileType::Directory, 2);
    }
    if going {
        let from = (*position).max(2);
        path.inode()
            .read_dir(from, &mut |e| add(e.name, e.ino, e.kind, e.next))?;
    }
    notify::read(&file, 1);
    if used == 0 && full {
        return Err(Errno::EINVAL);
    }
    let n = UserSlice::new(call.usize(1), used).write_prefix(out.get(..used).unwrap_or_default())?;
    *position = at;
    Ok(n)
}

/// The smallest buffer that holds any entry.
const _: () = assert!(dirent64_bytes(255) <= GATHER_MAX);
