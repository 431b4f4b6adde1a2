//! Page frames.
//!
//! A [`Frame`] is a counted reference to one page of memory; the last one gives it back. Frames are handed out from a
//! per-CPU cache over a buddy allocator ([`sis_algo::buddy`]), user pages zeroed, where possible from a pool that idle
//! CPUs fill ahead of need.

mod pool;

use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use sis_algo::buddy::{Buddy, Link, MAX_ORDER};
use sis_hal::PhysAddr;
use spin::Once;

use super::{PAGE_SHIFT, PAGE_SIZE, linear};
use crate::sync::{IrqLock, Rank};
use crate::{cpu, percpu};

pub use pool::{
    Watermarks, ZERO_POOL_MAX, ZeroPool, check_zero_pool, claim_zero_pool_filling, fill_zero_pool, is_short, reclaim,
    set_watermarks, set_zero_pool_target, watermarks, zero_pool, zero_pool_wants_filling,
};

/// What the kernel knows of one frame.
pub(crate) struct Meta {
    /// References, while it is a [`Frame`].
    pub(crate) refs: AtomicU32,
    /// Slab size class + 1, or 0.
    pub(crate) class: AtomicU8,
    /// Order of a large heap block that starts here.
    pub(crate) order: AtomicU8,
    /// Slab objects in use.
    pub(crate) in_use: AtomicU16,
    /// First free object of a slab, as its offset / 16 + 1.
    pub(crate) free_head: AtomicU16,
    /// Links of the list of partly used slabs, as frame index + 1.
    pub(crate) next: AtomicU32,
    pub(crate) prev: AtomicU32,
}

struct Zone {
    base: usize,
    meta: &'static [Meta],
}

static ZONE: Once<Zone> = Once::new();
static BUDDY: IrqLock<Option<Buddy<'static>>> = IrqLock::new(Rank::Frames, None);
static TOTAL: AtomicUsize = AtomicUsize::new(0);
/// Frames free in the buddy allocator, caches and pool.
static FREE: AtomicUsize = AtomicUsize::new(0);
/// Frames that only the kernel may take.
static RESERVE: AtomicUsize = AtomicUsize::new(0);

const CACHE: usize = 64;
const BATCH: usize = 32;

/// One CPU's cache of single frames.
pub(crate) struct CpuCache {
    pfns: [u32; CACHE],
    len: usize,
}

impl CpuCache {
    pub(crate) const fn new() -> Self {
        Self {
            pfns: [0; CACHE],
            len: 0,
        }
    }
}

/// Gives the allocator its memory: `links` and `meta` cover frames `base..base + meta.len()`, none of them free yet.
pub(crate) fn init(base: usize, links: &'static mut [Link], meta: &'static [Meta]) {
    ZONE.call_once(|| Zone { base, meta });
    *BUDDY.lock() = Some(Buddy::new(base, links));
}

/// Frees frames `from..to` into the allocator, at boot or when an initial ramdisk has been unpacked.
pub(crate) fn add_range(from: usize, to: usize) {
    if from >= to {
        return;
    }
    if let Some(b) = BUDDY.lock().as_mut()
        && b.add_range(from, to).is_err()
    {
        panic!("frames {from:#x}..{to:#x} cannot be added: outside the memory map or free already");
    }
    FREE.fetch_add(to - from, Ordering::Relaxed);
    let total = TOTAL.fetch_add(to - from, Ordering::Relaxed) + to - from;
    // Enough for page tables and the heap while a process is being killed for want of memory.
    RESERVE.store((total / 64).clamp(256, 4096), Ordering::Relaxed);
}

pub(crate) fn meta_of(pfn: usize) -> Option<&'static Meta> {
    let zone = ZONE.get()?;
    zone.meta.get(pfn.checked_sub(zone.base)?)
}

pub(crate) fn base_pfn() -> usize {
    ZONE.get().map_or(0, |z| z.base)
}

/// Takes one frame number, from this CPU's cache first.
pub(crate) fn take() -> Option<usize> {
    let irq = cpu::irq_save();
    // SAFETY: (1) this CPU's cache, with interrupts masked: nobody else touches it meanwhile.
    let cache = unsafe { &mut *percpu::get().frames.get() };
    if cache.len == 0
        && let Some(b) = BUDDY.lock().as_mut()
    {
        while cache.len < BATCH {
            let Some(pfn) = b.alloc(0) else { break };
            cache.pfns[cache.len] = pfn as u32;
            cache.len += 1;
        }
    }
    let got = if cache.len > 0 {
        cache.len -= 1;
        FREE.fetch_sub(1, Ordering::Relaxed);
        Some(cache.pfns[cache.len] as usize)
    } else {
        None
    };
    cpu::irq_restore(irq);
    got.or_else(pool::take)
}

