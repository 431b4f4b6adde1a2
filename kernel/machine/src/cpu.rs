//! The executing processor: interrupt masking, identification, barriers, counters.

use core::arch::asm;

use sis_hal::CpuId;

/// Most processors the kernel runs on.
pub const MAX_CPUS: usize = 8;

/// Interrupt mask as it was before [`irq_save`].
#[derive(Clone, Copy, Debug)]
pub struct IrqState(u64);

/// Masks interrupts on this CPU and says how they were.
#[inline(always)]
pub fn irq_save() -> IrqState {
    let daif: u64;
    // SAFETY: (1) masking interrupts has no effect on memory that Rust can see.
    unsafe { asm!("mrs {0}, daif", "msr daifset, #3", out(reg) daif, options(nostack)) };
    IrqState(daif)
}

/// Puts the interrupt mask back.
#[inline(always)]
pub fn irq_restore(state: IrqState) {
    // SAFETY: (1) as for `irq_save`; the value came from the same register.
    unsafe { asm!("msr daif, {0}", in(reg) state.0, options(nostack)) };
}

/// Unmasks interrupts.
#[inline(always)]
pub fn irq_enable() {
    // SAFETY: (1) as for `irq_save`.
    unsafe { asm!("msr daifclr, #3", options(nostack)) };
}

/// Masks interrupts.
#[inline(always)]
pub fn irq_disable() {
    // SAFETY: (1) as for `irq_save`.
    unsafe { asm!("msr daifset, #3", options(nostack)) };
}

/// Whether interrupts are masked on this CPU.
#[inline(always)]
pub fn irqs_masked() -> bool {
    let daif: u64;
    // SAFETY: (1) reads a register.
    unsafe { asm!("mrs {0}, daif", out(reg) daif, options(nomem, nostack)) };
    daif & (1 << 7) != 0
}

/// Sleeps until an interrupt is pending; returns with interrupts masked as before. Call with interrupts masked, so that
/// one that comes between the caller's last look and this call still ends the sleep.
#[inline(always)]
pub fn wait_for_interrupt() {
    // SAFETY: (1) `wfi` is a hint.
    unsafe { asm!("dsb sy", "wfi", options(nostack)) };
}

/// Stops this CPU for good.
pub fn park_forever() -> ! {
    irq_disable();
    loop {
        // SAFETY: (1) `wfi` is a hint.
        unsafe { asm!("wfi", options(nomem, nostack)) };
    }
}

macro_rules! sysreg_read {
    ($(#[$doc:meta])* $name:ident, $reg:literal) => {
        $(#[$doc])*
        #[inline(always)]
        pub fn $name() -> u64 {
            let value: u64;
            // SAFETY: (1) reads an identification, counter or fault register; no side effects.
            unsafe { asm!(concat!("mrs {0}, ", $reg), out(reg) value, options(nomem, nostack)) };
            value
        }
    };
}

sysreg_read!(
    /// Affinity of this CPU (Arm ARM, MPIDR_EL1), without the flag bits.
    mpidr_raw, "mpidr_el1");
sysreg_read!(
    /// Main ID register.
    midr, "midr_el1");
sysreg_read!(
    /// System control register.
    sctlr, "sctlr_el1");
sysreg_read!(
    /// Syndrome of the last exception to EL1.
    esr, "esr_el1");
sysreg_read!(
    /// Fault address of the last exception to EL1.
    far, "far_el1");
sysreg_read!(
    /// Frequency of the system counter in Hz.
    counter_frequency, "cntfrq_el0");
sysreg_read!(
    /// Current exception level register (level in bits 3:2).
    current_el, "currentel");
sysreg_read!(
    /// Instruction set attributes 0.
    id_aa64isar0, "id_aa64isar0_el1");
sysreg_read!(
    /// Instruction set attributes 1.
    id_aa64isar1, "id_aa64isar1_el1");
sysreg_read!(
    /// Processor features 0.
    id_aa64pfr0, "id_aa64pfr0_el1");
sysreg_read!(
    /// Memory model features 0.
    id_aa64mmfr0, "id_aa64mmfr0_el1");
sysreg_read!(
    /// Memory model features 1.
    id_aa64mmfr1, "id_aa64mmfr1_el1");
sysreg_read!(
    /// Cache type.
    ctr, "ctr_el0");

/// Affinity fields of MPIDR, the form the device tree's cpu `reg` has.
#[inline(always)]
pub fn mpidr() -> u64 {
    mpidr_raw() & 0xff_00ff_ffff
}

/// The virtual counter: what the vDSO reads. Runs at [`counter_frequency`], the same on every CPU.
#[inline(always)]
pub fn counter() -> u64 {
    let value: u64;
    // SAFETY: (1) reads a counter; the barrier keeps it from being read early.
    unsafe { asm!("isb", "mrs {0}, cntvct_el0", out(reg) value, options(nomem, nostack)) };
    value
}

/// This CPU's number.
#[inline]
pub fn id() -> CpuId {
    CpuId(crate::percpu::get().id)
}

/// Orders this CPU's earlier memory accesses before its later ones, for devices too.
#[inline(always)]
pub fn barrier_device() {
    // SAFETY: (1) a barrier.
    unsafe { asm!("dsb sy", options(nostack)) };
}

/// A hardware random number where the CPU has FEAT_RNG (RNDR).
pub fn random_u64() -> Option<u64> {
    if (id_aa64isar0() >> 60) & 0xf == 0 {
        return None;
    }
    for _ in 0..8 {
        let value: u64;
        let ok: u64;
        // SAFETY: (1) RNDR (S3_3_C2_C4_0) exists: the feature field says so.
        unsafe { asm!("mrs {0}, s3_3_c2_c4_0", "cset {1}, ne", out(reg) value, out(reg) ok, options(nomem, nostack)) };
        if ok != 0 {
            return Some(value);
        }
    }
    None
}
