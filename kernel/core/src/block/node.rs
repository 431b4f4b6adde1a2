//! Open files of disks and partitions.

use alloc::string::String;
use alloc::sync::Arc;
use core::any::Any;
use core::sync::atomic::{AtomicU32, Ordering};

use sis_hal::SECTOR_BYTES;

use super::cached::DiskStore;
use super::claim::{Claim, Opened};
use super::io::errno_of;
use super::ioctl;
use super::volume::{Durability, Volume};
use crate::fs::cache::{self, PAGE, ReadAhead, Seen, Store, Wait};
use crate::fs::device::Factory;
use crate::fs::file::{Advice, File, IoFlags, Whence};
use crate::fs::flags::{O_ACCMODE, O_CREAT, O_DIRECT, O_DSYNC, O_EXCL, O_RDONLY};
use crate::user::{Sink, Source};
use crate::vm::PageSource;
use crate::{Errno, Result};

/// Bytes of user memory that are held for a device at once.
const DIRECT_STEP: usize = 4 << 20;
/// What user memory of direct I/O is aligned to, as Linux asks by default (queue/dma_alignment).
const DIRECT_ALIGN: usize = 512;

/// What answers opens of a volume.
pub(super) fn factory(volume: &Arc<Volume>) -> Factory {
    let volume = volume.clone();
    Arc::new(move |flags| open(&volume, flags))
}

fn open(volume: &Arc<Volume>, flags: u32) -> Result<Arc<dyn File>> {
    if volume.disk().is_gone() {
        return Err(Errno::ENXIO);
    }
    // O_EXCL without O_CREAT means something for block devices alone (open(2)).
    let claim = if flags & O_EXCL != 0 && flags & O_CREAT == 0 {
        Some(Claim::new(volume)?)
    } else {
        None
    };
    let opened = Opened::new(volume);
    let store = DiskStore::of(volume)?;
    let seen = store.cache().errors().sample();
    Ok(Arc::new(Node {
        opened,
        store,
        ahead: ReadAhead::new(),
        seen,
        flags: AtomicU32::new(flags),
        _claim: claim,
    }))
}

/// An open disk or partition.
pub(super) struct Node {
    opened: Opened,
    store: Arc<DiskStore>,
    ahead: ReadAhead,
    /// Failures of write-back that this open file has been told of.
    seen: Seen,
    flags: AtomicU32,
    _claim: Option<Claim>,
}

impl Node {
    pub(super) fn volume(&self) -> &Arc<Volume> {
        self.opened.volume()
    }

    /// Whether it was opened for writing.
    pub(super) fn is_writable(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & O_ACCMODE != O_RDONLY
    }

    fn has(&self, flag: u32) -> bool {
        self.flags.load(Ordering::Relaxed) & flag != 0
    }

