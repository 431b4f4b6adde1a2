//! The kernel heap: slabs of small objects over single frames, larger requests straight from the buddy allocator.
//!
//! A slab is one frame cut into objects of one size class; the list of its free objects runs through the objects
//! themselves, everything else is in the frame's [`Meta`]. Each CPU keeps a short list of free objects a class. An empty
//! slab goes back to the frames.
//!
//! A failed allocation ends the kernel, and memory that users have taken page by page has no large blocks left. So no
//! slab needs more than a frame, and a large request for which there is no block gets single frames, mapped side by side
//! in a region of their own.

use core::alloc::{GlobalAlloc, Layout};
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::frames::{self, Meta};
use super::{LINEAR_BASE, PAGE_SHIFT, PAGE_SIZE, kspace, linear};
use crate::sync::{IrqLock, Rank};
use crate::{cpu, percpu};

const CLASSES: [usize; 14] = [16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048];
/// A slab's frames, as a power of two.
const SLAB_ORDER: usize = 0;
const PER_CPU: usize = 32;
const BATCH: usize = 16;

/// Free objects that one CPU keeps.
pub(crate) struct CpuCache {
    lists: [[usize; PER_CPU]; CLASSES.len()],
    lens: [usize; CLASSES.len()],
}

impl CpuCache {
    pub(crate) const fn new() -> Self {
        Self {
            lists: [[0; PER_CPU]; CLASSES.len()],
            lens: [0; CLASSES.len()],
        }
    }
}

/// Slabs of one class that have free objects: first frame index + 1.
struct Central {
    partial: [u32; CLASSES.len()],
}

static CENTRAL: IrqLock<Central> = IrqLock::new(
    Rank::Heap,
    Central {
        partial: [0; CLASSES.len()],
    },
);
static HEAP_FRAMES: AtomicUsize = AtomicUsize::new(0);

/// Frames that the heap holds.
pub(crate) fn frames_held() -> usize {
    HEAP_FRAMES.load(Ordering::Relaxed)
}

struct Heap;

#[global_allocator]
static HEAP: Heap = Heap;

fn class_of(size: usize, align: usize) -> Option<usize> {
    let need = size.max(align).max(1);
    CLASSES
        .iter()
        .position(|c| *c >= need && (align <= 16 || c.is_multiple_of(align)))
}

// SAFETY: (1) every block handed out is at least as large and aligned as asked (classes are checked; page blocks are
// aligned to their size); (2) blocks are disjoint: an object is on exactly one free list or in use; (3) nothing unwinds.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match class_of(layout.size(), layout.align()) {
            Some(class) => alloc_small(class),
            None => alloc_large(layout),
        }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        match class_of(layout.size(), layout.align()) {
            Some(class) => free_small(class, ptr as usize),
            None => free_large(ptr as usize, layout),
        }
    }
}

fn large_order(layout: Layout) -> usize {
    layout
        .size()
        .max(layout.align())
        .div_ceil(PAGE_SIZE)
        .next_power_of_two()
        .trailing_zeros() as usize
}

fn large_pages(layout: Layout) -> usize {
    layout.size().max(layout.align()).div_ceil(PAGE_SIZE)
}

fn alloc_large(layout: Layout) -> *mut u8 {
    let order = large_order(layout);
    let pfn = if order == 0 {
        frames::take()
    } else {
        frames::take_block(order)
    };
    match pfn {
        Some(pfn) => {
            HEAP_FRAMES.fetch_add(1 << order, Ordering::Relaxed);
            linear(pfn << PAGE_SHIFT)
        }
        None if order > 0 => alloc_mapped(large_pages(layout)).unwrap_or(core::ptr::null_mut()),
        None => core::ptr::null_mut(),
    }
}

fn free_large(at: usize, layout: Layout) {
    if at >= kspace::HEAP_BASE {
        return free_mapped(at, large_pages(layout));
    }
    let order = large_order(layout);
    let pfn = (at - LINEAR_BASE) >> PAGE_SHIFT;
    HEAP_FRAMES.fetch_sub(1 << order, Ordering::Relaxed);
    if order == 0 {
        frames::give(pfn)
    } else {
        frames::give_block(pfn, order)
    }
}

