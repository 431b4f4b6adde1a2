//! Giving memory back.
//!
//! Pages are looked at in rounds, file by file. One that has been used since the last look gets another round; a clean
//! one that nobody else has goes. Mapped pages are taken out of the address spaces when nothing else is left.

use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use sis_machine::mm::frames::{Frame, free_frames, reserve_frames, total_frames};
use sis_machine::sync::{Rank, SpinLock};

use super::page::{Page, State};
use super::{FileCache, Store, flusher};
use crate::fs::mount;
use crate::process::{self, thread};

/// Files with pages, and the page at which the look at the first goes on.
struct Files {
    list: VecDeque<Weak<dyn Store>>,
    hand: u64,
}

static FILES: SpinLock<Files> = SpinLock::new(
    Rank::Files,
    Files {
        list: VecDeque::new(),
        hand: 0,
    },
);
/// Pages given back since boot.
static RECLAIMED: AtomicU64 = AtomicU64::new(0);

/// Pages looked at with a file's tree locked.
const LOOK: usize = 256;
/// Pages given back at once when the cache itself needs memory.
const BATCH: usize = 64;
/// How often a frame is asked for, with a pause of a millisecond between, before the caller is told that there is none.
const TRIES: usize = 10_000;

/// The cache leaves so many frames free beyond the reserve, for programs.
fn margin() -> usize {
    (total_frames() / 64).clamp(128, 4096)
}

/// Enters a file that has pages.
pub(super) fn list(cache: &FileCache) {
    if !cache.is_listed.load(Ordering::Relaxed) && !cache.is_listed.swap(true, Ordering::AcqRel) {
        FILES.lock().list.push_back(cache.weak_store().clone());
    }
}

/// Pages given back since boot.
pub fn reclaimed() -> u64 {
    RECLAIMED.load(Ordering::Relaxed)
}

/// A frame for a page of the cache, which makes room for it among its own pages. `is_needed`: somebody waits for this
/// page; others are only read ahead.
pub(super) fn new_frame(is_needed: bool) -> Option<Frame> {
    if free_frames() <= reserve_frames() + margin() && reclaim(BATCH) == 0 {
        if !is_needed {
            return None;
        }
        // Many at once: to find that there is nothing else takes long.
        evict_mapped(8 * BATCH);
    }
    for _ in 0..TRIES {
        if let Some(frame) = Frame::alloc_user() {
            return Some(frame);
        }
        // Locks before those of address spaces may be held, which no killed process needs to get rid of its memory.
        if !is_needed || thread::kill_pending() || !process::oom_kill() {
            return None;
        }
    }
    None
}

/// Gives up to `wanted` clean pages back that nobody uses; how many. Takes spinning locks only.
pub fn reclaim(wanted: usize) -> usize {
    let u = flusher::usage();
    let mut looks = 2 * (u.files + u.disks) / LOOK + 2 * file_count() + 2;
    let mut freed = 0;
    while freed < wanted && looks > 0 {
        looks -= 1;
        let Some((store, hand)) = next_file() else { break };
        let (n, hand) = look(store.cache(), hand, wanted - freed);
        freed += n;
        advance(&store, hand);
    }
    RECLAIMED.fetch_add(freed as u64, Ordering::Relaxed);
    freed
}

fn file_count() -> usize {
    FILES.lock().list.len()
}

fn next_file() -> Option<(Arc<dyn Store>, u64)> {
    let mut files = FILES.lock();
    loop {
        let first = files.list.front()?;
        if let Some(store) = first.upgrade() {
            return Some((store, files.hand));
        }
        files.list.pop_front();
        files.hand = 0;
    }
}

/// The look at `store` has come to page `hand`; `None`: to its end.
fn advance(store: &Arc<dyn Store>, hand: Option<u64>) {
    let mut files = FILES.lock();
    let is_it = files
        .list
        .front()
        .is_some_and(|f| core::ptr::addr_eq(f.as_ptr(), Arc::as_ptr(store)));
    if !is_it {
        return;
    }
    match hand {
        Some(hand) => files.hand = hand,
        None => {
            files.hand = 0;
            if let Some(first) = files.list.pop_front() {
                let cache = store.cache();
                if cache.tree.lock().pages.is_empty() {
                    cache.is_listed.store(false, Ordering::Release);
                } else {
                    files.list.push_back(first);
                }
            }
        }
    }
}

