//! Finding the devices behind the root port, hubs included (USB 2.0, 9.1.2 and 11.12).

use super::descriptor::{CLASS_HUB, DeviceDescriptor, control_packet, kind};
use super::{
    CLEAR_FEATURE, Device, GET_DESCRIPTOR, GET_STATUS, SET_ADDRESS, SET_CONFIGURATION, SET_FEATURE, Setup, Speed,
    TO_OTHER, TYPE_CLASS, UsbError, UsbHost,
};

/// Hubs behind hubs at most (USB 2.0, 4.1.1: seven tiers, the root and the device counted).
const HUB_DEPTH_MAX: usize = 5;
/// Devices at most: enough for a board, and a bound for a bus that makes devices up.
const DEVICES_MAX: u8 = 16;

const MS: u64 = 1_000_000;
/// After SET_ADDRESS (USB 2.0, 9.2.6.3: 2 ms).
const ADDRESS_NS: u64 = 2 * MS;
/// After a reset (USB 2.0, 7.1.7.5, TRSTRCY).
const RECOVERY_NS: u64 = 10 * MS;
/// How long a hub's port may take for a reset: 20 ms and what the hub adds.
const PORT_RESET_STEPS: u32 = 50;
const PORT_RESET_STEP_NS: u64 = 2 * MS;

/// Features and bits of a hub's port (USB 2.0, tables 11-17, 11-21 and 11-22).
const PORT_ENABLE: u16 = 1;
const PORT_RESET: u16 = 4;
const PORT_POWER: u16 = 8;
const C_PORT_CONNECTION: u16 = 16;
const C_PORT_RESET: u16 = 20;
const STATUS_CONNECTION: u16 = 1 << 0;
const STATUS_ENABLE: u16 = 1 << 1;
const STATUS_LOW_SPEED: u16 = 1 << 9;
const STATUS_HIGH_SPEED: u16 = 1 << 10;
const CHANGE_RESET: u16 = 1 << 4;

/// What is told of the bus.
pub trait Visitor {
    /// A device that has its address and is no hub. `true` ends the search: it is the one.
    fn device(&mut self, device: &Device, descriptor: &DeviceDescriptor) -> bool;

    /// Something at a port does not work; the search goes on.
    fn failed(&mut self, error: UsbError);
}

/// Gives an address to each device behind the root port, which has just been reset, and tells `visitor` of those that are
/// no hubs, until it wants no more. Whether it had enough.
///
/// # Errors
/// When the device at the root port itself does not work; what is behind hubs is told to the visitor.
pub fn enumerate(host: &impl UsbHost, speed: Speed, visitor: &mut impl Visitor) -> Result<bool, UsbError> {
    let mut walk = Walk {
        host,
        visitor,
        next_address: 1,
    };
    walk.attach(speed, HUB_DEPTH_MAX)
}

struct Walk<'a, H, V> {
    host: &'a H,
    visitor: &'a mut V,
    next_address: u8,
}

