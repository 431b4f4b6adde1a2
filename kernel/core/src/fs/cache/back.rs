//! Writing changed pages back.
//!
//! A page that is to be written is first marked so and clean, then protected in every mapping, then written: a store that
//! comes after the protection makes it dirty again, one before it is in what is written. Whoever starts a write ends it,
//! in a task, after its store has been told that the content is there: who waits for write-back has the whole of it.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use sis_hal::{BlockOp, SECTOR_BYTES};

use super::page::{Page, State};
use super::read::pieces_of;
use super::{FileCache, PAGE, Place, Store, flusher};
use crate::block::{Io, IoWait};
use crate::{Errno, Result};

/// Pages of one request: 1 MiB.
const RUN: usize = 256;
/// Pages under way at once: 8 MiB.
const UNDER_WAY: usize = 8 * RUN;

/// Whether write-back of a range is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Pages that somebody else writes are left to them.
    No,
    /// Every page that was dirty when the call began has been written when it ends.
    Yes,
}

/// A run of pages under way.
struct Run {
    store: Arc<dyn Store>,
    first: u64,
    pages: Vec<Arc<Page>>,
    /// How much of them is written: what the file had when the write was started.
    bytes: u64,
    wait: Arc<IoWait>,
    /// Why it was not even started.
    failure: Option<Errno>,
}

/// Writes of any number of files that are under way together.
#[derive(Default)]
pub(super) struct Batch {
    runs: VecDeque<Run>,
    pages: usize,
    failure: Option<Errno>,
}

impl Batch {
    /// Starts writing dirty pages `first..last` of a file, waiting only where too many are under way.
    pub(super) fn add(&mut self, store: &Arc<dyn Store>, first: u64, last: u64) {
        let mut at = first;
        while let Some((begin, pages)) = collect(store.as_ref(), at, last) {
            at = begin + pages.len() as u64;
            self.pages += pages.len();
            self.runs.push_back(start(store, begin, pages));
            while self.pages > UNDER_WAY {
                self.finish_one();
            }
        }
    }

    fn finish_one(&mut self) {
        let Some(run) = self.runs.pop_front() else { return };
        self.pages -= run.pages.len();
        if let Err(e) = finish(run) {
            self.failure.get_or_insert(e);
        }
    }

    /// Waits for all.
    pub(super) fn finish(&mut self) -> Result<()> {
        while !self.runs.is_empty() {
            self.finish_one();
        }
        self.failure.take().map_or(Ok(()), Err)
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        let _ = self.finish();
    }
}

/// Takes the next run of consecutive dirty pages, and marks them under write-back.
fn collect(store: &dyn Store, from: u64, last: u64) -> Option<(u64, Vec<Arc<Page>>)> {
    let cache = store.cache();
    let mut pages: Vec<Arc<Page>> = Vec::new();
    let mut begin = from;
    {
        let mut tree = cache.tree.lock();
        let tree = &mut *tree;
        for index in tree.dirty.range(from..last) {
            if pages.is_empty() {
                begin = *index;
            } else if *index != begin + pages.len() as u64 {
                break;
            }
            let Some(page) = tree.pages.get(index) else { break };
            if page.is(State::WRITEBACK) {
                // Somebody writes an older content of it; who waits comes again.
                if pages.is_empty() {
                    continue;
                }
                break;
            }
            pages.push(page.clone());
            if pages.len() == RUN {
                break;
            }
        }
        if pages.is_empty() {
            return None;
        }
        for (n, page) in pages.iter().enumerate() {
            let index = begin + n as u64;
            page.set(State::WRITEBACK);
            page.clear(State::DIRTY);
            tree.dirty.remove(&index);
            tree.writeback.insert(index);
        }
    }
    flusher::count_writeback(pages.len() as isize);
    flusher::count_dirty(-(pages.len() as isize));
    Some((begin, pages))
}

