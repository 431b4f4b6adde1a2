//! Reading ahead.
//!
//! A reader that goes on where it stopped gets a window of pages at once; in the window lies a marker, and whoever comes
//! to it starts the next, larger one, while what is left of this is copied.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};

use sis_machine::sync::{Rank, SpinLock};

use super::read::start_read;
use super::{PAGE, Store, Wait, back, reclaim};
use crate::Result;
use crate::fs::file::Advice;

/// Pages of the first window: 128 KiB.
const FIRST: u64 = 32;
/// Pages of the largest window: 512 KiB.
const LARGEST: u64 = 128;

#[derive(Clone, Copy, Default)]
struct Window {
    start: u64,
    len: u64,
    /// Pages from the end at which the marker lies.
    behind: u64,
    /// The last page that was asked for.
    last: Option<u64>,
}

/// How one open file description is read.
pub struct ReadAhead {
    window: SpinLock<Window>,
    /// How many times as far as usual; 0: not at all.
    factor: AtomicU64,
}

impl Default for ReadAhead {
    fn default() -> Self {
        Self::new()
    }
}

/// A window to read: the first page, pages, and the page that gets the marker.
pub(super) struct Plan {
    pub(super) first: u64,
    pub(super) count: u64,
    pub(super) marker: Option<u64>,
}

impl ReadAhead {
    /// Nothing has been read.
    pub const fn new() -> Self {
        Self {
            window: SpinLock::new(
                Rank::Leaf,
                Window {
                    start: 0,
                    len: 0,
                    behind: 0,
                    last: None,
                },
            ),
            factor: AtomicU64::new(1),
        }
    }

    fn largest(&self) -> u64 {
        LARGEST * self.factor.load(Ordering::Relaxed).max(1)
    }

    fn is_random(&self) -> bool {
        self.factor.load(Ordering::Relaxed) == 0
    }

    /// Pages up to `last` have been read.
    pub(super) fn note(&self, last: u64) {
        self.window.lock().last = Some(last);
    }

    /// `index` is not in memory; the call wants `wanted` pages from there on.
    pub(super) fn miss(&self, index: u64, wanted: u64) -> Plan {
        let wanted = wanted.clamp(1, LARGEST);
        let plain = Plan {
            first: index,
            count: wanted,
            marker: None,
        };
        if self.is_random() {
            return plain;
        }
        let largest = self.largest();
        let mut w = self.window.lock();
        let goes_on = match w.last {
            None => index == 0,
            Some(last) => index == last || index == last + 1,
        };
        if !goes_on {
            return plain;
        }
        let is_next = w.len > 0 && index == w.start + w.len;
        let len = if is_next {
            (2 * w.len).clamp(FIRST, largest)
        } else {
            wanted.next_power_of_two().max(FIRST).min(largest)
        };
        let behind = if len > wanted { len - wanted } else { len / 2 };
        *w = Window {
            start: index,
            len,
            behind,
            last: w.last,
        };
        Plan {
            first: index,
            count: len,
            marker: Some(index + len - behind),
        }
    }

    /// The marker has been reached at `index`: the next window.
    pub(super) fn marker(&self, index: u64) -> Option<Plan> {
        if self.is_random() {
            return None;
        }
        let largest = self.largest();
        let mut w = self.window.lock();
        let is_ours = w.len > 0 && index == w.start + w.len - w.behind;
        let (start, len) = if is_ours {
            (w.start + w.len, (2 * w.len).clamp(FIRST, largest))
        } else {
            // Another reader's marker: this one reads the same part.
            (index + 1, FIRST)
        };
        *w = Window {
            start,
            len,
            behind: len,
            last: w.last,
        };
        Some(Plan {
            first: start,
            count: len,
            marker: Some(start),
        })
    }
}

/// Starts reading bytes `offset..offset + len` (readahead(2), POSIX_FADV_WILLNEED); what is in memory stays.
pub fn will_need(store: &dyn Store, offset: u64, len: u64) {
    let end = offset.saturating_add(len).min(store.cache().size());
    let (mut at, last) = (offset / PAGE, end.div_ceil(PAGE));
    while at < last {
        let count = (last - at).min(LARGEST);
        // Only a hint: who reads finds the error.
        if start_read(store, at, count, None).is_err() {
            return;
        }
        at += count;
        crate::sched::cond_resched();
    }
}

/// Takes advice about bytes `offset..offset + len` (posix_fadvise(2)).
pub fn advise(store: &Arc<dyn Store>, ahead: &ReadAhead, offset: u64, len: u64, advice: Advice) {
    match advice {
        Advice::Normal => ahead.factor.store(1, Ordering::Relaxed),
        Advice::Random => ahead.factor.store(0, Ordering::Relaxed),
        Advice::Sequential => ahead.factor.store(2, Ordering::Relaxed),
        Advice::WillNeed => will_need(store.as_ref(), offset, len),
        Advice::DontNeed => {
            // Whole pages only: the neighbour's bytes may be needed.
            let (first, last) = (offset.div_ceil(PAGE), offset.saturating_add(len) / PAGE);
            let size = store.cache().size();
            let last = if offset.saturating_add(len) >= size {
                u64::MAX
            } else {
                last
            };
            // Only advice: failures are noted in the file.
            let _ = back::write_back(store, first, last, Wait::No);
            reclaim::drop_pages(store.cache(), first, last);
        }
        Advice::NoReuse => {}
    }
}

/// Writes dirty pages of bytes `offset..offset + len` back (sync_file_range(2)).
///
/// # Errors
/// Failures of writing.
pub fn sync_range(store: &Arc<dyn Store>, offset: u64, len: u64, wait: bool) -> Result<()> {
    let last = offset.saturating_add(len).div_ceil(PAGE);
    back::write_back(store, offset / PAGE, last, if wait { Wait::Yes } else { Wait::No })
}
