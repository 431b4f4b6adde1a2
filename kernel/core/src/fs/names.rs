//! Making, removing and moving names.

use alloc::sync::Arc;

use sis_machine::sync::{Mutex, Rank};

use super::dentry::Dentry;
use super::inode::{FileType, Inode, NewInode, NewKind, Rename};
use super::notify;
use super::path::Path;
use super::permission::{self, MAY_EXEC, MAY_WRITE};
use super::walk::{Base, Last, Walker};
use crate::process::cred::Capability;
use crate::{Errno, Result};

/// Renames between directories happen one at a time: no directory can come to lie below itself.
static RENAME: Mutex<()> = Mutex::new(Rank::Rename, ());

/// RENAME_NOREPLACE.
pub const RENAME_NOREPLACE: u32 = 1;
/// RENAME_EXCHANGE.
pub const RENAME_EXCHANGE: u32 = 2;

impl NewKind<'_> {
    /// What it will be.
    pub fn file_type(&self) -> FileType {
        match self {
            Self::File => FileType::Regular,
            Self::Directory => FileType::Directory,
            Self::Symlink(_) => FileType::Symlink,
            Self::Node(kind, _) => *kind,
        }
    }
}

/// Makes a file at a name that must be free: mkdir, mknod, symlink, and bind of a socket. `mode` has the umask applied.
pub fn create(base: &Base, name: &[u8], kind: NewKind<'_>, mode: u32) -> Result<Path> {
    let mut walker = Walker::new(base, name)?;
    if walker.to_last()? != Last::Name {
        return Err(Errno::EEXIST);
    }
    walker.searchable()?;
    let parent = walker.at.clone();
    let guard = parent.dentry.lock_names()?;
    match parent.dentry.child_locked(walker.name()) {
        Ok(_) => return Err(Errno::EEXIST),
        Err(Errno::ENOENT) => {}
        Err(e) => return Err(e),
    }
    if walker.wants_directory && !matches!(kind, NewKind::Directory) {
        return Err(Errno::ENOENT);
    }
    let dentry = create_locked(&parent, base, walker.name(), kind, mode)?;
    drop(guard);
    Ok(Path {
        mount: parent.mount,
        dentry,
    })
}

/// Makes a file with the names' lock held and the name known to be free.
pub(super) fn create_locked(
    parent: &Path,
    base: &Base,
    name: &[u8],
    kind: NewKind<'_>,
    mode: u32,
) -> Result<Arc<Dentry>> {
    parent.mount.writable()?;
    let cred = &base.cred;
    permission::check(parent.inode(), cred, MAY_WRITE | MAY_EXEC)?;
    let file_type = kind.file_type();
    if matches!(file_type, FileType::CharDevice | FileType::BlockDevice) && !cred.has(Capability::Mknod) {
        return Err(Errno::EPERM);
    }
    let (gid, mode) = permission::new_owner(parent.inode(), cred, file_type, mode);
    let new = NewInode {
        kind,
        mode,
        uid: cred.fsuid,
        gid,
    };
    let inode = parent.inode().create(name, &new)?;
    let dentry = parent.dentry.enter(name, inode)?;
    notify::created(parent.inode(), name, dentry.inode());
    Ok(dentry)
}

/// link(2): another name for a file.
pub fn link(old: &Path, base: &Base, name: &[u8]) -> Result<()> {
    let mut walker = Walker::new(base, name)?;
    if walker.to_last()? != Last::Name {
        return Err(Errno::EEXIST);
    }
    walker.searchable()?;
    let parent = &walker.at;
    let _guard = parent.dentry.lock_names()?;
    match parent.dentry.child_locked(walker.name()) {
        Ok(_) => return Err(Errno::EEXIST),
        Err(Errno::ENOENT) => {}
        Err(e) => return Err(e),
    }
    if walker.wants_directory {
        return Err(Errno::ENOENT);
    }
    if parent.mount.id != old.mount.id {
        return Err(Errno::EXDEV);
    }
    parent.mount.writable()?;
    permission::check(parent.inode(), &base.cred, MAY_WRITE | MAY_EXEC)?;
    if old.dentry.is_directory() {
        return Err(Errno::EPERM);
    }
    parent.inode().link(walker.name(), old.inode())?;
    parent.dentry.enter(walker.name(), old.inode().clone())?;
    notify::link_count_changed(old.inode());
    notify::created(parent.inode(), walker.name(), old.inode());
    Ok(())
}

