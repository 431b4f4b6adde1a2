//! What is written onto: a block device or a file.
//!
//! Whole blocks go past the page cache (`O_DIRECT`) where the kernel does that: nothing is copied, and what is read comes
//! from the device. The rest (a file's odd end, a map of small blocks, a file system that refuses) goes through it.

use crate::buffer::ALIGNMENT;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Something that bytes are written to and read from.
///
/// The chunks that are written and read begin on a multiple of 4096 bytes in memory, and on the target too unless a range
/// of the image begins elsewhere.
pub trait Target: Sync {
    /// Its length in bytes; `None` when it grows.
    fn len_bytes(&self) -> Option<u64>;

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// The device's own; part of it may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Fills `out` from `offset` on. Several threads read at the same time.
    ///
    /// # Errors
    /// The device's own, and its end.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Makes a growing target as long as the image, holes at its end included. Called before the first write where the
    /// length is known by then, and after the last one.
    ///
    /// # Errors
    /// The file system's own.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Returns when everything written is on the medium.
    ///
    /// # Errors
    /// The device's own; what was written may be lost then.
    fn sync(&self) -> io::Result<()>;

    /// The next reads come from the device and not from memory. Called after [`sync`](Self::sync), as only clean pages
    /// can be thrown away.
    ///
    /// # Errors
    /// The kernel's own.
    fn forget_cache(&self) -> io::Result<()>;
}

/// An open device or file.
#[derive(Debug)]
pub struct FileTarget {
    file: File,
    /// The same, past the page cache; `None` where the kernel refuses that.
    direct: Option<File>,
    /// `None` for a file that grows.
    len_bytes: Option<u64>,
}

impl FileTarget {
    /// A block device of `len_bytes`. The kernel refuses it while it is mounted or in use by another device (`O_EXCL`).
    ///
    /// # Errors
    /// As opening; `EBUSY` if it is in use.
    pub fn device(path: &Path, len_bytes: u64) -> io::Result<Self> {
        let flags = rustix::fs::OFlags::EXCL.bits().cast_signed();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags)
            .open(path)?;
        Ok(Self::new(file, Some(len_bytes)))
    }

    /// The file itself, for what is done to a card after it was written and before anybody else may have it.
    #[must_use]
    pub const fn as_file(&self) -> &File {
        &self.file
    }

    /// A file, emptied first.
    ///
    /// # Errors
    /// As opening.
    pub fn file(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        Ok(Self::new(file, None))
    }

    fn new(file: File, len_bytes: Option<u64>) -> Self {
        // By its number and not by its path, which may be another file's by now.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let flags = rustix::fs::OFlags::DIRECT.bits().cast_signed();
        let mut options = OpenOptions::new();
        let direct = options.read(true).write(true).custom_flags(flags).open(path).ok();
        Self {
            file,
            direct,
            len_bytes,
        }
    }

    /// How much of `bytes` at `offset` can go past the page cache, and through which file.
    fn direct_part(&self, offset: u64, bytes: &[u8]) -> Option<(&File, usize)> {
        let is_aligned = offset.is_multiple_of(ALIGNMENT as u64) && bytes.as_ptr().align_offset(ALIGNMENT) == 0;
        let direct = self.direct.as_ref().filter(|_| is_aligned)?;
        Some((direct, bytes.len() - bytes.len() % ALIGNMENT))
    }
}

impl Target for FileTarget {
    fn len_bytes(&self) -> Option<u64> {
        self.len_bytes
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut done = 0;
        if let Some((direct, len)) = self.direct_part(offset, bytes) {
            let part = bytes.get(..len).unwrap_or_default();
            done = unless_refused(len, direct.write_all_at(part, offset))?;
        }
        self.file
            .write_all_at(bytes.get(done..).unwrap_or_default(), offset + done as u64)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        if let Some((direct, len)) = self.direct_part(offset, out) {
            let part = out.get_mut(..len).unwrap_or_default();
            done = unless_refused(len, direct.read_exact_at(part, offset))?;
        }
        self.file
            .read_exact_at(out.get_mut(done..).unwrap_or_default(), offset + done as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if self.len_bytes.is_some() {
            Ok(())
        } else {
            self.file.set_len(len)
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn forget_cache(&self) -> io::Result<()> {
        rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed).map_err(Into::into)
    }
}

/// How much of `len` bytes is done after direct input or output: nothing where the kernel refuses it (`EINVAL`: larger
/// blocks than ours, or a file system that does it only for some files). The page cache takes them then.
fn unless_refused(len: usize, result: io::Result<()>) -> io::Result<usize> {
    match result {
        Ok(()) => Ok(len),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(0),
        Err(error) => Err(error),
    }
}
