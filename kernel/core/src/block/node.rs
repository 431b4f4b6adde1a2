//! Open files of disks and partitions.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::any::Any;
use core::sync::atomic::{AtomicU32, Ordering};

use sis_hal::SECTOR_BYTES;

use super::claim::{Claim, Opened};
use super::io::errno_of;
use super::volume::{Durability, Volume};
use super::{buffered, ioctl};
use crate::fs::device::Factory;
use crate::fs::file::{File, IoFlags, Whence};
use crate::fs::flags::{O_ACCMODE, O_CREAT, O_DIRECT, O_DSYNC, O_EXCL, O_RDONLY};
use crate::user::{Sink, Source};
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
    Ok(Arc::new(Node {
        opened: Opened::new(volume),
        flags: AtomicU32::new(flags),
        _claim: claim,
    }))
}

/// An open disk or partition.
pub(super) struct Node {
    opened: Opened,
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

    fn durability(&self) -> Durability {
        if self.has(O_DSYNC) {
            Durability::Stable
        } else {
            Durability::Cached
        }
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

    fn read_direct(&self, to: &mut Sink<'_>, offset: u64) -> Result<usize> {
        let mut done = 0;
        while to.remaining() > 0 {
            let n = to.remaining().min(DIRECT_STEP);
            let sector = (offset + done as u64) / SECTOR_BYTES;
            let step = to
                .pin(n, DIRECT_ALIGN)
                .and_then(|pieces| self.volume().read(sector, pieces).map_err(errno_of));
            match step {
                Ok(()) => done += n,
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn write_direct(&self, from: &mut Source<'_>, offset: u64) -> Result<usize> {
        let mut done = 0;
        while from.remaining() > 0 {
            let n = from.remaining().min(DIRECT_STEP);
            let sector = (offset + done as u64) / SECTOR_BYTES;
            let step = from
                .pin(n, DIRECT_ALIGN)
                .and_then(|pieces| self.volume().write(sector, pieces, self.durability()).map_err(errno_of));
            match step {
                Ok(()) => done += n,
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            }
        }
        Ok(done)
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
            return self.read_direct(to, offset);
        }
        buffered::read(self.volume(), to, offset)
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
            buffered::write(self.volume(), from, offset, self.durability())?
        };
        Ok((n, offset + n as u64))
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
        Some(self.volume().flush().map_err(errno_of))
    }

    fn set_flags(&self, flags: u32) {
        self.flags.store(flags, Ordering::Relaxed);
    }

    fn describe(&self) -> String {
        format!("/dev/{}", self.volume().name())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
