//! Open regular files of file systems that keep their content in the cache.

use alloc::string::String;
use alloc::sync::Arc;
use core::any::Any;
use core::sync::atomic::{AtomicU32, Ordering};

use super::{MappedFile, PAGE, ReadAhead, Seen, Store, Wait, advise, direct, read, sync_range, write, write_back};
use crate::fs::file::{Advice, File, IoFlags, Whence};
use crate::fs::flags::{O_DIRECT, O_DSYNC};
use crate::fs::size_limit::{file_size_limit, too_large};
use crate::user::{Sink, Source};
use crate::vm::PageSource;
use crate::{Errno, Result};

/// Bytes of the largest file that the cache takes.
pub const SIZE_MAX: u64 = i64::MAX as u64;

/// What an open file asks of the file behind it.
pub trait CachedFile: Store + 'static {
    /// Device and inode number.
    fn identity(&self) -> (u64, u64);

    /// Bytes that a file of its file system can have.
    fn max_bytes(&self) -> u64;

    /// Whether it may be written now, and elsewhere than at the end.
    ///
    /// # Errors
    /// `EROFS`, `EPERM`.
    fn may_write(&self, append: bool) -> Result<()>;

    /// `len` bytes will be written at `offset`. `writing` is held.
    ///
    /// # Errors
    /// `ENOSPC`, `EIO`.
    fn prepare_write(&self, offset: u64, len: u64) -> Result<()> {
        let _ = (offset, len);
        Ok(())
    }

    /// Whether bytes `offset..offset + len`, whole pages inside the file, all have blocks that may be written as they are.
    ///
    /// # Errors
    /// `EIO`, `EUCLEAN`.
    fn has_blocks(&self, offset: u64, len: u64) -> Result<bool>;

    /// It was read.
    fn accessed(&self);

    /// It was written.
    ///
    /// # Errors
    /// Those of changing its attributes.
    fn has_written(&self) -> Result<()>;

    /// Where data or a hole begins from `offset` on (lseek(2)).
    ///
    /// # Errors
    /// `ENXIO`, `EIO`.
    fn seek_data(&self, offset: u64, wants_data: bool) -> Result<u64>;
}

/// Writes everything back, and the way to it: all survives a cut afterwards.
///
/// # Errors
/// `EIO`, `ENOSPC`, `EROFS`.
pub fn sync_content<T: CachedFile>(file: &Arc<T>) -> Result<()> {
    let store: Arc<dyn Store> = file.clone();
    let written = write_back(&store, 0, u64::MAX, Wait::Yes);
    written.and(file.commit())
}

/// An open regular file.
pub struct Opened<T> {
    file: Arc<T>,
    flags: AtomicU32,
    ahead: ReadAhead,
    seen: Seen,
}

impl<T: CachedFile> Opened<T> {
    /// With the flags of open(2).
    pub fn new(file: Arc<T>, flags: u32) -> Arc<Self> {
        let seen = file.cache().errors().sample();
        Arc::new(Self {
            file,
            flags: AtomicU32::new(flags),
            ahead: ReadAhead::new(),
            seen,
        })
    }

    fn has(&self, flag: u32) -> bool {
        self.flags.load(Ordering::Relaxed) & flag != 0
    }

    fn store(&self) -> Arc<dyn Store> {
        self.file.clone()
    }

    /// `EINVAL` for a direct transfer that is not made of sectors.
    fn check_direct(&self, offset: u64, len: usize) -> Result<()> {
        let block = u64::from(self.file.device().logical_block_bytes());
        if self.has(O_DIRECT) && !(offset | len as u64).is_multiple_of(block) {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }

    /// Whether a write leaves the cache out: whole pages inside the file whose blocks it has already. Others go through the
    /// cache and are written back at once. `writing` is held, so that the file does not become shorter.
    fn may_write_direct(&self, from: &Source<'_>, offset: u64, is_append: bool) -> Result<bool> {
        let len = from.remaining() as u64;
        let is_direct = self.has(O_DIRECT) && from.is_user() && !is_append && direct::is_whole(offset, len);
        let size = self.file.cache().size();
        if !is_direct || len == 0 || offset.checked_add(len).is_none_or(|end| end > size) {
            return Ok(false);
        }
        self.file.has_blocks(offset, len)
    }
}

impl<T: CachedFile> File for Opened<T> {
    fn read(&self, to: &mut Sink<'_>, offset: u64, _flags: IoFlags) -> Result<usize> {
        self.check_direct(offset, to.remaining())?;
        let n = if self.has(O_DIRECT) && to.is_user() {
            direct::read(&self.store(), to, offset)?
        } else {
            read(self.file.as_ref(), &self.ahead, to, offset)?
        };
        self.file.accessed();
        Ok(n)
    }

    fn write(&self, from: &mut Source<'_>, offset: u64, flags: IoFlags) -> Result<(usize, u64)> {
        let file = &self.file;
        file.may_write(flags.append)?;
        self.check_direct(offset, from.remaining())?;
        let limit = file_size_limit();
        let most = limit.min(file.max_bytes());
        let out = {
            let _writing = file.cache().lock_writing();
            if self.may_write_direct(from, offset, flags.append)? {
                let n = direct::write(&self.store(), from, offset);
                n.map(|n| (n, offset + n as u64))
            } else {
                let start = if flags.append { file.cache().size() } else { offset };
                if from.remaining() > 0 && start < most {
                    file.prepare_write(start, from.remaining() as u64)?;
                }
                write(file.as_ref(), from, offset, flags.append, most)
            }
        };
        let (n, after) = match out {
            Err(Errno::EFBIG) if limit < file.max_bytes() => return Err(too_large()),
            other => other?,
        };
        if n > 0 {
            file.has_written()?;
            if self.has(O_DSYNC) {
                sync_content(file)?;
            } else if self.has(O_DIRECT) {
                let first = (after - n as u64) / PAGE;
                write_back(&self.store(), first, after.div_ceil(PAGE), Wait::Yes)?;
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
            Whence::End => self.file.cache().size(),
            Whence::Data | Whence::Hole => {
                let from = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
                return self.file.seek_data(from, whence == Whence::Data);
            }
        };
        base.checked_add_signed(offset)
            .filter(|n| *n <= SIZE_MAX)
            .ok_or(Errno::EINVAL)
    }

    fn mmap(&self) -> Result<Arc<dyn PageSource>> {
        Ok(MappedFile::new(self.store(), String::new(), self.file.identity()))
    }

    fn sync(&self, _data_only: bool) -> Option<Result<()>> {
        let done = sync_content(&self.file);
        // A failure of an earlier write-back is told here, once.
        Some(self.file.cache().errors().check(&self.seen).and(done))
    }

    fn advise(&self, offset: u64, len: u64, advice: Advice) {
        advise(&self.store(), &self.ahead, offset, len, advice);
    }

    fn sync_range(&self, offset: u64, len: u64, wait: bool) -> Option<Result<()>> {
        Some(sync_range(&self.store(), offset, len, wait))
    }

    fn set_flags(&self, flags: u32) {
        self.flags.store(flags, Ordering::Relaxed);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
