//! Per-CPU data, found through TPIDR_EL1.

use alloc::sync::Arc;
use core::arch::asm;
use core::cell::{Cell, UnsafeCell};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use crate::cpu::MAX_CPUS;
use crate::task::Task;

/// What one CPU keeps for itself. Only fields that are atomic are read by other CPUs.
#[repr(C, align(128))]
pub struct PerCpu {
    /// Stack for exceptions taken when the task's own stack is unusable. First: the vectors use offset 0.
    pub(crate) emergency_stack_top: Cell<u64>,
    /// Scratch for the vectors (offsets 8 and 16).
    pub(crate) scratch: [Cell<u64>; 2],
    /// The running task (offset 24), kept alive by the reference count it holds.
    pub(crate) current: Cell<*const Task>,
    /// The task switched away from, until the next one has released it.
    pub(crate) previous: Cell<*const Task>,
    /// Whose user registers (FP/SIMD) this CPU holds.
    pub(crate) fp_owner: AtomicPtr<Task>,
    /// Logical number.
    pub id: u32,
    /// Affinity.
    pub mpidr: AtomicU64,
    /// Started and scheduling.
    pub online: AtomicBool,
    /// Nested interrupt depth (0 or 1).
    pub(crate) irq_depth: Cell<u32>,
    /// Spinning locks held.
    pub(crate) spin_depth: Cell<u32>,
    /// Ask for a reschedule at the next return to user mode or scheduling point.
    pub need_resched: AtomicBool,
    /// Interrupts taken.
    pub interrupts: AtomicU64,
    /// Nanoseconds spent in interrupt handlers.
    pub irq_ns: AtomicU64,
    /// Exceptions that found a fault in user copies, for statistics.
    pub(crate) user_copy_faults: AtomicU64,
    /// In a panic.
    pub(crate) panicking: AtomicU32,
    #[cfg(debug_assertions)]
    pub(crate) ranks: UnsafeCell<[u8; 24]>,
    #[cfg(debug_assertions)]
    pub(crate) rank_count: Cell<usize>,
    /// Ranks below this one in the list are of the code that an interrupt has stopped.
    #[cfg(debug_assertions)]
    rank_base: Cell<usize>,
    pub(crate) heap: UnsafeCell<crate::mm::heap::CpuCache>,
    pub(crate) frames: UnsafeCell<crate::mm::frames::CpuCache>,
    pub(crate) active_space: UnsafeCell<Option<crate::mm::uspace::SpaceHandle>>,
}

// SAFETY: (1) the non-atomic fields are touched only by the CPU that owns them, with interrupts masked or in a way that
// an interrupt on that CPU restores before it returns; others are atomic.
unsafe impl Sync for PerCpu {}

impl PerCpu {
    const fn new(id: u32) -> Self {
        Self {
            emergency_stack_top: Cell::new(0),
            scratch: [const { Cell::new(0) }; 2],
            current: Cell::new(core::ptr::null()),
            previous: Cell::new(core::ptr::null()),
            fp_owner: AtomicPtr::new(core::ptr::null_mut()),
            id,
            mpidr: AtomicU64::new(0),
            online: AtomicBool::new(false),
            irq_depth: Cell::new(0),
            spin_depth: Cell::new(0),
            need_resched: AtomicBool::new(false),
            interrupts: AtomicU64::new(0),
            irq_ns: AtomicU64::new(0),
            user_copy_faults: AtomicU64::new(0),
            panicking: AtomicU32::new(0),
            #[cfg(debug_assertions)]
            ranks: UnsafeCell::new([0; 24]),
            #[cfg(debug_assertions)]
            rank_count: Cell::new(0),
            #[cfg(debug_assertions)]
            rank_base: Cell::new(0),
            heap: UnsafeCell::new(crate::mm::heap::CpuCache::new()),
            frames: UnsafeCell::new(crate::mm::frames::CpuCache::new()),
            active_space: UnsafeCell::new(None),
        }
    }

    /// The running task.
    #[inline]
    pub(crate) fn current_ptr(&self) -> *const Task {
        self.current.get()
    }

    #[cfg(debug_assertions)]
    pub(crate) fn held_ranks(&self) -> &[u8] {
        let n = self.rank_count.get();
        // SAFETY: (1) only this CPU touches its list; an interrupt pushes and pops in pairs before it returns.
        let all = unsafe { &*self.ranks.get() };
        &all[self.rank_base.get().min(n)..n.min(all.len())]
    }

    /// An interrupt begins: the order of its locks does not depend on those of the code that it stops, which is not
    /// waiting for any and cannot hold one that an interrupt takes.
    #[cfg(debug_assertions)]
    pub(crate) fn ranks_enter_interrupt(&self) -> usize {
        self.rank_base.replace(self.rank_count.get())
    }

