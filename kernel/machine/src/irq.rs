//! Interrupts: from the controller to whoever handles them.

use core::sync::atomic::Ordering;

use sis_hal::{CpuId, IrqController, IrqNumber, Mpidr, SgiTarget, Trigger};
use spin::Once;

use crate::{cpu, percpu, task};

/// The software interrupt that asks a CPU to look at its run queue.
pub const SGI_RESCHEDULE: u8 = 0;
/// The software interrupt that stops a CPU for good (panic).
pub const SGI_STOP: u8 = 1;
/// The EL1 physical timer's private interrupt (INTID 30).
pub const PPI_TIMER: u32 = 30;

const LINES: usize = 1020;

static CONTROLLER: Once<&'static dyn IrqController> = Once::new();
/// A handler, and the next of the same line.
struct Handler {
    call: &'static (dyn Fn() + Sync),
    next: Once<&'static Handler>,
}

static HANDLERS: [Once<&'static Handler>; LINES] = [const { Once::new() }; LINES];

/// Names the interrupt controller; once, at boot, before [`init_cpu`].
pub fn set_controller(c: &'static dyn IrqController) {
    CONTROLLER.call_once(|| c);
}

/// The interrupt controller's name.
pub fn controller_name() -> &'static str {
    CONTROLLER.get().map_or("none", |c| c.name())
}

/// Prepares interrupts and the timer of the calling CPU.
///
/// # Errors
/// What the controller says.
pub fn init_cpu() -> Result<(), sis_hal::IrqError> {
    let Some(c) = CONTROLLER.get() else { return Ok(()) };
    c.init_cpu(cpu::id(), Mpidr::new(cpu::mpidr()))?;
    c.enable(IrqNumber(PPI_TIMER), Trigger::Level, cpu::id())
}

/// Routes a shared interrupt to CPU 0 and calls `handler` for each. Devices may share a line: every handler of it is
/// called, in the order of registration. A handler runs with interrupts masked: short, no
/// sleeping, interrupt-safe locks only.
///
/// # Errors
/// What the controller says.
pub fn register(
    irq: IrqNumber,
    trigger: Trigger,
    handler: &'static (dyn Fn() + Sync),
) -> Result<(), sis_hal::IrqError> {
    let slot = HANDLERS
        .get(irq.0 as usize)
        .ok_or(sis_hal::IrqError::NoSuchInterrupt(irq))?;
    let new: &'static Handler = alloc::boxed::Box::leak(alloc::boxed::Box::new(Handler {
        call: handler,
        next: Once::new(),
    }));
    let mut last = *slot.call_once(|| new);
    while !core::ptr::eq(last, new) {
        last = last.next.call_once(|| new);
    }
    match CONTROLLER.get() {
        Some(c) => c.enable(irq, trigger, CpuId(0)),
        None => Ok(()),
    }
}

/// Asks another CPU to look at its run queue.
pub fn send_reschedule(to: u32) {
    if let Some(c) = CONTROLLER.get() {
        let _ = c.send_sgi(SGI_RESCHEDULE, SgiTarget::Cpu(CpuId(to)));
    }
}

/// Stops every other CPU.
pub(crate) fn stop_others() {
    if let Some(c) = CONTROLLER.get() {
        let _ = c.send_sgi(SGI_STOP, SgiTarget::AllButSelf);
    }
}

/// Handles every pending interrupt; interrupts masked.
pub(crate) fn handle() {
    let Some(controller) = CONTROLLER.get() else { return };
    let this = percpu::get();
    this.irq_depth.set(this.irq_depth.get() + 1);
    let begin = crate::timer::now_ns();
    let ranks = this.ranks_enter_interrupt();
    // Bounded: a line that never goes quiet must not keep the CPU for ever; what is left comes back at once.
    for _ in 0..64 {
        let Some(irq) = controller.acknowledge() else { break };
        this.interrupts.fetch_add(1, Ordering::Relaxed);
        let number = irq.number().0;
        if number == u32::from(SGI_STOP) {
            controller.end_of_interrupt(irq);
            this.online.store(false, Ordering::Release);
            cpu::park_forever();
        }
        if number < 16 || number == PPI_TIMER {
            if number == PPI_TIMER {
                crate::timer::mask();
            }
            if let Some(s) = task::scheduler() {
                s.interrupt(number);
            }
        } else {
            let mut at = HANDLERS.get(number as usize).and_then(Once::get);
            while let Some(handler) = at {
                (handler.call)();
                at = handler.next.get();
            }
        }
        controller.end_of_interrupt(irq);
    }
    let spent = crate::timer::now_ns().saturating_sub(begin);
    this.irq_ns.fetch_add(spent, Ordering::Relaxed);
    this.ranks_leave_interrupt(ranks);
    this.irq_depth.set(this.irq_depth.get() - 1);
}

/// The system-register interface of GICv3, for the driver.
pub struct SystemRegisters;

impl sis_hal::GicCpuInterface for SystemRegisters {
    fn enable(&self) -> bool {
        let sre: u64;
        // SAFETY: (1) ICC_* registers belong to the interrupt controller driver, which calls this once per CPU.
        unsafe {
            core::arch::asm!(
                "mrs {0}, s3_0_c12_c12_5", "orr {0}, {0}, #1", "msr s3_0_c12_c12_5, {0}", "isb",
                "mrs {0}, s3_0_c12_c12_5", out(reg) sre, options(nostack));
        }
        if sre & 1 == 0 {
            return false;
        }
        // SAFETY: (1) as above. ICC_CTLR_EL1.EOImode = 0, ICC_BPR1_EL1 = 0, ICC_IGRPEN1_EL1 = 1.
        unsafe {
            core::arch::asm!(
                "mrs {0}, s3_0_c12_c12_4", "bic {0}, {0}, #2", "msr s3_0_c12_c12_4, {0}",
                "msr s3_0_c12_c12_3, xzr", "mov {0}, #1", "msr s3_0_c12_c12_7, {0}", "isb",
                out(reg) _, options(nostack));
        }
        true
    }

    fn set_priority_mask(&self, mask: u8) {
        // SAFETY: (1) ICC_PMR_EL1.
        unsafe { core::arch::asm!("msr s3_0_c4_c6_0, {0}", "isb", in(reg) u64::from(mask), options(nostack)) };
    }

    fn acknowledge(&self) -> u32 {
        let v: u64;
        // SAFETY: (1) ICC_IAR1_EL1.
        unsafe { core::arch::asm!("mrs {0}, s3_0_c12_c12_0", "dsb sy", out(reg) v, options(nostack)) };
        v as u32
    }

    fn end_of_interrupt(&self, intid: u32) {
        // SAFETY: (1) ICC_EOIR1_EL1.
        unsafe { core::arch::asm!("msr s3_0_c12_c12_1, {0}", "isb", in(reg) u64::from(intid), options(nostack)) };
    }

    fn send_sgi(&self, sgi1r: u64) {
        // SAFETY: (1) ICC_SGI1R_EL1.
        unsafe { core::arch::asm!("dsb ishst", "msr s3_0_c12_c11_5, {0}", "isb", in(reg) sgi1r, options(nostack)) };
    }
}
