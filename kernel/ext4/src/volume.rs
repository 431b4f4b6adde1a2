//! The mounted file system: its state, and how its blocks are read, checked and changed.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use crate::alloc_state::{Claims, Shadow, Undo};
use crate::bytes::{put_u16, put_u32, split_u64_at, u16_at, u32_at};
use crate::cache::{Cache, Role};
use crate::crc::{crc16, crc32c};
use crate::features::ro_compat;
use crate::group;
use crate::journal::Content;
use crate::layout::{Layout, SUPERBLOCK_BYTES, SUPERBLOCK_CHECKSUM};
use crate::log::Log;
use crate::types::Timestamp;
use crate::{Disk, Error};

/// Free blocks and inodes, as the group descriptors sum up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) blocks: u64,
    pub(crate) inodes: u64,
}

/// A mounted file system. The crate's documentation says how it is used.
pub struct Volume<D: Disk> {
    pub(crate) disk: D,
    pub(crate) layout: Layout,
    pub(crate) cache: Cache,
    pub(crate) log: Log,
    pub(crate) is_read_only: bool,
    /// Writing is forbidden for good: a feature, the disk, or an error.
    pub(crate) is_frozen: bool,
    pub(crate) now: Timestamp,
    pub(crate) counts: Counts,
    /// Blocks freed in the running transaction: free again once it is committed.
    pub(crate) freed: Shadow,
    /// Blocks promised to content that is on its way.
    pub(crate) claims: Claims,
    /// Blocks promised, but not chosen yet.
    pub(crate) reserved: u64,
    pub(crate) revokes: alloc::collections::BTreeSet<u64>,
    /// The operation that is running.
    pub(crate) undo: Option<Undo>,
    /// The inode before each orphan on the list; 0 for the first.
    pub(crate) orphans: BTreeMap<u32, u32>,
    /// Where the file system's own tables are: start and end.
    pub(crate) system: BTreeMap<u64, u64>,
    /// No run of free blocks in this group is longer.
    pub(crate) longest: BTreeMap<u32, u32>,
    /// Where the journal is: runs of the disk.
    pub(crate) journal_places: Vec<(u64, u64)>,
    pub(crate) last_directory_group: u32,
}

impl<D: Disk> Volume<D> {
    /// Reads a block's content from the disk.
    fn read_disk(&self, block: u64) -> Result<Content, Error> {
        let bytes = self.layout.block_bytes;
        let mut content = vec![0; bytes];
        self.disk.read(block * bytes as u64, &mut content)?;
        Ok(Arc::new(content))
    }

    /// The block's content, checked as `role` demands.
    pub(crate) fn block(&mut self, block: u64, role: Role) -> Result<Content, Error> {
        if block >= self.layout.blocks {
            return Err(Error::Corrupt("a block number beyond the end"));
        }
        if let Some(slot) = self.cache.get(block) {
            let (content, had) = (Arc::clone(&slot.content), slot.role);
            if had.serves_as(role) {
                return Ok(content);
            }
            self.verify(block, &content, role)?;
            if let Some(slot) = self.cache.get(block) {
                slot.role = role;
            }
            return Ok(content);
        }
        let content = match self.log.pending(block) {
            Some(content) => content,
            None => self.read_disk(block)?,
        };
        if content.len() != self.layout.block_bytes {
            return Err(Error::Corrupt("a block of the journal with another size"));
        }
        let content = match role {
            Role::BlockBitmap(g) => match self.initial_block_bitmap(g)? {
                Some(bits) => Arc::new(bits),
                None => content,
            },
            Role::InodeBitmap(g) => match self.initial_inode_bitmap(g)? {
                Some(bits) => Arc::new(bits),
                None => content,
            },
            _ => content,
        };
        self.verify(block, &content, role)?;
        self.cache.insert(block, Arc::clone(&content), role);
        if self.undo.is_none() {
            self.cache.shrink();
        }
        Ok(content)
    }

    /// Changes a block within the running operation.
    pub(crate) fn modify<T>(
        &mut self,
        block: u64,
        role: Role,
        change: impl FnOnce(&mut [u8]) -> Result<T, Error>,
    ) -> Result<T, Error> {
        drop(self.block(block, role)?);
        let undo = self.undo.as_mut().ok_or(Error::ReadOnly)?;
        undo.remember(&self.cache, block);
        self.cache.dirty.insert(block);
        let slot = self
            .cache
            .get(block)
            .ok_or(Error::Corrupt("a block left the cache while in use"))?;
        change(Arc::make_mut(&mut slot.content).as_mut_slice())
    }

