//! FAT32 on a disk: the face of [`sis_fat`] to the rest of the kernel.
//!
//! | module | story |
//! |---|---|
//! | `node` | files as memory has them, and what the VFS asks of them |
//! | `content` | regular files: where their pages are kept |
//! | `options` | mount(8)'s |
//!
//! The volume is behind one sleeping lock ([`Rank::Volume`]), held while it waits for the disk. Content does not pass
//! through it: pages are read and written beside it, once it has said where.

mod content;
mod node;
mod options;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sis_fat::{Chain, Entry, Error, Place, Times, Volume};
use sis_machine::sync::{Mutex, MutexGuard, Rank, SpinLock};

use super::cache::{self, Flusher, Store, Wait};
use super::inode::Inode;
use super::mount::{FileSystem, SuperBlock, Usage};
use super::on_disk::{self, Alarm};
use super::volume_disk::BlockDisk;
use crate::block::{self, Claim};
use crate::{Errno, Result, sched};

use node::Node;
use options::Options;

/// Its name for mount(2).
pub const KIND: &str = "vfat";

/// MSDOS_SUPER_MAGIC (statfs(2)).
const MAGIC: u64 = 0x4d44;

/// Between writes of what has changed: as with ext4.
const COMMIT_NS: u64 = 5_000_000_000;

/// What an error of the crate is to programs.
fn errno_of(e: Error) -> Errno {
    match e {
        Error::Disk => Errno::EIO,
        Error::NotFat(_) | Error::Unsupported(_) | Error::InvalidName => Errno::EINVAL,
        Error::Corrupt(_) => Errno::EUCLEAN,
        Error::ReadOnly => Errno::EROFS,
        Error::NotFound => Errno::ENOENT,
        Error::Exists => Errno::EEXIST,
        Error::NotEmpty => Errno::ENOTEMPTY,
        Error::NoSpace => Errno::ENOSPC,
        Error::NameTooLong => Errno::ENAMETOOLONG,
        Error::TooLarge => Errno::EFBIG,
    }
}

/// What is left to do for a file that nobody has any more.
struct Gone {
    ino: u64,
    /// None for one whose name was removed: its clusters are free.
    place: Option<Place>,
    chain: Chain,
    /// Clusters that it needs.
    clusters: u64,
    times: Option<Times>,
}

/// What the files of one file system share.
struct Shared {
    volume: Mutex<Volume<BlockDisk>>,
    device: Arc<block::Volume>,
    name: String,
    cluster_bytes: u64,
    /// Files in use with a name, by where their entries are; with each its number, which is nobody else's.
    nodes: SpinLock<BTreeMap<Place, (u64, Weak<Node>)>>,
    next_ino: AtomicU64,
    /// Writes content back.
    flusher: Arc<Flusher>,
    /// Files that nobody has any more.
    gone: SpinLock<Vec<Gone>>,
    /// Held while files that nobody has any more are looked for, and by whoever has files of others for a while.
    housekeeping: Mutex<()>,
    /// There are files without names whose content waits to be written.
    has_doomed: AtomicBool,
    alarm: Alarm,
    /// An error has been told of in the log.
    has_told: AtomicBool,
    options: Options,
    is_read_only: AtomicBool,
    claim: SpinLock<Option<Claim>>,
}

impl Shared {
    /// Does something with the volume.
    fn with<T>(&self, f: impl FnOnce(&mut Volume<BlockDisk>) -> core::result::Result<T, Error>) -> Result<T> {
        let mut volume = self.volume.lock();
        let was_writable = !volume.is_read_only();
        let out = f(&mut volume);
        let has_failed = was_writable && volume.is_read_only() && matches!(out, Err(Error::Disk));
        if has_failed && !self.has_told.swap(true, Ordering::Relaxed) {
            self.is_read_only.store(true, Ordering::Relaxed);
            sis_machine::error!(
                "fat: {}: the disk failed; mounted read-only from now on, run fsck.fat",
                self.name
            );
        }
        out.map_err(errno_of)
    }

    /// As [`Self::with`], once more when there is no room and files that nobody has any more had some.
    fn with_room<T>(&self, mut f: impl FnMut(&mut Volume<BlockDisk>) -> core::result::Result<T, Error>) -> Result<T> {
        match self.with(&mut f) {
            Err(Errno::ENOSPC) => {
                self.let_go();
                self.with(f)
            }
            out => out,
        }
    }

