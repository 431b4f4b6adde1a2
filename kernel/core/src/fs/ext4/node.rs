//! A file of a mounted file system: its attributes, and the names in it.

use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::any::Any;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sis_ext4::{Attributes as Change, DIRECTORY_END, Device, Ino, Kind, NewFile, RenameMode, Timestamp};
use sis_machine::sync::{Rank, SpinLock};

use super::content::{Opened, file_size_limit, too_large};
use super::{Shared, timestamp};
use crate::fs::cache::{self, FileCache};
use crate::fs::file::File;
use crate::fs::flags::{S_ISGID, S_ISUID};
use crate::fs::inode::{
    Attachment, AttributeChange, Attributes, DirEntry, FileType, Inode, LinkTarget, Metadata, NewInode, NewKind, Owner,
    Rename, make_dev, new_attachment, now, split_dev,
};
use crate::fs::text::TextUse;
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

fn to_ns(t: Timestamp) -> i64 {
    t.seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(i64::from(t.nanoseconds))
}

pub(super) fn from_ns(ns: i64) -> Timestamp {
    Timestamp {
        seconds: ns.div_euclid(1_000_000_000),
        nanoseconds: ns.rem_euclid(1_000_000_000) as u32,
    }
}

/// FS_IMMUTABLE_FL and FS_APPEND_FL (ioctl_iflags(2)).
const IMMUTABLE: u32 = 0x10;
const APPEND: u32 = 0x20;

