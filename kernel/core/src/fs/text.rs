//! Files that are written and files that are run: no file is both at a time (`ETXTBSY` of open(2), truncate(2), execve(2)).
//!
//! As on Linux this holds for the file that a process runs, for as long as it does; scripts and dynamic loaders are held
//! only while they are read.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicI32, Ordering};

use super::inode::Inode;
use crate::{Errno, Result};

/// How a file is used: writers count up from nothing, runners down.
#[derive(Debug, Default)]
pub struct TextUse(AtomicI32);

impl TextUse {
    /// Used by nobody.
    pub const fn new() -> Self {
        Self(AtomicI32::new(0))
    }

    fn take(&self, step: i32) -> Result<()> {
        let taken = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| {
            // The other kind has the other sign.
            if n.signum() == -step { None } else { n.checked_add(step) }
        });
        taken.map(drop).map_err(|_| Errno::ETXTBSY)
    }
}

struct Held {
    inode: Arc<dyn Inode>,
    step: i32,
}

impl Held {
    /// Nothing where the file system keeps no count.
    fn take(inode: &Arc<dyn Inode>, step: i32) -> Result<Option<Self>> {
        let Some(text) = inode.text() else { return Ok(None) };
        text.take(step)?;
        Ok(Some(Self {
            inode: inode.clone(),
            step,
        }))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(text) = self.inode.text() {
            text.0.fetch_sub(self.step, Ordering::AcqRel);
        }
    }
}

/// A file may be written until the last of these is dropped.
#[derive(Clone)]
pub struct Writing {
    _held: Option<Arc<Held>>,
}

impl Writing {
    /// Begins.
    ///
    /// # Errors
    /// `ETXTBSY` while it is run.
    pub fn begin(inode: &Arc<dyn Inode>) -> Result<Self> {
        let held = Held::take(inode, 1)?;
        Ok(Self {
            _held: held.map(Arc::new),
        })
    }
}

/// A file is run until the last of these is dropped.
#[derive(Clone)]
pub struct Running {
    _held: Option<Arc<Held>>,
}

impl Running {
    /// Begins.
    ///
    /// # Errors
    /// `ETXTBSY` while it is open for writing.
    pub fn begin(inode: &Arc<dyn Inode>) -> Result<Self> {
        let held = Held::take(inode, -1)?;
        Ok(Self {
            _held: held.map(Arc::new),
        })
    }
}