    /// The file with that entry. The lock of its directory is held.
    fn node(self: &Arc<Self>, entry: &Entry) -> Result<Arc<Node>> {
        if let Some(node) = self.at(entry.place) {
            return Ok(node);
        }
        let node = Node::new(self, self.next_ino.fetch_add(1, Ordering::Relaxed), entry);
        if entry.is_directory {
            self.with(|v| {
                node.measure(v);
                Ok(())
            })?;
        }
        if self.enter(entry.place, &node) > on_disk::most_files() {
            self.alarm.ring();
        }
        Ok(node)
    }

    /// The file in use whose entry is there.
    fn at(&self, place: Place) -> Option<Arc<Node>> {
        self.nodes.lock().get(&place).and_then(|(_, node)| node.upgrade())
    }

    /// A file's entry is there from now on. How many files are in use.
    fn enter(&self, place: Place, node: &Arc<Node>) -> usize {
        let mut nodes = self.nodes.lock();
        nodes.insert(place, (node.ino, Arc::downgrade(node)));
        nodes.len()
    }

    fn leave(&self, place: Place) {
        self.nodes.lock().remove(&place);
    }

    /// Every file in use.
    fn all(&self) -> Vec<Arc<Node>> {
        self.nodes
            .lock()
            .values()
            .filter_map(|(_, node)| node.upgrade())
            .collect()
    }

    /// Does what is left to do for files that nobody has any more.
    fn let_go(&self) {
        let held = self.housekeeping.lock();
        self.let_go_held(&held);
    }

    fn let_go_held(&self, _held: &MutexGuard<'_, ()>) {
        if self.has_doomed.swap(false, Ordering::AcqRel) && self.flusher.drop_doomed() {
            self.has_doomed.store(true, Ordering::Release);
        }
        loop {
            let gone = core::mem::take(&mut *self.gone.lock());
            if gone.is_empty() {
                return;
            }
            for file in gone {
                // What fails is told in the log; what is not freed is fsck.fat's to find.
                let _ = self.with(|v| self.finish(v, &file));
            }
        }
    }

    fn finish(&self, volume: &mut Volume<BlockDisk>, file: &Gone) -> core::result::Result<(), Error> {
        if volume.is_read_only() {
            return Ok(());
        }
        let Some(place) = file.place else {
            return volume.free(file.chain);
        };
        {
            // Somebody may have it again, or another file be there now.
            let mut nodes = self.nodes.lock();
            if nodes.get(&place).is_none_or(|(ino, _)| *ino != file.ino) {
                return Ok(());
            }
            nodes.remove(&place);
        }
        if let Some(times) = &file.times {
            volume.set_times(place, times)?;
        }
        if file.chain == Chain::NONE {
            return Ok(());
        }
        volume.shorten(file.chain, file.clusters).map(drop)
    }

    /// Writes all content and attributes that wait into the volume.
    fn write_all(&self, held: &MutexGuard<'_, ()>) -> Result<()> {
        self.let_go_held(held);
        let mut first = Ok(());
        for node in self.all() {
            if node.cache.is_dirty() {
                let store: Arc<dyn Store> = node.clone();
                first = first.and(cache::write_back(&store, 0, u64::MAX, Wait::Yes));
            }
            first = first.and(node.settle());
        }
        // Somebody may have let go of one that was just written.
        self.let_go_held(held);
        first
    }

    /// Everything survives a cut when this returns.
    fn sync(&self) -> Result<()> {
        let written = self.write_all(&self.housekeeping.lock());
        written.and(self.commit())
    }

    fn commit(&self) -> Result<()> {
        self.with(Volume::commit)
    }

    /// Leaves a clean file system behind; afterwards nothing can be changed.
    fn shut_down(&self) -> Result<()> {
        if self.is_read_only.load(Ordering::Relaxed) {
            return Ok(());
        }
        let held = self.housekeeping.lock();
        let written = self.write_all(&held);
        self.is_read_only.store(true, Ordering::Relaxed);
        written.and(self.with(Volume::unmount))
    }

    /// What is done from time to time.
    fn commit_changes(&self) {
        if self.is_read_only.load(Ordering::Relaxed) {
            return;
        }
        let held = self.housekeeping.lock();
        // Errors are kept for fsync(2), and told of in the log.
        for node in self.all() {
            let _ = node.settle();
        }
        drop(held);
        let _ = self.with(|v| if v.has_changes() { v.commit() } else { Ok(()) });
    }
}

