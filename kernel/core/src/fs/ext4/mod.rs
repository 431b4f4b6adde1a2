//! ext2, ext3 and ext4 on a disk: the face of [`sis_ext4`] to the rest of the kernel.
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
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use sis_ext4::{Attributes, Error, Ino, MountOptions, Timestamp, Volume};
use sis_machine::sync::{Mutex, MutexGuard, Rank, SpinLock};

use super::cache::{self, Flusher, Store, Wait};
use super::inode::Inode;
use super::mount::{FileSystem, SuperBlock, Usage};
use super::on_disk::{self, Alarm};
use super::volume_disk::BlockDisk;
use crate::block::{self, Claim};
use crate::{Errno, Result, sched};

use node::Node;
use options::{OnError, Options};

/// Its names for mount(2).
const KINDS: [&str; 3] = ["ext2", "ext3", "ext4"];

/// EXT4_SUPER_MAGIC (statfs(2)), of ext2 and ext3 too.
const MAGIC: u64 = 0xef53;

/// What an error of the crate is to programs.
fn errno_of(e: Error) -> Errno {
    match e {
        Error::Disk(_) => Errno::EIO,
        Error::Corrupt(_) => Errno::EUCLEAN,
        Error::ReadOnly => Errno::EROFS,
        Error::NotFound => Errno::ENOENT,
        Error::Exists => Errno::EEXIST,
        Error::NotDirectory => Errno::ENOTDIR,
        Error::IsDirectory => Errno::EISDIR,
        Error::NotEmpty => Errno::ENOTEMPTY,
        Error::NoSpace => Errno::ENOSPC,
        Error::TooManyLinks => Errno::EMLINK,
        Error::NameTooLong => Errno::ENAMETOOLONG,
        Error::TooLarge => Errno::EFBIG,
        Error::NoAttribute => Errno::ENODATA,
        Error::Range => Errno::ERANGE,
        Error::Invalid => Errno::EINVAL,
        Error::Unsupported => Errno::EOPNOTSUPP,
        Error::Loop | Error::Feature(_) | Error::NotExt4 => Errno::EINVAL,
    }
}

/// The time, as the file system keeps it.
fn timestamp() -> Timestamp {
    node::from_ns(super::inode::now())
}

/// What the files of one file system share.
struct Shared {
    volume: Mutex<Volume<BlockDisk>>,
    device: Arc<block::Volume>,
    name: String,
    block_bytes: usize,
    /// Files in use, by number.
    nodes: SpinLock<BTreeMap<u32, Weak<Node>>>,
    /// Writes content back.
    flusher: Arc<Flusher>,
    /// Files that nobody has any more: perhaps to be freed, perhaps with times to be written.
    gone: SpinLock<Vec<(u32, Option<Attributes>)>>,
    /// Held while files that nobody has any more are looked for and freed, and by whoever has files of others for a while.
    housekeeping: Mutex<()>,
    /// There are files without names whose content waits to be written.
    has_doomed: AtomicBool,
    alarm: Alarm,
    /// An error has been told of in the log.
    has_told: AtomicBool,
    commit_s: AtomicU32,
    on_error: SpinLock<OnError>,
    is_read_only: AtomicBool,
    file_bytes_max: u64,
    claim: SpinLock<Option<Claim>>,
}

impl Shared {
    /// Does something with the volume.
    fn with<T>(&self, f: impl FnOnce(&mut Volume<BlockDisk>) -> core::result::Result<T, Error>) -> Result<T> {
        let mut volume = self.volume.lock();
        let was_writable = !volume.is_read_only();
        let out = f(&mut volume);
        let has_failed =
            was_writable && volume.is_read_only() && matches!(out, Err(Error::Corrupt(_) | Error::Disk(_)));
        if has_failed && !self.has_told.swap(true, Ordering::Relaxed) {
            self.is_read_only.store(true, Ordering::Relaxed);
            let why = out.as_ref().err().map_or(Error::Corrupt("an error"), |e| *e);
            sis_machine::error!("ext4: {}: {why}; mounted read-only from now on, run e2fsck", self.name);
            if *self.on_error.lock() == OnError::Panic {
                panic!("ext4: {}: {why} (errors=panic)", self.name);
            }
        }
        out.map_err(errno_of)
    }

