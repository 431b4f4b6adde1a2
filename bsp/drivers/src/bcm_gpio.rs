//! The pins of the BCM2711.
//!
//! Source: Broadcom, *BCM2711 ARM Peripherals*, 2022-01-18, chapter 5. The pull registers are the BCM2711's; earlier chips
//! set pulls by a sequence that is not built here.

use core::fmt;

use sis_hal::Registers;

use crate::busy::Busy;
use crate::reg::Reg;

#[cfg(test)]
mod tests;

/// GPFSEL0 to 5: three bits a pin, ten pins a register.
const GPFSEL: Reg = Reg::at(0x00);
/// GPSET0 and 1: a bit a pin, writing 1 drives it high.
const GPSET: Reg = Reg::at(0x1c);
/// GPCLR0 and 1: writing 1 drives it low.
const GPCLR: Reg = Reg::at(0x28);
/// GPLEV0 and 1.
const GPLEV: Reg = Reg::at(0x34);
/// GPIO_PUP_PDN_CNTRL_REG0 to 3: two bits a pin.
const PULL: Reg = Reg::at(0xe4);

/// How many pins there are (5.1).
const PIN_COUNT: u8 = 58;

/// A pin of the chip, checked to exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin(u8);

impl Pin {
    /// The pin GPIO`number` (0 to 57), or `None`.
    pub const fn new(number: u8) -> Option<Self> {
        if number < PIN_COUNT { Some(Self(number)) } else { None }
    }

    /// Which of an array's registers has the pin's bits, and their lowest, with `bits` a pin and `per_register` pins.
    const fn place(self, bits: u32, per_register: u8) -> (usize, u32) {
        ((self.0 / per_register) as usize, (self.0 % per_register) as u32 * bits)
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GPIO{}", self.0)
    }
}

/// What a pin does (GPFSEL, 5.2; which device is behind an alternate is in 5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Function {
    /// Its level can be read.
    Input = 0b000,
    /// Its level can be driven.
    Output = 0b001,
    /// Alternate function 0 (of pins 14 and 15: the PL011).
    Alt0 = 0b100,
    /// Alternate function 1.
    Alt1 = 0b101,
    /// Alternate function 2.
    Alt2 = 0b110,
    /// Alternate function 3.
    Alt3 = 0b111,
    /// Alternate function 4.
    Alt4 = 0b011,
    /// Alternate function 5 (of pins 14 and 15: the mini-UART).
    Alt5 = 0b010,
}

impl Function {
    const ALL: [Self; 8] = [
        Self::Input,
        Self::Output,
        Self::Alt5,
        Self::Alt4,
        Self::Alt0,
        Self::Alt1,
        Self::Alt2,
        Self::Alt3,
    ];
}

/// What holds an undriven pin's level (5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Pull {
    /// Nothing.
    None = 0,
    /// A resistor to the supply.
    Up = 1,
    /// A resistor to ground.
    Down = 2,
}

/// The pins.
pub struct BcmGpio<R> {
    registers: R,
    changing: Busy,
}

impl<R: Registers> BcmGpio<R> {
    /// A driver over the block's registers (at least 0xf4 bytes).
    pub const fn new(registers: R) -> Self {
        Self {
            registers,
            changing: Busy::new(),
        }
    }

    /// Gives the pin a function.
    pub fn set_function(&self, pin: Pin, function: Function) {
        let (register, shift) = pin.place(3, 10);
        self.change(GPFSEL.nth(register), 0b111 << shift, (function as u32) << shift);
    }

    /// What the pin does.
    pub fn function(&self, pin: Pin) -> Function {
        let (register, shift) = pin.place(3, 10);
        let bits = (GPFSEL.nth(register).get(&self.registers) >> shift) & 0b111;
        Function::ALL
            .into_iter()
            .find(|function| *function as u32 == bits)
            .unwrap_or(Function::Input)
    }

    /// Sets what holds the pin while nobody drives it.
    pub fn set_pull(&self, pin: Pin, pull: Pull) {
        let (register, shift) = pin.place(2, 16);
        self.change(PULL.nth(register), 0b11 << shift, (pull as u32) << shift);
    }

    /// Drives an output; on another pin, the level it will have as an output.
    pub fn set_level(&self, pin: Pin, is_high: bool) {
        let (register, shift) = pin.place(1, 32);
        let array = if is_high { GPSET } else { GPCLR };
        array.nth(register).set(&self.registers, 1 << shift);
    }

    /// The pin's level.
    pub fn is_high(&self, pin: Pin) -> bool {
        let (register, shift) = pin.place(1, 32);
        GPLEV.nth(register).get(&self.registers) & (1 << shift) != 0
    }

    fn change(&self, register: Reg, mask: u32, value: u32) {
        self.changing
            .with(|| register.set(&self.registers, register.get(&self.registers) & !mask | value));
    }
}