/// The thread of a mounted file system: writes what is old, frees.
fn run(weak: &Weak<Shared>) {
    let mut last_ns = crate::time::now_ns();
    loop {
        let Some(shared) = weak.upgrade() else { return };
        shared.alarm.wait(1_000_000_000);
        shared.let_go();
        let files = shared.nodes.lock().len();
        on_disk::forget_names(&shared.device, files);
        let now_ns = crate::time::now_ns();
        if now_ns.saturating_sub(last_ns) >= COMMIT_NS {
            last_ns = now_ns;
            shared.commit_changes();
        }
    }
}

/// A mounted file system.
struct Fat {
    shared: Arc<Shared>,
    root: Arc<Node>,
}

impl Drop for Fat {
    fn drop(&mut self) {
        if let Err(e) = self.shared.shut_down() {
            sis_machine::error!("fat: {}: unmounting: {e}", self.shared.name);
        }
        let claim = self.shared.claim.lock().take();
        drop(claim);
    }
}

impl FileSystem for Fat {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn root(&self) -> Arc<dyn Inode> {
        self.root.clone()
    }

    fn usage(&self) -> Usage {
        let usage = self.shared.volume.lock().usage();
        Usage {
            magic: MAGIC,
            block_size: u64::from(usage.cluster_bytes),
            blocks: u64::from(usage.clusters),
            free_blocks: u64::from(usage.free),
            ..Usage::default()
        }
    }

    fn device(&self) -> u64 {
        self.shared.device.device_number()
    }

    fn keeps_names(&self) -> bool {
        true
    }

    fn looks_up_again(&self) -> bool {
        true
    }

    fn options(&self) -> String {
        self.shared.options.shown()
    }

    fn remount(&self, text: &str) -> Result<()> {
        let wanted = Options::parse(text)?;
        let is_read_only = self.shared.is_read_only.load(Ordering::Relaxed);
        match wanted.read_only {
            Some(true) if !is_read_only => self.shared.shut_down(),
            Some(false) if is_read_only => {
                self.shared.with(Volume::resume)?;
                self.shared.is_read_only.store(false, Ordering::Relaxed);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn sync(&self) -> Result<()> {
        if self.shared.is_read_only.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.shared.sync()
    }

    fn shut_down(&self) -> Result<()> {
        self.shared.shut_down()
    }
}

/// Mounts what is on a disk or partition; a second mount of it shares the first one's.
///
/// # Errors
/// `EINVAL` for unknown options and where there is no FAT32, `EBUSY`, `EROFS`, `EUCLEAN`, `EIO`, `ENOMEM`.
pub fn open(device: &Arc<block::Volume>, text: &str) -> Result<Arc<SuperBlock>> {
    let options = Options::parse(text)?;
    if let Some(there) = on_disk::mounted(device, &[KIND]) {
        return Ok(there);
    }
    let claim = Claim::new(device)?;
    let wants_read_only = options.read_only == Some(true);
    let name = String::from(device.name());
    let mounted = Volume::mount(BlockDisk::new(device.clone()), wants_read_only);
    let (volume, report) = mounted.map_err(|e| {
        sis_machine::error!("fat: {name}: {e}");
        match e {
            // Nothing is written yet: what there is no room for is the table in memory.
            Error::NoSpace => Errno::ENOMEM,
            e => errno_of(e),
        }
    })?;
    if !wants_read_only && volume.is_read_only() {
        return Err(Errno::EROFS);
    }
    if report.was_in_use {
        sis_machine::warn!("fat: {name}: it was not unmounted the last time; fsck.fat finds what that left behind");
    }
    let root = volume.root();
    let shared = Arc::new(Shared {
        cluster_bytes: volume.cluster_bytes(),
        is_read_only: AtomicBool::new(volume.is_read_only()),
        volume: Mutex::new(Rank::Volume, volume),
        device: device.clone(),
        name,
        nodes: SpinLock::new(Rank::Leaf, BTreeMap::new()),
        next_ino: AtomicU64::new(node::ROOT_INO + 1),
        flusher: Flusher::of(device)?,
        gone: SpinLock::new(Rank::Leaf, Vec::new()),
        housekeeping: Mutex::new(Rank::Housekeeping, ()),
        has_doomed: AtomicBool::new(false),
        alarm: Alarm::new(),
        has_told: AtomicBool::new(false),
        options,
        claim: SpinLock::new(Rank::Leaf, Some(claim)),
    });
    let root = Node::root(&shared, root);
    root.measure(&shared.volume.lock());
    let weak = Arc::downgrade(&shared);
    sched::spawn_kernel("fat", move || run(&weak))?;
    let superblock = SuperBlock::new(Arc::new(Fat { shared, root }));
    on_disk::note_mounted(device, &superblock);
    Ok(superblock)
}
