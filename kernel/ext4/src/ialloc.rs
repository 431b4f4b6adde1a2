//! Inodes: finding, taking and freeing them.

use alloc::vec;
use alloc::vec::Vec;

use crate::balloc::Bits;
use crate::bytes::{low16, low32, put_u16};
use crate::cache::Role;
use crate::crc::crc32c;
use crate::group::{flag, set_bits};
use crate::inode::Raw;
use crate::types::{Kind, NewFile, Timestamp};
use crate::volume::Volume;
use crate::{Disk, Error};

/// Groups looked at for a good place of a directory before any place will do.
const PATIENCE: u32 = 64;

const BAD_COUNT: Error = Error::Corrupt("count of a group's free inodes");

impl<D: Disk> Volume<D> {
    pub(crate) fn inode_group(&self, ino: u32) -> u32 {
        ino.saturating_sub(1) / self.layout.inodes_per_group
    }

    /// Where a new directory goes: those of the root are spread, others stay near their parent while it has room.
    fn directory_group(&mut self, parent: u32) -> Result<Option<u32>, Error> {
        let groups = self.layout.groups;
        let is_top = parent == crate::Ino::ROOT.0;
        let inodes = low32(self.counts.inodes / u64::from(groups));
        let blocks = low32(self.counts.blocks / u64::from(groups));
        let (start, inodes, blocks) = if is_top {
            self.last_directory_group = (self.last_directory_group + 1) % groups;
            (self.last_directory_group, inodes, blocks)
        } else {
            (self.inode_group(parent), inodes / 4, blocks / 4)
        };
        let mut best: Option<(u32, u32)> = None;
        for k in 0..groups.min(PATIENCE) {
            let n = (start + k) % groups;
            let group = self.group(n)?;
            if group.free_inodes == 0 || group.free_inodes < inodes || group.free_blocks < blocks {
                continue;
            }
            if !is_top {
                return Ok(Some(n));
            }
            if best.is_none_or(|(_, d)| group.directories < d) {
                best = Some((n, group.directories));
            }
        }
        Ok(best.map(|(n, _)| n))
    }

    /// Groups to try for a new inode, best first.
    fn candidates(&mut self, parent: u32, is_directory: bool) -> Result<Vec<u32>, Error> {
        let groups = self.layout.groups;
        let home = self.inode_group(parent);
        let mut order = Vec::new();
        if is_directory && let Some(n) = self.directory_group(parent)? {
            order.push(n);
        }
        order.push(home);
        let mut step = 1;
        while step < groups {
            order.push((home + step) % groups);
            step *= 2;
        }
        Ok(order)
    }

    fn take_in(&mut self, n: u32, is_directory: bool) -> Result<Option<u32>, Error> {
        let mut group = self.group(n)?;
        if group.free_inodes == 0 {
            return Ok(None);
        }
        let per = self.layout.inodes_per_group;
        let content = self.block(group.inode_bitmap, Role::InodeBitmap(n))?;
        let (chunks, _) = content.as_chunks::<8>();
        let words: Vec<u64> = chunks.iter().map(|c| u64::from_le_bytes(*c)).collect();
        let first = if n == 0 { self.layout.first_inode - 1 } else { 0 };
        let index = Bits(&words).next_free(first, per);
        if index >= per {
            return Ok(None);
        }
        drop(content);
        self.modify(group.inode_bitmap, Role::InodeBitmap(n), |bits| {
            set_bits(bits, index, index + 1);
            Ok(())
        })?;
        if group.flags & flag::BLOCK_UNINIT != 0 {
            // Who uses the inodes of a group has its bitmap of blocks written too, as Linux does.
            self.modify(group.block_bitmap, Role::BlockBitmap(n), |_| Ok(()))?;
        }
        let used_before = per - group.unused.min(per);
        group.flags &= !(flag::INODE_UNINIT | flag::BLOCK_UNINIT);
        group.free_inodes = group.free_inodes.checked_sub(1).ok_or(BAD_COUNT)?;
        group.unused = group.unused.min(per - (index + 1));
        if is_directory {
            group.directories += 1;
        }
        self.put_group(n, &group)?;
        self.counts.inodes = self.counts.inodes.checked_sub(1).ok_or(BAD_COUNT)?;
        let in_block = (self.layout.block_bytes / self.layout.inode_bytes) as u32;
        if index >= used_before && index.is_multiple_of(in_block) && self.layout.has_descriptor_checksums() {
            // Nothing in this block of the table was ever used.
            self.fresh(group.inode_table + u64::from(index / in_block), Role::InodeTable)?;
        }
        Ok(Some(n * per + index + 1))
    }

