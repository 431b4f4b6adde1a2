//! What the superblock says of the file system's shape: read once, checked, constant while mounted.

use crate::Error;
use crate::bytes::{u8_at, u16_at, u32_at};
use crate::crc::crc32c;
use crate::features::{compat, incompat, ro_compat, unknown_incompat};

/// Where the superblock is, in bytes.
pub(crate) const SUPERBLOCK_OFFSET: u64 = 1024;
/// Bytes of the superblock.
pub(crate) const SUPERBLOCK_BYTES: usize = 1024;
/// Where its checksum is.
pub(crate) const SUPERBLOCK_CHECKSUM: usize = 0x3fc;

/// Fields of the superblock that change while mounted; offsets in bytes.
pub(crate) mod field {
    pub(crate) const FREE_BLOCKS: usize = 0x0c;
    pub(crate) const FREE_INODES: usize = 0x10;
    pub(crate) const MOUNT_TIME: usize = 0x2c;
    pub(crate) const WRITE_TIME: usize = 0x30;
    pub(crate) const MOUNT_COUNT: usize = 0x34;
    pub(crate) const STATE: usize = 0x3a;
    pub(crate) const INCOMPAT: usize = 0x60;
    pub(crate) const RO_COMPAT: usize = 0x64;
    pub(crate) const LAST_ORPHAN: usize = 0xe8;
    pub(crate) const FREE_BLOCKS_HIGH: usize = 0x158;
    pub(crate) const ERROR_COUNT: usize = 0x194;
    pub(crate) const FIRST_ERROR_TIME: usize = 0x198;
    pub(crate) const FIRST_ERROR_FUNCTION: usize = 0x1a8;
    pub(crate) const LAST_ERROR_TIME: usize = 0x1cc;
    pub(crate) const LAST_ERROR_FUNCTION: usize = 0x1e0;
    /// One past the error record that begins at `ERROR_COUNT`.
    pub(crate) const ERROR_END: usize = 0x200;
}

/// Bits of `s_state`.
pub(crate) mod state {
    pub(crate) const VALID: u16 = 1;
    pub(crate) const ERRORS: u16 = 2;
}

/// The shape of the file system.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) block_bytes: usize,
    pub(crate) blocks: u64,
    pub(crate) first_data_block: u64,
    pub(crate) blocks_per_group: u32,
    pub(crate) inodes_per_group: u32,
    pub(crate) inodes: u32,
    pub(crate) groups: u32,
    pub(crate) descriptor_bytes: usize,
    pub(crate) inode_bytes: usize,
    pub(crate) extra_isize: u16,
    pub(crate) first_inode: u32,
    pub(crate) compat: u32,
    pub(crate) incompat: u32,
    pub(crate) ro_compat: u32,
    pub(crate) reserved_blocks: u64,
    pub(crate) reserved_descriptor_blocks: u32,
    pub(crate) first_meta_group: u32,
    pub(crate) backup_groups: [u32; 2],
    pub(crate) journal_ino: u32,
    pub(crate) orphan_file_ino: u32,
    pub(crate) uuid: [u8; 16],
    pub(crate) label: [u8; 16],
    /// Start of every metadata checksum.
    pub(crate) seed: u32,
    pub(crate) hash_seed: [u32; 4],
    pub(crate) hash_version: u8,
    pub(crate) is_hash_unsigned: bool,
    pub(crate) is_large_file_set: bool,
}

