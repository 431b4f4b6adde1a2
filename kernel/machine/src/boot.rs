//! First instructions: image header, exception levels, page tables for the kernel image, MMU on.
//!
//! The image is an arm64 Linux `Image` (Documentation/arch/arm64/booting.rst): position independent until the MMU is on,
//! entered with the device tree's physical address in x0, MMU and caches off, at EL1, EL2 or (some loaders) EL3.
//!
//! The first page tables map, in TTBR1, the image at its link address, each part with its own permissions (nothing is
//! writable and executable), and the device tree read-only; in TTBR0, the 2 MiB around this code read-only and
//! executable, for the moment in which the MMU comes on. The linear map is added later by [`crate::mm::kspace`].

use core::arch::global_asm;

/// Secondary CPUs find their stack here by MPIDR.
#[repr(C)]
pub(crate) struct SecondarySlot {
    pub(crate) mpidr: core::sync::atomic::AtomicU64,
    pub(crate) stack_top: core::sync::atomic::AtomicU64,
    pub(crate) id: core::sync::atomic::AtomicU64,
}

/// Slots of the CPUs that are being started; the assembly walks them.
#[unsafe(no_mangle)]
pub(crate) static SIS_SECONDARIES: [SecondarySlot; crate::cpu::MAX_CPUS] = [const {
    SecondarySlot {
        mpidr: core::sync::atomic::AtomicU64::new(u64::MAX),
        stack_top: core::sync::atomic::AtomicU64::new(0),
        id: core::sync::atomic::AtomicU64::new(0),
    }
}; crate::cpu::MAX_CPUS];

/// What the boot code noted before Rust ran: device tree address, entry level, counter at entry, counter before and
/// after the MMU came on, physical address of the image.
#[repr(C)]
pub(crate) struct BootNotes {
    pub(crate) fdt: u64,
    pub(crate) entry_el: u64,
    pub(crate) counter_entry: u64,
    pub(crate) counter_mmu_before: u64,
    pub(crate) counter_mmu_after: u64,
    pub(crate) image_pa: u64,
}

unsafe extern "C" {
    pub(crate) static sis_boot_notes: BootNotes;
    pub(crate) static sis_kernel_l0: u64;
    pub(crate) static sis_boot_stack_bottom: u8;
    pub(crate) static sis_secondary_entry: u8;
    /// The board's `__early_uart`; 0 for none.
    pub(crate) static sis_early_uart: u64;
}

