//! Host tests of the parts of the interfaces that have behaviour of their own.

extern crate std;

use core::sync::atomic::{AtomicU64, Ordering};
use std::format;
use std::sync::Mutex;
use std::vec;
use std::vec::Vec;

use crate::registers::access_is_valid;
use crate::{
    AcknowledgedIrq, BusAddr, Clock, ConsoleDevice, CpuId, DmaBuffer, IrqError, IrqNumber, MacAddr, Mpidr, OutOfRange,
    PhysAddr, Registers, Timeout, Window, delay_ns, wait_until,
};

/// A clock that advances by `step_ns` whenever it is read.
struct StepClock {
    now_ns: AtomicU64,
    step_ns: u64,
}

impl StepClock {
    fn new(step_ns: u64) -> Self {
        Self {
            now_ns: AtomicU64::new(0),
            step_ns,
        }
    }
}

impl Clock for StepClock {
    fn now_ns(&self) -> u64 {
        self.now_ns.fetch_add(self.step_ns, Ordering::Relaxed)
    }
}

struct Memory(Mutex<Vec<u8>>);

impl Memory {
    fn counting(len: u8) -> Self {
        Self(Mutex::new((0..len).collect()))
    }
    fn get<const N: usize>(&self, offset: usize) -> [u8; N] {
        self.0.lock().unwrap()[offset..offset + N].try_into().unwrap()
    }
    fn set(&self, offset: usize, bytes: &[u8]) {
        self.0.lock().unwrap()[offset..offset + bytes.len()].copy_from_slice(bytes);
    }
}

impl Registers for Memory {
    fn size(&self) -> usize {
        self.0.lock().unwrap().len()
    }
    fn read8(&self, offset: usize) -> u8 {
        u8::from_le_bytes(self.get(offset))
    }
    fn read16(&self, offset: usize) -> u16 {
        u16::from_le_bytes(self.get(offset))
    }
    fn read32(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.get(offset))
    }
    fn read64(&self, offset: usize) -> u64 {
        u64::from_le_bytes(self.get(offset))
    }
    fn write8(&self, offset: usize, value: u8) {
        self.set(offset, &value.to_le_bytes());
    }
    fn write16(&self, offset: usize, value: u16) {
        self.set(offset, &value.to_le_bytes());
    }
    fn write32(&self, offset: usize, value: u32) {
        self.set(offset, &value.to_le_bytes());
    }
    fn write64(&self, offset: usize, value: u64) {
        self.set(offset, &value.to_le_bytes());
    }
}

impl DmaBuffer for Memory {
    fn len(&self) -> usize {
        self.size()
    }
    fn bus_addr(&self) -> BusAddr {
        BusAddr(0xc000_0000)
    }
    fn read(&self, offset: usize, out: &mut [u8]) -> Result<(), OutOfRange> {
        let memory = self.0.lock().unwrap();
        let end = offset.checked_add(out.len()).ok_or(OutOfRange)?;
        out.copy_from_slice(memory.get(offset..end).ok_or(OutOfRange)?);
        Ok(())
    }
    fn write(&self, offset: usize, data: &[u8]) -> Result<(), OutOfRange> {
        let mut memory = self.0.lock().unwrap();
        let end = offset.checked_add(data.len()).ok_or(OutOfRange)?;
        memory.get_mut(offset..end).ok_or(OutOfRange)?.copy_from_slice(data);
        Ok(())
    }
    fn sync_for_device(&self, _range: core::ops::Range<usize>) {}
    fn sync_for_cpu(&self, _range: core::ops::Range<usize>) {}
}

#[test]
fn addresses_align_and_do_not_wrap_silently() {
    assert_eq!(PhysAddr(0x1234).align_down(0x1000), PhysAddr(0x1000));
    assert_eq!(PhysAddr(0x1234).checked_align_up(0x1000), Some(PhysAddr(0x2000)));
    assert_eq!(PhysAddr(0x2000).checked_align_up(0x1000), Some(PhysAddr(0x2000)));
    assert_eq!(PhysAddr(u64::MAX).checked_align_up(0x1000), None);
    assert_eq!(PhysAddr(u64::MAX).checked_add(1), None);
    assert_eq!(PhysAddr(5).checked_offset_from(PhysAddr(6)), None);
    assert!(PhysAddr(0x4000).is_aligned(0x4000));
    assert!(!PhysAddr(0x4001).is_aligned(2));
    assert_eq!(
        format!("{} {}", PhysAddr(0x4000_0000), BusAddr(0xc0)),
        "0x40000000 bus 0xc0"
    );
}

#[test]
fn interrupt_numbers_know_their_kind() {
    assert!(IrqNumber::sgi(15).is_sgi());
    assert!(IrqNumber::ppi(14).is_ppi());
    assert_eq!(IrqNumber::ppi(14), IrqNumber(30));
    assert!(IrqNumber::spi(0).is_spi());
    assert_eq!(IrqNumber::spi(121).as_u32(), 153);
    assert!(!IrqNumber(1023).is_spi());
    assert_eq!(format!("{} on {}", IrqNumber(30), CpuId(2)), "irq 30 on cpu2");
}

#[test]
fn mpidr_keeps_the_affinity_alone() {
    let mpidr = Mpidr::new(0x8000_0000 | 0x4100_0000 | (7 << 32) | 0x01_0203);
    assert_eq!((mpidr.aff3(), mpidr.aff2(), mpidr.aff1(), mpidr.aff0()), (7, 1, 2, 3));
    assert_eq!(mpidr.packed(), 0x0701_0203);
    assert_eq!(mpidr.as_u64(), 0x07_0001_0203);
    assert_eq!(format!("{mpidr}"), "7.1.2.3");
}

