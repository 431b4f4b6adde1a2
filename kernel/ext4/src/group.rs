//! Block groups: descriptors, bitmaps, and who gets which block and inode (kernel documentation,
//! `filesystems/ext4/group_descr.rst` and `bitmaps.rst`).

use alloc::vec;
use alloc::vec::Vec;

use crate::journal::Content;
use crate::le::{crc16, crc32c, part, put16, u16_at, u32_at};
use crate::superblock::{Super, incompat};
use crate::volume::{Blocks, Volume};
use crate::{Disk, Error};

const INODE_UNINIT: u16 = 1;
const BLOCK_UNINIT: u16 = 2;

/// A group's descriptor.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) index: u32,
    raw: Vec<u8>,
}

impl Group {
    fn wide(&self, low: usize, high: usize) -> Result<u64, Error> {
        let high = if self.raw.len() >= 64 {
            u32_at(&self.raw, high)?
        } else {
            0
        };
        Ok(u64::from(u32_at(&self.raw, low)?) | u64::from(high) << 32)
    }

    fn half(&self, low: usize, high: usize) -> Result<u32, Error> {
        let high = if self.raw.len() >= 64 {
            u16_at(&self.raw, high)?
        } else {
            0
        };
        Ok(u32::from(u16_at(&self.raw, low)?) | u32::from(high) << 16)
    }

    fn set_half(&mut self, low: usize, high: usize, value: u32) -> Result<(), Error> {
        put16(&mut self.raw, low, value as u16)?;
        if self.raw.len() >= 64 {
            put16(&mut self.raw, high, (value >> 16) as u16)?;
        }
        Ok(())
    }

    pub(crate) fn block_bitmap(&self) -> Result<u64, Error> {
        self.wide(0x0, 0x20)
    }

    pub(crate) fn inode_bitmap(&self) -> Result<u64, Error> {
        self.wide(0x4, 0x24)
    }

    pub(crate) fn inode_table(&self) -> Result<u64, Error> {
        self.wide(0x8, 0x28)
    }

    pub(crate) fn free_blocks(&self) -> Result<u32, Error> {
        self.half(0xc, 0x2c)
    }

    pub(crate) fn free_inodes(&self) -> Result<u32, Error> {
        self.half(0xe, 0x2e)
    }

    pub(crate) fn directories(&self) -> Result<u32, Error> {
        self.half(0x10, 0x30)
    }

    fn flags(&self) -> Result<u16, Error> {
        u16_at(&self.raw, 0x12)
    }

    fn unused_inodes(&self) -> Result<u32, Error> {
        self.half(0x1c, 0x32)
    }

    fn checksum(&self, sb: &Super) -> Result<u16, Error> {
        let number = self.index.to_le_bytes();
        if sb.has_csum() {
            let mut copy = self.raw.clone();
            put16(&mut copy, 0x1e, 0)?;
            return Ok(crc32c(crc32c(sb.seed, &number), &copy) as u16);
        }
        let mut crc = crc16(!0, part(&sb.raw, 0x68, 0x78)?);
        crc = crc16(crc, &number);
        crc = crc16(crc, part(&self.raw, 0, 0x1e)?);
        if self.raw.len() > 0x20 && sb.is_64bit() {
            crc = crc16(crc, part(&self.raw, 0x20, self.raw.len())?);
        }
        Ok(crc)
    }
}

fn bit(bitmap: &[u8], at: u32) -> bool {
    bitmap.get(at as usize / 8).is_some_and(|b| b >> (at % 8) & 1 != 0)
}

fn set_bit(bitmap: &mut [u8], at: u32, value: bool) {
    if let Some(b) = bitmap.get_mut(at as usize / 8) {
        *b = *b & !(1 << (at % 8)) | u8::from(value) << (at % 8);
    }
}

/// The first clear bit in `from..to`.
fn find_clear(bitmap: &[u8], mut from: u32, to: u32) -> Option<u32> {
    while from < to {
        if from.is_multiple_of(8) {
            match bitmap.get(from as usize / 8) {
                Some(0xff) => {
                    from += 8;
                    continue;
                }
                None => return None,
                Some(_) => {}
            }
        }
        if !bit(bitmap, from) {
            return Some(from);
        }
        from += 1;
    }
    None
}

/// Clear bits from `from` on, at most `most`.
fn clear_run(bitmap: &[u8], from: u32, to: u32, most: u32) -> u32 {
    let end = to.min(from.saturating_add(most));
    (from..end).take_while(|i| !bit(bitmap, *i)).count() as u32
}

