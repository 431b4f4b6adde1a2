//! Changing what is mapped.

use alloc::sync::Arc;

use super::area::{Area, Backing, Protection};
use super::shared::SharedMemory;
use super::{HIGHEST, Inner, LOWEST, PAGE, PageSource, Vm};
use crate::{Errno, Result};

/// Most areas of one space (vm.max_map_count): Linux's number, or fewer where they would fill a small machine's memory.
pub fn most_areas() -> usize {
    (sis_machine::mm::frames::total_frames() / 8).min(65530)
}

/// Where a mapping goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Anywhere; there if it is free.
    Hint(usize),
    /// Exactly there, in place of what is mapped (MAP_FIXED).
    Fixed(usize),
    /// Exactly there, or `EEXIST` (MAP_FIXED_NOREPLACE).
    FixedIfFree(usize),
}

/// A mapping to be made.
pub struct MapRequest {
    /// Where.
    pub place: Place,
    /// Bytes; rounded up to pages.
    pub len: usize,
    /// What the program may do.
    pub protection: Protection,
    /// Where the pages come from.
    pub backing: Backing,
    /// Shown in /proc/PID/maps for anonymous memory.
    pub label: &'static str,
    /// Rules that it must keep.
    pub rules: Rules,
}

/// What bounds a mapping besides the address space.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Bytes that all mappings of the space may have together (RLIMIT_AS).
    pub limit: u64,
    /// More private memory than the machine has is refused; false with MAP_NORESERVE.
    pub is_reserved: bool,
    /// mprotect(2) may make it writable: not for a shared mapping of a file opened only for reading.
    pub may_write: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            limit: u64::MAX,
            is_reserved: true,
            may_write: true,
        }
    }
}

/// Memory of `len` bytes that children will share, to be mapped.
///
/// # Errors
/// `ENOMEM`.
pub fn shared_anonymous(len: usize) -> Result<Backing> {
    let size = page_up(len).ok_or(Errno::ENOMEM)?;
    Ok(Backing::Shared(Arc::new(SharedMemory::new(size)), 0))
}

fn page_up(n: usize) -> Option<usize> {
    Some(n.checked_add(PAGE - 1)? & !(PAGE - 1))
}

impl Vm {
    /// Maps; answers where.
    ///
    /// # Errors
    /// `EINVAL` (length 0, misaligned, outside), `ENOMEM`, `EEXIST`, `EACCES` (writable and executable at once).
    pub fn map(&self, request: MapRequest) -> Result<usize> {
        self.inner.lock().map(request)
    }

    /// Maps anonymous private memory.
    ///
    /// # Errors
    /// As [`Self::map`].
    pub fn map_anonymous(
        &self,
        place: Place,
        len: usize,
        protection: Protection,
        label: &'static str,
    ) -> Result<usize> {
        self.map(MapRequest {
            place,
            len,
            protection,
            backing: Backing::Anonymous,
            label,
            rules: Rules::default(),
        })
    }

    /// Maps a file privately or shared, from `offset` (a multiple of the page size) on.
    ///
    /// # Errors
    /// As [`Self::map`].
    pub fn map_file(
        &self,
        place: Place,
        len: usize,
        protection: Protection,
        is_shared: bool,
        source: Arc<dyn PageSource>,
        offset: u64,
    ) -> Result<usize> {
        if !offset.is_multiple_of(PAGE as u64) {
            return Err(Errno::EINVAL);
        }
        let first = offset / PAGE as u64;
        let backing = if is_shared {
            Backing::Shared(source, first)
        } else {
            Backing::Private(source, first)
        };
        self.map(MapRequest {
            place,
            len,
            protection,
            backing,
            label: "",
            rules: Rules::default(),
        })
    }

