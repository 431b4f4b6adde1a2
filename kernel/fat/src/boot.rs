//! The boot sector: where everything is.

use alloc::vec;

use crate::layout::{SECTOR, SECTOR_BYTES, u16_at, u32_at};
use crate::{Disk, Error};

/// The most clusters that are taken on: their table has 16 MiB in memory.
pub(crate) const CLUSTERS_MAX: u32 = 4 << 20;

/// Set in byte 0x41 of the boot sector while the file system is in use, as Linux and Windows do.
const STATE_AT: usize = 0x41;
const STATE_DIRTY: u8 = 1;

/// Where the parts of a file system are, in sectors from its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) sectors_per_cluster: u32,
    /// Clusters of data; they are numbered from 2 on.
    pub(crate) clusters: u32,
    pub(crate) table_start: u64,
    pub(crate) table_sectors: u64,
    /// The copies of the table that are written.
    pub(crate) tables: core::ops::Range<u64>,
    /// The copy that is read.
    pub(crate) active_table: u64,
    pub(crate) data_start: u64,
    pub(crate) root: u32,
    /// The sector with the count of free clusters, if there is one.
    pub(crate) info_sector: Option<u64>,
}

impl Geometry {
    pub(crate) const fn cluster_bytes(&self) -> usize {
        self.sectors_per_cluster as usize * SECTOR
    }

    /// The first sector of a cluster. Clusters below 2 have none, and are not asked for.
    pub(crate) const fn sector_of(&self, cluster: u32) -> u64 {
        self.data_start + cluster.saturating_sub(2) as u64 * self.sectors_per_cluster as u64
    }

    /// The first byte of sector `sector` of copy `copy` of the table.
    pub(crate) const fn table_offset(&self, copy: u64, sector: u64) -> u64 {
        (self.table_start + copy * self.table_sectors + sector) * SECTOR_BYTES
    }
}

/// Reads and checks the boot sector. Whether the file system was in use when it was last written comes with it.
pub(crate) fn read(disk: &impl Disk) -> Result<(Geometry, bool), Error> {
    let mut b = vec![0; SECTOR];
    if disk.len_bytes() < SECTOR_BYTES {
        return Err(Error::NotFat("the disk is smaller than a sector"));
    }
    disk.read(0, &mut b)?;
    let geometry = parse(&b, disk.len_bytes() / SECTOR_BYTES)?;
    let is_in_use = b.get(STATE_AT).is_some_and(|s| s & STATE_DIRTY != 0);
    Ok((geometry, is_in_use))
}

/// Notes on the disk whether the file system is in use.
pub(crate) fn mark(disk: &impl Disk, is_in_use: bool) -> Result<(), Error> {
    let mut b = vec![0; SECTOR];
    disk.read(0, &mut b)?;
    if let Some(state) = b.get_mut(STATE_AT) {
        *state = *state & !STATE_DIRTY | if is_in_use { STATE_DIRTY } else { 0 };
    }
    disk.write(0, &b)?;
    Ok(())
}

fn parse(b: &[u8], disk_sectors: u64) -> Result<Geometry, Error> {
    if u16_at(b, 510) != 0xaa55 {
        return Err(Error::NotFat("no signature in the first sector"));
    }
    let per_cluster = u32::from(b.get(13).copied().unwrap_or(0));
    let reserved = u64::from(u16_at(b, 14));
    let copies = u64::from(b.get(16).copied().unwrap_or(0));
    if !per_cluster.is_power_of_two() || reserved == 0 || copies == 0 || copies > 4 {
        return Err(Error::NotFat("the first sector is no boot sector"));
    }
    if u16_at(b, 11) != 512 {
        return Err(Error::Unsupported("sectors other than 512 bytes"));
    }
    // What a FAT32 has no use for.
    if u16_at(b, 17) != 0 || u16_at(b, 22) != 0 {
        return Err(Error::Unsupported("FAT12 or FAT16: only FAT32 is"));
    }
    if u16_at(b, 42) != 0 {
        return Err(Error::Unsupported("a version of FAT32 other than 0.0"));
    }
    let table_sectors = u64::from(u32_at(b, 36));
    let sectors = match u16_at(b, 19) {
        0 => u64::from(u32_at(b, 32)),
        n => u64::from(n),
    };
    if sectors > disk_sectors {
        return Err(Error::Corrupt("the file system is larger than the disk"));
    }
    let data_start = reserved + copies * table_sectors;
    let clusters = sectors
        .checked_sub(data_start)
        .map_or(0, |n| n / u64::from(per_cluster));
    let clusters = u32::try_from(clusters).unwrap_or(u32::MAX);
    if clusters == 0 || table_sectors == 0 {
        return Err(Error::Corrupt("no room for data"));
    }
    if clusters > CLUSTERS_MAX {
        return Err(Error::Unsupported("more than 4,194,304 clusters"));
    }
    if table_sectors * SECTOR_BYTES / 4 < u64::from(clusters) + 2 {
        return Err(Error::Corrupt("the allocation table is too short"));
    }
    let root = u32_at(b, 44);
    if root < 2 || root - 2 >= clusters {
        return Err(Error::Corrupt("the root directory is nowhere"));
    }
    let info = u64::from(u16_at(b, 48));
    let flags = u16_at(b, 40);
    // Bit 7: only the copy in bits 0 to 3 is kept up to date.
    let only = (flags & 0x80 != 0).then_some(u64::from(flags & 15));
    if only.is_some_and(|n| n >= copies) {
        return Err(Error::Corrupt("the allocation table in use is nowhere"));
    }
    Ok(Geometry {
        sectors_per_cluster: per_cluster,
        clusters,
        table_start: reserved,
        table_sectors,
        tables: only.map_or(0..copies, |n| n..n + 1),
        active_table: only.unwrap_or(0),
        data_start,
        root,
        info_sector: (info > 0 && info < reserved).then_some(info),
    })
}
