//! A partition of an image that is being made, as a stream and as a disk.

use super::blocks::Blocks;
use sis_ext4::{Disk, DiskError};
use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

/// `len` bytes of a file from `offset` on. Nothing outside is read or written. What is written is noted, where somebody
/// wants to know.
#[derive(Clone, Debug)]
pub(super) struct Window<'a> {
    file: &'a File,
    offset: u64,
    len: u64,
    position: u64,
    written: Option<&'a RefCell<Blocks>>,
}

impl<'a> Window<'a> {
    pub(super) fn new(file: &'a File, offset: u64, len: u64) -> Self {
        Self {
            file,
            offset,
            len,
            position: 0,
            written: None,
        }
    }

    /// Notes the blocks of the file that are written from now on.
    pub(super) fn noting(mut self, written: &'a RefCell<Blocks>) -> Self {
        self.written = Some(written);
        self
    }

    /// The part of `wanted` bytes at the position that is inside.
    fn room(&self, wanted: usize) -> usize {
        let rest = self.len.saturating_sub(self.position);
        usize::try_from(rest).map_or(wanted, |rest| rest.min(wanted))
    }

    fn is_inside(&self, offset: u64, len: usize) -> bool {
        offset.checked_add(len as u64).is_some_and(|end| end <= self.len)
    }
}

impl Read for Window<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let room = self.room(out.len());
        let count = self.file.read_at(&mut out[..room], self.offset + self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Write for Window<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.room(bytes.len());
        let at = self.offset + self.position;
        let count = self.file.write_at(&bytes[..room], at)?;
        if let Some(written) = self.written {
            written.borrow_mut().add_bytes(at, count as u64);
        }
        self.position += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Window<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(distance) => self.len.checked_add_signed(distance),
            SeekFrom::Current(distance) => self.position.checked_add_signed(distance),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

impl Disk for Window<'_> {
    fn len_bytes(&self) -> u64 {
        self.len
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), DiskError> {
        if !self.is_inside(offset, out.len()) {
            return Err(DiskError::OutOfRange);
        }
        self.file
            .read_exact_at(out, self.offset + offset)
            .map_err(|_| DiskError::Device)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        if !self.is_inside(offset, data.len()) {
            return Err(DiskError::OutOfRange);
        }
        if let Some(written) = self.written {
            written.borrow_mut().add_bytes(self.offset + offset, data.len() as u64);
        }
        self.file
            .write_all_at(data, self.offset + offset)
            .map_err(|_| DiskError::Device)
    }

    fn flush(&self) -> Result<(), DiskError> {
        // The image is a file that nobody uses before it is whole.
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outside_is_touched() {
        let file = tempfile::tempfile().expect("a temporary file");
        file.write_all_at(&[7; 4 * 4096], 0).expect("is filled");
        let written = RefCell::default();
        let mut window = Window::new(&file, 4096, 2 * 4096).noting(&written);
        window.seek(SeekFrom::End(-1)).expect("seeks");
        assert_eq!(Write::write(&mut window, &[1, 2]).expect("writes"), 1);
        assert_eq!(Write::write(&mut window, &[1]).expect("writes"), 0);
        assert_eq!(
            Disk::write(&window, 2 * 4096 - 512, &[0; 1024]),
            Err(DiskError::OutOfRange)
        );
        assert_eq!(Disk::read(&window, u64::MAX, &mut [0]), Err(DiskError::OutOfRange));
        assert!(window.seek(SeekFrom::Current(-3 * 4096)).is_err());

        let mut bytes = vec![0; 4 * 4096];
        file.read_exact_at(&mut bytes, 0).expect("reads");
        let changed: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at] != 7).collect();
        assert_eq!(changed, [3 * 4096 - 1]);
        assert_eq!(written.borrow().runs().collect::<Vec<_>>(), [(2, 3)]);
    }
}
