//! The pool of pre-zeroed frames, and the marks that say when memory is short.
//!
//! Idle CPUs fill the pool up to its target ([`fill_zero_pool`]); page faults take from it ([`super::Frame::alloc_user_zeroed`]).
//! Its frames count as free: an allocation that finds nothing else takes them, so that the pool never makes memory run
//! out. Memory is *short* from the moment that fewer frames than the low watermark are free until more than the high one
//! are; meanwhile the pool is not filled.

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use super::{BUDDY, FREE, RESERVE, drain_this_cpu, free_frames, give, take as take_any, zero};
use crate::mm::{PAGE_SHIFT, PAGE_SIZE, linear};
use crate::sync::{IrqLock, Rank};

/// The most frames that the pool holds.
pub const ZERO_POOL_MAX: usize = 8192;

struct Pool {
    pfns: [u32; ZERO_POOL_MAX],
    len: usize,
}

impl Pool {
    fn take(&mut self) -> Option<usize> {
        self.len = self.len.checked_sub(1)?;
        LEN.store(self.len, Ordering::Relaxed);
        self.pfns.get(self.len).map(|p| *p as usize)
    }

    /// False when it is full.
    fn put(&mut self, pfn: usize) -> bool {
        let Some(slot) = self.pfns.get_mut(self.len) else {
            return false;
        };
        *slot = pfn as u32;
        self.len += 1;
        LEN.store(self.len, Ordering::Relaxed);
        true
    }
}

static POOL: IrqLock<Pool> = IrqLock::new(
    Rank::Pool,
    Pool {
        pfns: [0; ZERO_POOL_MAX],
        len: 0,
    },
);
static LEN: AtomicUsize = AtomicUsize::new(0);
static TARGET: AtomicUsize = AtomicUsize::new(0);
static HITS: AtomicU64 = AtomicU64::new(0);
static MISSES: AtomicU64 = AtomicU64::new(0);
/// The pool has fallen to half of its target and no CPU has been asked to fill it since.
static WANTS: AtomicBool = AtomicBool::new(false);
static LOW: AtomicUsize = AtomicUsize::new(0);
static HIGH: AtomicUsize = AtomicUsize::new(0);
static SHORT: AtomicBool = AtomicBool::new(false);

/// Takes one frame out, whatever its content is wanted for.
pub(super) fn take() -> Option<usize> {
    let pfn = POOL.lock().take()?;
    FREE.fetch_sub(1, Ordering::Relaxed);
    Some(pfn)
}

/// Takes a zeroed frame for a user's page, and counts whether there was one.
pub(super) fn take_for_user() -> Option<usize> {
    if LEN.load(Ordering::Relaxed) > 0
        && let Some(pfn) = take()
    {
        HITS.fetch_add(1, Ordering::Relaxed);
        if LEN.load(Ordering::Relaxed) == TARGET.load(Ordering::Relaxed) / 2 {
            WANTS.store(true, Ordering::Relaxed);
        }
        return Some(pfn);
    }
    MISSES.fetch_add(1, Ordering::Relaxed);
    None
}

/// Gives every frame of the pool back to the buddy allocator; returns how many.
pub(super) fn drain() -> usize {
    let mut given = 0;
    loop {
        let Some(pfn) = POOL.lock().take() else { return given };
        if let Some(b) = BUDDY.lock().as_mut()
            && b.free(pfn, 0).is_err()
        {
            panic!("frame {pfn:#x} of the zeroed pool was free already");
        }
        given += 1;
    }
}

/// Sets how many pre-zeroed frames idle CPUs keep ready; at most [`ZERO_POOL_MAX`]. What is too many is given back.
pub fn set_zero_pool_target(frames: usize) {
    TARGET.store(frames.min(ZERO_POOL_MAX), Ordering::Relaxed);
    while LEN.load(Ordering::Relaxed) > frames {
        let Some(pfn) = take() else { break };
        give(pfn);
    }
    WANTS.store(LEN.load(Ordering::Relaxed) < frames, Ordering::Relaxed);
}

