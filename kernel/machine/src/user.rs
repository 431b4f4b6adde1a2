//! Running user code.
//!
//! A user thread's task calls [`UserContext::run`]: it enters EL0 and returns when the thread traps. Integer registers
//! live in the [`UserContext`]; FP/SIMD registers and the thread pointer stay in the CPU while the task runs and are
//! saved when it is switched away from ([`fp_snapshot`] reads them at any time).

use core::arch::global_asm;
use core::sync::atomic::Ordering;

use crate::task::{self, Task};
use crate::{cpu, percpu};

/// Integer registers of a user thread.
#[repr(C)]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserContext {
    /// x0..x30.
    pub x: [u64; 31],
    /// Stack pointer.
    pub sp: u64,
    /// Program counter.
    pub pc: u64,
    /// Saved program status: only the condition flags (NZCV) and, for single stepping, nothing else are the user's.
    pub pstate: u64,
}

/// The bits of PSTATE that a user may set: N, Z, C, V, and BTYPE/SSBS/DIT where they exist are not offered.
const PSTATE_USER: u64 = 0xf000_0000;

/// Why a user thread came back to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trap {
    /// `svc #0`.
    Syscall,
    /// An interrupt; it has been handled.
    Interrupt,
    /// A memory access that the page tables refuse.
    PageFault {
        /// The address (FAR_EL1).
        address: usize,
        /// A store.
        write: bool,
        /// An instruction fetch.
        exec: bool,
        /// The page is mapped but forbids the access (permission fault); else nothing is mapped.
        permission: bool,
    },
    /// An access flag or alignment fault on data, or a misaligned PC or SP.
    Alignment {
        /// The address, where known.
        address: usize,
    },
    /// An undefined or forbidden instruction.
    Undefined {
        /// Exception syndrome.
        esr: u64,
    },
    /// `brk #imm`.
    Breakpoint {
        /// The immediate.
        imm: u16,
    },
    /// A floating-point exception that was unmasked.
    FloatingPoint,
    /// A synchronous external abort, or one on a table walk.
    BusError {
        /// The address, where known.
        address: usize,
    },
}

/// FP/SIMD registers.
#[repr(C, align(16))]
#[derive(Clone, Default, PartialEq, Eq)]
pub struct FpState {
    /// v0..v31.
    pub v: [u128; 32],
    /// Control register.
    pub fpcr: u64,
    /// Status register.
    pub fpsr: u64,
}

/// What a task keeps of its user thread besides the integer registers.
pub(crate) struct UserState {
    fp: FpState,
    /// FP registers were loaded for this task on CPU `fp_cpu` and may be newer than `fp`.
    fp_live: bool,
    fp_cpu: u32,
    tls: u64,
    is_user: bool,
}

impl UserState {
    pub(crate) const fn new() -> Self {
        Self {
            fp: FpState {
                v: [0; 32],
                fpcr: 0,
                fpsr: 0,
            },
            fp_live: false,
            fp_cpu: u32::MAX,
            tls: 0,
            is_user: false,
        }
    }
}

/// Saves the user registers of the task that leaves this CPU.
///
/// # Safety
/// (1) `task` is this CPU's running task and interrupts are masked.
pub(crate) unsafe fn switch_out(task: &Task) {
    // SAFETY: (1) only the CPU that the task is on touches its user state.
    let user = unsafe { &mut *task.user.get() };
    if user.is_user {
        save(user);
        user.tls = read_tls();
    }
}

/// Loads the thread pointer of the task that comes to this CPU; FP registers wait for its return to user mode.
///
/// # Safety
/// (1) `task` is about to be this CPU's running task and interrupts are masked.
pub(crate) unsafe fn switch_in(task: &Task) {
    // SAFETY: (1) as in `switch_out`.
    let user = unsafe { &mut *task.user.get() };
    if user.is_user {
        write_tls(user.tls);
    }
}

fn save(user: &mut UserState) {
    if user.fp_live {
        // SAFETY: (1) `fp` is writable and large enough.
        unsafe { sis_fp_save(&mut user.fp) };
        user.fp_live = false;
    }
}

#[inline]
fn read_tls() -> u64 {
    let v: u64;
    // SAFETY: (1) TPIDR_EL0 is the user's own.
    unsafe { core::arch::asm!("mrs {0}, tpidr_el0", out(reg) v, options(nomem, nostack)) };
    v
}

#[inline]
fn write_tls(v: u64) {
    // SAFETY: (1) TPIDR_EL0 is the user's own.
    unsafe { core::arch::asm!("msr tpidr_el0, {0}", in(reg) v, options(nomem, nostack)) };
}