    /// A block that is new in this role: zeros, whatever was there.
    pub(crate) fn fresh(&mut self, block: u64, role: Role) -> Result<(), Error> {
        if block >= self.layout.blocks {
            return Err(Error::Corrupt("a block number beyond the end"));
        }
        let undo = self.undo.as_mut().ok_or(Error::ReadOnly)?;
        undo.remember(&self.cache, block);
        self.cache
            .insert(block, Arc::new(vec![0; self.layout.block_bytes]), role);
        self.cache.dirty.insert(block);
        // A block that is logged from now on must be replayed, unless it is freed again.
        if self.revokes.remove(&block) {
            undo.revokes_removed.push(block);
        }
        Ok(())
    }

    /// A block of metadata is free: nobody may write it to its home any more, nor replay it.
    pub(crate) fn forget(&mut self, block: u64) -> Result<(), Error> {
        let undo = self.undo.as_mut().ok_or(Error::ReadOnly)?;
        undo.remember(&self.cache, block);
        self.cache.remove(block);
        if self.revokes.insert(block) {
            undo.revokes_added.push(block);
        }
        Ok(())
    }

    fn verify(&mut self, block: u64, content: &Content, role: Role) -> Result<(), Error> {
        let checked = self.layout.has_checksums();
        match role {
            Role::Plain | Role::InodeTable | Role::Superblock => Ok(()),
            Role::Descriptors(i) => group::verify_descriptors(&self.layout, i, content),
            Role::BlockBitmap(g) => self.verify_block_bitmap(g, content),
            Role::InodeBitmap(g) => self.verify_inode_bitmap(g, content),
            Role::Extents(seed) => crate::extents::verify_block(content, checked.then_some(seed)),
            Role::Directory(seed) => crate::dir::verify_block(content, checked.then_some(seed)),
            Role::Attributes => crate::xattr::verify_block(block, content, checked.then_some(self.layout.seed)),
            Role::Orphans(seed) => crate::orphan::verify_block(block, content, checked.then_some(seed)),
        }
    }

    /// Writes checksums into every dirty block, and the counts into the superblock.
    pub(crate) fn seal(&mut self) -> Result<(), Error> {
        let dirty: Vec<u64> = self.cache.dirty.iter().copied().collect();
        if dirty.is_empty() {
            return Ok(());
        }
        let checked = self.layout.has_checksums();
        let mut bitmaps = Vec::new();
        for block in &dirty {
            let Some(slot) = self.cache.get(*block) else {
                return Err(Error::Corrupt("a changed block left the cache"));
            };
            let role = slot.role;
            match role {
                Role::BlockBitmap(_) | Role::InodeBitmap(_) => bitmaps.push((*block, role)),
                Role::Extents(seed) if checked => {
                    crate::extents::seal_block(Arc::make_mut(&mut slot.content).as_mut_slice(), seed)?;
                }
                Role::Directory(seed) if checked => {
                    crate::dir::seal_block(Arc::make_mut(&mut slot.content).as_mut_slice(), seed)?;
                }
                Role::Attributes if checked => {
                    crate::xattr::seal_block(
                        *block,
                        Arc::make_mut(&mut slot.content).as_mut_slice(),
                        self.layout.seed,
                    )?;
                }
                Role::Orphans(seed) if checked => {
                    crate::orphan::seal_block(*block, Arc::make_mut(&mut slot.content).as_mut_slice(), seed)?;
                }
                _ => {}
            }
        }
        // Sealing is part of no operation that may be undone; it makes its own.
        self.begin();
        let sealed = self.seal_tables(&bitmaps);
        match sealed {
            Ok(()) => {
                self.undo = None;
                Ok(())
            }
            Err(e) => {
                self.roll_back();
                Err(e)
            }
        }
    }

