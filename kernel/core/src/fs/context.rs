//! Where a process is in the tree: its root, its current directory, its umask.

use core::sync::atomic::{AtomicU32, Ordering};

use sis_machine::sync::{Rank, SpinLock};

use super::path::Path;

struct Places {
    root: Path,
    cwd: Path,
}

/// Root, current directory and umask; shared by threads (CLONE_FS).
pub struct FsContext {
    places: SpinLock<Places>,
    umask: AtomicU32,
}

impl FsContext {
    /// At a root, with Linux's first umask.
    pub fn new(root: Path) -> Self {
        Self {
            places: SpinLock::new(
                Rank::Mounts,
                Places {
                    cwd: root.clone(),
                    root,
                },
            ),
            umask: AtomicU32::new(0o022),
        }
    }

    /// A copy for fork(2).
    pub fn duplicate(&self) -> Self {
        let (root, cwd) = self.places();
        Self {
            places: SpinLock::new(Rank::Mounts, Places { root, cwd }),
            umask: AtomicU32::new(self.umask()),
        }
    }

    /// Root and current directory.
    pub fn places(&self) -> (Path, Path) {
        let p = self.places.lock();
        (p.root.clone(), p.cwd.clone())
    }

    /// The root.
    pub fn root(&self) -> Path {
        self.places.lock().root.clone()
    }

    /// The current directory.
    pub fn cwd(&self) -> Path {
        self.places.lock().cwd.clone()
    }

    /// chroot(2).
    pub fn set_root(&self, root: Path) {
        let old = core::mem::replace(&mut self.places.lock().root, root);
        drop(old);
    }

    /// chdir(2).
    pub fn set_cwd(&self, cwd: Path) {
        let old = core::mem::replace(&mut self.places.lock().cwd, cwd);
        drop(old);
    }

    /// The permission bits that new files do not get.
    pub fn umask(&self) -> u32 {
        self.umask.load(Ordering::Relaxed)
    }

    /// umask(2); the old value.
    pub fn set_umask(&self, mask: u32) -> u32 {
        self.umask.swap(mask & 0o777, Ordering::Relaxed)
    }
}
