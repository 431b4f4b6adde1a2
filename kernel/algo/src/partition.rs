//! Partition tables: GPT (UEFI 2.10, section 5.3) and MBR with extended partitions.
//!
//! What is read comes from a disk that anybody may have written. A table that contradicts itself or the disk is refused
//! as a whole, with what is wrong in it: a file system on half of another is worse than none.

mod crc;
mod gpt;
mod mbr;

use alloc::string::String;
use alloc::vec::Vec;

pub use gpt::GptFault;

/// The most partitions of a table.
pub const PARTITIONS_MAX: usize = 256;
/// Bytes of the sectors that results are counted in.
pub const SECTOR_BYTES: u64 = 512;

/// The disk that a table is looked for on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of a logical block, which tables count in: a power of two from 512 to 65,536.
    pub block_bytes: u32,
    /// Logical blocks of the disk.
    pub block_count: u64,
}

/// Which kind of table it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Master boot record.
    Mbr,
    /// GUID partition table.
    Gpt,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its number, from 1; not all numbers need be there.
    pub number: u32,
    /// Its first sector of 512 bytes.
    pub first_sector: u64,
    /// Sectors of 512 bytes; never 0.
    pub sector_count: u64,
    /// Its identification, as PARTUUID= has it: `c12a7328-…` or, of an MBR, `1a2b3c4d-01`.
    pub uuid: String,
    /// What it is for: a GUID or, of an MBR, two hexadecimal digits.
    pub kind: String,
    /// Its name; only GPT has them.
    pub name: String,
}

/// A partition table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its kind.
    pub scheme: Scheme,
    /// The disk's identification: a GUID or eight hexadecimal digits.
    pub disk_uuid: String,
    /// By number.
    pub partitions: Vec<Partition>,
    /// The first copy of a GPT was broken in this way, and the one at the disk's end was taken.
    pub fallback: Option<GptFault>,
}

/// What is wrong with a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// Neither copy of a GPT can be used.
    #[error("GPT: the first copy cannot be used ({primary}), nor the one at the end ({backup})")]
    Gpt {
        /// What is wrong with the first.
        primary: GptFault,
        /// What is wrong with the last.
        backup: GptFault,
    },
    /// A partition is not on the disk, or not where the table says partitions are.
    #[error("partition {0} reaches beyond the blocks that the table may use")]
    OutOfRange(u32),
    /// A partition ends before it begins.
    #[error("partition {0} ends before it begins")]
    Reversed(u32),
    /// Two partitions share blocks.
    #[error("partitions {0} and {1} overlap")]
    Overlap(u32, u32),
    /// An entry's status byte is none that there is.
    #[error("MBR: entry {0} has an impossible status")]
    Status(u32),
    /// There are several extended partitions.
    #[error("MBR: partitions {0} and {1} are both extended")]
    TwoExtended(u32, u32),
    /// The chain of logical partitions comes back to itself.
    #[error("MBR: the chain of logical partitions is a loop")]
    ChainLoop,
    /// The chain of logical partitions leaves the extended one.
    #[error("MBR: the chain of logical partitions leaves the extended partition")]
    ChainOutside,
    /// A link of the chain has no signature.
    #[error("MBR: the chain of logical partitions is broken")]
    ChainBroken,
    /// More than [`PARTITIONS_MAX`].
    #[error("there are more than {PARTITIONS_MAX} partitions")]
    TooMany,
    /// A block size that is none, or a disk without blocks.
    #[error("the disk's block size or number makes no sense")]
    Geometry,
}

/// Why no table was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanError<E> {
    /// The disk could not be read.
    Read(E),
    /// The table is refused.
    Bad(TableError),
}

impl<E> From<TableError> for ScanError<E> {
    fn from(e: TableError) -> Self {
        Self::Bad(e)
    }
}

/// Looks for a table. `read` fills the buffer (whole blocks) from a block on; what is asked of it lies on the disk, at
/// most 1 MiB at once, and it is called at most a few hundred times. `None`: there is no table.
///
/// # Errors
/// [`ScanError::Read`] with what `read` failed with (only for what there is no second copy of), [`ScanError::Bad`] for a
/// table that is refused.
pub fn scan<E>(
    geometry: Geometry,
    mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
) -> Result<Option<Table>, ScanError<E>> {
    let is_good = geometry.block_bytes.is_power_of_two() && (512..=65_536).contains(&geometry.block_bytes);
    if !is_good || geometry.block_count == 0 {
        return Err(TableError::Geometry.into());
    }
    let mut block = alloc::vec![0; geometry.block_bytes as usize];
    read(0, &mut block).map_err(ScanError::Read)?;
    let Some(record) = mbr::Record::parse(&block) else {
        return Ok(None);
    };
    if record.is_protective() {
        return gpt::scan(geometry, &mut read).map(Some).map_err(ScanError::Bad);
    }
    mbr::scan(geometry, &record, &mut read)
}

/// A range of blocks with the number of its partition.
#[derive(Clone, Copy)]
struct Extent {
    number: u32,
    first: u64,
    count: u64,
}

/// Finds two that share blocks.
fn check_overlaps(extents: &mut [Extent]) -> Result<(), TableError> {
    extents.sort_by_key(|e| (e.first, e.number));
    for pair in extents.windows(2) {
        if let [a, b] = pair
            && b.first - a.first < a.count
        {
            return Err(TableError::Overlap(a.number.min(b.number), a.number.max(b.number)));
        }
    }
    Ok(())
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    let b = bytes.get(at..).and_then(<[u8]>::first_chunk);
    b.map_or(0, |b| u16::from_le_bytes(*b))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let b = bytes.get(at..).and_then(<[u8]>::first_chunk);
    b.map_or(0, |b| u32::from_le_bytes(*b))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let b = bytes.get(at..).and_then(<[u8]>::first_chunk);
    b.map_or(0, |b| u64::from_le_bytes(*b))
}

#[cfg(test)]
mod tests;
