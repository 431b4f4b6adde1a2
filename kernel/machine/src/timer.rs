//! The architectural timer: the monotonic clock and this CPU's next interrupt (EL1 physical timer, PPI 30).
//!
//! Time is the virtual counter's, which the vDSO reads too; the timer compares with the physical one. A hypervisor that entered us at EL1 may
//! have set the two apart (CNTVOFF_EL2, Arm ARM D11.2.4), so their distance is measured.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::cpu;

/// Fraction bits of [`MULT`].
pub const SHIFT: u32 = 32;
/// Nanoseconds a counter tick, times 2^[`SHIFT`]. Set before anything asks for the time.
static MULT: AtomicU64 = AtomicU64::new(0);

/// The physical counter less the virtual one.
static OFFSET: AtomicU64 = AtomicU64::new(0);

/// That distance, from a reading of the physical counter between two of the virtual one: none if it may be none, else rather a few ticks too
/// much than too little, so that no interrupt is early.
const fn offset(virtual_before: u64, physical: u64, virtual_after: u64) -> u64 {
    let late = physical.wrapping_sub(virtual_before);
    if late <= virtual_after.wrapping_sub(virtual_before) {
        0
    } else {
        late
    }
}

const _: () = {
    assert!(offset(100, 103, 105) == 0 && offset(100, 100, 100) == 0);
    assert!(offset(100, 1_000_102, 104) == 1_000_002);
    // The virtual one may be ahead, and both wrap.
    assert!(offset(1000, 500, 1004) == 0u64.wrapping_sub(500));
    assert!(offset(u64::MAX - 1, u64::MAX, 1) == 0);
};

/// Reads the counter's frequency.
pub(crate) fn init() {
    let hz = cpu::counter_frequency().max(1);
    MULT.store(
        (((1_000_000_000u128) << SHIFT) / u128::from(hz)) as u64,
        Ordering::Relaxed,
    );
}

/// Nanoseconds a tick times 2^32.
pub fn mult() -> u64 {
    MULT.load(Ordering::Relaxed)
}

/// Nanoseconds of `ticks` of the counter.
#[inline]
pub fn ticks_to_ns(ticks: u64) -> u64 {
    ((u128::from(ticks) * u128::from(MULT.load(Ordering::Relaxed))) >> SHIFT) as u64
}

/// Nanoseconds since the counter started.
#[inline]
pub fn now_ns() -> u64 {
    ticks_to_ns(cpu::counter())
}

/// Sets this CPU's next timer interrupt; `u64::MAX` for none. A time in the past interrupts at once.
pub fn set_deadline_ns(ns: u64) {
    if ns == u64::MAX {
        mask();
        return;
    }
    let mult = u128::from(mult().max(1));
    // Round up: never early.
    let ticks = ((u128::from(ns) << SHIFT).div_ceil(mult)).min(u128::from(u64::MAX >> 1)) as u64;
    let ticks = ticks.wrapping_add(OFFSET.load(Ordering::Relaxed));
    // SAFETY: (1) CNTP_CVAL_EL0 and CNTP_CTL_EL0 (ENABLE, not IMASK) belong to this module.
    unsafe {
        asm!("msr cntp_cval_el0, {0}", "msr cntp_ctl_el0, {1}", "isb", in(reg) ticks, in(reg) 1u64, options(nostack))
    };
}

/// Silences this CPU's timer.
pub(crate) fn mask() {
    // SAFETY: (1) CNTP_CTL_EL0.IMASK.
    unsafe { asm!("msr cntp_ctl_el0, {0}", "isb", in(reg) 2u64, options(nostack)) };
}

/// Lets EL0 read the counters (CNTKCTL_EL1.EL0VCTEN, EL0PCTEN), for the vDSO.
pub(crate) fn init_cpu() {
    // SAFETY: (1) CNTKCTL_EL1: counters readable, timers not.
    unsafe { asm!("msr cntkctl_el1, {0}", in(reg) 3u64, options(nostack)) };
    let before = cpu::counter();
    let physical: u64;
    // SAFETY: (1) reads a counter; the barrier keeps it from being read early.
    unsafe { asm!("isb", "mrs {0}, cntpct_el0", out(reg) physical, options(nomem, nostack)) };
    OFFSET.store(offset(before, physical, cpu::counter()), Ordering::Relaxed);
    mask();
}

/// The monotonic clock, for drivers.
pub struct MonotonicClock;

impl sis_hal::Clock for MonotonicClock {
    fn now_ns(&self) -> u64 {
        now_ns()
    }
}
