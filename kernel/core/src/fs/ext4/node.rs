//! A file of a mounted file system: its attributes, and the names in it.

use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use core::any::Any;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sis_ext4::{Change, Kind, NewFile, Owner as NewOwner, Rename as How};
use sis_machine::sync::{Rank, SpinLock};

use super::Shared;
use super::content::Opened;
use crate::fs::cache::{self, FileCache};
use crate::fs::file::File;
use crate::fs::flags::{S_ISGID, S_ISUID};
use crate::fs::inode::{
    Attachment, AttributeChange, Attributes, DirEntry, FileType, Inode, LinkTarget, Metadata, NewInode, NewKind, Owner,
    Rename, make_dev, new_attachment, now, split_dev,
};
use crate::process::cred::Capability;
use crate::process::thread;
use crate::{Errno, Result};

const DAY_NS: i64 = 86_400_000_000_000;

fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::Fifo => FileType::Fifo,
        Kind::CharDevice => FileType::CharDevice,
        Kind::Directory => FileType::Directory,
        Kind::BlockDevice => FileType::BlockDevice,
        Kind::Regular => FileType::Regular,
        Kind::Symlink => FileType::Symlink,
        Kind::Socket => FileType::Socket,
    }
}

fn attributes_of(i: &sis_ext4::Inode) -> Attributes {
    Attributes {
        mode: file_type(i.kind).mode_bits() | u32::from(i.mode),
        uid: i.uid,
        gid: i.gid,
        nlink: i.links,
        atime_ns: i.atime_ns,
        mtime_ns: i.mtime_ns,
        ctime_ns: i.ctime_ns,
        btime_ns: i.btime_ns,
    }
}

/// A file.
pub(super) struct Node {
    pub(super) shared: Arc<Shared>,
    pub(super) ino: u32,
    kind: FileType,
    rdev: u64,
    attributes: SpinLock<Attributes>,
    /// Times in memory are newer than those of the volume.
    has_new_times: AtomicBool,
    /// Of a directory or link; a regular file's is its cache's.
    size: AtomicU64,
    /// Space used, in units of 512 bytes, when it was last looked at.
    sectors: AtomicU64,
    is_immutable: bool,
    is_append_only: bool,
    pub(super) cache: FileCache,
    me: Weak<Self>,
    attachment: Attachment,
}

impl Node {
    pub(super) fn new(shared: &Arc<Shared>, inode: &sis_ext4::Inode) -> Arc<Self> {
        let (major, minor) = inode.device;
        Arc::new_cyclic(|me: &Weak<Self>| Self {
            shared: shared.clone(),
            ino: inode.ino,
            kind: file_type(inode.kind),
            rdev: make_dev(major, minor),
            attributes: SpinLock::new(Rank::InodeAttr, attributes_of(inode)),
            has_new_times: AtomicBool::new(false),
            size: AtomicU64::new(inode.size),
            sectors: AtomicU64::new(inode.sectors),
            is_immutable: inode.is_immutable,
            is_append_only: inode.is_append_only,
            cache: FileCache::new(me.clone(), inode.size),
            me: me.clone(),
            attachment: new_attachment(),
        })
    }

    pub(super) fn is_directory(&self) -> bool {
        self.kind == FileType::Directory
    }

    pub(super) fn is_regular(&self) -> bool {
        self.kind == FileType::Regular
    }

    pub(super) fn links(&self) -> u32 {
        self.attributes.lock().nlink
    }

    /// `EPERM` for what chattr(1) made unchangeable.
    pub(super) fn may_change(&self) -> Result<()> {
        if self.is_immutable { Err(Errno::EPERM) } else { Ok(()) }
    }

    pub(super) fn may_only_append(&self) -> bool {
        self.is_append_only
    }

    pub(super) fn may_write(&self) -> Result<()> {
        if self.shared.is_read_only.load(Ordering::Relaxed) {
            return Err(Errno::EROFS);
        }
        self.may_change()
    }

