//! Blocks of metadata in memory.
//!
//! A *dirty* block belongs to the running transaction and stays; clean ones are dropped, oldest use first, when there are
//! more than the limit.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::journal::Content;

/// What a block is: what is checked when it is read, and sealed with a checksum before it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Pointers of an indirect map, the target of a symbolic link: nothing to check.
    Plain,
    /// The superblock.
    Superblock,
    /// Group descriptors; the number of the block among them.
    Descriptors(u32),
    /// A group's bitmap of blocks.
    BlockBitmap(u32),
    /// A group's bitmap of inodes.
    InodeBitmap(u32),
    /// Inodes; each is checked by itself.
    InodeTable,
    /// A node of an extent tree; the inode's seed.
    Extents(u32),
    /// A block of a directory; the inode's seed.
    Directory(u32),
    /// Extended attributes.
    Attributes,
    /// A block of the orphan file; the inode's seed.
    Orphans(u32),
}

impl Role {
    /// Whether a block checked as `self` needs no check to be used as `other`.
    pub(crate) fn serves_as(self, other: Self) -> bool {
        self == other || other == Self::Plain
    }
}

/// A block in memory.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) content: Content,
    pub(crate) role: Role,
    pub(crate) used: u64,
}

/// The blocks in memory.
#[derive(Debug)]
pub(crate) struct Cache {
    slots: BTreeMap<u64, Slot>,
    pub(crate) dirty: BTreeSet<u64>,
    clock: u64,
    limit: usize,
}

impl Cache {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            slots: BTreeMap::new(),
            dirty: BTreeSet::new(),
            clock: 0,
            limit: limit.max(64),
        }
    }

    pub(crate) fn get(&mut self, block: u64) -> Option<&mut Slot> {
        self.clock += 1;
        let slot = self.slots.get_mut(&block)?;
        slot.used = self.clock;
        Some(slot)
    }

    pub(crate) fn insert(&mut self, block: u64, content: Content, role: Role) {
        self.clock += 1;
        let used = self.clock;
        self.slots.insert(block, Slot { content, role, used });
    }

    /// Puts a slot back as it was.
    pub(crate) fn restore(&mut self, block: u64, slot: Option<Slot>, is_dirty: bool) {
        match slot {
            Some(slot) => {
                self.slots.insert(block, slot);
            }
            None => {
                self.slots.remove(&block);
            }
        }
        if is_dirty {
            self.dirty.insert(block);
        } else {
            self.dirty.remove(&block);
        }
    }

    pub(crate) fn snapshot(&self, block: u64) -> (Option<Slot>, bool) {
        (self.slots.get(&block).cloned(), self.dirty.contains(&block))
    }

    pub(crate) fn remove(&mut self, block: u64) {
        self.slots.remove(&block);
        self.dirty.remove(&block);
    }

    /// Drops clean blocks beyond the limit: a quarter of all at once, so that the search for the oldest is paid rarely.
    pub(crate) fn shrink(&mut self) {
        if self.slots.len() <= self.limit + self.dirty.len() {
            return;
        }
        let mut ages: Vec<u64> = self.slots.values().map(|s| s.used).collect();
        let nth = (ages.len() - self.limit + self.limit / 4).min(ages.len() - 1);
        let (_, oldest_kept, _) = ages.select_nth_unstable(nth);
        let oldest_kept = *oldest_kept;
        let dirty = &self.dirty;
        self.slots.retain(|n, s| s.used >= oldest_kept || dirty.contains(n));
    }
}
