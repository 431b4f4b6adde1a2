//! The content of regular files: where pages are kept.

use alloc::sync::Arc;
use alloc::vec::Vec;

use sis_ext4::{Ino, Source as From, State};
use sis_hal::SECTOR_BYTES;

use super::node::Node;
use super::timestamp;
use crate::block::Volume;
use crate::fs::cache::opened::{CachedFile, SIZE_MAX};
use crate::fs::cache::{self, Extent, FileCache, Flusher, PAGE, Place, Room, Store, Wait};
use crate::process::cred::Capability;
use crate::process::thread;
use crate::{Errno, Result};

const FALLOC_FL_KEEP_SIZE: u32 = 1;
const FALLOC_FL_PUNCH_HOLE: u32 = 2;
const FALLOC_FL_ZERO_RANGE: u32 = 16;

impl Node {
    fn block_bytes(&self) -> u64 {
        self.shared.block_bytes as u64
    }

    fn blocks_per_page(&self) -> u64 {
        PAGE / self.block_bytes()
    }

    fn number(&self) -> Ino {
        Ino(self.ino)
    }

    /// The file's blocks in pages `first..first + count`, up to its end: the first, and one past the last.
    fn blocks(&self, first: u64, count: u64) -> (u64, u64) {
        let per = self.blocks_per_page();
        let begin = first.saturating_mul(per);
        let last = self.cache.size().div_ceil(self.block_bytes());
        let end = first.saturating_add(count).saturating_mul(per).min(last);
        (begin, end.max(begin))
    }

    fn extent(&self, m: &sis_ext4::Mapping, only_written: bool) -> Extent {
        let bytes = self.block_bytes();
        let is_there = m.state == State::Written || m.state == State::Unwritten && !only_written;
        Extent {
            len: m.len * bytes,
            place: if is_there {
                Place::Sector(m.physical * bytes / SECTOR_BYTES)
            } else {
                Place::Nowhere
            },
        }
    }

    fn privilege() -> From {
        if thread::try_current().is_none_or(|t| t.cred().has(Capability::SysResource)) {
            From::Privileged
        } else {
            From::Free
        }
    }

    /// fallocate(2).
    pub(super) fn allocate_range(&self, mode: u32, offset: u64, len: u64) -> Result<()> {
        let end = offset.checked_add(len).filter(|e| *e <= SIZE_MAX).ok_or(Errno::EFBIG)?;
        let keeps_size = mode & FALLOC_FL_KEEP_SIZE != 0;
        let _writing = self.cache.lock_writing();
        match mode & !FALLOC_FL_KEEP_SIZE {
            0 => {}
            FALLOC_FL_PUNCH_HOLE if keeps_size => {
                return self.make_hole(offset, end.min(self.cache.size()));
            }
            FALLOC_FL_ZERO_RANGE => self.make_hole(offset, end.min(self.cache.size()))?,
            _ => return Err(Errno::EOPNOTSUPP),
        }
        let bytes = self.block_bytes();
        let (first, last) = (offset / bytes, end.div_ceil(bytes));
        let size = (!keeps_size && end > self.cache.size()).then_some(end);
        if !self.has_extents {
            return Err(Errno::EOPNOTSUPP);
        }
        self.shared
            .with_room(|v| v.fallocate(self.number(), first, last - first, size, Self::privilege(), timestamp()))?;
        if let Some(size) = size {
            self.cache.grow(size);
        }
        Ok(())
    }

    fn make_hole(&self, from: u64, to: u64) -> Result<()> {
        if from >= to {
            return Ok(());
        }
        let (first, last) = cache::write::zero_edges(self, from, to)?;
        let per = self.blocks_per_page();
        self.cache.punch(first, last, || {
            if first >= last {
                return Ok(());
            }
            self.shared
                .with(|v| v.punch_hole(self.number(), first * per, (last - first) * per, timestamp()))
        })
    }

    pub(super) fn store(&self) -> Result<Arc<dyn Store>> {
        self.arc().map(|n| n as Arc<dyn Store>)
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
        let (mut at, end) = self.blocks(first, count);
        self.shared.with(|v| {
            let mut out = Vec::new();
            while at < end {
                let m = v.map(self.number(), at, end - at)?;
                out.push(self.extent(&m, true));
                at += m.len;
            }
            Ok(out)
        })
    }

