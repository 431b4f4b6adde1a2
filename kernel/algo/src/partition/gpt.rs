//! The GUID partition table: a header and an array of entries, both twice.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::crc::crc32;
use super::{
    Extent, Geometry, PARTITIONS_MAX, Partition, SECTOR_BYTES, Scheme, Table, TableError, check_overlaps, u16_at,
    u32_at, u64_at,
};

/// Bytes of the header that have a meaning.
const HEADER_BYTES: u32 = 92;
const CHECKSUM: usize = 16;
/// The most bytes of the array of entries; usual are 16 KiB.
const ARRAY_BYTES_MAX: u64 = 1 << 20;
/// Bytes of an entry: this times a power of two.
const ENTRY_BYTES: u32 = 128;
/// UTF-16 units of a name.
const NAME_UNITS: usize = 36;

/// Why one copy of the table cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GptFault {
    /// It could not be read.
    #[error("it cannot be read")]
    Unreadable,
    /// There is no header.
    #[error("no header")]
    Signature,
    /// A header of another revision than 1.0.
    #[error("revision {0:#x}")]
    Revision(u32),
    /// The header is too short, or longer than a block.
    #[error("a header of {0} bytes")]
    HeaderBytes(u32),
    /// The header is damaged.
    #[error("the header's checksum is wrong")]
    HeaderChecksum,
    /// The header says that it is elsewhere.
    #[error("the header is from block {0}")]
    Place(u64),
    /// Entries of an impossible size.
    #[error("entries of {0} bytes")]
    EntryBytes(u32),
    /// More entries than is reasonable, or none.
    #[error("{0} entries")]
    EntryCount(u32),
    /// The entries are not on the disk, or lie in what partitions may use.
    #[error("the entries are at block {0}")]
    ArrayPlace(u64),
    /// The entries are damaged.
    #[error("the entries' checksum is wrong")]
    ArrayChecksum,
    /// The range for partitions is empty or not on the disk.
    #[error("partitions from block {0} to {1}")]
    Usable(u64, u64),
}

struct Header {
    first_usable: u64,
    last_usable: u64,
    disk: String,
    array_block: u64,
    entry_count: u32,
    entry_bytes: u32,
    array_checksum: u32,
}

pub(super) fn scan<E>(
    geometry: Geometry,
    read: &mut impl FnMut(u64, &mut [u8]) -> Result<(), E>,
) -> Result<Table, TableError> {
    match copy_at(geometry, 1, read) {
        Ok((header, array)) => table(geometry, &header, &array, None),
        Err(primary) => match copy_at(geometry, geometry.block_count - 1, read) {
            Ok((header, array)) => table(geometry, &header, &array, Some(primary)),
            Err(backup) => Err(TableError::Gpt { primary, backup }),
        },
    }
}

/// Reads and checks the copy whose header is in a block.
fn copy_at<E>(
    geometry: Geometry,
    at: u64,
    read: &mut impl FnMut(u64, &mut [u8]) -> Result<(), E>,
) -> Result<(Header, Vec<u8>), GptFault> {
    if at == 0 || at >= geometry.block_count {
        return Err(GptFault::Unreadable);
    }
    let mut block = alloc::vec![0; geometry.block_bytes as usize];
    read(at, &mut block).map_err(|_| GptFault::Unreadable)?;
    let header = header(geometry, at, &block)?;
    let bytes = u64::from(header.entry_count) * u64::from(header.entry_bytes);
    let blocks = bytes.div_ceil(u64::from(geometry.block_bytes));
    let mut array = alloc::vec![0; (blocks * u64::from(geometry.block_bytes)) as usize];
    read(header.array_block, &mut array).map_err(|_| GptFault::Unreadable)?;
    array.truncate(bytes as usize);
    if crc32(&[&array]) != header.array_checksum {
        return Err(GptFault::ArrayChecksum);
    }
    Ok((header, array))
}