    /// Takes an inode near `parent`, and fills in what a new file is. It is not stored yet.
    pub(crate) fn new_inode(&mut self, parent: &Raw, new: &NewFile, now: Timestamp) -> Result<Raw, Error> {
        let is_directory = new.kind == Kind::Directory;
        let mut ino = None;
        for n in self.candidates(parent.ino, is_directory)? {
            ino = self.take_in(n, is_directory)?;
            if ino.is_some() {
                break;
            }
        }
        if ino.is_none() && self.counts.inodes > 0 {
            for n in 0..self.layout.groups {
                ino = self.take_in(n, is_directory)?;
                if ino.is_some() {
                    break;
                }
            }
        }
        let ino = ino.ok_or(Error::NoSpace)?;
        let mut raw = Raw {
            ino,
            bytes: vec![0; self.layout.inode_bytes],
        };
        if self.layout.extra_isize > 0 {
            put_u16(&mut raw.bytes, 0x80, self.layout.extra_isize)?;
        }
        raw.set_mode(new.kind.mode_bits() | new.permissions & 0x0fff);
        raw.set_owner(new.uid, new.gid);
        raw.set_generation(crc32c(
            now.nanoseconds ^ low32(now.seconds.cast_unsigned()),
            &ino.to_le_bytes(),
        ));
        raw.set_atime(now);
        raw.touch(now);
        raw.set_btime(now);
        let mut flags = parent.flags() & crate::inode::flag::INHERITED;
        match new.kind {
            Kind::Regular | Kind::Directory | Kind::Symlink if self.layout.has_extents() => {
                flags |= crate::inode::flag::EXTENTS;
                crate::extents::write_empty_root(raw.map_mut())?;
            }
            Kind::CharDevice | Kind::BlockDevice => raw.set_device(new.device),
            _ => {}
        }
        raw.set_flags(flags);
        Ok(raw)
    }

    /// Frees an inode whose blocks are free already.
    pub(crate) fn free_inode(&mut self, raw: &mut Raw, now: Timestamp) -> Result<(), Error> {
        let is_directory = raw.is_directory();
        let n = self.inode_group(raw.ino);
        let index = (raw.ino - 1) % self.layout.inodes_per_group;
        raw.set_dtime(low32(now.seconds.unsigned_abs()).max(1));
        raw.set_size(0);
        raw.set_flags(raw.flags() & !(crate::inode::flag::INDEX | crate::inode::flag::HUGE_FILE));
        raw.set_mode(0);
        self.store(raw)?;
        let mut group = self.group(n)?;
        self.modify(group.inode_bitmap, Role::InodeBitmap(n), |bits| {
            let byte = bits
                .get_mut((index / 8) as usize)
                .ok_or(Error::Corrupt("an inode beyond its group"))?;
            if *byte & (1 << (index % 8)) == 0 {
                return Err(Error::Corrupt("an inode is freed twice"));
            }
            *byte &= !(1 << (index % 8));
            Ok(())
        })?;
        group.free_inodes += 1;
        if group.free_inodes > self.layout.inodes_per_group {
            return Err(BAD_COUNT);
        }
        if is_directory {
            group.directories = group
                .directories
                .checked_sub(1)
                .ok_or(Error::Corrupt("count of a group's directories"))?;
        }
        self.put_group(n, &group)?;
        self.counts.inodes += 1;
        Ok(())
    }

    /// A goal for an inode's first block: its group, at a place of its own so that files that grow together mix less.
    pub(crate) fn group_goal(&self, ino: u32) -> u64 {
        let n = self.inode_group(ino);
        let len = self.layout.group_len(n);
        let color = u64::from(low16(ino) % 16) * u64::from(len / 16);
        self.layout.group_start(n) + color
    }
}