/// The best run for `want` blocks in `from..to`: the first that is long enough, else the longest.
fn find_run(bitmap: &[u8], from: u32, to: u32, want: u32) -> Option<(u32, u32)> {
    let mut best: Option<(u32, u32)> = None;
    let mut at = from;
    while let Some(start) = find_clear(bitmap, at, to) {
        let len = clear_run(bitmap, start, to, want);
        if len >= want {
            return Some((start, len));
        }
        if best.is_none_or(|(_, n)| len > n) {
            best = Some((start, len));
        }
        at = start + len.max(1);
    }
    best
}

impl<D: Disk> Volume<D> {
    pub(crate) fn group(&mut self, index: u32) -> Result<Group, Error> {
        if index >= self.sb.groups {
            return Err(Error::Corrupt("a group's number"));
        }
        let (block, offset) = self.sb.desc_at(index)?;
        let content = self.block(block)?;
        let raw = part(&content, offset, offset + self.sb.desc_bytes)?.to_vec();
        let group = Group { index, raw };
        if (self.sb.has_csum() || self.sb.has_gdt_csum()) && group.checksum(&self.sb)? != u16_at(&group.raw, 0x1e)? {
            return Err(Error::Corrupt("the checksum of a group's descriptor"));
        }
        let table = u64::from(self.sb.inodes_per_group) * self.sb.inode_bytes as u64 / self.sb.block_bytes as u64;
        let last = self.sb.blocks;
        let (b, i, t) = (group.block_bitmap()?, group.inode_bitmap()?, group.inode_table()?);
        let low = self.sb.first_data_block;
        if b <= low || i <= low || t <= low || b >= last || i >= last || t.checked_add(table).is_none_or(|e| e > last) {
            return Err(Error::Corrupt("a group's descriptor"));
        }
        Ok(group)
    }

    fn store_group(&mut self, group: &mut Group) -> Result<(), Error> {
        if self.sb.has_csum() || self.sb.has_gdt_csum() {
            let checksum = group.checksum(&self.sb)?;
            put16(&mut group.raw, 0x1e, checksum)?;
        }
        let (block, offset) = self.sb.desc_at(group.index)?;
        self.modify(block, |b| crate::le::put(b, offset, &group.raw))
    }

    fn bitmap_checksum(&self, bitmap: &[u8], bits: u32) -> Result<u32, Error> {
        Ok(crc32c(self.sb.seed, part(bitmap, 0, bits as usize / 8)?))
    }

    fn check_bitmap(&self, group: &Group, bitmap: &[u8], bits: u32, at: [usize; 2]) -> Result<(), Error> {
        if !self.sb.has_csum() {
            return Ok(());
        }
        let wide = group.raw.len() >= 64;
        let mask = if wide { u32::MAX } else { 0xffff };
        if self.bitmap_checksum(bitmap, bits)? & mask != group.half(at[0], at[1])? {
            return Err(Error::Corrupt("a bitmap's checksum"));
        }
        Ok(())
    }

    /// A group's bitmap of blocks. One that was never written is made.
    fn block_bitmap(&mut self, group: &Group) -> Result<Content, Error> {
        let at = group.block_bitmap()?;
        let has_flags = self.sb.has_csum() || self.sb.has_gdt_csum();
        if has_flags && group.flags()? & BLOCK_UNINIT != 0 {
            let bits = self.sb.block_bytes * 8;
            let mut map = vec![0; self.sb.block_bytes];
            let meta = self.sb.base_meta_blocks(group.index)?;
            (0..meta).for_each(|i| set_bit(&mut map, i, true));
            let table = u64::from(self.sb.inodes_per_group) * self.sb.inode_bytes as u64 / self.sb.block_bytes as u64;
            let own = [
                (group.block_bitmap()?, 1),
                (group.inode_bitmap()?, 1),
                (group.inode_table()?, table),
            ];
            for (start, len) in own {
                for block in start..start + len {
                    if let Some((g, i)) = self.sb.group_of(block)
                        && (g == group.index || self.sb.incompat & incompat::FLEX_BG == 0)
                    {
                        set_bit(&mut map, i, true);
                    }
                }
            }
            (self.sb.blocks_of(group.index)..bits as u32).for_each(|i| set_bit(&mut map, i, true));
            return Ok(Content::new(map));
        }
        let map = self.block(at)?;
        self.check_bitmap(group, &map, self.sb.blocks_per_group, [0x18, 0x38])?;
        Ok(map)
    }

