//! What `embedded-sdmmc` is shown: a disk with one partition, on which one directory of ours is the root of a FAT32.
//!
//! | block | what |
//! |---|---|
//! | 0 | a partition table |
//! | 1 | a boot sector: one copy of the table, and at least the 65,525 clusters without which the crate would see a FAT16 |
//! | 2 | the information sector, which leaves the count of free clusters open |
//! | 3... | the allocation table |
//! | then | data: the clusters of directories. Others are never asked for, and refused |
//!
//! Nothing of this is on the disk; blocks are made from memory as they are read, and taken apart as they are written.

use core::cell::RefCell;
use core::fmt;

use embedded_sdmmc::{Block, BlockCount, BlockDevice, BlockIdx, TimeSource, Timestamp, VolumeIdx, VolumeManager};

use crate::Error;
use crate::boot::Geometry;
use crate::directories::{At, Directories};
use crate::layout::{INFO_FREE, INFO_HINT, INFO_MARKS, SECTOR, put, u32_at};
use crate::slot::{SLOT, Slot};
use crate::table::{BAD, Link, PER_SECTOR, Table};

/// Clusters below which a FAT is not a FAT32 by its size alone.
const CLUSTERS_MIN: u32 = 65_525;
const BOOT: u32 = 1;
const INFO: u32 = 2;
const TABLE: u32 = 3;

/// The label of a volume is an entry that has a name and is no file. It is shown as a part of no long name, so that nobody
/// takes its name for a file's.
const HIDDEN: Slot = {
    let mut bytes = [0xff; SLOT];
    bytes[0] = 0x1f;
    bytes[11] = 0x0f;
    Slot(bytes)
};

/// What is known of the file system.
pub(crate) struct Tables {
    pub(crate) geometry: Geometry,
    pub(crate) table: Table,
    pub(crate) directories: Directories,
}

/// A block that is not shown.
#[derive(Debug)]
pub(crate) struct OutOfSight;

impl fmt::Display for OutOfSight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a block outside the directories")
    }
}

impl core::error::Error for OutOfSight {}

/// The disk, with the directory that begins in `root`.
pub(crate) struct Window<'a, 'b> {
    tables: &'a RefCell<&'b mut Tables>,
    root: u32,
}

/// Times are set by the caller afterwards.
pub(crate) struct NoClock;

impl TimeSource for NoClock {
    fn get_timestamp(&self) -> Timestamp {
        Timestamp::from_fat(0x21, 0)
    }
}

/// A directory as the crate has it open.
pub(crate) type Directory<'d, 'a, 'b> = embedded_sdmmc::Directory<'d, Window<'a, 'b>, NoClock, 2, 1, 1>;