impl<H: UsbHost, V: Visitor> Walk<'_, H, V> {
    /// Sets up the device that answers at address 0.
    fn attach(&mut self, speed: Speed, depth: usize) -> Result<bool, UsbError> {
        if self.next_address > DEVICES_MAX {
            return Err(UsbError::NoDevice);
        }
        let mut device = Device {
            address: 0,
            speed,
            control_packet_bytes: if speed == Speed::High { 64 } else { 8 },
        };
        let mut bytes = [0; DeviceDescriptor::BYTES as usize];
        // The first eight tell how large a packet may be, which longer answers need.
        let get = |length| Setup::read(0, GET_DESCRIPTOR, u16::from(kind::DEVICE) << 8, 0, length);
        let n = self.host.control(&device, get(8), &mut bytes)?;
        if n < 8 || bytes[1] != kind::DEVICE {
            return Err(UsbError::BadDescriptor);
        }
        device.control_packet_bytes = control_packet(bytes[7]).ok_or(UsbError::BadDescriptor)?;
        let address = self.next_address;
        self.next_address += 1;
        self.host
            .control(&device, Setup::plain(0, SET_ADDRESS, u16::from(address), 0), &mut [])?;
        self.host.delay_ns(ADDRESS_NS);
        device.address = address;
        let n = self.host.control(&device, get(DeviceDescriptor::BYTES), &mut bytes)?;
        let descriptor = DeviceDescriptor::parse(bytes.get(..n).unwrap_or_default())?;
        if descriptor.class != CLASS_HUB {
            return Ok(self.visitor.device(&device, &descriptor));
        }
        match depth.checked_sub(1) {
            Some(deeper) => self.hub(&device, deeper),
            None => Err(UsbError::BadDescriptor),
        }
    }

    fn hub(&mut self, hub: &Device, depth: usize) -> Result<bool, UsbError> {
        let mut bytes = [0; 9];
        let head = Setup::read(0, GET_DESCRIPTOR, u16::from(kind::CONFIGURATION) << 8, 0, 9);
        let n = self.host.control(hub, head, &mut bytes)?;
        let value = (n >= 6).then_some(bytes[5]).ok_or(UsbError::BadDescriptor)?;
        let configure = Setup::plain(0, SET_CONFIGURATION, u16::from(value), 0);
        self.host.control(hub, configure, &mut [])?;
        let about = Setup::read(TYPE_CLASS, GET_DESCRIPTOR, u16::from(kind::HUB) << 8, 0, 9);
        let n = self.host.control(hub, about, &mut bytes)?;
        if n < 7 || bytes[1] != kind::HUB {
            return Err(UsbError::BadDescriptor);
        }
        let ports = u16::from(bytes[2]);
        let power_good_ns = u64::from(bytes[5]) * 2 * MS;
        for port in 1..=ports {
            self.host.control(hub, set(SET_FEATURE, PORT_POWER, port), &mut [])?;
        }
        self.host.delay_ns(power_good_ns);
        for port in 1..=ports {
            match self.port(hub, port, depth) {
                Ok(true) => return Ok(true),
                Ok(false) | Err(UsbError::NoDevice) => {}
                Err(error) => {
                    // It may still answer at address 0, which the next device needs for itself.
                    let _ = self.host.control(hub, set(CLEAR_FEATURE, PORT_ENABLE, port), &mut []);
                    self.visitor.failed(error);
                }
            }
        }
        Ok(false)
    }

    /// Status and changes of a port.
    fn status(&self, hub: &Device, port: u16) -> Result<(u16, u16), UsbError> {
        let mut bytes = [0; 4];
        let get = Setup::read(TYPE_CLASS | TO_OTHER, GET_STATUS, 0, port, 4);
        if self.host.control(hub, get, &mut bytes)? < 4 {
            return Err(UsbError::BadDescriptor);
        }
        let [a, b, c, d] = bytes;
        Ok((u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])))
    }

    fn port(&mut self, hub: &Device, port: u16, depth: usize) -> Result<bool, UsbError> {
        let (status, _) = self.status(hub, port)?;
        if status & STATUS_CONNECTION == 0 {
            return Err(UsbError::NoDevice);
        }
        let host = self.host;
        host.control(hub, set(CLEAR_FEATURE, C_PORT_CONNECTION, port), &mut [])?;
        host.control(hub, set(SET_FEATURE, PORT_RESET, port), &mut [])?;
        let mut steps = 0;
        let status = loop {
            host.delay_ns(PORT_RESET_STEP_NS);
            let (status, change) = self.status(hub, port)?;
            if change & CHANGE_RESET != 0 {
                break status;
            }
            steps += 1;
            if steps == PORT_RESET_STEPS {
                return Err(UsbError::Timeout);
            }
        };
        host.control(hub, set(CLEAR_FEATURE, C_PORT_RESET, port), &mut [])?;
        host.delay_ns(RECOVERY_NS);
        if status & STATUS_ENABLE == 0 {
            return Err(UsbError::NoDevice);
        }
        let speed = if status & STATUS_HIGH_SPEED != 0 {
            Speed::High
        } else if status & STATUS_LOW_SPEED != 0 {
            Speed::Low
        } else {
            Speed::Full
        };
        if hub.speed == Speed::High && speed != Speed::High {
            return Err(UsbError::NeedsSplit);
        }
        self.attach(speed, depth)
    }
}

const fn set(request: u8, feature: u16, port: u16) -> Setup {
    Setup::plain(TYPE_CLASS | TO_OTHER, request, feature, port)
}