/// Whether nobody but the tree has the page, which needs no writing. The tree is locked.
fn is_free(page: &Arc<Page>) -> bool {
    !page.is(State::DIRTY | State::WRITEBACK | State::READING | State::PROMISED)
        && Arc::strong_count(page) == 1
        && page.frame.ref_count() == 1
}

fn look(cache: &FileCache, from: u64, wanted: usize) -> (usize, Option<u64>) {
    let mut gone: Vec<Arc<Page>> = Vec::new();
    let mut hand = None;
    {
        let mut tree = cache.tree.lock();
        let mut indexes: Vec<u64> = Vec::new();
        for (seen, (index, page)) in tree.pages.range(from..).enumerate() {
            if seen == LOOK || indexes.len() == wanted {
                hand = Some(*index);
                break;
            }
            if page.is(State::USED) {
                page.clear(State::USED);
            } else if is_free(page) {
                indexes.push(*index);
            }
        }
        for index in &indexes {
            gone.extend(tree.pages.remove(index));
        }
    }
    flusher::count_cached(cache.is_disk(), -(gone.len() as isize));
    (gone.len(), hand)
}

/// Takes clean pages out of the address spaces that map them, and gives them back. Takes address spaces' locks.
pub(super) fn evict_mapped(wanted: usize) -> usize {
    let mut left = file_count() + 1;
    let mut freed = 0;
    while freed < wanted && left > 0 {
        left -= 1;
        let Some((store, hand)) = next_file() else { break };
        let cache = store.cache();
        let mut from = Some(hand);
        if cache.mappers().is_empty() {
            from = None;
        }
        while let Some(at) = from
            && freed < wanted
        {
            let (n, next) = evict_some(cache, at);
            freed += n;
            from = next;
        }
        advance(&store, from);
    }
    RECLAIMED.fetch_add(freed as u64, Ordering::Relaxed);
    freed
}

/// Takes some clean pages from `at` on out of the address spaces, and gives them back. How many, and where to go on.
fn evict_some(cache: &FileCache, at: u64) -> (usize, Option<u64>) {
    let busy = State::DIRTY | State::WRITEBACK | State::READING | State::PROMISED;
    let (pages, next) = {
        let tree = cache.tree.lock();
        let mut seen = tree.pages.range(at..);
        let some = seen.by_ref().take(LOOK).filter(|(_, p)| !p.is(busy));
        let pages: Vec<(u64, Frame)> = some.map(|(n, p)| (*n, p.frame.clone())).collect();
        (pages, seen.next().map(|(n, _)| *n))
    };
    let (Some((first, _)), Some((last, _))) = (pages.first(), pages.last()) else {
        return (0, next);
    };
    let (first, last) = (*first, *last + 1);
    let frame_of = |index: u64| {
        let at = pages.binary_search_by_key(&index, |(n, _)| *n).ok()?;
        pages.get(at).map(|(_, f)| f.clone())
    };
    cache.mappers().evict(first, last, &frame_of);
    drop(pages);
    (drop_pages(cache, first, last), next)
}

/// Gives clean pages `first..last` of a file back that nobody uses; how many.
pub(super) fn drop_pages(cache: &FileCache, first: u64, last: u64) -> usize {
    let mut from = first;
    let mut freed = 0;
    loop {
        let mut gone: Vec<Arc<Page>> = Vec::new();
        let mut next = None;
        {
            let mut tree = cache.tree.lock();
            let mut indexes: Vec<u64> = Vec::new();
            for (seen, (index, page)) in tree.pages.range(from..last.max(from)).enumerate() {
                if seen == LOOK {
                    next = Some(*index);
                    break;
                }
                if is_free(page) {
                    indexes.push(*index);
                }
            }
            for index in &indexes {
                gone.extend(tree.pages.remove(index));
            }
        }
        flusher::count_cached(cache.is_disk(), -(gone.len() as isize));
        freed += gone.len();
        match next {
            Some(index) => from = index,
            None => return freed,
        }
    }
}

/// For want of memory, before anything is killed: gives pages back, mapped ones where no others are left, writing them where nothing clean is left. Whether an
/// allocation may be tried again. The caller holds no lock from address spaces on.
pub fn make_room() -> bool {
    reclaim(4 * BATCH) > 0 || evict_mapped(8 * BATCH) > 0 || mount::prune_names(0) > 0 || flusher::push()
}

/// Gives every clean page back that is not in use (/proc/sys/vm/drop_caches).
pub fn drop_clean() {
    // The first round takes the marks of use away.
    for _ in 0..2 {
        while reclaim(usize::MAX) > 0 {
            crate::sched::cond_resched();
        }
    }
}
