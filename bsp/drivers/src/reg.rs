//! Typed registers: an offset that knows which bit-fields live there.

use core::marker::PhantomData;

use sis_hal::Registers;
use tock_registers::fields::FieldValue;
use tock_registers::{LocalRegisterCopy, RegisterLongName};

/// A 32-bit register at a fixed offset, or the first of an array of them.
pub(crate) struct Reg<L: RegisterLongName = ()> {
    offset: usize,
    layout: PhantomData<L>,
}

impl<L: RegisterLongName> Clone for Reg<L> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<L: RegisterLongName> Copy for Reg<L> {}

impl<L: RegisterLongName> Reg<L> {
    pub(crate) const fn at(offset: usize) -> Self {
        Self {
            offset,
            layout: PhantomData,
        }
    }

    /// The `index`th register of an array that starts here.
    pub(crate) const fn nth(self, index: usize) -> Self {
        Self::at(self.offset + 4 * index)
    }

    /// The same register in a frame that starts `base` bytes into the window.
    pub(crate) const fn in_frame(self, base: usize) -> Self {
        Self::at(base + self.offset)
    }

    pub(crate) const fn offset(self) -> usize {
        self.offset
    }

    pub(crate) fn read(self, registers: &impl Registers) -> LocalRegisterCopy<u32, L> {
        LocalRegisterCopy::new(self.get(registers))
    }

    pub(crate) fn get(self, registers: &impl Registers) -> u32 {
        registers.read32(self.offset)
    }

    /// Writes the given fields and zero everywhere else.
    pub(crate) fn write(self, registers: &impl Registers, fields: FieldValue<u32, L>) {
        self.set(registers, fields.value);
    }

    pub(crate) fn set(self, registers: &impl Registers, value: u32) {
        registers.write32(self.offset, value);
    }

    /// Changes the given fields by reading and writing back; not atomic.
    pub(crate) fn modify(self, registers: &impl Registers, fields: FieldValue<u32, L>) {
        self.set(registers, fields.modify(self.get(registers)));
    }
}
