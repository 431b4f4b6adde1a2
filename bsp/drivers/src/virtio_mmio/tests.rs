use super::{DeviceKind, Layout, VirtioDevice, VirtioProbeError, probe};
use crate::sim::{Absent, Device, Sim};

struct Transport([u32; 4]);

impl Device for Transport {
    const SIZE: usize = 0x200;

    fn read(&mut self, offset: usize) -> u32 {
        assert!(offset != 0xc || self.0[2] != 0, "read on behind an empty transport");
        self.0[offset / 4]
    }
    fn write(&mut self, offset: usize, value: u32) {
        panic!("a probe wrote {value:#x} to {offset:#x}");
    }
}

const MAGIC: u32 = u32::from_le_bytes(*b"virt");

#[test]
fn finds_what_is_there() {
    let net = Sim::new(Transport([MAGIC, 1, 1, 0x554d_4551]));
    let found = VirtioDevice {
        kind: DeviceKind::Network,
        layout: Layout::Legacy,
        vendor: 0x554d_4551,
    };
    assert_eq!(probe(&net), Ok(Some(found)));
    let sound = Sim::new(Transport([MAGIC, 2, 25, 1]));
    let found = VirtioDevice {
        kind: DeviceKind::Other(25),
        layout: Layout::Modern,
        vendor: 1,
    };
    assert_eq!(probe(&sound), Ok(Some(found)));
    for (id, kind) in [
        (2, DeviceKind::Block),
        (3, DeviceKind::Console),
        (4, DeviceKind::Entropy),
        (16, DeviceKind::Gpu),
        (18, DeviceKind::Input),
        (19, DeviceKind::Socket),
    ] {
        assert_eq!(DeviceKind::from(id), kind);
    }
}

#[test]
fn an_empty_transport_is_no_error() {
    assert_eq!(probe(&Sim::new(Transport([MAGIC, 1, 0, 0]))), Ok(None));
}

#[test]
fn anything_else_is() {
    assert_eq!(probe(&Sim::new(Absent)), Err(VirtioProbeError::NotVirtio));
    assert_eq!(probe(&Sim::new(Transport([0; 4]))), Err(VirtioProbeError::NotVirtio));
    assert_eq!(
        probe(&Sim::new(Transport([MAGIC, 3, 1, 0]))),
        Err(VirtioProbeError::UnknownVersion(3))
    );
}
