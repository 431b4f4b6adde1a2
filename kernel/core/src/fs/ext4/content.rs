//! The content of regular files: where pages are kept, and open files.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::sync::atomic::{AtomicU32, Ordering};

use sis_abi::signal::{SIGXFSZ, SigInfo};
use sis_ext4::{Ino, Source as From, State};
use sis_hal::SECTOR_BYTES;

use super::node::Node;
use super::timestamp;
use crate::block::Volume;
use crate::fs::cache::{self, Extent, FileCache, Flusher, MappedFile, PAGE, Place, ReadAhead, Room, Seen, Store, Wait};
use crate::fs::file::{Advice, File, IoFlags, Whence};
use crate::fs::flags::{O_DIRECT, O_DSYNC};
use crate::process::cred::Capability;
use crate::process::limits::Resource;
use crate::process::{signal, thread};
use crate::user::{Sink, Source};
use crate::vm::PageSource;
use crate::{Errno, Result};

const FALLOC_FL_KEEP_SIZE: u32 = 1;
const FALLOC_FL_PUNCH_HOLE: u32 = 2;
const FALLOC_FL_ZERO_RANGE: u32 = 16;

/// Bytes of the largest file that the cache takes.
const SIZE_MAX: u64 = i64::MAX as u64;

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

    /// Where data or a hole begins.
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

    pub(super) fn store(&self) -> Result<Arc<dyn Store>> {
        self.arc().map(|n| n as Arc<dyn Store>)
    }

    /// All that was written survives a cut when this returns.
    fn sync_content(&self) -> Result<()> {
        let store = self.store()?;
        let written = cache::write_back(&store, 0, u64::MAX, Wait::Yes);
        written.and(self.commit())
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

/// An open regular file.
pub(super) struct Opened {
    node: Arc<Node>,
    flags: AtomicU32,
    ahead: ReadAhead,
    seen: Seen,
}

impl Opened {
    pub(super) fn new(node: Arc<Node>, flags: u32) -> Result<Arc<Self>> {
        if !node.is_regular() {
            return Err(Errno::ENXIO);
        }
        let seen = node.cache.errors().sample();
        Ok(Arc::new(Self {
            node,
            flags: AtomicU32::new(flags),
            ahead: ReadAhead::new(),
            seen,
        }))
    }

    fn has(&self, flag: u32) -> bool {
        self.flags.load(Ordering::Relaxed) & flag != 0
    }

    /// `EINVAL` for a direct transfer that is not made of sectors.
    fn check_direct(&self, offset: u64, len: usize) -> Result<()> {
        let block = u64::from(self.node.shared.device.logical_block_bytes());
        if self.has(O_DIRECT) && !(offset | len as u64).is_multiple_of(block) {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }
}

impl Opened {
    /// Whether a write leaves the cache out: whole pages inside the file whose blocks it has already. Others go through the
    /// cache and are written back at once. `writing` is held, so that the file does not become shorter.
    fn may_write_direct(&self, from: &Source<'_>, offset: u64, is_append: bool) -> Result<bool> {
        let len = from.remaining() as u64;
        let is_direct = self.has(O_DIRECT) && from.is_user() && !is_append && cache::direct::is_whole(offset, len);
        if !is_direct || len == 0 || offset.checked_add(len).is_none_or(|end| end > self.node.cache.size()) {
            return Ok(false);
        }
        let (mut at, end) = self.node.blocks(offset / PAGE, len / PAGE);
        self.node.shared.with(|v| {
            while at < end {
                let m = v.map(self.node.number(), at, end - at)?;
                if m.state == State::Hole {
                    return Ok(false);
                }
                at += m.len;
            }
            Ok(true)
        })
    }
}

/// RLIMIT_FSIZE of the running thread; no limit for the kernel.
pub(super) fn file_size_limit() -> u64 {
    thread::try_current().map_or(u64::MAX, |t| t.process.limit(Resource::FileSize).soft)
}

/// What exceeding RLIMIT_FSIZE does: SIGXFSZ and `EFBIG` (setrlimit(2)).
#[cold]
pub(super) fn too_large() -> Errno {
    if let Some(t) = thread::try_current() {
        // A standard signal is never refused.
        let _ = signal::send_to_thread(&t.to_arc(), SigInfo::kernel(SIGXFSZ));
    }
    Errno::EFBIG
}

impl File for Opened {
    fn read(&self, to: &mut Sink<'_>, offset: u64, _flags: IoFlags) -> Result<usize> {
        self.check_direct(offset, to.remaining())?;
        let n = if self.has(O_DIRECT) && to.is_user() {
            cache::direct::read(&self.node.store()?, to, offset)?
        } else {
            cache::read(self.node.as_ref(), &self.ahead, to, offset)?
        };
        self.node.accessed();
        Ok(n)
    }

    fn write(&self, from: &mut Source<'_>, offset: u64, flags: IoFlags) -> Result<(usize, u64)> {
        let node = &self.node;
        node.may_write()?;
        if node.may_only_append() && !flags.append {
            return Err(Errno::EPERM);
        }
        self.check_direct(offset, from.remaining())?;
        let limit = file_size_limit();
        let most = limit.min(node.shared.file_bytes_max);
        let out = {
            let _writing = node.cache.lock_writing();
            if self.may_write_direct(from, offset, flags.append)? {
                let n = cache::direct::write(&node.store()?, from, offset);
                n.map(|n| (n, offset + n as u64))
            } else {
                cache::write(node.as_ref(), from, offset, flags.append, most)
            }
        };
        let (n, after) = match out {
            Err(Errno::EFBIG) if limit < node.shared.file_bytes_max => return Err(too_large()),
            other => other?,
        };
        if n > 0 {
            node.drop_set_id()?;
            node.changed();
            if self.has(O_DSYNC) {
                node.sync_content()?;
            } else if self.has(O_DIRECT) {
                let store = node.store()?;
                let first = (after - n as u64) / PAGE;
                cache::write_back(&store, first, after.div_ceil(PAGE), Wait::Yes)?;
            }
        }
        Ok((n, after))
    }

    fn can_direct(&self) -> bool {
        true
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn seek(&self, current: u64, offset: i64, whence: Whence) -> Result<u64> {
        let base = match whence {
            Whence::Start => 0,
            Whence::Current => current,
            Whence::End => self.node.cache.size(),
            Whence::Data | Whence::Hole => {
                let from = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
                return self.node.seek_data(from, whence == Whence::Data);
            }
        };
        base.checked_add_signed(offset)
            .filter(|n| *n <= SIZE_MAX)
            .ok_or(Errno::EINVAL)
    }

    fn mmap(&self) -> Result<Arc<dyn PageSource>> {
        let node = &self.node;
        let identity = (node.shared.device.device_number(), u64::from(node.ino));
        Ok(MappedFile::new(node.store()?, String::new(), identity))
    }

    fn sync(&self, _data_only: bool) -> Option<Result<()>> {
        let done = self.node.sync_content();
        // A failure of an earlier write-back is told here, once.
        Some(self.node.cache.errors().check(&self.seen).and(done))
    }

    fn advise(&self, offset: u64, len: u64, advice: Advice) {
        // Only advice.
        if let Ok(store) = self.node.store() {
            cache::advise(&store, &self.ahead, offset, len, advice);
        }
    }

    fn sync_range(&self, offset: u64, len: u64, wait: bool) -> Option<Result<()>> {
        let store = self.node.store();
        Some(store.and_then(|s| cache::sync_range(&s, offset, len, wait)))
    }

    fn set_flags(&self, flags: u32) {
        self.flags.store(flags, Ordering::Relaxed);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
