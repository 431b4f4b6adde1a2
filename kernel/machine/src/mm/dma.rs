//! Memory that devices see.

use core::ops::Range;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use sis_hal::{BusAddr, DmaBuffer, OutOfRange};

use super::{PAGE_SHIFT, PAGE_SIZE, frames, linear};

/// Contiguous, zeroed memory for one device.
pub struct DmaMemory {
    pfn: usize,
    order: usize,
    len: usize,
    /// What the device adds to a physical address.
    bus_offset: u64,
}

impl DmaMemory {
    /// `len` bytes, page aligned; `None` without memory.
    pub fn new(len: usize, bus_offset: u64) -> Option<Self> {
        let order = len.div_ceil(PAGE_SIZE).max(1).next_power_of_two().trailing_zeros() as usize;
        let pfn = frames::take_block(order)?;
        // SAFETY: (1) RAM just taken from the allocator.
        unsafe { core::ptr::write_bytes(linear(pfn << PAGE_SHIFT), 0, PAGE_SIZE << order) };
        Some(Self {
            pfn,
            order,
            len: len.max(1),
            bus_offset,
        })
    }

    /// As [`Self::new`], for a device that reaches only memory below `limit` and sees it at `bus_offset` from there.
    pub fn new_below(len: usize, limit: u64, bus_offset: u64) -> Option<Self> {
        // Blocks that lie too high are held back until one lies right, so that the next try cannot give them again.
        let mut held = alloc::vec::Vec::new();
        for _ in 0..256 {
            let block = Self::new(len, bus_offset)?;
            if ((block.pfn << PAGE_SHIFT) + (PAGE_SIZE << block.order)) as u64 <= limit {
                return Some(block);
            }
            held.push(block);
        }
        None
    }

    fn ptr(&self, offset: usize, len: usize) -> Result<*mut u8, OutOfRange> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len => Ok(linear((self.pfn << PAGE_SHIFT) + offset)),
            _ => Err(OutOfRange),
        }
    }

    /// Cleans and invalidates the lines of a range, for devices that do not look into the caches.
    fn maintain(&self, range: Range<usize>) {
        let start = range.start.min(self.len);
        let base = linear(self.pfn << PAGE_SHIFT) as usize;
        clean_and_invalidate(base + start, range.end.min(self.len).saturating_sub(start));
        crate::cpu::barrier_device();
    }
}

/// Cleans and invalidates the cache lines that `len` bytes from `at` lie in; the caller puts the barrier after it.
pub(super) fn clean_and_invalidate(at: usize, len: usize) {
    let line = 4usize << ((crate::cpu::ctr() >> 16) & 0xf);
    let end = at + len;
    let mut at = at & !(line - 1);
    while at < end {
        // SAFETY: (1) maintenance by address changes no memory that is not the cache's own newer copy; (2) the range is
        // RAM in the linear map, which every caller owns a reference to.
        unsafe { core::arch::asm!("dc civac, {0}", in(reg) at, options(nostack)) };
        at += line;
    }
}

impl Drop for DmaMemory {
    fn drop(&mut self) {
        frames::give_block(self.pfn, self.order);
    }
}

impl DmaBuffer for DmaMemory {
    fn len(&self) -> usize {
        self.len
    }

    fn bus_addr(&self) -> BusAddr {
        BusAddr((self.pfn << PAGE_SHIFT) as u64 + self.bus_offset)
    }

    fn read(&self, offset: usize, out: &mut [u8]) -> Result<(), OutOfRange> {
        let from = self.ptr(offset, out.len())?;
        // SAFETY: (1) inside the buffer; the device may write meanwhile: any mix of bytes is valid.
        unsafe { core::ptr::copy_nonoverlapping(from, out.as_mut_ptr(), out.len()) };
        Ok(())
    }

    fn write(&self, offset: usize, data: &[u8]) -> Result<(), OutOfRange> {
        let to = self.ptr(offset, data.len())?;
        // SAFETY: (1) inside the buffer.
        unsafe { core::ptr::copy_nonoverlapping(data.as_ptr(), to, data.len()) };
        Ok(())
    }

    fn sync_for_device(&self, range: Range<usize>) {
        self.maintain(range);
    }

    fn sync_for_cpu(&self, range: Range<usize>) {
        self.maintain(range);
    }

    fn read_u32(&self, offset: usize) -> Result<u32, OutOfRange> {
        let at = self.ptr(offset, 4)?;
        if !offset.is_multiple_of(4) {
            let mut b = [0; 4];
            self.read(offset, &mut b)?;
            return Ok(u32::from_le_bytes(b));
        }
        // SAFETY: (1) aligned, inside the buffer.
        Ok(unsafe { AtomicU32::from_ptr(at.cast()) }.load(Ordering::Acquire))
    }

    fn read_u64(&self, offset: usize) -> Result<u64, OutOfRange> {
        let at = self.ptr(offset, 8)?;
        if !offset.is_multiple_of(8) {
            let mut b = [0; 8];
            self.read(offset, &mut b)?;
            return Ok(u64::from_le_bytes(b));
        }
        // SAFETY: (1) aligned, inside the buffer.
        Ok(unsafe { AtomicU64::from_ptr(at.cast()) }.load(Ordering::Acquire))
    }
}
