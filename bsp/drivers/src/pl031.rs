//! The Arm PrimeCell real-time clock (PL031) of QEMU's `virt`: a counter of seconds.
//!
//! Source: Arm, *PrimeCell Real Time Clock (PL031) Technical Reference Manual*, DDI 0224C. QEMU starts it at the host's date
//! (`-rtc`), in seconds since 1970.

use sis_hal::{Registers, WallClock};
use tock_registers::register_bitfields;

use crate::reg::Reg;

#[cfg(test)]
mod tests;

register_bitfields![u32,
    /// RTCCR, 3.3.4.
    CONTROL [
        START OFFSET(0) NUMBITS(1) []
    ]
];

/// RTCDR, the seconds.
const RTCDR: Reg = Reg::at(0x000);
/// RTCLR, sets the seconds.
const RTCLR: Reg = Reg::at(0x008);
const RTCCR: Reg<CONTROL::Register> = Reg::at(0x00c);
/// RTCPeriphID0 and 1: the part number in their low twelve bits together.
const PERIPH_ID: Reg = Reg::at(0xfe0);
const PART_NUMBER: u32 = 0x031;

/// A PL031.
pub struct Pl031<R> {
    registers: R,
}

impl<R: Registers> Pl031<R> {
    /// A driver over `registers` (4 KiB), or `None` when what answers there is no PL031. Starts the counter if it stands.
    pub fn probe(registers: R) -> Option<Self> {
        let [low, high] = [0, 1].map(|index| PERIPH_ID.nth(index).get(&registers));
        if low | (high & 0xf) << 8 != PART_NUMBER {
            return None;
        }
        if !RTCCR.read(&registers).is_set(CONTROL::START) {
            RTCCR.write(&registers, CONTROL::START::SET);
        }
        Some(Self { registers })
    }
}

impl<R: Registers> WallClock for Pl031<R> {
    /// The counter starts at 0 with the power: that means "never set".
    fn unix_seconds(&self) -> Option<u64> {
        match RTCDR.get(&self.registers) {
            0 => None,
            seconds => Some(u64::from(seconds)),
        }
    }

    fn set_unix_seconds(&self, seconds: u64) -> bool {
        let Ok(seconds) = u32::try_from(seconds) else {
            return false;
        };
        RTCLR.set(&self.registers, seconds);
        true
    }
}
