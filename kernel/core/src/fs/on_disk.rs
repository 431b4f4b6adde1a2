//! What file systems on disks have in common: one superblock a disk, a thread that looks after it, and a bound for the files that
//! memory keeps.

use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use core::sync::atomic::{AtomicBool, Ordering};

use sis_machine::mm::frames::total_frames;
use sis_machine::sync::{Rank, SpinLock};

use super::mount::SuperBlock;
use crate::block::Volume;
use crate::poll::Events;
use crate::time::Deadline;
use crate::wait::{Sleep, WaitQueue};

static MOUNTED: SpinLock<BTreeMap<u64, Weak<SuperBlock>>> = SpinLock::new(Rank::Leaf, BTreeMap::new());

/// What is mounted of a disk or partition as one of `kinds`: a second mount shares it.
pub(super) fn mounted(device: &Volume, kinds: &[&str]) -> Option<Arc<SuperBlock>> {
    let there = MOUNTED.lock().get(&device.device_number()).and_then(Weak::upgrade);
    there.filter(|superblock| kinds.contains(&superblock.fs().kind()))
}

/// This is mounted of it from now on.
pub(super) fn note_mounted(device: &Volume, superblock: &Arc<SuperBlock>) {
    MOUNTED
        .lock()
        .insert(device.device_number(), Arc::downgrade(superblock));
}

/// So many files are kept in memory whose names were looked up: a sixteenth of the memory, at a kilobyte each.
pub(super) fn most_files() -> usize {
    total_frames() / 4
}

/// Forgets names that nobody uses when `files` are too many, and with them the files. No lock is held.
pub(super) fn forget_names(device: &Volume, files: usize) {
    if files <= most_files() {
        return;
    }
    let there = MOUNTED.lock().get(&device.device_number()).and_then(Weak::upgrade);
    if let Some(superblock) = there {
        superblock.prune(most_files() / 2);
    }
}

/// Wakes a file system's thread.
pub(super) struct Alarm {
    wake: WaitQueue,
    has_work: AtomicBool,
}

impl Alarm {
    pub(super) fn new() -> Self {
        Self {
            wake: WaitQueue::new(),
            has_work: AtomicBool::new(false),
        }
    }

    /// There is something for the thread to do. In any context.
    pub(super) fn ring(&self) {
        self.has_work.store(true, Ordering::Release);
        self.wake.wake_all(Events::READ);
    }

    /// Waits until it rings, `ns` nanoseconds at most.
    pub(super) fn wait(&self, ns: u64) {
        let rung = || self.has_work.swap(false, Ordering::AcqRel).then_some(());
        let _ = self.wake.wait_for(Sleep::Uninterruptible, Deadline::after_ns(ns), rung);
    }
}