/// unlink(2).
pub fn unlink(base: &Base, name: &[u8]) -> Result<()> {
    let mut walker = Walker::new(base, name)?;
    if walker.to_last()? != Last::Name {
        return Err(Errno::EISDIR);
    }
    walker.searchable()?;
    let parent = &walker.at;
    let guard = parent.dentry.lock_names()?;
    let child = parent.dentry.child_locked(walker.name())?;
    if walker.wants_directory && !child.is_directory() {
        return Err(Errno::ENOTDIR);
    }
    parent.mount.writable()?;
    permission::may_delete(parent.inode(), child.inode(), &base.cred)?;
    if child.is_directory() {
        return Err(Errno::EISDIR);
    }
    if child.is_mountpoint() {
        return Err(Errno::EBUSY);
    }
    remove(parent, walker.name(), child, |dir, inode| {
        dir.unlink(walker.name(), inode)
    })?;
    drop(guard);
    Ok(())
}

/// rmdir(2).
pub fn rmdir(base: &Base, name: &[u8]) -> Result<()> {
    let mut walker = Walker::new(base, name)?;
    match walker.to_last()? {
        Last::Name => {}
        Last::Dot => return Err(Errno::EINVAL),
        Last::DotDot => return Err(Errno::ENOTEMPTY),
        Last::Nothing => return Err(Errno::EBUSY),
    }
    walker.searchable()?;
    let parent = &walker.at;
    let guard = parent.dentry.lock_names()?;
    let child = parent.dentry.child_locked(walker.name())?;
    parent.mount.writable()?;
    permission::may_delete(parent.inode(), child.inode(), &base.cred)?;
    if !child.is_directory() {
        return Err(Errno::ENOTDIR);
    }
    if child.is_mountpoint() {
        return Err(Errno::EBUSY);
    }
    remove(parent, walker.name(), child, |dir, inode| {
        dir.rmdir(walker.name(), inode)
    })?;
    drop(guard);
    Ok(())
}

fn remove(
    parent: &Path,
    name: &[u8],
    child: Arc<Dentry>,
    how: impl FnOnce(&Arc<dyn Inode>, &Arc<dyn Inode>) -> Result<()>,
) -> Result<()> {
    how(parent.inode(), child.inode())?;
    parent.dentry.forget(&child.name());
    child.mark_unlinked();
    let inode = child.inode().clone();
    if !child.is_directory() {
        notify::link_count_changed(&inode);
    }
    // As on Linux a file that nobody has open says that it is gone before its directory does.
    drop(child);
    notify::deleted(parent.inode(), name, &inode);
    Ok(())
}

/// renameat2(2). `flags` is `RENAME_NOREPLACE`, `RENAME_EXCHANGE` or 0.
pub fn rename(old_base: &Base, old_name: &[u8], new_base: &Base, new_name: &[u8], flags: u32) -> Result<()> {
    if flags & !(RENAME_NOREPLACE | RENAME_EXCHANGE) != 0 || flags == RENAME_NOREPLACE | RENAME_EXCHANGE {
        return Err(Errno::EINVAL);
    }
    let mut from = Walker::new(old_base, old_name)?;
    let from_last = from.to_last()?;
    let mut to = Walker::new(new_base, new_name)?;
    let to_last = to.to_last()?;
    if from.at.mount.id != to.at.mount.id {
        return Err(Errno::EXDEV);
    }
    if from_last != Last::Name {
        return Err(Errno::EBUSY);
    }
    if to_last != Last::Name {
        return Err(if flags & RENAME_NOREPLACE != 0 {
            Errno::EEXIST
        } else {
            Errno::EBUSY
        });
    }
    from.searchable()?;
    to.searchable()?;
    let (old_dir, new_dir) = (&from.at.dentry, &to.at.dentry);
    let same = Arc::ptr_eq(old_dir, new_dir);
    // Nobody else holds two directories at once, so the order of these two does not matter.
    let whole = (!same).then(|| RENAME.lock());
    let first = old_dir.lock_names()?;
    let second = if same { None } else { Some(new_dir.lock_names()?) };
    let out = rename_locked(&from, &to, flags);
    drop(second);
    drop(first);
    drop(whole);
    out
}

