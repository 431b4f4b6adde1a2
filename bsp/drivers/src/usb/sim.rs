//! A simulated bus: a hub with Ethernet devices behind it, or one of them alone.

use std::collections::VecDeque;
use std::vec;
use std::vec::Vec;

use super::{Device, Setup, Speed, UsbError, UsbHost};

/// What a bus device answers.
pub trait Peripheral: Send {
    /// A control request; `None` stalls.
    fn control(&mut self, setup: Setup) -> Option<Vec<u8>>;

    /// The next packet of a bulk endpoint to the host; `None`: NAK.
    fn bulk_in(&mut self, endpoint: u8) -> Option<Vec<u8>> {
        let _ = endpoint;
        None
    }

    /// A packet to a bulk endpoint.
    fn bulk_out(&mut self, endpoint: u8, packet: &[u8]) {
        panic!("{} bytes to endpoint {endpoint}, which does not exist", packet.len());
    }

    /// Devices behind it, if it is a hub: those whose port is enabled, with the speed they speak.
    fn behind(&mut self) -> Vec<&mut SimDevice> {
        Vec::new()
    }
}

/// A device on the simulated bus.
pub struct SimDevice {
    address: u8,
    next_address: u8,
    /// Bytes of a control packet.
    pub control_packet_bytes: u8,
    /// What it does.
    pub peripheral: std::boxed::Box<dyn Peripheral>,
}

impl SimDevice {
    /// A device that has just been reset.
    pub fn new(peripheral: impl Peripheral + 'static) -> Self {
        Self {
            address: 0,
            next_address: 0,
            control_packet_bytes: 64,
            peripheral: std::boxed::Box::new(peripheral),
        }
    }

    fn reset(&mut self) {
        self.address = 0;
        self.next_address = 0;
    }

    /// The device that answers at an address. Two at one address would be a driver's mistake.
    pub fn find(&mut self, address: u8) -> Option<&mut Self> {
        if self.address == address {
            return Some(self);
        }
        self.peripheral.behind().into_iter().find_map(|d| d.find(address))
    }

    /// A control request at its address.
    pub fn request(&mut self, setup: Setup) -> Option<Vec<u8>> {
        if setup.request_type == 0 && setup.request == super::SET_ADDRESS {
            self.next_address = setup.value as u8;
            self.address = self.next_address;
            return Some(Vec::new());
        }
        let mut answer = self.peripheral.control(setup)?;
        answer.truncate(usize::from(setup.length));
        Some(answer)
    }
}

/// A hub of seven ports with devices at some.
pub struct SimHub {
    ports: Vec<Port>,
    is_configured: bool,
}

struct Port {
    device: Option<SimDevice>,
    status: u16,
    change: u16,
}

impl SimHub {
    /// Devices at the first ports.
    pub fn new(devices: Vec<Option<SimDevice>>) -> Self {
        let ports = devices
            .into_iter()
            .map(|device| Port {
                device,
                status: 0,
                change: 0,
            })
            .collect();
        Self {
            ports,
            is_configured: false,
        }
    }

    fn port(&mut self, index: u16) -> Option<&mut Port> {
        self.ports.get_mut(usize::from(index).checked_sub(1)?)
    }
}

impl Peripheral for SimHub {
    fn control(&mut self, setup: Setup) -> Option<Vec<u8>> {
        match (setup.request_type, setup.request, setup.value) {
            (0x80, 6, 0x100) => Some(device_descriptor(9, 1)),
            (0x80, 6, 0x200) => Some(vec![9, 2, 25, 0, 1, 1, 0, 0xe0, 0]),
            (0, 9, 1) => {
                self.is_configured = true;
                Some(Vec::new())
            }
            _ if !self.is_configured => panic!("{setup:?} before the hub was configured"),
            (0xa0, 6, 0x2900) => Some(vec![9, 0x29, self.ports.len() as u8, 0, 0, 1, 0, 0, 0xff]),
            (0xa3, 0, 0) => {
                let port = self.port(setup.index)?;
                let [a, b] = port.status.to_le_bytes();
                let [c, d] = port.change.to_le_bytes();
                Some(vec![a, b, c, d])
            }
            (0x23, 3, 8) => {
                let port = self.port(setup.index)?;
                port.status |= 0x100;
                if port.device.is_some() {
                    port.status |= 1;
                    port.change |= 1;
                }
                Some(Vec::new())
            }
            (0x23, 3, 4) => {
                let port = self.port(setup.index)?;
                let device = port.device.as_mut()?;
                device.reset();
                port.status |= 2;
                port.change |= 1 << 4;
                Some(Vec::new())
            }
            (0x23, 1, 1) => {
                self.port(setup.index)?.status &= !2;
                Some(Vec::new())
            }
            (0x23, 1, feature @ (16 | 20)) => {
                self.port(setup.index)?.change &= !(1 << (feature - 16));
                Some(Vec::new())
            }
            _ => None,
        }
    }

    fn behind(&mut self) -> Vec<&mut SimDevice> {
        self.ports
            .iter_mut()
            .filter(|p| p.status & 2 != 0)
            .filter_map(|p| p.device.as_mut())
            .collect()
    }
}

