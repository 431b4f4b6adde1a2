//! The RNG200 random number generator of the BCM2711.
//!
//! Not in Broadcom's manual. Source: Linux, `drivers/char/hw_random/iproc-rng200.c` (the BCM2711 variant of the Raspberry
//! Pi's tree for the warm-up). QEMU's `raspi4b` does not have the device: a read of its addresses aborts, so it is touched
//! only when the device tree names it.

use sis_hal::{Clock, Entropy, EntropyError, Registers, wait_until};
use tock_registers::register_bitfields;

use crate::busy::Busy;
use crate::reg::Reg;

#[cfg(any(test, feature = "sim"))]
pub mod sim;
#[cfg(test)]
mod tests;

register_bitfields![u32,
    /// RNG_CTRL.
    CTRL [
        DIVIDER OFFSET(13) NUMBITS(8) [],
        RBGEN OFFSET(0) NUMBITS(13) [
            Off = 0,
            On = 1
        ]
    ],
    /// RNG_INT_STATUS.
    INT_STATUS [
        MASTER_FAIL_LOCKOUT OFFSET(31) NUMBITS(1) [],
        NIST_FAIL OFFSET(5) NUMBITS(1) []
    ],
    /// RNG_FIFO_COUNT.
    FIFO_COUNT [
        COUNT OFFSET(0) NUMBITS(8) []
    ]
];

const RNG_CTRL: Reg<CTRL::Register> = Reg::at(0x00);
const RNG_SOFT_RESET: Reg = Reg::at(0x04);
const RBG_SOFT_RESET: Reg = Reg::at(0x08);
/// Bits that the generator has made since it was switched on.
const RNG_TOTAL_BIT_COUNT: Reg = Reg::at(0x0c);
/// Bits to throw away at the start, which are less random.
const RNG_TOTAL_BIT_COUNT_THRESHOLD: Reg = Reg::at(0x10);
const RNG_INT_STATUS: Reg<INT_STATUS::Register> = Reg::at(0x18);
const RNG_FIFO_DATA: Reg = Reg::at(0x20);
const RNG_FIFO_COUNT: Reg<FIFO_COUNT::Register> = Reg::at(0x24);

/// The Raspberry Pi's choice: the first 256 Kbit.
const WARM_UP_BITS: u32 = 0x4_0000;
/// The Raspberry Pi's choice: a sample rate of 1 MHz.
const DIVIDER_1_MHZ: u32 = 3;
/// Bits that have to be counted before a word is believed.
const MIN_BITS: u32 = 16;
/// How long the generator may take for the next word. Warming up takes 0.26 s at 1 MHz.
const TIMEOUT_NS: u64 = 1_000_000_000;

/// An RNG200.
pub struct Rng200<R, K> {
    registers: R,
    clock: K,
    in_use: Busy,
}

impl<R: Registers, K: Clock> Rng200<R, K> {
    /// Switches the generator on, unless firmware has done so, and returns without waiting for it to warm up.
    pub fn new(registers: R, clock: K) -> Self {
        let rng = Self {
            registers,
            clock,
            in_use: Busy::new(),
        };
        if rng.is_off() {
            rng.switch_on();
        }
        rng
    }

    fn is_off(&self) -> bool {
        RNG_CTRL.read(&self.registers).matches_all(CTRL::RBGEN::Off)
    }

    fn switch_on(&self) {
        RNG_TOTAL_BIT_COUNT_THRESHOLD.set(&self.registers, WARM_UP_BITS);
        RNG_CTRL.write(&self.registers, CTRL::DIVIDER.val(DIVIDER_1_MHZ) + CTRL::RBGEN::On);
    }

    fn has_failed(&self) -> bool {
        let status = RNG_INT_STATUS.read(&self.registers);
        status.is_set(INT_STATUS::MASTER_FAIL_LOCKOUT) || status.is_set(INT_STATUS::NIST_FAIL)
    }

    /// Starts anew after the generator's own tests have failed: off, both halves in reset, out of it, on.
    fn restart(&self) {
        let registers = &self.registers;
        RNG_CTRL.write(registers, CTRL::RBGEN::Off);
        RNG_INT_STATUS.set(registers, u32::MAX);
        RBG_SOFT_RESET.set(registers, 1);
        RNG_SOFT_RESET.set(registers, 1);
        RNG_SOFT_RESET.set(registers, 0);
        RBG_SOFT_RESET.set(registers, 0);
        self.switch_on();
    }

    /// One word that the generator vouches for.
    fn word(&self) -> Result<u32, EntropyError> {
        let registers = &self.registers;
        for _ in 0..2 {
            let is_ready = || {
                RNG_TOTAL_BIT_COUNT.get(registers) > MIN_BITS
                    && RNG_FIFO_COUNT.read(registers).read(FIFO_COUNT::COUNT) > 0
            };
            // A failed test ends the wait too: nothing would come.
            wait_until(&self.clock, TIMEOUT_NS, || self.has_failed() || is_ready())?;
            if !self.has_failed() {
                return Ok(RNG_FIFO_DATA.get(registers));
            }
            self.restart();
        }
        Err(EntropyError::SelfTestFailed)
    }

    fn fill_alone(&self, out: &mut [u8]) -> Result<usize, EntropyError> {
        let mut filled = 0;
        let mut previous = None;
        for chunk in out.chunks_mut(4) {
            let word = match self.word() {
                Ok(word) => word,
                Err(_) if filled > 0 => break,
                Err(error) => return Err(error),
            };
            // An absent or dead device repeats itself; a working one does so once in 2^32 words, and is asked again.
            if previous == Some(word) {
                return if filled > 4 {
                    Ok(filled - 4)
                } else {
                    Err(EntropyError::SelfTestFailed)
                };
            }
            previous = Some(word);
            for (to, from) in chunk.iter_mut().zip(word.to_le_bytes()) {
                *to = from;
                filled += 1;
            }
        }
        Ok(filled)
    }
}

impl<R: Registers, K: Clock> Entropy for Rng200<R, K> {
    fn fill(&self, out: &mut [u8]) -> Result<usize, EntropyError> {
        wait_until(&self.clock, TIMEOUT_NS, || self.in_use.try_enter())?;
        let result = self.fill_alone(out);
        self.in_use.leave();
        result
    }
}
