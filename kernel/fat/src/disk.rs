//! What the file system stands on.

use core::fmt;

/// A disk, or a part of one. Offsets and lengths are multiples of 512 bytes.
pub trait Disk {
    /// Bytes on it.
    fn len_bytes(&self) -> u64;

    /// Whether it refuses writes.
    fn is_read_only(&self) -> bool;

    /// Reads `out.len()` bytes from `offset` on.
    ///
    /// # Errors
    /// The disk's.
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), DiskError>;

    /// Writes `data` at `offset`; it may stay in the disk's cache.
    ///
    /// # Errors
    /// The disk's.
    fn write(&self, offset: u64, data: &[u8]) -> Result<(), DiskError>;

    /// Everything written so far survives a cut when this returns.
    ///
    /// # Errors
    /// The disk's.
    fn flush(&self) -> Result<(), DiskError>;
}

/// Why a disk did not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskError;

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the disk failed")
    }
}

impl core::error::Error for DiskError {}
