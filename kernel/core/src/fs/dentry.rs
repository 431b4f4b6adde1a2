//! The tree of names.
//!
//! A [`Dentry`] is a name that has been looked up. A child keeps its parent; a parent keeps its children where the file
//! system says so ([`super::mount::FileSystem::keeps_names`]: tmpfs and its like, whose names exist only here and in
//! memory anyway), so that a walk along known names takes no lock but one spinning lock a directory. Where it does not
//! (procfs), every walk asks the file system.
//!
//! Names of a directory change only under its lock ([`Dentry::lock_names`]).

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use hashbrown::HashMap;
use sis_machine::sync::{Mutex, MutexGuard, Rank, SpinLock};

use super::inode::{FileType, Inode};
use crate::{Errno, Result};

struct Place {
    parent: Option<Arc<Dentry>>,
    name: Arc<[u8]>,
}

struct Names {
    lock: Mutex<()>,
    keeps: bool,
    children: SpinLock<HashMap<Arc<[u8]>, Arc<Dentry>>>,
}

/// A name in the tree.
pub struct Dentry {
    inode: Arc<dyn Inode>,
    kind: FileType,
    place: SpinLock<Place>,
    names: Option<Box<Names>>,
    /// Mounts on top of it.
    mounts: AtomicU32,
    is_unlinked: AtomicBool,
}

impl Dentry {
    fn with_parent(inode: Arc<dyn Inode>, parent: Option<Arc<Self>>, name: Arc<[u8]>, keeps: bool) -> Arc<Self> {
        let kind = inode.kind();
        let names = (kind == FileType::Directory).then(|| {
            Box::new(Names {
                lock: Mutex::new(Rank::Directory, ()),
                keeps,
                children: SpinLock::new(Rank::Mounts, HashMap::new()),
            })
        });
        Arc::new(Self {
            inode,
            kind,
            place: SpinLock::new(Rank::Mounts, Place { parent, name }),
            names,
            mounts: AtomicU32::new(0),
            is_unlinked: AtomicBool::new(false),
        })
    }

    /// The root of a file system, or a file outside every tree (a pipe under /proc/PID/fd). `keeps`: parents keep
    /// their children.
    pub fn root(inode: Arc<dyn Inode>, keeps: bool) -> Arc<Self> {
        Self::with_parent(inode, None, Arc::from(&b"/"[..]), keeps)
    }

    /// A file that has a name for messages but is in no directory (O_TMPFILE).
    pub fn unnamed(inode: Arc<dyn Inode>, near: &Arc<Self>, name: &[u8]) -> Arc<Self> {
        let d = Self::with_parent(inode, Some(near.clone()), Arc::from(name), false);
        d.is_unlinked.store(true, Ordering::Relaxed);
        d
    }

    /// Its file.
    #[inline]
    pub fn inode(&self) -> &Arc<dyn Inode> {
        &self.inode
    }

    /// What its file is.
    #[inline]
    pub fn kind(&self) -> FileType {
        self.kind
    }

    /// Whether it is a directory.
    #[inline]
    pub fn is_directory(&self) -> bool {
        self.kind == FileType::Directory
    }

    /// Whether the name has been removed.
    pub fn is_unlinked(&self) -> bool {
        self.is_unlinked.load(Ordering::Relaxed)
    }

    /// Whether something is mounted on it.
    #[inline]
    pub(super) fn is_mountpoint(&self) -> bool {
        self.mounts.load(Ordering::Acquire) != 0
    }

    /// One more mount on it. Parents then keep the whole way to it, whatever the file system says.
    pub(super) fn add_mount(self: &Arc<Self>) {
        self.mounts.fetch_add(1, Ordering::AcqRel);
        let mut at = self.clone();
        while let Some(parent) = at.parent() {
            if let Some(n) = &parent.names {
                let name = at.name();
                let old = n.children.lock().insert(name, at.clone());
                drop(old);
            }
            at = parent;
        }
    }

    /// One mount less on it.
    pub(super) fn remove_mount(&self) {
        self.mounts.fetch_sub(1, Ordering::AcqRel);
    }

    /// The directory it is in; none for a root.
    pub fn parent(&self) -> Option<Arc<Self>> {
        self.place.lock().parent.clone()
    }

    /// Its name.
    pub fn name(&self) -> Arc<[u8]> {
        self.place.lock().name.clone()
    }

