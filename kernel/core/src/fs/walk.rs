//! From a name to a place (path_resolution(7)).
//!
//! A [`Walker`] goes along a text component by component. A symbolic link replaces the part of the text that has been
//! walked with its target, so the walk needs no recursion; after 40 links it ends with `ELOOP`.

use alloc::borrow::Cow;
use alloc::sync::Arc;
use core::ops::Range;

use super::dentry::Dentry;
use super::flags::{AT_EMPTY_PATH, AT_FDCWD, LINKS_MAX, NAME_MAX, PATH_MAX};
use super::inode::{FileType, LinkTarget};
use super::path::Path;
use super::permission::{self, MAY_EXEC};
use crate::process::cred::Cred;
use crate::process::thread::{self, Thread};
use crate::{Errno, Result};

bitflags::bitflags! {
    /// What a walk may not do (openat2(2), RESOLVE_*).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Resolve: u64 {
        /// Cross a mount.
        const NO_XDEV = 1;
        /// Follow the links of /proc/PID/fd and their like.
        const NO_MAGICLINKS = 2;
        /// Follow any symbolic link.
        const NO_SYMLINKS = 4;
        /// Leave the directory where it starts.
        const BENEATH = 8;
        /// Treat the directory where it starts as the root.
        const IN_ROOT = 16;
    }
}

/// Where walks begin, and on whose behalf.
pub struct Base {
    /// What `/` is.
    pub root: Path,
    /// Where other names begin.
    pub start: Path,
    /// Who walks.
    pub cred: Arc<Cred>,
    /// What is forbidden.
    pub resolve: Resolve,
}

impl Base {
    /// The running thread's root and current directory.
    pub fn current() -> Self {
        Self::of(&thread::current())
    }

    /// A thread's root and current directory.
    pub fn of(thread: &Thread) -> Self {
        let (root, start) = thread.fs().places();
        Self {
            root,
            start,
            cred: thread.cred(),
            resolve: Resolve::empty(),
        }
    }

    /// For the *at calls: names begin at the directory open as `fd`, or at the current one for `AT_FDCWD`.
    pub fn at(thread: &Thread, fd: i32, name: &[u8]) -> Result<Self> {
        if fd == AT_FDCWD || name.first() == Some(&b'/') {
            return Ok(Self::of(thread));
        }
        let file = thread.files().get(fd)?;
        let path = file.path.clone().ok_or(Errno::ENOTDIR)?;
        if !name.is_empty() && !path.dentry.is_directory() {
            return Err(Errno::ENOTDIR);
        }
        Ok(Self {
            root: thread.fs().root(),
            start: path,
            cred: thread.cred(),
            resolve: Resolve::empty(),
        })
    }

    /// The place of a name; `follow`: through a symbolic link at its end.
    pub fn resolve(&self, name: &[u8], follow: bool) -> Result<Path> {
        Walker::new(self, name)?.resolve(follow)
    }

    /// As [`Self::resolve`], but an empty name is the start itself if `flags` has `AT_EMPTY_PATH`.
    pub fn resolve_at(&self, name: &[u8], follow: bool, flags: u32) -> Result<Path> {
        if name.is_empty() && flags & AT_EMPTY_PATH != 0 {
            return Ok(self.start.clone());
        }
        self.resolve(name, follow)
    }
}

/// What the last component of a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// There is none: the walk is where it leads (`/`, or the end of a link of /proc).
    Nothing,
    /// `.`.
    Dot,
    /// `..`.
    DotDot,
    /// A name ([`Walker::name`]).
    Name,
}

/// A walk under way.
pub struct Walker<'a> {
    base: &'a Base,
    /// Where it is.
    pub at: Path,
    text: Cow<'a, [u8]>,
    next: usize,
    name: Range<usize>,
    /// The name ended with a slash.
    pub wants_directory: bool,
    links: u32,
}

impl<'a> Walker<'a> {
    /// At the beginning. `ENOENT` for an empty name.
    pub fn new(base: &'a Base, name: &'a [u8]) -> Result<Self> {
        if name.len() >= PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let at = match name.first() {
            None => return Err(Errno::ENOENT),
            Some(b'/') if base.resolve.contains(Resolve::BENEATH) => return Err(Errno::EXDEV),
            Some(b'/') => base.root.clone(),
            Some(_) => base.start.clone(),
        };
        Ok(Self {
            base,
            at,
            text: Cow::Borrowed(name),
            next: 0,
            name: 0..0,
            wants_directory: false,
            links: 0,
        })
    }

    /// Who walks.
    pub fn cred(&self) -> &Cred {
        &self.base.cred
    }

    /// The last component.
    pub fn name(&self) -> &[u8] {
        self.text.get(self.name.clone()).unwrap_or_default()
    }

