//! tmpfs (tmpfs(5)): files in page frames, directories in memory, limits on both.

mod directory;
pub mod memfd;
mod node;
mod options;
mod pages;
mod xattrs;

use alloc::string::String;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use sis_machine::mm::PAGE_SIZE;
use sis_machine::mm::frames::total_frames;

use super::inode::{FileType, Inode};
use super::mount::{FileSystem, Usage, anonymous_device};
use crate::{Errno, Result};
use node::TmpNode;
use options::Options;

/// TMPFS_MAGIC (statfs(2)).
const MAGIC: u64 = 0x0102_1994;

static PAGES: AtomicUsize = AtomicUsize::new(0);

/// Pages that files of every tmpfs have, for /proc/meminfo.
pub fn pages_in_use() -> usize {
    PAGES.load(Ordering::Relaxed)
}

/// What the nodes of one file system share.
struct Shared {
    device: u64,
    next_ino: AtomicU64,
    pages: AtomicUsize,
    pages_max: AtomicUsize,
    inodes: AtomicUsize,
    inodes_max: AtomicUsize,
}

impl Shared {
    /// Room for another page; `ENOSPC`.
    fn take_page(&self) -> Result<()> {
        if self.pages.fetch_add(1, Ordering::Relaxed) >= self.pages_max.load(Ordering::Relaxed) {
            self.pages.fetch_sub(1, Ordering::Relaxed);
            return Err(Errno::ENOSPC);
        }
        PAGES.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn give_pages(&self, n: usize) {
        PAGES.fetch_sub(n, Ordering::Relaxed);
        self.pages.fetch_sub(n, Ordering::Relaxed);
    }

    /// Room for another inode, and its number; `ENOSPC`.
    fn take_inode(&self) -> Result<u64> {
        if self.inodes.fetch_add(1, Ordering::Relaxed) >= self.inodes_max.load(Ordering::Relaxed) {
            self.inodes.fetch_sub(1, Ordering::Relaxed);
            return Err(Errno::ENOSPC);
        }
        Ok(self.next_ino.fetch_add(1, Ordering::Relaxed))
    }

    fn give_inode(&self) {
        self.inodes.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A tmpfs.
pub struct TmpFs {
    kind: &'static str,
    shared: Arc<Shared>,
    root: Arc<TmpNode>,
}

impl TmpFs {
    /// A new one; `options` are mount(8)'s: size, nr_blocks, nr_inodes, mode, uid, gid. `EINVAL` for others.
    pub fn new(kind: &'static str, options: &str) -> Result<Arc<Self>> {
        Ok(Self::with(kind, &Options::parse(options)?))
    }

    /// A new one without options.
    pub fn plain(kind: &'static str) -> Arc<Self> {
        Self::with(kind, &Options::default())
    }

    fn with(kind: &'static str, options: &Options) -> Arc<Self> {
        let half = total_frames() / 2;
        let shared = Arc::new(Shared {
            device: anonymous_device(),
            next_ino: AtomicU64::new(1),
            pages: AtomicUsize::new(0),
            pages_max: AtomicUsize::new(options.pages.unwrap_or(half)),
            inodes: AtomicUsize::new(1),
            inodes_max: AtomicUsize::new(options.inodes.unwrap_or(half)),
        });
        let ino = shared.next_ino.fetch_add(1, Ordering::Relaxed);
        let mode = options.mode.unwrap_or(0o1777);
        let (uid, gid) = (options.uid.unwrap_or(0), options.gid.unwrap_or(0));
        let root = TmpNode::directory(&shared, ino, mode, uid, gid);
        Arc::new(Self { kind, shared, root })
    }

    /// A file outside the tree, for memfd_create(2).
    fn loose_file(&self, mode: u32, uid: u32, gid: u32) -> Result<Arc<TmpNode>> {
        let ino = self.shared.take_inode()?;
        Ok(TmpNode::loose(&self.shared, ino, mode, uid, gid))
    }
}

impl Drop for TmpFs {
    /// Takes directories apart one by one: the tree may be deeper than the stack.
    fn drop(&mut self) {
        let mut rest = alloc::vec![self.root.clone()];
        while let Some(node) = rest.pop() {
            rest.append(&mut node.take_entries());
        }
    }
}

/// The limit as statfs and /proc/mounts show it: none.
const UNLIMITED: usize = usize::MAX;

impl FileSystem for TmpFs {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn root(&self) -> Arc<dyn Inode> {
        self.root.clone()
    }

    fn usage(&self) -> Usage {
        let pages_max = self.shared.pages_max.load(Ordering::Relaxed);
        let inodes_max = self.shared.inodes_max.load(Ordering::Relaxed);
        let mut usage = Usage {
            magic: MAGIC,
            block_size: PAGE_SIZE as u64,
            ..Usage::default()
        };
        if pages_max != UNLIMITED {
            usage.blocks = pages_max as u64;
            usage.free_blocks = pages_max.saturating_sub(self.shared.pages.load(Ordering::Relaxed)) as u64;
        }
        if inodes_max != UNLIMITED {
            usage.inodes = inodes_max as u64;
            usage.free_inodes = inodes_max.saturating_sub(self.shared.inodes.load(Ordering::Relaxed)) as u64;
        }
        usage
    }

    fn device(&self) -> u64 {
        self.shared.device
    }

    fn keeps_names(&self) -> bool {
        true
    }

    fn options(&self) -> String {
        let owner = self.root.owner();
        let mut out = String::new();
        let pages_max = self.shared.pages_max.load(Ordering::Relaxed);
        if pages_max != UNLIMITED {
            out.push_str(&alloc::format!(",size={}k", pages_max * (PAGE_SIZE / 1024)));
        }
        let inodes_max = self.shared.inodes_max.load(Ordering::Relaxed);
        if inodes_max != UNLIMITED {
            out.push_str(&alloc::format!(",nr_inodes={inodes_max}"));
        }
        if owner.mode & 0o7777 != 0o1777 {
            out.push_str(&alloc::format!(",mode={:o}", owner.mode & 0o7777));
        }
        out
    }

    fn remount(&self, options: &str) -> Result<()> {
        let options = Options::parse(options)?;
        if let Some(pages) = options.pages {
            if pages < self.shared.pages.load(Ordering::Relaxed) {
                return Err(Errno::EINVAL);
            }
            self.shared.pages_max.store(pages, Ordering::Relaxed);
        }
        if let Some(inodes) = options.inodes {
            if inodes < self.shared.inodes.load(Ordering::Relaxed) {
                return Err(Errno::EINVAL);
            }
            self.shared.inodes_max.store(inodes, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Whether a node kind has content in pages.
fn has_pages(kind: FileType) -> bool {
    kind == FileType::Regular
}