/// Adds one frame to the pool; false when it is full or memory is short. Called by idle CPUs.
pub fn fill_zero_pool() -> bool {
    if LEN.load(Ordering::Relaxed) >= TARGET.load(Ordering::Relaxed) || is_short() {
        return false;
    }
    let Some(pfn) = take_any() else { return false };
    zero(pfn);
    if POOL.lock().put(pfn) {
        FREE.fetch_add(1, Ordering::Relaxed);
        true
    } else {
        give(pfn);
        false
    }
}

/// Whether an idle CPU should be woken to fill the pool. Cheap: asked on every page fault.
#[inline]
pub fn zero_pool_wants_filling() -> bool {
    WANTS.load(Ordering::Relaxed)
}

/// As [`zero_pool_wants_filling`], and the caller wakes one: nobody else is told until the pool has been used again.
pub fn claim_zero_pool_filling() -> bool {
    WANTS.swap(false, Ordering::Relaxed)
}

/// State of the pre-zeroed pool.
#[derive(Clone, Copy, Debug, Default)]
pub struct ZeroPool {
    /// Frames ready.
    pub ready: usize,
    /// Frames wanted.
    pub target: usize,
    /// Zeroed frames that came from the pool.
    pub hits: u64,
    /// Zeroed frames that had to be zeroed on the spot.
    pub misses: u64,
}

/// State of the pre-zeroed pool.
pub fn zero_pool() -> ZeroPool {
    ZeroPool {
        ready: LEN.load(Ordering::Relaxed),
        target: TARGET.load(Ordering::Relaxed),
        hits: HITS.load(Ordering::Relaxed),
        misses: MISSES.load(Ordering::Relaxed),
    }
}

/// Looks whether up to `most` frames of the pool are zero; answers how many were looked at, or the physical address of
/// one that is not (it is not put back).
///
/// # Errors
/// The physical address.
pub fn check_zero_pool(most: usize) -> Result<usize, usize> {
    let mut seen = alloc::vec::Vec::with_capacity(most.min(ZERO_POOL_MAX));
    let mut bad = None;
    while seen.len() < seen.capacity()
        && let Some(pfn) = take()
    {
        // SAFETY: (1) the frame is RAM in the linear map and has just been taken: nobody else has it.
        let bytes = unsafe { core::slice::from_raw_parts(linear(pfn << PAGE_SHIFT), PAGE_SIZE) };
        if bytes.iter().any(|b| *b != 0) {
            bad = Some(pfn << PAGE_SHIFT);
            give(pfn);
            break;
        }
        seen.push(pfn);
    }
    let looked_at = seen.len();
    for pfn in seen {
        if POOL.lock().put(pfn) {
            FREE.fetch_add(1, Ordering::Relaxed);
        } else {
            give(pfn);
        }
    }
    bad.map_or(Ok(looked_at), Err)
}

/// When memory is short, in free frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watermarks {
    /// Below this it becomes short.
    pub low: usize,
    /// Above this it is no longer.
    pub high: usize,
}

/// Sets the watermarks, each so many frames above those that only the kernel may take ([`super::reserve_frames`]).
pub fn set_watermarks(low: usize, high: usize) {
    let reserve = RESERVE.load(Ordering::Relaxed);
    LOW.store(reserve + low, Ordering::Relaxed);
    HIGH.store(reserve + high.max(low), Ordering::Relaxed);
}

/// The watermarks.
pub fn watermarks() -> Watermarks {
    Watermarks {
        low: LOW.load(Ordering::Relaxed),
        high: HIGH.load(Ordering::Relaxed),
    }
}

/// Whether memory is short, see [`Watermarks`].
pub fn is_short() -> bool {
    let was = SHORT.load(Ordering::Relaxed);
    let mark = if was { &HIGH } else { &LOW };
    let is = free_frames() < mark.load(Ordering::Relaxed);
    if is != was {
        SHORT.store(is, Ordering::Relaxed);
    }
    is
}

/// Gives what is kept ready (the pool, this CPU's cache) back to the buddy allocator, where it can become larger blocks;
/// returns how many frames the pool had.
pub fn reclaim() -> usize {
    drain_this_cpu();
    drain()
}
