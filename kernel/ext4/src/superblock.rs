//! The superblock (kernel documentation, `filesystems/ext4/super.rst`).

use alloc::vec::Vec;

use crate::Error;
use crate::le::{crc32c, part, put, put16, put32, u8_at, u16_at, u32_at};

/// Bytes of it, and where it is.
pub(crate) const BYTES: usize = 1024;
pub(crate) const OFFSET: u64 = 1024;

const MAGIC: u16 = 0xef53;

pub(crate) mod compat {
    pub(crate) const HAS_JOURNAL: u32 = 0x4;
    pub(crate) const SPARSE_SUPER2: u32 = 0x200;
    pub(crate) const ORPHAN_FILE: u32 = 0x1000;
}

pub(crate) mod incompat {
    pub(crate) const FILETYPE: u32 = 0x2;
    pub(crate) const RECOVER: u32 = 0x4;
    pub(crate) const META_BG: u32 = 0x10;
    pub(crate) const EXTENTS: u32 = 0x40;
    pub(crate) const BIT64: u32 = 0x80;
    pub(crate) const FLEX_BG: u32 = 0x200;
    pub(crate) const CSUM_SEED: u32 = 0x2000;
    pub(crate) const LARGEDIR: u32 = 0x4000;
    /// All that are handled.
    pub(crate) const KNOWN: u32 = FILETYPE | RECOVER | META_BG | EXTENTS | BIT64 | FLEX_BG | CSUM_SEED;
    /// All, with their names.
    pub(crate) const NAMES: &[(u32, &str)] = &[
        (0x1, "compression"),
        (0x8, "journal_dev"),
        (0x100, "mmp"),
        (0x400, "ea_inode"),
        (0x1000, "dirdata"),
        (LARGEDIR, "large_dir"),
        (0x8000, "inline_data"),
        (0x10000, "encrypt"),
        (0x20000, "casefold"),
    ];
}

pub(crate) mod ro_compat {
    pub(crate) const SPARSE_SUPER: u32 = 0x1;
    pub(crate) const LARGE_FILE: u32 = 0x2;
    pub(crate) const HUGE_FILE: u32 = 0x8;
    pub(crate) const GDT_CSUM: u32 = 0x10;
    pub(crate) const DIR_NLINK: u32 = 0x20;
    pub(crate) const EXTRA_ISIZE: u32 = 0x40;
    pub(crate) const METADATA_CSUM: u32 = 0x400;
    pub(crate) const ORPHAN_PRESENT: u32 = 0x10000;
    /// All that are handled when writing.
    pub(crate) const KNOWN: u32 =
        SPARSE_SUPER | LARGE_FILE | HUGE_FILE | GDT_CSUM | DIR_NLINK | EXTRA_ISIZE | METADATA_CSUM | ORPHAN_PRESENT;
    pub(crate) const NAMES: &[(u32, &str)] = &[
        (0x4, "btree_dir"),
        (0x100, "quota"),
        (0x200, "bigalloc"),
        (0x800, "replica"),
        (0x1000, "read-only"),
        (0x2000, "project"),
        (0x8000, "verity"),
    ];
}

/// `s_state`.
pub(crate) const STATE_CLEAN: u16 = 1;
pub(crate) const STATE_ERROR: u16 = 2;