global_asm!(
    r#"
    .set DEVICE_ATTR, 0
    .set PTE_TABLE, 3
    // AF | inner shareable | normal memory (index 1)
    .set PTE_NORMAL, (1 << 10) | (3 << 8) | (1 << 2)
    .set PTE_RO, (1 << 7)
    .equ SCTLR_OFF, 0x30d00800

    .section .head.text, "ax"
    .global _start
_start:
    b primary_entry
    .long 0
    .quad 0                          // text_offset
    .quad __image_size               // image_size
    .quad 0xa                        // little endian, 4 KiB pages, anywhere
    .quad 0
    .quad 0
    .quad 0
    .ascii "ARM\x64"
    .long 0

    // Prints the byte in w9 on the early PL011; clobbers x10-x12.
early_putc:
    adrp x10, early_uart
    add x10, x10, :lo12:early_uart
    ldr x10, [x10]
    mov w11, #0x10000
1:  ldr w12, [x10, #0x18]
    tbz w12, #5, 2f
    subs w11, w11, #1
    b.ne 1b
2:  str w9, [x10]
    ret

    // Prints the string at x13; clobbers x9-x15.
early_puts:
    mov x15, x30
1:  ldrb w9, [x13], #1
    cbz w9, 2f
    bl early_putc
    b 1b
2:  mov x30, x15
    ret

    .balign 8
    .global sis_early_uart
sis_early_uart:
early_uart:
    .quad __early_uart
msg_kernel:
    .asciz "KERNEL(U)\r\n"
msg_stack:
    .asciz "STACK OK\r\n"
    .balign 4

    // Drops from EL3 or EL2 to EL1; clobbers x9, x10. Returns at EL1.
drop_to_el1:
    mrs x9, currentel
    lsr x9, x9, #2
    cmp x9, #3
    b.eq from_el3
    cmp x9, #2
    b.eq from_el2
    ret
from_el3:
    mov x10, #0x5b1                  // NS | RES1 | SMD off: HCE | RW
    msr scr_el3, x10
    msr cptr_el3, xzr
    mov x10, #0x3c9                  // EL2h, masked
    msr spsr_el3, x10
    adr x10, from_el2
    msr elr_el3, x10
    eret
from_el2:
    mov x10, #(1 << 31)              // EL1 is AArch64
    orr x10, x10, #(3 << 40)         // pointer authentication is not trapped
    msr hcr_el2, x10
    mov x10, #3                      // EL1 may use the physical timer and counter
    msr cnthctl_el2, x10
    msr cntvoff_el2, xzr
    mov x10, #0x33ff                 // no traps of FP; SVE trapped
    msr cptr_el2, x10
    msr hstr_el2, xzr
    msr vttbr_el2, xzr
    mrs x10, midr_el1
    msr vpidr_el2, x10
    mrs x10, mpidr_el1
    msr vmpidr_el2, x10
    mrs x10, id_aa64pfr0_el1
    ubfx x10, x10, #24, #4
    cbz x10, 1f
    mrs x10, s3_4_c12_c9_5           // ICC_SRE_EL2
    orr x10, x10, #1                 // SRE
    orr x10, x10, #8                 // Enable
    msr s3_4_c12_c9_5, x10
    isb
    mrs x10, s3_4_c12_c9_5
    tbz x10, #0, 1f
    msr s3_4_c12_c11_0, xzr          // ICH_HCR_EL2
1:  ldr x10, =SCTLR_OFF
    msr sctlr_el1, x10
    mov x10, #0x3c5                  // EL1h, masked
    msr spsr_el2, x10
    msr elr_el2, x30
    eret

    // Fills \tbl (physical) entries for 4 KiB pages: maps virtual [x0, x1) of the image with attributes x2.
    // x24 = link address - physical address, x25 = first L3 table (physical). Clobbers x9-x11, x0.
map_image_part:
1:  cmp x0, x1
    b.hs 2f
    sub x9, x0, x24                  // physical
    orr x9, x9, x2
    ldr x10, =0xffff800000000000
    sub x10, x0, x10
    lsr x10, x10, #12                // page number inside the image
    str x9, [x25, x10, lsl #3]
    add x0, x0, #4096
    b 1b
2:  ret

primary_entry:
    msr daifset, #15
    mov x19, x0
    mrs x20, currentel
    lsr x20, x20, #2
    mrs x21, cntvct_el0
    // Other cores, should a loader start them all, wait here for ever.
    mrs x9, mpidr_el1
    ldr x10, =0xff00ffffff
    and x9, x9, x10
    cbz x9, 2f
1:  wfe
    b 1b
2:  bl drop_to_el1
    msr tpidr_el1, xzr
    mov x9, #(3 << 20)               // FP/SIMD for EL0 and EL1
    msr cpacr_el1, x9
    isb
    adr x13, msg_kernel
    bl early_puts

    adrp x23, _start                 // physical address of the image
    ldr x9, =_start
    sub x24, x9, x23
    // The stack works: write and read back.
    ldr x9, =sis_boot_stack_top
    sub x9, x9, x24
    mov sp, x9
    stp x19, x23, [sp, #-16]!
    ldp x9, x10, [sp], #16
    cmp x9, x19
    b.ne .
    cmp x10, x23
    b.ne .
    adr x13, msg_stack
    bl early_puts

    // The loader may have left the tables' memory in caches: drop those lines, then write with caches off.
    ldr x0, =sis_boot_tables
    sub x0, x0, x24
    ldr x1, =sis_boot_tables_end
    sub x1, x1, x24
    mov x9, x0
1:  stp xzr, xzr, [x9], #16
    cmp x9, x1
    b.lo 1b

    // Image: L0[256] -> L1[0] -> L2[0..8] -> L3
    ldr x26, =sis_kernel_l0
    sub x26, x26, x24
    ldr x27, =boot_image_l1
    sub x27, x27, x24
    ldr x28, =boot_image_l2
    sub x28, x28, x24
    ldr x25, =boot_image_l3
    sub x25, x25, x24
    orr x9, x27, #PTE_TABLE
    str x9, [x26, #(256 * 8)]
    orr x9, x28, #PTE_TABLE
    str x9, [x27]
    mov x9, #0
1:  add x10, x25, x9, lsl #12
    orr x10, x10, #PTE_TABLE
    str x10, [x28, x9, lsl #3]
    add x9, x9, #1
    cmp x9, #16
    b.lo 1b
    // text: read-only, executable at EL1
    ldr x0, =__image_start
    ldr x1, =__text_end
    ldr x2, =(PTE_NORMAL | PTE_RO | (1 << 54) | 3)
    bl map_image_part
    // rodata: read-only
    ldr x0, =__text_end
    ldr x1, =__rodata_end
    ldr x2, =(PTE_NORMAL | PTE_RO | (3 << 53) | 3)
    bl map_image_part
    // data and bss: writable
    ldr x0, =__rodata_end
    ldr x1, =__image_end
    ldr x2, =(PTE_NORMAL | (3 << 53) | 3)
    bl map_image_part
    // the symbol table that may follow the image: read-only, up to the end of the 32 MiB of tables
    ldr x0, =__image_end
    ldr x1, =0xffff800002000000
    ldr x2, =(PTE_NORMAL | PTE_RO | (3 << 53) | 3)
    bl map_image_part

    // Device tree: L0[352] -> L1[0] -> two 2 MiB blocks, read-only
    ldr x27, =boot_fdt_l1
    sub x27, x27, x24
    ldr x28, =boot_fdt_l2
    sub x28, x28, x24
    orr x9, x27, #PTE_TABLE
    str x9, [x26, #(352 * 8)]
    orr x9, x28, #PTE_TABLE
    str x9, [x27]
    and x9, x19, #~0x1fffff
    ldr x2, =(PTE_NORMAL | PTE_RO | (3 << 53) | 1)
    orr x9, x9, x2
    str x9, [x28]
    add x9, x9, #0x200000
    str x9, [x28, #8]

    // This code, where it is: read-only, executable
    ldr x26, =boot_idmap_l0
    sub x26, x26, x24
    ldr x27, =boot_idmap_l1
    sub x27, x27, x24
    ldr x28, =boot_idmap_l2
    sub x28, x28, x24
    ubfx x9, x23, #39, #9
    orr x10, x27, #PTE_TABLE
    str x10, [x26, x9, lsl #3]
    ubfx x9, x23, #30, #9
    orr x10, x28, #PTE_TABLE
    str x10, [x27, x9, lsl #3]
    ubfx x9, x23, #21, #9
    and x10, x23, #~0x1fffff
    ldr x2, =(PTE_NORMAL | PTE_RO | (1 << 54) | 1)
    orr x10, x10, x2
    str x10, [x28, x9, lsl #3]

    // Lines of the tables that a cache may have fetched meanwhile are stale
    ldr x0, =sis_boot_tables
    sub x0, x0, x24
    ldr x1, =sis_boot_tables_end
    sub x1, x1, x24
    dmb sy
1:  dc ivac, x0
    add x0, x0, #16
    cmp x0, x1
    b.lo 1b
    dsb sy

    mrs x22, cntvct_el0
    bl mmu_on
    ldr x9, =primary_virtual
    br x9

primary_virtual:
    mrs x28, cntvct_el0
    ldr x9, =sis_boot_stack_top
    mov sp, x9
    ldr x9, =sis_boot_notes
    stp x19, x20, [x9]
    stp x21, x22, [x9, #16]
    stp x28, x23, [x9, #32]
    ldr x9, =sis_vectors
    msr vbar_el1, x9
    isb
    mov x29, xzr
    mov x30, xzr
    bl sis_machine_start
    b .

    // Switches the MMU on with the boot tables; x24 = link - physical. Clobbers x9-x11.
mmu_on:
    ldr x9, =0x0044ff04              // 0: device-nGnRE, 1: normal write-back, 2: normal non-cacheable
    msr mair_el1, x9
    mrs x10, id_aa64mmfr0_el1
    and x11, x10, #0xf
    cmp x11, #5                      // at most 48 bits of physical address
    mov x9, #5
    csel x11, x11, x9, ls
    // T0SZ/T1SZ 16, 4 KiB, inner shareable, write-back walks
    ldr x9, =((16 << 0) | (1 << 8) | (1 << 10) | (3 << 12) | (16 << 16) | (1 << 24) | (1 << 26) | (3 << 28) | (2 << 30))
    orr x9, x9, x11, lsl #32
    ubfx x11, x10, #4, #4            // 16-bit ASIDs
    cmp x11, #2
    b.ne 1f
    orr x9, x9, #(1 << 36)
1:  msr tcr_el1, x9
    ldr x9, =boot_idmap_l0
    sub x9, x9, x24
    msr ttbr0_el1, x9
    ldr x9, =sis_kernel_l0
    sub x9, x9, x24
    msr ttbr1_el1, x9
    dsb sy
    isb
    tlbi vmalle1
    ic iallu
    dsb sy
    isb
    // M, C, SA, SA0, I, nTWI, nTWE, UCI, UCT, DZE; EL0 alignment is not checked; SPAN = 0 where PAN exists
    ldr x9, =0x30d00800 | (1 << 0) | (1 << 2) | (1 << 3) | (1 << 4) | (1 << 12) | (1 << 14) | (1 << 15) | (1 << 16) | (1 << 18) | (1 << 26)
    mrs x10, id_aa64mmfr1_el1
    ubfx x10, x10, #20, #4
    cbz x10, 2f
    bic x9, x9, #(1 << 23)           // set PAN on every exception to EL1
2:  msr sctlr_el1, x9
    isb
    ret

    .global sis_secondary_entry
sis_secondary_entry:
    msr daifset, #15
    bl drop_to_el1
    msr tpidr_el1, xzr
    mov x9, #(3 << 20)
    msr cpacr_el1, x9
    isb
    adrp x23, _start
    ldr x9, =_start
    sub x24, x9, x23
    bl mmu_on
    ldr x9, =secondary_virtual
    br x9
secondary_virtual:
    ldr x9, =sis_vectors
    msr vbar_el1, x9
    isb
    mrs x9, mpidr_el1
    ldr x10, =0xff00ffffff
    and x9, x9, x10
    ldr x10, =SIS_SECONDARIES
    mov x11, #8
1:  ldr x12, [x10]
    cmp x12, x9
    b.eq 2f
    add x10, x10, #24
    subs x11, x11, #1
    b.ne 1b
3:  wfe
    b 3b
2:  ldr x12, [x10, #8]
    mov sp, x12
    ldr x0, [x10, #16]
    mov x29, xzr
    mov x30, xzr
    bl sis_secondary_start
    b .
    .ltorg

    .section .bss.boot_tables, "aw", %nobits
    .balign 4096
    .global sis_kernel_l0
sis_boot_tables:
sis_kernel_l0: .skip 4096
boot_image_l1: .skip 4096
boot_image_l2: .skip 4096
boot_image_l3: .skip 4096 * 16
boot_fdt_l1: .skip 4096
boot_fdt_l2: .skip 4096
boot_idmap_l0: .skip 4096
boot_idmap_l1: .skip 4096
boot_idmap_l2: .skip 4096
sis_boot_tables_end:

    .section .bss.boot_stack, "aw", %nobits
    .balign 65536
    .global sis_boot_stack_bottom
sis_boot_stack_bottom:
    .skip 65536
sis_boot_stack_top:
    .global sis_boot_notes
sis_boot_notes:
    .skip 64
"#
);