    /// Walks to the directory that the last component is in.
    pub fn to_last(&mut self) -> Result<Last> {
        loop {
            let text: &[u8] = &self.text;
            let begin = match text.iter().skip(self.next).position(|b| *b != b'/') {
                Some(n) => self.next + n,
                None => {
                    self.wants_directory |= self.next < text.len();
                    return Ok(Last::Nothing);
                }
            };
            let rest = text.get(begin..).unwrap_or_default();
            let len = rest.iter().position(|b| *b == b'/').unwrap_or(rest.len());
            if len > NAME_MAX {
                return Err(Errno::ENAMETOOLONG);
            }
            let end = begin + len;
            let is_last = rest.iter().skip(len).all(|b| *b == b'/');
            let kind = match rest.get(..len) {
                Some(b".") => Last::Dot,
                Some(b"..") => Last::DotDot,
                _ => Last::Name,
            };
            self.name = begin..end;
            self.next = end;
            if !self.at.dentry.is_directory() {
                return Err(Errno::ENOTDIR);
            }
            if is_last {
                self.wants_directory = end < text.len();
                self.next = text.len();
                return Ok(kind);
            }
            match kind {
                Last::DotDot => self.up()?,
                Last::Name => {
                    let child = self.child()?;
                    match child.kind() {
                        FileType::Directory => self.enter(child)?,
                        FileType::Symlink => self.follow(&child)?,
                        _ => return Err(Errno::ENOTDIR),
                    }
                }
                Last::Dot | Last::Nothing => self.searchable()?,
            }
        }
    }

    /// `EACCES` unless the directory where it is may be searched.
    pub fn searchable(&self) -> Result<()> {
        permission::check(self.at.inode(), &self.base.cred, MAY_EXEC)
    }

    /// Looks the last component up where the walk is.
    pub fn child(&self) -> Result<Arc<Dentry>> {
        self.searchable()?;
        self.at.dentry.child(self.name())
    }

    /// Goes to a child, and to the top of what is mounted on it.
    pub fn enter(&mut self, child: Arc<Dentry>) -> Result<()> {
        let is_mountpoint = child.is_mountpoint();
        self.at.dentry = child;
        if is_mountpoint {
            if self.base.resolve.contains(Resolve::NO_XDEV) {
                return Err(Errno::EXDEV);
            }
            self.at = self.at.clone().cross();
        }
        Ok(())
    }

    /// Goes to the directory above.
    pub fn up(&mut self) -> Result<()> {
        self.searchable()?;
        let r = self.base.resolve;
        if r.contains(Resolve::BENEATH) && self.at == self.base.start {
            return Err(Errno::EXDEV);
        }
        let above = self.at.up(&self.base.root);
        if r.contains(Resolve::NO_XDEV) && above.mount.id != self.at.mount.id {
            return Err(Errno::EXDEV);
        }
        self.at = above;
        Ok(())
    }

    /// Puts a symbolic link's target in place of the text up to the last component.
    pub fn follow(&mut self, link: &Arc<Dentry>) -> Result<()> {
        self.links += 1;
        let r = self.base.resolve;
        if self.links > LINKS_MAX || r.contains(Resolve::NO_SYMLINKS) {
            return Err(Errno::ELOOP);
        }
        let rest = self.text.get(self.name.end..).unwrap_or_default();
        match link.inode().read_link()? {
            LinkTarget::Text(mut target) => {
                match target.first() {
                    None => return Err(Errno::ENOENT),
                    Some(b'/') if r.contains(Resolve::BENEATH) => return Err(Errno::EXDEV),
                    Some(b'/') => self.at = self.base.root.clone(),
                    Some(_) => {}
                }
                target.extend_from_slice(rest);
                if target.len() >= 2 * PATH_MAX {
                    return Err(Errno::ENAMETOOLONG);
                }
                self.text = Cow::Owned(target);
            }
            LinkTarget::Place(path, _) => {
                if r.contains(Resolve::NO_MAGICLINKS) {
                    return Err(Errno::ELOOP);
                }
                if r.intersects(Resolve::BENEATH | Resolve::IN_ROOT)
                    || (r.contains(Resolve::NO_XDEV) && path.mount.id != self.at.mount.id)
                {
                    return Err(Errno::EXDEV);
                }
                let rest = rest.to_vec();
                self.at = path;
                self.text = Cow::Owned(rest);
            }
        }
        self.next = 0;
        self.name = 0..0;
        self.wants_directory = false;
        Ok(())
    }

    /// Walks to the end; `follow`: through a symbolic link there.
    pub fn resolve(mut self, follow: bool) -> Result<Path> {
        loop {
            match self.to_last()? {
                Last::Nothing => {}
                Last::Dot => self.searchable()?,
                Last::DotDot => self.up()?,
                Last::Name => {
                    let child = self.child()?;
                    if child.kind() == FileType::Symlink && (follow || self.wants_directory) {
                        self.follow(&child)?;
                        continue;
                    }
                    self.enter(child)?;
                }
            }
            if self.wants_directory && !self.at.dentry.is_directory() {
                return Err(Errno::ENOTDIR);
            }
            return Ok(self.at);
        }
    }
}