/// The running thread's FP/SIMD registers.
pub fn fp_snapshot() -> FpState {
    let task = task::current();
    let irq = cpu::irq_save();
    // SAFETY: (1) the running task's own state, interrupts masked.
    let user = unsafe { &mut *task.user.get() };
    if user.fp_live {
        // SAFETY: (1) `fp` is writable and large enough.
        unsafe { sis_fp_save(&mut user.fp) };
    }
    let out = user.fp.clone();
    cpu::irq_restore(irq);
    out
}

/// Replaces the running thread's FP/SIMD registers.
pub fn fp_replace(state: &FpState) {
    let task = task::current();
    let irq = cpu::irq_save();
    // SAFETY: (1) the running task's own state, interrupts masked.
    let user = unsafe { &mut *task.user.get() };
    user.fp = state.clone();
    user.fp_live = false;
    percpu::get().fp_owner.store(core::ptr::null_mut(), Ordering::Relaxed);
    cpu::irq_restore(irq);
}

/// The running thread's thread pointer (TPIDR_EL0).
pub fn tls() -> u64 {
    let task = task::current();
    // SAFETY: (1) the running task's own state.
    let user = unsafe { &*task.user.get() };
    if user.is_user { read_tls() } else { user.tls }
}

/// Sets the running thread's thread pointer.
pub fn set_tls(value: u64) {
    let task = task::current();
    let irq = cpu::irq_save();
    // SAFETY: (1) the running task's own state.
    let user = unsafe { &mut *task.user.get() };
    user.is_user = true;
    user.tls = value;
    write_tls(value);
    cpu::irq_restore(irq);
}

impl UserContext {
    /// Runs the thread in EL0 until it traps. Interrupts are handled inside and enabled on return.
    ///
    /// The current address space ([`crate::mm::uspace::SpaceHandle::activate`]) must be the thread's.
    pub fn run(&mut self) -> Trap {
        self.pstate &= PSTATE_USER;
        cpu::irq_disable();
        let this = percpu::get();
        let task = this.current_ptr();
        // SAFETY: (1) the running task's own state, interrupts masked.
        let user = unsafe { &mut *(*task).user.get() };
        if !user.is_user {
            user.is_user = true;
            write_tls(user.tls);
        }
        if !user.fp_live {
            let owner = this.fp_owner.load(Ordering::Relaxed);
            if !core::ptr::eq(owner, task) || user.fp_cpu != this.id {
                // SAFETY: (1) `fp` holds a full set of registers; the ones in the CPU belong to nobody: their owner
                // saved them when it left.
                unsafe { sis_fp_load(&user.fp) };
                this.fp_owner.store(task.cast_mut(), Ordering::Relaxed);
                user.fp_cpu = this.id;
            }
            user.fp_live = true;
        }
        // SAFETY: (1) the context is exclusively ours; (2) EL0 runs with the user page tables only and comes back
        // through the vectors to this very stack; (3) PSTATE says EL0t with nothing but flags.
        let kind = unsafe { sis_user_enter(self) };
        match kind {
            0 => {
                let esr = cpu::esr();
                // EC of SVC from AArch64.
                if esr >> 26 == 0x15 {
                    cpu::irq_enable();
                    return Trap::Syscall;
                }
                let far = cpu::far();
                cpu::irq_enable();
                decode(esr, far as usize)
            }
            1 => {
                crate::irq::handle();
                cpu::irq_enable();
                Trap::Interrupt
            }
            _ => panic!(
                "unexpected exception {kind} from EL0, syndrome {:#x}, pc {:#x}",
                cpu::esr(),
                self.pc
            ),
        }
    }
}

/// Class of a fault status code (Arm ARM, ESR_EL1 ISS encoding for aborts).
pub(crate) fn decode(esr: u64, far: usize) -> Trap {
    let class = esr >> 26;
    let status = esr & 0x3f;
    match class {
        0x20 | 0x24 => match status {
            0x04..=0x0f => Trap::PageFault {
                address: far,
                // WnR is set for cache maintenance too (CM), which needs no more than a load.
                write: class == 0x24 && esr & (1 << 6) != 0 && esr & (1 << 8) == 0,
                exec: class == 0x20,
                permission: status >= 0x0c,
            },
            0x00..=0x03 => Trap::PageFault {
                address: far,
                write: false,
                exec: class == 0x20,
                permission: false,
            },
            0x21 => Trap::Alignment { address: far },
            _ => Trap::BusError { address: far },
        },
        0x22 => Trap::Alignment { address: far },
        0x26 => Trap::Alignment { address: far },
        0x2c => Trap::FloatingPoint,
        0x3c => Trap::Breakpoint { imm: esr as u16 },
        _ => Trap::Undefined { esr },
    }
}

