//! The pages of one file.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sis_machine::mm::PAGE_SIZE;
use sis_machine::sync::{Mutex, MutexGuard, Rank, SpinLock};

use super::page::{Page, State};
use super::{ErrorSeq, PAGE, Room, Store, flusher, reclaim};
use crate::vm::Mappers;
use crate::{Errno, Result};

/// Pages by index. Which are dirty or under write-back is kept apart, to find them.
#[derive(Default)]
pub(super) struct Tree {
    pub(super) pages: BTreeMap<u64, Arc<Page>>,
    pub(super) dirty: BTreeSet<u64>,
    pub(super) writeback: BTreeSet<u64>,
}

/// A file's pages.
pub struct FileCache {
    me: Weak<dyn Store>,
    /// Bytes; changes with `tree` locked.
    size: AtomicU64,
    /// Where the write(2) that is under way ends, which may be behind the end of the file; 0 without one. Changes with
    /// `tree` locked.
    writing_to: AtomicU64,
    pub(super) tree: SpinLock<Tree>,
    /// Pages with a promise of blocks.
    promised: AtomicU64,
    writing: Mutex<()>,
    filling: Mutex<()>,
    mappers: Mappers,
    errors: ErrorSeq,
    /// The flusher has it in its list.
    pub(super) is_queued: AtomicBool,
    /// The reclaimer has it in its list.
    pub(super) is_listed: AtomicBool,
    /// When the oldest dirty page became so, about.
    pub(super) dirty_since_ns: AtomicU64,
    /// Its pages count as `Buffers`: a disk's own.
    is_disk: bool,
}

impl FileCache {
    /// Of a file of `size` bytes that `me` keeps.
    pub fn new(me: Weak<dyn Store>, size: u64) -> Self {
        Self::with(me, size, false)
    }

    /// Of a disk of `size` bytes.
    pub fn of_disk(me: Weak<dyn Store>, size: u64) -> Self {
        Self::with(me, size, true)
    }

    fn with(me: Weak<dyn Store>, size: u64, is_disk: bool) -> Self {
        Self {
            me,
            size: AtomicU64::new(size),
            writing_to: AtomicU64::new(0),
            tree: SpinLock::new(Rank::Leaf, Tree::default()),
            promised: AtomicU64::new(0),
            writing: Mutex::new(Rank::Inode, ()),
            filling: Mutex::new(Rank::Filling, ()),
            mappers: Mappers::new(),
            errors: ErrorSeq::new(),
            is_queued: AtomicBool::new(false),
            is_listed: AtomicBool::new(false),
            dirty_since_ns: AtomicU64::new(0),
            is_disk,
        }
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// Who maps it.
    pub fn mappers(&self) -> &Mappers {
        &self.mappers
    }

    /// Pages that have been promised blocks and have none yet.
    pub fn promised_pages(&self) -> u64 {
        self.promised.load(Ordering::Relaxed)
    }

    /// The promises of pages that are to be written are redeemed; how many there were.
    pub(super) fn redeem(&self, pages: &[Arc<Page>]) -> u64 {
        let _tree = self.tree.lock();
        let was = pages
            .iter()
            .filter(|p| p.clear(State::PROMISED).contains(State::PROMISED));
        let count = was.count() as u64;
        self.promised.fetch_sub(count, Ordering::Relaxed);
        count
    }

    /// Failures of its write-back.
    pub fn errors(&self) -> &ErrorSeq {
        &self.errors
    }

    /// Held by everything that changes size or content by a call.
    pub fn lock_writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock()
    }

