//! Block devices: the first, smallest shape (synchronous, whole blocks).

use core::fmt;

/// A disk.
pub trait BlockDevice: Send + Sync {
    /// Bytes in a block: a power of two, at least 512.
    fn block_size_bytes(&self) -> usize;

    /// Blocks on the device.
    fn block_count(&self) -> u64;

    /// Whether the medium refuses writes.
    fn is_read_only(&self) -> bool;

    /// Reads whole blocks from `first_block` on; `out` is a multiple of the block size.
    fn read_blocks(&self, first_block: u64, out: &mut [u8]) -> Result<(), BlockError>;

    /// Writes whole blocks from `first_block` on; `data` is a multiple of the block size. The data may sit in the
    /// device's cache until [`flush`](Self::flush).
    fn write_blocks(&self, first_block: u64, data: &[u8]) -> Result<(), BlockError>;

    /// Returns once everything written before is on stable storage.
    fn flush(&self) -> Result<(), BlockError>;
}

/// Why a transfer failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockError {
    /// The blocks are not all on the device; nothing was transferred.
    OutOfRange,
    /// The buffer is not a multiple of the block size; nothing was transferred.
    Unaligned,
    /// The medium refuses writes.
    ReadOnly,
    /// The device reported a failure; part of the transfer may have happened.
    Device,
    /// The device did not finish in time; part of the transfer may have happened or may still happen.
    Timeout,
}

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfRange => "the blocks are not on the device",
            Self::Unaligned => "the buffer is not a whole number of blocks",
            Self::ReadOnly => "the medium is read-only",
            Self::Device => "the device reported an error",
            Self::Timeout => "the device did not finish in time",
        })
    }
}

impl core::error::Error for BlockError {}