    /// Unmaps every page that `start..start + len` touches.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn unmap(&self, start: usize, len: usize) -> Result<()> {
        let end = range_end(start, len)?;
        let mut inner = self.inner.lock();
        // A hole in the middle of an area makes two of one.
        if inner.areas.cuts(start, end) == 2 {
            inner.check_areas(1)?;
        }
        let gone = inner.areas.remove(start, end);
        inner.space.unmap_range(start, end);
        drop(inner);
        drop(gone);
        Ok(())
    }

    /// Changes what the program may do with a range.
    ///
    /// # Errors
    /// `EINVAL`, `ENOMEM` (part of it is not mapped), `EACCES` (writable and executable at once, or the kernel's pages).
    pub fn protect(&self, start: usize, len: usize, protection: Protection) -> Result<()> {
        if len == 0 {
            return if start.is_multiple_of(PAGE) {
                Ok(())
            } else {
                Err(Errno::EINVAL)
            };
        }
        let end = range_end(start, len)?;
        refuse_write_exec(protection)?;
        let mut inner = self.inner.lock();
        if !inner.areas.covers(start, end) {
            return Err(Errno::ENOMEM);
        }
        inner.check_areas(inner.areas.cuts(start, end))?;
        if protection.write
            && inner
                .areas
                .iter()
                .any(|(s, a)| s < end && a.end > start && matches!(a.backing, Backing::Kernel(..)))
        {
            return Err(Errno::EACCES);
        }
        if protection.write
            && inner
                .areas
                .iter()
                .any(|(s, a)| s < end && a.end > start && !a.may_write)
        {
            return Err(Errno::EACCES);
        }
        for (at, mut area) in inner.areas.remove(start, end) {
            area.protection = protection;
            inner.areas.insert(at, area);
        }
        let rights = protection.to_table();
        // Stores fault once more: only then is it known whether the page must be copied.
        inner
            .space
            .protect_range(start, end, |now| sis_machine::mm::uspace::Prot {
                write: now.write && rights.write && now.read,
                ..rights
            });
        Ok(())
    }

    /// brk(2): moves the end of the heap; answers where it is then, which is the old place when it cannot move.
    pub fn brk(&self, to: usize, limit: u64, address_limit: u64) -> usize {
        let mut inner = self.inner.lock();
        let (start, now) = (inner.brk_start, inner.brk);
        let (Some(old_end), Some(new_end)) = (page_up(now), page_up(to)) else {
            return now;
        };
        if to < start || (to - start) as u64 > limit || new_end > HIGHEST {
            return now;
        }
        if new_end > old_end {
            let request = MapRequest {
                place: Place::FixedIfFree(old_end),
                len: new_end - old_end,
                protection: Protection::READ_WRITE,
                backing: Backing::Anonymous,
                label: "",
                rules: Rules {
                    limit: address_limit,
                    ..Rules::default()
                },
            };
            if inner.map(request).is_err() {
                return now;
            }
        } else if new_end < old_end {
            let _ = inner.areas.remove(new_end, old_end);
            inner.space.unmap_range(new_end, old_end);
        }
        inner.brk = to;
        to
    }

    /// Says where the heap begins; for exec.
    pub fn set_brk_start(&self, start: usize) {
        let mut inner = self.inner.lock();
        inner.brk_start = start;
        inner.brk = start;
    }

    /// Says below what mappings are placed; for exec, before the first mapping.
    pub fn set_mmap_top(&self, top: usize) {
        self.inner.lock().mmap_top = top & !(PAGE - 1);
    }

    /// Maps the vDSO and its data; answers the address of its ELF header.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn map_vdso(&self) -> Result<usize> {
        let Some(v) = sis_machine::vdso::get() else {
            return Ok(0);
        };
        let len = (v.pages.len() + 1) * PAGE;
        let mut inner = self.inner.lock();
        let base = inner.map(MapRequest {
            place: Place::Hint(0),
            len,
            protection: Protection {
                read: true,
                write: false,
                exec: false,
            },
            backing: Backing::Kernel(core::iter::once(v.vvar.clone()).collect(), "[vvar]"),
            label: "",
            rules: Rules::default(),
        })?;
        inner.map(MapRequest {
            place: Place::Fixed(base + PAGE),
            len: len - PAGE,
            protection: Protection {
                read: true,
                write: false,
                exec: true,
            },
            backing: Backing::Kernel(v.pages.iter().cloned().collect(), "[vdso]"),
            label: "",
            rules: Rules::default(),
        })?;
        inner.vdso = base + PAGE;
        Ok(base + PAGE)
    }

    /// mremap(2). `fixed` is MREMAP_FIXED's address.
    ///
    /// # Errors
    /// `EINVAL`, `EFAULT` (not one mapping), `ENOMEM`.
    pub fn remap(
        &self,
        old: usize,
        old_len: usize,
        new_len: usize,
        may_move: bool,
        fixed: Option<usize>,
        address_limit: u64,
    ) -> Result<usize> {
        let old_len = page_up(old_len).ok_or(Errno::EINVAL)?;
        let new_len = page_up(new_len).filter(|n| *n > 0).ok_or(Errno::EINVAL)?;
        if !old.is_multiple_of(PAGE) || old_len == 0 {
            return Err(Errno::EINVAL);
        }
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let (start, area) = inner.areas.find(old).ok_or(Errno::EFAULT)?;
        let old_end = old
            .checked_add(old_len)
            .filter(|e| *e <= area.end)
            .ok_or(Errno::EFAULT)?;
        let mut front = area.clone();
        let moved = if old > start { front.split_at(start, old) } else { front };
        if fixed.is_none() && new_len <= old_len {
            let gone = inner.areas.remove(old + new_len, old_end);
            inner.space.unmap_range(old + new_len, old_end);
            drop(gone);
            return Ok(old);
        }
        if fixed.is_none()
            && area.end == old_end
            && inner.areas.is_free(old_end, old.saturating_add(new_len))
            && old.checked_add(new_len).is_some_and(|e| e <= HIGHEST)
            && !matches!(moved.backing, Backing::Kernel(..))
        {
            inner.check_limit(new_len - old_len, address_limit)?;
            let mut parts = inner.areas.remove(old, old_end);
            if let Some((at, mut a)) = parts.pop() {
                a.end = old + new_len;
                inner.areas.insert(at, a);
            }
            return Ok(old);
        }
        if !may_move {
            return Err(Errno::ENOMEM);
        }
        // Elsewhere: an area of the same kind, and the pages moved into it.
        if let Some(to) = fixed {
            let to_end = to.checked_add(new_len).filter(|e| *e <= HIGHEST).ok_or(Errno::EINVAL)?;
            if !to.is_multiple_of(PAGE) || to < LOWEST || (to < old_end && old < to_end) {
                return Err(Errno::EINVAL);
            }
        }
        // The old range stays taken while a new one is looked for: the two must not overlap.
        let target = inner.map(MapRequest {
            place: fixed.map_or(Place::Hint(0), Place::Fixed),
            len: new_len,
            protection: moved.protection,
            backing: moved.backing,
            label: moved.label,
            rules: Rules {
                limit: address_limit,
                // What is moved has been reserved, or was not to be.
                is_reserved: new_len > old_len,
                may_write: moved.may_write,
            },
        })?;
        if inner.space.move_range(old, target, old_len.min(new_len)).is_err() {
            let gone = inner.areas.remove(target, target + new_len);
            drop(gone);
            return Err(Errno::ENOMEM);
        }
        let gone = inner.areas.remove(old, old_end);
        inner.space.unmap_range(old, old_end);
        drop(gone);
        Ok(target)
    }

    /// Gives the frames of private anonymous pages back (MADV_DONTNEED); they read as zeros then. Other pages are
    /// dropped and come back from their object.
    ///
    /// # Errors
    /// `ENOMEM` when part of the range is not mapped.
    pub fn discard(&self, start: usize, len: usize) -> Result<()> {
        let end = range_end(start, len)?;
        let mut inner = self.inner.lock();
        let all = inner.areas.covers(start, end);
        inner.space.unmap_range(start, end);
        if all { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    /// Has the objects that a range maps shared written to where they are kept (msync(2)); with `wait`, until they are
    /// safe there.
    ///
    /// # Errors
    /// `EINVAL`, `ENOMEM` when part of the range is not mapped (the rest is written), and failures of writing.
    pub fn sync(&self, start: usize, len: usize, wait: bool) -> Result<()> {
        let end = range_end(start, len)?;
        let (all, parts) = {
            let inner = self.inner.lock();
            let mut parts = alloc::vec::Vec::new();
            for (at, area) in inner.areas.iter().filter(|(at, a)| *at < end && a.end > start) {
                let Some((source, page)) = area.source().filter(|_| area.is_shared()) else {
                    continue;
                };
                let (from, to) = (start.max(at), end.min(area.end));
                let first = page + ((from - at) / PAGE) as u64;
                parts.push((source.clone(), first, first + ((to - from) / PAGE) as u64));
            }
            (inner.areas.covers(start, end), parts)
        };
        for (source, first, last) in parts {
            source.sync(first, last, wait)?;
        }
        if all { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    /// Whether every page of a range is mapped by the program.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn is_mapped(&self, start: usize, len: usize) -> Result<bool> {
        let end = range_end(start, len)?;
        Ok(self.inner.lock().areas.covers(start, end))
    }

    /// Whether the page has a frame (mincore(2)).
    pub fn is_resident(&self, page: usize) -> bool {
        self.inner.lock().space.query(page).is_some()
    }

    /// Keeps a range out of children (MADV_DONTFORK) or puts it back.
    ///
    /// # Errors
    /// `EINVAL`, `ENOMEM`.
    pub fn set_skip_fork(&self, start: usize, len: usize, skip: bool) -> Result<()> {
        let end = range_end(start, len)?;
        let mut inner = self.inner.lock();
        if !inner.areas.covers(start, end) {
            return Err(Errno::ENOMEM);
        }
        inner.check_areas(inner.areas.cuts(start, end))?;
        for (at, mut area) in inner.areas.remove(start, end) {
            area.skip_fork = skip;
            inner.areas.insert(at, area);
        }
        Ok(())
    }
}

/// End of a page-aligned range; `EINVAL`.
fn range_end(start: usize, len: usize) -> Result<usize> {
    let end = page_up(len).and_then(|l| start.checked_add(l)).ok_or(Errno::EINVAL)?;
    if !start.is_multiple_of(PAGE) || len == 0 || end > HIGHEST {
        return Err(Errno::EINVAL);
    }
    Ok(end)
}

/// Nothing is writable and executable at once.
fn refuse_write_exec(p: Protection) -> Result<()> {
    if p.write && p.exec { Err(Errno::EACCES) } else { Ok(()) }
}

impl Inner {
    /// `ENOMEM` when there is no room for `more` areas.
    fn check_areas(&self, more: usize) -> Result<()> {
        if self.areas.len() + more > most_areas() {
            Err(Errno::ENOMEM)
        } else {
            Ok(())
        }
    }

    /// `ENOMEM` when `more` bytes would exceed what the space may have.
    fn check_limit(&self, more: usize, limit: u64) -> Result<()> {
        if limit == u64::MAX {
            return Ok(());
        }
        let have: usize = self.areas.iter().map(|(start, area)| area.end - start).sum();
        if (have as u64).saturating_add(more as u64) > limit {
            Err(Errno::ENOMEM)
        } else {
            Ok(())
        }
    }

    fn map(&mut self, request: MapRequest) -> Result<usize> {
        let MapRequest {
            place,
            len,
            protection,
            backing,
            label,
            rules,
        } = request;
        if len == 0 {
            return Err(Errno::EINVAL);
        }
        let len = page_up(len).filter(|l| *l <= HIGHEST).ok_or(Errno::ENOMEM)?;
        refuse_write_exec(protection)?;
        if self.areas.len() >= most_areas() {
            return Err(Errno::ENOMEM);
        }
        self.check_limit(len, rules.limit)?;
        // More private memory than the machine has can only end badly.
        let pages = len / PAGE;
        if rules.is_reserved
            && protection.write
            && matches!(backing, Backing::Anonymous)
            && pages > sis_machine::mm::frames::total_frames()
        {
            return Err(Errno::ENOMEM);
        }
        let start = match place {
            Place::Fixed(at) | Place::FixedIfFree(at) => {
                if !at.is_multiple_of(PAGE) {
                    return Err(Errno::EINVAL);
                }
                let end = at.checked_add(len).filter(|e| *e <= HIGHEST).ok_or(Errno::ENOMEM)?;
                if at < LOWEST {
                    return Err(Errno::EPERM);
                }
                if matches!(place, Place::FixedIfFree(_)) {
                    if !self.areas.is_free(at, end) {
                        return Err(Errno::EEXIST);
                    }
                } else if !self.areas.is_free(at, end) {
                    let _ = self.areas.remove(at, end);
                    self.space.unmap_range(at, end);
                }
                at
            }
            Place::Hint(hint) => {
                let hint = hint & !(PAGE - 1);
                let wanted = hint
                    .checked_add(len)
                    .filter(|e| hint >= LOWEST && *e <= self.mmap_top && self.areas.is_free(hint, *e))
                    .map(|_| hint);
                match wanted {
                    Some(at) => at,
                    None => self.areas.gap_below(len, self.mmap_top, LOWEST).ok_or(Errno::ENOMEM)?,
                }
            }
        };
        let area = Area {
            end: start + len,
            protection,
            backing,
            label,
            skip_fork: false,
            may_write: rules.may_write,
        };
        area.tell_mappers(&self.me);
        self.areas.insert(start, area);
        Ok(start)
    }
}
