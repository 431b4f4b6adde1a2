//! open(2).

use alloc::sync::Arc;
use core::any::Any;
use core::sync::atomic::{AtomicU64, Ordering};

use sis_machine::sync::Once;

use super::dentry::Dentry;
use super::device;
use super::file::{File, Hold, IoFlags, OpenFile, Whence};
use super::flags::{
    O_ACCMODE, O_CLOEXEC, O_CREAT, O_DIRECT, O_DIRECTORY, O_EXCL, O_NOATIME, O_NOFOLLOW, O_PATH, O_RDONLY, O_TMPFILE,
    O_TMPFILE_BIT, O_TRUNC, O_WRONLY, STATUS_FLAGS,
};
use super::inode::{FileType, NewInode, NewKind};
use super::mount::MountFlags;
use super::names;
use super::notify;
use super::path::Path;
use super::permission::{self, MAY_EXEC, MAY_READ, MAY_WRITE};
use super::pipe;
use super::text::{Running, Writing};
use super::walk::{Base, Last, Walker};
use crate::user::Sink;
use crate::{Errno, Result};

/// Opens a name: open(2) with the flags checked by the caller and the umask applied to `mode`.
pub fn open(base: &Base, name: &[u8], flags: u32, mode: u32) -> Result<Arc<OpenFile>> {
    let flags = if flags & O_PATH != 0 {
        flags & (O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
    } else {
        flags
    };
    if flags & O_TMPFILE_BIT != 0 {
        return open_unnamed(base, name, flags, mode);
    }
    let mut walker = Walker::new(base, name)?;
    if flags & O_CREAT == 0 {
        let path = walker.resolve(flags & O_NOFOLLOW == 0)?;
        return open_path(base, path, flags, false);
    }
    if flags & O_DIRECTORY != 0 {
        return Err(Errno::EINVAL);
    }
    loop {
        match walker.to_last()? {
            Last::Name => {}
            Last::Nothing if !walker.at.dentry.is_directory() => return open_path(base, walker.at, flags, false),
            _ => {
                return Err(if flags & O_EXCL != 0 {
                    Errno::EEXIST
                } else {
                    Errno::EISDIR
                });
            }
        }
        if walker.wants_directory {
            return Err(Errno::EISDIR);
        }
        let child = match walker.child() {
            Err(Errno::ENOENT) => {
                let parent = walker.at.clone();
                let guard = parent.dentry.lock_names()?;
                match parent.dentry.child_locked(walker.name()) {
                    Err(Errno::ENOENT) => {
                        let child = names::create_locked(&parent, base, walker.name(), NewKind::File, mode & 0o7777)?;
                        drop(guard);
                        return open_path(
                            base,
                            Path {
                                mount: parent.mount,
                                dentry: child,
                            },
                            flags & !O_TRUNC,
                            true,
                        );
                    }
                    other => other?,
                }
            }
            other => other?,
        };
        if flags & O_EXCL != 0 {
            return Err(Errno::EEXIST);
        }
        if child.kind() == FileType::Symlink {
            if flags & O_NOFOLLOW != 0 {
                return Err(Errno::ELOOP);
            }
            walker.follow(&child)?;
            continue;
        }
        walker.enter(child)?;
        return open_path(base, walker.at, flags, false);
    }
}

/// Opens a program for execve(2): a regular file that may be run. `EACCES` for everything else.
pub fn open_exec(base: &Base, name: &[u8], follow: bool) -> Result<Arc<OpenFile>> {
    open_exec_path(base, base.resolve(name, follow)?)
}

/// As [`open_exec`], for a place that is known (execveat with AT_EMPTY_PATH).
pub fn open_exec_path(base: &Base, path: Path) -> Result<Arc<OpenFile>> {
    match path.dentry.kind() {
        FileType::Regular => {}
        FileType::Symlink => return Err(Errno::ELOOP),
        _ => return Err(Errno::EACCES),
    }
    permission::check(path.inode(), &base.cred, MAY_EXEC)?;
    if path.mount.flags().contains(MountFlags::NOEXEC) {
        return Err(Errno::EACCES);
    }
    let running = Running::begin(path.inode())?;
    let ops = path.inode().clone().open(O_RDONLY)?;
    let file = OpenFile::holding(ops, O_RDONLY, Some(path), Hold::Running(running));
    notify::opened(&file);
    Ok(file)
}

/// Opens a place; `created`: the caller has just made it, so permissions do not count.
pub fn open_path(base: &Base, path: Path, flags: u32, created: bool) -> Result<Arc<OpenFile>> {
    let kind = path.dentry.kind();
    if flags & O_DIRECTORY != 0 && kind != FileType::Directory {
        return Err(Errno::ENOTDIR);
    }
    if flags & O_PATH != 0 {
        return Ok(OpenFile::new(nothing(), flags & STATUS_FLAGS, Some(path)));
    }
    let access = flags & O_ACCMODE;
    let writes = access != O_RDONLY || flags & O_TRUNC != 0;
    match kind {
        FileType::Symlink => return Err(Errno::ELOOP),
        FileType::Directory if writes || flags & O_CREAT != 0 => return Err(Errno::EISDIR),
        FileType::CharDevice | FileType::BlockDevice if path.mount.flags().contains(MountFlags::NODEV) => {
            return Err(Errno::EACCES);
        }
        FileType::Regular if writes => path.mount.writable()?,
        _ => {}
    }
    if !created {
        let mut wanted = if access == O_WRONLY { 0 } else { MAY_READ };
        if writes {
            wanted |= MAY_WRITE;
        }
        permission::check(path.inode(), &base.cred, wanted)?;
        if flags & O_NOATIME != 0 && !permission::is_owner(&path.inode().owner(), &base.cred) {
            return Err(Errno::EPERM);
        }
    }
    let inode = path.inode();
    let hold = if kind == FileType::Regular && writes {
        Hold::Writing(Writing::begin(inode)?)
    } else {
        Hold::None
    };
    let ops = match kind {
        FileType::Directory => directory(),
        FileType::CharDevice | FileType::BlockDevice => {
            let ops = device::open(kind, inode.metadata().rdev, flags)?;
            check_direct(ops.as_ref(), flags)?;
            ops
        }
        // There are no packets in pipes.
        FileType::Fifo if flags & O_DIRECT != 0 => return Err(Errno::EINVAL),
        FileType::Fifo => pipe::open_fifo(inode, flags)?,
        FileType::Regular => {
            let ops = inode.clone().open(flags)?;
            check_direct(ops.as_ref(), flags)?;
            if flags & O_TRUNC != 0 {
                inode.set_size(0)?;
                notify::truncated(&path.dentry);
            }
            ops
        }
        FileType::Socket | FileType::Symlink => return Err(Errno::ENXIO),
    };
    // O_TRUNC without write access writes only now.
    let hold = if access == O_RDONLY { Hold::None } else { hold };
    let file = OpenFile::holding(ops, flags & STATUS_FLAGS, Some(path), hold);
    notify::opened(&file);
    Ok(file)
}

/// `EINVAL` where O_DIRECT means nothing.
fn check_direct(ops: &dyn File, flags: u32) -> Result<()> {
    if flags & O_DIRECT != 0 && !ops.can_direct() {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

static NEXT_UNNAMED: AtomicU64 = AtomicU64::new(1);

/// O_TMPFILE: a file without a name in the file system of a directory.
fn open_unnamed(base: &Base, name: &[u8], flags: u32, mode: u32) -> Result<Arc<OpenFile>> {
    if flags & O_TMPFILE != O_TMPFILE || flags & O_ACCMODE == O_RDONLY || flags & O_CREAT != 0 {
        return Err(Errno::EINVAL);
    }
    let dir = base.resolve(name, true)?;
    if !dir.dentry.is_directory() {
        return Err(Errno::ENOTDIR);
    }
    dir.mount.writable()?;
    permission::check(dir.inode(), &base.cred, MAY_WRITE | MAY_EXEC)?;
    let (gid, mode) = permission::new_owner(dir.inode(), &base.cred, FileType::Regular, mode & 0o7777);
    let new = NewInode {
        kind: NewKind::File,
        mode,
        uid: base.cred.fsuid,
        gid,
    };
    let inode = dir.inode().create_unnamed(&new)?;
    let label = alloc::format!("#{}", NEXT_UNNAMED.fetch_add(1, Ordering::Relaxed));
    let dentry = Dentry::unnamed(inode, &dir.dentry, label.as_bytes());
    let path = Path {
        mount: dir.mount,
        dentry,
    };
    open_path(base, path, flags & !(O_TMPFILE | O_TRUNC | O_EXCL), true)
}

/// An open directory: getdents64 reads it through its path.
struct Directory;

/// The largest position that a directory is sought to.
const POSITION_MAX: u64 = i64::MAX as u64;

impl File for Directory {
    fn read(&self, _to: &mut Sink<'_>, _offset: u64, _flags: IoFlags) -> Result<usize> {
        Err(Errno::EISDIR)
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn seek(&self, current: u64, offset: i64, whence: Whence) -> Result<u64> {
        let from = match whence {
            Whence::Start => 0,
            Whence::Current => current,
            _ => return Err(Errno::EINVAL),
        };
        from.checked_add_signed(offset)
            .filter(|p| *p <= POSITION_MAX)
            .ok_or(Errno::EINVAL)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// What O_PATH opens.
struct Nothing;

impl File for Nothing {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn directory() -> Arc<dyn File> {
    static IT: Once<Arc<Directory>> = Once::new();
    IT.call_once(|| Arc::new(Directory)).clone()
}

fn nothing() -> Arc<dyn File> {
    static IT: Once<Arc<Nothing>> = Once::new();
    IT.call_once(|| Arc::new(Nothing)).clone()
}
