//! The page cache of a disk or partition as a whole, for its node in /dev.
//!
//! A mounted file system does not go through it. It lives while the node is open; with the last close everything is
//! written and forgotten, so that a mount sees what a program wrote before.

use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

use sis_hal::SECTOR_BYTES;

use super::volume::Volume;
use crate::Result;
use crate::fs::cache::{Extent, FileCache, Flusher, MappedFile, PAGE, Place, Room, Store};
use crate::vm::PageSource;

/// A disk as a file.
pub(super) struct DiskStore {
    volume: Arc<Volume>,
    cache: FileCache,
    flusher: Arc<Flusher>,
}

impl DiskStore {
    /// The one of a volume; made where nobody has it.
    pub(super) fn of(volume: &Arc<Volume>) -> Result<Arc<Self>> {
        let flusher = Flusher::of(volume)?;
        let mut slot = volume.store().lock();
        if let Some(store) = slot.upgrade() {
            return Ok(store);
        }
        let store = Arc::new_cyclic(|me: &Weak<Self>| Self {
            volume: volume.clone(),
            cache: FileCache::of_disk(me.clone(), volume.size_bytes()),
            flusher,
        });
        *slot = Arc::downgrade(&store);
        Ok(store)
    }

    /// Its pages, for mmap(2).
    pub(super) fn mapped(self: &Arc<Self>) -> Arc<dyn PageSource> {
        let name = alloc::format!("/dev/{}", self.volume.name());
        let identity = (self.volume.device_number(), 0);
        let this: Arc<dyn Store> = self.clone();
        MappedFile::new(this, name, identity)
    }

    fn extents(&self, first: u64, count: u64) -> Vec<Extent> {
        let begin = first.saturating_mul(PAGE);
        let end = begin
            .saturating_add(count.saturating_mul(PAGE))
            .min(self.volume.size_bytes());
        let mut out = Vec::new();
        if begin < end {
            out.push(Extent {
                len: end - begin,
                place: Place::Sector(begin / SECTOR_BYTES),
            });
        }
        out
    }
}

impl Store for DiskStore {
    fn cache(&self) -> &FileCache {
        &self.cache
    }

    fn device(&self) -> &Arc<Volume> {
        &self.volume
    }

    fn flusher(&self) -> &Arc<Flusher> {
        &self.flusher
    }

    fn map_read(&self, first: u64, count: u64) -> Result<Vec<Extent>> {
        Ok(self.extents(first, count))
    }

    fn map_write(&self, first: u64, count: u64, _promised: u64) -> Result<Vec<Extent>> {
        Ok(self.extents(first, count))
    }

    fn written(&self, _first: u64, _bytes: u64) -> Result<()> {
        Ok(())
    }

    fn reserve(&self, _first: u64, count: u64) -> Result<(u64, Room)> {
        Ok((count, Room::Blocks))
    }

    fn release(&self, _pages: u64) {}
}

/// The name of a volume's slot.
pub(super) type Slot = Weak<DiskStore>;

/// What a disk's node is called where it has no path.
pub(super) fn describe(volume: &Volume) -> String {
    alloc::format!("/dev/{}", volume.name())
}
