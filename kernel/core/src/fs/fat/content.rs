//! The content of regular files: where pages are kept.
//!
//! A file has no holes: what lies between its old end and a new one is written as zeros. It is given clusters when a page of
//! it becomes dirty, and its entry says how long it is when content has been written there.

use alloc::sync::Arc;
use alloc::vec::Vec;

use sis_fat::{Chain, Error, Volume as FatVolume};
use sis_hal::SECTOR_BYTES;

use super::node::Node;
use crate::block::Volume;
use crate::fs::cache::opened::CachedFile;
use crate::fs::cache::{self, Extent, FileCache, Flusher, PAGE, Place, Room, Store};
use crate::fs::volume_disk::BlockDisk;
use crate::process::thread;
use crate::user::Source;
use crate::{Errno, Result};

/// Bytes of the largest file (FAT specification: a size has 32 bits).
const FILE_BYTES_MAX: u64 = u32::MAX as u64;

/// What a gap is filled with, at once.
static ZEROS: [u8; 16 * PAGE as usize] = [0; 16 * PAGE as usize];

type FatResult<T> = core::result::Result<T, Error>;

impl Node {
    /// Where bytes `from..to` are, both of whole sectors, as far as there are clusters.
    fn extents(&self, volume: &FatVolume<BlockDisk>, from: u64, to: u64) -> Vec<Extent> {
        let cluster = self.shared.cluster_bytes;
        let (first, last) = (from / cluster, to.div_ceil(cluster));
        let mut skip = from - first * cluster;
        let mut left = to.saturating_sub(from);
        let mut out = Vec::new();
        for run in volume.runs(self.spot().chain, first, last.saturating_sub(first)) {
            let len = run.bytes.saturating_sub(skip).min(left);
            if len > 0 {
                out.push(Extent {
                    len,
                    place: Place::Sector(run.sector + skip / SECTOR_BYTES),
                });
            }
            skip = skip.saturating_sub(run.bytes);
            left -= len;
        }
        out
    }

    /// Gives the file clusters for its first `bytes` bytes. The volume's lock is held.
    fn provide(&self, volume: &mut FatVolume<BlockDisk>, bytes: u64) -> FatResult<()> {
        let needed = bytes.min(FILE_BYTES_MAX).div_ceil(self.shared.cluster_bytes);
        let chain = volume.lengthen(self.spot().chain, needed)?;
        self.spot.lock().chain = chain;
        Ok(())
    }

    /// Makes the file longer, with zeros. `writing` is held.
    pub(super) fn extend(&self, size: u64) -> Result<()> {
        if size > FILE_BYTES_MAX {
            return Err(Errno::EFBIG);
        }
        // All of it or nothing.
        self.shared.with_room(|v| self.provide(v, size))?;
        while self.cache.size() < size {
            let at = self.cache.size();
            let n = (size - at).min(ZEROS.len() as u64);
            let zeros = ZEROS.get(..n as usize).unwrap_or_default();
            let (done, _) = cache::write(self, &mut Source::kernel(zeros), at, false, size)?;
            if done == 0 || thread::kill_pending() {
                return Err(Errno::EINTR);
            }
        }
        Ok(())
    }

    /// Makes the file shorter. `writing` is held.
    pub(super) fn truncate(&self, size: u64) -> Result<()> {
        let free = || {
            self.shared.with(|v| {
                let spot = self.spot();
                let bytes = spot.bytes.min(size);
                let chain = v.shorten(spot.chain, size.div_ceil(self.shared.cluster_bytes))?;
                if let Some(place) = spot.place {
                    v.set_file_size(place, chain, bytes)?;
                }
                let mut spot = self.spot.lock();
                (spot.chain, spot.bytes) = (chain, bytes);
                Ok(())
            })
        };
        cache::set_size(self, size, free)
    }
}

impl Store for Node {
    fn cache(&self) -> &FileCache {
        &self.cache
    }

    fn device(&self) -> &Arc<Volume> {
        &self.shared.device
    }

    fn flusher(&self) -> &Arc<Flusher> {
        &self.shared.flusher
    }

    fn map_read(&self, first: u64, count: u64) -> Result<Vec<Extent>> {
        self.shared.with(|v| {
            // What the disk has not been given yet reads as zeros, whatever was in its place.
            let end = self.spot().bytes.next_multiple_of(SECTOR_BYTES);
            let from = first.saturating_mul(PAGE).min(end);
            let to = first.saturating_add(count).saturating_mul(PAGE).min(end);
            Ok(self.extents(v, from, to))
        })
    }

    fn map_write(&self, first: u64, count: u64, _promised: u64) -> Result<Vec<Extent>> {
        self.shared.with(|v| {
            let end = self.cache.size().next_multiple_of(SECTOR_BYTES);
            let from = first.saturating_mul(PAGE).min(end);
            let to = first.saturating_add(count).saturating_mul(PAGE).min(end);
            self.provide(v, to)?;
            Ok(self.extents(v, from, to))
        })
    }

    fn written(&self, first: u64, bytes: u64) -> Result<()> {
        self.shared.with(|v| {
            // The file may have become longer since, or shorter.
            let end = first.saturating_mul(PAGE).saturating_add(bytes).min(self.cache.size());
            let spot = self.spot();
            if end <= spot.bytes {
                return Ok(());
            }
            if let Some(place) = spot.place {
                v.set_file_size(place, spot.chain, end)?;
            }
            self.spot.lock().bytes = end;
            Ok(())
        })
    }

    fn reserve(&self, first: u64, count: u64) -> Result<(u64, Room)> {
        let end = first.saturating_add(count).saturating_mul(PAGE);
        self.shared.with_room(|v| {
            if v.is_read_only() {
                return Err(Error::ReadOnly);
            }
            self.provide(v, end)
        })?;
        Ok((count, Room::Blocks))
    }

    fn release(&self, _pages: u64) {
        // There are no promises: who may write has clusters.
    }

    fn commit(&self) -> Result<()> {
        let settled = self.settle();
        settled.and(self.shared.commit())
    }

    fn touched(&self) {
        self.changed();
    }

    fn is_doomed(&self) -> bool {
        self.is_nameless()
    }
}

impl CachedFile for Node {
    fn identity(&self) -> (u64, u64) {
        (self.shared.device.device_number(), self.ino)
    }

    fn max_bytes(&self) -> u64 {
        FILE_BYTES_MAX
    }

    fn may_write(&self, _append: bool) -> Result<()> {
        self.may_be_written()
    }

    fn prepare_write(&self, offset: u64, len: u64) -> Result<()> {
        if offset > self.cache.size() {
            self.extend(offset)?;
        }
        // A page that the end of the file lies in may have been given less than all of it.
        let end = offset.saturating_add(len).min((offset / PAGE + 1) * PAGE);
        if end > self.cache.size() {
            self.shared.with_room(|v| self.provide(v, end))?;
        }
        Ok(())
    }

    fn has_blocks(&self, offset: u64, len: u64) -> Result<bool> {
        Ok(offset + len <= self.spot().bytes && self.spot().chain != Chain::NONE)
    }

    fn accessed(&self) {
        self.note_access();
    }

    fn has_written(&self) -> Result<()> {
        self.changed();
        Ok(())
    }

    fn seek_data(&self, offset: u64, wants_data: bool) -> Result<u64> {
        let size = self.cache.size();
        if offset >= size {
            return Err(Errno::ENXIO);
        }
        Ok(if wants_data { offset } else { size })
    }
}
