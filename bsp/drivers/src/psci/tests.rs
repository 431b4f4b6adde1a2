use std::sync::Mutex;
use std::vec::Vec;

use sis_hal::{CpuPower, FirmwareCall, Mpidr, PhysAddr, Power, PowerError, StartCpuError};

use super::{CpuState, Psci, PsciError, Version};

/// Firmware that answers each function as it is told, and keeps what it was asked.
struct Firmware {
    version: u64,
    answer: Mutex<u64>,
    calls: Mutex<Vec<(u32, [u64; 3])>>,
}

impl Firmware {
    fn new(version: u64) -> Self {
        Self {
            version,
            answer: Mutex::new(0),
            calls: Mutex::new(Vec::new()),
        }
    }

    /// An int32 as firmware returns it: QEMU and TF-A extend the sign or do not, `w0` is what counts.
    fn answer_with(&self, code: i32) {
        *self.answer.lock().unwrap() = u64::from(code as u32);
    }

    fn last(&self) -> (u32, [u64; 3]) {
        *self.calls.lock().unwrap().last().unwrap()
    }
}

impl FirmwareCall for Firmware {
    fn call(&self, function: u32, args: [u64; 3]) -> u64 {
        self.calls.lock().unwrap().push((function, args));
        if function == 0x8400_0000 {
            self.version
        } else {
            *self.answer.lock().unwrap()
        }
    }
}

#[test]
fn versions() {
    assert_eq!(
        Psci::new(&Firmware::new(0x1_0001)).map(|psci| psci.version()),
        Ok(Version { major: 1, minor: 1 })
    );
    assert_eq!(std::format!("{}", Version { major: 1, minor: 1 }), "PSCI 1.1");
    assert!(Psci::new(&Firmware::new(2)).is_ok());
    for absent in [u64::MAX, 0xffff_ffff, 0x8000_0000, 1, 0] {
        assert_eq!(
            Psci::new(&Firmware::new(absent)).err(),
            Some(PsciError::NotPresent),
            "{absent:#x}"
        );
    }
}

#[test]
fn cpu_on_passes_who_where_and_what() {
    let firmware = Firmware::new(0x1_0000);
    let psci = Psci::new(&firmware).unwrap();
    let (mpidr, entry) = (Mpidr::new(0x01_8000_0102), PhysAddr(0x4008_0000));
    assert_eq!(psci.start_cpu(mpidr, entry, 7), Ok(()));
    assert_eq!(firmware.last(), (0xc400_0003, [0x01_0000_0102, 0x4008_0000, 7]));
}

#[test]
fn every_refusal_has_its_name() {
    let firmware = Firmware::new(0x1_0000);
    let psci = Psci::new(&firmware).unwrap();
    let (mpidr, entry) = (Mpidr::new(3), PhysAddr(0x1000));
    for (code, error) in [
        (-1, StartCpuError::NotSupported),
        (-2, StartCpuError::NoSuchCpu(mpidr)),
        (-3, StartCpuError::Firmware(-3)),
        (-4, StartCpuError::AlreadyOn(mpidr)),
        (-5, StartCpuError::Pending(mpidr)),
        (-6, StartCpuError::Firmware(-6)),
        (-7, StartCpuError::NoSuchCpu(mpidr)),
        (-9, StartCpuError::BadEntry(entry)),
    ] {
        firmware.answer_with(code);
        assert_eq!(psci.start_cpu(mpidr, entry, 0), Err(error));
    }
}

#[test]
fn power_calls_that_return_say_why() {
    let firmware = Firmware::new(0x1_0000);
    let psci = Psci::new(&firmware).unwrap();
    assert_eq!(psci.power_off(), PowerError::NoEffect);
    assert_eq!(firmware.last().0, 0x8400_0008);
    firmware.answer_with(-1);
    assert_eq!(psci.reboot(), PowerError::NotSupported);
    assert_eq!(firmware.last().0, 0x8400_0009);
    firmware.answer_with(-3);
    assert_eq!(psci.cpu_off(), PowerError::Firmware(-3));
    assert_eq!(firmware.last().0, 0x8400_0002);
}

#[test]
fn cpu_states() {
    let firmware = Firmware::new(0x1_0000);
    let psci = Psci::new(&firmware).unwrap();
    for (code, state) in [
        (0, Some(CpuState::On)),
        (1, Some(CpuState::Off)),
        (2, Some(CpuState::OnPending)),
        (-2, None),
        (9, None),
    ] {
        firmware.answer_with(code);
        assert_eq!(psci.cpu_state(Mpidr::new(1)), state);
    }
}
