//! What is mounted.
//!
//! | module | story |
//! |---|---|
//! | `names` | finding, making, moving and removing names |
//! | `content` | how long files are and where their content is |
//! | `commit` | what is in memory goes to the disk |

mod commit;
mod content;
mod names;

use core::cell::RefCell;

use crate::boot;
use crate::check;
use crate::directories::At;
use crate::index::Indexes;
use crate::layout::{INFO_MARKS, SECTOR, SECTOR_BYTES, u32_at};
use crate::slot::{READ_ONLY, Slot, Times};
use crate::window::Tables;
use crate::{Disk, Error};

pub use content::{Chain, Run};
pub use names::{Entry, Exchange};

/// Where the entry of a file is. It stays there until the file moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(At);

/// What mounting found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// It was in use when it was last written: the power went, or somebody pulled the card.
    pub was_in_use: bool,
}

/// How much there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of a cluster.
    pub cluster_bytes: u32,
    /// Clusters.
    pub clusters: u32,
    /// Free ones.
    pub free: u32,
}

/// A mounted file system.
pub struct Volume<D> {
    disk: D,
    tables: Tables,
    indexes: Indexes,
    is_read_only: bool,
    was_in_use: bool,
    /// The disk says that it is in use.
    is_marked: bool,
    /// The sector with the count of free clusters.
    info: Option<(u64, [u8; SECTOR])>,
}

impl<D: Disk> Volume<D> {
    /// Reads and checks everything but content.
    ///
    /// # Errors
    /// [`Error::NotFat`], [`Error::Unsupported`], [`Error::Corrupt`], [`Error::Disk`]; [`Error::NoSpace`] without memory for
    /// the allocation table.
    pub fn mount(disk: D, is_read_only: bool) -> Result<(Self, Report), Error> {
        let (geometry, was_in_use) = boot::read(&disk)?;
        let table = check::table(&disk, &geometry)?;
        let directories = check::directories(&disk, &geometry, &table)?;
        let info = match geometry.info_sector {
            Some(sector) => {
                let mut bytes = [0; SECTOR];
                disk.read(sector * SECTOR_BYTES, &mut bytes)?;
                let is_good = INFO_MARKS.iter().all(|(at, mark)| u32_at(&bytes, *at) == *mark);
                is_good.then_some((sector, bytes))
            }
            None => None,
        };
        let volume = Self {
            is_read_only: is_read_only || disk.is_read_only(),
            disk,
            tables: Tables {
                geometry,
                table,
                directories,
            },
            indexes: Indexes::default(),
            was_in_use,
            is_marked: false,
            info,
        };
        Ok((volume, Report { was_in_use }))
    }

    /// Whether nothing may be changed.
    pub fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    /// The root directory.
    pub fn root(&self) -> Chain {
        Chain(self.tables.geometry.root)
    }

    /// Bytes of a cluster.
    pub fn cluster_bytes(&self) -> u64 {
        self.tables.geometry.cluster_bytes() as u64
    }

    /// How much there is, and how much of it is free.
    pub fn usage(&self) -> Usage {
        Usage {
            cluster_bytes: self.tables.geometry.cluster_bytes() as u32,
            clusters: self.tables.geometry.clusters,
            free: self.tables.table.free_clusters(),
        }
    }

    fn writable(&self) -> Result<(), Error> {
        if self.is_read_only {
            Err(Error::ReadOnly)
        } else {
            Ok(())
        }
    }

    /// The tables as the crate is shown them.
    fn shared(&mut self) -> RefCell<&mut Tables> {
        RefCell::new(&mut self.tables)
    }

    fn slot(&self, place: Place) -> Result<Slot, Error> {
        self.tables.directories.slot(place.0).ok_or(Error::NotFound)
    }

    fn change(&mut self, place: Place, change: impl FnOnce(&mut Slot)) -> Result<(), Error> {
        self.writable()?;
        let mut slot = self.slot(place)?;
        change(&mut slot);
        self.tables.directories.set_slot(place.0, &slot);
        Ok(())
    }

    /// Sets a file's times, as exactly as FAT keeps them.
    ///
    /// # Errors
    /// [`Error::ReadOnly`].
    pub fn set_times(&mut self, place: Place, times: &Times) -> Result<(), Error> {
        self.change(place, |slot| slot.set_times(times))
    }

    /// Sets whether a file may be written.
    ///
    /// # Errors
    /// [`Error::ReadOnly`].
    pub fn set_read_only(&mut self, place: Place, is_read_only: bool) -> Result<(), Error> {
        self.change(place, |slot| {
            let others = slot.attributes() & !READ_ONLY;
            slot.set_attributes(others | if is_read_only { READ_ONLY } else { 0 });
        })
    }
}
