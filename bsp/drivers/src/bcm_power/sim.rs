//! A simulated power management block, whose counter the test advances.

use crate::sim::Device;

/// What the chip did when the counter reached zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Booted again from this partition.
    Booted(u8),
    /// Halted.
    Halted,
}

/// The simulated block.
#[derive(Debug, Default)]
pub struct SimBcmPower {
    /// PM_RSTC without the password.
    pub rstc: u32,
    /// PM_RSTS without the password.
    pub rsts: u32,
    /// PM_WDOG without the password.
    pub wdog: u32,
    /// What the chip did.
    pub outcome: Option<Outcome>,
}

impl SimBcmPower {
    /// Lets `ticks` of the counter pass.
    pub fn pass(&mut self, ticks: u32) {
        if self.rstc & 0x30 != 0x20 {
            return;
        }
        self.wdog = self.wdog.saturating_sub(ticks);
        if self.wdog == 0 {
            let partition = (0..6).fold(0, |bits, bit| bits | (((self.rsts >> (2 * bit)) & 1) << bit)) as u8;
            self.outcome = Some(if partition == 63 {
                Outcome::Halted
            } else {
                Outcome::Booted(partition)
            });
        }
    }
}

impl Device for SimBcmPower {
    const SIZE: usize = 0x114;

    fn read(&mut self, offset: usize) -> u32 {
        match offset {
            0x1c => self.rstc,
            0x20 => self.rsts,
            0x24 => self.wdog,
            _ => panic!("the driver has no business reading {offset:#x}"),
        }
    }

    fn write(&mut self, offset: usize, value: u32) {
        assert_eq!(value >> 24, 0x5a, "a write without the password is lost");
        let value = value & 0x00ff_ffff;
        match offset {
            0x1c => self.rstc = value,
            0x20 => self.rsts = value,
            0x24 => self.wdog = value & 0xf_ffff,
            _ => panic!("the driver has no business writing {value:#x} to {offset:#x}"),
        }
    }
}
