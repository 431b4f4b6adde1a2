//! Changing pages.

use alloc::sync::Arc;

use sis_machine::mm::PAGE_SIZE;
use sis_machine::mm::frames::Frame;

use super::page::{Page, State};
use super::read::get;
use super::{FileCache, PAGE, Place, ReadAhead, Room, Store, flusher, reclaim};
use crate::user::Source;
use crate::{Errno, Result};

/// Bytes of the longest file (Linux's MAX_LFS_FILESIZE).
const SIZE_MAX: u64 = i64::MAX as u64;
/// Pages between looks at how much waits to be written.
const STEP: usize = 64;

/// Room that has been looked up for pages that are not changed yet.
struct Ready {
    next: u64,
    end: u64,
    room: Room,
}

impl Ready {
    fn take(&mut self, store: &dyn Store, page: Option<&Page>, index: u64, wanted: u64) -> Result<Option<Room>> {
        if index != self.next || index >= self.end {
            self.give_back(store);
            if page.is_some_and(|p| p.is(State::ROOM)) {
                return Ok(None);
            }
            let (count, room) = match store.reserve(index, wanted.clamp(1, STEP as u64)) {
                // Some of the pages may have room already, and the last block is there to be used.
                Err(Errno::ENOSPC) => store.reserve(index, 1)?,
                other => other?,
            };
            *self = Self {
                next: index,
                end: index + count.max(1),
                room,
            };
        }
        self.next += 1;
        Ok(Some(self.room))
    }

    fn give_back(&mut self, store: &dyn Store) {
        if self.room == Room::Promise && self.next < self.end {
            store.release(self.end - self.next);
        }
        self.next = self.end;
    }
}

/// Writes at `offset`, or with `append` at the end, at most up to byte `most` of the file; answers how much, and the
/// offset after it. `writing` is held by the caller.
///
/// # Errors
/// `EFAULT`, `EFBIG`, `ENOSPC`, `EIO`, `ENOMEM` and those of the store, when nothing could be written.
pub fn write(store: &dyn Store, from: &mut Source<'_>, offset: u64, append: bool, most: u64) -> Result<(usize, u64)> {
    let cache = store.cache();
    let mut at = if append { cache.size() } else { offset };
    if from.remaining() == 0 {
        return Ok((0, at));
    }
    let most = most.min(SIZE_MAX);
    if at >= most {
        return Err(Errno::EFBIG);
    }
    from.limit(usize::try_from(most - at).unwrap_or(usize::MAX));
    if at > cache.size() {
        cache.clear_tail(cache.size());
    }
    cache.begin_write(at.saturating_add(from.remaining() as u64));
    let mut ready = Ready {
        next: 0,
        end: 0,
        room: Room::Blocks,
    };
    let mut done = 0;
    let mut pages = 0;
    let mut failure = None;
    while from.remaining() > 0 {
        let within = (at % PAGE) as usize;
        let n = (PAGE_SIZE - within).min(from.remaining());
        match write_page(store, from, &mut ready, at / PAGE, within, n) {
            Ok(k) => {
                done += k;
                at += k as u64;
                if k < n {
                    break;
                }
            }
            Err(e) => {
                failure = Some(e);
                break;
            }
        }
        pages += 1;
        if pages % STEP == 0 {
            flusher::throttle();
            crate::sched::cond_resched();
            if crate::process::thread::kill_pending() {
                break;
            }
        }
    }
    cache.end_write();
    ready.give_back(store);
    flusher::throttle();
    match failure {
        Some(e) if done == 0 => Err(e),
        _ => Ok((done, at)),
    }
}

fn write_page(
    store: &dyn Store,
    from: &mut Source<'_>,
    ready: &mut Ready,
    index: u64,
    within: usize,
    n: usize,
) -> Result<usize> {
    let cache = store.cache();
    let wanted = ((within + from.remaining()) as u64).div_ceil(PAGE);
    loop {
        match cache.find(index) {
            Some(page) if page.is(State::READING) => page.wait_while(State::READING),
            Some(page) if page.is(State::UPTODATE) => {
                let room = ready.take(store, Some(&page), index, wanted)?;
                let taken = from.take_to_frame(&page.frame, within, n);
                // Also a copy that failed in the middle may have changed some.
                let size = taken.as_ref().map_or(0, |k| end_of(index, within, *k));
                changed(store, index, &page, room, size);
                return taken;
            }
            Some(page) if page.is(State::GONE) => {}
            found => {
                let start = index * PAGE;
                let is_new = found.is_none() && (n == PAGE_SIZE || start >= cache.size());
                if is_new {
                    return write_fresh(store, from, ready, (index, wanted), within, n);
                }
                if found.is_some() || start < cache.size() {
                    // Its rest is needed.
                    get(store, &ReadAhead::new(), index, 1)?;
                }
            }
        }
    }
}

/// Where `n` bytes end that have been put at byte `within` of a page; 0 for none.
fn end_of(index: u64, within: usize, n: usize) -> u64 {
    if n == 0 { 0 } else { index * PAGE + (within + n) as u64 }
}

