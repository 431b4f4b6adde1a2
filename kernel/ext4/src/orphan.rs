//! Orphans: inodes without a name that are still in use, and files in the middle of a truncation. Mounting finishes both.
//!
//! The list goes through the inodes' deletion times; its head is in the superblock. What another system left in the
//! orphan file is finished as well, but nothing is put there.

use alloc::vec::Vec;

use crate::bytes::{put_u32, slice, u32_at};
use crate::cache::Role;
use crate::crc::crc32c;
use crate::features::ro_compat;
use crate::inode::Raw;
use crate::layout::field;
use crate::transaction::NAMES_CREDITS;
use crate::types::{Ino, MountReport, State, Timestamp};
use crate::volume::Volume;
use crate::{Disk, Error};

const MAGIC: u32 = 0x0b10_ca04;
/// Bytes at the end of a block of the orphan file: magic and checksum.
const TAIL: usize = 8;
/// In the place of the inode before: the inode is in the orphan file, not on the list.
const IN_FILE: u32 = u32::MAX;
/// Blocks the orphan file may have; Linux makes it 512 at most.
const FILE_BLOCKS: u64 = 4096;

fn sum(block: u64, b: &[u8], seed: u32) -> Result<u32, Error> {
    let sum = crc32c(seed, &block.to_le_bytes());
    Ok(crc32c(sum, slice(b, 0, b.len().saturating_sub(TAIL))?))
}

/// Checks a block of the orphan file.
pub(crate) fn verify_block(block: u64, b: &[u8], seed: Option<u32>) -> Result<(), Error> {
    let at = b.len().saturating_sub(TAIL);
    if u32_at(b, at)? != MAGIC {
        return Err(Error::Corrupt("orphan file"));
    }
    if let Some(seed) = seed
        && sum(block, b, seed)? != u32_at(b, at + 4)?
    {
        return Err(Error::Corrupt("checksum of the orphan file"));
    }
    Ok(())
}

/// Writes the checksum of a block of the orphan file.
pub(crate) fn seal_block(block: u64, b: &mut [u8], seed: u32) -> Result<(), Error> {
    let sum = sum(block, b, seed)?;
    let at = b.len().saturating_sub(TAIL);
    put_u32(b, at + 4, sum)
}

impl<D: Disk> Volume<D> {
    fn set_before(&mut self, ino: u32, before: Option<u32>) {
        let old = match before {
            Some(before) => self.orphans.insert(ino, before),
            None => self.orphans.remove(&ino),
        };
        if let Some(undo) = self.undo.as_mut() {
            undo.orphans.push((ino, old));
        }
    }

    fn set_head(&mut self, ino: u32) -> Result<(), Error> {
        self.modify_superblock(|sb| put_u32(sb, field::LAST_ORPHAN, ino))
    }

    /// Puts an inode on the list, if it is not there.
    pub(crate) fn add_orphan(&mut self, raw: &mut Raw) -> Result<(), Error> {
        if self.orphans.contains_key(&raw.ino) {
            return Ok(());
        }
        let head = self.superblock_u32(field::LAST_ORPHAN)?;
        raw.set_dtime(head);
        self.set_head(raw.ino)?;
        if head != 0 {
            self.set_before(head, Some(raw.ino));
        }
        self.set_before(raw.ino, Some(0));
        Ok(())
    }

    /// Takes an inode off the list, if it is there.
    pub(crate) fn remove_orphan(&mut self, raw: &mut Raw) -> Result<(), Error> {
        let Some(before) = self.orphans.get(&raw.ino).copied() else {
            return Ok(());
        };
        self.set_before(raw.ino, None);
        if before == IN_FILE {
            return Ok(());
        }
        let next = raw.dtime();
        raw.set_dtime(0);
        if before == 0 {
            self.set_head(next)?;
        } else {
            let mut previous = self.raw(before)?;
            previous.set_dtime(next);
            self.store(&mut previous)?;
        }
        if next != 0 && self.orphans.contains_key(&next) {
            self.set_before(next, Some(before));
        }
        Ok(())
    }

    /// Reads the list, as it was left.
    fn read_list(&mut self) -> Result<Vec<u32>, Error> {
        let mut found = Vec::new();
        let mut ino = self.superblock_u32(field::LAST_ORPHAN)?;
        let mut before = 0;
        while ino != 0 {
            if ino < self.layout.first_inode || self.orphans.contains_key(&ino) {
                return Err(Error::Corrupt("list of orphans"));
            }
            self.orphans.insert(ino, before);
            found.push(ino);
            before = ino;
            ino = self.raw(ino)?.dtime();
        }
        Ok(found)
    }

    /// The blocks of the orphan file.
    fn file_blocks(&mut self) -> Result<(Vec<u64>, Role), Error> {
        let raw = self.raw(self.layout.orphan_file_ino)?;
        let role = Role::Orphans(raw.seed(&self.layout));
        let count = raw.size() / self.layout.block_bytes as u64;
        if count > FILE_BLOCKS || !raw.is_regular() {
            return Err(Error::Corrupt("orphan file"));
        }
        let mut blocks = Vec::new();
        for n in 0..count {
            let mapping = self.map_raw(&raw, n, 1)?;
            if mapping.state != State::Written {
                return Err(Error::Corrupt("orphan file"));
            }
            blocks.push(mapping.physical);
        }
        Ok((blocks, role))
    }

    fn read_file(&mut self, blocks: &[u64], role: Role) -> Result<Vec<u32>, Error> {
        let mut found = Vec::new();
        for block in blocks {
            let b = self.block(*block, role)?;
            for at in (0..b.len().saturating_sub(TAIL)).step_by(4) {
                let ino = u32_at(&b, at)?;
                if ino == 0 {
                    continue;
                }
                if ino < self.layout.first_inode || self.orphans.insert(ino, IN_FILE).is_some() {
                    return Err(Error::Corrupt("orphan file"));
                }
                found.push(ino);
            }
        }
        Ok(found)
    }

    /// Finishes what the last user of the file system did not.
    pub(crate) fn finish_orphans(&mut self, report: &mut MountReport, now: Timestamp) -> Result<(), Error> {
        let mut found = self.read_list()?;
        let has_file = self.layout.has_orphan_file() && self.layout.ro_compat & ro_compat::ORPHAN_PRESENT != 0;
        let file = if has_file { Some(self.file_blocks()?) } else { None };
        if let Some((blocks, role)) = &file {
            found.extend(self.read_file(blocks, *role)?);
        }
        for ino in found {
            let raw = self.live(ino)?;
            if raw.links() == 0 {
                self.evict(Ino(ino), now)?;
                report.orphans_deleted += 1;
            } else {
                let from = raw.size().div_ceil(self.layout.block_bytes as u64);
                self.free_from(ino, from, now, |_, _| Ok(()))?;
                report.orphans_truncated += 1;
            }
        }
        if let Some((blocks, role)) = file {
            for block in blocks {
                self.transact(NAMES_CREDITS, now, |v| {
                    let end = v.layout.block_bytes - TAIL;
                    v.modify(block, role, |b| {
                        crate::bytes::slice_mut(b, 0, end)?.fill(0);
                        Ok(())
                    })
                })?;
            }
            self.transact(NAMES_CREDITS, now, |v| {
                v.modify_superblock(|sb| {
                    let features = u32_at(sb, field::RO_COMPAT)?;
                    put_u32(sb, field::RO_COMPAT, features & !ro_compat::ORPHAN_PRESENT)
                })
            })?;
            self.layout.ro_compat &= !ro_compat::ORPHAN_PRESENT;
        }
        Ok(())
    }
}