/// Bytes of address space for one mapped block; the last page is never used and guards the next.
const MAPPED_SLOT: usize = 64 << 20;
/// Slots in use, a bit each.
static MAPPED: AtomicU64 = AtomicU64::new(0);

/// `pages` single frames, mapped side by side; `None` when they are too many or too few are left.
fn alloc_mapped(pages: usize) -> Option<*mut u8> {
    // Page tables come out of the same frames.
    let needed = pages + pages / 512 + 4;
    if pages >= MAPPED_SLOT / PAGE_SIZE || frames::free_frames() < needed {
        return None;
    }
    let taken = MAPPED.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |m| {
        (m != u64::MAX).then_some(m | (m + 1))
    });
    let slot = taken.ok()?.trailing_ones() as usize;
    let base = kspace::HEAP_BASE + slot * MAPPED_SLOT;
    HEAP_FRAMES.fetch_add(pages, Ordering::Relaxed);
    for page in 0..pages {
        let Some(pfn) = frames::take() else {
            unmap_pages(base, page);
            HEAP_FRAMES.fetch_sub(pages, Ordering::Relaxed);
            MAPPED.fetch_and(!(1 << slot), Ordering::Release);
            return None;
        };
        kspace::map_page(base + page * PAGE_SIZE, pfn << PAGE_SHIFT);
    }
    Some(base as *mut u8)
}

fn free_mapped(at: usize, pages: usize) {
    unmap_pages(at, pages);
    HEAP_FRAMES.fetch_sub(pages, Ordering::Relaxed);
    MAPPED.fetch_and(!(1 << ((at - kspace::HEAP_BASE) / MAPPED_SLOT)), Ordering::Release);
}

fn unmap_pages(base: usize, pages: usize) {
    for page in 0..pages {
        if let Some(pa) = kspace::unmap_page(base + page * PAGE_SIZE) {
            frames::give(pa >> PAGE_SHIFT);
        }
    }
}

fn alloc_small(class: usize) -> *mut u8 {
    let irq = cpu::irq_save();
    // SAFETY: (1) this CPU's cache, with interrupts masked.
    let cache = unsafe { &mut *percpu::get().heap.get() };
    if cache.lens[class] == 0 {
        refill(cache, class);
    }
    let out = if cache.lens[class] > 0 {
        cache.lens[class] -= 1;
        cache.lists[class][cache.lens[class]] as *mut u8
    } else {
        core::ptr::null_mut()
    };
    cpu::irq_restore(irq);
    out
}

fn free_small(class: usize, at: usize) {
    let irq = cpu::irq_save();
    // SAFETY: (1) this CPU's cache, with interrupts masked.
    let cache = unsafe { &mut *percpu::get().heap.get() };
    if cache.lens[class] == PER_CPU {
        let mut central = CENTRAL.lock();
        for _ in 0..BATCH {
            cache.lens[class] -= 1;
            give_object(&mut central, class, cache.lists[class][cache.lens[class]]);
        }
    }
    cache.lists[class][cache.lens[class]] = at;
    cache.lens[class] += 1;
    cpu::irq_restore(irq);
}

fn meta_at(index_plus_one: u32) -> Option<&'static Meta> {
    frames::meta_of(frames::base_pfn() + (index_plus_one.checked_sub(1)?) as usize)
}

fn refill(cache: &mut CpuCache, class: usize) {
    let mut central = CENTRAL.lock();
    while cache.lens[class] < BATCH {
        if central.partial[class] == 0 && !new_slab(&mut central, class) {
            return;
        }
        let index = central.partial[class];
        let Some(meta) = meta_at(index) else { return };
        let base = ((frames::base_pfn() + index as usize - 1) << PAGE_SHIFT) + LINEAR_BASE;
        while cache.lens[class] < BATCH {
            let head = meta.free_head.load(Ordering::Relaxed);
            if head == 0 {
                break;
            }
            let at = base + (head as usize - 1) * 16;
            // SAFETY: (1) a free object of this slab; its first two bytes hold the next link.
            let next = unsafe { *(at as *const u16) };
            meta.free_head.store(next, Ordering::Relaxed);
            meta.in_use.fetch_add(1, Ordering::Relaxed);
            cache.lists[class][cache.lens[class]] = at;
            cache.lens[class] += 1;
        }
        if meta.free_head.load(Ordering::Relaxed) == 0 {
            unlink(&mut central, class, index, meta);
        }
    }
}