const BAD: fn(&'static str) -> Error = Error::Corrupt;

fn fixed<const N: usize>(b: &[u8], at: usize) -> Result<[u8; N], Error> {
    crate::bytes::slice(b, at, N)?.try_into().map_err(|_| BAD("superblock"))
}

impl Layout {
    /// Reads the superblock `b` of a disk of `disk_bytes`.
    pub(crate) fn parse(b: &[u8], disk_bytes: u64) -> Result<Self, Error> {
        if u16_at(b, 0x38)? != 0xef53 {
            return Err(Error::NotExt4);
        }
        let revision = u32_at(b, 0x4c)?;
        let dynamic = revision >= 1;
        let feature = |at| if dynamic { u32_at(b, at) } else { Ok(0) };
        let (compat, incompat, ro_compat) = (feature(0x5c)?, feature(0x60)?, feature(0x64)?);
        if let Some(name) = unknown_incompat(incompat) {
            return Err(Error::Feature(name));
        }
        if ro_compat & ro_compat::BIGALLOC != 0 {
            return Err(Error::Feature("bigalloc"));
        }
        let has_checksums = ro_compat & ro_compat::METADATA_CSUM != 0;
        if has_checksums {
            if u8_at(b, 0x175)? != 1 {
                return Err(Error::Feature("a checksum other than crc32c"));
            }
            let sum = crc32c(!0, crate::bytes::slice(b, 0, SUPERBLOCK_CHECKSUM)?);
            if sum != u32_at(b, SUPERBLOCK_CHECKSUM)? {
                return Err(BAD("checksum of the superblock"));
            }
        }
        let log = u32_at(b, 0x18)?;
        if log > 2 {
            return Err(Error::Feature("blocks of more than 4 KiB"));
        }
        let block_bytes = 1024usize << log;
        if u32_at(b, 0x1c)? != log {
            return Err(BAD("cluster size"));
        }
        let wide = incompat & incompat::BITS64 != 0;
        let high = |at| if wide { u32_at(b, at).map(u64::from) } else { Ok(0) };
        let blocks = u64::from(u32_at(b, 0x04)?) | high(0x150)? << 32;
        let reserved_blocks = u64::from(u32_at(b, 0x08)?) | high(0x154)? << 32;
        let first_data_block = u64::from(u32_at(b, 0x14)?);
        let blocks_per_group = u32_at(b, 0x20)?;
        let inodes_per_group = u32_at(b, 0x28)?;
        let inodes = u32_at(b, 0)?;
        if first_data_block != u64::from(log == 0) || blocks <= first_data_block + 8 {
            return Err(BAD("number of blocks"));
        }
        let bits = (block_bytes * 8) as u64;
        if blocks
            .checked_mul(block_bytes as u64)
            .is_none_or(|bytes| bytes > disk_bytes)
        {
            return Err(BAD("file system larger than its disk"));
        }
        if blocks_per_group == 0 || u64::from(blocks_per_group) > bits || !blocks_per_group.is_multiple_of(8) {
            return Err(BAD("blocks in a group"));
        }
        let inode_bytes = if dynamic { usize::from(u16_at(b, 0x58)?) } else { 128 };
        if !inode_bytes.is_power_of_two() || inode_bytes < 128 || inode_bytes > block_bytes {
            return Err(BAD("size of an inode"));
        }
        if inodes_per_group == 0
            || u64::from(inodes_per_group) > bits
            || !(inodes_per_group as usize).is_multiple_of(block_bytes / inode_bytes)
        {
            return Err(BAD("inodes in a group"));
        }
        let groups = (blocks - first_data_block).div_ceil(u64::from(blocks_per_group));
        let groups = u32::try_from(groups).map_err(|_| BAD("number of groups"))?;
        if u64::from(groups) * u64::from(inodes_per_group) != u64::from(inodes) {
            return Err(BAD("number of inodes"));
        }
        let descriptor_bytes = match (wide, usize::from(u16_at(b, 0xfe)?)) {
            (false, _) => 32,
            (true, n) if n.is_power_of_two() && (64..=block_bytes.min(1024)).contains(&n) => n,
            (true, _) => return Err(BAD("size of a group descriptor")),
        };
        let first_inode = if dynamic { u32_at(b, 0x54)? } else { 11 };
        if first_inode < 11 || first_inode > inodes {
            return Err(BAD("first inode"));
        }
        let uuid = fixed(b, 0x68)?;
        let seed = match (has_checksums, incompat & incompat::CSUM_SEED != 0) {
            (true, true) => u32_at(b, 0x270)?,
            (true, false) => crc32c(!0, &uuid),
            (false, _) => 0,
        };
        let mut hash_seed = [0; 4];
        for (i, word) in hash_seed.iter_mut().enumerate() {
            *word = u32_at(b, 0xec + 4 * i)?;
        }
        let want = u16_at(b, 0x15e)?;
        Ok(Self {
            block_bytes,
            blocks,
            first_data_block,
            blocks_per_group,
            inodes_per_group,
            inodes,
            groups,
            descriptor_bytes,
            inode_bytes,
            extra_isize: match (inode_bytes > 128, want) {
                (false, _) => 0,
                (true, n) if n >= 28 && n.is_multiple_of(4) && usize::from(n) + 128 <= inode_bytes => n,
                (true, _) => 32,
            },
            first_inode,
            compat,
            incompat,
            ro_compat,
            reserved_blocks: reserved_blocks.min(blocks / 2),
            reserved_descriptor_blocks: if dynamic { u32::from(u16_at(b, 0xce)?) } else { 0 },
            first_meta_group: u32_at(b, 0x104)?,
            backup_groups: [u32_at(b, 0x24c)?, u32_at(b, 0x250)?],
            journal_ino: u32_at(b, 0xe0)?,
            orphan_file_ino: u32_at(b, 0x280)?,
            uuid,
            label: fixed(b, 0x78)?,
            seed,
            hash_seed,
            hash_version: u8_at(b, 0xfc)?,
            is_hash_unsigned: u32_at(b, 0x160)? & 2 != 0,
            is_large_file_set: ro_compat & ro_compat::LARGE_FILE != 0,
        })
    }

    pub(crate) const fn has_checksums(&self) -> bool {
        self.ro_compat & ro_compat::METADATA_CSUM != 0
    }

    /// Whether group descriptors carry checksums, of either kind, and may say that bitmaps are not written yet.
    pub(crate) const fn has_descriptor_checksums(&self) -> bool {
        self.ro_compat & (ro_compat::METADATA_CSUM | ro_compat::GDT_CSUM) != 0
    }

    pub(crate) const fn has_file_types(&self) -> bool {
        self.incompat & incompat::FILETYPE != 0
    }

    pub(crate) const fn has_extents(&self) -> bool {
        self.incompat & incompat::EXTENTS != 0
    }

    pub(crate) const fn has_dir_index(&self) -> bool {
        self.compat & compat::DIR_INDEX != 0
    }

    pub(crate) const fn has_journal(&self) -> bool {
        self.compat & compat::HAS_JOURNAL != 0
    }

    pub(crate) const fn has_orphan_file(&self) -> bool {
        self.compat & compat::ORPHAN_FILE != 0
    }

    /// The block that holds the superblock, and where in it.
    pub(crate) const fn superblock(&self) -> (u64, usize) {
        if self.block_bytes == 1024 { (1, 0) } else { (0, 1024) }
    }

    pub(crate) fn sectors_per_block(&self) -> u64 {
        (self.block_bytes / 512) as u64
    }

    pub(crate) fn group_start(&self, group: u32) -> u64 {
        self.first_data_block + u64::from(group) * u64::from(self.blocks_per_group)
    }

    /// Blocks of a group; the last may be short.
    pub(crate) fn group_len(&self, group: u32) -> u32 {
        let rest = self.blocks.saturating_sub(self.group_start(group));
        u32::try_from(rest).map_or(self.blocks_per_group, |r| r.min(self.blocks_per_group))
    }

    /// The group of a block, and its bit there. `block` is at least the first data block and below `blocks`.
    pub(crate) fn place(&self, block: u64) -> (u32, u32) {
        let n = block.saturating_sub(self.first_data_block);
        let per = u64::from(self.blocks_per_group);
        ((n / per) as u32, (n % per) as u32)
    }

    pub(crate) fn descriptors_per_block(&self) -> u32 {
        (self.block_bytes / self.descriptor_bytes) as u32
    }

    pub(crate) fn descriptor_blocks(&self) -> u32 {
        self.groups.div_ceil(self.descriptors_per_block())
    }

    pub(crate) fn inode_table_blocks(&self) -> u32 {
        (self.inodes_per_group as usize).div_ceil(self.block_bytes / self.inode_bytes) as u32
    }

    /// Whether a group has a copy of the superblock.
    pub(crate) fn has_superblock(&self, group: u32) -> bool {
        if group == 0 {
            return true;
        }
        if self.compat & compat::SPARSE_SUPER2 != 0 {
            return self.backup_groups.contains(&group);
        }
        if group == 1 || self.ro_compat & ro_compat::SPARSE_SUPER == 0 {
            return true;
        }
        [3u64, 5, 7].iter().any(|base| {
            let mut power = *base;
            while power < u64::from(group) {
                power *= base;
            }
            power == u64::from(group)
        })
    }

    fn is_meta(&self, descriptor_block: u32) -> bool {
        self.incompat & incompat::META_BG != 0 && descriptor_block >= self.first_meta_group
    }

    /// Where the `i`th block of group descriptors is.
    pub(crate) fn descriptor_block(&self, i: u32) -> u64 {
        if self.is_meta(i) {
            let group = u64::from(i) * u64::from(self.descriptors_per_block());
            let group = u32::try_from(group).unwrap_or(u32::MAX);
            self.group_start(group) + u64::from(self.has_superblock(group))
        } else {
            self.superblock().0 + 1 + u64::from(i)
        }
    }

    /// Blocks at the start of a group that hold copies of the superblock and of the descriptors.
    pub(crate) fn base_blocks(&self, group: u32) -> u32 {
        let own = u32::from(self.has_superblock(group));
        let per = self.descriptors_per_block();
        let meta = self.incompat & incompat::META_BG != 0;
        if meta && group / per >= self.first_meta_group {
            let first = group / per * per;
            let has = group == first || group == first + 1 || group == first + per - 1;
            return own + u32::from(has);
        }
        if own == 0 {
            return 0;
        }
        let table = if meta {
            self.first_meta_group
        } else {
            self.descriptor_blocks().saturating_add(self.reserved_descriptor_blocks)
        };
        own.saturating_add(table).min(self.blocks_per_group)
    }

    /// The start of an inode's checksums.
    pub(crate) fn inode_seed(&self, ino: u32, generation: u32) -> u32 {
        crc32c(crc32c(self.seed, &ino.to_le_bytes()), &generation.to_le_bytes())
    }

    /// Most bytes a file may have: what the maps can name, and what the count of sectors can hold.
    pub(crate) fn max_size(&self, extents: bool) -> u64 {
        let bytes = self.block_bytes as u64;
        let blocks = if extents {
            u64::from(u32::MAX) - 1
        } else {
            let n = bytes / 4;
            (12 + n + n * n + n * n * n).min(u64::from(u32::MAX) - 1)
        };
        blocks * bytes
    }
}
