//! Directories, in memory: every cluster that belongs to one.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;

use crate::Error;
use crate::layout::SECTOR;
use crate::slot::{SLOT, Slot};

/// Bytes of directories that are taken on.
const BYTES_MAX: usize = 32 << 20;

/// Where an entry of 32 bytes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct At {
    pub(crate) cluster: u32,
    /// Entries before it in the cluster.
    pub(crate) slot: u32,
}

pub(crate) struct Directories {
    clusters: BTreeMap<u32, Box<[u8]>>,
    cluster_bytes: usize,
    /// Cluster and sector in it of what the disk does not have yet, in the order in which they changed: a file that moves is
    /// under its new name before it loses the old one.
    changed: Vec<(u32, u32)>,
    is_changed: BTreeSet<(u32, u32)>,
    /// Clusters that were no directory's when the disk was last written.
    added: BTreeSet<u32>,
}

impl Directories {
    pub(crate) fn new(cluster_bytes: usize) -> Self {
        Self {
            clusters: BTreeMap::new(),
            cluster_bytes,
            changed: Vec::new(),
            is_changed: BTreeSet::new(),
            added: BTreeSet::new(),
        }
    }

    pub(crate) fn slots_per_cluster(&self) -> u32 {
        (self.cluster_bytes / SLOT) as u32
    }

    /// Whether another cluster would be too much.
    pub(crate) fn is_full(&self) -> bool {
        (self.clusters.len() + 1) * self.cluster_bytes > BYTES_MAX
    }

    /// Takes over a cluster as the disk has it.
    pub(crate) fn insert(&mut self, cluster: u32, bytes: Box<[u8]>) -> Result<(), Error> {
        if self.is_full() {
            return Err(Error::Unsupported("directories of more than 32 MiB"));
        }
        self.clusters.insert(cluster, bytes);
        Ok(())
    }

    /// A new cluster of zeros.
    pub(crate) fn add(&mut self, cluster: u32) {
        self.clusters
            .insert(cluster, vec![0; self.cluster_bytes].into_boxed_slice());
        self.added.insert(cluster);
        let sectors = (self.cluster_bytes / SECTOR) as u32;
        for sector in 0..sectors {
            self.note(cluster, sector);
        }
    }

    fn note(&mut self, cluster: u32, sector: u32) {
        if self.is_changed.insert((cluster, sector)) {
            self.changed.push((cluster, sector));
        }
    }

    /// A cluster is no directory's any more.
    pub(crate) fn remove(&mut self, cluster: u32) {
        self.clusters.remove(&cluster);
        self.changed.retain(|(c, _)| *c != cluster);
        self.is_changed.retain(|(c, _)| *c != cluster);
        self.added.remove(&cluster);
    }

    pub(crate) fn has(&self, cluster: u32) -> bool {
        self.clusters.contains_key(&cluster)
    }

    pub(crate) fn sector(&self, cluster: u32, sector: u32) -> Option<&[u8; SECTOR]> {
        let start = sector as usize * SECTOR;
        self.clusters.get(&cluster)?.get(start..)?.first_chunk()
    }

    pub(crate) fn slot(&self, at: At) -> Option<Slot> {
        let start = at.slot as usize * SLOT;
        self.clusters
            .get(&at.cluster)?
            .get(start..)?
            .first_chunk()
            .copied()
            .map(Slot)
    }

    /// The entries of one cluster, in order.
    pub(crate) fn slots(&self, cluster: u32) -> impl Iterator<Item = (At, Slot)> {
        let bytes = self
            .clusters
            .get(&cluster)
            .map(|c| c.as_chunks::<SLOT>().0)
            .unwrap_or_default();
        (0..)
            .zip(bytes)
            .map(move |(slot, bytes)| (At { cluster, slot }, Slot(*bytes)))
    }

    /// Changes an entry; one that is nowhere stays so.
    pub(crate) fn set_slot(&mut self, at: At, slot: &Slot) {
        let start = at.slot as usize * SLOT;
        let place = self
            .clusters
            .get_mut(&at.cluster)
            .and_then(|c| c.get_mut(start..start + SLOT));
        if let Some(place) = place
            && *place != slot.0
        {
            place.copy_from_slice(&slot.0);
            self.note(at.cluster, (start / SECTOR) as u32);
        }
    }

    /// As [`Self::set_slot`], of what is damaged and read otherwise from now on: the disk is left as it is.
    pub(crate) fn set_slot_in_memory(&mut self, at: At, slot: &Slot) {
        let start = at.slot as usize * SLOT;
        let place = self
            .clusters
            .get_mut(&at.cluster)
            .and_then(|c| c.get_mut(start..start + SLOT));
        if let Some(place) = place {
            place.copy_from_slice(&slot.0);
        }
    }

    pub(crate) fn changed(&self) -> &[(u32, u32)] {
        &self.changed
    }

    pub(crate) fn added(&self) -> &BTreeSet<u32> {
        &self.added
    }

    /// A cluster as it is before there is a name in it: a good directory, whatever was in its place.
    pub(crate) fn without_names(&self, cluster: u32) -> Box<[u8]> {
        let mut out = vec![0; self.cluster_bytes].into_boxed_slice();
        for (slot, place) in (0..2).zip(out.as_chunks_mut::<SLOT>().0) {
            let dot = self.slot(At { cluster, slot }).filter(Slot::is_dot);
            *place = dot.unwrap_or(Slot::EMPTY).0;
        }
        out
    }

    /// The disk has everything.
    pub(crate) fn settled(&mut self) {
        self.changed.clear();
        self.is_changed.clear();
        self.added.clear();
    }
}