fn start(store: &Arc<dyn Store>, first: u64, pages: Vec<Arc<Page>>) -> Run {
    let count = pages.len() as u64;
    let cache = store.cache();
    cache.mappers().protect(first, first + count);
    cache.clear_unwritten_tail(first, &pages);
    let promised = cache.redeem(&pages);
    let wait = IoWait::new();
    let mut run = Run {
        store: store.clone(),
        first,
        pages,
        bytes: 0,
        wait,
        failure: None,
    };
    match store.map_write(first, count, promised) {
        Ok(extents) => {
            let mut ios = Vec::new();
            let (mut at, bytes) = (0, count * PAGE);
            for extent in extents {
                let len = extent.len.min(bytes - at);
                if len == 0 {
                    break;
                }
                if let Place::Sector(sector) = extent.place {
                    ios.push(Io {
                        op: BlockOp::Write,
                        first_sector: sector,
                        sector_count: len / SECTOR_BYTES,
                        pieces: pieces_of(&run.pages, at, len),
                        done: run.wait.clone(),
                        cookie: 0,
                    });
                }
                at += len;
            }
            run.bytes = at;
            run.wait.expect(ios.len());
            store.device().submit_all(ios);
        }
        Err(e) => run.failure = Some(e),
    }
    run
}

fn finish(run: Run) -> Result<()> {
    let Run {
        store,
        first,
        pages,
        bytes,
        wait,
        failure,
    } = run;
    let mut result = wait.wait_errno();
    if let Some(e) = failure {
        result = Err(e);
    }
    let result = result.and_then(|()| store.written(first, bytes));
    let cache = store.cache();
    if let Err(e) = result {
        // As on Linux the pages count as written: who calls fsync(2) is told.
        cache.errors().put(e);
    }
    {
        let mut tree = cache.tree.lock();
        for (n, page) in pages.iter().enumerate() {
            let index = first + n as u64;
            if !page.is(State::GONE) || tree.pages.get(&index).is_none_or(|p| !p.is(State::WRITEBACK)) {
                tree.writeback.remove(&index);
            }
            // Of the file's last page perhaps not all.
            if result.is_ok() && (n as u64 + 1) * PAGE <= bytes {
                page.set(State::BLOCKS);
            }
            page.clear(State::WRITEBACK);
        }
    }
    for page in &pages {
        page.wake();
    }
    flusher::count_writeback(-(pages.len() as isize));
    result
}

/// Waits for the writes of pages `first..last` that are under way.
fn wait_for(cache: &FileCache, first: u64, last: u64) {
    let under_way: Vec<Arc<Page>> = {
        let tree = cache.tree.lock();
        let of = tree.writeback.range(first..last);
        of.filter_map(|n| tree.pages.get(n).cloned()).collect()
    };
    for page in under_way {
        page.wait_while(State::WRITEBACK);
    }
}

/// Writes dirty pages `first..last` of a file back.
///
/// With [`Wait::Yes`] three steps make sure of every page that is dirty when this is called. What others are writing by
/// then may be an older content, and such a page is passed over while it is written: it is waited for. Then what is dirty
/// is written. A page that is neither written by this nor dirty any more has been taken by somebody else since the first
/// step, with the content that it had when this was called or a newer one: it is waited for.
///
/// # Errors
/// With [`Wait::Yes`]: `EIO`, `ENOSPC` and those of the store, of writes that this call started. Failures are also noted in
/// the file's [`super::ErrorSeq`].
pub fn write_back(store: &Arc<dyn Store>, first: u64, last: u64, wait: Wait) -> Result<()> {
    let cache = store.cache();
    let last = last.min(cache.size().div_ceil(PAGE).max(first));
    if wait == Wait::Yes {
        wait_for(cache, first, last);
    }
    let mut batch = Batch::default();
    batch.add(store, first, last);
    let out = batch.finish();
    if wait == Wait::No {
        return Ok(());
    }
    wait_for(cache, first, last);
    out
}