    /// The file with this number.
    fn node(self: &Arc<Self>, ino: u32) -> Result<Arc<Node>> {
        if let Some(n) = self.nodes.lock().get(&ino).and_then(Weak::upgrade) {
            return Ok(n);
        }
        let inode = self.with(|v| v.inode(Ino(ino)))?;
        let node = Node::new(self, &inode);
        let (other, count) = {
            let mut nodes = self.nodes.lock();
            let other = nodes.get(&ino).and_then(Weak::upgrade);
            if other.is_none() {
                nodes.insert(ino, Arc::downgrade(&node));
            }
            (other, nodes.len())
        };
        if count > on_disk::most_files() {
            self.alarm.ring();
        }
        // Somebody may have been faster.
        Ok(other.unwrap_or(node))
    }

    /// Forgets a file, unless somebody has it again.
    fn forget(&self, ino: u32) {
        let mut nodes = self.nodes.lock();
        if nodes.get(&ino).is_some_and(|n| n.strong_count() == 0) {
            nodes.remove(&ino);
        }
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

    /// Frees files that nobody has any more and that have no names.
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
            for (ino, times) in gone {
                self.forget(ino);
                if self.nodes.lock().contains_key(&ino) {
                    continue;
                }
                // What fails is told in the log; what is not freed is on the list of orphans, for the next mount.
                let _ = self.with(|v| {
                    if v.is_read_only() {
                        return Ok(());
                    }
                    if let Some(change) = times {
                        v.set_attributes(Ino(ino), &change, timestamp())?;
                    }
                    if v.inode(Ino(ino))?.links == 0 {
                        v.evict(Ino(ino), timestamp())?;
                    }
                    Ok(())
                });
            }
        }
    }

    /// Writes all content and metadata that waits into the volume.
    fn write_all(&self, held: &MutexGuard<'_, ()>) -> Result<()> {
        self.let_go_held(held);
        let mut first = Ok(());
        for node in node::all(&self.nodes) {
            if node.cache.is_dirty() && !node.is_doomed() {
                first = first.and(node.store().and_then(|s| cache::write_back(&s, 0, u64::MAX, Wait::Yes)));
            }
            first = first.and(node.write_times());
        }
        // Somebody may have let go of one that was just written.
        self.let_go_held(held);
        first
    }

    /// Everything survives a cut when this returns.
    fn sync(&self) -> Result<()> {
        let written = self.write_all(&self.housekeeping.lock());
        let committed = self.commit();
        written.and(committed)
    }

    /// What was written and changed so far survives a cut when this returns: the device is flushed even when nothing else
    /// is to be done. Who waits for the lock meanwhile shares the commit.
    fn commit(&self) -> Result<()> {
        self.with(|v| v.commit(timestamp()))
    }

    /// Leaves a clean file system behind; afterwards nothing can be changed.
    fn shut_down(&self) -> Result<()> {
        if self.is_read_only.load(Ordering::Relaxed) {
            return Ok(());
        }
        let held = self.housekeeping.lock();
        let written = self.write_all(&held);
        self.is_read_only.store(true, Ordering::Relaxed);
        written.and(self.with(|v| v.remount(true, timestamp())))
    }
}

/// The thread of a mounted file system: writes what is old, commits, frees.
fn run(weak: &Weak<Shared>) {
    let mut last_ns = crate::time::now_ns();
    loop {
        let Some(shared) = weak.upgrade() else { return };
        let ns = u64::from(shared.commit_s.load(Ordering::Relaxed)) * 1_000_000_000;
        shared.alarm.wait(ns.min(1_000_000_000));
        shared.let_go();
        let files = shared.nodes.lock().len();
        on_disk::forget_names(&shared.device, files);
        let now_ns = crate::time::now_ns();
        if now_ns.saturating_sub(last_ns) < ns {
            continue;
        }
        last_ns = now_ns;
        if !shared.is_read_only.load(Ordering::Relaxed) {
            let held = shared.housekeeping.lock();
            // Errors are kept for fsync(2), and told of in the log.
            for node in node::all(&shared.nodes) {
                let _ = node.write_times();
            }
            drop(held);
            let _ = shared.commit();
        }
    }
}

/// A mounted file system.
struct Ext4 {
    shared: Arc<Shared>,
    root: Arc<Node>,
    kind: &'static str,
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        if let Err(e) = self.shared.shut_down() {
            sis_machine::error!("ext4: {}: unmounting: {e}", self.shared.name);
        }
        let claim = self.shared.claim.lock().take();
        drop(claim);
    }
}

impl FileSystem for Ext4 {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn root(&self) -> Arc<dyn Inode> {
        self.root.clone()
    }

