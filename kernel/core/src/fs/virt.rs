//! Files whose content the kernel makes up when they are read: the parts of procfs and sysfs.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;

use sis_machine::sync::{Mutex, Rank};

use super::file::{File, IoFlags, Whence};
use super::inode::{AttributeChange, Attributes, DirEntry, FileType, Inode, LinkTarget, Metadata, Owner};
use crate::user::{Sink, Source};
use crate::{Errno, Result};

/// Makes a file's content.
pub type Content = dyn Fn() -> Result<Vec<u8>> + Send + Sync;
/// Takes what is written to a file, whole.
pub type Accept = dyn Fn(&[u8]) -> Result<()> + Send + Sync;

/// A name in a directory that is made up.
pub struct Name {
    /// The name.
    pub name: Vec<u8>,
    /// Its inode number.
    pub ino: u64,
    /// What it is.
    pub kind: FileType,
}

/// A directory that is made up.
pub trait Directory: Send + Sync {
    /// The file of a name; `ENOENT`.
    fn lookup(&self, name: &[u8]) -> Result<Arc<VirtualInode>>;
    /// Every name, in the same order each time. A position is an index into it.
    fn list(&self) -> Result<Vec<Name>>;
}

/// What a file is.
pub enum Body {
    /// A directory.
    Directory(Box<dyn Directory>),
    /// A file, which may be writable.
    File(Box<Content>, Option<Box<Accept>>),
    /// A symbolic link.
    Link(Box<dyn Fn() -> Result<LinkTarget> + Send + Sync>),
}

/// A file that is made up.
pub struct VirtualInode {
    dev: u64,
    ino: u64,
    attributes: Attributes,
    body: Body,
}

impl VirtualInode {
    /// A file of `dev` with permission bits `mode`.
    pub fn new(dev: u64, ino: u64, mode: u32, owner: (u32, u32), body: Body) -> Arc<Self> {
        let kind = match body {
            Body::Directory(_) => FileType::Directory,
            Body::File(..) => FileType::Regular,
            Body::Link(_) => FileType::Symlink,
        };
        Arc::new(Self {
            dev,
            ino,
            attributes: Attributes::new(kind, mode, owner.0, owner.1),
            body,
        })
    }

    /// Its inode number.
    pub fn ino(&self) -> u64 {
        self.ino
    }
}

impl Inode for VirtualInode {
    fn kind(&self) -> FileType {
        match self.body {
            Body::Directory(_) => FileType::Directory,
            Body::File(..) => FileType::Regular,
            Body::Link(_) => FileType::Symlink,
        }
    }

    fn owner(&self) -> Owner {
        self.attributes.owner()
    }

    fn metadata(&self) -> Metadata {
        Metadata {
            block_size: 1024,
            ..self.attributes.metadata(self.dev, self.ino)
        }
    }

    fn set_attributes(&self, _change: &AttributeChange) -> Result<()> {
        Err(Errno::EPERM)
    }

    /// Only what O_TRUNC does to a file that can be written.
    fn set_size(&self, _size: u64) -> Result<()> {
        match &self.body {
            Body::File(_, Some(_)) => Ok(()),
            Body::File(_, None) => Err(Errno::EACCES),
            _ => Err(Errno::EINVAL),
        }
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        match &self.body {
            Body::Directory(d) => Ok(d.lookup(name)?),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn read_dir(&self, position: u64, emit: &mut dyn FnMut(&DirEntry<'_>) -> bool) -> Result<()> {
        let Body::Directory(d) = &self.body else {
            return Err(Errno::ENOTDIR);
        };
        // Positions 0 and 1 are `.` and `..`.
        let first = usize::try_from(position.saturating_sub(2)).unwrap_or(usize::MAX);
        for (n, e) in d.list()?.iter().enumerate().skip(first) {
            if !emit(&DirEntry {
                name: &e.name,
                ino: e.ino,
                kind: e.kind,
                next: n as u64 + 3,
            }) {
                break;
            }
        }
        Ok(())
    }

    fn read_link(&self) -> Result<LinkTarget> {
        match &self.body {
            Body::Link(l) => l(),
            _ => Err(Errno::EINVAL),
        }
    }

    fn open(self: Arc<Self>, _flags: u32) -> Result<Arc<dyn File>> {
        Ok(Arc::new(Opened {
            inode: self,
            text: Mutex::new(Rank::Stream, None),
        }))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// An open file: its content as it was when reading last began at the start.
struct Opened {
    inode: Arc<VirtualInode>,
    text: Mutex<Option<Arc<[u8]>>>,
}

/// Most bytes that one write takes.
const WRITE_MAX: usize = 4096;

impl File for Opened {
    fn read(&self, to: &mut Sink<'_>, offset: u64, _flags: IoFlags) -> Result<usize> {
        let Body::File(content, _) = &self.inode.body else {
            return Err(Errno::EINVAL);
        };
        let kept = if offset == 0 { None } else { self.text.lock().clone() };
        let text = match kept {
            Some(t) => t,
            None => {
                let new: Arc<[u8]> = Arc::from(content()?);
                *self.text.lock() = Some(new.clone());
                new
            }
        };
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        to.put(text.get(from..).unwrap_or_default())
    }

    fn write(&self, from: &mut Source<'_>, offset: u64, _flags: IoFlags) -> Result<(usize, u64)> {
        let Body::File(_, Some(accept)) = &self.inode.body else {
            return Err(Errno::EIO);
        };
        if from.remaining() > WRITE_MAX {
            return Err(Errno::EINVAL);
        }
        let bytes = from.take_vec(WRITE_MAX)?;
        accept(&bytes)?;
        Ok((bytes.len(), offset + bytes.len() as u64))
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
        from.checked_add_signed(offset).ok_or(Errno::EINVAL)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A link to a text.
pub fn text_link(text: String) -> Body {
    Body::Link(Box::new(move || Ok(LinkTarget::Text(text.clone().into_bytes()))))
}
