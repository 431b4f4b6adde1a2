//! File systems and where they are mounted.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use sis_machine::sync::{Rank, SpinLock};

use super::dentry::Dentry;
use super::inode::{Inode, make_dev};
use super::path::Path;
use crate::{Errno, Result};

/// What statfs(2) answers of a file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Magic number (statfs(2)).
    pub magic: u64,
    /// Bytes of a block.
    pub block_size: u64,
    /// Blocks; 0 when there is no limit.
    pub blocks: u64,
    /// Free blocks.
    pub free_blocks: u64,
    /// Inodes.
    pub inodes: u64,
    /// Free inodes.
    pub free_inodes: u64,
}

/// A mounted file system.
pub trait FileSystem: Send + Sync {
    /// Its type, as /proc/mounts shows it.
    fn kind(&self) -> &'static str;
    /// The root directory.
    fn root(&self) -> Arc<dyn Inode>;
    /// For statfs(2).
    fn usage(&self) -> Usage;
    /// The device number of its files.
    fn device(&self) -> u64;
    /// Whether its directory entries change through the VFS alone, so that they can be kept.
    fn keeps_names(&self) -> bool;
    /// Whether names that are forgotten can be looked up again: their inodes are on a disk.
    fn looks_up_again(&self) -> bool {
        false
    }
    /// Options for /proc/mounts, beginning with a comma, or empty.
    fn options(&self) -> String {
        String::new()
    }
    /// Changes options (MS_REMOUNT).
    fn remount(&self, options: &str) -> Result<()> {
        let _ = options;
        Ok(())
    }
    /// Writes everything to its device.
    fn sync(&self) -> Result<()> {
        Ok(())
    }
    /// Leaves a clean file system behind, which nothing changes any more: the machine stops.
    fn shut_down(&self) -> Result<()> {
        self.sync()
    }
}

static NEXT_ANON_DEVICE: AtomicU32 = AtomicU32::new(1);

/// A device number for a file system without a device (major 0).
pub fn anonymous_device() -> u64 {
    make_dev(0, NEXT_ANON_DEVICE.fetch_add(1, Ordering::Relaxed))
}

/// A file system with its tree of names; shared by the mounts of it.
pub struct SuperBlock {
    fs: Arc<dyn FileSystem>,
    root: Arc<Dentry>,
    keeps_names: bool,
}

impl SuperBlock {
    /// Around a file system.
    pub fn new(fs: Arc<dyn FileSystem>) -> Arc<Self> {
        let keeps_names = fs.keeps_names();
        Arc::new(Self {
            root: Dentry::root(fs.root(), keeps_names),
            fs,
            keeps_names,
        })
    }

    /// The file system.
    pub fn fs(&self) -> &Arc<dyn FileSystem> {
        &self.fs
    }

    /// The root of its names.
    pub fn root(&self) -> &Arc<Dentry> {
        &self.root
    }

    /// Forgets names that nobody uses, where the file system can look them up again, until at most `most` are left. How
    /// many were forgotten.
    pub fn prune(&self, most: usize) -> usize {
        if self.fs.looks_up_again() {
            self.root.prune(most)
        } else {
            0
        }
    }
}

impl Drop for SuperBlock {
    fn drop(&mut self) {
        super::notify::unmounted(self.fs.device());
        let _ = self.fs.sync();
        if self.keeps_names {
            self.root.dissolve();
        }
    }
}

bitflags::bitflags! {
    /// How a mount restricts what is under it; the numbers are mount(2)'s.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct MountFlags: u32 {
        /// No writing.
        const RDONLY = 1;
        /// Set-user-id bits mean nothing.
        const NOSUID = 2;
        /// No devices.
        const NODEV = 4;
        /// No programs.
        const NOEXEC = 8;
        /// No access times.
        const NOATIME = 1024;
        /// No access times of directories.
        const NODIRATIME = 2048;
        /// Access times only when older than the others.
        const RELATIME = 1 << 21;
    }
}

/// A file system at a place.
pub struct Mount {
    /// A number, for /proc/PID/mountinfo and statx.
    pub id: u32,
    superblock: Arc<SuperBlock>,
    root: Arc<Dentry>,
    at: SpinLock<Option<Path>>,
    flags: AtomicU32,
    /// What was said to be mounted.
    pub source: String,
}

static NEXT_MOUNT: AtomicU32 = AtomicU32::new(1);

impl Mount {
    /// A mount of the part of a file system under `root`, in no place yet.
    pub fn new(superblock: Arc<SuperBlock>, root: Arc<Dentry>, flags: MountFlags, source: String) -> Arc<Self> {
        Arc::new(Self {
            id: NEXT_MOUNT.fetch_add(1, Ordering::Relaxed),
            superblock,
            root,
            at: SpinLock::new(Rank::Mounts, None),
            flags: AtomicU32::new(flags.bits()),
            source,
        })
    }

    /// The file system.
    pub fn superblock(&self) -> &Arc<SuperBlock> {
        &self.superblock
    }

    /// Its topmost name.
    pub fn root(&self) -> &Arc<Dentry> {
        &self.root
    }

    /// Its topmost name, as a path.
    pub fn root_path(self: &Arc<Self>) -> Path {
        Path {
            mount: self.clone(),
            dentry: self.root.clone(),
        }
    }

    /// Where it is mounted; none for the first root and for what has been unmounted.
    pub fn place(&self) -> Option<Path> {
        self.at.lock().clone()
    }

    /// Its flags.
    pub fn flags(&self) -> MountFlags {
        MountFlags::from_bits_truncate(self.flags.load(Ordering::Relaxed))
    }