fn attributes_of(i: &sis_ext4::Inode) -> Attributes {
    Attributes {
        mode: u32::from(i.mode),
        uid: i.uid,
        gid: i.gid,
        nlink: i.links,
        atime_ns: to_ns(i.atime),
        mtime_ns: to_ns(i.mtime),
        ctime_ns: to_ns(i.ctime),
        btime_ns: to_ns(i.btime.unwrap_or(i.ctime)),
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
    pub(super) has_extents: bool,
    pub(super) cache: FileCache,
    me: Weak<Self>,
    attachment: Attachment,
    text: TextUse,
}

impl Node {
    pub(super) fn new(shared: &Arc<Shared>, inode: &sis_ext4::Inode) -> Arc<Self> {
        Arc::new_cyclic(|me: &Weak<Self>| Self {
            shared: shared.clone(),
            ino: inode.ino.0,
            kind: file_type(inode.kind),
            rdev: make_dev(inode.device.major, inode.device.minor),
            attributes: SpinLock::new(Rank::InodeAttr, attributes_of(inode)),
            has_new_times: AtomicBool::new(false),
            size: AtomicU64::new(inode.size),
            sectors: AtomicU64::new(inode.sectors),
            is_immutable: inode.flags & IMMUTABLE != 0,
            is_append_only: inode.flags & APPEND != 0,
            has_extents: inode.has_extents,
            cache: FileCache::new(me.clone(), inode.size),
            me: me.clone(),
            attachment: new_attachment(),
            text: TextUse::new(),
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
        if inode.links == 0 {
            self.shared.has_doomed.store(true, Ordering::Release);
        }
        self.sectors.store(inode.sectors, Ordering::Relaxed);
        if !self.is_regular() {
            self.size.store(inode.size, Ordering::Relaxed);
        }
    }

    /// Looks at the volume again.
    pub(super) fn refresh(&self) -> Result<()> {
        let inode = self.shared.with(|v| v.inode(Ino(self.ino)))?;
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
        if (a.mtime_ns, a.ctime_ns) == (t, t) {
            return;
        }
        a.mtime_ns = t;
        a.ctime_ns = t;
        drop(a);
        self.new_times();
    }

    /// Set-id bits go when somebody without CAP_FSETID writes.
    pub(super) fn drop_set_id(&self) -> Result<()> {
        let mode = self.attributes.lock().mode;
        if mode & (S_ISUID | S_ISGID) == 0 || thread::try_current().is_none_or(|t| t.cred().has(Capability::Fsetid)) {
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
            atime: Some(from_ns(a.atime_ns)),
            mtime: Some(from_ns(a.mtime_ns)),
            ctime: Some(from_ns(a.ctime_ns)),
            ..Change::default()
        })
    }

    /// Puts newer times into the volume.
    pub(super) fn write_times(&self) -> Result<()> {
        match self.take_times() {
            Some(change) => self
                .shared
                .with(|v| v.set_attributes(Ino(self.ino), &change, timestamp()))
                .map(drop),
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
        // As on Linux with the blocks that are promised: who sees none takes the file for empty.
        m.blocks = self.sectors.load(Ordering::Relaxed) + self.cache.promised_pages() * (cache::PAGE / 512);
        m.rdev = self.rdev;
        m
    }

    fn set_attributes(&self, change: &AttributeChange) -> Result<()> {
        self.may_write()?;
        let new = Change {
            permissions: change.mode.map(|m| (m & 0o7777) as u16),
            uid: change.uid,
            gid: change.gid,
            atime: change.atime_ns.map(from_ns),
            mtime: change.mtime_ns.map(from_ns),
            ..Change::default()
        };
        self.write_times()?;
        let inode = self
            .shared
            .with(|v| v.set_attributes(Ino(self.ino), &new, timestamp()))?;
        self.take(&inode);
        Ok(())
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
            if size > self.cache.size() && size > file_size_limit() {
                return Err(too_large());
            }
            let free = || self.shared.with(|v| v.truncate(Ino(self.ino), size, timestamp()));
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
        let (ino, _) = self.shared.with(|v| v.lookup(Ino(self.ino), name))?;
        let node = self.shared.node(ino.0)?;
        if node.links() == 0 {
            return Err(Errno::EUCLEAN);
        }
        Ok(node)
    }

    fn create(&self, name: &[u8], new: &NewInode<'_>) -> Result<Arc<dyn Inode>> {
        let (dir, t) = (Ino(self.ino), timestamp());
        let (kind, device) = match new.kind {
            NewKind::File => (Kind::Regular, Device::default()),
            NewKind::Directory => (Kind::Directory, Device::default()),
            NewKind::Symlink(text) => {
                let made = self.with_names(|| {
                    self.shared
                        .with_room(|v| v.symlink(dir, name, text, new.uid, new.gid, t))
                })?;
                return Ok(self.shared.node(made.ino.0)?);
            }
            NewKind::Node(kind, rdev) => {
                let (major, minor) = split_dev(rdev);
                let kind = match kind {
                    FileType::Fifo => Kind::Fifo,
                    FileType::Socket => Kind::Socket,
                    FileType::CharDevice => Kind::CharDevice,
                    FileType::BlockDevice => Kind::BlockDevice,
                    FileType::Regular => Kind::Regular,
                    FileType::Directory | FileType::Symlink => return Err(Errno::EINVAL),
                };
                (kind, Device { major, minor })
            }
        };
        let file = new_file(new, kind, device);
        let made = self.with_names(|| self.shared.with_room(|v| v.create(dir, name, &file, t)))?;
        Ok(self.shared.node(made.ino.0)?)
    }

    fn create_unnamed(&self, new: &NewInode<'_>) -> Result<Arc<dyn Inode>> {
        self.may_write()?;
        let file = new_file(new, Kind::Regular, Device::default());
        let made = self
            .shared
            .with_room(|v| v.create_unnamed(Ino(self.ino), &file, timestamp()))?;
        Ok(self.shared.node(made.ino.0)?)
    }

    fn link(&self, name: &[u8], target: &Arc<dyn Inode>) -> Result<()> {
        let target = Self::same(target)?;
        target.may_change()?;
        self.with_names(|| {
            self.shared
                .with_room(|v| v.link(Ino(target.ino), Ino(self.ino), name, timestamp()))
        })?;
        target.refresh()
    }

    fn unlink(&self, name: &[u8], target: &Arc<dyn Inode>) -> Result<()> {
        let target = Self::same(target)?;
        if target.is_immutable || target.is_append_only {
            return Err(Errno::EPERM);
        }
        self.with_names(|| self.shared.with(|v| v.unlink(Ino(self.ino), name, timestamp())))?;
        target.refresh()
    }

    fn rmdir(&self, name: &[u8], target: &Arc<dyn Inode>) -> Result<()> {
        let target = Self::same(target)?;
        self.with_names(|| self.shared.with(|v| v.rmdir(Ino(self.ino), name, timestamp())))?;
        target.refresh()
    }

    fn rename(&self, name: &[u8], new_dir: &Arc<dyn Inode>, new_name: &[u8], how: Rename) -> Result<()> {
        let to = Self::same(new_dir)?;
        if !Arc::ptr_eq(&self.shared, &to.shared) {
            return Err(Errno::EXDEV);
        }
        to.may_change()?;
        let how = match how {
            Rename::Replace => RenameMode::Replace,
            Rename::Exchange => RenameMode::Exchange,
        };
        let (moved, other) = self.shared.with(|v| {
            let (moved, _) = v.lookup(Ino(self.ino), name)?;
            Ok((moved, v.lookup(Ino(to.ino), new_name).ok().map(|(ino, _)| ino)))
        })?;
        self.with_names(|| {
            self.shared
                .with_room(|v| v.rename((Ino(self.ino), name), (Ino(to.ino), new_name), how, timestamp()))
        })?;
        to.refresh()?;
        self.refresh_other(moved.0);
        if let Some(other) = other {
            self.refresh_other(other.0);
        }
        Ok(())
    }

    fn read_dir(&self, position: u64, emit: &mut dyn FnMut(&DirEntry<'_>) -> bool) -> Result<()> {
        // Names are copied out of the volume's lock: whoever takes them may touch user memory.
        const BATCH: usize = 64;
        let mut at = position;
        while at != DIRECTORY_END {
            let mut batch = Vec::new();
            at = self.shared.with(|v| {
                v.read_dir(Ino(self.ino), at, &mut |e| {
                    let kind = e.kind.map_or(FileType::Regular, file_type);
                    let has_room = batch.len() < BATCH;
                    if has_room {
                        batch.push((alloc::boxed::Box::<[u8]>::from(e.name), e.ino.0, kind, e.next));
                    }
                    has_room
                })
            })?;
            for (name, ino, kind, next) in batch {
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
        }
        Ok(())
    }

    fn read_link(&self) -> Result<LinkTarget> {
        if self.kind != FileType::Symlink {
            return Err(Errno::EINVAL);
        }
        self.shared.with(|v| v.read_link(Ino(self.ino))).map(LinkTarget::Text)
    }

    fn open(self: Arc<Self>, flags: u32) -> Result<Arc<dyn File>> {
        Opened::new(self, flags).map(|o| o as Arc<dyn File>)
    }

    fn attachment(&self) -> Option<&Attachment> {
        Some(&self.attachment)
    }

    fn xattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        self.shared.with(|v| v.attribute(Ino(self.ino), name))
    }

    fn set_xattr(&self, name: &[u8], value: Option<&[u8]>, must_exist: Option<bool>) -> Result<()> {
        self.may_write()?;
        if self.is_append_only {
            return Err(Errno::EPERM);
        }
        let (ino, t) = (Ino(self.ino), timestamp());
        self.shared.with_room(|v| match value {
            Some(value) => v.set_attribute(ino, name, value, must_exist, t),
            None => v.remove_attribute(ino, name, t),
        })?;
        self.refresh()
    }

    fn xattr_names(&self) -> Result<Vec<Vec<u8>>> {
        self.shared.with(|v| v.attributes(Ino(self.ino)))
    }

    fn text(&self) -> Option<&TextUse> {
        Some(&self.text)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn new_file(new: &NewInode<'_>, kind: Kind, device: Device) -> NewFile {
    NewFile {
        kind,
        permissions: (new.mode & 0o7777) as u16,
        uid: new.uid,
        gid: new.gid,
        device,
    }
}

/// Every file in use.
pub(super) fn all(nodes: &SpinLock<BTreeMap<u32, Weak<Node>>>) -> Vec<Arc<Node>> {
    nodes.lock().values().filter_map(Weak::upgrade).collect()
}
