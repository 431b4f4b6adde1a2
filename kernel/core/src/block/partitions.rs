//! A disk's partitions: found when it is attached, and again when a program asks (BLKRRPART).

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};

use sis_algo::partition::{self, Geometry, Partition, ScanError, Table};
use sis_hal::{BlockError, OutOfRange, SECTOR_BYTES, ScatterList};
use sis_machine::mm::scatter::{FramePiece, FrameScatter};

use super::registry::{self, Numbers};
use super::volume::{Volume, new_pieces};
use crate::fs::inode::make_dev;
use crate::{Errno, Result};

/// Major number of partitions that have no minor of their disk's left (Linux's BLOCK_EXT_MAJOR).
const EXTENDED_MAJOR: u32 = 259;

static NEXT_EXTENDED: AtomicU32 = AtomicU32::new(0);

/// What a partition table says of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionInfo {
    /// PARTUUID.
    pub uuid: String,
    /// PARTLABEL; may be empty.
    pub name: String,
    /// PARTTYPE.
    pub kind: String,
}

/// Reads whole blocks into a buffer, and waits.
fn read_blocks(volume: &Volume, block: u64, out: &mut [u8]) -> core::result::Result<(), BlockError> {
    let sectors_each = u64::from(volume.logical_block_bytes()) / SECTOR_BYTES;
    let pieces = new_pieces(out.len()).map_err(|_| BlockError::Busy)?;
    let pieces = shorten(pieces, out.len());
    volume.read(block.saturating_mul(sectors_each), pieces.clone())?;
    let list = FrameScatter::new(pieces, u32::MAX).map_err(|_| BlockError::Busy)?;
    list.read(0, out).map_err(|OutOfRange| BlockError::Device)
}

/// Cuts pieces down to `len` bytes.
pub(super) fn shorten(mut pieces: Vec<FramePiece>, len: usize) -> Vec<FramePiece> {
    let mut left = len;
    for p in &mut pieces {
        p.len = (p.len as usize).min(left) as u32;
        left -= p.len as usize;
    }
    pieces.retain(|p| p.len > 0);
    pieces
}

fn scan(whole: &Volume) -> Option<Table> {
    let block_bytes = whole.logical_block_bytes();
    let geometry = Geometry {
        block_bytes,
        block_count: whole.sector_count() / (u64::from(block_bytes) / SECTOR_BYTES).max(1),
    };
    match partition::scan(geometry, |block, out| read_blocks(whole, block, out)) {
        Ok(table) => table,
        Err(ScanError::Bad(e)) => {
            sis_machine::error!("{}: the partition table is refused: {e}", whole.name());
            None
        }
        Err(ScanError::Read(e)) => {
            sis_machine::error!("{}: the partition table cannot be read: {e}", whole.name());
            None
        }
    }
}

/// Finds a disk's partitions and makes them known. Answers how many.
pub(super) fn find(whole: &Arc<Volume>, numbers: Numbers) -> usize {
    let Some(table) = scan(whole) else { return 0 };
    if let Some(fault) = table.fallback {
        sis_machine::warn!(
            "{}: the first copy of the GPT cannot be used ({fault}); the one at the end is",
            whole.name()
        );
    }
    let mut names = String::new();
    for p in &table.partitions {
        let volume = Arc::new(volume_of(whole, numbers, p));
        names.push(' ');
        names.push_str(volume.name());
        registry::add(&volume);
    }
    sis_machine::info!(" {}:{names}", whole.name());
    table.partitions.len()
}

fn volume_of(whole: &Volume, numbers: Numbers, p: &Partition) -> Volume {
    // A name that ends in a digit needs something between it and the number.
    let between = if whole.name().ends_with(|c: char| c.is_ascii_digit()) {
        "p"
    } else {
        ""
    };
    let device = if p.number < numbers.minors {
        make_dev(numbers.major, numbers.first_minor + p.number)
    } else {
        make_dev(EXTENDED_MAJOR, NEXT_EXTENDED.fetch_add(1, Ordering::Relaxed))
    };
    let info = PartitionInfo {
        uuid: p.uuid.clone(),
        name: p.name.clone(),
        kind: p.kind.clone(),
    };
    whole.part(
        p.number,
        (p.first_sector, p.sector_count),
        format!("{}{between}{}", whole.name(), p.number),
        device,
        info,
    )
}

/// Forgets a disk's partitions and finds them anew.
///
/// # Errors
/// `EINVAL` for a partition, `EBUSY` while one is open or mounted.
pub(super) fn read_anew(whole: &Arc<Volume>) -> Result<()> {
    if whole.number() != 0 {
        return Err(Errno::EINVAL);
    }
    let numbers = registry::numbers_of(whole).ok_or(Errno::ENXIO)?;
    registry::remove_partitions(whole)?;
    find(whole, numbers);
    Ok(())
}
