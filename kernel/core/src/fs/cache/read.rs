//! Reading through the cache.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use sis_hal::{BlockError, BlockOp, SECTOR_BYTES};
use sis_machine::mm::PAGE_SIZE;
use sis_machine::mm::scatter::FramePiece;

use super::page::{Page, State};
use super::{Extent, PAGE, Place, ReadAhead, Store, reclaim};
use crate::block::{Io, IoDone};
use crate::user::Sink;
use crate::{Errno, Result};

/// How often a page is looked for that is gone again before it is seen.
const TRIES: usize = 64;

/// Pages that are read together.
struct Run {
    pages: Vec<Arc<Page>>,
    left: AtomicUsize,
    has_failed: AtomicBool,
}

impl Run {
    fn part_ended(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            let is_good = !self.has_failed.load(Ordering::Acquire);
            for page in &self.pages {
                page.end_read(is_good);
            }
        }
    }
}

impl IoDone for Run {
    fn done(&self, _cookie: u64, result: core::result::Result<(), BlockError>) {
        if result.is_err() {
            self.has_failed.store(true, Ordering::Release);
        }
        self.part_ended();
    }
}

/// The pieces of `pages` (consecutive, from byte 0 on) for `at..at + len`.
pub(super) fn pieces_of(pages: &[Arc<Page>], at: u64, len: u64) -> Vec<FramePiece> {
    let mut out = Vec::with_capacity((len / PAGE + 2) as usize);
    let (mut at, end) = (at, at + len);
    while at < end {
        let Some(page) = pages.get((at / PAGE) as usize) else {
            break;
        };
        let within = at % PAGE;
        let n = (PAGE - within).min(end - at);
        out.push(FramePiece {
            frame: page.frame.clone(),
            offset: within as u32,
            len: n as u32,
        });
        at += n;
    }
    out
}

fn zero(pages: &[Arc<Page>], at: u64, end: u64) {
    let mut at = at;
    while at < end {
        let Some(page) = pages.get((at / PAGE) as usize) else {
            return;
        };
        let within = (at % PAGE) as usize;
        let n = (PAGE_SIZE - within).min((end - at) as usize);
        page.frame.zero_range(within, n);
        at += n as u64;
    }
}

/// Starts reading those of `count` pages from `first` on that are not in memory, as far as the file goes; `marker`
/// becomes the mark at which more is read ahead.
///
/// # Errors
/// `ENOMEM`, and those of [`Store::map_read`].
pub(super) fn start_read(store: &dyn Store, first: u64, count: u64, marker: Option<u64>) -> Result<()> {
    let cache = store.cache();
    let last = first.saturating_add(count).min(cache.size().div_ceil(PAGE));
    let mut at = first;
    while at < last {
        // Skips what is there, so that no frame is taken for it.
        {
            let tree = cache.tree.lock();
            while at < last && tree.pages.contains_key(&at) {
                at += 1;
            }
        }
        let mut fresh: Vec<Arc<Page>> = Vec::new();
        let begin = at;
        let mut is_short = false;
        let _filling = cache.lock_filling();
        while at < last {
            let Some(frame) = reclaim::new_frame(at == first) else {
                is_short = true;
                break;
            };
            let mut state = State::READING;
            state.set(State::AHEAD, marker == Some(at));
            let page = Arc::new(Page::new(frame, state));
            match cache.insert(at, &page, false) {
                Some((_, true)) => fresh.push(page),
                _ => break,
            }
            at += 1;
        }
        if fresh.is_empty() {
            if is_short {
                return if at == first { Err(Errno::ENOMEM) } else { Ok(()) };
            }
            if at == begin && at < last && cache.find(at).is_none() {
                // The file has become shorter.
                return Ok(());
            }
            continue;
        }
        submit(store, begin, fresh)?;
        if is_short {
            return Ok(());
        }
    }
    Ok(())
}

/// Reads pages that have just been entered as being read.
fn submit(store: &dyn Store, first: u64, pages: Vec<Arc<Page>>) -> Result<()> {
    let count = pages.len() as u64;
    let extents = match store.map_read(first, count) {
        Ok(extents) => extents,
        Err(e) => {
            for page in &pages {
                page.end_read(false);
            }
            return Err(e);
        }
    };
    let run = Arc::new(Run {
        pages,
        left: AtomicUsize::new(1),
        has_failed: AtomicBool::new(false),
    });
    let ios = plan(&run, &extents, count * PAGE);
    run.left.fetch_add(ios.len(), Ordering::AcqRel);
    store.device().submit_all(ios);
    run.part_ended();
    Ok(())
}