fn header(geometry: Geometry, at: u64, block: &[u8]) -> Result<Header, GptFault> {
    if !block.starts_with(b"EFI PART") {
        return Err(GptFault::Signature);
    }
    let revision = u32_at(block, 8);
    if revision != 0x0001_0000 {
        return Err(GptFault::Revision(revision));
    }
    let bytes = u32_at(block, 12);
    if bytes < HEADER_BYTES || bytes > geometry.block_bytes {
        return Err(GptFault::HeaderBytes(bytes));
    }
    let before = block.get(..CHECKSUM).unwrap_or_default();
    let after = block.get(CHECKSUM + 4..bytes as usize).unwrap_or_default();
    if crc32(&[before, &[0; 4], after]) != u32_at(block, CHECKSUM) {
        return Err(GptFault::HeaderChecksum);
    }
    let place = u64_at(block, 24);
    if place != at {
        return Err(GptFault::Place(place));
    }
    let (first_usable, last_usable) = (u64_at(block, 40), u64_at(block, 48));
    if first_usable > last_usable || first_usable < 2 || last_usable >= geometry.block_count {
        return Err(GptFault::Usable(first_usable, last_usable));
    }
    let (array_block, entry_count, entry_bytes) = (u64_at(block, 72), u32_at(block, 80), u32_at(block, 84));
    if entry_bytes < ENTRY_BYTES || !entry_bytes.is_power_of_two() || entry_bytes > 4096 {
        return Err(GptFault::EntryBytes(entry_bytes));
    }
    let array_bytes = u64::from(entry_count) * u64::from(entry_bytes);
    if entry_count == 0 || array_bytes > ARRAY_BYTES_MAX {
        return Err(GptFault::EntryCount(entry_count));
    }
    let array_blocks = array_bytes.div_ceil(u64::from(geometry.block_bytes));
    let array_end = array_block.checked_add(array_blocks);
    let is_outside_usable = |end: u64| end <= first_usable || array_block > last_usable;
    let is_good = array_block >= 2
        && array_end.is_some_and(|end| {
            end <= geometry.block_count && is_outside_usable(end) && !(array_block..end).contains(&at)
        });
    if !is_good {
        return Err(GptFault::ArrayPlace(array_block));
    }
    Ok(Header {
        first_usable,
        last_usable,
        disk: guid(block.get(56..).unwrap_or_default()),
        array_block,
        entry_count,
        entry_bytes,
        array_checksum: u32_at(block, 88),
    })
}

fn table(geometry: Geometry, header: &Header, array: &[u8], fallback: Option<GptFault>) -> Result<Table, TableError> {
    let unit = u64::from(geometry.block_bytes) / SECTOR_BYTES;
    let mut partitions = Vec::new();
    let mut extents = Vec::new();
    for (number, entry) in (1..).zip(array.chunks_exact(header.entry_bytes as usize)) {
        let kind = entry.get(..16).unwrap_or_default();
        if kind.iter().all(|b| *b == 0) {
            continue;
        }
        if partitions.len() >= PARTITIONS_MAX {
            return Err(TableError::TooMany);
        }
        let (first, last) = (u64_at(entry, 32), u64_at(entry, 40));
        if first > last {
            return Err(TableError::Reversed(number));
        }
        if first < header.first_usable || last > header.last_usable {
            return Err(TableError::OutOfRange(number));
        }
        let count = last - first + 1;
        extents.push(Extent { number, first, count });
        partitions.push(Partition {
            number,
            first_sector: first.saturating_mul(unit),
            sector_count: count.saturating_mul(unit),
            uuid: guid(entry.get(16..).unwrap_or_default()),
            kind: guid(kind),
            name: name(entry.get(56..).unwrap_or_default()),
        });
    }
    check_overlaps(&mut extents)?;
    Ok(Table {
        scheme: Scheme::Gpt,
        disk_uuid: header.disk.clone(),
        partitions,
        fallback,
    })
}

/// A GUID as text: its first three fields are little-endian.
fn guid(bytes: &[u8]) -> String {
    let mut out = format!(
        "{:08x}-{:04x}-{:04x}-",
        u32_at(bytes, 0),
        u16_at(bytes, 4),
        u16_at(bytes, 6)
    );
    for (n, b) in bytes.iter().enumerate().take(16).skip(8) {
        if n == 10 {
            out.push('-');
        }
        out.push_str(&format!("{b:02x}"));
    }
    out
}

/// A name: UTF-16, to the first 0. What would break a line or a terminal becomes `!`, as on Linux.
fn name(bytes: &[u8]) -> String {
    let units = bytes
        .chunks_exact(2)
        .take(NAME_UNITS)
        .map(|c| u16_at(c, 0))
        .take_while(|u| *u != 0);
    char::decode_utf16(units)
        .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
        .map(|c| if c.is_control() { '!' } else { c })
        .collect()
}
