//! A place in the tree of mounts and names.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::dentry::Dentry;
use super::inode::Inode;
use super::mount::{self, FileSystem, Mount, MountFlags, SuperBlock, Usage};

/// A name of a mount.
#[derive(Clone)]
pub struct Path {
    /// The mount.
    pub mount: Arc<Mount>,
    /// The name within it.
    pub dentry: Arc<Dentry>,
}

impl PartialEq for Path {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.dentry, &other.dentry) && Arc::ptr_eq(&self.mount, &other.mount)
    }
}

impl Path {
    /// The file.
    #[inline]
    pub fn inode(&self) -> &Arc<dyn Inode> {
        self.dentry.inode()
    }

    /// Whether it is the top of its mount.
    #[inline]
    pub fn is_mount_root(&self) -> bool {
        Arc::ptr_eq(&self.dentry, self.mount.root())
    }

    /// Goes to the top of what is mounted here, if anything is.
    #[inline]
    pub fn cross(mut self) -> Self {
        while self.dentry.is_mountpoint() {
            let Some(m) = mount::mounted_on(&self) else { break };
            self = m.root_path();
        }
        self
    }

    /// The directory above, across mounts; `root` is as far up as it goes.
    pub fn up(&self, root: &Self) -> Self {
        let mut at = self.clone();
        loop {
            if at == *root {
                return at;
            }
            if !at.is_mount_root() {
                let parent = at.dentry.parent();
                if let Some(p) = parent {
                    at.dentry = p;
                }
                return at.cross();
            }
            match at.mount.place() {
                Some(p) => at = p,
                None => return at,
            }
        }
    }

    /// Its name from `root` on, beginning with `/`; none when it lies outside.
    pub fn from_root(&self, root: &Self) -> Option<Vec<u8>> {
        let mut parts: Vec<Arc<[u8]>> = Vec::new();
        let mut at = self.clone();
        while at != *root {
            if at.is_mount_root() {
                at = at.mount.place()?;
                continue;
            }
            let parent = at.dentry.parent()?;
            parts.push(at.dentry.name());
            at.dentry = parent;
        }
        let mut out = Vec::new();
        for p in parts.iter().rev() {
            out.push(b'/');
            out.extend_from_slice(p);
        }
        if out.is_empty() {
            out.push(b'/');
        }
        Some(out)
    }

    /// Its name as /proc/PID/fd shows it: from `root` on, ` (deleted)` when the name is gone.
    pub fn display(&self, root: &Self) -> Vec<u8> {
        let mut out = match self.from_root(root) {
            Some(p) => p,
            None => {
                // Outside `root`: the name from the top of the mount, or the plain name of what is in no tree.
                let mut top = self.clone();
                while let Some(p) = top.dentry.parent() {
                    top.dentry = p;
                }
                self.from_root(&top).unwrap_or_default()
            }
        };
        if self.dentry.is_unlinked() {
            out.extend_from_slice(b" (deleted)");
        }
        out
    }

    /// A path to a file that is in no tree: what /proc/PID/fd/N leads to for a pipe.
    pub fn outside(inode: Arc<dyn Inode>) -> Self {
        let superblock = SuperBlock::new(Arc::new(Outside { root: inode.clone() }));
        let root = superblock.root().clone();
        let mount = Mount::new(superblock, root.clone(), MountFlags::empty(), String::from("none"));
        Self { mount, dentry: root }
    }
}

/// The file system of a single file that is in no tree.
struct Outside {
    root: Arc<dyn Inode>,
}

impl FileSystem for Outside {
    fn kind(&self) -> &'static str {
        "anon_inodefs"
    }
    fn root(&self) -> Arc<dyn Inode> {
        self.root.clone()
    }
    fn usage(&self) -> Usage {
        // ANON_INODE_FS_MAGIC (linux/magic.h).
        Usage {
            magic: 0x0904_1934,
            block_size: 4096,
            ..Usage::default()
        }
    }
    fn device(&self) -> u64 {
        self.root.metadata().dev
    }
    fn keeps_names(&self) -> bool {
        false
    }
}
