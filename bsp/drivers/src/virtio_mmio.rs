//! Finding virtio devices behind their memory-mapped transport, without changing them.
//!
//! Source: OASIS, *Virtual I/O Device (VIRTIO) Version 1.2*, section 4.2.2. What is done with a device that was found is
//! another driver's matter: here only the registers that may be read before anything else are read.

use core::fmt;

use sis_hal::Registers;

use crate::reg::Reg;

#[cfg(test)]
mod tests;

const MAGIC_VALUE: Reg = Reg::at(0x000);
const VERSION: Reg = Reg::at(0x004);
const DEVICE_ID: Reg = Reg::at(0x008);
const VENDOR_ID: Reg = Reg::at(0x00c);

/// "virt", little-endian.
const MAGIC: u32 = 0x7472_6976;

/// What kind of device it is (chapter 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// 5.1.
    Network,
    /// 5.2.
    Block,
    /// 5.3.
    Console,
    /// 5.4.
    Entropy,
    /// 5.7.
    Gpu,
    /// 5.8.
    Input,
    /// 5.10.
    Socket,
    /// Anything else, by its number.
    Other(u32),
}

impl From<u32> for DeviceKind {
    fn from(id: u32) -> Self {
        match id {
            1 => Self::Network,
            2 => Self::Block,
            3 => Self::Console,
            4 => Self::Entropy,
            16 => Self::Gpu,
            18 => Self::Input,
            19 => Self::Socket,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network => f.write_str("virtio-net"),
            Self::Block => f.write_str("virtio-blk"),
            Self::Console => f.write_str("virtio-console"),
            Self::Entropy => f.write_str("virtio-rng"),
            Self::Gpu => f.write_str("virtio-gpu"),
            Self::Input => f.write_str("virtio-input"),
            Self::Socket => f.write_str("virtio-vsock"),
            Self::Other(id) => write!(f, "virtio device {id}"),
        }
    }
}

/// The transport's register layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Before virtio 1.0 (version 1; QEMU's default).
    Legacy,
    /// Virtio 1.0 and later (version 2; QEMU with `-global virtio-mmio.force-legacy=false`).
    Modern,
}

/// A device behind a transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtioDevice {
    /// What it is.
    pub kind: DeviceKind,
    /// How its transport is laid out.
    pub layout: Layout,
    /// Who made it (QEMU: 0x554d4551).
    pub vendor: u32,
}

/// Why a transport cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VirtioProbeError {
    /// What answers there is no virtio transport.
    NotVirtio,
    /// A version that is neither 1 nor 2.
    UnknownVersion(u32),
}

impl fmt::Display for VirtioProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotVirtio => f.write_str("no virtio transport at the given address"),
            Self::UnknownVersion(version) => write!(f, "the virtio transport has the unknown version {version}"),
        }
    }
}

impl core::error::Error for VirtioProbeError {}

/// Looks what is behind a transport (at least 16 bytes of registers); `None` is a transport with no device, of which
/// QEMU's `virt` has up to 32.
pub fn probe(registers: &impl Registers) -> Result<Option<VirtioDevice>, VirtioProbeError> {
    if MAGIC_VALUE.get(registers) != MAGIC {
        return Err(VirtioProbeError::NotVirtio);
    }
    let layout = match VERSION.get(registers) {
        1 => Layout::Legacy,
        2 => Layout::Modern,
        other => return Err(VirtioProbeError::UnknownVersion(other)),
    };
    // Nothing more may be read from a transport whose device number is 0 (4.2.2.2).
    let id = DEVICE_ID.get(registers);
    Ok((id != 0).then(|| VirtioDevice {
        kind: id.into(),
        layout,
        vendor: VENDOR_ID.get(registers),
    }))
}
