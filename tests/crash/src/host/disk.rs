//! Disks in memory under `sis-ext4`.

use crate::disk::Disk;
use crate::trace::Recorder;
use sis_ext4::DiskError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A disk whose requests are written down. Each has completed when its call returns.
#[derive(Clone, Debug)]
pub struct Recorded(pub Arc<Recorder>);

impl sis_ext4::Disk for Recorded {
    fn len_bytes(&self) -> u64 {
        self.0.size()
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), DiskError> {
        check(offset, out.len(), self.len_bytes())?;
        out.copy_from_slice(&self.0.read(offset, out.len()));
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        check(offset, data.len(), self.len_bytes())?;
        let id = self.0.write(offset, data.to_vec(), false);
        self.0.completed(&[id]);
        Ok(())
    }

    fn write_through(&self, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        check(offset, data.len(), self.len_bytes())?;
        let id = self.0.write(offset, data.to_vec(), true);
        self.0.completed(&[id]);
        Ok(())
    }

    fn flush(&self) -> Result<(), DiskError> {
        let id = self.0.flush();
        self.0.completed(&[id]);
        Ok(())
    }
}

fn check(offset: u64, length: usize, size: u64) -> Result<(), DiskError> {
    let end = offset.checked_add(length as u64);
    if end.is_some_and(|end| end <= size) {
        Ok(())
    } else {
        Err(DiskError::OutOfRange)
    }
}

/// A disk that only holds what is written to it.
#[derive(Clone, Debug)]
pub struct Scratch(Arc<Mutex<Disk>>);

impl Scratch {
    /// With this on it.
    #[must_use]
    pub fn new(disk: Disk) -> Self {
        Self(Arc::new(Mutex::new(disk)))
    }

    /// What is on it now.
    #[must_use]
    pub fn disk(&self) -> Disk {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl sis_ext4::Disk for Scratch {
    fn len_bytes(&self) -> u64 {
        self.lock().size()
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), DiskError> {
        check(offset, out.len(), self.len_bytes())?;
        out.copy_from_slice(&self.lock().read(offset, out.len()));
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        check(offset, data.len(), self.len_bytes())?;
        self.lock().write(offset, data);
        Ok(())
    }

    fn flush(&self) -> Result<(), DiskError> {
        Ok(())
    }
}