    /// Replaces its flags.
    pub fn set_flags(&self, flags: MountFlags) {
        self.flags.store(flags.bits(), Ordering::Relaxed);
    }

    /// `EROFS` when nothing may be written.
    pub fn writable(&self) -> Result<()> {
        if self.flags().contains(MountFlags::RDONLY) {
            Err(Errno::EROFS)
        } else {
            Ok(())
        }
    }
}

/// Where mounts are: (mount, dentry) of the place -> what is on it.
struct Table {
    by_place: BTreeMap<(u32, usize), Arc<Mount>>,
    order: Vec<Arc<Mount>>,
}

static TABLE: SpinLock<Table> = SpinLock::new(
    Rank::Mounts,
    Table {
        by_place: BTreeMap::new(),
        order: Vec::new(),
    },
);
static CHANGES: AtomicU64 = AtomicU64::new(0);

fn key(path: &Path) -> (u32, usize) {
    (path.mount.id, Arc::as_ptr(&path.dentry).addr())
}

/// What is mounted at exactly this place.
pub(super) fn mounted_on(path: &Path) -> Option<Arc<Mount>> {
    TABLE.lock().by_place.get(&key(path)).cloned()
}

/// Makes the first mount.
pub(super) fn attach_root(mount: Arc<Mount>) {
    TABLE.lock().order.push(mount);
}

/// Mounts at a place (the topmost one there).
///
/// # Errors
/// `ENOTDIR` when one is a directory and the other is not, `ENOENT` for a place that is gone.
pub fn attach(mount: Arc<Mount>, at: &Path) -> Result<()> {
    if at.dentry.is_directory() != mount.root.is_directory() {
        return Err(Errno::ENOTDIR);
    }
    if at.dentry.is_unlinked() {
        return Err(Errno::ENOENT);
    }
    *mount.at.lock() = Some(at.clone());
    at.dentry.add_mount();
    let replaced = {
        let mut table = TABLE.lock();
        let replaced = table.by_place.insert(key(at), mount.clone());
        table.order.retain(|m| m.id != mount.id);
        table.order.push(mount);
        replaced
    };
    CHANGES.fetch_add(1, Ordering::Relaxed);
    // The walker goes to the topmost mount, so there was nothing unless two tasks mounted at once: the later one wins
    // and the earlier stays reachable through it, as on Linux.
    if let Some(below) = replaced {
        let top = mounted_on(at);
        if let Some(top) = top {
            let place = Path {
                mount: top.clone(),
                dentry: top.root.clone(),
            };
            *below.at.lock() = Some(place.clone());
            top.root.add_mount();
            TABLE.lock().by_place.insert(key(&place), below);
        }
    }
    Ok(())
}

/// Takes a mount away. `EBUSY` unless `lazily` while anything uses it; `EINVAL` for the first root.
pub fn detach(mount: &Arc<Mount>, lazily: bool) -> Result<()> {
    let place = mount.place().ok_or(Errno::EINVAL)?;
    let mut gone = Vec::new();
    {
        let mut table = TABLE.lock();
        let is_parent = table.by_place.keys().any(|k| k.0 == mount.id);
        if is_parent && !lazily {
            return Err(Errno::EBUSY);
        }
        // Two in the table and one with the caller; every other user has its own.
        if !lazily && Arc::strong_count(mount) > 3 {
            return Err(Errno::EBUSY);
        }
        let mut ids = alloc::vec![mount.id];
        while let Some(id) = ids.pop() {
            let under: Vec<(u32, usize)> = table.by_place.keys().filter(|k| k.0 == id).copied().collect();
            for k in under {
                if let Some(m) = table.by_place.remove(&k) {
                    ids.push(m.id);
                    gone.push(m);
                }
            }
        }
        gone.extend(table.by_place.remove(&key(&place)));
        table.order.retain(|m| !gone.iter().any(|g| g.id == m.id));
    }
    CHANGES.fetch_add(1, Ordering::Relaxed);
    for m in &gone {
        let at = m.at.lock().take();
        if let Some(p) = at {
            p.dentry.remove_mount();
        }
    }
    drop(gone);
    Ok(())
}

/// Moves a mount to another place (MS_MOVE).
pub fn relocate(mount: &Arc<Mount>, to: &Path) -> Result<()> {
    let from = mount.place().ok_or(Errno::EINVAL)?;
    if mount.root.is_directory() != to.dentry.is_directory() {
        return Err(Errno::ENOTDIR);
    }
    // Not into itself.
    let mut up = Some(to.clone());
    while let Some(p) = up {
        if p.mount.id == mount.id {
            return Err(Errno::ELOOP);
        }
        up = p.mount.place();
    }
    {
        let mut table = TABLE.lock();
        let taken = table.by_place.remove(&key(&from));
        table.by_place.insert(key(to), mount.clone());
        drop(taken);
    }
    to.dentry.add_mount();
    let old = mount.at.lock().replace(to.clone());
    if let Some(p) = old {
        p.dentry.remove_mount();
    }
    CHANGES.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// Every mount, in the order they were made.
pub fn all() -> Vec<Arc<Mount>> {
    TABLE.lock().order.clone()
}

/// Forgets names of every file system on a disk that nobody uses, until at most `most` are left of each; how many.
pub fn prune_names(most: usize) -> usize {
    all().iter().map(|m| m.superblock.prune(most)).sum()
}

/// Writes every file system to its device.
pub fn sync_all() {
    for m in all() {
        let _ = m.superblock.fs.sync();
    }
}

/// Leaves every file system clean: the machine stops.
pub fn shut_down_all() {
    for m in all().iter().rev() {
        if let Err(e) = m.superblock.fs.shut_down() {
            sis_machine::error!("{}: {e}", m.source);
        }
    }
}
