//! Descriptors (USB 2.0, 9.6), checked as they are read.

use super::UsbError;

/// Descriptor types (USB 2.0, table 9-5; CDC, table 12).
pub(super) mod kind {
    pub(crate) const DEVICE: u8 = 1;
    pub(crate) const CONFIGURATION: u8 = 2;
    pub(crate) const STRING: u8 = 3;
    pub(crate) const INTERFACE: u8 = 4;
    pub(crate) const ENDPOINT: u8 = 5;
    pub(crate) const CLASS_INTERFACE: u8 = 0x24;
    pub(crate) const HUB: u8 = 0x29;
}

/// Class of a hub.
pub const CLASS_HUB: u8 = 9;

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

/// A device descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceDescriptor {
    /// Class, or 0: each interface has its own.
    pub class: u8,
    /// Bytes of a packet of the control endpoint.
    pub control_packet_bytes: u16,
    /// Vendor.
    pub vendor: u16,
    /// Product.
    pub product: u16,
    /// Configurations.
    pub configurations: u8,
}

impl DeviceDescriptor {
    /// Bytes of it.
    pub const BYTES: u16 = 18;

    /// Reads one.
    ///
    /// # Errors
    /// [`UsbError::BadDescriptor`].
    pub fn parse(bytes: &[u8]) -> Result<Self, UsbError> {
        let parsed = (|| {
            (*bytes.first()? >= 18 && *bytes.get(1)? == kind::DEVICE).then_some(())?;
            Some(Self {
                class: *bytes.get(4)?,
                control_packet_bytes: control_packet(*bytes.get(7)?)?,
                vendor: word(bytes, 8)?,
                product: word(bytes, 10)?,
                configurations: *bytes.get(17)?,
            })
        })();
        parsed.ok_or(UsbError::BadDescriptor)
    }
}

/// The size of a control packet, if it is one that USB 2.0 (5.5.3) allows.
pub(super) fn control_packet(bytes: u8) -> Option<u16> {
    matches!(bytes, 8 | 16 | 32 | 64).then_some(u16::from(bytes))
}

/// Bytes of a whole configuration, from its first nine.
pub(super) fn configuration_length(head: &[u8]) -> Result<u16, UsbError> {
    match (head.get(1), word(head, 2)) {
        (Some(&kind::CONFIGURATION), Some(length)) if length >= 9 => Ok(length),
        _ => Err(UsbError::BadDescriptor),
    }
}

/// One part of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// An interface in one of its settings.
    Interface {
        /// Its number.
        number: u8,
        /// The setting.
        alternate: u8,
        /// Class.
        class: u8,
        /// Subclass.
        subclass: u8,
    },
    /// An endpoint of the last interface.
    Endpoint {
        /// Number, and bit 7: to the host.
        address: u8,
        /// 0 control, 1 isochronous, 2 bulk, 3 interrupt.
        transfer: u8,
        /// Bytes of a packet.
        packet_bytes: u16,
    },
    /// A class's own descriptor of the last interface: its subtype and what follows that.
    Class(u8, &'a [u8]),
    /// Something else.
    Other,
}

/// The parts of a configuration, in order. A length that leads nowhere ends it.
pub fn parts(configuration: &[u8]) -> impl Iterator<Item = Part<'_>> {
    let mut rest = configuration;
    core::iter::from_fn(move || {
        let length = usize::from(*rest.first()?);
        if length < 2 {
            return None;
        }
        let (one, after) = rest.split_at_checked(length)?;
        rest = after;
        Some(part(one).unwrap_or(Part::Other))
    })
}

fn part(bytes: &[u8]) -> Option<Part<'_>> {
    Some(match *bytes.get(1)? {
        kind::INTERFACE => Part::Interface {
            number: *bytes.get(2)?,
            alternate: *bytes.get(3)?,
            class: *bytes.get(5)?,
            subclass: *bytes.get(6)?,
        },
        kind::ENDPOINT => Part::Endpoint {
            address: *bytes.get(2)?,
            transfer: *bytes.get(3)? & 3,
            packet_bytes: word(bytes, 4)? & 0x7ff,
        },
        kind::CLASS_INTERFACE => Part::Class(*bytes.get(2)?, bytes.get(3..)?),
        _ => Part::Other,
    })
}

/// `bConfigurationValue`.
pub(super) fn configuration_value(configuration: &[u8]) -> Option<u8> {
    configuration.get(5).copied()
}

/// The characters of a string descriptor that are ASCII, as hexadecimal digits: a hardware address (ECM, 5.4).
pub(super) fn hardware_address(string: &[u8]) -> Option<[u8; 6]> {
    let length = usize::from(*string.first()?);
    (length == 26 && *string.get(1)? == kind::STRING).then_some(())?;
    let mut out = [0; 6];
    for (i, byte) in out.iter_mut().enumerate() {
        let digit = |n: usize| char::from_u32(u32::from(word(string, 2 + 2 * n)?))?.to_digit(16);
        *byte = (digit(2 * i)? << 4 | digit(2 * i + 1)?) as u8;
    }
    Some(out)
}