    /// An interrupt ends.
    #[cfg(debug_assertions)]
    pub(crate) fn ranks_leave_interrupt(&self, base: usize) {
        self.rank_base.set(base);
    }

    /// Nothing, in builds that check no order.
    #[cfg(not(debug_assertions))]
    #[inline(always)]
    pub(crate) fn ranks_enter_interrupt(&self) -> usize {
        0
    }

    /// Nothing, in builds that check no order.
    #[cfg(not(debug_assertions))]
    #[inline(always)]
    pub(crate) fn ranks_leave_interrupt(&self, _base: usize) {}

    #[cfg(debug_assertions)]
    pub(crate) fn push_rank(&self, rank: u8) {
        let irq = crate::cpu::irq_save();
        let n = self.rank_count.get();
        // SAFETY: (1) only this CPU touches its list, interrupts are masked.
        let all = unsafe { &mut *self.ranks.get() };
        assert!(n < all.len(), "more than {} spinning locks held", all.len());
        all[n] = rank;
        self.rank_count.set(n + 1);
        crate::cpu::irq_restore(irq);
    }

    #[cfg(debug_assertions)]
    pub(crate) fn pop_rank(&self, rank: u8) {
        let irq = crate::cpu::irq_save();
        let n = self.rank_count.get();
        // SAFETY: (1) only this CPU touches its list, interrupts are masked.
        let all = unsafe { &mut *self.ranks.get() };
        if let Some(at) = all[..n].iter().rposition(|r| *r == rank) {
            all.copy_within(at + 1..n, at);
            self.rank_count.set(n - 1);
        }
        crate::cpu::irq_restore(irq);
    }
}

static CPUS: [PerCpu; MAX_CPUS] = [
    PerCpu::new(0),
    PerCpu::new(1),
    PerCpu::new(2),
    PerCpu::new(3),
    PerCpu::new(4),
    PerCpu::new(5),
    PerCpu::new(6),
    PerCpu::new(7),
];

/// Makes `id`'s data this CPU's. Once per CPU, first thing.
pub(crate) fn install(id: usize) {
    let cpu = &CPUS[id];
    cpu.mpidr.store(crate::cpu::mpidr(), Ordering::Relaxed);
    // SAFETY: (1) TPIDR_EL1 is this module's own register.
    unsafe { asm!("msr tpidr_el1, {0}", in(reg) cpu, options(nostack)) };
}

/// This CPU's data.
#[inline(always)]
pub fn get() -> &'static PerCpu {
    let at: *const PerCpu;
    // SAFETY: (1) TPIDR_EL1 holds the address of a static since `install`, which runs before anything else.
    unsafe {
        asm!("mrs {0}, tpidr_el1", out(reg) at, options(nomem, nostack, preserves_flags));
        &*at
    }
}

/// This CPU's data, if it has been installed.
#[inline(always)]
pub(crate) fn try_get() -> Option<&'static PerCpu> {
    let at: *const PerCpu;
    // SAFETY: (1) as for `get`; the boot code zeroes the register.
    unsafe {
        asm!("mrs {0}, tpidr_el1", out(reg) at, options(nomem, nostack, preserves_flags));
        at.as_ref()
    }
}

/// The data of CPU `id`, for its shared (atomic) fields.
pub fn of(id: usize) -> Option<&'static PerCpu> {
    CPUS.get(id)
}

/// Every CPU that is online.
pub fn online() -> impl Iterator<Item = &'static PerCpu> {
    CPUS.iter().filter(|c| c.online.load(Ordering::Acquire))
}

/// Number of CPUs online.
pub fn online_count() -> usize {
    online().count()
}

/// Whether this CPU is in an interrupt handler.
#[inline]
pub fn in_interrupt() -> bool {
    try_get().is_some_and(|c| c.irq_depth.get() != 0)
}

#[inline(always)]
pub(crate) fn spin_enter() {
    if let Some(c) = try_get() {
        c.spin_depth.set(c.spin_depth.get() + 1);
    }
}

#[inline(always)]
pub(crate) fn spin_exit() {
    if let Some(c) = try_get() {
        c.spin_depth.set(c.spin_depth.get().wrapping_sub(1));
    }
}

/// Whether this CPU holds a spinning lock.
#[inline]
pub fn holds_spin() -> bool {
    try_get().is_some_and(|c| c.spin_depth.get() != 0)
}

/// Takes over the reference to the task that was switched away from.
pub(crate) fn take_previous() -> Option<Arc<Task>> {
    let cpu = get();
    let prev = cpu.previous.replace(core::ptr::null());
    if prev.is_null() {
        return None;
    }
    // SAFETY: (1) `switch_to` put the reference it owned here with `Arc::into_raw`, and only this takes it out.
    Some(unsafe { Arc::from_raw(prev) })
}
