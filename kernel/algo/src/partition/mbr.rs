//! The master boot record, and the chain of logical partitions in an extended one.

use alloc::format;
use alloc::vec::Vec;

use super::{
    Extent, Geometry, PARTITIONS_MAX, Partition, SECTOR_BYTES, ScanError, Scheme, Table, TableError, check_overlaps,
    u16_at, u32_at,
};

/// Where the four entries of 16 bytes begin.
const ENTRIES: usize = 446;
const SIGNATURE: usize = 510;
const DISK_SIGNATURE: usize = 440;
const PROTECTIVE: u8 = 0xee;
/// Number of the first logical partition.
const FIRST_LOGICAL: u32 = 5;

#[derive(Clone, Copy)]
struct Entry {
    status: u8,
    kind: u8,
    first: u32,
    count: u32,
}

impl Entry {
    fn is_used(&self) -> bool {
        self.kind != 0 && self.count != 0
    }

    fn is_extended(&self) -> bool {
        matches!(self.kind, 0x05 | 0x0f | 0x85)
    }
}

/// A block with the signature of boot records.
pub(super) struct Record {
    entries: [Entry; 4],
    disk_signature: u32,
    looks_like_fat: bool,
}

impl Record {
    /// `None` without the signature.
    pub(super) fn parse(block: &[u8]) -> Option<Self> {
        if u16_at(block, SIGNATURE) != 0xaa55 {
            return None;
        }
        let entry = |n: usize| {
            let at = ENTRIES + 16 * n;
            let byte = |offset: usize| block.get(at + offset).copied().unwrap_or_default();
            Entry {
                status: byte(0),
                kind: byte(4),
                first: u32_at(block, at + 8),
                count: u32_at(block, at + 12),
            }
        };
        let byte = |at: usize| block.get(at).copied().unwrap_or_default();
        Some(Self {
            entries: [entry(0), entry(1), entry(2), entry(3)],
            disk_signature: u32_at(block, DISK_SIGNATURE),
            // A boot sector of FAT without a table (Microsoft, FAT32 File System Specification): jump, bytes a sector,
            // number of tables, medium.
            looks_like_fat: matches!(byte(0), 0xeb | 0xe9)
                && matches!(u16_at(block, 11), 512 | 1024 | 2048 | 4096)
                && matches!(byte(16), 1 | 2)
                && matches!(byte(21), 0xf0 | 0xf8..),
        })
    }

    /// Whether it only keeps old programs off a GPT.
    pub(super) fn is_protective(&self) -> bool {
        self.entries.iter().any(|e| e.kind == PROTECTIVE)
    }
}

/// Counted in blocks.
struct Found {
    extents: Vec<Extent>,
    kinds: Vec<(u32, u8)>,
}

pub(super) fn scan<E>(
    geometry: Geometry,
    record: &Record,
    read: &mut impl FnMut(u64, &mut [u8]) -> Result<(), E>,
) -> Result<Option<Table>, ScanError<E>> {
    for (n, e) in record.entries.iter().enumerate() {
        if e.status & 0x7f != 0 {
            // A file system on the whole disk has code there.
            return if record.looks_like_fat {
                Ok(None)
            } else {
                Err(TableError::Status(n as u32 + 1).into())
            };
        }
    }
    let mut found = Found {
        extents: Vec::new(),
        kinds: Vec::new(),
    };
    let mut extended: Option<Extent> = None;
    for (number, e) in (1..).zip(&record.entries).filter(|(_, e)| e.is_used()) {
        let extent = Extent {
            number,
            first: u64::from(e.first),
            count: u64::from(e.count),
        };
        if extent.first == 0 || extent.first + extent.count > geometry.block_count {
            return Err(TableError::OutOfRange(number).into());
        }
        if e.is_extended() {
            if let Some(other) = extended {
                return Err(TableError::TwoExtended(other.number, number).into());
            }
            extended = Some(extent);
        }
        found.extents.push(extent);
        found.kinds.push((number, e.kind));
    }
    check_overlaps(&mut found.extents)?;
    let mut logical = Vec::new();
    if let Some(extended) = extended {
        logical = chain(geometry, extended, read, &mut found.kinds)?;
    }
    let unit = u64::from(geometry.block_bytes) / SECTOR_BYTES;
    // Of the extended one only the first two sectors are shown, as Linux does: enough for a boot loader, too little to
    // overwrite what is in it. One, where a logical partition begins at the second.
    let first_logical = logical.iter().map(|l| l.first).min().unwrap_or(u64::MAX);
    let shown = |e: &Extent| {
        let free = first_logical.saturating_sub(e.first).saturating_mul(unit);
        free.min(2.max(unit))
    };
    let mut partitions: Vec<Partition> = found
        .extents
        .iter()
        .chain(&logical)
        .map(|e| {
            let kind = found.kinds.iter().find(|k| k.0 == e.number).map_or(0, |k| k.1);
            let is_extended = extended.is_some_and(|x| x.number == e.number);
            let sectors = e.count.saturating_mul(unit);
            Partition {
                number: e.number,
                first_sector: e.first.saturating_mul(unit),
                sector_count: if is_extended { sectors.min(shown(e)) } else { sectors },
                uuid: format!("{:08x}-{:02x}", record.disk_signature, e.number),
                kind: format!("{kind:02x}"),
                name: alloc::string::String::new(),
            }
        })
        .collect();
    partitions.sort_by_key(|p| p.number);
    Ok(Some(Table {
        scheme: Scheme::Mbr,
        disk_uuid: format!("{:08x}", record.disk_signature),
        partitions,
        fallback: None,
    }))
}

/// Follows the chain: each link has a logical partition, counted from the link, and the next link, counted from the
/// extended partition's start.
fn chain<E>(
    geometry: Geometry,
    extended: Extent,
    read: &mut impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    kinds: &mut Vec<(u32, u8)>,
) -> Result<Vec<Extent>, ScanError<E>> {
    let mut block = alloc::vec![0; geometry.block_bytes as usize];
    let end = extended.first + extended.count;
    // Links and partitions together: none may lie in another.
    let mut used: Vec<Extent> = Vec::new();
    let mut logical = Vec::new();
    let mut visited: Vec<u64> = Vec::new();
    let mut at = extended.first;
    loop {
        if visited.contains(&at) {
            return Err(TableError::ChainLoop.into());
        }
        if visited.len() >= PARTITIONS_MAX {
            return Err(TableError::TooMany.into());
        }
        visited.push(at);
        read(at, &mut block).map_err(ScanError::Read)?;
        let Some(record) = Record::parse(&block) else {
            return Err(TableError::ChainBroken.into());
        };
        let number = FIRST_LOGICAL + logical.len() as u32;
        used.push(Extent {
            number: extended.number,
            first: at,
            count: 1,
        });
        let [first, second, ..] = record.entries;
        let (mut partition, mut link) = (None, None);
        for e in [first, second].into_iter().filter(Entry::is_used) {
            if e.is_extended() {
                link = link.or(Some(e));
            } else {
                partition = partition.or(Some(e));
            }
        }
        if let Some(e) = partition {
            let extent = Extent {
                number,
                first: at + u64::from(e.first),
                count: u64::from(e.count),
            };
            if extent.first + extent.count > end {
                return Err(TableError::OutOfRange(number).into());
            }
            used.push(extent);
            logical.push(extent);
            kinds.push((number, e.kind));
        }
        let Some(link) = link else { break };
        at = extended.first + u64::from(link.first);
        if at >= end {
            return Err(TableError::ChainOutside.into());
        }
    }
    check_overlaps(&mut used)?;
    Ok(logical)
}