    fn file(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    /// `EINVAL` unless a direct transfer is made of whole blocks.
    fn check_direct(&self, offset: u64, len: usize) -> Result<()> {
        let block = u64::from(self.volume().logical_block_bytes());
        if (offset | len as u64).is_multiple_of(block) {
            Ok(())
        } else {
            Err(Errno::EINVAL)
        }
    }

    fn write_direct(&self, from: &mut Source<'_>, offset: u64) -> Result<usize> {
        let file = self.file();
        let _writing = file.cache().lock_writing();
        let (first, last) = (offset / PAGE, (offset + from.remaining() as u64).div_ceil(PAGE));
        cache::write_back(&file, first, last, Wait::Yes)?;
        let mut done = 0;
        file.cache().punch(first, last, || {
            while from.remaining() > 0 {
                let n = from.remaining().min(DIRECT_STEP);
                let sector = (offset + done as u64) / SECTOR_BYTES;
                let step = from.pin(n, DIRECT_ALIGN).and_then(|pieces| {
                    self.volume()
                        .write(sector, pieces, Durability::Cached)
                        .map_err(errno_of)
                });
                match step {
                    Ok(()) => done += n,
                    Err(_) if done > 0 => break,
                    Err(e) => return Err(e),
                }
            }
            Ok(())
        })?;
        Ok(done)
    }

    /// After a write with O_DSYNC or O_SYNC.
    fn make_stable(&self, offset: u64, len: usize) -> Result<()> {
        if len > 0 && self.has(O_DSYNC) {
            let last = (offset + len as u64).div_ceil(PAGE);
            cache::write_back(&self.file(), offset / PAGE, last, Wait::Yes)?;
            self.volume().flush().map_err(errno_of)?;
        }
        Ok(())
    }

    /// Does something with sectors that leaves the cache out.
    pub(super) fn around_cache(&self, first: u64, count: u64, what: impl FnOnce() -> Result<()>) -> Result<()> {
        let file = self.file();
        let _writing = file.cache().lock_writing();
        let begin = first.saturating_mul(SECTOR_BYTES);
        let end = begin.saturating_add(count.saturating_mul(SECTOR_BYTES));
        let (first, last) = (begin / PAGE, end.div_ceil(PAGE));
        cache::write_back(&file, first, last, Wait::Yes)?;
        file.cache().punch(first, last, what)
    }

    /// Writes and forgets what is cached.
    pub(super) fn flush_cache(&self) -> Result<()> {
        let out = cache::write_back(&self.file(), 0, u64::MAX, Wait::Yes);
        self.store.cache().discard();
        out
    }
}

impl Drop for Node {
    /// The last one writes everything, as Linux does: a mount, and other ways to the disk, see it.
    fn drop(&mut self) {
        if self.opened.is_last() {
            // Failures are logged by the block layer, and there is nobody left to be told.
            let _ = self.flush_cache();
        }
    }
}

impl File for Node {
    fn read(&self, to: &mut Sink<'_>, offset: u64, _flags: IoFlags) -> Result<usize> {
        let left = self.volume().size_bytes().saturating_sub(offset);
        let is_direct = self.has(O_DIRECT);
        if is_direct {
            self.check_direct(offset, to.remaining())?;
        }
        to.limit(usize::try_from(left).unwrap_or(usize::MAX));
        if to.remaining() == 0 {
            return Ok(0);
        }
        if is_direct && to.is_user() {
            return cache::direct::read(&self.file(), to, offset);
        }
        cache::read(self.store.as_ref(), &self.ahead, to, offset)
    }

    fn write(&self, from: &mut Source<'_>, offset: u64, flags: IoFlags) -> Result<(usize, u64)> {
        let size = self.volume().size_bytes();
        // The end of a disk is where nothing more can be written; O_APPEND goes there as on Linux.
        let offset = if flags.append { size } else { offset };
        let is_direct = self.has(O_DIRECT);
        if from.remaining() == 0 {
            return Ok((0, offset));
        }
        if self.volume().is_read_only() {
            return Err(Errno::EPERM);
        }
        if is_direct {
            self.check_direct(offset, from.remaining())?;
        }
        if offset >= size {
            return Err(Errno::ENOSPC);
        }
        from.limit(usize::try_from(size - offset).unwrap_or(usize::MAX));
        let n = if is_direct && from.is_user() {
            self.write_direct(from, offset)?
        } else {
            let _writing = self.store.cache().lock_writing();
            cache::write(self.store.as_ref(), from, offset, false, size)?.0
        };
        self.make_stable(offset, n)?;
        Ok((n, offset + n as u64))
    }

    fn can_direct(&self) -> bool {
        true
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn seek(&self, current: u64, offset: i64, whence: Whence) -> Result<u64> {
        let size = self.volume().size_bytes();
        let from = match whence {
            Whence::Start => 0,
            Whence::Current => current,
            Whence::End => size,
            Whence::Data | Whence::Hole => return Err(Errno::EINVAL),
        };
        from.checked_add_signed(offset)
            .filter(|at| *at <= size)
            .ok_or(Errno::EINVAL)
    }

    fn ioctl(&self, command: u32, argument: usize) -> Result<usize> {
        ioctl::handle(self, command, argument)
    }

    fn sync(&self, _data_only: bool) -> Option<Result<()>> {
        let file = self.file();
        // Failures of write-back are told from `seen`, once.
        let _ = cache::write_back(&file, 0, u64::MAX, Wait::Yes);
        let flushed = self.volume().flush().map_err(errno_of);
        Some(file.cache().errors().check(&self.seen).and(flushed))
    }

    fn advise(&self, offset: u64, len: u64, advice: Advice) {
        cache::advise(&self.file(), &self.ahead, offset, len, advice);
    }

    fn sync_range(&self, offset: u64, len: u64, wait: bool) -> Option<Result<()>> {
        Some(cache::sync_range(&self.file(), offset, len, wait))
    }

    fn mmap(&self) -> Result<Arc<dyn PageSource>> {
        Ok(self.store.mapped())
    }

    fn set_flags(&self, flags: u32) {
        self.flags.store(flags, Ordering::Relaxed);
    }

    fn describe(&self) -> String {
        super::cached::describe(self.volume())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
