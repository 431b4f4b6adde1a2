//! Reset, power-off and watchdog of the Raspberry Pi's chips (BCM2835 to BCM2711).
//!
//! The block is not in Broadcom's manual. Source: Linux, `drivers/watchdog/bcm2835_wdt.c`, and the Raspberry Pi
//! documentation of boot partitions. One counter of 16 µs steps does everything: the watchdog runs it long, reset and
//! power-off run it for an instant.
//!
//! QEMU's `raspi4b` resets (or powers off) at once when the counter is started, whatever time it is given: the watchdog
//! cannot be used there.

use core::sync::atomic::{AtomicU32, Ordering};

use sis_hal::{Clock, Power, PowerError, Registers, Watchdog, WatchdogError, delay_ns};
use tock_registers::register_bitfields;

use crate::reg::Reg;

#[cfg(any(test, feature = "sim"))]
pub mod sim;
#[cfg(test)]
mod tests;

register_bitfields![u32,
    /// PM_RSTC.
    RSTC [
        PASSWORD OFFSET(24) NUMBITS(8) [],
        WRCFG OFFSET(4) NUMBITS(2) [
            Off = 0,
            FullReset = 2
        ]
    ],
    /// PM_WDOG.
    WDOG [
        PASSWORD OFFSET(24) NUMBITS(8) [],
        TICKS OFFSET(0) NUMBITS(20) []
    ]
];

const PM_RSTC: Reg<RSTC::Register> = Reg::at(0x1c);
const PM_RSTS: Reg = Reg::at(0x20);
const PM_WDOG: Reg<WDOG::Register> = Reg::at(0x24);

/// Every write carries it in its top byte, or is ignored.
const PASSWORD: u32 = 0x5a;

/// What stops the counter: PM_RSTC as it is after a power-on.
const RSTC_STOPPED: u32 = 0x102;

/// The bits of PM_RSTS that hold the boot partition: its six bits at 0, 2, 4, 6, 8 and 10.
const RSTS_PARTITION: u32 = 0x555;

/// The partition that tells the boot ROM to halt instead of booting.
const PARTITION_HALT: u8 = 63;

/// The counter's steps in a second.
const TICKS_PER_SECOND: u32 = 1 << 16;

/// The counter's range.
const MAX_TICKS: u32 = 0xf_ffff;

/// How long the counter runs for a reset: about 150 µs, as Linux has it.
const RESET_TICKS: u32 = 10;

/// How long a reset may take before it counts as failed.
const RESET_WAIT_NS: u64 = 1_000_000_000;

/// The power management block.
pub struct BcmPower<R, K> {
    registers: R,
    clock: K,
    /// The time-out that [`Watchdog::feed`] starts anew; 0 = the watchdog is not ours to feed.
    ticks: AtomicU32,
}

impl<R: Registers, K: Clock> BcmPower<R, K> {
    /// A driver over the block's registers (at least 0x28 bytes). Leaves a watchdog that the firmware has started running.
    pub const fn new(registers: R, clock: K) -> Self {
        Self {
            registers,
            clock,
            ticks: AtomicU32::new(0),
        }
    }

    /// Restarts the board from the given partition of the card (0 = the firmware's own choice; up to 62). Returns only
    /// when that failed.
    pub fn reboot_to_partition(&self, partition: u8) -> PowerError {
        if partition >= PARTITION_HALT {
            return PowerError::NotSupported;
        }
        self.reset(partition)
    }

    fn reset(&self, partition: u8) -> PowerError {
        let registers = &self.registers;
        let spread = (0..6).fold(0, |bits, bit| bits | (u32::from(partition >> bit) & 1) << (2 * bit));
        // The other bits say why the last reset happened; they stay.
        let status = PM_RSTS.get(registers) & 0x00ff_ffff & !RSTS_PARTITION;
        PM_RSTS.set(registers, PASSWORD << 24 | status | spread);
        self.run(RESET_TICKS);
        delay_ns(&self.clock, RESET_WAIT_NS);
        PowerError::NoEffect
    }

    /// Lets the counter run; it resets the chip when it reaches zero.
    fn run(&self, ticks: u32) {
        let registers = &self.registers;
        PM_WDOG.write(registers, WDOG::PASSWORD.val(PASSWORD) + WDOG::TICKS.val(ticks));
        PM_RSTC.modify(registers, RSTC::PASSWORD.val(PASSWORD) + RSTC::WRCFG::FullReset);
    }

    fn is_running(&self) -> bool {
        PM_RSTC.read(&self.registers).matches_all(RSTC::WRCFG::FullReset)
    }
}

impl<R: Registers, K: Clock> Power for BcmPower<R, K> {
    /// Most of the chip is then off; the board still draws some current, and needs its power taken away to start again.
    fn power_off(&self) -> PowerError {
        self.reset(PARTITION_HALT)
    }

    fn reboot(&self) -> PowerError {
        self.reset(0)
    }
}

impl<R: Registers, K: Clock> Watchdog for BcmPower<R, K> {
    fn max_timeout_ms(&self) -> u32 {
        ticks_to_ms(MAX_TICKS)
    }

    fn start(&self, timeout_ms: u32) -> Result<(), WatchdogError> {
        let max_ms = self.max_timeout_ms();
        if timeout_ms == 0 || timeout_ms > max_ms {
            return Err(WatchdogError::BadTimeout { max_ms });
        }
        let ticks = ((u64::from(timeout_ms) * u64::from(TICKS_PER_SECOND)).div_ceil(1000) as u32).min(MAX_TICKS);
        self.ticks.store(ticks, Ordering::Relaxed);
        self.run(ticks);
        Ok(())
    }

    fn feed(&self) {
        let ticks = self.ticks.load(Ordering::Relaxed);
        if ticks != 0 {
            PM_WDOG.write(&self.registers, WDOG::PASSWORD.val(PASSWORD) + WDOG::TICKS.val(ticks));
        }
    }

    fn stop(&self) {
        self.ticks.store(0, Ordering::Relaxed);
        PM_RSTC.set(&self.registers, PASSWORD << 24 | RSTC_STOPPED);
    }

    fn remaining_ms(&self) -> Option<u32> {
        let ticks = PM_WDOG.read(&self.registers).read(WDOG::TICKS);
        self.is_running().then(|| ticks_to_ms(ticks))
    }
}

fn ticks_to_ms(ticks: u32) -> u32 {
    (u64::from(ticks) * 1000 / u64::from(TICKS_PER_SECOND)) as u32
}
