//! A tree of made-up files that the kernel's parts register in by path: /proc outside the processes, and /sys.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use sis_machine::sync::{Rank, SpinLock};

use super::inode::{FileType, LinkTarget};
use super::virt::{Accept, Body, Content, Directory, Name, VirtualInode};
use crate::{Errno, Result};

/// What a name in the tree is.
#[derive(Clone)]
pub enum Entry {
    /// A directory.
    Directory(Arc<Tree>),
    /// A file.
    File {
        /// Permission bits.
        mode: u32,
        /// Its content.
        read: Arc<Content>,
        /// What takes writes.
        write: Option<Arc<Accept>>,
    },
    /// A symbolic link.
    Link(Arc<dyn Fn() -> Result<LinkTarget> + Send + Sync>),
}

/// A directory of the tree.
pub struct Tree {
    dev: u64,
    ino: u64,
    entries: SpinLock<BTreeMap<String, (u64, Entry)>>,
}

/// Inode numbers of trees; those of processes have higher bits.
static NEXT_INO: AtomicU64 = AtomicU64::new(1);

impl Tree {
    /// An empty directory.
    pub fn new(dev: u64) -> Arc<Self> {
        let ino = NEXT_INO.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self {
            dev,
            ino,
            entries: SpinLock::new(Rank::Leaf, BTreeMap::new()),
        })
    }

    /// Puts an entry at a path, making the directories above it; replaces what was there.
    pub fn add(self: &Arc<Self>, path: &str, entry: Entry) {
        let mut at = self.clone();
        let mut parts = path.split('/').filter(|p| !p.is_empty()).peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                let ino = match &entry {
                    Entry::Directory(d) => d.ino,
                    _ => NEXT_INO.fetch_add(1, Ordering::Relaxed),
                };
                let old = at.entries.lock().insert(String::from(part), (ino, entry));
                drop(old);
                return;
            }
            let known = at.entries.lock().get(part).cloned();
            at = match known {
                Some((_, Entry::Directory(d))) => d,
                _ => {
                    let new = Self::new(self.dev);
                    let entry = (new.ino, Entry::Directory(new.clone()));
                    let old = at.entries.lock().insert(String::from(part), entry);
                    drop(old);
                    new
                }
            };
        }
    }

    /// A directory, empty at first.
    pub fn add_directory(self: &Arc<Self>, path: &str) {
        self.add(path, Entry::Directory(Self::new(self.dev)));
    }

    /// A file that is only read.
    pub fn add_file(self: &Arc<Self>, path: &str, read: impl Fn() -> Result<Vec<u8>> + Send + Sync + 'static) {
        self.add(
            path,
            Entry::File {
                mode: 0o444,
                read: Arc::new(read),
                write: None,
            },
        );
    }

    /// A file that the superuser writes too.
    pub fn add_setting(
        self: &Arc<Self>,
        path: &str,
        read: impl Fn() -> Result<Vec<u8>> + Send + Sync + 'static,
        write: impl Fn(&[u8]) -> Result<()> + Send + Sync + 'static,
    ) {
        self.add(
            path,
            Entry::File {
                mode: 0o644,
                read: Arc::new(read),
                write: Some(Arc::new(write)),
            },
        );
    }

    /// Takes an entry away.
    pub fn remove(self: &Arc<Self>, path: &str) {
        let (dir, name) = path.trim_matches('/').rsplit_once('/').unwrap_or(("", path));
        let mut at = self.clone();
        for part in dir.split('/').filter(|p| !p.is_empty()) {
            let next = at.entries.lock().get(part).cloned();
            let Some((_, Entry::Directory(d))) = next else { return };
            at = d;
        }
        let old = at.entries.lock().remove(name);
        drop(old);
    }

    /// The directory as an inode.
    pub fn inode(self: &Arc<Self>) -> Arc<VirtualInode> {
        VirtualInode::new(
            self.dev,
            self.ino,
            0o555,
            (0, 0),
            Body::Directory(Box::new(Listing(self.clone()))),
        )
    }

    /// The file of a name; `ENOENT`.
    pub fn find(&self, name: &[u8]) -> Result<Arc<VirtualInode>> {
        let name = core::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
        let (ino, entry) = self.entries.lock().get(name).cloned().ok_or(Errno::ENOENT)?;
        Ok(match entry {
            Entry::Directory(d) => d.inode(),
            Entry::File { mode, read, write } => {
                let accept = write.map(|w| -> Box<Accept> { Box::new(move |b: &[u8]| w(b)) });
                VirtualInode::new(
                    self.dev,
                    ino,
                    mode,
                    (0, 0),
                    Body::File(Box::new(move || read()), accept),
                )
            }
            Entry::Link(l) => VirtualInode::new(self.dev, ino, 0o777, (0, 0), Body::Link(Box::new(move || l()))),
        })
    }

    /// Every name.
    pub fn names(&self) -> Vec<Name> {
        let kind = |e: &Entry| match e {
            Entry::Directory(_) => FileType::Directory,
            Entry::File { .. } => FileType::Regular,
            Entry::Link(_) => FileType::Symlink,
        };
        let entries = self.entries.lock();
        entries
            .iter()
            .map(|(n, (ino, e))| Name {
                name: n.clone().into_bytes(),
                ino: *ino,
                kind: kind(e),
            })
            .collect()
    }
}

struct Listing(Arc<Tree>);

impl Directory for Listing {
    fn lookup(&self, name: &[u8]) -> Result<Arc<VirtualInode>> {
        self.0.find(name)
    }

    fn list(&self) -> Result<Vec<Name>> {
        Ok(self.0.names())
    }
}