fn new_slab(central: &mut Central, class: usize) -> bool {
    let order = SLAB_ORDER;
    let pfn = if order == 0 {
        frames::take()
    } else {
        frames::take_block(order)
    };
    let Some(pfn) = pfn else { return false };
    HEAP_FRAMES.fetch_add(1 << order, Ordering::Relaxed);
    let Some(meta) = frames::meta_of(pfn) else { return false };
    let base = linear(pfn << PAGE_SHIFT) as usize;
    let size = CLASSES[class];
    let count = (PAGE_SIZE << order) / size;
    let mut next = 0u16;
    for i in (0..count).rev() {
        let at = base + i * size;
        // SAFETY: (1) inside the block just taken, which nobody else has.
        unsafe { *(at as *mut u16) = next };
        next = (i * size / 16 + 1) as u16;
    }
    meta.free_head.store(next, Ordering::Relaxed);
    meta.in_use.store(0, Ordering::Relaxed);
    for i in 0..1usize << order {
        if let Some(m) = frames::meta_of(pfn + i) {
            m.class.store(class as u8 + 1, Ordering::Relaxed);
            // Distance back to the first frame of the slab.
            m.order.store(i as u8, Ordering::Relaxed);
        }
    }
    link(central, class, (pfn - frames::base_pfn() + 1) as u32, meta);
    true
}

fn give_object(central: &mut Central, class: usize, at: usize) {
    let mut pfn = (at - LINEAR_BASE) >> PAGE_SHIFT;
    let Some(here) = frames::meta_of(pfn) else {
        panic!("freed {at:#x}, which is not on the heap")
    };
    assert!(
        here.class.load(Ordering::Relaxed) == class as u8 + 1,
        "freed {at:#x} with another size than it had"
    );
    pfn -= here.order.load(Ordering::Relaxed) as usize;
    let Some(meta) = frames::meta_of(pfn) else { return };
    let base = (pfn << PAGE_SHIFT) + LINEAR_BASE;
    let head = meta.free_head.load(Ordering::Relaxed);
    // SAFETY: (1) the object is free and its slab's list is under the lock that the caller holds.
    unsafe { *(at as *mut u16) = head };
    meta.free_head.store(((at - base) / 16 + 1) as u16, Ordering::Relaxed);
    let index = (pfn - frames::base_pfn() + 1) as u32;
    if head == 0 {
        link(central, class, index, meta);
    }
    if meta.in_use.fetch_sub(1, Ordering::Relaxed) == 1 {
        unlink(central, class, index, meta);
        let order = SLAB_ORDER;
        for i in 0..1usize << order {
            if let Some(m) = frames::meta_of(pfn + i) {
                m.class.store(0, Ordering::Relaxed);
            }
        }
        HEAP_FRAMES.fetch_sub(1 << order, Ordering::Relaxed);
        if order == 0 {
            frames::give(pfn)
        } else {
            frames::give_block(pfn, order)
        }
    }
}

fn link(central: &mut Central, class: usize, index: u32, meta: &Meta) {
    let head = central.partial[class];
    meta.prev.store(0, Ordering::Relaxed);
    meta.next.store(head, Ordering::Relaxed);
    if let Some(h) = meta_at(head) {
        h.prev.store(index, Ordering::Relaxed);
    }
    central.partial[class] = index;
}

fn unlink(central: &mut Central, class: usize, index: u32, meta: &Meta) {
    let next = meta.next.load(Ordering::Relaxed);
    let prev = meta.prev.load(Ordering::Relaxed);
    if let Some(n) = meta_at(next) {
        n.prev.store(prev, Ordering::Relaxed);
    }
    match meta_at(prev) {
        Some(p) => p.next.store(next, Ordering::Relaxed),
        None if central.partial[class] == index => central.partial[class] = next,
        None => {}
    }
    meta.next.store(0, Ordering::Relaxed);
    meta.prev.store(0, Ordering::Relaxed);
}