fn rename_locked(from: &Walker<'_>, to: &Walker<'_>, flags: u32) -> Result<()> {
    let (old_dir, new_dir) = (&from.at.dentry, &to.at.dentry);
    let old = old_dir.child_locked(from.name())?;
    let new = match new_dir.child_locked(to.name()) {
        Ok(d) => Some(d),
        Err(Errno::ENOENT) => None,
        Err(e) => return Err(e),
    };
    let how = if flags & RENAME_EXCHANGE != 0 {
        Rename::Exchange
    } else {
        Rename::Replace
    };
    match &new {
        Some(_) if flags & RENAME_NOREPLACE != 0 => return Err(Errno::EEXIST),
        None if how == Rename::Exchange => return Err(Errno::ENOENT),
        _ => {}
    }
    if !old.is_directory() && (from.wants_directory || (to.wants_directory && how == Rename::Replace)) {
        return Err(Errno::ENOTDIR);
    }
    if old.is_ancestor_of(new_dir) {
        return Err(Errno::EINVAL);
    }
    if let Some(n) = &new
        && n.is_ancestor_of(old_dir)
    {
        return Err(if how == Rename::Exchange {
            Errno::EINVAL
        } else {
            Errno::ENOTEMPTY
        });
    }
    from.at.mount.writable()?;
    let cred = from.cred();
    permission::may_delete(old_dir.inode(), old.inode(), cred)?;
    match &new {
        None => permission::check(new_dir.inode(), cred, MAY_WRITE | MAY_EXEC)?,
        Some(n) => {
            permission::may_delete(new_dir.inode(), n.inode(), cred)?;
            if how == Rename::Replace && old.is_directory() != n.is_directory() {
                return Err(if old.is_directory() {
                    Errno::ENOTDIR
                } else {
                    Errno::EISDIR
                });
            }
        }
    }
    // Moving a directory writes its `..`.
    if !Arc::ptr_eq(old_dir, new_dir) {
        for d in [Some(&old), new.as_ref().filter(|_| how == Rename::Exchange)]
            .into_iter()
            .flatten()
        {
            if d.is_directory() {
                permission::check(d.inode(), cred, MAY_WRITE)?;
            }
        }
    }
    if old.is_mountpoint() || new.as_ref().is_some_and(|n| n.is_mountpoint()) {
        return Err(Errno::EBUSY);
    }
    if let Some(n) = &new
        && Arc::ptr_eq(n.inode(), old.inode())
    {
        return Ok(());
    }
    old_dir.inode().rename(from.name(), new_dir.inode(), to.name(), how)?;
    match (&new, how) {
        (Some(n), Rename::Exchange) => old.exchange(n),
        _ => {
            if let Some(n) = &new {
                new_dir.forget(&n.name());
                n.mark_unlinked();
            }
            old.move_to(new_dir, to.name());
        }
    }
    let (source, target) = ((old_dir.inode(), from.name()), (new_dir.inode(), to.name()));
    let other = new.as_ref().map(|n| n.inode());
    let replaced = other.filter(|_| how == Rename::Replace);
    notify::moved(old.inode(), source, target, replaced);
    if let (Some(other), Rename::Exchange) = (other, how) {
        notify::moved(other, target, source, None);
    }
    Ok(())
}
