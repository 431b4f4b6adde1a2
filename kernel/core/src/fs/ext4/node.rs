//! A file of a mounted file system, as memory has it: its attributes, and times that are newer than the volume's. What the
//! VFS asks of it is in `operations`.

mod operations;

use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sis_ext4::{Attributes as Change, Ino, Kind, Timestamp};
use sis_machine::sync::{Rank, SpinLock};

use super::{Shared, timestamp};
use crate::fs::cache::FileCache;
use crate::fs::flags::{S_ISGID, S_ISUID};
use crate::fs::inode::{Attachment, AttributeChange, Attributes, FileType, Inode, make_dev, new_attachment, now};
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

    pub(super) fn may_be_written(&self) -> Result<()> {
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
    pub(super) fn note_access(&self) {
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
        self.may_be_written()?;
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
            self.shared.alarm.ring();
        } else {
            self.shared.forget(self.ino);
        }
    }
}

/// Every file in use.
pub(super) fn all(nodes: &SpinLock<BTreeMap<u32, Weak<Node>>>) -> Vec<Arc<Node>> {
    nodes.lock().values().filter_map(Weak::upgrade).collect()
}
