//! USB above the host controller: requests, descriptors, finding devices behind hubs, the CDC Ethernet class.
//!
//! Sources: *Universal Serial Bus Specification*, revision 2.0 ("USB 2.0"), chapters 9 and 11; *USB Class Definitions for
//! Communications Devices* 1.2 ("CDC") and its *Ethernet Control Model* subclass 1.2 ("ECM").
//!
//! A device is found once, when the board starts: what is plugged in later is not seen, and what is pulled out stops
//! working. Split transactions (a slower device behind a high-speed hub) are not built: such a device is passed over.

use core::fmt;

pub mod cdc_ether;
pub mod descriptor;
pub mod enumerate;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
#[cfg(test)]
mod tests;

pub use cdc_ether::{CdcEther, Endpoint};
pub use enumerate::enumerate;

/// The most bytes of a control transfer's data here: the longest configuration that is read.
pub const CONTROL_BYTES_MAX: usize = 512;

/// How fast a device speaks (USB 2.0, 5.3.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speed {
    /// 1.5 Mbit/s.
    Low,
    /// 12 Mbit/s.
    Full,
    /// 480 Mbit/s.
    High,
}

/// A device on the bus, as far as a transfer needs to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// 1 to 127; 0 until it has been given one.
    pub address: u8,
    /// How fast it speaks.
    pub speed: Speed,
    /// Bytes of a packet of its control endpoint: 8, 16, 32 or 64.
    pub control_packet_bytes: u16,
}

/// The eight bytes that begin a control transfer (USB 2.0, 9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Direction, type and recipient.
    pub request_type: u8,
    /// Which request.
    pub request: u8,
    /// Its meaning depends on the request.
    pub value: u16,
    /// Its meaning depends on the request.
    pub index: u16,
    /// Bytes of data that follow.
    pub length: u16,
}

/// `request_type`: from the device to the host.
pub const DIR_IN: u8 = 0x80;
/// `request_type`: of a class.
pub const TYPE_CLASS: u8 = 0x20;
/// `request_type`: to an interface.
pub const TO_INTERFACE: u8 = 1;
/// `request_type`: to another part: of a hub, a port.
pub const TO_OTHER: u8 = 3;

/// GET_STATUS (USB 2.0, table 9-4).
pub const GET_STATUS: u8 = 0;
/// CLEAR_FEATURE.
pub const CLEAR_FEATURE: u8 = 1;
/// SET_FEATURE.
pub const SET_FEATURE: u8 = 3;
/// SET_ADDRESS.
pub const SET_ADDRESS: u8 = 5;
/// GET_DESCRIPTOR.
pub const GET_DESCRIPTOR: u8 = 6;
/// SET_CONFIGURATION.
pub const SET_CONFIGURATION: u8 = 9;
/// SET_INTERFACE.
pub const SET_INTERFACE: u8 = 11;

impl Setup {
    /// A request without data.
    pub const fn plain(request_type: u8, request: u8, value: u16, index: u16) -> Self {
        Self {
            request_type,
            request,
            value,
            index,
            length: 0,
        }
    }

    /// A request for `length` bytes.
    pub const fn read(request_type: u8, request: u8, value: u16, index: u16, length: u16) -> Self {
        Self {
            request_type: request_type | DIR_IN,
            request,
            value,
            index,
            length,
        }
    }

    /// As it goes over the wire.
    pub const fn to_bytes(self) -> [u8; 8] {
        let (value, index, length) = (
            self.value.to_le_bytes(),
            self.index.to_le_bytes(),
            self.length.to_le_bytes(),
        );
        [
            self.request_type,
            self.request,
            value[0],
            value[1],
            index[0],
            index[1],
            length[0],
            length[1],
        ]
    }

    /// Whether data, if any, comes from the device.
    pub const fn is_read(self) -> bool {
        self.request_type & DIR_IN != 0
    }
}

/// A host controller, as far as finding and setting up devices needs it.
pub trait UsbHost {
    /// A control transfer with the device. `data` receives what the device sends; the answer is how much that was. A
    /// request that sends data is not needed here.
    ///
    /// Waits, for a few seconds at most.
    ///
    /// # Errors
    /// [`UsbError`].
    fn control(&self, device: &Device, setup: Setup, data: &mut [u8]) -> Result<usize, UsbError>;

    /// Spins for so long.
    fn delay_ns(&self, ns: u64);
}

/// Why a transfer or a device does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsbError {
    /// There is no such controller at these registers.
    NoController,
    /// The controller works as a device (USB OTG), and was not told to be a host.
    DeviceMode,
    /// Nothing is plugged in.
    NoDevice,
    /// The controller or the device did not finish in time.
    Timeout,
    /// The device refused the request.
    Stall,
    /// The bus failed: no answer, a checksum, too much data.
    Transaction,
    /// The memory for transfers is too small, not aligned or out of the controller's reach.
    BadBuffer,
    /// A descriptor contradicts itself.
    BadDescriptor,
    /// The device is slower than the high-speed hub it is behind.
    NeedsSplit,
}

impl fmt::Display for UsbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoController => "there is no USB controller at these registers",
            Self::DeviceMode => "the USB port works as a device, not as a host",
            Self::NoDevice => "nothing is plugged in",
            Self::Timeout => "the USB device did not answer in time",
            Self::Stall => "the USB device refused the request",
            Self::Transaction => "the USB transfer failed",
            Self::BadBuffer => "the memory for USB transfers cannot be used",
            Self::BadDescriptor => "the USB device's descriptors contradict themselves",
            Self::NeedsSplit => "the USB device is slower than the high-speed hub it is behind, which is not supported",
        })
    }
}

impl core::error::Error for UsbError {}
