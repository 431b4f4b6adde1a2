use std::sync::Mutex;
use std::vec::Vec;

use sis_hal::{CpuPower, MAX_CPUS, Mpidr, PhysAddr, ReleaseMemory, StartCpuError};

use super::SpinTable;

#[derive(Default)]
struct Memory(Mutex<Vec<(u64, u64)>>);

impl ReleaseMemory for Memory {
    fn write_release(&self, address: PhysAddr, value: u64) -> bool {
        let is_writable = address.as_u64() < 0x1000 && address.is_aligned(8);
        if is_writable {
            self.0.lock().unwrap().push((address.as_u64(), value));
        }
        is_writable
    }
}

fn pi4(memory: &Memory) -> SpinTable<&Memory> {
    SpinTable::new(memory, (0..4).map(|core| (Mpidr::new(core), PhysAddr(0xd8 + 8 * core))))
}

const ENTRY: PhysAddr = PhysAddr(0x20_0000);

#[test]
fn releases_each_cpu_once_at_its_own_address() {
    let memory = Memory::default();
    let table = pi4(&memory);
    for core in 1..4 {
        assert_eq!(table.start_cpu(Mpidr::new(core), ENTRY, 0), Ok(()));
    }
    assert_eq!(
        *memory.0.lock().unwrap(),
        [(0xe0, 0x20_0000), (0xe8, 0x20_0000), (0xf0, 0x20_0000)]
    );
    assert_eq!(
        table.start_cpu(Mpidr::new(2), ENTRY, 0),
        Err(StartCpuError::AlreadyOn(Mpidr::new(2)))
    );
    assert_eq!(memory.0.lock().unwrap().len(), 3);
}

#[test]
fn refuses_what_would_be_lost() {
    let memory = Memory::default();
    let table = pi4(&memory);
    let stranger = Mpidr::new(4);
    assert_eq!(
        table.start_cpu(stranger, ENTRY, 0),
        Err(StartCpuError::NoSuchCpu(stranger))
    );
    for entry in [PhysAddr(0), PhysAddr(0x20_0002)] {
        assert_eq!(
            table.start_cpu(Mpidr::new(1), entry, 0),
            Err(StartCpuError::BadEntry(entry))
        );
    }
    assert!(memory.0.lock().unwrap().is_empty());
}

#[test]
fn a_wrong_release_address_is_an_error_each_time() {
    let memory = Memory::default();
    let table = SpinTable::new(&memory, [(Mpidr::new(1), PhysAddr(0xdead_0000))]);
    for _ in 0..2 {
        let refused = table.start_cpu(Mpidr::new(1), ENTRY, 0);
        assert_eq!(refused, Err(StartCpuError::BadRelease(PhysAddr(0xdead_0000))));
    }
}

#[test]
fn more_cpus_than_the_kernel_takes_are_left_waiting() {
    let memory = Memory::default();
    let many = (0..MAX_CPUS as u64 + 1).map(|core| (Mpidr::new(core), PhysAddr(8 * core)));
    let table = SpinTable::new(&memory, many);
    let last = Mpidr::new(MAX_CPUS as u64);
    assert_eq!(table.start_cpu(last, ENTRY, 0), Err(StartCpuError::NoSuchCpu(last)));
}