fn plan(run: &Arc<Run>, extents: &[Extent], bytes: u64) -> Vec<Io> {
    let mut ios = Vec::new();
    let mut at = 0;
    for extent in extents {
        let len = extent.len.min(bytes - at);
        match extent.place {
            Place::Nowhere => zero(&run.pages, at, at + len),
            Place::Sector(sector) => {
                for page in run
                    .pages
                    .iter()
                    .take(((at + len) / PAGE) as usize)
                    .skip(at.div_ceil(PAGE) as usize)
                {
                    page.set(State::BLOCKS);
                }
                ios.push(Io {
                    op: BlockOp::Read,
                    first_sector: sector,
                    sector_count: len / SECTOR_BYTES,
                    pieces: pieces_of(&run.pages, at, len),
                    done: run.clone(),
                    cookie: 0,
                });
            }
        }
        at += len;
        if at >= bytes {
            break;
        }
    }
    zero(&run.pages, at, bytes);
    ios
}

/// Page `index`, up to date; none behind the end. The call that asks wants `wanted` pages from there on.
///
/// # Errors
/// `EIO`, `ENOMEM`, and those of [`Store::map_read`].
pub(super) fn get(store: &dyn Store, ahead: &ReadAhead, index: u64, wanted: u64) -> Result<Option<Arc<Page>>> {
    let cache = store.cache();
    let mut has_tried = false;
    for _ in 0..TRIES {
        let Some(page) = cache.find(index) else {
            if index >= cache.size().div_ceil(PAGE) {
                return Ok(None);
            }
            let plan = ahead.miss(index, wanted);
            start_read(store, plan.first, plan.count, plan.marker)?;
            continue;
        };
        if page.is(State::AHEAD)
            && page.clear(State::AHEAD).contains(State::AHEAD)
            && let Some(plan) = ahead.marker(index)
        {
            // Only ahead: who needs the pages finds the error.
            let _ = start_read(store, plan.first, plan.count, plan.marker);
        }
        page.wait_while(State::READING);
        if page.is(State::UPTODATE) {
            page.touch();
            return Ok(Some(page));
        }
        // It failed with others, perhaps for them: once more by itself.
        if has_tried {
            return Err(Errno::EIO);
        }
        has_tried = true;
        read_again(store, index, &page)?;
    }
    Err(Errno::EIO)
}

fn read_again(store: &dyn Store, index: u64, page: &Arc<Page>) -> Result<()> {
    let _filling = store.cache().lock_filling();
    {
        let _tree = store.cache().tree.lock();
        if page.is(State::UPTODATE | State::READING | State::GONE) {
            return Ok(());
        }
        page.clear(State::FAILED);
        page.set(State::READING);
    }
    submit(store, index, alloc::vec![page.clone()])
}

/// Reads from `offset` on.
///
/// # Errors
/// `EFAULT`, `EIO`, `ENOMEM`, and those of [`Store::map_read`], when nothing could be read.
pub fn read(store: &dyn Store, ahead: &ReadAhead, to: &mut Sink<'_>, offset: u64) -> Result<usize> {
    let cache = store.cache();
    let mut at = offset;
    let mut done = 0;
    while to.remaining() > 0 {
        let size = cache.size();
        if at >= size {
            break;
        }
        let index = at / PAGE;
        let within = (at % PAGE) as usize;
        let left = (to.remaining() as u64).min(size - at);
        let n = ((PAGE_SIZE - within) as u64).min(left) as usize;
        let step = match get(store, ahead, index, (within as u64 + left).div_ceil(PAGE)) {
            Ok(Some(page)) => to.put_frame(&page.frame, within, n),
            Ok(None) => break,
            Err(e) => Err(e),
        };
        ahead.note(index);
        match step {
            Ok(k) => {
                done += k;
                at += k as u64;
                if k < n {
                    break;
                }
            }
            Err(e) if done == 0 => return Err(e),
            Err(_) => break,
        }
        if done.is_multiple_of(64 * PAGE_SIZE) {
            crate::sched::cond_resched();
        }
    }
    Ok(done)
}
