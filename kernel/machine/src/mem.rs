//! `memcpy`, `memmove` and `memset` as the compiler calls them.
//!
//! The ones that come with the compiler move a word at a time in targets without floating point; these move 64 bytes an
//! iteration through integer registers. Unaligned accesses are left to the CPU: all memory that Rust code copies is
//! Normal memory and SCTLR_EL1.A is clear. The pieces that are left are moved in order, never twice, so that overlapping
//! moves are right too.

use core::arch::global_asm;

global_asm!(
    r#"
    .section .text.sis_mem, "ax"
    .global memcpy
    .type memcpy, %function
memcpy:
    mov x3, x0
    subs x2, x2, #64
    b.lo 2f
1:  ldp x4, x5, [x1]
    ldp x6, x7, [x1, #16]
    ldp x8, x9, [x1, #32]
    ldp x10, x11, [x1, #48]
    add x1, x1, #64
    stp x4, x5, [x3]
    stp x6, x7, [x3, #16]
    stp x8, x9, [x3, #32]
    stp x10, x11, [x3, #48]
    add x3, x3, #64
    subs x2, x2, #64
    b.hs 1b
    // The low six bits of x2 are what is left.
2:  tbz x2, #5, 3f
    ldp x4, x5, [x1]
    ldp x6, x7, [x1, #16]
    add x1, x1, #32
    stp x4, x5, [x3]
    stp x6, x7, [x3, #16]
    add x3, x3, #32
3:  tbz x2, #4, 4f
    ldp x4, x5, [x1], #16
    stp x4, x5, [x3], #16
4:  tbz x2, #3, 5f
    ldr x4, [x1], #8
    str x4, [x3], #8
5:  tbz x2, #2, 6f
    ldr w4, [x1], #4
    str w4, [x3], #4
6:  tbz x2, #1, 7f
    ldrh w4, [x1], #2
    strh w4, [x3], #2
7:  tbz x2, #0, 8f
    ldrb w4, [x1]
    strb w4, [x3]
8:  ret
    .size memcpy, . - memcpy

    .global memmove
    .type memmove, %function
memmove:
    // Forwards unless the target begins inside the source.
    sub x3, x0, x1
    cmp x3, x2
    b.hs memcpy
    add x1, x1, x2
    add x3, x0, x2
    subs x2, x2, #64
    b.lo 2f
1:  ldp x4, x5, [x1, #-16]
    ldp x6, x7, [x1, #-32]
    ldp x8, x9, [x1, #-48]
    ldp x10, x11, [x1, #-64]
    sub x1, x1, #64
    stp x4, x5, [x3, #-16]
    stp x6, x7, [x3, #-32]
    stp x8, x9, [x3, #-48]
    stp x10, x11, [x3, #-64]
    sub x3, x3, #64
    subs x2, x2, #64
    b.hs 1b
2:  tbz x2, #5, 3f
    ldp x4, x5, [x1, #-16]
    ldp x6, x7, [x1, #-32]
    sub x1, x1, #32
    stp x4, x5, [x3, #-16]
    stp x6, x7, [x3, #-32]
    sub x3, x3, #32
3:  tbz x2, #4, 4f
    ldp x4, x5, [x1, #-16]!
    stp x4, x5, [x3, #-16]!
4:  tbz x2, #3, 5f
    ldr x4, [x1, #-8]!
    str x4, [x3, #-8]!
5:  tbz x2, #2, 6f
    ldr w4, [x1, #-4]!
    str w4, [x3, #-4]!
6:  tbz x2, #1, 7f
    ldrh w4, [x1, #-2]!
    strh w4, [x3, #-2]!
7:  tbz x2, #0, 8f
    ldrb w4, [x1, #-1]
    strb w4, [x3, #-1]
8:  ret
    .size memmove, . - memmove

    .global memset
    .type memset, %function
memset:
    and x1, x1, #0xff
    orr x1, x1, x1, lsl #8
    orr x1, x1, x1, lsl #16
    orr x1, x1, x1, lsl #32
    mov x3, x0
    subs x2, x2, #64
    b.lo 2f
1:  stp x1, x1, [x3]
    stp x1, x1, [x3, #16]
    stp x1, x1, [x3, #32]
    stp x1, x1, [x3, #48]
    add x3, x3, #64
    subs x2, x2, #64
    b.hs 1b
2:  tbz x2, #5, 3f
    stp x1, x1, [x3]
    stp x1, x1, [x3, #16]
    add x3, x3, #32
3:  tbz x2, #4, 4f
    stp x1, x1, [x3], #16
4:  tbz x2, #3, 5f
    str x1, [x3], #8
5:  tbz x2, #2, 6f
    str w1, [x3], #4
6:  tbz x2, #1, 7f
    strh w1, [x3], #2
7:  tbz x2, #0, 8f
    strb w1, [x3]
8:  ret
    .size memset, . - memset
"#
);