    fn inode_bitmap(&mut self, group: &Group) -> Result<Content, Error> {
        let has_flags = self.sb.has_csum() || self.sb.has_gdt_csum();
        if has_flags && group.flags()? & INODE_UNINIT != 0 {
            let mut map = vec![0; self.sb.block_bytes];
            (self.sb.inodes_per_group..(self.sb.block_bytes * 8) as u32).for_each(|i| set_bit(&mut map, i, true));
            return Ok(Content::new(map));
        }
        let map = self.block(group.inode_bitmap()?)?;
        self.check_bitmap(group, &map, self.sb.inodes_per_group, [0x1a, 0x3a])?;
        Ok(map)
    }

    fn store_block_bitmap(&mut self, group: &mut Group, map: Vec<u8>, free: u32) -> Result<(), Error> {
        if self.sb.has_csum() {
            let crc = self.bitmap_checksum(&map, self.sb.blocks_per_group)?;
            group.set_half(0x18, 0x38, crc)?;
        }
        let flags = group.flags()? & !BLOCK_UNINIT;
        put16(&mut group.raw, 0x12, flags)?;
        group.set_half(0xc, 0x2c, free)?;
        self.replace(group.block_bitmap()?, map)?;
        self.store_group(group)
    }

    /// Blocks that may be given out: what is free but not promised, nor kept for root.
    pub(crate) fn available_blocks(&self, may_use_reserve: bool) -> Result<u64, Error> {
        let kept = if may_use_reserve { 0 } else { self.sb.reserved_blocks()? };
        Ok(self
            .sb
            .free_blocks()?
            .saturating_sub(kept)
            .saturating_sub(self.reserved))
    }

    /// Takes up to `want` blocks in a row, near `goal`; at least one.
    pub(crate) fn take_blocks(&mut self, goal: u64, want: u32) -> Result<Blocks, Error> {
        let want = want.clamp(1, self.sb.blocks_per_group);
        let goal = if goal >= self.sb.blocks || goal < self.sb.first_data_block {
            self.sb.first_data_block
        } else {
            goal
        };
        let (first, offset) = self.sb.group_of(goal).unwrap_or((0, 0));
        let groups = self.sb.groups;
        let mut best: Option<(u32, u32, u32)> = None;
        for step in 0..=groups {
            // The goal's group twice: from the goal on, and at the end all of it.
            let index = (first + step) % groups;
            let group = self.group(index)?;
            let free = group.free_blocks()?;
            if free == 0 || (free < want && best.is_some()) {
                continue;
            }
            let map = self.block_bitmap(&group)?;
            let to = self.sb.blocks_of(index);
            let from = if step == 0 { offset.min(to) } else { 0 };
            if step == 0 {
                // Right behind what is there already, however short.
                let run = clear_run(&map, from, to, want);
                if run > 0 {
                    return self.mark_taken(index, from, run);
                }
            }
            match find_run(&map, from, to, want) {
                Some((at, len)) if len >= want => return self.mark_taken(index, at, len),
                Some((at, len)) if best.is_none_or(|(_, _, n)| len > n) => best = Some((index, at, len)),
                _ => {}
            }
        }
        match best {
            Some((index, at, len)) => self.mark_taken(index, at, len),
            None => Err(Error::NoSpace),
        }
    }

    fn mark_taken(&mut self, index: u32, at: u32, len: u32) -> Result<Blocks, Error> {
        let mut group = self.group(index)?;
        let mut map = self.block_bitmap(&group)?.to_vec();
        (at..at + len).for_each(|i| set_bit(&mut map, i, true));
        let free = group
            .free_blocks()?
            .checked_sub(len)
            .ok_or(Error::Corrupt("a group's count of free blocks"))?;
        self.store_block_bitmap(&mut group, map, free)?;
        self.change_super(|sb| {
            let n = sb.free_blocks()?;
            sb.set_free_blocks(n.saturating_sub(u64::from(len)))
        })?;
        let start = self.sb.first_block_of(index) + u64::from(at);
        Ok(Blocks { start, len })
    }

    /// Clears blocks in the bitmaps: at a commit.
    pub(crate) fn release_blocks(&mut self, blocks: Blocks) -> Result<(), Error> {
        let mut at = blocks.start;
        let end = blocks.start + u64::from(blocks.len);
        while at < end {
            let (index, offset) = self.sb.group_of(at).ok_or(Error::Corrupt("a freed block's number"))?;
            let n = u64::from(self.sb.blocks_of(index) - offset).min(end - at) as u32;
            let mut group = self.group(index)?;
            let mut map = self.block_bitmap(&group)?.to_vec();
            for i in offset..offset + n {
                if !bit(&map, i) {
                    return Err(Error::Corrupt("a block that is free was freed"));
                }
                set_bit(&mut map, i, false);
            }
            let free = group.free_blocks()? + n;
            self.store_block_bitmap(&mut group, map, free)?;
            self.change_super(|sb| {
                let free = sb.free_blocks()?;
                sb.set_free_blocks(free + u64::from(n))
            })?;
            at += u64::from(n);
        }
        Ok(())
    }

