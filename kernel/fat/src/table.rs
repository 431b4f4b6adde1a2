//! The file allocation table, in memory.
//!
//! What is taken from the free clusters may be written at once; what is freed only when the directories that led there have
//! been ([`Table::stage`]). Until then the disk's own value is kept beside the new one, and clusters that the disk still
//! counts as somebody's are not given to anybody else.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::Error;
use crate::boot::Geometry;
use crate::layout::{SECTOR, u32_at};

/// Bits of an entry that count; the others are kept as they are.
const MASK: u32 = 0x0fff_ffff;
/// From here on an entry ends a chain.
const END_MIN: u32 = 0x0fff_fff8;
pub(crate) const END: u32 = 0x0fff_ffff;
pub(crate) const BAD: u32 = 0x0fff_fff7;
const FREE: u32 = 0;

/// Entries in a sector of the table.
pub(crate) const PER_SECTOR: usize = SECTOR / 4;

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// Nobody has the cluster.
    Free,
    /// The chain goes on there.
    Next(u32),
    /// The chain ends.
    End,
    /// Nothing that belongs into a chain.
    Bad,
}

/// Which values of the table are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// With what was taken, and without what was freed.
    Taken,
    /// All of them.
    All,
}

pub(crate) struct Table {
    /// By cluster; the first two stand for none.
    entries: Vec<u32>,
    free: u32,
    /// Where to look for a free one first.
    hint: u32,
    /// What the disk says of entries that have changed since.
    on_disk: BTreeMap<u32, u32>,
    /// Those of them that freed something or made a chain end earlier.
    freed: BTreeSet<u32>,
}

impl Table {
    /// Room for the table of a file system; the sectors follow ([`Self::read`]).
    pub(crate) fn new(geometry: &Geometry) -> Result<Self, Error> {
        let mut entries = Vec::new();
        let count = geometry.clusters as usize + 2;
        entries.try_reserve_exact(count).map_err(|_| Error::NoSpace)?;
        Ok(Self {
            entries,
            free: 0,
            hint: 2,
            on_disk: BTreeMap::new(),
            freed: BTreeSet::new(),
        })
    }

    /// Takes over the next bytes of the table on the disk, as far as there are clusters.
    pub(crate) fn read(&mut self, bytes: &[u8]) {
        for entry in bytes.chunks_exact(4) {
            if self.entries.len() == self.entries.capacity() {
                return;
            }
            let value = u32_at(entry, 0);
            self.free += u32::from(self.entries.len() >= 2 && value & MASK == FREE);
            self.entries.push(value);
        }
    }

    fn len(&self) -> u32 {
        self.entries.len() as u32
    }

    pub(crate) fn free_clusters(&self) -> u32 {
        self.free
    }

    pub(crate) fn hint(&self) -> u32 {
        self.hint
    }

    fn value(&self, cluster: u32) -> u32 {
        match self.entries.get(cluster as usize) {
            Some(value) if cluster >= 2 => value & MASK,
            _ => BAD,
        }
    }

    fn link_of(&self, value: u32) -> Link {
        match value & MASK {
            FREE => Link::Free,
            n if n >= END_MIN => Link::End,
            n if n >= 2 && n < self.len() => Link::Next(n),
            _ => Link::Bad,
        }
    }

    pub(crate) fn link(&self, cluster: u32) -> Link {
        self.link_of(self.value(cluster))
    }

    /// Whether a cluster can be given to somebody: it is free, and on the disk too.
    fn is_available(&self, cluster: u32) -> bool {
        self.link(cluster) == Link::Free && self.on_disk.get(&cluster).is_none_or(|v| v & MASK == FREE)
    }

    /// An entry as those see it who look for free ones: what cannot be given to anybody yet looks bad.
    pub(crate) fn shown(&self, cluster: u32) -> u32 {
        if self.link(cluster) == Link::Free && !self.is_available(cluster) {
            BAD
        } else {
            self.value(cluster)
        }
    }

    /// Changes an entry.
    pub(crate) fn set(&mut self, cluster: u32, value: u32) {
        let (old, new) = (self.link(cluster), self.link_of(value));
        let Some(entry) = self.entries.get_mut(cluster as usize) else {
            return;
        };
        if cluster < 2 || *entry & MASK == value & MASK {
            return;
        }
        self.on_disk.entry(cluster).or_insert(*entry);
        *entry = *entry & !MASK | value & MASK;
        match (old, new) {
            (Link::Free, _) => {
                self.free = self.free.saturating_sub(1);
                self.freed.remove(&cluster);
            }
            (_, Link::Free) => {
                self.free += 1;
                self.freed.insert(cluster);
                self.hint = self.hint.min(cluster);
            }
            (Link::Next(_), _) => {
                self.freed.insert(cluster);
            }
            (Link::End | Link::Bad, _) => {}
        }
    }

    /// The clusters from `first` on. A chain that was checked ends; one that was not ends after as many steps as there are
    /// clusters.
    pub(crate) fn chain(&self, first: u32) -> impl Iterator<Item = u32> {
        let start = matches!(self.link(first), Link::Next(_) | Link::End).then_some(first);
        core::iter::successors(start, |cluster| match self.link(*cluster) {
            Link::Next(n) => Some(n),
            _ => None,
        })
        .take(self.entries.len())
    }