    /// Takes over what the volume says.
    fn take(&self, inode: &sis_ext4::Inode) {
        let new = attributes_of(inode);
        let mut a = self.attributes.lock();
        let old = *a;
        *a = new;
        if self.has_new_times.load(Ordering::Relaxed) {
            (a.atime_ns, a.mtime_ns) = (old.atime_ns, old.mtime_ns);
            a.ctime_ns = old.ctime_ns.max(new.ctime_ns);
        }
        drop(a);
        self.sectors.store(inode.sectors, Ordering::Relaxed);
        if !self.is_regular() {
            self.size.store(inode.size, Ordering::Relaxed);
        }
    }

    /// Looks at the volume again.
    pub(super) fn refresh(&self) -> Result<()> {
        let inode = self.shared.with(|v| v.inode(self.ino))?;
        self.take(&inode);
        Ok(())
    }

    fn refresh_other(&self, ino: u32) {
        let node = self.shared.nodes.lock().get(&ino).and_then(Weak::upgrade);
        if let Some(node) = node {
            // What cannot be read now is told when somebody wants it.
            let _ = node.refresh();
        }
    }

    fn new_times(&self) {
        self.has_new_times.store(true, Ordering::Release);
    }

    /// Notes a read, as mounts with `relatime` do: when the file has changed since, or after a day.
    pub(super) fn accessed(&self) {
        if self.shared.is_read_only.load(Ordering::Relaxed) {
            return;
        }
        let t = now();
        let mut a = self.attributes.lock();
        if a.atime_ns <= a.mtime_ns || a.atime_ns <= a.ctime_ns || t.saturating_sub(a.atime_ns) > DAY_NS {
            a.atime_ns = t;
            drop(a);
            self.new_times();
        }
    }

    /// Notes a change of the content.
    pub(super) fn changed(&self) {
        let t = now();
        let mut a = self.attributes.lock();
        a.mtime_ns = t;
        a.ctime_ns = t;
        drop(a);
        self.new_times();
    }

    /// Set-id bits go when somebody without CAP_FSETID writes.
    pub(super) fn drop_set_id(&self) -> Result<()> {
        let mode = self.attributes.lock().mode;
        if mode & (S_ISUID | S_ISGID) == 0
            || thread::try_current().is_none_or(|t| t.cred().has(Capability::Fsetid))
        {
            return Ok(());
        }
        let mut new = mode & !S_ISUID;
        if mode & 0o010 != 0 {
            new &= !S_ISGID;
        }
        self.set_attributes(&AttributeChange {
            mode: Some(new & 0o7777),
            ..AttributeChange::default()
        })
    }

    /// Times that wait to be written, which then do not any more.
    fn take_times(&self) -> Option<Change> {
        if !self.has_new_times.swap(false, Ordering::AcqRel) {
            return None;
        }
        let a = *self.attributes.lock();
        Some(Change {
            atime_ns: Some(a.atime_ns),
            mtime_ns: Some(a.mtime_ns),
            ctime_ns: Some(a.ctime_ns),
            ..Change::default()
        })
    }

    /// Puts newer times into the volume.
    pub(super) fn write_times(&self) -> Result<()> {
        match self.take_times() {
            Some(change) => self.shared.with(|v| v.set_attributes(self.ino, &change, now())),
            None => Ok(()),
        }
    }

    fn same(inode: &Arc<dyn Inode>) -> Result<&Self> {
        inode.as_any().downcast_ref::<Self>().ok_or(Errno::EXDEV)
    }

    pub(super) fn arc(&self) -> Result<Arc<Self>> {
        self.me.upgrade().ok_or(Errno::EIO)
    }

    /// What is done with a directory's names: may it be, and afterwards its attributes are looked at.
    fn with_names<T>(&self, body: impl FnOnce() -> Result<T>) -> Result<T> {
        self.may_write()?;
        let out = body()?;
        self.refresh()?;
        Ok(out)
    }
}