    pub(super) fn lock_filling(&self) -> MutexGuard<'_, ()> {
        self.filling.lock()
    }

    pub(super) fn is_disk(&self) -> bool {
        self.is_disk
    }

    pub(super) fn store(&self) -> Option<Arc<dyn Store>> {
        self.me.upgrade()
    }

    pub(super) fn weak_store(&self) -> &Weak<dyn Store> {
        &self.me
    }

    pub(super) fn find(&self, index: u64) -> Option<Arc<Page>> {
        self.tree.lock().pages.get(&index).cloned()
    }

    /// Pages in memory.
    pub fn page_count(&self) -> usize {
        self.tree.lock().pages.len()
    }

    /// Whether something waits to be written.
    pub fn is_dirty(&self) -> bool {
        let tree = self.tree.lock();
        !tree.dirty.is_empty() || !tree.writeback.is_empty()
    }

    /// The first page from `index` on that is in memory only (`true`: changed since it was written), below `last`.
    pub fn next_dirty(&self, index: u64, last: u64) -> Option<u64> {
        self.tree.lock().dirty.range(index..last).next().copied()
    }

    /// Puts a page where there is none, if it is not behind the end and unless `even_behind` it may be. Answers what is
    /// there, and whether it is this page.
    pub(super) fn insert(&self, index: u64, page: &Arc<Page>, even_behind: bool) -> Option<(Arc<Page>, bool)> {
        let out = {
            let mut tree = self.tree.lock();
            if !even_behind && index >= self.size().div_ceil(PAGE) {
                return None;
            }
            match tree.pages.get(&index) {
                Some(there) => (there.clone(), false),
                None => {
                    tree.pages.insert(index, page.clone());
                    (page.clone(), true)
                }
            }
        };
        if out.1 {
            flusher::count_cached(self.is_disk, 1);
            reclaim::list(self);
        }
        Some(out)
    }

    /// Marks a page changed, in a file that is at least `size` bytes long from now on: both at once, as whoever writes the
    /// page back writes no more than the file has. What it keeps it by is noted, if that is new. False when the page is
    /// not the file's any more. Promises that are not needed are given back by the caller: the second answer.
    pub(super) fn mark_dirty(&self, index: u64, page: &Page, room: Option<Room>, size: u64) -> (bool, bool) {
        let mut spare = false;
        {
            let mut tree = self.tree.lock();
            if page.is(State::GONE) {
                return (false, room == Some(Room::Promise));
            }
            self.size.fetch_max(size, Ordering::AcqRel);
            match room {
                Some(Room::Promise) if page.is(State::ROOM) => spare = true,
                Some(room) => {
                    page.set(room.state());
                    self.promised
                        .fetch_add(u64::from(room == Room::Promise), Ordering::Relaxed);
                }
                None => {}
            }
            page.set(State::USED);
            if page.is(State::DIRTY) {
                return (true, spare);
            }
            page.set(State::DIRTY);
            if tree.dirty.is_empty() {
                self.dirty_since_ns.store(crate::time::now_ns(), Ordering::Relaxed);
            }
            tree.dirty.insert(index);
        }
        flusher::count_dirty(1);
        flusher::queue(self);
        (true, spare)
    }

    /// The file is `size` bytes long now, which is not less than before. `writing` is held.
    pub fn grow(&self, size: u64) {
        let _tree = self.tree.lock();
        self.size.fetch_max(size, Ordering::AcqRel);
    }

    /// A write begins that ends at `end` at most: what lies before is not [cleared](Self::clear_unwritten_tail). `writing`
    /// is held until [`Self::end_write`].
    pub(super) fn begin_write(&self, end: u64) {
        let _tree = self.tree.lock();
        self.writing_to.store(end, Ordering::Release);
    }

    /// The write has ended, and the file's size is known.
    pub(super) fn end_write(&self) {
        let _tree = self.tree.lock();
        self.writing_to.store(0, Ordering::Release);
    }

    /// Whether a write(2) is under way.
    pub fn is_being_written(&self) -> bool {
        self.writing_to.load(Ordering::Acquire) != 0
    }

    /// Before pages from `first` on are written: zeroes what mappings may have left behind the end, but nothing that a
    /// write has put there and is about to make the file longer by.
    pub(super) fn clear_unwritten_tail(&self, first: u64, pages: &[Arc<Page>]) {
        let _tree = self.tree.lock();
        let end = self.size().max(self.writing_to.load(Ordering::Acquire));
        if !end.is_multiple_of(PAGE)
            && let Some(page) = (end / PAGE).checked_sub(first).and_then(|n| pages.get(n as usize))
        {
            let within = (end % PAGE) as usize;
            page.frame.zero_range(within, PAGE_SIZE - within);
        }
    }

    /// Zeroes what lies behind `size` in its page: it is read if the file grows.
    pub(super) fn clear_tail(&self, size: u64) {
        let within = (size % PAGE) as usize;
        if within != 0
            && let Some(page) = self.find(size / PAGE)
        {
            page.wait_while(State::READING);
            page.frame.zero_range(within, PAGE_SIZE - within);
        }
    }

    /// Makes the file `size` bytes long in memory. When it becomes shorter, nothing of what is behind is mapped,
    /// cached or under I/O afterwards, and `free` frees its blocks. The page that the new end lies in is brought in by the
    /// caller, so that its rest becomes zeros on the disk too. `writing` is held.
    ///
    /// # Errors
    /// Those of `free`.
    pub fn resize(&self, size: u64, free: impl FnOnce() -> Result<()>) -> Result<()> {
        let old = self.size();
        if size >= old {
            self.clear_tail(old);
            free()?;
            self.grow(size);
            return Ok(());
        }
        {
            let _tree = self.tree.lock();
            self.size.store(size, Ordering::Release);
        }
        self.clear_tail(size);
        let first = size.div_ceil(PAGE);
        self.mappers.unmap(first, u64::MAX);
        // A mapping of the last page may have been written behind the end meanwhile.
        self.clear_tail(size);
        // It may be under way to blocks of it that are behind the end now.
        if !size.is_multiple_of(PAGE)
            && let Some(page) = self.find(size / PAGE)
        {
            page.wait_while(State::WRITEBACK);
        }
        let _filling = self.filling.lock();
        self.remove(first, u64::MAX);
        free()
    }

    /// Takes pages `first..last` away, changed or not, while `free` frees or changes the blocks under them: a hole is
    /// made, or a transfer leaves the cache out. `writing` is held.
    ///
    /// # Errors
    /// Those of `free`.
    pub fn punch<T>(&self, first: u64, last: u64, free: impl FnOnce() -> Result<T>) -> Result<T> {
        if first >= last {
            return free();
        }
        self.mappers.unmap(first, last);
        let out = {
            let _filling = self.filling.lock();
            self.remove(first, last);
            free()
        };
        // Who faulted in between has a page that is not the file's.
        self.mappers.unmap(first, last);
        out
    }

    /// Takes pages out of the tree and waits for their I/O.
    fn remove(&self, first: u64, last: u64) {
        loop {
            let gone: Vec<(u64, Arc<Page>)> = {
                let mut tree = self.tree.lock();
                let gone: Vec<_> = tree
                    .pages
                    .range(first..last)
                    .take(512)
                    .map(|(n, p)| (*n, p.clone()))
                    .collect();
                for (n, page) in &gone {
                    tree.pages.remove(n);
                    if tree.dirty.remove(n) {
                        flusher::count_dirty(-1);
                    }
                    page.set(State::GONE);
                    page.clear(State::DIRTY);
                }
                gone
            };
            if gone.is_empty() {
                return;
            }
            flusher::count_cached(self.is_disk, -(gone.len() as isize));
            let mut promised = 0;
            for (_, page) in &gone {
                page.wait_while(State::READING | State::WRITEBACK);
                promised += u64::from(page.clear(State::PROMISED).contains(State::PROMISED));
            }
            self.promised.fetch_sub(promised, Ordering::Relaxed);
            self.give_back(promised);
        }
    }

    /// Gives promises back.
    pub(super) fn give_back(&self, pages: u64) {
        if pages > 0
            && let Some(store) = self.store()
        {
            store.release(pages);
        }
    }

    /// Forgets everything, written back or not: the file is gone, or its file system has failed.
    pub fn discard(&self) {
        self.mappers.unmap(0, u64::MAX);
        let _filling = self.filling.lock();
        self.remove(0, u64::MAX);
    }

    /// Where data or a hole begins from `offset` on, as far as memory knows: whether page `index` has data that the store
    /// may not know of.
    pub fn is_dirty_at(&self, index: u64) -> bool {
        let tree = self.tree.lock();
        tree.dirty.contains(&index) || tree.writeback.contains(&index)
    }

    /// The room of a page that is to be changed: none where it is known, else as the store says.
    pub(super) fn room_for(store: &dyn Store, page: &Page, index: u64) -> Result<Option<Room>> {
        if page.is(State::ROOM) {
            return Ok(None);
        }
        store.reserve(index, 1).map(|(_, room)| Some(room))
    }

    /// Errors that mean that a page is not there although it should be.
    pub(super) fn behind_the_end() -> Errno {
        Errno::EFAULT
    }
}

impl Drop for FileCache {
    fn drop(&mut self) {
        let tree = self.tree.get_mut();
        flusher::count_cached(self.is_disk, -(tree.pages.len() as isize));
        flusher::count_dirty(-(tree.dirty.len() as isize));
    }
}