    /// Takes an inode number, for a directory where there is room, for others near `parent`.
    pub(crate) fn take_inode(&mut self, parent: u32, is_directory: bool) -> Result<u32, Error> {
        let groups = self.sb.groups;
        let home = (parent.saturating_sub(1)) / self.sb.inodes_per_group;
        let start = if is_directory {
            self.directory_group(home)?
        } else {
            home.min(groups - 1)
        };
        for step in 0..groups {
            let index = (start + step) % groups;
            let mut group = self.group(index)?;
            if group.free_inodes()? == 0 {
                continue;
            }
            let mut map = self.inode_bitmap(&group)?.to_vec();
            let per = self.sb.inodes_per_group;
            let from = if index == 0 { self.sb.first_inode - 1 } else { 0 };
            let Some(at) = find_clear(&map, from, per) else {
                continue;
            };
            set_bit(&mut map, at, true);
            if self.sb.has_csum() || self.sb.has_gdt_csum() {
                let flags = group.flags()?;
                // The bitmap of blocks must exist before that of inodes is used (e2fsck's rule).
                if flags & BLOCK_UNINIT != 0 {
                    let blocks = self.block_bitmap(&group)?.to_vec();
                    let free = group.free_blocks()?;
                    self.store_block_bitmap(&mut group, blocks, free)?;
                }
                let flags = group.flags()? & !INODE_UNINIT;
                put16(&mut group.raw, 0x12, flags)?;
                let unused = group.unused_inodes()?.min(per - at - 1);
                group.set_half(0x1c, 0x32, unused)?;
            }
            let free = group.free_inodes()? - 1;
            group.set_half(0xe, 0x2e, free)?;
            if is_directory {
                let n = group.directories()? + 1;
                group.set_half(0x10, 0x30, n)?;
            }
            self.store_inode_bitmap(&mut group, map)?;
            self.change_super(|sb| {
                let n = sb.free_inodes()?;
                sb.set_free_inodes(n.saturating_sub(1))
            })?;
            return Ok(index * per + at + 1);
        }
        Err(Error::NoSpace)
    }

    fn store_inode_bitmap(&mut self, group: &mut Group, map: Vec<u8>) -> Result<(), Error> {
        if self.sb.has_csum() {
            let crc = self.bitmap_checksum(&map, self.sb.inodes_per_group)?;
            group.set_half(0x1a, 0x3a, crc)?;
        }
        self.replace(group.inode_bitmap()?, map)?;
        self.store_group(group)
    }

    /// A group for a new directory: the next, going round, that has more than its share of inodes and blocks free.
    fn directory_group(&mut self, home: u32) -> Result<u32, Error> {
        let groups = self.sb.groups;
        let share_inodes = self.sb.free_inodes()? / groups;
        let share_blocks = self.sb.free_blocks()? / u64::from(groups);
        for step in 0..groups {
            let index = (self.last_group + step) % groups;
            let group = self.group(index)?;
            if group.free_inodes()? > 0
                && group.free_inodes()? >= share_inodes
                && u64::from(group.free_blocks()?) >= share_blocks
            {
                self.last_group = index;
                return Ok(index);
            }
        }
        Ok(home.min(groups - 1))
    }

    pub(crate) fn release_inode(&mut self, ino: u32, is_directory: bool) -> Result<(), Error> {
        let per = self.sb.inodes_per_group;
        let (index, at) = ((ino - 1) / per, (ino - 1) % per);
        let mut group = self.group(index)?;
        let mut map = self.inode_bitmap(&group)?.to_vec();
        if !bit(&map, at) {
            return Err(Error::Corrupt("an inode that is free was freed"));
        }
        set_bit(&mut map, at, false);
        let free = group.free_inodes()? + 1;
        group.set_half(0xe, 0x2e, free)?;
        if is_directory {
            let n = group.directories()?.saturating_sub(1);
            group.set_half(0x10, 0x30, n)?;
        }
        self.store_inode_bitmap(&mut group, map)?;
        self.change_super(|sb| {
            let n = sb.free_inodes()?;
            sb.set_free_inodes(n + 1)
        })
    }

    /// Whether an inode number is taken.
    pub(crate) fn is_inode_taken(&mut self, ino: u32) -> Result<bool, Error> {
        let per = self.sb.inodes_per_group;
        let group = self.group((ino - 1) / per)?;
        let map = self.inode_bitmap(&group)?;
        Ok(bit(&map, (ino - 1) % per))
    }
}
