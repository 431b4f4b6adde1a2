//! What the allocator and the running operation hold in memory.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use crate::cache::{Cache, Slot};
use crate::volume::Counts;

/// Blocks that are free in the bitmaps, and must not be given away: a bitmap a group, where it has any.
#[derive(Debug, Default)]
pub(crate) struct Shadow {
    groups: BTreeMap<u32, (Vec<u64>, u32)>,
    count: u64,
}

impl Shadow {
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn clear(&mut self) {
        self.groups.clear();
        self.count = 0;
    }

    /// Bits of a group, where any is set.
    pub(crate) fn bits(&self, group: u32) -> Option<&[u64]> {
        self.groups.get(&group).map(|(bits, _)| bits.as_slice())
    }

    fn word(&mut self, group: u32, bit: u32, words: usize) -> Option<(&mut u64, &mut u32)> {
        let (bits, used) = self.groups.entry(group).or_insert_with(|| (vec![0; words], 0));
        bits.get_mut((bit / 64) as usize).map(|w| (w, used))
    }

    /// Sets bits of a group whose bitmap has `words` words.
    pub(crate) fn set(&mut self, group: u32, bit: u32, len: u32, words: usize) {
        let mut added = 0;
        for b in bit..bit.saturating_add(len) {
            if let Some((word, used)) = self.word(group, b, words)
                && *word & (1 << (b % 64)) == 0
            {
                *word |= 1 << (b % 64);
                *used += 1;
                added += 1;
            }
        }
        self.count += added;
    }

    pub(crate) fn unset(&mut self, group: u32, bit: u32, len: u32) {
        let Some((bits, used)) = self.groups.get_mut(&group) else {
            return;
        };
        for b in bit..bit.saturating_add(len) {
            if let Some(word) = bits.get_mut((b / 64) as usize)
                && *word & (1 << (b % 64)) != 0
            {
                *word &= !(1 << (b % 64));
                *used -= 1;
                self.count -= 1;
            }
        }
        if *used == 0 {
            self.groups.remove(&group);
        }
    }
}

/// Blocks chosen for content that is being written and that no map names yet, by inode and block of the file.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    pub(crate) shadow: Shadow,
    files: BTreeMap<u32, BTreeMap<u64, (u64, u64)>>,
}

impl Claims {
    /// The claim at or after `first`: file block, block of the disk, length.
    pub(crate) fn next(&self, ino: u32, first: u64) -> Option<(u64, u64, u64)> {
        let file = self.files.get(&ino)?;
        if let Some((at, (physical, len))) = file.range(..=first).next_back()
            && at + len > first
        {
            let skip = first - at;
            return Some((first, physical + skip, len - skip));
        }
        file.range(first..)
            .next()
            .map(|(at, (physical, len))| (*at, *physical, *len))
    }

    /// The block of the disk after the claim that ends at `first` or before.
    pub(crate) fn goal(&self, ino: u32, first: u64) -> Option<u64> {
        let (at, (physical, len)) = self.files.get(&ino)?.range(..=first).next_back()?;
        Some(physical + (first - at).min(*len))
    }

    pub(crate) fn add(&mut self, ino: u32, first: u64, physical: u64, len: u64) {
        self.files.entry(ino).or_default().insert(first, (physical, len));
    }

    /// Takes out what is claimed in `first..end`; answers the runs of the disk.
    pub(crate) fn take(&mut self, ino: u32, first: u64, end: u64) -> Vec<(u64, u64)> {
        let mut taken = Vec::new();
        let Some(file) = self.files.get_mut(&ino) else {
            return taken;
        };
        let mut starts: Vec<u64> = file.range(first..end).map(|(at, _)| *at).collect();
        if let Some((at, (_, len))) = file.range(..first).next_back()
            && at + len > first
        {
            starts.push(*at);
        }
        for at in starts {
            let Some((physical, len)) = file.remove(&at) else {
                continue;
            };
            let (from, to) = (at.max(first), (at + len).min(end));
            if at < from {
                file.insert(at, (physical, from - at));
            }
            if at + len > to {
                file.insert(to, (physical + (to - at), at + len - to));
            }
            taken.push((physical + (from - at), to - from));
        }
        if file.is_empty() {
            self.files.remove(&ino);
        }
        taken
    }
}

/// How to take back what an operation did.
#[derive(Debug)]
pub(crate) struct Undo {
    blocks: BTreeMap<u64, (Option<Slot>, bool)>,
    pub(crate) counts: Counts,
    pub(crate) freed: Vec<(u32, u32, u32)>,
    pub(crate) orphans: Vec<(u32, Option<u32>)>,
    pub(crate) revokes_added: Vec<u64>,
    pub(crate) revokes_removed: Vec<u64>,
}

impl Undo {
    pub(crate) fn new(counts: Counts) -> Self {
        Self {
            blocks: BTreeMap::new(),
            counts,
            freed: Vec::new(),
            orphans: Vec::new(),
            revokes_added: Vec::new(),
            revokes_removed: Vec::new(),
        }
    }

    pub(crate) fn remember(&mut self, cache: &Cache, block: u64) {
        self.blocks.entry(block).or_insert_with(|| cache.snapshot(block));
    }

    pub(crate) fn into_blocks(self, cache: &mut Cache) {
        for (block, (slot, is_dirty)) in self.blocks {
            cache.restore(block, slot, is_dirty);
        }
    }
}
