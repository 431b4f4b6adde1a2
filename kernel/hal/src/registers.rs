//! Device registers without addresses.

/// The registers of one device: a window of device memory of [`Registers::size`] bytes.
///
/// # What an implementation promises
///
/// * Every call is exactly one access of that width, in program order with respect to other accesses to the same
///   device, never merged, repeated or left out by the compiler.
/// * A write to a [`DmaBuffer`](crate::DmaBuffer) that was followed by `sync_for_device` is visible to the device before
///   a register write that comes after.
/// * An access that is out of range or not naturally aligned is a driver's bug: it panics with debug assertions; without
///   them a read gives all ones and a write does nothing, like an empty bus.
/// * Accesses are little-endian.
pub trait Registers: Send + Sync {
    /// Bytes in the window.
    fn size(&self) -> usize;

    /// Reads the byte at `offset`.
    fn read8(&self, offset: usize) -> u8;
    /// Reads the 16-bit register at `offset`.
    fn read16(&self, offset: usize) -> u16;
    /// Reads the 32-bit register at `offset`.
    fn read32(&self, offset: usize) -> u32;
    /// Reads the 64-bit register at `offset`.
    fn read64(&self, offset: usize) -> u64;

    /// Writes the byte at `offset`.
    fn write8(&self, offset: usize, value: u8);
    /// Writes the 16-bit register at `offset`.
    fn write16(&self, offset: usize, value: u16);
    /// Writes the 32-bit register at `offset`.
    fn write32(&self, offset: usize, value: u32);
    /// Writes the 64-bit register at `offset`.
    fn write64(&self, offset: usize, value: u64);
}

impl<R: Registers + ?Sized> Registers for &R {
    fn size(&self) -> usize {
        (**self).size()
    }
    fn read8(&self, offset: usize) -> u8 {
        (**self).read8(offset)
    }
    fn read16(&self, offset: usize) -> u16 {
        (**self).read16(offset)
    }
    fn read32(&self, offset: usize) -> u32 {
        (**self).read32(offset)
    }
    fn read64(&self, offset: usize) -> u64 {
        (**self).read64(offset)
    }
    fn write8(&self, offset: usize, value: u8) {
        (**self).write8(offset, value);
    }
    fn write16(&self, offset: usize, value: u16) {
        (**self).write16(offset, value);
    }
    fn write32(&self, offset: usize, value: u32) {
        (**self).write32(offset, value);
    }
    fn write64(&self, offset: usize, value: u64) {
        (**self).write64(offset, value);
    }
}

/// Whether an access of `width` bytes at `offset` lies inside `size` bytes and is naturally aligned.
///
/// For implementations of [`Registers`], so that they all refuse the same accesses.
pub const fn access_is_valid(size: usize, offset: usize, width: usize) -> bool {
    match offset.checked_add(width) {
        Some(end) => end <= size && offset.is_multiple_of(width),
        None => false,
    }
}

/// A part of a larger register window, for a device that shares its page with others.
#[derive(Clone, Copy, Debug)]
pub struct Window<R> {
    inner: R,
    base: usize,
    size: usize,
}

impl<R: Registers> Window<R> {
    /// The `size` bytes of `inner` from `base` on, or `None` when they are not all inside.
    ///
    /// `base` must be a multiple of 8 so that alignment means the same inside and outside; other values give `None`.
    pub fn new(inner: R, base: usize, size: usize) -> Option<Self> {
        let end = base.checked_add(size)?;
        (end <= inner.size() && base.is_multiple_of(8)).then_some(Self { inner, base, size })
    }

    /// Where an access of `width` bytes goes in the outer window; an offset outside is refused here, not there.
    fn outer(&self, offset: usize, width: usize) -> Option<usize> {
        let is_valid = access_is_valid(self.size, offset, width);
        debug_assert!(
            is_valid,
            "access of {width} bytes at {offset:#x} in a window of {:#x}",
            self.size
        );
        is_valid.then(|| self.base + offset)
    }
}

impl<R: Registers> Registers for Window<R> {
    fn size(&self) -> usize {
        self.size
    }
    fn read8(&self, offset: usize) -> u8 {
        self.outer(offset, 1).map_or(u8::MAX, |at| self.inner.read8(at))
    }
    fn read16(&self, offset: usize) -> u16 {
        self.outer(offset, 2).map_or(u16::MAX, |at| self.inner.read16(at))
    }
    fn read32(&self, offset: usize) -> u32 {
        self.outer(offset, 4).map_or(u32::MAX, |at| self.inner.read32(at))
    }
    fn read64(&self, offset: usize) -> u64 {
        self.outer(offset, 8).map_or(u64::MAX, |at| self.inner.read64(at))
    }
    fn write8(&self, offset: usize, value: u8) {
        if let Some(at) = self.outer(offset, 1) {
            self.inner.write8(at, value);
        }
    }
    fn write16(&self, offset: usize, value: u16) {
        if let Some(at) = self.outer(offset, 2) {
            self.inner.write16(at, value);
        }
    }
    fn write32(&self, offset: usize, value: u32) {
        if let Some(at) = self.outer(offset, 4) {
            self.inner.write32(at, value);
        }
    }
    fn write64(&self, offset: usize, value: u64) {
        if let Some(at) = self.outer(offset, 8) {
            self.inner.write64(at, value);
        }
    }
}