    fn map_write(&self, first: u64, count: u64, promised: u64) -> Result<Vec<Extent>> {
        let (at, end) = self.blocks(first, count);
        let per = self.blocks_per_page();
        self.shared.with(|v| {
            // The promise is redeemed by what is taken now, under the same lock.
            v.release(promised * per);
            if at == end {
                return Ok(Vec::new());
            }
            let places = v.allocate(self.number(), at, end - at, From::Privileged)?;
            Ok(places.pieces.iter().map(|m| self.extent(m, false)).collect())
        })
    }

    fn written(&self, first: u64, bytes: u64) -> Result<()> {
        // The file may have become longer since, or shorter: then its end frees what is behind.
        let size = self.cache.size().min(first.saturating_mul(PAGE).saturating_add(bytes));
        let (at, end) = (first * self.blocks_per_page(), size.div_ceil(self.block_bytes()));
        if at < end {
            self.shared
                .with(|v| v.mark_written(self.number(), at, end - at, size, timestamp()))?;
        }
        self.refresh()
    }

    fn reserve(&self, first: u64, count: u64) -> Result<(u64, Room)> {
        let per = self.blocks_per_page();
        let is_privileged = Self::privilege() == From::Privileged;
        self.shared.with_room(|v| {
            if v.is_read_only() {
                return Err(sis_ext4::Error::ReadOnly);
            }
            let m = v.map(
                self.number(),
                first.saturating_mul(per),
                count.saturating_mul(per).max(1),
            )?;
            let pages = m.len / per;
            if m.state != State::Hole && pages > 0 {
                return Ok((pages, Room::Blocks));
            }
            let pages = if m.state == State::Hole { pages.max(1) } else { 1 };
            v.reserve(pages * per, is_privileged)?;
            Ok((pages, Room::Promise))
        })
    }

    fn release(&self, pages: u64) {
        let blocks = pages * self.blocks_per_page();
        let _ = self.shared.with(|v| {
            v.release(blocks);
            Ok(())
        });
    }

    fn commit(&self) -> Result<()> {
        let times = self.write_times();
        times.and(self.shared.commit())
    }

    fn touched(&self) {
        self.changed();
    }

    fn is_doomed(&self) -> bool {
        self.links() == 0
    }
}

impl CachedFile for Node {
    fn identity(&self) -> (u64, u64) {
        (self.shared.device.device_number(), u64::from(self.ino))
    }

    fn max_bytes(&self) -> u64 {
        self.shared.file_bytes_max
    }

    fn may_write(&self, append: bool) -> Result<()> {
        self.may_be_written()?;
        if self.may_only_append() && !append {
            return Err(Errno::EPERM);
        }
        Ok(())
    }

    fn has_blocks(&self, offset: u64, len: u64) -> Result<bool> {
        let (mut at, end) = self.blocks(offset / PAGE, len / PAGE);
        self.shared.with(|v| {
            while at < end {
                let m = v.map(self.number(), at, end - at)?;
                if m.state == State::Hole {
                    return Ok(false);
                }
                at += m.len;
            }
            Ok(true)
        })
    }

    fn accessed(&self) {
        self.note_access();
    }

    fn has_written(&self) -> Result<()> {
        self.drop_set_id()?;
        self.changed();
        Ok(())
    }

    fn seek_data(&self, offset: u64, wants_data: bool) -> Result<u64> {
        let size = self.cache.size();
        if offset >= size {
            return Err(Errno::ENXIO);
        }
        // What is only in memory has no place that could be looked at.
        let store = self.store()?;
        cache::write_back(&store, 0, u64::MAX, Wait::Yes)?;
        let bytes = self.block_bytes();
        let (first, end) = (offset / bytes, size.div_ceil(bytes));
        let found = self.shared.with(|v| {
            if wants_data {
                v.next_data(self.number(), first, end)
            } else {
                v.next_hole(self.number(), first, end)
            }
        })?;
        match found {
            Some(block) => Ok((block * bytes).max(offset).min(size)),
            None if wants_data => Err(Errno::ENXIO),
            None => Ok(size),
        }
    }
}
