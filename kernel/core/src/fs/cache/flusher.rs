//! When changed pages are written back, and how much may wait for it.
//!
//! Each disk has a thread. It writes what is older than 30 s, looking every 5 s, and everything as soon as more
//! than a tenth of the memory is dirty. Writers are held up above a fifth.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicIsize, AtomicU64, Ordering};

use sis_machine::mm::frames::total_frames;
use sis_machine::sync::{Mutex, Rank, SpinLock};

use super::back::Batch;
use super::{FileCache, Store};
use crate::block::Volume;
use crate::poll::Events;
use crate::time::{self, Deadline};
use crate::wait::{Sleep, WaitQueue};
use crate::{Result, sched};

/// Percent of the memory that is dirty before it is written at once (vm.dirty_background_ratio).
pub const BACKGROUND_PERCENT: usize = 10;
/// Percent of the memory that is dirty before writers wait (vm.dirty_ratio).
pub const THROTTLE_PERCENT: usize = 20;
/// How old dirty pages become, in hundredths of a second (vm.dirty_expire_centisecs).
pub const EXPIRE_CENTISECONDS: u64 = 3000;
/// How often is looked, in hundredths of a second (vm.dirty_writeback_centisecs).
pub const INTERVAL_CENTISECONDS: u64 = 500;

const CENTISECOND_NS: u64 = 10_000_000;
/// How long a writer that is held up sleeps before it looks again by itself.
const LOOK_NS: u64 = 200_000_000;

static CACHED: AtomicIsize = AtomicIsize::new(0);
static OF_DISKS: AtomicIsize = AtomicIsize::new(0);
static DIRTY: AtomicIsize = AtomicIsize::new(0);
static WRITEBACK: AtomicIsize = AtomicIsize::new(0);
/// Pages whose write-back has ended, since boot.
static WRITTEN: AtomicU64 = AtomicU64::new(0);
/// Told when pages have been written.
static PROGRESS: WaitQueue = WaitQueue::new();

pub(super) fn count_cached(is_disk: bool, by: isize) {
    let count = if is_disk { &OF_DISKS } else { &CACHED };
    count.fetch_add(by, Ordering::Relaxed);
}

pub(super) fn count_dirty(by: isize) {
    DIRTY.fetch_add(by, Ordering::Relaxed);
}

pub(super) fn count_writeback(by: isize) {
    WRITEBACK.fetch_add(by, Ordering::Relaxed);
    if by < 0 {
        WRITTEN.fetch_add(by.unsigned_abs() as u64, Ordering::Relaxed);
        PROGRESS.wake_all(Events::WRITE);
    }
}

fn pages(count: &AtomicIsize) -> usize {
    usize::try_from(count.load(Ordering::Relaxed)).unwrap_or(0)
}

/// What the cache holds, in pages.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Of files.
    pub files: usize,
    /// Of disks themselves (`Buffers`).
    pub disks: usize,
    /// Dirty.
    pub dirty: usize,
    /// Under write-back.
    pub writeback: usize,
}

/// What the cache holds.
pub fn usage() -> Usage {
    Usage {
        files: pages(&CACHED),
        disks: pages(&OF_DISKS),
        dirty: pages(&DIRTY),
        writeback: pages(&WRITEBACK),
    }
}

/// Pages written back since boot.
pub fn written() -> u64 {
    WRITTEN.load(Ordering::Relaxed)
}

/// Dirty pages above which they are written at once.
pub fn background_limit() -> usize {
    total_frames() / 100 * BACKGROUND_PERCENT
}

/// Dirty pages above which writers wait.
pub fn throttle_limit() -> usize {
    total_frames() / 100 * THROTTLE_PERCENT
}

fn unwritten() -> usize {
    pages(&DIRTY) + pages(&WRITEBACK)
}

/// After something has become dirty, with no lock held that write-back needs (an address space's, a file system's): has
/// it written where there is much, and waits where there is too much.
#[inline]
pub fn throttle() {
    if unwritten() > background_limit() {
        hold_up();
    }
}

#[cold]
fn hold_up() {
    if pages(&DIRTY) > background_limit() {
        kick_all(Kick::Background);
    }
    let _ = PROGRESS.wait_for(Sleep::Killable, Deadline::NEVER, || {
        (unwritten() <= throttle_limit()).then_some(())
    });
}

/// Has everything written that is dirty, and waits a moment for some of it. Whether some was. For want of memory.
pub(super) fn push() -> bool {
    if unwritten() == 0 {
        return false;
    }
    let before = WRITTEN.load(Ordering::Relaxed);
    kick_all(Kick::All);
    let done = PROGRESS.wait_for(Sleep::Killable, Deadline::after_ns(LOOK_NS), || {
        (WRITTEN.load(Ordering::Relaxed) != before).then_some(())
    });
    done.is_ok()
}

/// What a thread is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kick {
    /// To get below the background limit.
    Background,
    /// To write everything.
    All,
}

static FLUSHERS: SpinLock<Vec<Arc<Flusher>>> = SpinLock::new(Rank::Files, Vec::new());

