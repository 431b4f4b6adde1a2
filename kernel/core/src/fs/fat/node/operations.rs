//! What the VFS asks of a file: names, attributes, opening.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::ops::ControlFlow;
use core::sync::atomic::Ordering;

use sis_fat::{Chain, Entry, Exchange};

use super::{CHANGE_NS, DAY_NS, Node, ROOT_INO, Spot, mode_of, rounded, times_now};
use crate::fs::cache::opened::Opened;
use crate::fs::file::File;
use crate::fs::inode::{AttributeChange, DirEntry, FileType, Inode, Metadata, NewInode, NewKind, Owner, Rename};
use crate::fs::size_limit::{file_size_limit, too_large};
use crate::fs::text::TextUse;
use crate::{Errno, Result};

/// Positions in a directory that are `.` and `..`.
const DOTS: u64 = 2;

fn text(name: &[u8]) -> Result<&str> {
    core::str::from_utf8(name).map_err(|_| Errno::EINVAL)
}

impl Node {
    fn same(inode: &Arc<dyn Inode>) -> Result<&Self> {
        inode.as_any().downcast_ref::<Self>().ok_or(Errno::EXDEV)
    }

    fn find(&self, name: &[u8]) -> Result<Entry> {
        // A name that cannot be there is not.
        let name = text(name).map_err(|_| Errno::ENOENT)?;
        self.shared.with(|v| v.find(self.spot().chain, name))
    }

    /// Whether a file may have these permissions: those that it shows, or without all that allow writing (as on Linux,
    /// `fat_sanitize_mode`). None where Linux takes no notice of the wish.
    fn is_read_only_by(&self, mode: u32) -> Option<bool> {
        let options = &self.shared.options;
        let writable = mode_of(options, self.kind, false) & 0o777;
        let read_only = mode_of(options, self.kind, true) & 0o777;
        let mask = if self.is_regular() {
            options.file_mask
        } else {
            options.directory_mask
        };
        let wanted = mode & 0o777 & !mask;
        if wanted == writable {
            Some(false)
        } else if wanted == read_only {
            Some(true)
        } else {
            None
        }
    }

    /// The name of `target` is removed from this directory.
    fn remove(&self, target: &Arc<dyn Inode>) -> Result<()> {
        self.may_be_written()?;
        let target = Self::same(target)?;
        self.shared.with(|v| {
            let place = target.spot().place.ok_or(sis_fat::Error::NotFound)?;
            v.remove(self.spot().chain, place)?;
            self.shared.leave(place);
            target.lose_name();
            if !target.is_regular() {
                self.measure(v);
            }
            Ok(())
        })?;
        self.changed();
        Ok(())
    }

    fn exchange(&self, to: &Self, one: &Entry, other: &Entry) -> Result<()> {
        self.shared.with(|v| {
            v.exchange(Exchange {
                one: (self.spot().chain, one.place),
                other: (to.spot().chain, other.place),
            })?;
            let (a, b) = (self.shared.at(one.place), self.shared.at(other.place));
            for (node, place) in [(a, other.place), (b, one.place)] {
                match node {
                    Some(node) => {
                        node.spot.lock().place = Some(place);
                        self.shared.enter(place, &node);
                    }
                    None => self.shared.leave(place),
                }
            }
            self.measure(v);
            to.measure(v);
            Ok(())
        })
    }

    fn replace(&self, to: &Self, entry: &Entry, new_name: &str, replaced: Option<&Entry>) -> Result<()> {
        self.shared.with_room(|v| {
            let (from, into) = (self.spot().chain, to.spot().chain);
            let old = replaced.and_then(|r| self.shared.at(r.place));
            let place = v.rename((from, entry.place), into, new_name, replaced.map(|r| r.place))?;
            if let Some(replaced) = replaced {
                self.shared.leave(replaced.place);
                match old {
                    Some(old) => old.lose_name(),
                    None if !replaced.is_directory => v.free(replaced.chain)?,
                    None => {}
                }
            }
            self.measure(v);
            to.measure(v);
            let moved = self.shared.at(entry.place);
            self.shared.leave(entry.place);
            if let Some(moved) = moved {
                moved.spot.lock().place = Some(place);
                self.shared.enter(place, &moved);
            }
            Ok(())
        })
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
        let mut m = self.attributes.lock().metadata(dev, self.ino);
        let cluster = self.shared.cluster_bytes;
        m.block_size = u32::try_from(cluster).unwrap_or(4096);
        if self.is_regular() {
            m.size = self.cache.size();
            m.blocks = self.clusters() * (cluster / 512);
        } else {
            m.size = self.spot().bytes;
            m.blocks = m.size / 512;
        }
        m
    }

    fn set_attributes(&self, change: &AttributeChange) -> Result<()> {
        self.may_be_written()?;
        let options = &self.shared.options;
        let is_other = |wanted: Option<u32>, has: u32| wanted.is_some_and(|id| id != has);
        if is_other(change.uid, options.uid) || is_other(change.gid, options.gid) {
            return Err(Errno::EPERM);
        }
        if change.mode.is_some_and(|m| m & 0o7000 != 0) {
            return Err(Errno::EPERM);
        }
        if let Some(is_read_only) = change.mode.and_then(|m| self.is_read_only_by(m)) {
            self.shared.with(|v| match self.spot().place {
                Some(place) if self.is_regular() => v.set_read_only(place, is_read_only),
                _ => Ok(()),
            })?;
            self.attributes.lock().mode = mode_of(options, self.kind, is_read_only);
        }
        if change.atime_ns.is_none() && change.mtime_ns.is_none() {
            return Ok(());
        }
        {
            let mut a = self.attributes.lock();
            a.atime_ns = change.atime_ns.map_or(a.atime_ns, |t| rounded(t, DAY_NS));
            a.mtime_ns = change.mtime_ns.map_or(a.mtime_ns, |t| rounded(t, CHANGE_NS));
            a.ctime_ns = a.mtime_ns;
        }
        self.has_new_times.store(true, Ordering::Release);
        Ok(())
    }

