//! A simulated RNG200 that delivers a counter's hash, so that tests can tell words apart.

use crate::sim::Device;

/// The simulated generator.
#[derive(Debug, Default)]
pub struct SimRng200 {
    /// RNG_CTRL.
    pub control: u32,
    /// RNG_INT_STATUS.
    pub status: u32,
    /// RNG_TOTAL_BIT_COUNT_THRESHOLD.
    pub threshold: u32,
    /// Words in the FIFO.
    pub count: u32,
    /// Reads of the FIFO's count until a word is there; `None` = never.
    pub delay: Option<u32>,
    /// The noise source is broken: its test fails again after every restart.
    pub is_broken: bool,
    /// Every word is this one.
    pub stuck_at: Option<u32>,
    /// Times the driver restarted the generator.
    pub restarts: u32,
    /// Words delivered so far.
    pub delivered: u32,
    /// Reads of the FIFO's count since it ran empty.
    pub waited: u32,
    /// The two reset bits: RNG in bit 0, RBG in bit 1.
    pub resets: u32,
}

impl SimRng200 {
    /// A generator that is off and works.
    pub fn new() -> Self {
        Self {
            delay: Some(2),
            ..Self::default()
        }
    }

    /// The `index`th word that is delivered.
    pub fn word(index: u32) -> u32 {
        (index + 1).wrapping_mul(0x9e37_79b9)
    }
}

impl Device for SimRng200 {
    const SIZE: usize = 0x28;

    fn read(&mut self, offset: usize) -> u32 {
        let is_on = self.control & 0x1fff != 0;
        match offset {
            0x00 => self.control,
            0x0c => u32::from(is_on) * 100,
            0x18 => self.status,
            0x20 => {
                assert!(self.count > 0, "read an empty FIFO");
                assert_eq!(self.status, 0, "used a word after a failed test");
                self.count -= 1;
                self.delivered += 1;
                self.stuck_at.unwrap_or(Self::word(self.delivered - 1))
            }
            0x24 => {
                if let (true, 0, Some(delay)) = (is_on, self.count, self.delay) {
                    self.waited += 1;
                    if self.waited > delay {
                        self.waited = 0;
                        self.count = 3;
                    }
                }
                self.count
            }
            _ => panic!("the driver has no business reading {offset:#x}"),
        }
    }

    fn write(&mut self, offset: usize, value: u32) {
        match offset {
            0x00 => self.control = value,
            0x04 => self.resets = (self.resets & !1) | value,
            0x08 => {
                assert_eq!(self.control & 0x1fff, 0, "reset while running");
                if value == 0 && self.resets == 2 {
                    self.restarts += 1;
                    self.count = 0;
                    self.status = if self.is_broken { 0x20 } else { 0 };
                }
                self.resets = (self.resets & !2) | (value << 1);
            }
            0x10 => self.threshold = value,
            0x18 => self.status &= !value,
            _ => panic!("the driver has no business writing {value:#x} to {offset:#x}"),
        }
    }
}