    /// Takes a free cluster, near `after` if it can be, and makes it end the chain that `after` ended.
    pub(crate) fn take(&mut self, after: Option<u32>) -> Result<u32, Error> {
        if self.free == 0 {
            return Err(Error::NoSpace);
        }
        let near = after
            .map_or(self.hint, |n| n.saturating_add(1))
            .clamp(2, self.len().max(3) - 1);
        let found = (near..self.len()).chain(2..near).find(|n| self.is_available(*n));
        let cluster = found.ok_or(Error::NoSpace)?;
        self.set(cluster, END);
        if let Some(after) = after {
            self.set(after, cluster);
        }
        self.hint = if cluster + 1 < self.len() { cluster + 1 } else { 2 };
        Ok(cluster)
    }

    /// Frees a chain whole.
    pub(crate) fn free_chain(&mut self, first: u32) {
        let mut at = first;
        while let link @ (Link::Next(_) | Link::End) = self.link(at) {
            self.set(at, FREE);
            match link {
                Link::Next(n) => at = n,
                _ => return,
            }
        }
    }

    /// Makes the chain end at `last`, and frees what came after it.
    pub(crate) fn cut_after(&mut self, last: u32) {
        if let Link::Next(n) = self.link(last) {
            self.set(last, END);
            self.free_chain(n);
        }
    }

    pub(crate) fn is_changed(&self) -> bool {
        !self.on_disk.is_empty()
    }

    /// The sectors of the table that differ from the disk's.
    pub(crate) fn changed_sectors(&self, stage: Stage) -> BTreeSet<u32> {
        let sector = |cluster: &u32| *cluster / PER_SECTOR as u32;
        match stage {
            Stage::Taken => self.on_disk.keys().map(sector).collect(),
            Stage::All => self.freed.iter().map(sector).collect(),
        }
    }

    /// A sector of the table as it is to be on the disk.
    pub(crate) fn stage(&self, sector: u32, stage: Stage) -> [u8; SECTOR] {
        let mut out = [0; SECTOR];
        let first = sector as usize * PER_SECTOR;
        for (n, place) in out.chunks_exact_mut(4).enumerate() {
            let cluster = (first + n) as u32;
            let now = self.entries.get(first + n).copied().unwrap_or(FREE);
            let is_kept_back = stage == Stage::Taken && self.freed.contains(&cluster);
            let value = if is_kept_back {
                self.on_disk.get(&cluster).copied().unwrap_or(now)
            } else {
                now
            };
            place.copy_from_slice(&value.to_le_bytes());
        }
        out
    }

    /// The disk has everything.
    pub(crate) fn settled(&mut self) {
        self.on_disk.clear();
        self.freed.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn table(entries: &[u32]) -> Table {
        let geometry = Geometry {
            sectors_per_cluster: 1,
            clusters: entries.len() as u32 - 2,
            table_start: 1,
            table_sectors: 1,
            tables: 0..1,
            active_table: 0,
            data_start: 2,
            root: 2,
            info_sector: None,
        };
        let mut t = Table::new(&geometry).expect("room");
        t.read(&entries.iter().flat_map(|e| e.to_le_bytes()).collect::<Vec<u8>>());
        t
    }

    fn entry(sector: &[u8; SECTOR], cluster: usize) -> u32 {
        u32_at(sector, cluster * 4)
    }

    #[test]
    fn a_freed_cluster_is_nobodys_until_the_disk_says_so_too() {
        let mut t = table(&[0x0fff_fff8, END, END, 4, END]);
        assert_eq!(t.free_clusters(), 0);
        t.free_chain(3);
        assert_eq!(t.free_clusters(), 2);
        assert_eq!(t.take(Some(2)), Err(Error::NoSpace));
        assert_eq!(t.shown(3), BAD);
        // First the disk keeps the chain, then it goes.
        assert_eq!(entry(&t.stage(0, Stage::Taken), 3), 4);
        assert_eq!(entry(&t.stage(0, Stage::All), 3), FREE);
        t.settled();
        assert_eq!(t.take(Some(2)), Ok(3));
        assert_eq!(t.chain(2).collect::<Vec<_>>(), vec![2, 3]);
    }

    #[test]
    fn a_chain_that_is_cut_and_grows_again_is_whole_at_every_stage() {
        let mut t = table(&[0x0fff_fff8, END, 3, 4, END, 0, 0]);
        t.cut_after(2);
        assert_eq!(t.take(Some(2)), Ok(5));
        let taken = t.stage(0, Stage::Taken);
        // The disk's chain is the old one as long as the directory is.
        assert_eq!((entry(&taken, 2), entry(&taken, 3), entry(&taken, 4)), (3, 4, END));
        assert_eq!(entry(&taken, 5), END);
        let all = t.stage(0, Stage::All);
        assert_eq!((entry(&all, 2), entry(&all, 3), entry(&all, 5)), (5, FREE, END));
    }

    #[test]
    fn what_was_taken_and_freed_again_was_never_gone() {
        let mut t = table(&[0x0fff_fff8, END, END, 0]);
        assert_eq!(t.take(Some(2)), Ok(3));
        t.cut_after(2);
        let taken = t.stage(0, Stage::Taken);
        assert_eq!((entry(&taken, 2), entry(&taken, 3)), (END, FREE));
        assert_eq!(t.take(None), Ok(3));
        assert_eq!(t.free_clusters(), 0);
    }

    #[test]
    fn a_chain_in_a_circle_ends() {
        let t = table(&[0x0fff_fff8, END, 3, 2]);
        assert_eq!(t.chain(2).count(), 4);
    }

    #[test]
    fn the_upper_bits_of_an_entry_are_kept() {
        let mut t = table(&[0x0fff_fff8, END, END, 0xa000_0000]);
        assert_eq!(t.take(Some(2)), Ok(3));
        assert_eq!(entry(&t.stage(0, Stage::All), 3), 0xafff_ffff);
    }
}
