//! Who has a disk or partition for themselves: mounts, and opens with O_EXCL.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::volume::Volume;
use crate::{Errno, Result};

/// Claims and opens of a disk or partition.
#[derive(Default)]
pub(super) struct Users {
    claims: AtomicUsize,
    opens: AtomicUsize,
}

impl Users {
    /// Whether somebody uses it.
    pub(super) fn is_used(&self) -> bool {
        self.opens.load(Ordering::Acquire) != 0 || self.is_claimed()
    }

    pub(super) fn is_claimed(&self) -> bool {
        self.claims.load(Ordering::Acquire) != 0
    }
}

/// A disk or partition is somebody's own until this is dropped: nobody else can claim it, nor the disk around it, nor
/// (of a disk) its partitions.
pub struct Claim(Arc<Volume>);

impl Claim {
    /// Claims a volume.
    ///
    /// # Errors
    /// `EBUSY` when it, the disk around it or a partition in it is claimed.
    pub fn new(volume: &Arc<Volume>) -> Result<Self> {
        // One at a time: a claim looks at others.
        let volumes = super::registry::lock();
        let is_in_the_way = |v: &Arc<Volume>| {
            core::ptr::eq(v.disk(), volume.disk())
                && v.users().is_claimed()
                && (v.number() == volume.number() || v.number() == 0 || volume.number() == 0)
        };
        if volumes.iter().any(is_in_the_way) {
            return Err(Errno::EBUSY);
        }
        volume.users().claims.fetch_add(1, Ordering::AcqRel);
        drop(volumes);
        Ok(Self(volume.clone()))
    }

    /// What is claimed.
    pub fn volume(&self) -> &Arc<Volume> {
        &self.0
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.users().claims.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A disk or partition is open until this is dropped: its table cannot be read anew.
pub(super) struct Opened(Arc<Volume>);

impl Opened {
    pub(super) fn new(volume: &Arc<Volume>) -> Self {
        volume.users().opens.fetch_add(1, Ordering::AcqRel);
        Self(volume.clone())
    }

    pub(super) fn volume(&self) -> &Arc<Volume> {
        &self.0
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.users().opens.fetch_sub(1, Ordering::AcqRel);
    }
}