    fn set_size(&self, size: u64) -> Result<()> {
        if !self.is_regular() {
            return Err(Errno::EINVAL);
        }
        self.may_be_written()?;
        {
            let _writing = self.cache.lock_writing();
            if size > self.cache.size() {
                if size > file_size_limit() {
                    return Err(too_large());
                }
                self.extend(size)?;
            } else {
                self.truncate(size)?;
            }
        }
        self.changed();
        Ok(())
    }

    fn allocate(&self, mode: u32, offset: u64, len: u64) -> Result<()> {
        if !self.is_regular() {
            return Err(Errno::ENODEV);
        }
        // A file has no holes that could be filled, or made.
        if mode != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        self.may_be_written()?;
        let end = offset.checked_add(len).ok_or(Errno::EFBIG)?;
        {
            let _writing = self.cache.lock_writing();
            if end <= self.cache.size() {
                return Ok(());
            }
            self.extend(end)?;
        }
        self.changed();
        Ok(())
    }

    fn stored_name(&self, name: &[u8]) -> Option<Vec<u8>> {
        self.find(name).ok().map(|e| e.name.into_bytes())
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        if self.kind != FileType::Directory {
            return Err(Errno::ENOTDIR);
        }
        let entry = self.find(name)?;
        Ok(self.shared.node(&entry)?)
    }

    fn create(&self, name: &[u8], new: &NewInode<'_>) -> Result<Arc<dyn Inode>> {
        self.may_be_written()?;
        let is_directory = match new.kind {
            NewKind::File | NewKind::Node(FileType::Regular, _) => false,
            NewKind::Directory => true,
            // Linux's answer of a file system that has none (mknod(2), symlink(2)).
            NewKind::Symlink(_) | NewKind::Node(..) => return Err(Errno::EPERM),
        };
        let name = text(name)?;
        let times = times_now();
        let entry = self.shared.with_room(|v| {
            let entry = v.create(self.spot().chain, name, is_directory, &times)?;
            self.measure(v);
            Ok(entry)
        })?;
        self.changed();
        Ok(self.shared.node(&entry)?)
    }

    fn unlink(&self, _name: &[u8], target: &Arc<dyn Inode>) -> Result<()> {
        self.remove(target)
    }

    fn rmdir(&self, _name: &[u8], target: &Arc<dyn Inode>) -> Result<()> {
        self.remove(target)
    }

    fn rename(&self, name: &[u8], new_dir: &Arc<dyn Inode>, new_name: &[u8], how: Rename) -> Result<()> {
        self.may_be_written()?;
        let to = Self::same(new_dir)?;
        if !Arc::ptr_eq(&self.shared, &to.shared) {
            return Err(Errno::EXDEV);
        }
        let entry = self.find(name)?;
        let other = match to.find(new_name) {
            Ok(other) => Some(other),
            Err(Errno::ENOENT) => None,
            Err(e) => return Err(e),
        };
        match (how, &other) {
            (Rename::Exchange, Some(other)) => self.exchange(to, &entry, other)?,
            (Rename::Exchange, None) => return Err(Errno::ENOENT),
            (Rename::Replace, other) => self.replace(to, &entry, text(new_name)?, other.as_ref())?,
        }
        self.changed();
        to.changed();
        Ok(())
    }

    fn read_dir(&self, position: u64, emit: &mut dyn FnMut(&DirEntry<'_>) -> bool) -> Result<()> {
        // Names are copied out of the volume's lock: whoever takes them may touch user memory.
        const BATCH: usize = 64;
        let Spot { chain, .. } = self.spot();
        // A directory that was removed has no names.
        if chain == Chain::NONE {
            return Ok(());
        }
        let mut at = position.max(DOTS);
        loop {
            let mut batch: Vec<(u64, Entry)> = Vec::new();
            self.shared.with(|v| {
                v.list(chain, |position, e| {
                    let position = u64::from(position) + DOTS;
                    if position >= at {
                        batch.push((position, e));
                    }
                    if batch.len() == BATCH {
                        ControlFlow::Break(())
                    } else {
                        ControlFlow::Continue(())
                    }
                })
            })?;
            let is_last = batch.len() < BATCH;
            for (position, entry) in batch {
                at = position + 1;
                let kind = if entry.is_directory {
                    FileType::Directory
                } else {
                    FileType::Regular
                };
                // A file that nobody uses gets its number when somebody does.
                let ino = self.shared.at(entry.place).map_or(ROOT_INO, |n| n.ino);
                let shown = DirEntry {
                    name: entry.name.as_bytes(),
                    ino,
                    kind,
                    next: at,
                };
                if !emit(&shown) {
                    return Ok(());
                }
            }
            if is_last {
                return Ok(());
            }
        }
    }

    fn open(self: Arc<Self>, flags: u32) -> Result<Arc<dyn File>> {
        if !self.is_regular() {
            return Err(Errno::ENXIO);
        }
        Ok(Opened::new(self, flags))
    }

    fn text(&self) -> Option<&TextUse> {
        Some(&self.text)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