/// The name of the lowest feature in `bits`.
pub(crate) fn name(bits: u32, names: &[(u32, &'static str)]) -> &'static str {
    names
        .iter()
        .find(|(bit, _)| bits & bit != 0)
        .map_or("unknown", |(_, name)| name)
}

/// The superblock: its bytes, and the fields that matter often.
#[derive(Clone, Debug)]
pub(crate) struct Super {
    pub(crate) raw: Vec<u8>,
    pub(crate) block_bytes: usize,
    pub(crate) blocks: u64,
    pub(crate) first_data_block: u64,
    pub(crate) blocks_per_group: u32,
    pub(crate) inodes_per_group: u32,
    pub(crate) inodes: u32,
    pub(crate) inode_bytes: usize,
    pub(crate) first_inode: u32,
    pub(crate) desc_bytes: usize,
    pub(crate) groups: u32,
    pub(crate) compat: u32,
    pub(crate) incompat: u32,
    pub(crate) ro_compat: u32,
    /// What metadata checksums begin with.
    pub(crate) seed: u32,
}

impl Super {
    pub(crate) fn parse(raw: Vec<u8>) -> Result<Self, Error> {
        const BAD: Error = Error::Corrupt("the superblock");
        if u16_at(&raw, 0x38)? != MAGIC {
            return Err(Error::Corrupt("no ext2, ext3 or ext4 file system is here"));
        }
        let (compat, incompat, ro_compat) = (u32_at(&raw, 0x5c)?, u32_at(&raw, 0x60)?, u32_at(&raw, 0x64)?);
        let log_block = u32_at(&raw, 0x18)?;
        if log_block > 6 {
            return Err(BAD);
        }
        let block_bytes = 1024usize << log_block;
        let is_64bit = incompat & incompat::BIT64 != 0;
        let high = |at| if is_64bit { u32_at(&raw, at) } else { Ok(0) };
        let blocks = u64::from(u32_at(&raw, 0x4)?) | u64::from(high(0x150)?) << 32;
        let (inode_bytes, first_inode) = match u32_at(&raw, 0x4c)? {
            0 => (128, 11),
            _ => (usize::from(u16_at(&raw, 0x58)?), u32_at(&raw, 0x54)?),
        };
        let desc_bytes = match (is_64bit, usize::from(u16_at(&raw, 0xfe)?)) {
            (false, _) | (true, 0) => 32,
            (true, n) => n,
        };
        let first_data_block = u64::from(u32_at(&raw, 0x14)?);
        let blocks_per_group = u32_at(&raw, 0x20)?;
        let inodes_per_group = u32_at(&raw, 0x28)?;
        let inodes = u32_at(&raw, 0)?;
        let bits = (block_bytes * 8) as u32;
        if blocks_per_group == 0 || inodes_per_group == 0 || blocks_per_group > bits || inodes_per_group > bits {
            return Err(BAD);
        }
        let groups = blocks
            .saturating_sub(first_data_block)
            .div_ceil(u64::from(blocks_per_group));
        let groups = u32::try_from(groups).map_err(|_| BAD)?;
        let seed = if incompat & incompat::CSUM_SEED != 0 {
            u32_at(&raw, 0x270)?
        } else {
            crc32c(!0, part(&raw, 0x68, 0x78)?)
        };
        let out = Self {
            block_bytes,
            blocks,
            first_data_block,
            blocks_per_group,
            inodes_per_group,
            inodes,
            inode_bytes,
            first_inode,
            desc_bytes,
            groups,
            compat,
            incompat,
            ro_compat,
            seed,
            raw,
        };
        let is_right = u32_at(&out.raw, 0x1c)? == log_block
            && u32_at(&out.raw, 0x24)? == blocks_per_group
            && blocks_per_group.is_multiple_of(8)
            && inodes_per_group.is_multiple_of(8)
            && first_data_block == u64::from(block_bytes == 1024)
            && blocks > first_data_block
            && u64::from(groups) * u64::from(inodes_per_group) == u64::from(inodes)
            && inode_bytes >= 128
            && inode_bytes.is_power_of_two()
            && inode_bytes <= block_bytes
            && (32..=1024).contains(&desc_bytes)
            && desc_bytes.is_power_of_two()
            && (!is_64bit || desc_bytes >= 64)
            && first_inode >= 11
            && first_inode < inodes_per_group.max(12);
        if !is_right {
            return Err(BAD);
        }
        if out.has_csum() && (u8_at(&out.raw, 0x175)? != 1 || out.checksum()? != u32_at(&out.raw, 0x3fc)?) {
            return Err(Error::Corrupt("the superblock's checksum"));
        }
        Ok(out)
    }

    fn checksum(&self) -> Result<u32, Error> {
        Ok(crc32c(!0, part(&self.raw, 0, 0x3fc)?))
    }

    /// Its bytes, sealed.
    pub(crate) fn sealed(&mut self) -> Result<&[u8], Error> {
        if self.has_csum() {
            let checksum = self.checksum()?;
            put32(&mut self.raw, 0x3fc, checksum)?;
        }
        Ok(&self.raw)
    }

    pub(crate) fn has_csum(&self) -> bool {
        self.ro_compat & ro_compat::METADATA_CSUM != 0
    }

    pub(crate) fn has_gdt_csum(&self) -> bool {
        self.ro_compat & ro_compat::GDT_CSUM != 0
    }

    pub(crate) fn has_extents(&self) -> bool {
        self.incompat & incompat::EXTENTS != 0
    }

    pub(crate) fn is_64bit(&self) -> bool {
        self.incompat & incompat::BIT64 != 0
    }

    fn wide(&self, low: usize, high: usize) -> Result<u64, Error> {
        let high = if self.is_64bit() { u32_at(&self.raw, high)? } else { 0 };
        Ok(u64::from(u32_at(&self.raw, low)?) | u64::from(high) << 32)
    }

    pub(crate) fn free_blocks(&self) -> Result<u64, Error> {
        self.wide(0xc, 0x158)
    }

    pub(crate) fn reserved_blocks(&self) -> Result<u64, Error> {
        self.wide(0x8, 0x154)
    }

    pub(crate) fn set_free_blocks(&mut self, n: u64) -> Result<(), Error> {
        put32(&mut self.raw, 0xc, n as u32)?;
        if self.is_64bit() {
            put32(&mut self.raw, 0x158, (n >> 32) as u32)?;
        }
        Ok(())
    }

    pub(crate) fn free_inodes(&self) -> Result<u32, Error> {
        u32_at(&self.raw, 0x10)
    }

    pub(crate) fn set_free_inodes(&mut self, n: u32) -> Result<(), Error> {
        put32(&mut self.raw, 0x10, n)
    }

    pub(crate) fn state(&self) -> Result<u16, Error> {
        u16_at(&self.raw, 0x3a)
    }

    pub(crate) fn set_state(&mut self, state: u16) -> Result<(), Error> {
        put16(&mut self.raw, 0x3a, state)
    }

    pub(crate) fn last_orphan(&self) -> Result<u32, Error> {
        u32_at(&self.raw, 0xe8)
    }

    pub(crate) fn set_last_orphan(&mut self, ino: u32) -> Result<(), Error> {
        put32(&mut self.raw, 0xe8, ino)
    }

    pub(crate) fn journal_inode(&self) -> Result<u32, Error> {
        u32_at(&self.raw, 0xe0)
    }

    pub(crate) fn set_incompat(&mut self, bits: u32) -> Result<(), Error> {
        self.incompat = bits;
        put32(&mut self.raw, 0x60, bits)
    }

    pub(crate) fn set_ro_compat(&mut self, bits: u32) -> Result<(), Error> {
        self.ro_compat = bits;
        put32(&mut self.raw, 0x64, bits)
    }

    pub(crate) fn set_time(&mut self, at: usize, high: usize, now_ns: i64) -> Result<(), Error> {
        let seconds = now_ns.div_euclid(1_000_000_000).max(0);
        put32(&mut self.raw, at, seconds as u32)?;
        put(&mut self.raw, high, &[(seconds >> 32) as u8])
    }

    pub(crate) fn first_block_of(&self, group: u32) -> u64 {
        self.first_data_block + u64::from(group) * u64::from(self.blocks_per_group)
    }

    /// Blocks of a group; the last may have fewer.
    pub(crate) fn blocks_of(&self, group: u32) -> u32 {
        let left = self.blocks.saturating_sub(self.first_block_of(group));
        left.min(u64::from(self.blocks_per_group)) as u32
    }

    pub(crate) fn group_of(&self, block: u64) -> Option<(u32, u32)> {
        let at = block.checked_sub(self.first_data_block)?;
        if block >= self.blocks {
            return None;
        }
        let per = u64::from(self.blocks_per_group);
        Some(((at / per) as u32, (at % per) as u32))
    }

    /// Whether a group has a copy of the superblock and the descriptors.
    pub(crate) fn has_super(&self, group: u32) -> Result<bool, Error> {
        if group == 0 {
            return Ok(true);
        }
        if self.compat & compat::SPARSE_SUPER2 != 0 {
            return Ok(u32_at(&self.raw, 0x24c)? == group || u32_at(&self.raw, 0x250)? == group);
        }
        if self.ro_compat & ro_compat::SPARSE_SUPER == 0 || group == 1 {
            return Ok(true);
        }
        let is_power = |base: u32| {
            let mut n = u64::from(base);
            while n < u64::from(group) {
                n *= u64::from(base);
            }
            n == u64::from(group)
        };
        Ok(is_power(3) || is_power(5) || is_power(7))
    }

    fn descs_a_block(&self) -> u32 {
        (self.block_bytes / self.desc_bytes) as u32
    }

    /// Blocks of descriptors.
    pub(crate) fn desc_blocks(&self) -> u32 {
        self.groups.div_ceil(self.descs_a_block())
    }

    /// Where a group's descriptor is: block and offset.
    pub(crate) fn desc_at(&self, group: u32) -> Result<(u64, usize), Error> {
        let per = self.descs_a_block();
        let (index, offset) = (group / per, (group % per) as usize * self.desc_bytes);
        if self.incompat & incompat::META_BG != 0 && index >= u32_at(&self.raw, 0x104)? {
            let first = index * per;
            let at = self.first_block_of(first) + u64::from(self.has_super(first)?);
            return Ok((at, offset));
        }
        Ok((self.first_data_block + 1 + u64::from(index), offset))
    }

    /// Blocks at a group's beginning that are the file system's: superblock, descriptors, and those kept for growing.
    pub(crate) fn base_meta_blocks(&self, group: u32) -> Result<u32, Error> {
        let has_super = self.has_super(group)?;
        let per = self.descs_a_block();
        if self.incompat & incompat::META_BG != 0 {
            let first = u32_at(&self.raw, 0x104)?;
            if group / per >= first {
                let place = group % per;
                let is_holder = place == 0 || place == 1 || place == per - 1;
                return Ok(u32::from(has_super) + u32::from(is_holder));
            }
            return Ok(if has_super { 1 + first } else { 0 });
        }
        if !has_super {
            return Ok(0);
        }
        Ok(1 + self.desc_blocks() + u32::from(u16_at(&self.raw, 0xce)?))
    }
}
