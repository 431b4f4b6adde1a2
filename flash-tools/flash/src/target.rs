//! What is written onto: a block device or a file.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Something that bytes are written to and read from.
pub trait Target: Sync {
    /// Its length in bytes; `None` when it grows.
    fn len_bytes(&self) -> Option<u64>;

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// The device's own; part of it may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Fills `out` from `offset` on.
    ///
    /// # Errors
    /// The device's own, and its end.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Makes a growing target as long as the image, holes at its end included.
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
        Ok(Self {
            file,
            len_bytes: Some(len_bytes),
        })
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
        Ok(Self { file, len_bytes: None })
    }
}

impl Target for FileTarget {
    fn len_bytes(&self) -> Option<u64> {
        self.len_bytes
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
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
