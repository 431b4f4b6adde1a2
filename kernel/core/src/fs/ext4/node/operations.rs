//! What the VFS asks of a file: names, attributes, opening.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::sync::atomic::Ordering;

use sis_ext4::{Attributes as Change, DIRECTORY_END, Device, Ino, Kind, NewFile, RenameMode};

use super::super::timestamp;
use super::{Node, file_type, from_ns};
use crate::fs::cache;
use crate::fs::cache::opened::Opened;
use crate::fs::file::File;
use crate::fs::inode::{
    Attachment, AttributeChange, DirEntry, FileType, Inode, LinkTarget, Metadata, NewInode, NewKind, Owner, Rename,
    split_dev,
};
use crate::fs::size_limit::{file_size_limit, too_large};
use crate::fs::text::TextUse;
use crate::{Errno, Result};

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
        self.may_be_written()?;
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
        self.may_be_written()?;
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
        self.may_be_written()?;
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
        self.may_be_written()?;
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
        if !self.is_regular() {
            return Err(Errno::ENXIO);
        }
        Ok(Opened::new(self, flags))
    }

    fn attachment(&self) -> Option<&Attachment> {
        Some(&self.attachment)
    }

    fn xattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        self.shared.with(|v| v.attribute(Ino(self.ino), name))
    }

    fn set_xattr(&self, name: &[u8], value: Option<&[u8]>, must_exist: Option<bool>) -> Result<()> {
        self.may_be_written()?;
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