impl Drop for Node {
    /// In any context: what is left to do is done by the file system's thread.
    fn drop(&mut self) {
        let times = self.take_times();
        let links = self.attributes.lock().nlink;
        if times.is_some() || links == 0 {
            self.shared.gone.lock().push((self.ino, times));
            self.shared.poke();
        } else {
            self.shared.forget(self.ino);
        }
    }
}

impl Inode for Node {
    fn kind(&self) -> FileType {
        self.kind
    }

    fn owner(&self) -> Owner {
        self.attributes.lock().owner()
    }

    fn metadata(&self) -> Metadata {
        let dev = self.shared.device.device_number();
        let mut m = self.attributes.lock().metadata(dev, u64::from(self.ino));
        m.size = if self.is_regular() {
            self.cache.size()
        } else {
            self.size.load(Ordering::Relaxed)
        };
        m.blocks = self.sectors.load(Ordering::Relaxed);
        m.rdev = self.rdev;
        m
    }

    fn set_attributes(&self, change: &AttributeChange) -> Result<()> {
        self.may_write()?;
        let t = now();
        let new = Change {
            mode: change.mode.map(|m| (m & 0o7777) as u16),
            uid: change.uid,
            gid: change.gid,
            atime_ns: change.atime_ns,
            mtime_ns: change.mtime_ns,
            ctime_ns: Some(t),
        };
        self.write_times()?;
        self.shared.with(|v| v.set_attributes(self.ino, &new, t))?;
        self.refresh()
    }

    fn set_size(&self, size: u64) -> Result<()> {
        if !self.is_regular() {
            return Err(Errno::EINVAL);
        }
        self.may_write()?;
        if self.is_append_only {
            return Err(Errno::EPERM);
        }
        {
            let _writing = self.cache.lock_writing();
            let free = || self.shared.with(|v| v.truncate(self.ino, size, now()));
            cache::write::set_size(self, size, free)?;
        }
        self.drop_set_id()?;
        self.changed();
        self.refresh()
    }

    fn allocate(&self, mode: u32, offset: u64, len: u64) -> Result<()> {
        if !self.is_regular() {
            return Err(Errno::ENODEV);
        }
        self.may_write()?;
        self.allocate_range(mode, offset, len)?;
        self.changed();
        self.refresh()
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let ino = self.shared.with(|v| v.lookup(self.ino, name))?;
        let node = self.shared.node(ino)?;
        if node.links() == 0 {
            return Err(Errno::EUCLEAN);
        }
        Ok(node)
    }

    fn create(&self, name: &[u8], new: &NewInode<'_>) -> Result<Arc<dyn Inode>> {
        let what = match new.kind {
            NewKind::File => NewFile::Regular,
            NewKind::Directory => NewFile::Directory,
            NewKind::Symlink(text) => NewFile::Symlink(text),
            NewKind::Node(kind, rdev) => {
                let (major, minor) = split_dev(rdev);
                match kind {
                    FileType::Fifo => NewFile::Fifo,
                    FileType::Socket => NewFile::Socket,
                    FileType::CharDevice => NewFile::CharDevice(major, minor),
                    FileType::BlockDevice => NewFile::BlockDevice(major, minor),
                    FileType::Regular => NewFile::Regular,
                    FileType::Directory | FileType::Symlink => return Err(Errno::EINVAL),
                }
            }
        };
        let mode = if matches!(new.kind, NewKind::Symlink(_)) { 0o777 } else { new.mode };
        let owner = owner_of(mode, new);
        let ino = self.with_names(|| self.shared.with(|v| v.create(self.ino, name, &what, owner, now())))?;
        Ok(self.shared.node(ino)?)
    }

    fn create_unnamed(&self, new: &NewInode<'_>) -> Result<Arc<dyn Inode>> {
        self.may_write()?;
        let owner = owner_of(new.mode, new);
        let ino = self.shared.with(|v| v.create_unnamed(self.ino, owner, now()))?;
        Ok(self.shared.node(ino)?)
    }

