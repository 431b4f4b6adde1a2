//! The content of a file: page frames by index, holes where there are none.
//!
//! Writers hold `writing` so that appends and truncations are whole; readers and page faults take only the spinning lock
//! of the map, for as long as it takes to find a frame. The size changes with the map locked, so that no page is made behind
//! the end; a truncation takes pages out of every mapping.

use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::string::String;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};

use sis_machine::mm::PAGE_SIZE;
use sis_machine::mm::frames::Frame;
use sis_machine::sync::{Mutex, Rank, SpinLock};

use super::Shared;
use crate::fs::file::Whence;
use crate::user::{Sink, Source};
use crate::vm::{Mappers, PageSource};
use crate::{Errno, Result};

const PAGE: u64 = PAGE_SIZE as u64;

/// Bytes of the largest file.
const SIZE_MAX: u64 = i64::MAX as u64;

/// fallocate: the size stays.
const FALLOC_FL_KEEP_SIZE: u32 = 1;
/// fallocate: give the space back.
const FALLOC_FL_PUNCH_HOLE: u32 = 2;
/// fallocate: make it zeros.
const FALLOC_FL_ZERO_RANGE: u32 = 16;

/// A file's content.
pub(super) struct Pages {
    shared: Arc<Shared>,
    ino: u64,
    size: AtomicU64,
    map: SpinLock<BTreeMap<u64, Frame>>,
    writing: Mutex<()>,
    mappers: Mappers,
}

impl Pages {
    /// Nothing.
    pub(super) fn new(shared: Arc<Shared>, ino: u64) -> Self {
        Self {
            shared,
            ino,
            size: AtomicU64::new(0),
            map: SpinLock::new(Rank::Leaf, BTreeMap::new()),
            writing: Mutex::new(Rank::Inode, ()),
            mappers: Mappers::new(),
        }
    }

