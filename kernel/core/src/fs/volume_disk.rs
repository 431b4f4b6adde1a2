//! The disk that a file system's metadata is read from and written to.

use alloc::sync::Arc;
use alloc::vec::Vec;

use sis_ext4::DiskError;
use sis_hal::{BlockError, SECTOR_BYTES};
use sis_machine::mm::PAGE_SIZE;
use sis_machine::mm::frames::Frame;
use sis_machine::mm::scatter::FramePiece;

use crate::block::{Durability, Volume};

/// A disk or partition, through memory of the kernel's own.
pub(super) struct BlockDisk(Arc<Volume>);

impl BlockDisk {
    pub(super) fn new(volume: Arc<Volume>) -> Self {
        Self(volume)
    }

    /// Memory for `len` bytes, which the kernel may need to give memory back: from the reserve.
    fn pieces(len: usize) -> Result<Vec<FramePiece>, DiskError> {
        if len == 0 || !(len as u64).is_multiple_of(SECTOR_BYTES) {
            return Err(DiskError::OutOfRange);
        }
        let mut out = Vec::new();
        out.try_reserve_exact(len.div_ceil(PAGE_SIZE))
            .map_err(|_| DiskError::Device)?;
        let mut left = len;
        while left > 0 {
            let n = left.min(PAGE_SIZE);
            let frame = Frame::alloc().ok_or(DiskError::Device)?;
            out.push(FramePiece {
                frame,
                offset: 0,
                len: n as u32,
            });
            left -= n;
        }
        Ok(out)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), DiskError> {
        let pieces = Self::pieces(out.len())?;
        self.0.read(offset / SECTOR_BYTES, pieces.clone()).map_err(error)?;
        for (piece, part) in pieces.iter().zip(out.chunks_mut(PAGE_SIZE)) {
            piece.frame.read(0, part);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8], durability: Durability) -> Result<(), DiskError> {
        let pieces = Self::pieces(data.len())?;
        for (piece, part) in pieces.iter().zip(data.chunks(PAGE_SIZE)) {
            piece.frame.write(0, part);
        }
        self.0.write(offset / SECTOR_BYTES, pieces, durability).map_err(error)
    }

    fn flush(&self) -> Result<(), DiskError> {
        self.0.flush().map_err(error)
    }
}

fn error(e: BlockError) -> DiskError {
    match e {
        BlockError::OutOfRange | BlockError::Invalid => DiskError::OutOfRange,
        BlockError::ReadOnly => DiskError::ReadOnly,
        _ => DiskError::Device,
    }
}

impl sis_ext4::Disk for BlockDisk {
    fn len_bytes(&self) -> u64 {
        self.0.size_bytes()
    }

    fn is_read_only(&self) -> bool {
        self.0.is_read_only()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), DiskError> {
        self.read(offset, out)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        self.write(offset, data, Durability::Cached)
    }

    fn write_through(&self, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        self.write(offset, data, Durability::Stable)
    }

    fn flush(&self) -> Result<(), DiskError> {
        self.flush()
    }
}

/// FAT's crate tells its failures apart no further.
impl sis_fat::Disk for BlockDisk {
    fn len_bytes(&self) -> u64 {
        self.0.size_bytes()
    }

    fn is_read_only(&self) -> bool {
        self.0.is_read_only()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), sis_fat::DiskError> {
        self.read(offset, out).map_err(|_| sis_fat::DiskError)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), sis_fat::DiskError> {
        self.write(offset, data, Durability::Cached)
            .map_err(|_| sis_fat::DiskError)
    }

    fn flush(&self) -> Result<(), sis_fat::DiskError> {
        self.flush().map_err(|_| sis_fat::DiskError)
    }
}