    fn seal_tables(&mut self, bitmaps: &[(u64, Role)]) -> Result<(), Error> {
        if self.layout.has_checksums() {
            for (block, role) in bitmaps {
                let content = self.block(*block, *role)?;
                self.seal_bitmap(*role, &content)?;
            }
        }
        if self.layout.has_descriptor_checksums() {
            let tables: Vec<u64> = self.cache.dirty.iter().copied().collect();
            for block in tables {
                let Some(slot) = self.cache.get(block) else { continue };
                if let Role::Descriptors(i) = slot.role {
                    group::seal_descriptors(&self.layout, i, Arc::make_mut(&mut slot.content).as_mut_slice())?;
                }
            }
        }
        let (counts, now) = (self.counts, self.now);
        self.modify_superblock(|sb| {
            crate::mount::put_counts(sb, counts)?;
            put_u32(
                sb,
                crate::layout::field::WRITE_TIME,
                crate::bytes::low32(now.seconds.unsigned_abs()),
            )
        })
    }

    /// Changes the superblock within the running operation, its checksum included.
    pub(crate) fn modify_superblock(
        &mut self,
        change: impl FnOnce(&mut [u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (block, at) = self.layout.superblock();
        let checked = self.layout.has_checksums();
        self.modify(block, Role::Superblock, |b| {
            let sb = crate::bytes::slice_mut(b, at, SUPERBLOCK_BYTES)?;
            change(sb)?;
            seal_superblock(sb, checked)
        })
    }

    /// A number of the superblock.
    pub(crate) fn superblock_u32(&mut self, field: usize) -> Result<u32, Error> {
        let (block, at) = self.layout.superblock();
        u32_at(&self.block(block, Role::Superblock)?, at + field)
    }

    /// Whether a run may belong to a file: on the disk, and none of the file system's own tables.
    pub(crate) fn is_data_run(&self, start: u64, len: u64) -> bool {
        let Some(end) = start.checked_add(len) else {
            return false;
        };
        if len == 0
            || start <= self.layout.superblock().0
            || start < self.layout.first_data_block
            || end > self.layout.blocks
        {
            return false;
        }
        self.system
            .range(..end)
            .next_back()
            .is_none_or(|(_, system_end)| *system_end <= start)
    }
}

/// Writes the checksum of a superblock.
pub(crate) fn seal_superblock(sb: &mut [u8], checked: bool) -> Result<(), Error> {
    if checked {
        let sum = crc32c(!0, crate::bytes::slice(sb, 0, SUPERBLOCK_CHECKSUM)?);
        put_u32(sb, SUPERBLOCK_CHECKSUM, sum)?;
    }
    Ok(())
}

/// The checksum of group `group`'s descriptor `d`, its own field left out.
pub(crate) fn descriptor_checksum(layout: &Layout, group: u32, d: &[u8]) -> Result<u16, Error> {
    const FIELD: usize = 0x1e;
    let head = crate::bytes::slice(d, 0, FIELD)?;
    let tail = crate::bytes::slice(d, FIELD + 2, d.len().saturating_sub(FIELD + 2))?;
    if layout.has_checksums() {
        let sum = crc32c(layout.seed, &group.to_le_bytes());
        let sum = crc32c(crc32c(sum, head), &[0, 0]);
        return Ok(crate::bytes::low16(crc32c(sum, tail)));
    }
    if layout.ro_compat & ro_compat::GDT_CSUM != 0 {
        let sum = crc16(crc16(!0, &layout.uuid), &group.to_le_bytes());
        let sum = crc16(sum, head);
        let wide = layout.descriptor_bytes > 32;
        return Ok(if wide { crc16(sum, tail) } else { sum });
    }
    Ok(0)
}

/// Checks that need no more than the numbers: kept here for the descriptors' two halves.
pub(crate) fn wide_u64(d: &[u8], low: usize, high: usize) -> Result<u64, Error> {
    if d.len() > 32 {
        split_u64_at(d, low, high)
    } else {
        u32_at(d, low).map(u64::from)
    }
}

/// As [`wide_u64`], for numbers of two times 16 bits.
pub(crate) fn wide_u32(d: &[u8], low: usize, high: usize) -> Result<u32, Error> {
    let upper = if d.len() > 32 {
        u32::from(u16_at(d, high)?) << 16
    } else {
        0
    };
    Ok(u32::from(u16_at(d, low)?) | upper)
}

/// Writes what [`wide_u32`] reads.
pub(crate) fn put_wide_u32(d: &mut [u8], low: usize, high: usize, value: u32) -> Result<(), Error> {
    put_u16(d, low, crate::bytes::low16(value))?;
    if d.len() > 32 {
        put_u16(d, high, crate::bytes::low16(value >> 16))?;
    }
    Ok(())
}