    /// Bytes.
    pub(super) fn len(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// Pages in use.
    pub(super) fn page_count(&self) -> usize {
        self.map.lock().len()
    }

    fn find(&self, index: u64) -> Option<Frame> {
        self.map.lock().get(&index).cloned()
    }

    /// Reads from `offset`.
    pub(super) fn read(&self, to: &mut Sink<'_>, offset: u64) -> Result<usize> {
        let mut at = offset;
        let mut done = 0;
        while to.remaining() > 0 {
            let size = self.len();
            if at >= size {
                break;
            }
            let within = (at % PAGE) as usize;
            let n = (PAGE_SIZE - within)
                .min((size - at).min(PAGE) as usize)
                .min(to.remaining());
            let step = match self.find(at / PAGE) {
                Some(frame) => to.put_frame(&frame, within, n),
                None => to.put_zeros(n),
            };
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

    /// Writes at `offset`, or at the end; answers how much, and the offset after it.
    pub(super) fn write(&self, from: &mut Source<'_>, offset: u64, append: bool, most: u64) -> Result<(usize, u64)> {
        let _writing = self.writing.lock();
        let mut at = if append { self.len() } else { offset };
        if from.remaining() == 0 {
            return Ok((0, at));
        }
        if at >= SIZE_MAX.min(most) {
            return Err(Errno::EFBIG);
        }
        let room = SIZE_MAX.min(most) - at;
        from.limit(usize::try_from(room).unwrap_or(usize::MAX));
        let mut done = 0;
        while from.remaining() > 0 {
            let within = (at % PAGE) as usize;
            let n = (PAGE_SIZE - within).min(from.remaining());
            match self.write_page(from, at / PAGE, within, n) {
                Ok(k) => {
                    done += k;
                    at += k as u64;
                    if at > self.len() {
                        self.size.store(at, Ordering::Release);
                    }
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
        Ok((done, at))
    }

    fn write_page(&self, from: &mut Source<'_>, index: u64, within: usize, n: usize) -> Result<usize> {
        if let Some(frame) = self.find(index) {
            return from.take_to_frame(&frame, within, n);
        }
        self.shared.take_page()?;
        let whole = n == PAGE_SIZE;
        let frame = if whole {
            Frame::alloc_user()
        } else {
            Frame::alloc_user_zeroed()
        };
        let taken = match &frame {
            Some(f) => from.take_to_frame(f, within, n),
            None => Err(Errno::ENOSPC),
        };
        let (Some(frame), Ok(taken)) = (frame, taken) else {
            self.shared.give_pages(1);
            return Err(taken.err().unwrap_or(Errno::ENOSPC));
        };
        if taken == 0 {
            self.shared.give_pages(1);
            return Ok(0);
        }
        if whole && taken < n {
            frame.zero_range(within + taken, PAGE_SIZE - within - taken);
        }
        let existing = match self.map.lock().entry(index) {
            Entry::Vacant(v) => {
                v.insert(frame);
                return Ok(taken);
            }
            Entry::Occupied(o) => o.get().clone(),
        };
        // A page fault on a mapping of this file was here first: what was taken goes to its page.
        self.shared.give_pages(1);
        let mut buf = [0u8; 256];
        let mut done = 0;
        while done < taken {
            let step = (taken - done).min(buf.len());
            let Some(part) = buf.get_mut(..step) else { break };
            frame.read(within + done, part);
            existing.write(within + done, part);
            done += step;
        }
        Ok(taken)
    }

    /// Truncates or extends.
    pub(super) fn resize(&self, size: u64) -> Result<()> {
        if size > SIZE_MAX {
            return Err(Errno::EFBIG);
        }
        let _writing = self.writing.lock();
        let (first, gone) = {
            let mut map = self.map.lock();
            let old = self.size.swap(size, Ordering::AcqRel);
            let first = size.div_ceil(PAGE);
            if size >= old {
                return Ok(());
            }
            (first, map.split_off(&first))
        };
        self.shared.give_pages(gone.len());
        self.mappers.unmap(first, u64::MAX);
        drop(gone);
        self.clear_tail(size);
        Ok(())
    }

    /// Zeroes what lies behind `size` in its page: it is read again if the file grows.
    fn clear_tail(&self, size: u64) {
        let within = (size % PAGE) as usize;
        if within != 0
            && let Some(frame) = self.find(size / PAGE)
        {
            frame.zero_range(within, PAGE_SIZE - within);
        }
    }

    /// fallocate(2).
    pub(super) fn allocate(&self, mode: u32, offset: u64, len: u64) -> Result<()> {
        let end = offset.checked_add(len).filter(|e| *e <= SIZE_MAX).ok_or(Errno::EFBIG)?;
        if mode & !(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE) != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let _writing = self.writing.lock();
        if mode & FALLOC_FL_PUNCH_HOLE != 0 {
            if mode != FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE {
                return Err(Errno::EOPNOTSUPP);
            }
            self.punch(offset, end);
            return Ok(());
        }
        if mode & FALLOC_FL_ZERO_RANGE != 0 {
            self.punch(offset, end);
        }
        for index in offset / PAGE..end.div_ceil(PAGE) {
            self.get_or_make(index, true)?;
            if index % 64 == 0 {
                crate::sched::cond_resched();
            }
        }
        if mode & FALLOC_FL_KEEP_SIZE == 0 && end > self.len() {
            self.size.store(end, Ordering::Release);
        }
        Ok(())
    }

    /// Makes a range zeros, giving whole pages back.
    fn punch(&self, offset: u64, end: u64) {
        let (first, last) = (offset.div_ceil(PAGE), end / PAGE);
        if first > last {
            if let Some(f) = self.find(offset / PAGE) {
                f.zero_range((offset % PAGE) as usize, (end - offset) as usize);
            }
            return;
        }
        if !offset.is_multiple_of(PAGE)
            && let Some(f) = self.find(offset / PAGE)
        {
            let within = (offset % PAGE) as usize;
            f.zero_range(within, PAGE_SIZE - within);
        }
        if !end.is_multiple_of(PAGE)
            && let Some(f) = self.find(last)
        {
            f.zero_range(0, (end % PAGE) as usize);
        }
        let gone = {
            let mut map = self.map.lock();
            let mut gone = map.split_off(&first);
            let mut behind = gone.split_off(&last);
            map.append(&mut behind);
            gone
        };
        self.shared.give_pages(gone.len());
        self.mappers.unmap(first, last);
    }

    /// The page, made if it is a hole; `EFAULT` behind the end of the file, unless it may be there.
    fn get_or_make(&self, index: u64, even_behind: bool) -> Result<Frame> {
        let is_behind = || !even_behind && index >= self.len().div_ceil(PAGE);
        {
            let map = self.map.lock();
            if is_behind() {
                return Err(Errno::EFAULT);
            }
            if let Some(f) = map.get(&index) {
                return Ok(f.clone());
            }
        }
        self.shared.take_page()?;
        let Some(frame) = Frame::alloc_user_zeroed() else {
            self.shared.give_pages(1);
            return Err(Errno::ENOSPC);
        };
        let mut map = self.map.lock();
        if is_behind() {
            drop(map);
            self.shared.give_pages(1);
            return Err(Errno::EFAULT);
        }
        match map.entry(index) {
            Entry::Vacant(v) => {
                v.insert(frame.clone());
                Ok(frame)
            }
            Entry::Occupied(o) => {
                self.shared.give_pages(1);
                Ok(o.get().clone())
            }
        }
    }

    /// lseek(2); `ENXIO` for data and holes behind the end.
    pub(super) fn seek(&self, current: u64, offset: i64, whence: Whence) -> Result<u64> {
        let size = self.len();
        let from = match whence {
            Whence::Start => 0,
            Whence::Current => current,
            Whence::End => size,
            Whence::Data | Whence::Hole => {
                let offset = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
                if offset >= size {
                    return Err(Errno::ENXIO);
                }
                return self.seek_content(offset, size, whence);
            }
        };
        from.checked_add_signed(offset)
            .filter(|p| *p <= SIZE_MAX)
            .ok_or(Errno::EINVAL)
    }

    fn seek_content(&self, offset: u64, size: u64, whence: Whence) -> Result<u64> {
        let map = self.map.lock();
        let first = offset / PAGE;
        if whence == Whence::Data {
            let (found, _) = map.range(first..).next().ok_or(Errno::ENXIO)?;
            let at = offset.max(found.saturating_mul(PAGE));
            return if at < size { Ok(at) } else { Err(Errno::ENXIO) };
        }
        let mut hole = first;
        for (index, _) in map.range(first..) {
            if *index != hole {
                break;
            }
            hole += 1;
        }
        Ok(offset.max(hole.saturating_mul(PAGE)).min(size))
    }
}

impl PageSource for Pages {
    fn page(&self, index: u64, _write: bool) -> Result<Frame> {
        self.get_or_make(index, false)
    }

    fn mappers(&self) -> Option<&Mappers> {
        Some(&self.mappers)
    }

    fn size(&self) -> u64 {
        self.len()
    }

    fn name(&self) -> String {
        alloc::format!("/tmpfs:[{}]", self.ino)
    }

    fn identity(&self) -> (u64, u64) {
        (self.shared.device, self.ino)
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.shared.give_pages(self.map.get_mut().len());
    }
}
