//! Exception vectors and exceptions from the kernel itself.

use core::arch::global_asm;

use crate::cpu;
use crate::task;
use crate::user::{Trap, decode};

/// Registers at an exception from EL1.
#[repr(C)]
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) x: [u64; 31],
    pub(crate) sp: u64,
    pub(crate) pc: u64,
    pub(crate) pstate: u64,
    pub(crate) esr: u64,
    pub(crate) far: u64,
}

global_asm!(
    r#"
    .macro user_vector kind
    .balign 128
    sub sp, sp, #16
    stp x0, x1, [sp]
    mov x1, #\kind
    b sis_user_return
    .endm

    .macro save_frame
    stp x0, x1, [sp, #0]
    stp x2, x3, [sp, #16]
    stp x4, x5, [sp, #32]
    stp x6, x7, [sp, #48]
    stp x8, x9, [sp, #64]
    stp x10, x11, [sp, #80]
    stp x12, x13, [sp, #96]
    stp x14, x15, [sp, #112]
    stp x16, x17, [sp, #128]
    stp x18, x19, [sp, #144]
    stp x20, x21, [sp, #160]
    stp x22, x23, [sp, #176]
    stp x24, x25, [sp, #192]
    stp x26, x27, [sp, #208]
    stp x28, x29, [sp, #224]
    add x1, sp, #288
    stp x30, x1, [sp, #240]
    mrs x2, elr_el1
    mrs x3, spsr_el1
    stp x2, x3, [sp, #256]
    mrs x2, esr_el1
    mrs x3, far_el1
    stp x2, x3, [sp, #272]
    // a link for backtraces through the interrupted code
    mov x0, sp
    .endm

    .macro restore_frame
    ldp x2, x3, [sp, #256]
    msr elr_el1, x2
    msr spsr_el1, x3
    ldp x2, x3, [sp, #16]
    ldp x4, x5, [sp, #32]
    ldp x6, x7, [sp, #48]
    ldp x8, x9, [sp, #64]
    ldp x10, x11, [sp, #80]
    ldp x12, x13, [sp, #96]
    ldp x14, x15, [sp, #112]
    ldp x16, x17, [sp, #128]
    ldp x18, x19, [sp, #144]
    ldp x20, x21, [sp, #160]
    ldp x22, x23, [sp, #176]
    ldp x24, x25, [sp, #192]
    ldp x26, x27, [sp, #208]
    ldp x28, x29, [sp, #224]
    ldr x30, [sp, #240]
    ldp x0, x1, [sp, #0]
    add sp, sp, #288
    eret
    .endm

    // Stacks are the upper half of 64 KiB slots: with bit 15 of sp clear the stack has overflowed into its guard.
    .macro kernel_vector kind
    .balign 128
    sub sp, sp, #288
    add sp, sp, x0
    sub x0, sp, x0
    tbz x0, #15, 1f
    sub x0, sp, x0
    sub sp, sp, x0
    b sis_kernel_exception_\kind
1:  msr tpidrro_el0, x0
    sub x0, sp, x0
    msr tpidr_el0, x0
    b sis_stack_overflow
    .endm

    .section .vectors.text, "ax"
    .balign 2048
    .global sis_vectors
sis_vectors:
    kernel_vector bad
    kernel_vector bad
    kernel_vector bad
    kernel_vector bad
    kernel_vector sync
    kernel_vector irq
    kernel_vector bad
    kernel_vector bad
    user_vector 0
    user_vector 1
    user_vector 2
    user_vector 3
    user_vector 4
    user_vector 5
    user_vector 6
    user_vector 7

sis_kernel_exception_sync:
    save_frame
    bl sis_kernel_sync
    restore_frame

sis_kernel_exception_irq:
    save_frame
    bl sis_kernel_irq
    restore_frame

sis_kernel_exception_bad:
    save_frame
    bl sis_kernel_bad
    b .

    // tpidr_el0 is the interrupted x0, tpidrro_el0 the overflowed stack pointer - 288; the user's values are lost, but
    // nobody returns from here.
sis_stack_overflow:
    mrs x0, tpidr_el1
    ldr x0, [x0]
    mov sp, x0
    sub sp, sp, #288
    mrs x0, tpidr_el0
    save_frame
    mrs x1, tpidrro_el0
    add x1, x1, #288
    str x1, [sp, #248]
    bl sis_kernel_overflow
    b .
"#
);

#[unsafe(no_mangle)]
extern "C" fn sis_kernel_sync(frame: &mut Frame) {
    let class = frame.esr >> 26;
    if class == 0x25 && crate::mm::usercopy::is_copy(frame.pc as usize) {
        let write = frame.esr & (1 << 6) != 0;
        let mut mended = false;
        if let Trap::PageFault { address, .. } = decode((frame.esr & 0x03ff_ffff) | (0x24 << 26), frame.far as usize)
            && address < crate::mm::USER_END
        {
            let masked = frame.pstate & (1 << 7) != 0;
            if !masked {
                cpu::irq_enable();
            }
            debug_assert!(
                !crate::percpu::holds_spin(),
                "user memory touched while a spinning lock was held"
            );
            if !crate::percpu::holds_spin() && !crate::percpu::in_interrupt() {
                mended = task::scheduler().is_some_and(|s| s.user_fault(address, write));
            }
            cpu::irq_disable();
        }
        if !mended {
            frame.pc = crate::mm::usercopy::fixup() as u64;
        }
        return;
    }
    crate::panic::exception("kernel exception", frame);
}

#[unsafe(no_mangle)]
extern "C" fn sis_kernel_irq(_frame: &mut Frame) {
    crate::irq::handle();
}

#[unsafe(no_mangle)]
extern "C" fn sis_kernel_bad(frame: &mut Frame) {
    crate::panic::exception("unexpected exception", frame);
}

#[unsafe(no_mangle)]
extern "C" fn sis_kernel_overflow(frame: &mut Frame) {
    crate::panic::exception("kernel stack overflow", frame);
}
