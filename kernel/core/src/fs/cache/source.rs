//! Mappings of files.

use alloc::string::String;
use alloc::sync::Arc;

use sis_machine::mm::frames::Frame;

use super::page::State;
use super::read::get;
use super::{FileCache, PAGE, ReadAhead, Store, Wait, back};
use crate::vm::{Mappers, PageSource};
use crate::{Errno, Result};

/// Pages that a fault reads around it: 64 KiB.
const AROUND: u64 = 16;

/// A file as mappings have it.
pub struct MappedFile {
    store: Arc<dyn Store>,
    ahead: ReadAhead,
    name: String,
    identity: (u64, u64),
}

impl MappedFile {
    /// Of a file; the name is for where no path is known, `identity` is device and inode number.
    pub fn new(store: Arc<dyn Store>, name: String, identity: (u64, u64)) -> Arc<Self> {
        Arc::new(Self {
            store,
            ahead: ReadAhead::new(),
            name,
            identity,
        })
    }
}

impl PageSource for MappedFile {
    fn page(&self, index: u64, write: bool) -> Result<Frame> {
        let cache = self.store.cache();
        let page = {
            let tree = cache.tree.lock();
            if index >= cache.size().div_ceil(PAGE) {
                return Err(FileCache::behind_the_end());
            }
            tree.pages.get(&index).cloned()
        };
        let page = page.filter(|p| p.is(State::UPTODATE)).ok_or(Errno::EAGAIN)?;
        if write {
            // Room is looked for where it may take I/O.
            if !page.is(State::ROOM) || !cache.mark_dirty(index, &page, None, 0).0 {
                return Err(Errno::EAGAIN);
            }
            self.store.touched();
        }
        page.touch();
        Ok(page.frame.clone())
    }

    fn bring_in(&self, index: u64, write: bool) -> Result<Frame> {
        let store = self.store.as_ref();
        loop {
            let page = get(store, &self.ahead, index, AROUND)?.ok_or(FileCache::behind_the_end())?;
            self.ahead.note(index);
            if write {
                let room = FileCache::room_for(store, &page, index)?;
                let (is_in, is_spare) = store.cache().mark_dirty(index, &page, room, 0);
                if is_spare {
                    store.release(1);
                }
                if !is_in {
                    continue;
                }
            }
            return Ok(page.frame.clone());
        }
    }

    fn mappers(&self) -> Option<&Mappers> {
        Some(self.store.cache().mappers())
    }

    fn sync(&self, first: u64, last: u64, wait: bool) -> Result<()> {
        if !wait {
            // MS_ASYNC: the pages are dirty, and the flusher knows (msync(2)).
            return Ok(());
        }
        let written = back::write_back(&self.store, first, last, Wait::Yes);
        // msync(2) with MS_SYNC is fsync(2) of a range.
        written.and(self.store.commit())
    }

    fn size(&self) -> u64 {
        self.store.cache().size()
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn identity(&self) -> (u64, u64) {
        self.identity
    }
}
