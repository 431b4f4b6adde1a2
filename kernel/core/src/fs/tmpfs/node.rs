//! A file of tmpfs.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;

use sis_machine::mm::PAGE_SIZE;
use sis_machine::sync::{Rank, SpinLock};

use super::directory::Entries;
use super::pages::Pages;
use super::xattrs::Xattrs;
use super::{Shared, has_pages};
use crate::fs::file::{File, IoFlags, Whence};
use crate::fs::flags::{S_ISGID, S_ISUID};
use crate::fs::inode::{
    Attachment, AttributeChange, Attributes, DirEntry, FileType, Inode, LinkTarget, Metadata, NewInode, NewKind, Owner,
    Rename, new_attachment, now,
};
use crate::fs::size_limit::{file_size_limit, too_large};
use crate::fs::text::TextUse;
use crate::process::cred::Capability;
use crate::process::thread;
use crate::user::{Sink, Source};
use crate::vm::PageSource;
use crate::{Errno, Result};

/// What Linux counts for an entry in a directory's size (BOGO_DIRENT_SIZE).
const ENTRY_BYTES: u64 = 20;
/// Most names of a file.
const LINK_MAX: u32 = 0xffff_fff0;

enum Body {
    File(Arc<Pages>),
    Directory(SpinLock<Entries>),
    Symlink(Box<[u8]>),
    Node { rdev: u64, attachment: Attachment },
}

/// A file.
pub(super) struct TmpNode {
    shared: Arc<Shared>,
    ino: u64,
    kind: FileType,
    attributes: SpinLock<Attributes>,
    body: Body,
    text: TextUse,
    xattrs: Xattrs,
}

impl TmpNode {
    fn new(shared: &Arc<Shared>, ino: u64, attributes: Attributes, kind: FileType, body: Body) -> Arc<Self> {
        let attributes = SpinLock::new(Rank::InodeAttr, attributes);
        Arc::new(Self {
            shared: shared.clone(),
            ino,
            kind,
            attributes,
            body,
            text: TextUse::new(),
            xattrs: Xattrs::new(),
        })
    }

    /// An empty directory.
    pub(super) fn directory(shared: &Arc<Shared>, ino: u64, mode: u32, uid: u32, gid: u32) -> Arc<Self> {
        let kind = FileType::Directory;
        let body = Body::Directory(SpinLock::new(Rank::InodeAttr, Entries::new()));
        Self::new(shared, ino, Attributes::new(kind, mode, uid, gid), kind, body)
    }

    /// An empty regular file without a name.
    pub(super) fn loose(shared: &Arc<Shared>, ino: u64, mode: u32, uid: u32, gid: u32) -> Arc<Self> {
        let mut attributes = Attributes::new(FileType::Regular, mode, uid, gid);
        attributes.nlink = 0;
        let body = Body::File(Arc::new(Pages::new(shared.clone(), ino)));
        Self::new(shared, ino, attributes, FileType::Regular, body)
    }

    fn make(&self, new: &NewInode<'_>) -> Result<Arc<Self>> {
        let ino = self.shared.take_inode()?;
        let kind = new.kind.file_type();
        let mode = if kind == FileType::Symlink { 0o777 } else { new.mode };
        let attributes = Attributes::new(kind, mode, new.uid, new.gid);
        let body = match new.kind {
            NewKind::File => Body::File(Arc::new(Pages::new(self.shared.clone(), ino))),
            NewKind::Directory => Body::Directory(SpinLock::new(Rank::InodeAttr, Entries::new())),
            NewKind::Symlink(text) => Body::Symlink(Box::from(text)),
            NewKind::Node(kind, _) if has_pages(kind) => Body::File(Arc::new(Pages::new(self.shared.clone(), ino))),
            NewKind::Node(_, rdev) => Body::Node {
                rdev,
                attachment: new_attachment(),
            },
        };
        Ok(Self::new(&self.shared, ino, attributes, kind, body))
    }