/// A CDC Ethernet device with a vendor's configuration before the standard one, as QEMU's has.
#[derive(Default)]
pub struct SimEther {
    configuration: u16,
    setting: u16,
    /// The packet filter that was set.
    pub filter: Option<u16>,
    partial: Vec<u8>,
    /// Frames that the host sent.
    pub sent: std::sync::Arc<std::sync::Mutex<Vec<Vec<u8>>>>,
    /// Frames for the host.
    pub incoming: std::sync::Arc<std::sync::Mutex<VecDeque<Vec<u8>>>>,
    current: Option<Vec<u8>>,
}

/// The address of [`SimEther`].
pub const MAC: [u8; 6] = [0x40, 0x54, 0x00, 0x12, 0x34, 0x56];

const VENDOR: &[u8] = &[
    9, 2, 32, 0, 1, 2, 0, 0xc0, 50, // configuration 2
    9, 4, 0, 0, 1, 2, 2, 0xff, 0, // ACM
    7, 5, 0x81, 3, 16, 0, 32, // notifications
    7, 5, 0x82, 2, 64, 0, 0,
];

const STANDARD: &[u8] = &[
    9, 2, 80, 0, 2, 1, 0, 0xc0, 50, // configuration 1
    9, 4, 0, 0, 1, 2, 6, 0, 0, // Ethernet control
    5, 0x24, 0, 0x10, 1, // header
    5, 0x24, 6, 0, 1, // union
    13, 0x24, 0x0f, 3, 0, 0, 0, 0, 0xea, 5, 0, 0, 0, // Ethernet: string 3, 1514 bytes
    7, 5, 0x81, 3, 16, 0, 32, // notifications
    9, 4, 1, 0, 0, 10, 0, 0, 0, // data, off
    9, 4, 1, 1, 2, 10, 0, 0, 0, // data, on
    7, 5, 0x82, 2, 64, 0, 0, // in
    7, 5, 0x02, 2, 64, 0, 0, // out
];

fn device_descriptor(class: u8, configurations: u8) -> Vec<u8> {
    vec![
        18,
        1,
        0,
        2,
        class,
        0,
        0,
        64,
        0x25,
        5,
        0xa2,
        0xa4,
        0,
        0,
        1,
        2,
        10,
        configurations,
    ]
}

impl Peripheral for SimEther {
    fn control(&mut self, setup: Setup) -> Option<Vec<u8>> {
        match (setup.request_type, setup.request, setup.value) {
            (0x80, 6, 0x100) => Some(device_descriptor(2, 2)),
            (0x80, 6, 0x200) => Some(VENDOR.to_vec()),
            (0x80, 6, 0x201) => {
                assert_eq!(STANDARD.len(), 80, "the fixture's length");
                Some(STANDARD.to_vec())
            }
            (0x80, 6, 0x303) => {
                let mut out = vec![26, 3];
                for digit in MAC.iter().flat_map(|b| [b >> 4, b & 15]) {
                    let c = char::from_digit(u32::from(digit), 16)?.to_ascii_uppercase();
                    out.extend([c as u8, 0]);
                }
                Some(out)
            }
            (0, 9, value) => {
                self.configuration = value;
                Some(Vec::new())
            }
            (1, 11, setting) if self.configuration == 1 && setup.index == 1 => {
                self.setting = setting;
                Some(Vec::new())
            }
            (0x21, 0x43, filter) if setup.index == 0 => {
                self.filter = Some(filter);
                Some(Vec::new())
            }
            _ => None,
        }
    }

    fn bulk_in(&mut self, endpoint: u8) -> Option<Vec<u8>> {
        assert_eq!((endpoint, self.configuration, self.setting), (2, 1, 1));
        if self.current.is_none() {
            self.current = self.incoming.lock().unwrap().pop_front();
        }
        let rest = self.current.take()?;
        if rest.len() >= 64 {
            self.current = Some(rest[64..].to_vec());
            return Some(rest[..64].to_vec());
        }
        Some(rest)
    }

    fn bulk_out(&mut self, endpoint: u8, packet: &[u8]) {
        assert_eq!((endpoint, self.configuration, self.setting), (2, 1, 1));
        assert!(packet.len() <= 64);
        self.partial.extend(packet);
        if packet.len() < 64 {
            self.sent.lock().unwrap().push(core::mem::take(&mut self.partial));
        }
    }
}

/// A bus without a controller, for the tests of what is above one.
pub struct SimBus(pub std::sync::Mutex<SimDevice>);

impl UsbHost for SimBus {
    fn control(&self, device: &Device, setup: Setup, data: &mut [u8]) -> Result<usize, UsbError> {
        let mut root = self.0.lock().unwrap();
        let found = root.find(device.address).ok_or(UsbError::Transaction)?;
        assert!(
            setup.length <= 8 || device.control_packet_bytes == u16::from(found.control_packet_bytes),
            "the device's packet size is not known yet"
        );
        let answer = found.request(setup).ok_or(UsbError::Stall)?;
        data.get_mut(..answer.len())
            .ok_or(UsbError::BadBuffer)?
            .copy_from_slice(&answer);
        Ok(answer.len())
    }

    fn delay_ns(&self, _ns: u64) {}
}

/// How fast everything here speaks.
pub const SPEED: Speed = Speed::Full;
