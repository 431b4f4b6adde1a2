//! Simulated hardware: what the tests of every driver share.

use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::vec::Vec;

use sis_hal::registers::access_is_valid;
use sis_hal::{BusAddr, Clock, DmaBuffer, OutOfRange, Registers};

/// The behaviour of a simulated device, seen through its registers.
pub trait Device: Send {
    /// Bytes of register space.
    const SIZE: usize;

    /// What a 32-bit read of `offset` gives, with its side effects.
    fn read(&mut self, offset: usize) -> u32;

    /// What a 32-bit write to `offset` does.
    fn write(&mut self, offset: usize, value: u32);

    /// A byte write; by default a device does not take them and the test fails.
    fn write_byte(&mut self, offset: usize, value: u8) {
        panic!("the device takes no byte write ({value:#x} at {offset:#x})");
    }
}

/// A simulated device behind [`Registers`].
///
/// Refuses, by panic, what real hardware would answer with an abort: accesses outside its space or not aligned.
#[derive(Debug, Default)]
pub struct Sim<D>(Mutex<D>);

impl<D: Device> Sim<D> {
    /// Puts `device` on the bus.
    pub fn new(device: D) -> Self {
        Self(Mutex::new(device))
    }

    /// The device itself, to arrange its state or look at it.
    pub fn device(&self) -> MutexGuard<'_, D> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, offset: usize, width: usize) {
        assert!(
            access_is_valid(D::SIZE, offset, width),
            "bus fault: {width} bytes at {offset:#x}"
        );
    }
}

impl<D: Device> Registers for Sim<D> {
    fn size(&self) -> usize {
        D::SIZE
    }
    fn read8(&self, offset: usize) -> u8 {
        self.check(offset, 1);
        (self.device().read(offset & !3) >> (8 * (offset & 3))) as u8
    }
    fn read16(&self, offset: usize) -> u16 {
        self.check(offset, 2);
        (self.device().read(offset & !3) >> (8 * (offset & 2))) as u16
    }
    fn read32(&self, offset: usize) -> u32 {
        self.check(offset, 4);
        self.device().read(offset)
    }
    fn read64(&self, offset: usize) -> u64 {
        self.check(offset, 8);
        let mut device = self.device();
        u64::from(device.read(offset)) | (u64::from(device.read(offset + 4)) << 32)
    }
    fn write8(&self, offset: usize, value: u8) {
        self.check(offset, 1);
        self.device().write_byte(offset, value);
    }
    fn write16(&self, offset: usize, value: u16) {
        panic!("no simulated device takes 16-bit writes ({value:#x} at {offset:#x})");
    }
    fn write32(&self, offset: usize, value: u32) {
        self.check(offset, 4);
        self.device().write(offset, value);
    }
    fn write64(&self, offset: usize, value: u64) {
        self.check(offset, 8);
        let mut device = self.device();
        device.write(offset, value as u32);
        device.write(offset + 4, (value >> 32) as u32);
    }
}

/// A bus with nothing on it: reads give all ones, writes are lost.
#[derive(Debug, Default)]
pub struct Absent;

impl Device for Absent {
    const SIZE: usize = 0x20_0000;

    fn read(&mut self, _offset: usize) -> u32 {
        u32::MAX
    }
    fn write(&mut self, _offset: usize, _value: u32) {}
    fn write_byte(&mut self, _offset: usize, _value: u8) {}
}

/// A clock that moves on by a fixed step whenever it is read, so that every bounded wait ends.
#[derive(Debug)]
pub struct SimClock {
    now_ns: AtomicU64,
    step_ns: u64,
}

impl SimClock {
    /// A clock at 0 that moves by `step_ns` a reading.
    pub const fn new(step_ns: u64) -> Self {
        Self {
            now_ns: AtomicU64::new(0),
            step_ns,
        }
    }
}

impl Default for SimClock {
    /// Moves by 10 µs a reading.
    fn default() -> Self {
        Self::new(10_000)
    }
}

impl Clock for SimClock {
    fn now_ns(&self) -> u64 {
        self.now_ns.fetch_add(self.step_ns, Ordering::Relaxed)
    }
}

/// Memory that driver and simulated device share, with a write-back cache between them: what the CPU wrote reaches the
/// device at `sync_for_device`, what the device wrote reaches the CPU at `sync_for_cpu`. A driver that forgets one of
/// them fails its tests.
#[derive(Debug)]
pub struct SimDma {
    bus_addr: BusAddr,
    len: usize,
    cached: Mutex<Vec<u8>>,
    memory: Mutex<Vec<u8>>,
}

impl SimDma {
    /// `len` zero bytes that the device sees at `bus_addr`.
    pub fn new(bus_addr: BusAddr, len: usize) -> Self {
        Self {
            bus_addr,
            len,
            cached: Mutex::new(std::vec![0; len]),
            memory: Mutex::new(std::vec![0; len]),
        }
    }

    /// The memory as the device sees it.
    pub fn device_view(&self) -> MutexGuard<'_, Vec<u8>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cpu_view(&self) -> MutexGuard<'_, Vec<u8>> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clip(&self, range: core::ops::Range<usize>) -> core::ops::Range<usize> {
        range.start.min(self.len)..range.end.min(self.len)
    }
}

impl DmaBuffer for SimDma {
    fn len(&self) -> usize {
        self.len
    }
    fn bus_addr(&self) -> BusAddr {
        self.bus_addr
    }
    fn read(&self, offset: usize, out: &mut [u8]) -> Result<(), OutOfRange> {
        let end = offset.checked_add(out.len()).ok_or(OutOfRange)?;
        out.copy_from_slice(self.cpu_view().get(offset..end).ok_or(OutOfRange)?);
        Ok(())
    }
    fn write(&self, offset: usize, data: &[u8]) -> Result<(), OutOfRange> {
        let end = offset.checked_add(data.len()).ok_or(OutOfRange)?;
        self.cpu_view()
            .get_mut(offset..end)
            .ok_or(OutOfRange)?
            .copy_from_slice(data);
        Ok(())
    }
    fn sync_for_device(&self, range: core::ops::Range<usize>) {
        let range = self.clip(range);
        let written = self.cpu_view()[range.clone()].to_vec();
        self.device_view()[range].copy_from_slice(&written);
    }
    fn sync_for_cpu(&self, range: core::ops::Range<usize>) {
        let range = self.clip(range);
        let written = self.device_view()[range.clone()].to_vec();
        self.cpu_view()[range].copy_from_slice(&written);
    }
}
