//! A file of a mounted file system, as memory has it: where it is, and times that are newer than those of its entry. What the
//! VFS asks of it is in `operations`.

mod operations;

use alloc::sync::{Arc, Weak};
use core::sync::atomic::{AtomicBool, Ordering};

use sis_fat::{Chain, Entry, Place, Times, Timestamp, Volume};
use sis_machine::sync::{Rank, SpinLock};

use super::options::Options;
use super::{Gone, Shared};
use crate::fs::cache::FileCache;
use crate::fs::inode::{Attributes, FileType, now};
use crate::fs::text::TextUse;
use crate::fs::volume_disk::BlockDisk;
use crate::{Errno, Result};

/// The number of the root directory, as on Linux (MSDOS_ROOT_INO).
pub(super) const ROOT_INO: u64 = 1;

const DAY_NS: i64 = 86_400_000_000_000;
/// How exactly times of changes are kept.
const CHANGE_NS: i64 = 2_000_000_000;
/// How exactly times of creation are kept.
const CREATION_NS: i64 = 10_000_000;

fn to_ns(t: Timestamp) -> i64 {
    t.seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(i64::from(t.nanoseconds))
}

fn from_ns(ns: i64) -> Timestamp {
    Timestamp {
        seconds: ns.div_euclid(1_000_000_000),
        nanoseconds: ns.rem_euclid(1_000_000_000) as u32,
    }
}

/// A time as an entry can keep it.
fn rounded(ns: i64, unit: i64) -> i64 {
    let ns = ns.clamp(to_ns(Timestamp::MIN), to_ns(Timestamp::MAX));
    ns - ns.rem_euclid(unit)
}

/// The times of a file that is made or changed now.
pub(super) fn times_now() -> Times {
    let t = now();
    Times {
        created: from_ns(rounded(t, CREATION_NS)),
        modified: from_ns(rounded(t, CHANGE_NS)),
        accessed: from_ns(rounded(t, DAY_NS)),
    }
}

/// Where a file is on the disk. Changes with the volume's lock held.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    /// Its entry; none for the root, and for a file whose name was removed.
    pub(super) place: Option<Place>,
    pub(super) chain: Chain,
    /// Bytes of content that the disk has; of a directory, of its clusters.
    pub(super) bytes: u64,
}

/// A file.
pub(super) struct Node {
    pub(super) shared: Arc<Shared>,
    pub(super) ino: u64,
    kind: FileType,
    pub(super) spot: SpinLock<Spot>,
    attributes: SpinLock<Attributes>,
    /// Times in memory are newer than those of the entry.
    has_new_times: AtomicBool,
    pub(super) cache: FileCache,
    text: TextUse,
}

/// Type and permissions.
fn mode_of(options: &Options, kind: FileType, is_read_only: bool) -> u32 {
    let (all, mask) = if kind == FileType::Directory {
        (0o777, options.directory_mask)
    } else if is_read_only {
        (0o555, options.file_mask)
    } else {
        (0o777, options.file_mask)
    };
    kind.mode_bits() | (all & !mask)
}

impl Node {
    pub(super) fn new(shared: &Arc<Shared>, ino: u64, entry: &Entry) -> Arc<Self> {
        let kind = if entry.is_directory {
            FileType::Directory
        } else {
            FileType::Regular
        };
        let spot = Spot {
            place: Some(entry.place),
            chain: entry.chain,
            bytes: u64::from(entry.size),
        };
        let mode = mode_of(&shared.options, kind, entry.is_read_only);
        Self::with(shared, ino, kind, spot, Self::attributes_of(shared, mode, &entry.times))
    }

    pub(super) fn root(shared: &Arc<Shared>, chain: Chain) -> Arc<Self> {
        let spot = Spot {
            place: None,
            chain,
            bytes: 0,
        };
        let mode = mode_of(&shared.options, FileType::Directory, false);
        // It has no entry, and so no times (FAT specification, "FAT Directory Structure").
        let attributes = Self::attributes_of(shared, mode, &Times::default());
        Self::with(shared, ROOT_INO, FileType::Directory, spot, attributes)
    }

    fn attributes_of(shared: &Arc<Shared>, mode: u32, times: &Times) -> Attributes {
        Attributes {
            mode,
            uid: shared.options.uid,
            gid: shared.options.gid,
            nlink: 1,
            atime_ns: to_ns(times.accessed),
            mtime_ns: to_ns(times.modified),
            ctime_ns: to_ns(times.modified),
            btime_ns: to_ns(times.created),
        }
    }

