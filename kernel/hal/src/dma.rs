//! Memory that a device reads or writes by itself.

use core::fmt;
use core::ops::Range;

use crate::addr::{BusAddr, PhysAddr};

/// A piece of memory, contiguous for the device, that CPU and device share.
///
/// # Order and caches
///
/// After writing, call [`sync_for_device`](Self::sync_for_device) before the register write (or the descriptor write)
/// that tells the device; before reading what a device wrote, call [`sync_for_cpu`](Self::sync_for_cpu). An
/// implementation over coherent memory still issues the barrier. Reads are made afresh at every call and may race with
/// the device: what they return is then any mix of old and new bytes, except that the typed helpers on naturally aligned
/// offsets read and write a whole value at once.
#[expect(clippy::len_without_is_empty, reason = "a DMA buffer is never empty")]
pub trait DmaBuffer: Send + Sync {
    /// Bytes in the buffer; never 0.
    fn len(&self) -> usize;

    /// Where the device sees the first byte.
    fn bus_addr(&self) -> BusAddr;

    /// Copies `out.len()` bytes from `offset` on.
    fn read(&self, offset: usize, out: &mut [u8]) -> Result<(), OutOfRange>;

    /// Copies `data` into the buffer from `offset` on.
    fn write(&self, offset: usize, data: &[u8]) -> Result<(), OutOfRange>;

    /// Makes the CPU's writes to `range` visible to the device (clean, then barrier). Bytes outside the buffer are
    /// ignored.
    fn sync_for_device(&self, range: Range<usize>);

    /// Makes the device's writes to `range` visible to the CPU (barrier, then invalidate). Bytes outside the buffer are
    /// ignored.
    ///
    /// The CPU's own unsynchronised writes to the same cache lines may be lost.
    fn sync_for_cpu(&self, range: Range<usize>);

    /// Reads a little-endian 32-bit value.
    fn read_u32(&self, offset: usize) -> Result<u32, OutOfRange> {
        let mut bytes = [0; 4];
        self.read(offset, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// Reads a little-endian 64-bit value.
    fn read_u64(&self, offset: usize) -> Result<u64, OutOfRange> {
        let mut bytes = [0; 8];
        self.read(offset, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Writes a little-endian 32-bit value.
    fn write_u32(&self, offset: usize, value: u32) -> Result<(), OutOfRange> {
        self.write(offset, &value.to_le_bytes())
    }

    /// Writes a little-endian 64-bit value.
    fn write_u64(&self, offset: usize, value: u64) -> Result<(), OutOfRange> {
        self.write(offset, &value.to_le_bytes())
    }
}

impl<B: DmaBuffer + ?Sized> DmaBuffer for &B {
    fn len(&self) -> usize {
        (**self).len()
    }
    fn bus_addr(&self) -> BusAddr {
        (**self).bus_addr()
    }
    fn read(&self, offset: usize, out: &mut [u8]) -> Result<(), OutOfRange> {
        (**self).read(offset, out)
    }
    fn write(&self, offset: usize, data: &[u8]) -> Result<(), OutOfRange> {
        (**self).write(offset, data)
    }
    fn sync_for_device(&self, range: Range<usize>) {
        (**self).sync_for_device(range);
    }
    fn sync_for_cpu(&self, range: Range<usize>) {
        (**self).sync_for_cpu(range);
    }
    fn read_u32(&self, offset: usize) -> Result<u32, OutOfRange> {
        (**self).read_u32(offset)
    }
    fn read_u64(&self, offset: usize) -> Result<u64, OutOfRange> {
        (**self).read_u64(offset)
    }
    fn write_u32(&self, offset: usize, value: u32) -> Result<(), OutOfRange> {
        (**self).write_u32(offset, value)
    }
    fn write_u64(&self, offset: usize, value: u64) -> Result<(), OutOfRange> {
        (**self).write_u64(offset, value)
    }
}

/// The part of memory that a bus master reaches, and where it sees it: one entry of a device tree's `dma-ranges`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaWindow {
    /// The first address it reaches.
    pub start: PhysAddr,
    /// Bytes from there on.
    pub len: u64,
    /// Where it sees the first.
    pub bus_start: BusAddr,
}

impl DmaWindow {
    /// All memory, at its own address.
    pub const ALL: Self = Self {
        start: PhysAddr(0),
        len: u64::MAX,
        bus_start: BusAddr(0),
    };

    /// Where the bus master sees the `len_bytes` from `address` on; `None` unless it reaches all of them.
    pub const fn bus_addr(&self, address: PhysAddr, len_bytes: u64) -> Option<BusAddr> {
        let Some(offset) = address.checked_offset_from(self.start) else {
            return None;
        };
        match offset.checked_add(len_bytes) {
            Some(end) if end <= self.len => self.bus_start.checked_add(offset),
            _ => None,
        }
    }
}

/// An access that is not entirely inside its buffer; nothing was read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfRange;

impl fmt::Display for OutOfRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("access outside the buffer")
    }
}

impl core::error::Error for OutOfRange {}
