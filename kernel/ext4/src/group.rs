//! Group descriptors.

use alloc::vec;
use alloc::vec::Vec;

use crate::bytes::{low16, put_u16, slice, slice_mut, u16_at};
use crate::cache::Role;
use crate::crc::crc32c;
use crate::layout::Layout;
use crate::volume::{Volume, descriptor_checksum, put_wide_u32, wide_u32, wide_u64};
use crate::{Disk, Error};

/// Bits of `bg_flags`.
pub(crate) mod flag {
    /// The bitmap and the table of inodes are not written yet.
    pub(crate) const INODE_UNINIT: u16 = 1;
    /// The bitmap of blocks is not written yet.
    pub(crate) const BLOCK_UNINIT: u16 = 2;
}

/// What a descriptor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) block_bitmap: u64,
    pub(crate) inode_bitmap: u64,
    pub(crate) inode_table: u64,
    pub(crate) free_blocks: u32,
    pub(crate) free_inodes: u32,
    pub(crate) directories: u32,
    pub(crate) flags: u16,
    /// Inodes at the end of the table that were never used.
    pub(crate) unused: u32,
}

fn parse(layout: &Layout, d: &[u8]) -> Result<Group, Error> {
    let uninit = layout.has_descriptor_checksums();
    Ok(Group {
        block_bitmap: wide_u64(d, 0x00, 0x20)?,
        inode_bitmap: wide_u64(d, 0x04, 0x24)?,
        inode_table: wide_u64(d, 0x08, 0x28)?,
        free_blocks: wide_u32(d, 0x0c, 0x2c)?,
        free_inodes: wide_u32(d, 0x0e, 0x2e)?,
        directories: wide_u32(d, 0x10, 0x30)?,
        flags: if uninit { u16_at(d, 0x12)? } else { 0 },
        unused: if uninit { wide_u32(d, 0x1c, 0x32)? } else { 0 },
    })
}

/// The descriptors in block `i`, with their groups.
fn each<'a>(layout: &'a Layout, i: u32, content: &'a [u8]) -> impl Iterator<Item = (u32, &'a [u8])> {
    let first = i.saturating_mul(layout.descriptors_per_block());
    content
        .chunks_exact(layout.descriptor_bytes)
        .zip(first..layout.groups)
        .map(|(d, group)| (group, d))
}

/// Checks every descriptor of the `i`th block of them.
pub(crate) fn verify_descriptors(layout: &Layout, i: u32, content: &[u8]) -> Result<(), Error> {
    for (n, d) in each(layout, i, content) {
        if layout.has_descriptor_checksums() && descriptor_checksum(layout, n, d)? != u16_at(d, 0x1e)? {
            return Err(Error::Corrupt("checksum of a group descriptor"));
        }
        let group = parse(layout, d)?;
        let on_disk = |block: u64, len: u64| {
            block > layout.superblock().0 && block.checked_add(len).is_some_and(|end| end <= layout.blocks)
        };
        if !on_disk(group.block_bitmap, 1)
            || !on_disk(group.inode_bitmap, 1)
            || !on_disk(group.inode_table, u64::from(layout.inode_table_blocks()))
        {
            return Err(Error::Corrupt("a group's tables are beyond the end"));
        }
        if group.free_blocks > layout.group_len(n)
            || group.free_inodes > layout.inodes_per_group
            || group.directories > layout.inodes_per_group
            || group.unused > layout.inodes_per_group
        {
            return Err(Error::Corrupt("counts of a group"));
        }
    }
    Ok(())
}

/// Writes the checksums of the `i`th block of descriptors.
pub(crate) fn seal_descriptors(layout: &Layout, i: u32, content: &mut [u8]) -> Result<(), Error> {
    let sums: Vec<u16> = each(layout, i, content)
        .map(|(n, d)| descriptor_checksum(layout, n, d))
        .collect::<Result<_, _>>()?;
    for (d, sum) in content.chunks_exact_mut(layout.descriptor_bytes).zip(sums) {
        put_u16(d, 0x1e, sum)?;
    }
    Ok(())
}

/// The bits a bitmap has beyond what it describes are set.
pub(crate) fn set_bits(bits: &mut [u8], from: u32, to: u32) {
    for bit in from..to {
        if let Some(byte) = bits.get_mut((bit / 8) as usize) {
            *byte |= 1 << (bit % 8);
        }
    }
}

fn is_set(bits: &[u8], bit: u32) -> bool {
    bits.get((bit / 8) as usize).is_some_and(|b| b & (1 << (bit % 8)) != 0)
}

impl<D: Disk> Volume<D> {
    fn descriptor_place(&self, group: u32) -> Result<(u64, Role, usize), Error> {
        if group >= self.layout.groups {
            return Err(Error::Corrupt("a group beyond the last"));
        }
        let per = self.layout.descriptors_per_block();
        let i = group / per;
        let at = (group % per) as usize * self.layout.descriptor_bytes;
        Ok((self.layout.descriptor_block(i), Role::Descriptors(i), at))
    }

    pub(crate) fn group(&mut self, group: u32) -> Result<Group, Error> {
        let (block, role, at) = self.descriptor_place(group)?;
        let content = self.block(block, role)?;
        parse(&self.layout, slice(&content, at, self.layout.descriptor_bytes)?)
    }