/// A page has been changed, and the file is at least `size` bytes long.
fn changed(store: &dyn Store, index: u64, page: &Page, room: Option<Room>, size: u64) {
    let (_, is_spare) = store.cache().mark_dirty(index, page, room, size);
    if is_spare {
        store.release(1);
    }
}

/// A page that is overwritten whole, or that lies behind the end: nothing has to be read.
fn write_fresh(
    store: &dyn Store,
    from: &mut Source<'_>,
    ready: &mut Ready,
    (index, wanted): (u64, u64),
    within: usize,
    n: usize,
) -> Result<usize> {
    let cache = store.cache();
    let room = ready.take(store, None, index, wanted)?;
    let unused = |e: Errno| {
        if room == Some(Room::Promise) {
            store.release(1);
        }
        e
    };
    let frame = reclaim::new_frame(true).ok_or(Errno::ENOMEM).map_err(unused)?;
    if n < PAGE_SIZE {
        frame.zero_range(0, within);
        frame.zero_range(within + n, PAGE_SIZE - within - n);
    }
    let taken = from.take_to_frame(&frame, within, n).map_err(unused)?;
    if taken < n {
        frame.zero_range(within + taken, n - taken);
    }
    let is_behind = index * PAGE >= cache.size();
    if taken == 0 || (taken < n && !is_behind) {
        // What was there before is needed after all.
        let _ = unused(Errno::EFAULT);
        return if taken == 0 {
            Ok(0)
        } else {
            merge(store, index, &frame, within, taken)
        };
    }
    let page = Arc::new(Page::new(frame, State::UPTODATE));
    match cache.insert(index, &page, true) {
        Some((_, true)) => {
            changed(store, index, &page, room, end_of(index, within, taken));
            Ok(taken)
        }
        _ => {
            // A reader was here first.
            let _ = unused(Errno::EAGAIN);
            merge(store, index, &page.frame, within, taken)
        }
    }
}

/// Puts bytes that have been taken already into the page that is there.
fn merge(store: &dyn Store, index: u64, bytes: &Frame, within: usize, n: usize) -> Result<usize> {
    let page = get(store, &ReadAhead::new(), index, 1)?.ok_or(Errno::EIO)?;
    let room = FileCache::room_for(store, &page, index)?;
    let mut buf = [0u8; 256];
    let mut done = 0;
    while done < n {
        let step = (n - done).min(buf.len());
        let Some(part) = buf.get_mut(..step) else { break };
        bytes.read(within + done, part);
        page.frame.write(within + done, part);
        done += step;
    }
    changed(store, index, &page, room, end_of(index, within, n));
    Ok(n)
}

/// Truncates or extends; `free` does it in the store. `writing` is held by the caller.
///
/// # Errors
/// `EFBIG`, `EIO`, and those of `free`.
pub fn set_size(store: &dyn Store, size: u64, free: impl FnOnce() -> Result<()>) -> Result<()> {
    if size > SIZE_MAX {
        return Err(Errno::EFBIG);
    }
    let cache = store.cache();
    let index = size / PAGE;
    let mut tail = None;
    if size < cache.size() && !size.is_multiple_of(PAGE) {
        // Its rest must be zeros on the disk too.
        tail = get(store, &ReadAhead::new(), index, 1)?;
    }
    cache.resize(size, free)?;
    if let Some(page) = tail {
        zeroed(store, index, &page)?;
    }
    Ok(())
}

/// Part of a page has become zeros: it must be written, unless nothing of it is on the disk and it reads as zeros anyway.
fn zeroed(store: &dyn Store, index: u64, page: &Page) -> Result<()> {
    let is_on_its_way = page.is(State::DIRTY | State::WRITEBACK);
    if !is_on_its_way && store.map_read(index, 1)?.iter().all(|e| e.place == Place::Nowhere) {
        return Ok(());
    }
    let room = FileCache::room_for(store, page, index)?;
    changed(store, index, page, room, 0);
    Ok(())
}

/// Makes bytes `from..to` inside the file zeros where they lie in pages that are not wholly inside. `writing` is held by
/// the caller, who does the whole pages `first..last` that this answers.
///
/// # Errors
/// `EIO`, `ENOMEM`, `ENOSPC`.
pub fn zero_edges(store: &dyn Store, from: u64, to: u64) -> Result<(u64, u64)> {
    let (first, last) = (from.div_ceil(PAGE), to / PAGE);
    let mut parts = [None, None];
    if first > last {
        parts = [Some((from, to)), None];
    } else {
        if !from.is_multiple_of(PAGE) {
            parts[0] = Some((from, first * PAGE));
        }
        if !to.is_multiple_of(PAGE) {
            parts[1] = Some((last * PAGE, to));
        }
    }
    for (from, to) in parts.into_iter().flatten() {
        let index = from / PAGE;
        if let Some(page) = get(store, &ReadAhead::new(), index, 1)? {
            page.frame.zero_range((from % PAGE) as usize, (to - from) as usize);
            zeroed(store, index, &page)?;
        }
    }
    Ok((first, last.max(first)))
}
