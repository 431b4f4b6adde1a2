//! Anonymous memory that processes share after fork(2): mmap with MAP_SHARED | MAP_ANONYMOUS.

use alloc::collections::BTreeMap;
use alloc::string::String;
use core::sync::atomic::{AtomicU64, Ordering};

use sis_machine::mm::frames::Frame;
use sis_machine::sync::{Mutex, Rank};

use super::{PAGE, PageSource};
use crate::{Errno, Result};

static NEXT: AtomicU64 = AtomicU64::new(1);

/// Pages that exist once touched.
pub(super) struct SharedMemory {
    id: u64,
    pages: u64,
    frames: Mutex<BTreeMap<u64, Frame>>,
}

impl SharedMemory {
    pub(super) fn new(len: usize) -> Self {
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            pages: (len / PAGE) as u64,
            frames: Mutex::new(Rank::PageCache, BTreeMap::new()),
        }
    }
}

impl PageSource for SharedMemory {
    fn page(&self, index: u64, _write: bool) -> Result<Frame> {
        if index >= self.pages {
            return Err(Errno::EFAULT);
        }
        let mut frames = self.frames.lock();
        if let Some(f) = frames.get(&index) {
            return Ok(f.clone());
        }
        let frame = Frame::alloc_user_zeroed().ok_or(Errno::ENOMEM)?;
        frames.insert(index, frame.clone());
        Ok(frame)
    }

    fn size(&self) -> u64 {
        self.pages * PAGE as u64
    }

    fn name(&self) -> String {
        String::from("/dev/zero (deleted)")
    }

    fn identity(&self) -> (u64, u64) {
        (0, self.id)
    }
}
