//! Areas: ranges of pages of one kind and one protection.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

use sis_machine::mm::frames::Frame;
use sis_machine::mm::uspace::Prot;

use super::{PAGE, PageSource, Vm};

/// What the program may do with an area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protection {
    /// PROT_READ.
    pub read: bool,
    /// PROT_WRITE.
    pub write: bool,
    /// PROT_EXEC.
    pub exec: bool,
}

impl Protection {
    /// Loads and stores.
    pub const READ_WRITE: Self = Self {
        read: true,
        write: true,
        exec: false,
    };

    /// As the page tables have it. A store implies a load, and so does an instruction fetch.
    pub(super) fn to_table(self) -> Prot {
        if !(self.read || self.write || self.exec) {
            return Prot::NONE;
        }
        Prot {
            read: true,
            write: self.write,
            exec: self.exec && !self.write,
        }
    }
}

/// Where an area's pages come from.
#[derive(Clone)]
pub enum Backing {
    /// Zeroes, and the process's own after the first touch.
    Anonymous,
    /// A file or another object, from a page of it on; stores are private copies.
    Private(Arc<dyn PageSource>, u64),
    /// A file or another object, from a page of it on; stores go to it.
    Shared(Arc<dyn PageSource>, u64),
    /// Frames of the kernel, read-only: the vDSO. The name is for /proc/PID/maps.
    Kernel(Arc<[Frame]>, &'static str),
}

/// A range of pages; its start is its key in [`Areas`].
#[derive(Clone)]
pub(super) struct Area {
    pub(super) end: usize,
    pub(super) protection: Protection,
    pub(super) backing: Backing,
    /// Shown in /proc/PID/maps.
    pub(super) label: &'static str,
    /// MADV_DONTFORK.
    pub(super) skip_fork: bool,
    /// mprotect(2) may make it writable.
    pub(super) may_write: bool,
}

impl Area {
    pub(super) fn is_shared(&self) -> bool {
        matches!(self.backing, Backing::Shared(..))
    }

    /// The object that it maps, and the object's page at its start.
    pub(super) fn source(&self) -> Option<(&Arc<dyn PageSource>, u64)> {
        match &self.backing {
            Backing::Private(source, first) | Backing::Shared(source, first) => Some((source, *first)),
            _ => None,
        }
    }

    /// Tells the object that `space` maps it. The space's lock is held.
    pub(super) fn tell_mappers(&self, space: &Weak<Vm>) {
        if let Some(mappers) = self.source().and_then(|(s, _)| s.mappers()) {
            mappers.add(space);
        }
    }

    pub(super) fn is_left_out_of_fork(&self) -> bool {
        self.skip_fork
    }

    pub(super) fn file_offset(&self) -> u64 {
        match &self.backing {
            Backing::Private(_, page) | Backing::Shared(_, page) => page * PAGE as u64,
            _ => 0,
        }
    }

    pub(super) fn identity(&self) -> (u64, u64) {
        match &self.backing {
            Backing::Private(s, _) | Backing::Shared(s, _) => s.identity(),
            _ => (0, 0),
        }
    }

    pub(super) fn name(&self) -> String {
        match &self.backing {
            Backing::Private(s, _) | Backing::Shared(s, _) => s.name(),
            Backing::Kernel(_, name) => String::from(*name),
            Backing::Anonymous => String::from(self.label),
        }
    }

    /// Cuts it at `at`; it keeps the front.
    pub(super) fn split_at(&mut self, start: usize, at: usize) -> Self {
        let mut back = self.clone();
        let pages = ((at - start) / PAGE) as u64;
        match &mut back.backing {
            Backing::Private(_, page) | Backing::Shared(_, page) => *page += pages,
            Backing::Kernel(frames, _) => *frames = frames.iter().skip(pages as usize).cloned().collect(),
            Backing::Anonymous => {}
        }
        self.end = at;
        back
    }

    fn joins(&self, next: &Self) -> bool {
        matches!((&self.backing, &next.backing), (Backing::Anonymous, Backing::Anonymous))
            && self.protection == next.protection
            && self.label == next.label
            && self.skip_fork == next.skip_fork
            && self.may_write == next.may_write
    }
}

/// The areas of a space, by start; they never overlap.
pub(super) struct Areas {
    map: BTreeMap<usize, Area>,
}

impl Areas {
    pub(super) fn new() -> Self {
        Self { map: BTreeMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Area)> {
        self.map.iter().map(|(s, a)| (*s, a))
    }

    pub(super) fn find(&self, address: usize) -> Option<(usize, &Area)> {
        let (start, area) = self.map.range(..=address).next_back()?;
        (address < area.end).then_some((*start, area))
    }

    /// Adds an area to a free range and joins it to neighbours that are alike.
    pub(super) fn insert(&mut self, start: usize, mut area: Area) {
        let mut start = start;
        if let Some((s, before)) = self.map.range(..start).next_back()
            && before.end == start
            && before.joins(&area)
        {
            start = *s;
        }
        if let Some(after) = self.map.get(&area.end)
            && area.joins(after)
        {
            let end = area.end;
            area.end = after.end;
            self.map.remove(&end);
        }
        self.map.insert(start, area);
    }

    /// Cuts areas so that none crosses `at`.
    fn cut(&mut self, at: usize) {
        let Some((start, area)) = self.map.range_mut(..at).next_back() else {
            return;
        };
        if area.end > at {
            let start = *start;
            let back = area.split_at(start, at);
            self.map.insert(at, back);
        }
    }

    /// How many of the two ends of `start..end` lie inside an area, which would be cut there.
    pub(super) fn cuts(&self, start: usize, end: usize) -> usize {
        [start, end]
            .into_iter()
            .filter(|at| self.find(*at).is_some_and(|(first, _)| first < *at))
            .count()
    }

    /// Takes out everything in `start..end`.
    pub(super) fn remove(&mut self, start: usize, end: usize) -> Vec<(usize, Area)> {
        self.cut(start);
        self.cut(end);
        let keys: Vec<usize> = self.map.range(start..end).map(|(k, _)| *k).collect();
        keys.into_iter()
            .filter_map(|k| Some((k, self.map.remove(&k)?)))
            .collect()
    }

    /// Whether every page of `start..end` is in an area.
    pub(super) fn covers(&self, start: usize, end: usize) -> bool {
        let mut at = start;
        while at < end {
            match self.find(at) {
                Some((_, a)) => at = a.end,
                None => return false,
            }
        }
        true
    }

    pub(super) fn is_free(&self, start: usize, end: usize) -> bool {
        self.map.range(..end).next_back().is_none_or(|(_, a)| a.end <= start)
    }

    /// The highest free range of `len` bytes that ends at or below `top`, not below `low`.
    pub(super) fn gap_below(&self, len: usize, top: usize, low: usize) -> Option<usize> {
        let mut end = top;
        for (start, area) in self.map.range(..top).rev() {
            if area.end <= end && end - area.end >= len {
                break;
            }
            end = end.min(*start);
        }
        let start = end.checked_sub(len)?;
        (start >= low).then_some(start)
    }
}
