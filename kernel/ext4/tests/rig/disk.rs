//! A sparse disk in memory; clones share what neither has changed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use sis_ext4::{Disk, DiskError};

const CHUNK: usize = 4096;
/// The unit that a device writes whole or not at all.
pub(crate) const SECTOR: usize = 512;

/// A sparse disk in memory.
#[derive(Clone, Debug)]
pub(crate) struct MemDisk {
    len: u64,
    chunks: RefCell<BTreeMap<u64, Arc<[u8; CHUNK]>>>,
    pub(crate) is_read_only: bool,
}

impl MemDisk {
    /// A disk of zeroes.
    pub(crate) fn new(len: u64) -> Self {
        assert_eq!(len % SECTOR as u64, 0);
        Self {
            len,
            chunks: RefCell::default(),
            is_read_only: false,
        }
    }

    /// The content of an image file.
    pub(crate) fn load(path: &Path) -> Self {
        let mut file = File::open(path).expect("the image opens");
        let disk = Self::new(file.metadata().expect("has metadata").len());
        let mut buffer = vec![0; 1 << 20];
        let mut at = 0;
        loop {
            let n = file.read(&mut buffer).expect("the image reads");
            if n == 0 {
                break;
            }
            for (i, part) in buffer[..n].chunks(CHUNK).enumerate() {
                if part.iter().any(|b| *b != 0) {
                    disk.put(at + (i * CHUNK) as u64, part);
                }
            }
            at += n as u64;
        }
        disk
    }

    /// Writes an image file with holes.
    pub(crate) fn save(&self, path: &Path) {
        let mut file = File::create(path).expect("the image is made");
        file.set_len(self.len).expect("the image grows");
        for (n, chunk) in self.chunks.borrow().iter() {
            let at = n * CHUNK as u64;
            let len = CHUNK.min((self.len - at) as usize);
            file.seek(SeekFrom::Start(at)).expect("seeks");
            file.write_all(&chunk[..len]).expect("the image is written");
        }
    }

    /// Writes whatever the disk is.
    pub(crate) fn put(&self, offset: u64, data: &[u8]) {
        assert!(offset + data.len() as u64 <= self.len, "beyond the disk");
        let mut chunks = self.chunks.borrow_mut();
        let mut at = offset;
        let mut data = data;
        while !data.is_empty() {
            let within = (at % CHUNK as u64) as usize;
            let n = data.len().min(CHUNK - within);
            let chunk = chunks.entry(at / CHUNK as u64).or_insert_with(|| Arc::new([0; CHUNK]));
            Arc::make_mut(chunk)[within..within + n].copy_from_slice(&data[..n]);
            data = &data[n..];
            at += n as u64;
        }
    }

    /// Bytes from anywhere.
    pub(crate) fn get(&self, offset: u64, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        self.fill(offset, &mut out);
        out
    }

    fn fill(&self, offset: u64, out: &mut [u8]) {
        let chunks = self.chunks.borrow();
        let mut at = offset;
        let mut done = 0;
        while done < out.len() {
            let within = (at % CHUNK as u64) as usize;
            let n = (out.len() - done).min(CHUNK - within);
            match chunks.get(&(at / CHUNK as u64)) {
                Some(chunk) => out[done..done + n].copy_from_slice(&chunk[within..within + n]),
                None => out[done..done + n].fill(0),
            }
            done += n;
            at += n as u64;
        }
    }

    fn check(&self, offset: u64, len: usize) -> Result<(), DiskError> {
        assert!(
            offset.is_multiple_of(SECTOR as u64) && len.is_multiple_of(SECTOR),
            "a transfer that is not of sectors"
        );
        let end = offset.checked_add(len as u64).ok_or(DiskError::OutOfRange)?;
        if end > self.len {
            Err(DiskError::OutOfRange)
        } else {
            Ok(())
        }
    }
}

impl Disk for MemDisk {
    fn len_bytes(&self) -> u64 {
        self.len
    }

    fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), DiskError> {
        self.check(offset, out.len())?;
        self.fill(offset, out);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        if self.is_read_only {
            return Err(DiskError::ReadOnly);
        }
        self.check(offset, data.len())?;
        self.put(offset, data);
        Ok(())
    }

    fn flush(&self) -> Result<(), DiskError> {
        Ok(())
    }
}