    /// Writes what may change of a descriptor.
    pub(crate) fn put_group(&mut self, n: u32, group: &Group) -> Result<(), Error> {
        let (block, role, at) = self.descriptor_place(n)?;
        let (len, uninit) = (self.layout.descriptor_bytes, self.layout.has_descriptor_checksums());
        let group = *group;
        self.modify(block, role, |b| {
            let d = slice_mut(b, at, len)?;
            put_wide_u32(d, 0x0c, 0x2c, group.free_blocks)?;
            put_wide_u32(d, 0x0e, 0x2e, group.free_inodes)?;
            put_wide_u32(d, 0x10, 0x30, group.directories)?;
            if uninit {
                put_u16(d, 0x12, group.flags)?;
                put_wide_u32(d, 0x1c, 0x32, group.unused)?;
            }
            Ok(())
        })
    }

    /// The bitmap of a group that has none on the disk yet.
    pub(crate) fn initial_block_bitmap(&mut self, n: u32) -> Result<Option<Vec<u8>>, Error> {
        let group = self.group(n)?;
        if group.flags & flag::BLOCK_UNINIT == 0 {
            return Ok(None);
        }
        let mut bits = vec![0; self.layout.block_bytes];
        let (start, len) = (self.layout.group_start(n), self.layout.group_len(n));
        set_bits(&mut bits, 0, self.layout.base_blocks(n).min(len));
        let tables = [
            (group.block_bitmap, 1),
            (group.inode_bitmap, 1),
            (group.inode_table, self.layout.inode_table_blocks()),
        ];
        for (block, count) in tables {
            for b in block..block + u64::from(count) {
                if let Some(bit) = b.checked_sub(start).and_then(|bit| u32::try_from(bit).ok())
                    && bit < len
                {
                    set_bits(&mut bits, bit, bit + 1);
                }
            }
        }
        set_bits(&mut bits, len, (self.layout.block_bytes * 8) as u32);
        Ok(Some(bits))
    }

    /// As [`initial_block_bitmap`](Self::initial_block_bitmap), of inodes.
    pub(crate) fn initial_inode_bitmap(&mut self, n: u32) -> Result<Option<Vec<u8>>, Error> {
        if self.group(n)?.flags & flag::INODE_UNINIT == 0 {
            return Ok(None);
        }
        let mut bits = vec![0; self.layout.block_bytes];
        let all = (self.layout.block_bytes * 8) as u32;
        set_bits(&mut bits, self.layout.inodes_per_group, all);
        Ok(Some(bits))
    }

    fn bitmap_checksum(&self, bits: &[u8], count: u32) -> Result<u32, Error> {
        Ok(crc32c(self.layout.seed, slice(bits, 0, (count / 8) as usize)?))
    }

    fn is_checksum_right(&mut self, n: u32, sum: u32, low: usize, high: usize) -> Result<bool, Error> {
        let (block, role, at) = self.descriptor_place(n)?;
        let content = self.block(block, role)?;
        let d = slice(&content, at, self.layout.descriptor_bytes)?;
        Ok(if d.len() > 32 {
            wide_u32(d, low, high)? == sum
        } else {
            u16_at(d, low)? == low16(sum)
        })
    }

    pub(crate) fn verify_block_bitmap(&mut self, n: u32, bits: &[u8]) -> Result<(), Error> {
        let group = self.group(n)?;
        if self.layout.has_checksums() && group.flags & flag::BLOCK_UNINIT == 0 {
            let sum = self.bitmap_checksum(bits, self.layout.blocks_per_group)?;
            if !self.is_checksum_right(n, sum, 0x18, 0x38)? {
                return Err(Error::Corrupt("checksum of a block bitmap"));
            }
        }
        // The tables are in use, or blocks of them could be given away.
        let start = self.layout.group_start(n);
        let mut tables = vec![
            (group.block_bitmap, 1u64),
            (group.inode_bitmap, 1),
            (group.inode_table, u64::from(self.layout.inode_table_blocks())),
        ];
        tables.push((start, u64::from(self.layout.base_blocks(n))));
        for (block, count) in tables {
            for b in block..block + count {
                if b >= start && b < start + u64::from(self.layout.group_len(n)) && !is_set(bits, (b - start) as u32) {
                    return Err(Error::Corrupt("a block bitmap has the group's tables free"));
                }
            }
        }
        Ok(())
    }

    pub(crate) fn verify_inode_bitmap(&mut self, n: u32, bits: &[u8]) -> Result<(), Error> {
        let group = self.group(n)?;
        if self.layout.has_checksums() && group.flags & flag::INODE_UNINIT == 0 {
            let sum = self.bitmap_checksum(bits, self.layout.inodes_per_group)?;
            if !self.is_checksum_right(n, sum, 0x1a, 0x3a)? {
                return Err(Error::Corrupt("checksum of an inode bitmap"));
            }
        }
        Ok(())
    }

    /// Writes a changed bitmap's checksum into its descriptor.
    pub(crate) fn seal_bitmap(&mut self, role: Role, bits: &[u8]) -> Result<(), Error> {
        let (n, count, low, high) = match role {
            Role::BlockBitmap(n) => (n, self.layout.blocks_per_group, 0x18, 0x38),
            Role::InodeBitmap(n) => (n, self.layout.inodes_per_group, 0x1a, 0x3a),
            _ => return Ok(()),
        };
        let sum = self.bitmap_checksum(bits, count)?;
        let (block, role, at) = self.descriptor_place(n)?;
        let len = self.layout.descriptor_bytes;
        self.modify(block, role, |b| put_wide_u32(slice_mut(b, at, len)?, low, high, sum))
    }
}
