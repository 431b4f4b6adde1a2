//! The board's audited mappings: the only place here that may say "these addresses are device registers".
#![expect(
    unsafe_code,
    reason = "a mapping is a promise about the board; each is made here, once"
)]

use sis_hal::PhysAddr;
use sis_machine::BootInfo;
use sis_machine::io::Mmio;

/// First address of the peripherals in low-peripheral mode; RAM ends below (BCM2711 ARM Peripherals, 1.2).
const PERIPHERALS_START: u64 = 0xfc00_0000;
/// One past the last.
const PERIPHERALS_END: u64 = 0x1_0000_0000;

/// The kernel's entry, called by the machine.
// SAFETY: (1) the name is the machine's own and defined once, here; (2) the signature is the one it declares.
#[unsafe(no_mangle)]
extern "Rust" fn sis_board_main(info: BootInfo) -> ! {
    crate::main(info)
}

/// Registers of a device that the device tree (or the manual) names.
pub(crate) fn registers(at: Option<(PhysAddr, usize)>) -> Option<Mmio> {
    let (start, len) = at?;
    if start.0 < PERIPHERALS_START || start.0.checked_add(len as u64)? > PERIPHERALS_END {
        return None;
    }
    // SAFETY: (1) this range is peripherals, never RAM.
    Some(unsafe { Mmio::map(start, len) })
}
