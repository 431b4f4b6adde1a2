//! Kernel stacks: 32 KiB in the upper half of a 64 KiB slot, whose lower half is never mapped. An overflow therefore
//! faults, and the vectors recognise it by bit 15 of the stack pointer.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::frames::{self, Frame};
use super::{PAGE_SHIFT, PAGE_SIZE, kspace};
use crate::sync::{IrqLock, Rank};

const SLOT: usize = 64 * 1024;
/// Bytes of a kernel stack.
pub(crate) const STACK_SIZE: usize = 32 * 1024;
const KEPT: usize = 64;
/// Stacks that are mapped, in use or kept.
static MAPPED: AtomicUsize = AtomicUsize::new(0);

/// Frames of all kernel stacks.
pub fn stack_frames() -> usize {
    MAPPED.load(Ordering::Relaxed) * (STACK_SIZE / PAGE_SIZE)
}

struct Slots {
    next: usize,
    /// Mapped and ready.
    ready: Vec<usize>,
    /// Not mapped.
    free: Vec<usize>,
}

static SLOTS: IrqLock<Slots> = IrqLock::new(
    Rank::Leaf,
    Slots {
        next: kspace::STACK_BASE,
        ready: Vec::new(),
        free: Vec::new(),
    },
);

/// A kernel stack; its slot is reused when dropped.
pub(crate) struct KernelStack {
    slot: usize,
}

impl KernelStack {
    /// A mapped stack, or `None` without memory: threads are made for users, who may not have the reserve.
    pub(crate) fn new() -> Option<Self> {
        if frames::free_frames() <= frames::reserve_frames() {
            return None;
        }
        let slot = {
            let mut slots = SLOTS.lock();
            if let Some(slot) = slots.ready.pop() {
                return Some(Self { slot });
            }
            slots.free.pop().unwrap_or_else(|| {
                let slot = slots.next;
                slots.next += SLOT;
                slot
            })
        };
        let mut frames = [const { None }; STACK_SIZE / PAGE_SIZE];
        for f in &mut frames {
            *f = Frame::alloc();
        }
        if frames.iter().any(Option::is_none) {
            SLOTS.lock().free.push(slot);
            return None;
        }
        for (i, frame) in frames.into_iter().flatten().enumerate() {
            kspace::map_page(slot + SLOT - STACK_SIZE + i * PAGE_SIZE, frame.into_pfn() << PAGE_SHIFT);
        }
        MAPPED.fetch_add(1, Ordering::Relaxed);
        Some(Self { slot })
    }

    /// One past its highest address.
    pub(crate) fn top(&self) -> usize {
        self.slot + SLOT
    }

    /// Its lowest address.
    pub(crate) fn bottom(&self) -> usize {
        self.slot + SLOT - STACK_SIZE
    }
}

impl Drop for KernelStack {
    fn drop(&mut self) {
        {
            let mut slots = SLOTS.lock();
            if slots.ready.len() < KEPT {
                slots.ready.push(self.slot);
                return;
            }
        }
        MAPPED.fetch_sub(1, Ordering::Relaxed);
        for i in 0..STACK_SIZE / PAGE_SIZE {
            if let Some(pa) = kspace::unmap_page(self.bottom() + i * PAGE_SIZE) {
                // SAFETY: (1) `new` gave this frame up with `into_pfn`; it is unmapped everywhere now.
                drop(unsafe { Frame::from_pfn(pa >> PAGE_SHIFT) });
            }
        }
        SLOTS.lock().free.push(self.slot);
    }
}
