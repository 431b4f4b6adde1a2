//! The board's audited mappings: the only place here that may say "these addresses are device registers".
#![expect(
    unsafe_code,
    reason = "a mapping is a promise about the board; each is made here, once"
)]

use sis_hal::PhysAddr;
use sis_machine::BootInfo;
use sis_machine::io::Mmio;

/// The kernel's entry, called by the machine.
// SAFETY: (1) the name is the machine's own and defined once, here; (2) the signature is the one it declares.
#[unsafe(no_mangle)]
extern "Rust" fn sis_board_main(info: BootInfo) -> ! {
    crate::main(info)
}

/// Registers of a device that the device tree (or QEMU's memory map) names.
pub(crate) fn registers(at: Option<(PhysAddr, usize)>) -> Option<Mmio> {
    let (start, len) = at?;
    // QEMU's virt machine has devices only below its RAM and, for PCIe, above it; nothing here maps PCIe.
    if start.0.checked_add(len as u64)? > sis_soc_qemu_virt::RAM_BASE.0 {
        return None;
    }
    // SAFETY: (1) below RAM_BASE the machine has registers and flash, never RAM.
    Some(unsafe { Mmio::map(start, len) })
}