    fn link(&self, name: &[u8], target: &Arc<dyn Inode>) -> Result<()> {
        let target = Self::same(target)?;
        target.may_change()?;
        self.with_names(|| self.shared.with(|v| v.link(self.ino, name, target.ino, now())))?;
        target.refresh()
    }

    fn unlink(&self, name: &[u8], target: &Arc<dyn Inode>) -> Result<()> {
        let target = Self::same(target)?;
        if target.is_immutable || target.is_append_only {
            return Err(Errno::EPERM);
        }
        self.with_names(|| self.shared.with(|v| v.unlink(self.ino, name, now())))?;
        target.refresh()
    }

    fn rmdir(&self, name: &[u8], target: &Arc<dyn Inode>) -> Result<()> {
        let target = Self::same(target)?;
        self.with_names(|| self.shared.with(|v| v.rmdir(self.ino, name, now())))?;
        target.refresh()
    }

    fn rename(&self, name: &[u8], new_dir: &Arc<dyn Inode>, new_name: &[u8], how: Rename) -> Result<()> {
        let to = Self::same(new_dir)?;
        if !Arc::ptr_eq(&self.shared, &to.shared) {
            return Err(Errno::EXDEV);
        }
        to.may_change()?;
        let how = match how {
            Rename::Replace => How::Replace,
            Rename::Exchange => How::Exchange,
        };
        let (moved, other) = self.shared.with(|v| {
            let moved = v.lookup(self.ino, name)?;
            Ok((moved, v.lookup(to.ino, new_name).ok()))
        })?;
        self.with_names(|| {
            self.shared
                .with(|v| v.rename((self.ino, name), (to.ino, new_name), how, now()))
        })?;
        to.refresh()?;
        self.refresh_other(moved);
        if let Some(other) = other {
            self.refresh_other(other);
        }
        Ok(())
    }

    fn read_dir(&self, position: u64, emit: &mut dyn FnMut(&DirEntry<'_>) -> bool) -> Result<()> {
        // Names are copied out of the volume's lock: whoever takes them may touch user memory.
        const BATCH: usize = 64;
        let mut at = position;
        loop {
            let mut batch = alloc::vec::Vec::new();
            self.shared.with(|v| {
                v.read_dir(self.ino, at, |e| {
                    let kind = e.kind.map_or(FileType::Regular, file_type);
                    batch.push((alloc::boxed::Box::<[u8]>::from(e.name), e.ino, kind, e.next));
                    batch.len() < BATCH
                })
            })?;
            let is_full = batch.len() == BATCH;
            for (name, ino, kind, next) in batch {
                at = next;
                if &*name == b"." || &*name == b".." {
                    continue;
                }
                let entry = DirEntry {
                    name: &name,
                    ino: u64::from(ino),
                    kind,
                    next,
                };
                if !emit(&entry) {
                    return Ok(());
                }
            }
            if !is_full {
                return Ok(());
            }
        }
    }

    fn read_link(&self) -> Result<LinkTarget> {
        if self.kind != FileType::Symlink {
            return Err(Errno::EINVAL);
        }
        self.shared.with(|v| v.read_link(self.ino)).map(LinkTarget::Text)
    }

    fn open(self: Arc<Self>, flags: u32) -> Result<Arc<dyn File>> {
        Opened::new(self, flags).map(|o| o as Arc<dyn File>)
    }

    fn attachment(&self) -> Option<&Attachment> {
        Some(&self.attachment)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn owner_of(mode: u32, new: &NewInode<'_>) -> NewOwner {
    NewOwner {
        mode: (mode & 0o7777) as u16,
        uid: new.uid,
        gid: new.gid,
    }
}

/// Every file in use.
pub(super) fn all(nodes: &SpinLock<BTreeMap<u32, Weak<Node>>>) -> alloc::vec::Vec<Arc<Node>> {
    nodes.lock().values().filter_map(Weak::upgrade).collect()
}