#[test]
fn wait_succeeds_at_once_or_later() {
    let clock = StepClock::new(10);
    assert_eq!(wait_until(&clock, 0, || true), Ok(()));
    let mut polls = 0;
    let ready_on_fifth = || {
        polls += 1;
        polls == 5
    };
    assert_eq!(wait_until(&clock, 1000, ready_on_fifth), Ok(()));
}

#[test]
fn wait_ends_for_a_device_that_never_answers() {
    let clock = StepClock::new(10);
    let mut polls = 0;
    let never = || {
        polls += 1;
        false
    };
    assert_eq!(wait_until(&clock, 1000, never), Err(Timeout));
    assert!(polls > 90, "polled only {polls} times");
}

#[test]
fn wait_asks_again_after_a_pause_longer_than_the_timeout() {
    // One reading of this clock is longer than the whole wait, as when the waiter was descheduled.
    let clock = StepClock::new(1_000_000);
    let mut answers = [false, true].into_iter();
    assert_eq!(wait_until(&clock, 1000, || answers.next().unwrap()), Ok(()));
}

#[test]
fn delay_passes_the_time() {
    let clock = StepClock::new(7);
    delay_ns(&clock, 100);
    assert!(clock.now_ns() >= 100);
}

#[test]
fn access_checks() {
    assert!(access_is_valid(16, 12, 4));
    assert!(!access_is_valid(16, 13, 4));
    assert!(!access_is_valid(16, 16, 1));
    assert!(!access_is_valid(16, 10, 4));
    assert!(!access_is_valid(16, usize::MAX - 1, 2));
}

#[test]
fn window_shifts_and_bounds() {
    let memory = Memory::counting(64);
    let window = Window::new(&memory, 16, 16).unwrap();
    assert_eq!(window.size(), 16);
    assert_eq!(window.read8(0), 16);
    assert_eq!(window.read16(2), 0x1312);
    assert_eq!(window.read64(8), 0x1f1e_1d1c_1b1a_1918);
    window.write32(12, 0xdead_beef);
    assert_eq!(memory.read32(28), 0xdead_beef);
    assert!(Window::new(&memory, 56, 16).is_none());
    assert!(Window::new(&memory, usize::MAX - 7, 16).is_none());
    assert!(Window::new(&memory, 4, 8).is_none());
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "in a window of")]
fn window_panics_outside_with_debug_assertions() {
    let memory = Memory::counting(64);
    let window = Window::new(&memory, 16, 16).unwrap();
    window.read32(16);
}

#[test]
fn dma_helpers_are_little_endian_and_bounded() {
    let memory = Memory::counting(16);
    assert_eq!(memory.read_u32(4), Ok(0x0706_0504));
    assert_eq!(memory.write_u64(8, 0x1122_3344_5566_7788), Ok(()));
    assert_eq!(memory.read_u64(8), Ok(0x1122_3344_5566_7788));
    assert_eq!(memory.read_u32(13), Err(OutOfRange));
    assert_eq!(memory.write_u64(usize::MAX, 0), Err(OutOfRange));
}

#[test]
fn console_stops_at_the_first_byte_not_taken() {
    struct Short(Mutex<Vec<u8>>);
    impl ConsoleDevice for Short {
        fn name(&self) -> &'static str {
            "short"
        }
        fn write_byte_blocking(&self, byte: u8) -> Result<(), Timeout> {
            let mut taken = self.0.lock().unwrap();
            if taken.len() == 3 {
                return Err(Timeout);
            }
            taken.push(byte);
            Ok(())
        }
        fn try_read(&self) -> Option<u8> {
            None
        }
        fn enable_rx_interrupt(&self) {}
        fn acknowledge_interrupt(&self) {}
        fn flush(&self) -> Result<(), Timeout> {
            Ok(())
        }
    }
    let console = Short(Mutex::new(vec![]));
    assert_eq!(console.write_bytes(b"hello"), 3);
    assert_eq!(*console.0.lock().unwrap(), b"hel");
}

#[test]
fn messages_say_what_happened() {
    assert_eq!(
        format!("{}", MacAddr([0x52, 0x54, 0, 0x12, 0x34, 0x56])),
        "52:54:00:12:34:56"
    );
    assert_eq!(
        format!("{}", IrqError::NoSuchCpu(CpuId(9))),
        "cpu9 is not known to the interrupt controller; initialise it first"
    );
    assert_eq!(AcknowledgedIrq::new(IrqNumber(3), 0x403).number(), IrqNumber(3));
}

#[test]
fn a_dma_window_checks_the_whole_range() {
    let window = crate::DmaWindow {
        start: PhysAddr(0x1000),
        len: 0x3000,
        bus_start: BusAddr(0xc000_0000),
    };
    assert_eq!(window.bus_addr(PhysAddr(0x1000), 0x3000), Some(BusAddr(0xc000_0000)));
    assert_eq!(window.bus_addr(PhysAddr(0x3fff), 1), Some(BusAddr(0xc000_2fff)));
    assert_eq!(window.bus_addr(PhysAddr(0x3fff), 2), None);
    assert_eq!(window.bus_addr(PhysAddr(0xfff), 1), None);
    assert_eq!(window.bus_addr(PhysAddr(u64::MAX), u64::MAX), None);
    assert_eq!(crate::DmaWindow::ALL.bus_addr(PhysAddr(7), 9), Some(BusAddr(7)));
}