fn kick_all(how: Kick) {
    let all: Vec<Arc<Flusher>> = FLUSHERS.lock().clone();
    for flusher in all {
        flusher.kick(how);
    }
}

/// Writes the files of one disk back.
pub struct Flusher {
    /// The disk's name.
    name: String,
    dirty: SpinLock<VecDeque<Arc<dyn Store>>>,
    /// Held while files are taken out of the list: who has it finds all of them there.
    passing: Mutex<()>,
    wake: WaitQueue,
    is_kicked: AtomicBool,
    wants_all: AtomicBool,
}

impl Flusher {
    /// The one of a volume's disk; its thread is started when it is first asked for, and stays.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn of(volume: &Volume) -> Result<Arc<Self>> {
        let name = volume.disk().name();
        let find = |all: &[Arc<Self>]| all.iter().find(|f| f.name == name).cloned();
        if let Some(flusher) = find(&FLUSHERS.lock()) {
            return Ok(flusher);
        }
        let flusher = Arc::new(Self {
            name: String::from(name),
            dirty: SpinLock::new(Rank::Leaf, VecDeque::new()),
            passing: Mutex::new(Rank::Flush, ()),
            wake: WaitQueue::new(),
            is_kicked: AtomicBool::new(false),
            wants_all: AtomicBool::new(false),
        });
        {
            let mut all = FLUSHERS.lock();
            if let Some(other) = find(&all) {
                return Ok(other);
            }
            all.push(flusher.clone());
        }
        let of_thread = flusher.clone();
        if let Err(e) = sched::spawn_kernel("flush", move || of_thread.run()) {
            FLUSHERS.lock().retain(|f| !Arc::ptr_eq(f, &flusher));
            return Err(e);
        }
        Ok(flusher)
    }

    fn kick(&self, how: Kick) {
        if how == Kick::All {
            self.wants_all.store(true, Ordering::Release);
        }
        if !self.is_kicked.swap(true, Ordering::AcqRel) {
            self.wake.wake_all(Events::WRITE);
        }
    }

    fn run(&self) {
        loop {
            let next = Deadline::after_ns(INTERVAL_CENTISECONDS * CENTISECOND_NS);
            let _ = self.wake.wait_for(Sleep::Uninterruptible, next, || {
                self.is_kicked.swap(false, Ordering::AcqRel).then_some(())
            });
            self.pass();
        }
    }

    /// Forgets changed files that nobody else has and nobody will read again, so that their blocks can be freed. Whether
    /// there are others that nobody will read again, which somebody has still.
    pub fn drop_doomed(&self) -> bool {
        let _passing = self.passing.lock();
        let mut are_left = false;
        let mut left = self.dirty.lock().len();
        while left > 0 {
            left -= 1;
            let Some(store) = self.dirty.lock().pop_front() else {
                break;
            };
            let is_doomed = store.is_doomed();
            if is_doomed && Arc::strong_count(&store) == 1 {
                store.cache().discard();
                self.settle(store);
            } else {
                are_left |= is_doomed;
                self.dirty.lock().push_back(store);
            }
        }
        are_left
    }

    fn pass(&self) {
        let _passing = self.passing.lock();
        let wants_all = self.wants_all.swap(false, Ordering::AcqRel);
        let expired = time::now_ns().saturating_sub(EXPIRE_CENTISECONDS * CENTISECOND_NS);
        let mut batch = Batch::default();
        let mut left = self.dirty.lock().len();
        while left > 0 {
            left -= 1;
            let Some(store) = self.dirty.lock().pop_front() else {
                break;
            };
            let cache = store.cache();
            let is_old = cache.dirty_since_ns.load(Ordering::Relaxed) <= expired;
            if Arc::strong_count(&store) == 1 && store.is_doomed() {
                cache.discard();
            } else if wants_all || is_old || pages(&DIRTY) > background_limit() {
                batch.add(&store, 0, u64::MAX);
            }
            self.settle(store);
        }
        // Failures are noted in the files.
        let _ = batch.finish();
    }

    /// Puts a file that is still dirty back into the list.
    fn settle(&self, store: Arc<dyn Store>) {
        let cache = store.cache();
        cache.is_queued.store(false, Ordering::Release);
        let is_dirty = !cache.tree.lock().dirty.is_empty();
        if is_dirty {
            cache.dirty_since_ns.fetch_min(time::now_ns(), Ordering::Relaxed);
            queue_store(self, store);
        }
    }
}

fn queue_store(flusher: &Flusher, store: Arc<dyn Store>) {
    if !store.cache().is_queued.swap(true, Ordering::AcqRel) {
        flusher.dirty.lock().push_back(store);
    }
}

/// A file has become dirty.
pub(super) fn queue(cache: &FileCache) {
    if cache.is_queued.load(Ordering::Acquire) {
        return;
    }
    if let Some(store) = cache.store() {
        let flusher = store.flusher().clone();
        queue_store(&flusher, store);
    }
}