    fn usage(&self) -> Usage {
        match self.shared.with(|v| Ok(v.statfs())) {
            Ok(u) => Usage {
                magic: MAGIC,
                block_size: u64::from(u.block_bytes),
                blocks: u.blocks,
                free_blocks: u.free,
                inodes: u.inodes,
                free_inodes: u.free_inodes,
            },
            Err(_) => Usage {
                magic: MAGIC,
                block_size: self.shared.block_bytes as u64,
                ..Usage::default()
            },
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
        let mut out = String::new();
        if *self.shared.on_error.lock() != OnError::default() {
            out.push_str(",errors=panic");
        }
        let commit_s = self.shared.commit_s.load(Ordering::Relaxed);
        if commit_s != options::COMMIT_S {
            out.push_str(&alloc::format!(",commit={commit_s}"));
        }
        out
    }

    fn remount(&self, text: &str) -> Result<()> {
        let wanted = Options::parse(text)?;
        let is_read_only = self.shared.is_read_only.load(Ordering::Relaxed);
        match wanted.read_only {
            Some(true) if !is_read_only => self.shared.shut_down()?,
            Some(false) if is_read_only => {
                self.shared.with(|v| v.remount(false, timestamp()))?;
                self.shared.is_read_only.store(false, Ordering::Relaxed);
            }
            _ => {}
        }
        self.shared.take(&wanted);
        Ok(())
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

impl Shared {
    fn take(&self, options: &Options) {
        if let Some(s) = options.commit_s {
            self.commit_s.store(s, Ordering::Relaxed);
        }
        if let Some(e) = options.on_error {
            *self.on_error.lock() = e;
        }
    }
}

/// Mounts what is on a disk or partition; a second mount of it shares the first one's.
///
/// # Errors
/// `EINVAL` for unknown options and where there is no such file system, `EBUSY`, `EROFS`, `EUCLEAN`, `EIO`.
pub fn open(device: &Arc<block::Volume>, text: &str, kind: &'static str) -> Result<Arc<SuperBlock>> {
    let wanted = Options::parse(text)?;
    if let Some(there) = on_disk::mounted(device, &KINDS) {
        return Ok(there);
    }
    let claim = Claim::new(device)?;
    let read_only = wanted.read_only == Some(true);
    let name = String::from(device.name());
    let options = MountOptions {
        read_only,
        ..MountOptions::default()
    };
    let mounted = Volume::mount(BlockDisk::new(device.clone()), &options, timestamp());
    let (volume, report) = mounted.map_err(|e| {
        sis_machine::error!("ext4: {name}: {e}");
        match e {
            // As Linux answers what it cannot make sense of.
            Error::Corrupt(_) | Error::Unsupported => Errno::EINVAL,
            e => errno_of(e),
        }
    })?;
    if let Some(feature) = report.forbidden_by
        && !read_only
    {
        sis_machine::error!("ext4: {name}: the feature {feature} is not supported for writing: mount it with ro");
        return Err(Errno::EROFS);
    }
    if !read_only && volume.is_read_only() {
        return Err(Errno::EROFS);
    }
    if report.replayed > 0 {
        sis_machine::info!("ext4: {name}: recovered {} transactions", report.replayed);
    }
    let orphans = report.orphans_deleted + report.orphans_truncated;
    if orphans > 0 {
        sis_machine::info!("ext4: {name}: {orphans} removed or shortened files finished");
    }
    if report.had_errors {
        sis_machine::warn!("ext4: {name}: errors were found on it before, run e2fsck");
    }
    let shared = Arc::new(Shared {
        block_bytes: volume.block_bytes(),
        file_bytes_max: volume.max_file_bytes(),
        is_read_only: AtomicBool::new(volume.is_read_only()),
        volume: Mutex::new(Rank::Volume, volume),
        device: device.clone(),
        name,
        nodes: SpinLock::new(Rank::Leaf, BTreeMap::new()),
        flusher: Flusher::of(device)?,
        gone: SpinLock::new(Rank::Leaf, Vec::new()),
        housekeeping: Mutex::new(Rank::Housekeeping, ()),
        has_doomed: AtomicBool::new(false),
        alarm: Alarm::new(),
        has_told: AtomicBool::new(false),
        commit_s: AtomicU32::new(options::COMMIT_S),
        on_error: SpinLock::new(Rank::Leaf, OnError::default()),
        claim: SpinLock::new(Rank::Leaf, Some(claim)),
    });
    shared.take(&wanted);
    let root = shared.node(Ino::ROOT.0)?;
    if !root.is_directory() {
        return Err(Errno::EUCLEAN);
    }
    let weak = Arc::downgrade(&shared);
    sched::spawn_kernel("ext4", move || run(&weak))?;
    let superblock = SuperBlock::new(Arc::new(Ext4 { shared, root, kind }));
    on_disk::note_mounted(device, &superblock);
    Ok(superblock)
}