unsafe extern "C" {
    fn sis_user_enter(ctx: *mut UserContext) -> u64;
    fn sis_fp_save(to: *mut FpState);
    fn sis_fp_load(from: *const FpState);
}

global_asm!(
    r#"
    .section .text.sis_user, "ax"
    // u64 sis_user_enter(ctx): enters EL0; the vectors come back through sis_user_return.
    // Frame on the kernel stack, 112 bytes: x19..x30 at 0, ctx at 96.
    .global sis_user_enter
    .type sis_user_enter, %function
sis_user_enter:
    sub sp, sp, #112
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    str x0, [sp, #96]
    ldr x1, [x0, #248]
    msr sp_el0, x1
    ldp x1, x2, [x0, #256]
    msr elr_el1, x1
    msr spsr_el1, x2
    ldp x2, x3, [x0, #16]
    ldp x4, x5, [x0, #32]
    ldp x6, x7, [x0, #48]
    ldp x8, x9, [x0, #64]
    ldp x10, x11, [x0, #80]
    ldp x12, x13, [x0, #96]
    ldp x14, x15, [x0, #112]
    ldp x16, x17, [x0, #128]
    ldp x18, x19, [x0, #144]
    ldp x20, x21, [x0, #160]
    ldp x22, x23, [x0, #176]
    ldp x24, x25, [x0, #192]
    ldp x26, x27, [x0, #208]
    ldp x28, x29, [x0, #224]
    ldr x30, [x0, #240]
    ldp x0, x1, [x0]
    eret
    .size sis_user_enter, . - sis_user_enter

    // From the vectors: x0, x1 saved at [sp], x1 = kind. sp is 16 below the frame.
    .global sis_user_return
sis_user_return:
    ldr x0, [sp, #112]
    stp x2, x3, [x0, #16]
    stp x4, x5, [x0, #32]
    stp x6, x7, [x0, #48]
    stp x8, x9, [x0, #64]
    stp x10, x11, [x0, #80]
    stp x12, x13, [x0, #96]
    stp x14, x15, [x0, #112]
    stp x16, x17, [x0, #128]
    stp x18, x19, [x0, #144]
    stp x20, x21, [x0, #160]
    stp x22, x23, [x0, #176]
    stp x24, x25, [x0, #192]
    stp x26, x27, [x0, #208]
    stp x28, x29, [x0, #224]
    ldp x2, x3, [sp], #16
    stp x2, x3, [x0, #0]
    mrs x4, sp_el0
    stp x30, x4, [x0, #240]
    mrs x2, elr_el1
    mrs x3, spsr_el1
    stp x2, x3, [x0, #256]
    mov x0, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    add sp, sp, #112
    ret

    .arch_extension fp
    .arch_extension simd
    .global sis_fp_save
sis_fp_save:
    stp q0, q1, [x0, #0]
    stp q2, q3, [x0, #32]
    stp q4, q5, [x0, #64]
    stp q6, q7, [x0, #96]
    stp q8, q9, [x0, #128]
    stp q10, q11, [x0, #160]
    stp q12, q13, [x0, #192]
    stp q14, q15, [x0, #224]
    stp q16, q17, [x0, #256]
    stp q18, q19, [x0, #288]
    stp q20, q21, [x0, #320]
    stp q22, q23, [x0, #352]
    stp q24, q25, [x0, #384]
    stp q26, q27, [x0, #416]
    stp q28, q29, [x0, #448]
    stp q30, q31, [x0, #480]
    mrs x1, fpcr
    mrs x2, fpsr
    str x1, [x0, #512]
    str x2, [x0, #520]
    ret

    .global sis_fp_load
sis_fp_load:
    ldp q0, q1, [x0, #0]
    ldp q2, q3, [x0, #32]
    ldp q4, q5, [x0, #64]
    ldp q6, q7, [x0, #96]
    ldp q8, q9, [x0, #128]
    ldp q10, q11, [x0, #160]
    ldp q12, q13, [x0, #192]
    ldp q14, q15, [x0, #224]
    ldp q16, q17, [x0, #256]
    ldp q18, q19, [x0, #288]
    ldp q20, q21, [x0, #320]
    ldp q22, q23, [x0, #352]
    ldp q24, q25, [x0, #384]
    ldp q26, q27, [x0, #416]
    ldp q28, q29, [x0, #448]
    ldp q30, q31, [x0, #480]
    ldr x1, [x0, #512]
    ldr x2, [x0, #520]
    msr fpcr, x1
    msr fpsr, x2
    ret
"#
);