    fn entries(&self) -> Result<&SpinLock<Entries>> {
        match &self.body {
            Body::Directory(e) => Ok(e),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// Empties a directory of a file system that is gone.
    pub(super) fn take_entries(&self) -> Vec<Arc<Self>> {
        match &self.body {
            Body::Directory(e) => core::mem::replace(&mut *e.lock(), Entries::new()).into_nodes(),
            _ => Vec::new(),
        }
    }

    fn pages(&self) -> Result<&Arc<Pages>> {
        match &self.body {
            Body::File(p) => Ok(p),
            _ => Err(Errno::EINVAL),
        }
    }

    /// The directory's content has changed.
    fn changed(&self) {
        let t = now();
        let mut a = self.attributes.lock();
        a.mtime_ns = t;
        a.ctime_ns = t;
    }

    fn add_links(&self, by: i32) {
        let mut a = self.attributes.lock();
        a.nlink = a.nlink.saturating_add_signed(by);
        a.ctime_ns = now();
    }

    fn is_directory(&self) -> bool {
        self.kind == FileType::Directory
    }

    /// Notes a read, as mounts with `relatime` do: when the file has changed since, or after a day.
    fn accessed(&self) {
        const DAY_NS: i64 = 86_400_000_000_000;
        let t = now();
        let mut a = self.attributes.lock();
        if a.atime_ns <= a.mtime_ns || a.atime_ns <= a.ctime_ns || t.saturating_sub(a.atime_ns) > DAY_NS {
            a.atime_ns = t;
        }
    }

    /// Notes a write: the times, and set-id bits that a writer without CAP_FSETID takes away.
    fn written(&self) {
        let t = now();
        let mut a = self.attributes.lock();
        a.mtime_ns = t;
        a.ctime_ns = t;
        if a.mode & (S_ISUID | S_ISGID) != 0 {
            drop(a);
            self.drop_set_id();
        }
    }

    #[cold]
    fn drop_set_id(&self) {
        if thread::try_current().is_none_or(|t| t.cred().has(Capability::Fsetid)) {
            return;
        }
        let mut a = self.attributes.lock();
        a.mode &= !S_ISUID;
        if a.mode & 0o010 != 0 {
            a.mode &= !S_ISGID;
        }
    }

    fn same(inode: &Arc<dyn Inode>) -> Result<&Self> {
        inode.as_any().downcast_ref::<Self>().ok_or(Errno::EXDEV)
    }
}

impl Drop for TmpNode {
    fn drop(&mut self) {
        self.shared.give_inode();
    }
}

/// The counted reference behind an inode of this file system.
fn to_node(inode: &Arc<dyn Inode>) -> Result<Arc<TmpNode>> {
    let any: Arc<dyn Any + Send + Sync> = inode.clone();
    any.downcast::<TmpNode>().map_err(|_| Errno::EXDEV)
}

impl Inode for TmpNode {
    fn kind(&self) -> FileType {
        self.kind
    }

    fn owner(&self) -> Owner {
        self.attributes.lock().owner()
    }

    fn metadata(&self) -> Metadata {
        let mut m = self.attributes.lock().metadata(self.shared.device, self.ino);
        match &self.body {
            Body::File(p) => {
                m.size = p.len();
                m.blocks = (p.page_count() * (PAGE_SIZE / 512)) as u64;
            }
            Body::Directory(e) => m.size = (e.lock().len() as u64 + 2) * ENTRY_BYTES,
            Body::Symlink(text) => m.size = text.len() as u64,
            Body::Node { rdev, .. } => m.rdev = *rdev,
        }
        m
    }

    fn set_attributes(&self, change: &AttributeChange) -> Result<()> {
        self.attributes.lock().apply(change);
        Ok(())
    }

    fn set_size(&self, size: u64) -> Result<()> {
        let pages = self.pages()?;
        if size > pages.len() && size > file_size_limit() {
            return Err(too_large());
        }
        pages.resize(size)?;
        self.written();
        Ok(())
    }

    fn allocate(&self, mode: u32, offset: u64, len: u64) -> Result<()> {
        self.pages().map_err(|_| Errno::ENODEV)?.allocate(mode, offset, len)?;
        self.written();
        Ok(())
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let node = self.entries()?.lock().get(name);
        node.map(|n| n as Arc<dyn Inode>).ok_or(Errno::ENOENT)
    }

    fn create(&self, name: &[u8], new: &NewInode<'_>) -> Result<Arc<dyn Inode>> {
        let entries = self.entries()?;
        let node = self.make(new)?;
        entries.lock().insert(name, node.clone())?;
        if node.is_directory() {
            self.add_links(1);
        }
        self.changed();
        Ok(node)
    }

    fn create_unnamed(&self, new: &NewInode<'_>) -> Result<Arc<dyn Inode>> {
        let node = self.make(new)?;
        node.attributes.lock().nlink = 0;
        Ok(node)
    }

    fn link(&self, name: &[u8], target: &Arc<dyn Inode>) -> Result<()> {
        let node = to_node(target)?;
        if node.attributes.lock().nlink >= LINK_MAX {
            return Err(Errno::EMLINK);
        }
        self.entries()?.lock().insert(name, node.clone())?;
        node.add_links(1);
        self.changed();
        Ok(())
    }

    fn unlink(&self, name: &[u8], _target: &Arc<dyn Inode>) -> Result<()> {
        let gone = self.entries()?.lock().remove(name).ok_or(Errno::ENOENT)?;
        gone.add_links(-1);
        self.changed();
        Ok(())
    }

    fn rmdir(&self, name: &[u8], target: &Arc<dyn Inode>) -> Result<()> {
        let victim = Self::same(target)?;
        victim.entries()?.lock().remove_self()?;
        let gone = self.entries()?.lock().remove(name);
        victim.attributes.lock().nlink = 0;
        self.add_links(-1);
        self.changed();
        drop(gone);
        Ok(())
    }

    fn rename(&self, name: &[u8], new_dir: &Arc<dyn Inode>, new_name: &[u8], how: Rename) -> Result<()> {
        let to = Self::same(new_dir)?;
        let node = self.entries()?.lock().get(name).ok_or(Errno::ENOENT)?;
        let existing = to.entries()?.lock().get(new_name);
        match existing {
            Some(other) if how == Rename::Exchange => {
                let a = self.entries()?.lock().replace(name, other.clone());
                let b = to.entries()?.lock().replace(new_name, node.clone());
                let by = i32::from(other.is_directory()) - i32::from(node.is_directory());
                if by != 0 && !core::ptr::eq(self, to) {
                    self.add_links(by);
                    to.add_links(-by);
                }
                drop((a, b));
            }
            Some(victim) => {
                if victim.is_directory() {
                    victim.entries()?.lock().remove_self()?;
                    victim.attributes.lock().nlink = 0;
                    to.add_links(-1);
                } else {
                    victim.add_links(-1);
                }
                let old = to.entries()?.lock().replace(new_name, node.clone());
                let gone = self.entries()?.lock().remove(name);
                if node.is_directory() {
                    self.add_links(-1);
                    to.add_links(1);
                }
                drop((old, gone));
            }
            None => {
                to.entries()?.lock().insert(new_name, node.clone())?;
                let gone = self.entries()?.lock().remove(name);
                if node.is_directory() && !core::ptr::eq(self, to) {
                    self.add_links(-1);
                    to.add_links(1);
                }
                drop(gone);
            }
        }
        node.attributes.lock().ctime_ns = now();
        self.changed();
        to.changed();
        Ok(())
    }

    fn read_dir(&self, position: u64, emit: &mut dyn FnMut(&DirEntry<'_>) -> bool) -> Result<()> {
        /// Entries copied out of the lock at once.
        const BATCH: usize = 32;
        let entries = self.entries()?;
        let mut at = position;
        loop {
            let batch = entries.lock().some_from(at, BATCH);
            let full = batch.len() == BATCH;
            for (number, name, node) in batch {
                at = number + 1;
                if !emit(&DirEntry {
                    name: &name,
                    ino: node.ino,
                    kind: node.kind,
                    next: at,
                }) {
                    return Ok(());
                }
            }
            if !full {
                return Ok(());
            }
        }
    }

    fn read_link(&self) -> Result<LinkTarget> {
        match &self.body {
            Body::Symlink(text) => Ok(LinkTarget::Text(text.to_vec())),
            _ => Err(Errno::EINVAL),
        }
    }

    fn open(self: Arc<Self>, _flags: u32) -> Result<Arc<dyn File>> {
        Ok(self)
    }

    fn xattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        self.xattrs.get(name)
    }

    fn set_xattr(&self, name: &[u8], value: Option<&[u8]>, must_exist: Option<bool>) -> Result<()> {
        self.xattrs.set(name, value, must_exist)?;
        self.attributes.lock().ctime_ns = now();
        Ok(())
    }

    fn xattr_names(&self) -> Result<Vec<Vec<u8>>> {
        Ok(self.xattrs.names())
    }

    fn text(&self) -> Option<&TextUse> {
        Some(&self.text)
    }

    fn attachment(&self) -> Option<&Attachment> {
        match &self.body {
            Body::Node { attachment, .. } => Some(attachment),
            _ => None,
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl File for TmpNode {
    fn read(&self, to: &mut Sink<'_>, offset: u64, _flags: IoFlags) -> Result<usize> {
        let n = self.pages()?.read(to, offset)?;
        self.accessed();
        Ok(n)
    }

    fn write(&self, from: &mut Source<'_>, offset: u64, flags: IoFlags) -> Result<(usize, u64)> {
        let limit = file_size_limit();
        let out = match self.pages()?.write(from, offset, flags.append, limit) {
            Err(Errno::EFBIG) if limit < u64::MAX => return Err(too_large()),
            other => other?,
        };
        if out.0 > 0 {
            self.written();
        }
        Ok(out)
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn seek(&self, current: u64, offset: i64, whence: Whence) -> Result<u64> {
        self.pages()?.seek(current, offset, whence)
    }

    fn mmap(&self) -> Result<Arc<dyn PageSource>> {
        Ok(self.pages()?.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
