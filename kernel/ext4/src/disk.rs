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
    /// [`DiskError`]; what is in `out` then means nothing.
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), DiskError>;

    /// Writes `data` at `offset`. It may stay in the device's cache until [`flush`](Self::flush), and writes between two
    /// flushes may reach the medium in any order, in part or not at all.
    ///
    /// # Errors
    /// [`DiskError`]; any part of it may then have been written.
    fn write(&self, offset: u64, data: &[u8]) -> Result<(), DiskError>;

    /// As [`write`](Self::write), and returns when the data is on stable storage. What was written before and not
    /// flushed need not be.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    fn write_through(&self, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        self.write(offset, data)?;
        self.flush()
    }

    /// Returns once everything written before is on stable storage.
    ///
    /// # Errors
    /// [`DiskError`]; what was written since the last flush may then be lost.
    fn flush(&self) -> Result<(), DiskError>;

    /// The content of this range is not needed any more; a hint.
    fn discard(&self, offset: u64, len: u64) {
        let _ = (offset, len);
    }
}

/// Why a transfer failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// Not all of the range is on the disk.
    OutOfRange,
    /// The disk refuses writes.
    ReadOnly,
    /// The device failed.
    Device,
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfRange => "the range is not on the disk",
            Self::ReadOnly => "the disk is read-only",
            Self::Device => "the disk reported an error",
        })
    }
}

impl core::error::Error for DiskError {}
