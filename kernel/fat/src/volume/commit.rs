//! What is in memory goes to the disk.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::Volume;
use crate::layout::{INFO_FREE, INFO_HINT, SECTOR, SECTOR_BYTES, put};
use crate::table::Stage;
use crate::{Disk, Error, boot};

/// Sectors of the table that are written at once.
const BATCH: usize = 128;

impl<D: Disk> Volume<D> {
    /// Everything that was done survives a cut when this returns; the disk is flushed even if there was nothing to do.
    ///
    /// # Errors
    /// [`Error::Disk`], after which the volume is read-only.
    pub fn commit(&mut self) -> Result<(), Error> {
        if self.is_read_only {
            return Ok(());
        }
        let out = self.write();
        if out.is_err() {
            self.is_read_only = true;
        }
        out
    }

    /// Whether there is something that the disk does not have.
    pub fn has_changes(&self) -> bool {
        self.tables.table.is_changed() || !self.tables.directories.changed().is_empty()
    }

    /// Leaves the file system clean. Nothing can be changed any more.
    ///
    /// # Errors
    /// [`Error::Disk`].
    pub fn unmount(&mut self) -> Result<(), Error> {
        self.commit()?;
        // What was found in use may need fsck.fat still.
        if self.is_marked && !self.was_in_use {
            boot::mark(&self.disk, false)?;
            self.disk.flush()?;
        }
        self.is_marked = false;
        self.is_read_only = true;
        Ok(())
    }

    /// Lets changes happen again after [`Self::unmount`], or after mounting read-only.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] if the disk is.
    pub fn resume(&mut self) -> Result<(), Error> {
        if self.disk.is_read_only() {
            return Err(Error::ReadOnly);
        }
        self.is_read_only = false;
        Ok(())
    }

    fn write(&mut self) -> Result<(), Error> {
        let has_names = !self.tables.directories.changed().is_empty();
        if !self.has_changes() {
            self.disk.flush()?;
            return Ok(());
        }
        if !self.is_marked {
            boot::mark(&self.disk, true)?;
            self.is_marked = true;
        }
        let added = self.tables.directories.added();
        for cluster in added {
            let at = self.tables.geometry.sector_of(*cluster);
            let bytes = self.tables.directories.without_names(*cluster);
            self.disk.write(at * SECTOR_BYTES, &bytes)?;
        }
        if !added.is_empty() {
            self.disk.flush()?;
        }
        let taken = self.tables.table.changed_sectors(Stage::Taken);
        self.write_table(&taken, Stage::Taken)?;
        self.disk.flush()?;
        if has_names {
            self.write_directories()?;
            self.disk.flush()?;
        }
        let freed = self.tables.table.changed_sectors(Stage::All);
        self.write_table(&freed, Stage::All)?;
        self.write_info()?;
        self.disk.flush()?;
        self.tables.table.settled();
        self.tables.directories.settled();
        Ok(())
    }

    fn write_table(&self, sectors: &BTreeSet<u32>, stage: Stage) -> Result<(), Error> {
        let mut start = 0;
        let mut run: Vec<u8> = Vec::new();
        for sector in sectors {
            let is_next = u64::from(*sector) == start + (run.len() / SECTOR) as u64;
            if !run.is_empty() && (!is_next || run.len() >= BATCH * SECTOR) {
                self.write_run(start, &run)?;
                run.clear();
            }
            if run.is_empty() {
                start = u64::from(*sector);
            }
            run.extend_from_slice(&self.tables.table.stage(*sector, stage));
        }
        if run.is_empty() {
            Ok(())
        } else {
            self.write_run(start, &run)
        }
    }

    /// Sectors of the table, into each copy of it.
    fn write_run(&self, sector: u64, bytes: &[u8]) -> Result<(), Error> {
        let geometry = &self.tables.geometry;
        for copy in geometry.tables.clone() {
            self.disk.write(geometry.table_offset(copy, sector), bytes)?;
        }
        Ok(())
    }

    fn write_directories(&self) -> Result<(), Error> {
        let (geometry, directories) = (&self.tables.geometry, &self.tables.directories);
        for (cluster, sector) in directories.changed() {
            if let Some(bytes) = directories.sector(*cluster, *sector) {
                let at = geometry.sector_of(*cluster) + u64::from(*sector);
                self.disk.write(at * SECTOR_BYTES, bytes)?;
            }
        }
        Ok(())
    }

    fn write_info(&mut self) -> Result<(), Error> {
        if let Some((sector, bytes)) = &mut self.info {
            put(bytes, INFO_FREE, &self.tables.table.free_clusters().to_le_bytes());
            put(bytes, INFO_HINT, &self.tables.table.hint().to_le_bytes());
            self.disk.write(*sector * SECTOR_BYTES, bytes)?;
        }
        Ok(())
    }
}
