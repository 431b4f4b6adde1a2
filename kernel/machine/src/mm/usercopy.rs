//! Copies from and to user memory.
//!
//! Addresses are checked against [`USER_END`]; a page that is not there faults, the scheduler above mends the fault (or
//! not), and the copy goes on (or answers [`Fault`]). Where the CPU has PAN, user memory is accessible to the kernel
//! inside these functions only.

use core::arch::global_asm;
use core::sync::atomic::{AtomicBool, Ordering};

use super::frames::Frame;
use super::{PAGE_SIZE, USER_END};
use crate::cpu;

/// The user address is not mapped, or not so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault;

static HAS_PAN: AtomicBool = AtomicBool::new(false);

/// Looks whether this CPU has PAN, and closes user memory.
pub(crate) fn init_cpu() {
    if (cpu::id_aa64mmfr1() >> 20) & 0xf != 0 {
        HAS_PAN.store(true, Ordering::Relaxed);
        close();
    }
}

#[inline(always)]
fn open() {
    if HAS_PAN.load(Ordering::Relaxed) {
        // SAFETY: (1) MSR PAN, #0: user memory becomes accessible until `close`.
        unsafe { core::arch::asm!(".inst 0xd500409f", options(nostack)) };
    }
}

#[inline(always)]
fn close() {
    if HAS_PAN.load(Ordering::Relaxed) {
        // SAFETY: (1) MSR PAN, #1.
        unsafe { core::arch::asm!(".inst 0xd500419f", options(nostack)) };
    }
}

#[inline]
fn check(address: usize, len: usize) -> Result<(), Fault> {
    match address.checked_add(len) {
        Some(end) if end <= USER_END => Ok(()),
        _ => Err(Fault),
    }
}

/// Copies `len` bytes between kernel and user; one side is user memory.
fn copy(to: *mut u8, from: *const u8, len: usize) -> Result<(), Fault> {
    open();
    // SAFETY: (1) the kernel side is valid for `len` bytes (callers); (2) the user side lies below USER_END, and faults
    // there end in the fixup.
    let left = unsafe { sis_user_copy(to, from, len) };
    close();
    if left == 0 { Ok(()) } else { Err(Fault) }
}

/// Copies from user memory.
pub fn copy_in(address: usize, out: &mut [u8]) -> Result<(), Fault> {
    check(address, out.len())?;
    copy(out.as_mut_ptr(), address as *const u8, out.len())
}

/// Copies to user memory.
pub fn copy_out(address: usize, data: &[u8]) -> Result<(), Fault> {
    check(address, data.len())?;
    copy(address as *mut u8, data.as_ptr(), data.len())
}

/// Copies part of a frame to user memory; panics beyond the page.
pub fn copy_out_frame(address: usize, frame: &Frame, offset: usize, len: usize) -> Result<(), Fault> {
    assert!(offset <= PAGE_SIZE && len <= PAGE_SIZE - offset);
    check(address, len)?;
    copy(address as *mut u8, frame.ptr().wrapping_add(offset), len)
}

/// Copies user memory into part of a frame; panics beyond the page.
pub fn copy_in_frame(address: usize, frame: &Frame, offset: usize, len: usize) -> Result<(), Fault> {
    assert!(offset <= PAGE_SIZE && len <= PAGE_SIZE - offset);
    check(address, len)?;
    copy(frame.ptr().wrapping_add(offset), address as *const u8, len)
}

/// Reads an aligned user word in one access.
pub fn load_u32(address: usize) -> Result<u32, Fault> {
    check(address, 4)?;
    if !address.is_multiple_of(4) {
        return Err(Fault);
    }
    open();
    // SAFETY: (1) as for `copy`.
    let (value, failed) = unsafe { pair(sis_user_load(address)) };
    close();
    if failed == 0 { Ok(value) } else { Err(Fault) }
}

/// Compares an aligned user word with `old` and, when equal, makes it `new`, in one step; answers what was there.
pub fn cmpxchg_u32(address: usize, old: u32, new: u32) -> Result<u32, Fault> {
    check(address, 4)?;
    if !address.is_multiple_of(4) {
        return Err(Fault);
    }
    open();
    // SAFETY: (1) as for `copy`.
    let (value, failed) = unsafe { pair(sis_user_cmpxchg(address, old, new)) };
    close();
    if failed == 0 { Ok(value) } else { Err(Fault) }
}

/// Low half value, high half failure.
fn pair(v: u64) -> (u32, u32) {
    (v as u32, (v >> 32) as u32)
}

/// Whether `pc` is inside the copy routines.
pub(crate) fn is_copy(pc: usize) -> bool {
    (&raw const sis_user_copy_start as usize..&raw const sis_user_copy_fixup as usize).contains(&pc)
}

/// Where a copy that faulted goes on.
pub(crate) fn fixup() -> usize {
    &raw const sis_user_copy_fixup as usize
}

unsafe extern "C" {
    static sis_user_copy_start: u8;
    static sis_user_copy_fixup: u8;
    fn sis_user_copy(to: *mut u8, from: *const u8, len: usize) -> usize;
    fn sis_user_load(at: usize) -> u64;
    fn sis_user_cmpxchg(at: usize, old: u32, new: u32) -> u64;
}

global_asm!(
    r#"
    .section .text.sis_user_copy, "ax"
    .balign 64
sis_user_copy_start:
    // x0 to, x1 from, x2 bytes; answers 0, or not 0 after a fault
    .global sis_user_copy
sis_user_copy:
    cmp x2, #64
    b.lo 2f
1:  ldp x3, x4, [x1]
    ldp x5, x6, [x1, #16]
    ldp x7, x8, [x1, #32]
    ldp x9, x10, [x1, #48]
    add x1, x1, #64
    stp x3, x4, [x0]
    stp x5, x6, [x0, #16]
    stp x7, x8, [x0, #32]
    stp x9, x10, [x0, #48]
    add x0, x0, #64
    sub x2, x2, #64
    cmp x2, #64
    b.hs 1b
2:  cmp x2, #8
    b.lo 4f
3:  ldr x3, [x1], #8
    sub x2, x2, #8
    str x3, [x0], #8
    cmp x2, #8
    b.hs 3b
4:  tbz x2, #2, 5f
    ldr w3, [x1], #4
    str w3, [x0], #4
5:  tbz x2, #1, 6f
    ldrh w3, [x1], #2
    strh w3, [x0], #2
6:  tbz x2, #0, 7f
    ldrb w3, [x1]
    strb w3, [x0]
7:  mov x0, #0
    ret

    .global sis_user_load
sis_user_load:
    ldr w0, [x0]
    ret

    .global sis_user_cmpxchg
sis_user_cmpxchg:
1:  ldaxr w3, [x0]
    cmp w3, w1
    b.ne 2f
    stlxr w4, w2, [x0]
    cbnz w4, 1b
    dmb ish
    mov w0, w3
    ret
2:  clrex
    mov w0, w3
    ret
    .global sis_user_copy_fixup
sis_user_copy_fixup:
    mov x0, #-1
    ret
"#
);
