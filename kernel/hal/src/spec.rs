//! What a system-on-chip crate says of a device: how to recognise it in a device tree, and where it is when the tree does
//! not tell.

use crate::addr::{IrqNumber, PhysAddr};
use crate::irq::Trigger;

/// A range of physical addresses that a device answers at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterRange {
    /// The first address.
    pub base: PhysAddr,
    /// Bytes in the range.
    pub size_bytes: u64,
}

impl RegisterRange {
    /// The `size_bytes` from the physical address `base` on.
    pub const fn new(base: u64, size_bytes: u64) -> Self {
        Self {
            base: PhysAddr(base),
            size_bytes,
        }
    }
}

/// An interrupt line of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IrqLine {
    /// Which interrupt.
    pub irq: IrqNumber,
    /// How it signals.
    pub trigger: Trigger,
}

impl IrqLine {
    /// A level-triggered shared interrupt, as a device tree counts it.
    pub const fn level_spi(index: u32) -> Self {
        Self {
            irq: IrqNumber::spi(index),
            trigger: Trigger::Level,
        }
    }

    /// An edge-triggered shared interrupt, as a device tree counts it.
    pub const fn edge_spi(index: u32) -> Self {
        Self {
            irq: IrqNumber::spi(index),
            trigger: Trigger::Edge,
        }
    }

    /// A level-triggered private interrupt, as a device tree counts it.
    pub const fn level_ppi(index: u32) -> Self {
        Self {
            irq: IrqNumber::ppi(index),
            trigger: Trigger::Level,
        }
    }
}

/// One device of a system-on-chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceSpec {
    /// The `compatible` strings that the device tree may use for it, most exact first.
    pub compatible: &'static [&'static str],
    /// Where it is, in the order of the device tree's `reg`. Where the tree speaks, the tree is right.
    pub registers: &'static [RegisterRange],
    /// Its interrupts, in the order of the device tree's `interrupts`.
    pub irqs: &'static [IrqLine],
}
