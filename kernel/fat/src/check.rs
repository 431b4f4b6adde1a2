//! What is looked at before anything is believed.
//!
//! From the root on every directory is read, and every chain that an entry names is followed: it must consist of clusters that
//! are there and that no other chain has, and end. With that there are no circles, no two files that share a cluster, and no
//! directory that lies in itself; and as only memory is looked at from then on, a disk that changes its mind changes nothing.

use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;

use crate::bitmap::Bitmap;
use crate::boot::Geometry;
use crate::directories::{At, Directories};
use crate::layout::SECTOR_BYTES;
use crate::slot::Slot;
use crate::table::{Link, Table};
use crate::{Disk, Error, long_name};

/// Entries of one directory (FAT specification, "FAT Directory Structure").
pub(crate) const SLOTS_MAX: u32 = 65_536;

/// Bytes of the table that are read at once.
const READ_BYTES: u64 = 64 << 10;

/// Reads the table.
pub(crate) fn table(disk: &impl Disk, geometry: &Geometry) -> Result<Table, Error> {
    let mut table = Table::new(geometry)?;
    let len = (u64::from(geometry.clusters) * 4 + 8).next_multiple_of(SECTOR_BYTES);
    let start = geometry.table_offset(geometry.active_table, 0);
    let mut buffer = vec![0; READ_BYTES as usize];
    let mut at = 0;
    while at < len {
        let n = (len - at).min(READ_BYTES);
        let part = buffer.get_mut(..n as usize).unwrap_or_default();
        disk.read(start + at, part)?;
        table.read(part);
        at += n;
    }
    Ok(table)
}

/// Reads and checks all directories.
pub(crate) fn directories(disk: &impl Disk, geometry: &Geometry, table: &Table) -> Result<Directories, Error> {
    let mut check = Check {
        geometry,
        table,
        claimed: Bitmap::new(geometry.clusters as usize + 2),
        found: Directories::new(geometry.cluster_bytes()),
        to_read: Vec::new(),
    };
    let root = check.claim(geometry.root)?;
    check.to_read.push(root);
    while let Some(chain) = check.to_read.pop() {
        check.directory(disk, &chain)?;
    }
    Ok(check.found)
}

struct Check<'a> {
    geometry: &'a Geometry,
    table: &'a Table,
    claimed: Bitmap,
    found: Directories,
    /// Chains of directories that have been claimed, and not been looked at.
    to_read: Vec<Vec<u32>>,
}

impl Check<'_> {
    /// The chain from `first` on, which is somebody's from now on.
    fn claim(&mut self, first: u32) -> Result<Vec<u32>, Error> {
        let mut out = Vec::new();
        let mut at = first;
        loop {
            let link = self.table.link(at);
            match link {
                Link::Free => return Err(Error::Corrupt("a chain goes through free clusters")),
                Link::Bad => return Err(Error::Corrupt("a chain leads nowhere")),
                Link::Next(_) | Link::End => {}
            }
            if !self.claimed.insert(at) {
                return Err(Error::Corrupt(
                    "two files have the same cluster, or a chain is a circle",
                ));
            }
            out.push(at);
            match link {
                Link::Next(n) => at = n,
                _ => return Ok(out),
            }
        }
    }

    fn directory(&mut self, disk: &impl Disk, chain: &[u32]) -> Result<(), Error> {
        let per_cluster = self.found.slots_per_cluster();
        if chain.len() as u64 * u64::from(per_cluster) > u64::from(SLOTS_MAX) {
            return Err(Error::Corrupt("a directory is too long"));
        }
        for cluster in chain {
            // A card may have more directories than a small board has memory.
            let mut bytes = Vec::new();
            let len = self.geometry.cluster_bytes();
            bytes.try_reserve_exact(len).map_err(|_| Error::NoSpace)?;
            bytes.resize(len, 0);
            disk.read(self.geometry.sector_of(*cluster) * SECTOR_BYTES, &mut bytes)?;
            self.found.insert(*cluster, bytes.into_boxed_slice())?;
        }
        let slots: Vec<At> = chain
            .iter()
            .flat_map(|cluster| {
                (0..per_cluster).map(|slot| At {
                    cluster: *cluster,
                    slot,
                })
            })
            .collect();
        let mut has_ended = false;
        let mut names = BTreeSet::new();
        for (n, at) in slots.iter().enumerate() {
            let slot = self.found.slot(*at).unwrap_or(Slot::EMPTY);
            if has_ended || slot.is_end() {
                has_ended = true;
                // What is behind the end is nothing, and must stay so when the end moves.
                self.found.set_slot(*at, &Slot::EMPTY);
            } else if slot.is_long() && !slot.is_free() {
                let next = slots.get(n + 1).and_then(|at| self.found.slot(*at));
                if !long_name::goes_on_in(&slot, next.as_ref()) {
                    let mut without = slot;
                    without.free();
                    self.found.set_slot_in_memory(*at, &without);
                }
            } else if slot.is_file() {
                if !names.insert(slot.short()) {
                    return Err(Error::Corrupt("two files of a directory have the same name"));
                }
                self.file(&slot)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, slot: &Slot) -> Result<(), Error> {
        let first = slot.first();
        if slot.is_directory() {
            let chain = self.claim(first)?;
            self.to_read.push(chain);
            return Ok(());
        }
        if first == 0 && slot.size() == 0 {
            return Ok(());
        }
        let chain = self.claim(first)?;
        if chain.len() as u64 * (self.geometry.cluster_bytes() as u64) < u64::from(slot.size()) {
            return Err(Error::Corrupt("a file is longer than its chain"));
        }
        Ok(())
    }
}
