use std::sync::Mutex;
use std::vec;
use std::vec::Vec;

use super::descriptor::{DeviceDescriptor, Part, hardware_address, parts};
use super::enumerate::Visitor;
use super::sim::{MAC, Peripheral, SPEED, SimBus, SimDevice, SimEther, SimHub};
use super::{CdcEther, Device, Setup, Speed, UsbError, enumerate};

#[derive(Default)]
struct Seen {
    devices: Vec<(Device, DeviceDescriptor)>,
    errors: Vec<UsbError>,
}

impl Visitor for Seen {
    fn device(&mut self, device: &Device, descriptor: &DeviceDescriptor) -> bool {
        self.devices.push((*device, *descriptor));
        false
    }
    fn failed(&mut self, error: UsbError) {
        self.errors.push(error);
    }
}

fn bus(device: SimDevice) -> SimBus {
    SimBus(Mutex::new(device))
}

/// Answers nothing.
struct Dead;
impl Peripheral for Dead {
    fn control(&mut self, _setup: Setup) -> Option<Vec<u8>> {
        None
    }
}

/// Answers every request with these bytes.
struct Says(Vec<u8>);
impl Peripheral for Says {
    fn control(&mut self, _setup: Setup) -> Option<Vec<u8>> {
        Some(self.0.clone())
    }
}

#[test]
fn devices_behind_hubs_are_found_and_set_up() {
    let inner = SimHub::new(vec![None, Some(SimDevice::new(SimEther::default()))]);
    let outer = SimHub::new(vec![
        None,
        Some(SimDevice::new(Dead)),
        Some(SimDevice::new(inner)),
        Some(SimDevice::new(SimEther::default())),
    ]);
    let bus = bus(SimDevice::new(outer));
    let mut seen = Seen::default();
    assert_eq!(enumerate(&bus, SPEED, &mut seen), Ok(false));
    assert_eq!(
        seen.errors,
        [UsbError::Stall],
        "the dead one is told of, and passed over"
    );
    assert_eq!(seen.devices.len(), 2);
    let addresses: Vec<u8> = seen.devices.iter().map(|(d, _)| d.address).collect();
    assert!(addresses.iter().all(|a| *a > 1) && addresses[0] != addresses[1]);
    for (device, descriptor) in &seen.devices {
        let cdc = CdcEther::configure(&bus, device, descriptor).unwrap().unwrap();
        assert_eq!(cdc.mac.0, MAC);
        assert_eq!((cdc.bulk_in.number, cdc.bulk_in.packet_bytes), (2, 64));
        assert_eq!((cdc.bulk_out.number, cdc.bulk_out.packet_bytes), (2, 64));
    }
}

#[test]
fn a_root_device_that_fails_is_an_error() {
    let mut seen = Seen::default();
    assert_eq!(
        enumerate(&bus(SimDevice::new(Dead)), SPEED, &mut seen),
        Err(UsbError::Stall)
    );
    for bytes in [vec![], vec![18; 18], vec![18, 1, 0, 2, 2, 0, 0, 63]] {
        assert_eq!(
            enumerate(&bus(SimDevice::new(Says(bytes))), SPEED, &mut seen),
            Err(UsbError::BadDescriptor)
        );
    }
}

#[test]
fn hubs_without_end_end() {
    // A hub whose every port has such a hub, deeper than any bus may be.
    let mut device = SimDevice::new(SimEther::default());
    for _ in 0..9 {
        device = SimDevice::new(SimHub::new(vec![Some(device)]));
    }
    let mut seen = Seen::default();
    assert_eq!(enumerate(&bus(device), SPEED, &mut seen), Ok(false));
    assert!(seen.devices.is_empty());
    assert_eq!(seen.errors, [UsbError::BadDescriptor]);
}

#[test]
fn more_devices_than_a_board_has_are_passed_over() {
    let many = (0..40).map(|_| Some(SimDevice::new(SimEther::default()))).collect();
    let mut seen = Seen::default();
    assert_eq!(
        enumerate(&bus(SimDevice::new(SimHub::new(many))), SPEED, &mut seen),
        Ok(false)
    );
    assert_eq!(seen.devices.len(), 15);
}

#[test]
fn a_slow_device_behind_a_fast_hub_needs_splits() {
    let hub = SimHub::new(vec![Some(SimDevice::new(SimEther::default()))]);
    let mut seen = Seen::default();
    assert_eq!(enumerate(&bus(SimDevice::new(hub)), Speed::High, &mut seen), Ok(false));
    assert_eq!(seen.errors, [UsbError::NeedsSplit]);
}

#[test]
fn broken_configurations_end_where_they_break() {
    assert_eq!(parts(&[0, 4, 0]).count(), 0, "a length of 0");
    assert_eq!(parts(&[1]).count(), 0);
    assert_eq!(parts(&[9, 4, 0, 0, 0]).count(), 0, "longer than what is there");
    assert_eq!(
        parts(&[2, 4]).collect::<Vec<_>>(),
        [Part::Other],
        "too short to be an interface"
    );
    assert_eq!(parts(&[2, 0x24]).collect::<Vec<_>>(), [Part::Other]);
}

#[test]
fn hardware_addresses_are_twelve_digits() {
    let text = |digits: &str| {
        let mut out = vec![2 + 2 * digits.len() as u8, 3];
        digits.bytes().for_each(|b| out.extend([b, 0]));
        out
    };
    assert_eq!(
        hardware_address(&text("40540012345a")),
        Some([0x40, 0x54, 0, 0x12, 0x34, 0x5a])
    );
    assert_eq!(hardware_address(&text("4054001234")), None);
    assert_eq!(hardware_address(&text("4054001234xy")), None);
    assert_eq!(hardware_address(&text("40540012345a")[..20]), None);
    assert_eq!(hardware_address(&[]), None);
}
