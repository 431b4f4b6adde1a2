//! Virtio devices on MMIO transports, over the `virtio-drivers` crate (virtio 1.2, section 4.2; legacy transports too).
//!
//! The device is not trusted: what it writes (used rings, lengths) is checked before it is used, a device that breaks
//! the rules is left alone for good, and nothing waits for a device without a bound.

mod blk;
mod dma;
mod net;
mod rng;

use core::fmt;
use core::ptr::NonNull;

use sis_hal::Registers;
use virtio_drivers::transport::mmio::{MmioError, MmioTransport};
use virtio_drivers::transport::{DeviceType, Transport};

pub use blk::VirtioBlk;
pub use net::VirtioNet;
pub use rng::VirtioRng;

use crate::io::Mmio;

/// MagicValue: "virt".
const MAGIC: u32 = 0x7472_6976;
/// Offset of MagicValue.
const MAGIC_VALUE: usize = 0x000;
/// Offset of DeviceID.
const DEVICE_ID: usize = 0x008;
/// Offset of InterruptStatus.
const INTERRUPT_STATUS: usize = 0x060;
/// Offset of InterruptACK.
const INTERRUPT_ACK: usize = 0x064;
/// Offset of the device's configuration space.
const CONFIG: usize = 0x100;

/// What a transport turned out to be.
pub enum Device {
    /// A disk.
    Block(&'static VirtioBlk),
    /// A network interface.
    Net(&'static VirtioNet),
    /// A random number generator.
    Rng(&'static VirtioRng),
    /// A device of a type (virtio 1.2, section 5) that has no driver here.
    Other(u32),
}

/// Why a device does not work.
#[derive(Debug)]
pub enum ProbeError {
    /// The window holds no virtio transport, or one of an unknown version.
    Transport(MmioError),
    /// The device refused to be set up.
    Device(virtio_drivers::Error),
    /// There is no memory for its queues.
    NoMemory,
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transport(e) => write!(f, "the virtio transport cannot be used: {e}"),
            Self::Device(e) => write!(f, "the virtio device refused to be set up: {e}"),
            Self::NoMemory => f.write_str("no memory for the virtio device's queues"),
        }
    }
}

impl core::error::Error for ProbeError {}

impl From<virtio_drivers::Error> for ProbeError {
    fn from(e: virtio_drivers::Error) -> Self {
        match e {
            virtio_drivers::Error::DmaError => Self::NoMemory,
            e => Self::Device(e),
        }
    }
}

/// Looks at a transport and sets its device up. `None`: nothing is plugged in there.
///
/// A transport is probed once: a second driver on it would disturb the first.
///
/// # Errors
/// Why the device that is there does not work.
pub fn probe(registers: Mmio) -> Result<Option<Device>, ProbeError> {
    if registers.size() < CONFIG + 8 || registers.read32(MAGIC_VALUE) != MAGIC {
        return Ok(None);
    }
    match registers.read32(DEVICE_ID) {
        0 => Ok(None),
        id if id == DeviceType::Network as u32 => VirtioNet::new(registers).map(|d| Some(Device::Net(d))),
        id if id == DeviceType::Block as u32 => VirtioBlk::new(registers).map(|d| Some(Device::Block(d))),
        id if id == DeviceType::EntropySource as u32 => VirtioRng::new(registers).map(|d| Some(Device::Rng(d))),
        id => Ok(Some(Device::Other(id))),
    }
}

/// The crate's view of a transport.
fn transport(registers: Mmio) -> Result<MmioTransport<'static>, ProbeError> {
    let Some(header) = NonNull::new(registers.address() as *mut _) else {
        return Err(ProbeError::Transport(MmioError::MmioRegionTooSmall));
    };
    // SAFETY: (1) `Mmio::map` was promised that these are device registers; (2) they stay mapped for good; (3) the
    // length is that of the mapping, and `new` checks it against the header.
    let t = unsafe { MmioTransport::new(header, registers.size()) }.map_err(ProbeError::Transport)?;
    debug_assert!(t.device_type() as u32 == registers.read32(DEVICE_ID));
    Ok(t)
}

/// Silences the interrupt of a transport; no lock is needed, as the two registers have no other user.
fn acknowledge(registers: &Mmio) {
    let pending = registers.read32(INTERRUPT_STATUS);
    if pending != 0 {
        registers.write32(INTERRUPT_ACK, pending);
    }
}