/// Does something with the directory that begins in cluster `root`.
pub(crate) fn with_directory<T>(
    tables: &RefCell<&mut Tables>,
    root: u32,
    body: impl FnOnce(&Directory<'_, '_, '_>) -> Result<T, embedded_sdmmc::Error<OutOfSight>>,
) -> Result<T, Error> {
    let manager = VolumeManager::<_, _, 2, 1, 1>::new_with_limits(Window { tables, root }, NoClock, 0);
    let volume = manager.open_volume(VolumeIdx(0)).map_err(error)?;
    let directory = volume.open_root_dir().map_err(error)?;
    body(&directory).map_err(error)
}

fn error(e: embedded_sdmmc::Error<OutOfSight>) -> Error {
    use embedded_sdmmc::Error as E;
    match e {
        E::NotFound => Error::NotFound,
        E::FileAlreadyExists | E::DirAlreadyExists => Error::Exists,
        E::DeleteNonEmptyDir => Error::NotEmpty,
        E::NotEnoughSpace | E::DiskFull | E::AllocationError => Error::NoSpace,
        E::FilenameError(_) => Error::InvalidName,
        _ => Error::Corrupt("a directory that was good is not any more"),
    }
}

impl Geometry {
    fn shown_clusters(&self) -> u32 {
        self.clusters.max(CLUSTERS_MIN)
    }

    fn shown_table_sectors(&self) -> u32 {
        (self.shown_clusters() + 2).div_ceil(PER_SECTOR as u32)
    }

    /// The first block of data.
    fn shown_data(&self) -> u32 {
        TABLE + self.shown_table_sectors()
    }

    fn shown_sectors(&self) -> u32 {
        self.shown_data() - BOOT + self.shown_clusters() * self.sectors_per_cluster
    }

    /// The cluster and the sector in it that a block of data stands for.
    fn cluster_of(&self, block: u32) -> Option<(u32, u32)> {
        let n = block.checked_sub(self.shown_data())?;
        Some((n / self.sectors_per_cluster + 2, n % self.sectors_per_cluster))
    }

    /// Where an entry is that the crate found in a block.
    pub(crate) fn at(&self, block: BlockIdx, offset: u32) -> Option<At> {
        let (cluster, sector) = self.cluster_of(block.0)?;
        let slot = sector * (SECTOR / SLOT) as u32 + offset / SLOT as u32;
        Some(At { cluster, slot })
    }
}

impl Tables {
    fn partition_table(&self, out: &mut [u8]) {
        // FAT32 with LBA.
        put(out, 446 + 4, &[0x0c]);
        put(out, 446 + 8, &BOOT.to_le_bytes());
        put(out, 446 + 12, &self.geometry.shown_sectors().to_le_bytes());
        put(out, 510, &[0x55, 0xaa]);
    }

    fn boot_sector(&self, root: u32, out: &mut [u8]) {
        let g = &self.geometry;
        put(out, 11, &(SECTOR as u16).to_le_bytes());
        put(out, 13, &[g.sectors_per_cluster as u8]);
        put(out, 14, &((TABLE - BOOT) as u16).to_le_bytes());
        put(out, 16, &[1]);
        put(out, 32, &g.shown_sectors().to_le_bytes());
        put(out, 36, &g.shown_table_sectors().to_le_bytes());
        put(out, 44, &root.to_le_bytes());
        put(out, 48, &((INFO - BOOT) as u16).to_le_bytes());
        put(out, 510, &[0x55, 0xaa]);
    }

    fn info_sector(&self, out: &mut [u8]) {
        for (at, mark) in INFO_MARKS {
            put(out, at, &mark.to_le_bytes());
        }
        put(out, INFO_FREE, &u32::MAX.to_le_bytes());
        put(out, INFO_HINT, &self.table.hint().to_le_bytes());
    }

    fn table_sector(&self, sector: u32, out: &mut [u8]) {
        for (n, place) in out.chunks_exact_mut(4).enumerate() {
            let cluster = sector * PER_SECTOR as u32 + n as u32;
            place.copy_from_slice(&self.table.shown(cluster).to_le_bytes());
        }
    }

    fn read(&self, block: u32, root: u32, out: &mut [u8; SECTOR]) -> Result<(), OutOfSight> {
        *out = [0; SECTOR];
        match block {
            0 => self.partition_table(out),
            BOOT => self.boot_sector(root, out),
            INFO => self.info_sector(out),
            n if n < self.geometry.shown_data() => self.table_sector(n - TABLE, out),
            n => {
                let (cluster, sector) = self.geometry.cluster_of(n).ok_or(OutOfSight)?;
                *out = *self.directories.sector(cluster, sector).ok_or(OutOfSight)?;
                for bytes in out.as_chunks_mut::<SLOT>().0 {
                    if Slot(*bytes).is_label() && !Slot(*bytes).is_free() {
                        *bytes = HIDDEN.0;
                    }
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, block: u32, bytes: &[u8; SECTOR]) -> Result<(), OutOfSight> {
        match block {
            0 | BOOT => Err(OutOfSight),
            // The counts are kept here.
            INFO => Ok(()),
            n if n < self.geometry.shown_data() => {
                self.write_table(n - TABLE, bytes);
                Ok(())
            }
            n => self.write_directory(n, bytes),
        }
    }

    fn write_table(&mut self, sector: u32, bytes: &[u8]) {
        for (n, entry) in bytes.chunks_exact(4).enumerate() {
            let cluster = sector * PER_SECTOR as u32 + n as u32;
            let value = u32_at(entry, 0);
            if value != self.table.shown(cluster) && value != BAD {
                self.table.set(cluster, value);
            }
        }
    }

    fn write_directory(&mut self, block: u32, bytes: &[u8; SECTOR]) -> Result<(), OutOfSight> {
        let (cluster, sector) = self.geometry.cluster_of(block).ok_or(OutOfSight)?;
        if !self.directories.has(cluster) {
            // A cluster that has just been taken for a directory.
            if self.table.link(cluster) != Link::End || self.directories.is_full() {
                return Err(OutOfSight);
            }
            self.directories.add(cluster);
        }
        let first = sector * (SECTOR / SLOT) as u32;
        for (n, bytes) in bytes.as_chunks::<SLOT>().0.iter().enumerate() {
            if Slot(*bytes) != HIDDEN {
                let at = At {
                    cluster,
                    slot: first + n as u32,
                };
                self.directories.set_slot(at, &Slot(*bytes));
            }
        }
        Ok(())
    }
}

impl BlockDevice for Window<'_, '_> {
    type Error = OutOfSight;

    fn read(&self, blocks: &mut [Block], start: BlockIdx) -> Result<(), OutOfSight> {
        let tables = self.tables.try_borrow().map_err(|_| OutOfSight)?;
        for (n, block) in (start.0..).zip(blocks) {
            tables.read(n, self.root, &mut block.contents)?;
        }
        Ok(())
    }

    fn write(&self, blocks: &[Block], start: BlockIdx) -> Result<(), OutOfSight> {
        let mut tables = self.tables.try_borrow_mut().map_err(|_| OutOfSight)?;
        for (n, block) in (start.0..).zip(blocks) {
            tables.write(n, &block.contents)?;
        }
        Ok(())
    }

    fn num_blocks(&self) -> Result<BlockCount, OutOfSight> {
        let tables = self.tables.try_borrow().map_err(|_| OutOfSight)?;
        Ok(BlockCount(BOOT + tables.geometry.shown_sectors()))
    }
}