    /// Takes the lock of a directory's names; `ENOTDIR`, and `ENOENT` when the directory itself has been removed.
    pub fn lock_names(&self) -> Result<NamesGuard<'_>> {
        let names = self.names.as_ref().ok_or(Errno::ENOTDIR)?;
        let guard = names.lock.lock();
        if self.is_unlinked() {
            return Err(Errno::ENOENT);
        }
        Ok(NamesGuard { _guard: guard })
    }

    /// The child of that name.
    pub fn child(self: &Arc<Self>, name: &[u8]) -> Result<Arc<Self>> {
        let names = self.names.as_ref().ok_or(Errno::ENOTDIR)?;
        if let Some(d) = names.children.lock().get(name) {
            return Ok(d.clone());
        }
        if !names.keeps {
            return self.look_up(names, name);
        }
        let _guard = names.lock.lock();
        self.child_locked(name)
    }

    /// The child of that name, with the names' lock held.
    pub fn child_locked(self: &Arc<Self>, name: &[u8]) -> Result<Arc<Self>> {
        let names = self.names.as_ref().ok_or(Errno::ENOTDIR)?;
        if let Some(d) = names.children.lock().get(name) {
            return Ok(d.clone());
        }
        self.look_up(names, name)
    }

    fn look_up(self: &Arc<Self>, names: &Names, name: &[u8]) -> Result<Arc<Self>> {
        let stored = self.inode.stored_name(name);
        let name = stored.as_deref().unwrap_or(name);
        // It may be known, written as the directory has it.
        if stored.is_some()
            && let Some(d) = names.children.lock().get(name)
        {
            return Ok(d.clone());
        }
        let inode = self.inode.lookup(name)?;
        Ok(self.add(names, name, inode))
    }

    fn add(self: &Arc<Self>, names: &Names, name: &[u8], inode: Arc<dyn Inode>) -> Arc<Self> {
        let name: Arc<[u8]> = Arc::from(name);
        let d = Self::with_parent(inode, Some(self.clone()), name.clone(), names.keeps);
        if names.keeps {
            let old = names.children.lock().insert(name, d.clone());
            drop(old);
        }
        d
    }

    /// Enters a file that has just been made under `name`; the names' lock is held.
    pub fn enter(self: &Arc<Self>, name: &[u8], inode: Arc<dyn Inode>) -> Result<Arc<Self>> {
        let names = self.names.as_ref().ok_or(Errno::ENOTDIR)?;
        let stored = self.inode.stored_name(name);
        Ok(self.add(names, stored.as_deref().unwrap_or(name), inode))
    }

    /// Forgets a name that has been removed; the names' lock is held.
    pub fn forget(&self, name: &[u8]) {
        let Some(names) = self.names.as_ref() else { return };
        let old = names.children.lock().remove(name);
        if let Some(d) = &old {
            d.is_unlinked.store(true, Ordering::Relaxed);
        }
        drop(old);
    }

    /// Marks a name that no parent keeps as removed.
    pub fn mark_unlinked(&self) {
        self.is_unlinked.store(true, Ordering::Relaxed);
    }

    /// Moves `self` to `name` of `parent`; both directories' locks are held and what was there has been forgotten.
    pub fn move_to(self: &Arc<Self>, parent: &Arc<Self>, name: &[u8]) {
        let stored = parent.inode.stored_name(name);
        let name: Arc<[u8]> = Arc::from(stored.as_deref().unwrap_or(name));
        let (old_parent, old_name) = {
            let mut place = self.place.lock();
            let p = place.parent.replace(parent.clone());
            (p, core::mem::replace(&mut place.name, name.clone()))
        };
        if let Some(names) = old_parent.as_ref().and_then(|p| p.names.as_ref()) {
            let mut children = names.children.lock();
            if children.get(&old_name).is_some_and(|d| Arc::ptr_eq(d, self)) {
                let gone = children.remove(&old_name);
                drop(children);
                drop(gone);
            }
        }
        if let Some(names) = parent.names.as_ref()
            && names.keeps
        {
            let old = names.children.lock().insert(name, self.clone());
            drop(old);
        }
    }

    /// Swaps the places of two names; the locks of both directories are held.
    pub fn exchange(self: &Arc<Self>, other: &Arc<Self>) {
        let (a_parent, a_name) = (self.parent(), self.name());
        let (b_parent, b_name) = (other.parent(), other.name());
        if let (Some(a), Some(b)) = (a_parent, b_parent) {
            self.move_to(&b, &b_name);
            other.move_to(&a, &a_name);
        }
    }

    /// Whether `self` is `other` or lies above it.
    pub fn is_ancestor_of(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        let mut at = other.clone();
        loop {
            if Arc::ptr_eq(self, &at) {
                return true;
            }
            match at.parent() {
                Some(p) => at = p,
                None => return false,
            }
        }
    }

    /// Forgets names below that nobody uses, deepest first, until at most `most` are left. How many were forgotten.
    pub(super) fn prune(self: &Arc<Self>, most: usize) -> usize {
        // Every directory comes after those above it.
        let mut all: Vec<Arc<Self>> = alloc::vec![self.clone()];
        let mut at = 0;
        let mut left = 0;
        let mut forgotten = 0;
        while let Some(d) = all.get(at).cloned() {
            at += 1;
            if let Some(names) = &d.names {
                let children = names.children.lock();
                left += children.len();
                all.extend(children.values().filter(|c| c.names.is_some()).cloned());
            }
        }
        while let Some(d) = all.pop() {
            let Some(names) = &d.names else { continue };
            let mut gone = Vec::new();
            if left > most {
                let mut children = names.children.lock();
                children.retain(|_, child| {
                    // Its own children keep it too.
                    if Arc::strong_count(child) > 1 || left <= most {
                        return true;
                    }
                    left -= 1;
                    forgotten += 1;
                    gone.push(child.clone());
                    false
                });
            }
            drop(gone);
        }
        forgotten
    }

    /// Gives up the children that it keeps, all the way down: parents and children hold each other.
    pub(super) fn dissolve(self: &Arc<Self>) {
        let mut rest: Vec<Arc<Self>> = alloc::vec![self.clone()];
        while let Some(d) = rest.pop() {
            if let Some(names) = &d.names {
                let children = core::mem::take(&mut *names.children.lock());
                rest.extend(children.into_values());
            }
        }
    }
}

impl Drop for Dentry {
    /// Lets go of the names above one by one: a chain of removed directories may be longer than the stack is deep.
    fn drop(&mut self) {
        super::notify::name_gone(self);
        let mut above = self.place.get_mut().parent.take();
        while let Some(mut d) = above.and_then(Arc::into_inner) {
            above = d.place.get_mut().parent.take();
        }
    }
}

/// Holds a directory's names still.
pub struct NamesGuard<'a> {
    _guard: MutexGuard<'a, ()>,
}
