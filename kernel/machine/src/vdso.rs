//! The vDSO: clock_gettime and its like without a system call, and the signal trampoline.
//!
//! The code is assembled here, wrapped in an ELF image by [`sis_algo::vdso`], and mapped into every process after a
//! read-only page of data (`vvar`): u64 at 8: nanoseconds a tick x 2^32; i64 at 16: wall clock minus monotonic clock.

use alloc::vec::Vec;
use core::arch::global_asm;
use core::sync::atomic::Ordering;

use spin::Once;

use crate::mm::PAGE_SIZE;
use crate::mm::frames::Frame;

/// The pages that every process maps, and where the trampoline is.
pub struct Vdso {
    /// Data page, mapped read-only below the code.
    pub vvar: Frame,
    /// The ELF image, mapped readable and executable.
    pub pages: Vec<Frame>,
    /// Offset of `__kernel_rt_sigreturn` in the image.
    pub sigreturn: usize,
}

static VDSO: Once<Vdso> = Once::new();

unsafe extern "C" {
    static __vdso_start: u8;
    static sis_vdso_gettime: u8;
    static sis_vdso_gettimeofday: u8;
    static sis_vdso_getres: u8;
    static sis_vdso_sigreturn: u8;
    static sis_vdso_end: u8;
}

/// Builds the pages; once, at boot, when the timer runs.
pub(crate) fn init() {
    let start = &raw const __vdso_start as usize;
    let end = &raw const sis_vdso_end as usize;
    let at = |p: *const u8| p as usize - start;
    let (gettime, gettimeofday, getres, sigreturn) = (
        at(&raw const sis_vdso_gettime),
        at(&raw const sis_vdso_gettimeofday),
        at(&raw const sis_vdso_getres),
        at(&raw const sis_vdso_sigreturn),
    );
    // SAFETY: (1) between the linker's symbols, read-only.
    let code = unsafe { core::slice::from_raw_parts(start as *const u8, end - start) };
    let symbols = [
        ("__kernel_clock_gettime", gettime, gettimeofday - gettime),
        ("__kernel_gettimeofday", gettimeofday, getres - gettimeofday),
        ("__kernel_clock_getres", getres, sigreturn - getres),
        ("__kernel_rt_sigreturn", sigreturn, code.len() - sigreturn),
    ];
    let Ok(image) = sis_algo::vdso::build(code, &symbols) else {
        return;
    };
    // The code finds the data page by rounding its own address down: it must be in the first page.
    if image.code_offset + code.len() > PAGE_SIZE {
        return;
    }
    let Some(vvar) = Frame::alloc_zeroed() else { return };
    vvar.store_u64(8, crate::timer::mult(), Ordering::Relaxed);
    let mut pages = Vec::new();
    for part in image.image.chunks(PAGE_SIZE) {
        let Some(frame) = Frame::alloc_zeroed() else { return };
        frame.write(0, part);
        pages.push(frame);
    }
    VDSO.call_once(|| Vdso {
        vvar,
        pages,
        sigreturn: image.code_offset + sigreturn,
    });
}

/// The pages.
pub fn get() -> Option<&'static Vdso> {
    VDSO.get()
}

/// The wall clock is the monotonic one plus this.
pub fn set_wall_offset_ns(ns: i64) {
    if let Some(v) = VDSO.get() {
        v.vvar.store_u64(16, ns as u64, Ordering::Relaxed);
    }
}

global_asm!(
    r#"
    .section .vdso.text, "ax"
    .balign 16
    // int __kernel_clock_gettime(clockid_t w0, struct timespec *x1)
    .global sis_vdso_gettime
sis_vdso_gettime:
    cmp w0, #7
    b.hi 9f
    mov w2, #1
    lsl w2, w2, w0
    mov w3, #0xf3                    // REALTIME, MONOTONIC, MONOTONIC_RAW, both COARSE, BOOTTIME
    tst w2, w3
    b.eq 9f
    adr x3, .
    and x3, x3, #~0xfff
    sub x3, x3, #4096
    ldr x4, [x3, #8]
    isb
    mrs x5, cntvct_el0
    mul x6, x5, x4
    umulh x7, x5, x4
    lsr x6, x6, #32
    orr x6, x6, x7, lsl #32
    mov w4, #0x21                    // REALTIME, REALTIME_COARSE
    tst w2, w4
    b.eq 1f
    ldr x7, [x3, #16]
    add x6, x6, x7
1:  mov w7, #0xca00
    movk w7, #0x3b9a, lsl #16
    udiv x8, x6, x7
    msub x9, x8, x7, x6
    stp x8, x9, [x1]
    mov w0, #0
    ret
9:  mov x8, #113
    svc #0
    ret
    .balign 16
    // int __kernel_gettimeofday(struct timeval *x0, struct timezone *x1)
    .global sis_vdso_gettimeofday
sis_vdso_gettimeofday:
    cbnz x1, 9f
    cbz x0, 8f
    adr x3, .
    and x3, x3, #~0xfff
    sub x3, x3, #4096
    ldr x4, [x3, #8]
    isb
    mrs x5, cntvct_el0
    mul x6, x5, x4
    umulh x7, x5, x4
    lsr x6, x6, #32
    orr x6, x6, x7, lsl #32
    ldr x7, [x3, #16]
    add x6, x6, x7
    mov x7, #1000
    udiv x6, x6, x7
    mov w7, #0x4240
    movk w7, #0xf, lsl #16
    udiv x8, x6, x7
    msub x9, x8, x7, x6
    stp x8, x9, [x0]
8:  mov w0, #0
    ret
9:  mov x8, #169
    svc #0
    ret
    .balign 16
    // int __kernel_clock_getres(clockid_t w0, struct timespec *x1)
    .global sis_vdso_getres
sis_vdso_getres:
    mov x8, #114
    svc #0
    ret
    .balign 16
    nop
    .global sis_vdso_sigreturn
sis_vdso_sigreturn:
    mov x8, #139
    svc #0
    .balign 16
    .global sis_vdso_end
sis_vdso_end:
"#
);
