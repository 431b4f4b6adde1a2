//! The board's audited mappings: the only place here that may say "these addresses are device registers".
#![expect(
    unsafe_code,
    reason = "a mapping is a promise about the board; each is made here, once"
)]

use sis_hal::PhysAddr;
use sis_machine::BootInfo;
use sis_machine::io::Mmio;
use sis_soc_bcm2711 as soc;

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

/// The memory that the firmware shows on the display. It is the VideoCore's, above what the device tree calls memory.
pub(crate) fn frame_buffer(info: &BootInfo, start: PhysAddr, len: usize) -> Option<Mmio> {
    let end = start.0.checked_add(len as u64)?;
    let is_memory = info
        .fdt
        .memory()
        .any(|(at, size)| start.0 < at.saturating_add(size) && at < end);
    if len == 0 || end > soc::LEGACY_DMA_LIMIT.0 || is_memory {
        return None;
    }
    // SAFETY: (1) the firmware gave this range for pixels, and none of it is memory that the kernel has.
    Some(unsafe { Mmio::map(start, len) })
}
