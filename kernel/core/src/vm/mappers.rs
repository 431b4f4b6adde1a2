//! Who maps an object, for objects that take pages away: truncation unmaps them, write-back protects them.
//!
//! A space is entered under its own lock together with the area, and taken out under its own lock when no area is left;
//! so whoever visits the spaces of an object, taking each one's lock, misses no page that was mapped before.

use alloc::sync::Weak;
use alloc::vec::Vec;

use sis_machine::mm::frames::Frame;
use sis_machine::mm::uspace::Prot;
use sis_machine::sync::{Rank, SpinLock};

use super::{Inner, PAGE, Vm};

/// The address spaces that map one object.
pub struct Mappers {
    spaces: SpinLock<Vec<Weak<Vm>>>,
}

impl Default for Mappers {
    fn default() -> Self {
        Self::new()
    }
}

impl Mappers {
    /// Nobody.
    pub const fn new() -> Self {
        Self {
            spaces: SpinLock::new(Rank::Leaf, Vec::new()),
        }
    }

    /// Enters a space; its lock is held.
    pub(super) fn add(&self, space: &Weak<Vm>) {
        let mut spaces = self.spaces.lock();
        if !spaces.iter().any(|s| s.ptr_eq(space)) {
            // Spaces that are gone make room.
            if spaces.len() == spaces.capacity() {
                spaces.retain(|s| s.strong_count() > 0);
            }
            spaces.push(space.clone());
        }
    }

    /// Whether nobody maps it.
    pub fn is_empty(&self) -> bool {
        self.spaces.lock().is_empty()
    }

    /// Calls `visit` with each space and the address ranges in it that show pages `first..last`; private mappings
    /// among them only `with_private`.
    fn each(&self, first: u64, last: u64, with_private: bool, mut visit: impl FnMut(&mut Inner, &[Shown])) {
        // Upgraded outside of the lock: the last reference to a space may be ours, and its end takes locks.
        let spaces: Vec<Weak<Vm>> = self.spaces.lock().clone();
        for space in spaces {
            let Some(vm) = space.upgrade() else {
                self.spaces.lock().retain(|s| !s.ptr_eq(&space));
                continue;
            };
            let mut inner = vm.inner.lock();
            let mut shown = Vec::new();
            let mut is_mapped = false;
            for (start, area) in inner.areas.iter() {
                let Some((source, page)) = area.source() else { continue };
                if !source.mappers().is_some_and(|m| core::ptr::eq(m, self)) {
                    continue;
                }
                is_mapped = true;
                let count = ((area.end - start) / PAGE) as u64;
                let from = first.max(page);
                let to = last.min(page.saturating_add(count));
                if from < to && (with_private || area.is_shared()) {
                    shown.push(Shown {
                        start: start + (from - page) as usize * PAGE,
                        end: start + (to - page) as usize * PAGE,
                        page: from,
                    });
                }
            }
            if !is_mapped {
                self.spaces.lock().retain(|s| !s.ptr_eq(&space));
            } else if !shown.is_empty() {
                visit(&mut inner, &shown);
            }
        }
    }

    /// Takes pages `first..last` out of every space, copies of private mappings too: the object has become shorter.
    pub fn unmap(&self, first: u64, last: u64) {
        if first >= last || self.is_empty() {
            return;
        }
        self.each(first, last, true, |inner, shown| {
            for s in shown {
                inner.space.unmap_range(s.start, s.end);
            }
        });
    }

    /// Makes stores to pages `first..last` through shared mappings fault.
    pub fn protect(&self, first: u64, last: u64) {
        if first >= last || self.is_empty() {
            return;
        }
        self.each(first, last, false, |inner, shown| {
            for s in shown {
                inner
                    .space
                    .protect_range(s.start, s.end, |now| Prot { write: false, ..now });
            }
        });
    }

    /// Takes out those of pages `first..last` that are the object's own, as `frame_of` says, to give their memory back.
    pub fn evict(&self, first: u64, last: u64, frame_of: &dyn Fn(u64) -> Option<Frame>) {
        if first >= last || self.is_empty() {
            return;
        }
        self.each(first, last, true, |inner, shown| {
            for s in shown {
                for (n, va) in (s.start..s.end).step_by(PAGE).enumerate() {
                    let Some((mapped, _)) = inner.space.query(va) else {
                        continue;
                    };
                    if frame_of(s.page + n as u64).is_some_and(|f| f == mapped) {
                        drop(mapped);
                        inner.space.unmap_range(va, va + PAGE);
                    }
                }
            }
        });
    }
}

/// Addresses of a space that show pages of an object.
struct Shown {
    start: usize,
    end: usize,
    /// The object's page at `start`.
    page: u64,
}
