//! Interfaces between the kernel, drivers and boards.
//!
//! A driver in `bsp/drivers` sees the world through this crate alone: device registers are a [`Registers`], memory that a
//! device reads or writes is a [`DmaBuffer`], time is a [`Clock`], and an instruction that only privileged code may run
//! is a method of a trait that `kernel/machine` implements ([`GicCpuInterface`], [`FirmwareCall`], [`ReleaseMemory`]).
//! The same driver therefore runs against a simulated device in a host test, against QEMU and on a board.
//!
//! What is *not* here: addresses and interrupt numbers (`bsp/soc-*`), the architectural timer, page tables, locks and
//! anything of Linux (`kernel/machine`, `kernel/core`).
//!
//! Conventions that hold for every trait:
//!
//! * methods take `&self` and may be called from any CPU at once unless the method says otherwise;
//! * nothing allocates, nothing sleeps; a method that waits for a device says for how long at most;
//! * units are in names (`_ns`, `_bytes`, `_hz`), errors are an enum an operation.
#![no_std]
#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::indexing_slicing)]

extern crate alloc;

pub mod addr;
pub mod block;
pub mod clock;
pub mod console;
pub mod display;
pub mod dma;
pub mod irq;
pub mod net;
pub mod power;
pub mod registers;
pub mod sensor;
pub mod spec;

pub use addr::{BusAddr, CpuId, IrqNumber, MAX_CPUS, Mpidr, PhysAddr};
pub use block::{
    BlockCompletion, BlockDevice, BlockError, BlockLimits, BlockOp, BlockRequest, SECTOR_BYTES, ScatterList, Segment,
};
pub use clock::{Clock, Timeout, WallClock, delay_ns, wait_until};
pub use console::ConsoleDevice;
pub use display::Display;
pub use dma::{DmaBuffer, DmaWindow, OutOfRange};
pub use irq::{AcknowledgedIrq, GicCpuInterface, IrqController, IrqError, SgiTarget, Trigger};
pub use net::{MacAddr, NetCounters, NetDevice, NetStats, TxError};
pub use power::{
    CpuPower, FirmwareCall, Power, PowerError, ReleaseMemory, RestartArgument, StartCpuError, Watchdog, WatchdogError,
};
pub use registers::{Registers, Window};
pub use sensor::{Entropy, EntropyError, TemperatureError, TemperatureSensor};
pub use spec::{DeviceSpec, IrqLine, RegisterRange};

#[cfg(test)]
mod tests;