    fn with(shared: &Arc<Shared>, ino: u64, kind: FileType, spot: Spot, attributes: Attributes) -> Arc<Self> {
        Arc::new_cyclic(|me: &Weak<Self>| Self {
            shared: shared.clone(),
            ino,
            kind,
            spot: SpinLock::new(Rank::Leaf, spot),
            attributes: SpinLock::new(Rank::InodeAttr, attributes),
            has_new_times: AtomicBool::new(false),
            cache: FileCache::new(me.clone(), if kind == FileType::Regular { spot.bytes } else { 0 }),
            text: TextUse::new(),
        })
    }

    pub(super) fn is_regular(&self) -> bool {
        self.kind == FileType::Regular
    }

    pub(super) fn spot(&self) -> Spot {
        *self.spot.lock()
    }

    /// Its name was removed.
    pub(super) fn is_nameless(&self) -> bool {
        self.attributes.lock().nlink == 0
    }

    /// Its name is removed. The volume's lock is held.
    fn lose_name(&self) {
        self.spot.lock().place = None;
        self.attributes.lock().nlink = 0;
        if self.is_regular() {
            self.shared.has_doomed.store(true, Ordering::Release);
        } else {
            self.spot.lock().chain = Chain::NONE;
        }
    }

    /// A directory may have become longer, or have more or fewer others in it. The volume's lock is held.
    pub(super) fn measure(&self, volume: &Volume<BlockDisk>) {
        let chain = self.spot().chain;
        let bytes = volume.clusters(chain) * self.shared.cluster_bytes;
        let links = 2 + volume.subdirectories(chain);
        self.spot.lock().bytes = bytes;
        self.attributes.lock().nlink = links;
    }

    pub(super) fn may_be_written(&self) -> Result<()> {
        if self.shared.is_read_only.load(Ordering::Relaxed) {
            return Err(Errno::EROFS);
        }
        Ok(())
    }

    /// Notes a read, as mounts with `relatime` do: when the file has changed since, or after a day. An entry has the day.
    pub(super) fn note_access(&self) {
        if self.shared.is_read_only.load(Ordering::Relaxed) {
            return;
        }
        let today = rounded(now(), DAY_NS);
        let mut a = self.attributes.lock();
        if a.atime_ns != today {
            a.atime_ns = today;
            drop(a);
            self.has_new_times.store(true, Ordering::Release);
        }
    }

    /// Notes a change of the content.
    pub(super) fn changed(&self) {
        let t = rounded(now(), CHANGE_NS);
        let mut a = self.attributes.lock();
        if (a.mtime_ns, a.ctime_ns) == (t, t) {
            return;
        }
        a.mtime_ns = t;
        a.ctime_ns = t;
        drop(a);
        self.has_new_times.store(true, Ordering::Release);
    }

    /// Times that wait to be written, which then do not any more.
    fn take_times(&self) -> Option<Times> {
        if !self.has_new_times.swap(false, Ordering::AcqRel) {
            return None;
        }
        let a = *self.attributes.lock();
        Some(Times {
            created: from_ns(a.btime_ns),
            modified: from_ns(a.mtime_ns),
            accessed: from_ns(a.atime_ns),
        })
    }

    /// Brings its entry up to date: times, and no more clusters than it needs.
    pub(super) fn settle(&self) -> Result<()> {
        let times = self.take_times();
        let needs_nothing = times.is_none() && !self.is_regular();
        if needs_nothing || self.shared.is_read_only.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.shared.with(|v| {
            let Some(place) = self.spot().place else { return Ok(()) };
            if let Some(times) = &times {
                v.set_times(place, times)?;
            }
            // What a write(2) that is under way has been given is not taken away again.
            let chain = self.spot().chain;
            let clusters = self.clusters();
            if self.is_regular() && chain != Chain::NONE && clusters > 0 && !self.cache.is_being_written() {
                v.shorten(chain, clusters)?;
            }
            Ok(())
        })
    }

    /// Clusters that its content needs.
    pub(super) fn clusters(&self) -> u64 {
        self.cache.size().div_ceil(self.shared.cluster_bytes)
    }
}

impl Drop for Node {
    /// In any context: what is left to do is done by the file system's thread.
    fn drop(&mut self) {
        let spot = self.spot();
        if self.ino == ROOT_INO || (spot.place.is_none() && spot.chain == Chain::NONE) {
            return;
        }
        let times = self.take_times();
        let chain = if self.is_regular() { spot.chain } else { Chain::NONE };
        self.shared.gone.lock().push(Gone {
            ino: self.ino,
            place: spot.place,
            chain,
            clusters: self.clusters(),
            times,
        });
        self.shared.alarm.ring();
    }
}
