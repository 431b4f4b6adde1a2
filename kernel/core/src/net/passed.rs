//! Files on their way through AF_UNIX sockets (SCM_RIGHTS).
//!
//! They are counted, so that programs cannot hide any number of files in sockets that nobody reads. Files that are never
//! received are closed one after the other and not inside each other: a socket may travel in another's queue, that one in
//! a third's, and so on, deeper than a kernel stack.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use sis_machine::sync::{Rank, SpinLock};

use crate::fs::file::OpenFile;
use crate::{Errno, Result};

/// Most files that travel in the whole system.
const MOST: usize = 4096;

static TRAVELLING: AtomicUsize = AtomicUsize::new(0);
static LOST: SpinLock<Vec<Arc<OpenFile>>> = SpinLock::new(Rank::Leaf, Vec::new());
static IS_CLOSING: AtomicBool = AtomicBool::new(false);

/// Files that travel with a message.
#[derive(Default)]
pub(crate) struct Passed {
    files: Vec<Arc<OpenFile>>,
    is_counted: bool,
}

impl Passed {
    /// Sends files on their way.
    ///
    /// # Errors
    /// `ETOOMANYREFS` when too many travel already.
    pub(crate) fn new(files: Vec<Arc<OpenFile>>) -> Result<Self> {
        let n = files.len();
        if n > 0 && TRAVELLING.fetch_add(n, Ordering::Relaxed) + n > MOST {
            TRAVELLING.fetch_sub(n, Ordering::Relaxed);
            return Err(Errno::ETOOMANYREFS);
        }
        Ok(Self {
            files,
            is_counted: true,
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// For a look that leaves them where they are.
    pub(crate) fn copy(&self) -> Self {
        Self {
            files: self.files.clone(),
            is_counted: false,
        }
    }

    /// Adds another message's.
    pub(crate) fn join(&mut self, other: &mut Self) {
        debug_assert!(self.files.is_empty() || self.is_counted == other.is_counted);
        self.is_counted = other.is_counted;
        self.files.append(&mut other.files);
    }

    /// They have arrived.
    pub(crate) fn arrive(mut self) -> Vec<Arc<OpenFile>> {
        let files = core::mem::take(&mut self.files);
        self.uncount(files.len());
        files
    }

    fn uncount(&self, n: usize) {
        if self.is_counted {
            TRAVELLING.fetch_sub(n, Ordering::Relaxed);
        }
    }
}

impl Drop for Passed {
    fn drop(&mut self) {
        if self.files.is_empty() {
            return;
        }
        self.uncount(self.files.len());
        LOST.lock().append(&mut self.files);
        close_lost();
    }
}

/// Closes what was lost, unless somebody (perhaps this very task, further out) is at it.
fn close_lost() {
    while !IS_CLOSING.swap(true, Ordering::AcqRel) {
        loop {
            let next = LOST.lock().pop();
            if next.is_none() {
                break;
            }
            drop(next);
        }
        IS_CLOSING.store(false, Ordering::Release);
        // What was added after the last look and before the flag fell has nobody else to close it.
        if LOST.lock().is_empty() {
            return;
        }
    }
}