/// Gives one frame number back.
pub(crate) fn give(pfn: usize) {
    let irq = cpu::irq_save();
    // SAFETY: (1) as in `take`.
    let cache = unsafe { &mut *percpu::get().frames.get() };
    if cache.len == CACHE
        && let Some(b) = BUDDY.lock().as_mut()
    {
        while cache.len > CACHE - BATCH {
            cache.len -= 1;
            if b.free(cache.pfns[cache.len] as usize, 0).is_err() {
                panic!("frame {:#x} freed twice", cache.pfns[cache.len]);
            }
        }
    }
    cache.pfns[cache.len] = pfn as u32;
    cache.len += 1;
    FREE.fetch_add(1, Ordering::Relaxed);
    cpu::irq_restore(irq);
}

/// Takes `1 << order` contiguous frames.
pub(crate) fn take_block(order: usize) -> Option<usize> {
    if order > MAX_ORDER {
        return None;
    }
    let got = BUDDY.lock().as_mut().and_then(|b| b.alloc(order));
    let got = got.or_else(|| {
        drain_this_cpu();
        pool::drain();
        BUDDY.lock().as_mut().and_then(|b| b.alloc(order))
    })?;
    FREE.fetch_sub(1 << order, Ordering::Relaxed);
    Some(got)
}

/// Gives `1 << order` contiguous frames back.
pub(crate) fn give_block(pfn: usize, order: usize) {
    if let Some(b) = BUDDY.lock().as_mut()
        && b.free(pfn, order).is_err()
    {
        panic!("block of order {order} at frame {pfn:#x} freed twice");
    }
    FREE.fetch_add(1 << order, Ordering::Relaxed);
}

fn drain_this_cpu() {
    let irq = cpu::irq_save();
    // SAFETY: (1) as in `take`.
    let cache = unsafe { &mut *percpu::get().frames.get() };
    if let Some(b) = BUDDY.lock().as_mut() {
        while cache.len > 0 {
            cache.len -= 1;
            if b.free(cache.pfns[cache.len] as usize, 0).is_err() {
                panic!("frame {:#x} freed twice", cache.pfns[cache.len]);
            }
        }
    }
    cpu::irq_restore(irq);
}

fn zero(pfn: usize) {
    // SAFETY: (1) the frame is RAM in the linear map and belongs to the caller, who has just taken it.
    unsafe { core::ptr::write_bytes(linear(pfn << PAGE_SHIFT), 0, PAGE_SIZE) };
}

/// Frames the allocator manages.
pub fn total_frames() -> usize {
    TOTAL.load(Ordering::Relaxed)
}

/// Frames free, caches and the zeroed pool included.
pub fn free_frames() -> usize {
    FREE.load(Ordering::Relaxed)
}

/// Frames that user pages may not take.
pub fn reserve_frames() -> usize {
    RESERVE.load(Ordering::Relaxed)
}

/// Free blocks of each order, `1 << order` frames each.
pub fn free_blocks() -> [usize; MAX_ORDER + 1] {
    let mut out = [0; MAX_ORDER + 1];
    if let Some(b) = BUDDY.lock().as_ref() {
        for (order, n) in out.iter_mut().enumerate() {
            *n = b.free_blocks(order);
        }
    }
    out
}

/// A counted reference to one page frame.
///
/// The memory may be mapped by users, who write it at any time; so its bytes are copied in and out, never borrowed.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pfn: usize,
}

impl Frame {
    fn from_new(pfn: usize) -> Self {
        if let Some(m) = meta_of(pfn) {
            m.refs.store(1, Ordering::Relaxed);
        }
        Self { pfn }
    }

    /// A frame with undefined content, for the kernel's own use (it may dip into the reserve).
    pub fn alloc() -> Option<Self> {
        take().map(Self::from_new)
    }

    /// A zeroed frame for the kernel's own use (it may dip into the reserve).
    pub fn alloc_zeroed() -> Option<Self> {
        let pfn = take()?;
        zero(pfn);
        Some(Self::from_new(pfn))
    }

    /// A frame with undefined content for a user's page; `None` when only the reserve is left.
    pub fn alloc_user() -> Option<Self> {
        if free_frames() <= reserve_frames() {
            return None;
        }
        Self::alloc()
    }

    /// A zeroed frame for a user's page, from the pre-zeroed pool if it has one; `None` when only the reserve is left.
    pub fn alloc_user_zeroed() -> Option<Self> {
        if free_frames() <= reserve_frames() {
            return None;
        }
        match pool::take_for_user() {
            Some(pfn) => Some(Self::from_new(pfn)),
            None => Self::alloc_zeroed(),
        }
    }

