//! Ethernet over USB: the CDC Ethernet Control Model.

use sis_hal::MacAddr;

use super::descriptor::{
    DeviceDescriptor, Part, configuration_length, configuration_value, hardware_address, kind, parts,
};
use super::{
    CONTROL_BYTES_MAX, Device, GET_DESCRIPTOR, SET_CONFIGURATION, SET_INTERFACE, Setup, TO_INTERFACE, TYPE_CLASS,
    UsbError, UsbHost,
};

const CLASS_COMMUNICATIONS: u8 = 2;
const SUBCLASS_ETHERNET: u8 = 6;
const CLASS_DATA: u8 = 10;
/// Subtype of the Ethernet functional descriptor (CDC, table 13).
const FUNCTION_ETHERNET: u8 = 0x0f;
const TRANSFER_BULK: u8 = 2;
/// SET_ETHERNET_PACKET_FILTER (ECM, 6.2.4).
const SET_PACKET_FILTER: u8 = 0x43;
/// Our own address, all multicast, broadcast (ECM, table 8).
const FILTER: u16 = 1 << 3 | 1 << 2 | 1 << 1;
/// English (United States), which every device with strings has in practice.
const LANGUAGE: u16 = 0x0409;
/// Configurations that are looked at.
const CONFIGURATIONS_MAX: u8 = 8;

/// A bulk endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its number.
    pub number: u8,
    /// Bytes of a packet.
    pub packet_bytes: u16,
}

/// An Ethernet interface that is set up and may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CdcEther {
    /// The device.
    pub device: Device,
    /// Its hardware address.
    pub mac: MacAddr,
    /// Frames from the network.
    pub bulk_in: Endpoint,
    /// Frames to the network.
    pub bulk_out: Endpoint,
}

/// What a configuration says of an Ethernet function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Function {
    configuration: u8,
    control_interface: u8,
    data_interface: u8,
    data_setting: u8,
    address_string: u8,
    bulk_in: Endpoint,
    bulk_out: Endpoint,
}

impl CdcEther {
    /// Sets the device up if it has an Ethernet function; `None` when it has none.
    ///
    /// # Errors
    /// [`UsbError`] when it has one that does not work.
    pub fn configure(
        host: &impl UsbHost,
        device: &Device,
        descriptor: &DeviceDescriptor,
    ) -> Result<Option<Self>, UsbError> {
        let mut bytes = [0; CONTROL_BYTES_MAX];
        for index in 0..descriptor.configurations.min(CONFIGURATIONS_MAX) {
            let value = u16::from(kind::CONFIGURATION) << 8 | u16::from(index);
            let get = |length| Setup::read(0, GET_DESCRIPTOR, value, 0, length);
            let n = host.control(device, get(9), bytes.get_mut(..9).unwrap_or_default())?;
            let length = configuration_length(bytes.get(..n).unwrap_or_default())?;
            let Some(room) = bytes.get_mut(..usize::from(length)) else {
                continue;
            };
            let n = host.control(device, get(length), room)?;
            if let Some(function) = find(bytes.get(..n).unwrap_or_default()) {
                return start(host, device, &function).map(Some);
            }
        }
        Ok(None)
    }
}

fn find(configuration: &[u8]) -> Option<Function> {
    let mut control = None;
    let mut address_string = None;
    let mut data = None;
    let (mut bulk_in, mut bulk_out) = (None, None);
    let mut is_control = false;
    for part in parts(configuration) {
        match part {
            Part::Interface {
                number,
                class: CLASS_COMMUNICATIONS,
                subclass: SUBCLASS_ETHERNET,
                ..
            } if control.is_none() => {
                control = Some(number);
                is_control = true;
            }
            Part::Interface {
                number,
                alternate,
                class: CLASS_DATA,
                ..
            } if bulk_in.is_none() || bulk_out.is_none() => {
                // Without frames in one setting and with them in the next (ECM, 3.3): the last with both counts.
                is_control = false;
                data = Some((number, alternate));
                (bulk_in, bulk_out) = (None, None);
            }
            Part::Interface { .. } => is_control = false,
            Part::Class(FUNCTION_ETHERNET, body) if is_control => address_string = body.first().copied(),
            Part::Endpoint {
                address,
                transfer: TRANSFER_BULK,
                packet_bytes,
            } if !is_control && data.is_some() && packet_bytes > 0 => {
                let endpoint = Some(Endpoint {
                    number: address & 0xf,
                    packet_bytes,
                });
                if address & 0x80 != 0 {
                    bulk_in = bulk_in.or(endpoint);
                } else {
                    bulk_out = bulk_out.or(endpoint);
                }
            }
            _ => {}
        }
    }
    let (data_interface, data_setting) = data?;
    Some(Function {
        configuration: configuration_value(configuration)?,
        control_interface: control?,
        data_interface,
        data_setting,
        address_string: address_string?,
        bulk_in: bulk_in?,
        bulk_out: bulk_out?,
    })
}

fn start(host: &impl UsbHost, device: &Device, function: &Function) -> Result<CdcEther, UsbError> {
    let choose = Setup::plain(0, SET_CONFIGURATION, u16::from(function.configuration), 0);
    host.control(device, choose, &mut [])?;
    let mut text = [0; 64];
    let value = u16::from(kind::STRING) << 8 | u16::from(function.address_string);
    let get = Setup::read(0, GET_DESCRIPTOR, value, LANGUAGE, text.len() as u16);
    let n = host.control(device, get, &mut text)?;
    let mac = hardware_address(text.get(..n).unwrap_or_default()).ok_or(UsbError::BadDescriptor)?;
    let setting = Setup::plain(
        TO_INTERFACE,
        SET_INTERFACE,
        u16::from(function.data_setting),
        u16::from(function.data_interface),
    );
    host.control(device, setting, &mut [])?;
    let filter = Setup::plain(
        TYPE_CLASS | TO_INTERFACE,
        SET_PACKET_FILTER,
        FILTER,
        u16::from(function.control_interface),
    );
    match host.control(device, filter, &mut []) {
        // Not every device has filters; one without lets everything through.
        Ok(_) | Err(UsbError::Stall) => {}
        Err(error) => return Err(error),
    }
    Ok(CdcEther {
        device: *device,
        mac: MacAddr(mac),
        bulk_in: function.bulk_in,
        bulk_out: function.bulk_out,
    })
}