    /// Its physical address.
    #[inline]
    pub fn addr(&self) -> PhysAddr {
        PhysAddr((self.pfn << PAGE_SHIFT) as u64)
    }

    /// Number of references to it.
    pub fn ref_count(&self) -> u32 {
        meta_of(self.pfn).map_or(1, |m| m.refs.load(Ordering::Acquire))
    }

    #[inline]
    pub(crate) fn ptr(&self) -> *mut u8 {
        linear(self.pfn << PAGE_SHIFT)
    }

    /// Copies bytes out, from `offset`; panics beyond the page.
    pub fn read(&self, offset: usize, out: &mut [u8]) {
        assert!(offset <= PAGE_SIZE && out.len() <= PAGE_SIZE - offset);
        // SAFETY: (1) inside the frame, which this reference keeps; (2) users may write it meanwhile: the copy is then
        // some mix of old and new bytes, any of which is a valid u8.
        unsafe { core::ptr::copy_nonoverlapping(self.ptr().add(offset), out.as_mut_ptr(), out.len()) }
    }

    /// Copies bytes in, from `offset`; panics beyond the page.
    pub fn write(&self, offset: usize, data: &[u8]) {
        assert!(offset <= PAGE_SIZE && data.len() <= PAGE_SIZE - offset);
        // SAFETY: (1) as for `read`.
        unsafe { core::ptr::copy_nonoverlapping(data.as_ptr(), self.ptr().add(offset), data.len()) }
    }

    /// Zeroes `len` bytes from `offset`; panics beyond the page.
    pub fn zero_range(&self, offset: usize, len: usize) {
        assert!(offset <= PAGE_SIZE && len <= PAGE_SIZE - offset);
        // SAFETY: (1) as for `read`.
        unsafe { core::ptr::write_bytes(self.ptr().add(offset), 0, len) }
    }

    /// Copies the whole of another frame.
    pub fn copy_from(&self, other: &Self) {
        if self.pfn == other.pfn {
            return;
        }
        // SAFETY: (1) both frames are kept by references and, being different, do not overlap.
        unsafe { core::ptr::copy_nonoverlapping(other.ptr(), self.ptr(), PAGE_SIZE) }
    }

    /// A word of the frame, at an 8-byte aligned offset, written so that users see all of it or nothing.
    pub fn store_u64(&self, offset: usize, value: u64, order: Ordering) {
        assert!(offset.is_multiple_of(8) && offset + 8 <= PAGE_SIZE);
        // SAFETY: (1) aligned and inside the frame; all kernel accesses of shared words are atomic.
        unsafe { AtomicU64::from_ptr(self.ptr().add(offset).cast()) }.store(value, order);
    }

    /// Gives up the handle without giving up the reference: for page tables.
    pub(crate) fn into_pfn(self) -> usize {
        let pfn = self.pfn;
        core::mem::forget(self);
        pfn
    }

    /// Takes back a reference given up by [`Self::into_pfn`].
    ///
    /// # Safety
    /// (1) `pfn` came from `into_pfn` and is taken back once.
    pub(crate) unsafe fn from_pfn(pfn: usize) -> Self {
        Self { pfn }
    }
}

impl Clone for Frame {
    fn clone(&self) -> Self {
        if let Some(m) = meta_of(self.pfn) {
            m.refs.fetch_add(1, Ordering::Relaxed);
        }
        Self { pfn: self.pfn }
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        if let Some(m) = meta_of(self.pfn)
            && m.refs.fetch_sub(1, Ordering::Release) == 1
        {
            core::sync::atomic::fence(Ordering::Acquire);
            give(self.pfn);
        }
    }
}

/// Frames that the kernel heap holds.
pub fn heap_frames() -> usize {
    super::heap::frames_held()
}

/// What the allocator says of itself, to be checked: see each field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    /// Free frames of the buddy allocator, as it counts them.
    pub buddy_free: usize,
    /// The same, summed over its free blocks: always equal.
    pub in_blocks: usize,
    /// Frames in the pool of pre-zeroed ones.
    pub pool: usize,
    /// Free frames as they are counted on every allocation: `buddy_free + pool` and what the CPUs' caches hold.
    pub free: usize,
    /// The most that the caches of all CPUs hold.
    pub caches_max: usize,
}

/// What the allocator says of itself. The first two fields are of one moment, the others of moments close to it.
pub fn accounts() -> Accounts {
    let mut out = Accounts::default();
    if let Some(b) = BUDDY.lock().as_ref() {
        out.buddy_free = b.free_frames();
        out.in_blocks = (0..=MAX_ORDER).map(|order| b.free_blocks(order) << order).sum();
    }
    out.pool = zero_pool().ready;
    out.free = free_frames();
    out.caches_max = percpu::online_count() * CACHE;
    out
}
