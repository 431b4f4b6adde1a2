//! Extended attributes (kernel documentation, `filesystems/ext4/attributes.rst`).

use crate::inode::Raw;
use crate::le::{crc32c, part, put32, u32_at};
use crate::volume::{Blocks, Volume};
use crate::{Disk, Error};

const MAGIC: u32 = 0xea02_0000;

impl<D: Disk> Volume<D> {
    fn xattr_checksum(&self, block: u64, bytes: &[u8]) -> Result<u32, Error> {
        let crc = crc32c(self.sb.seed, &block.to_le_bytes());
        let crc = crc32c(crc, part(bytes, 0, 0x10)?);
        let crc = crc32c(crc, &[0; 4]);
        Ok(crc32c(crc, part(bytes, 0x14, bytes.len())?))
    }

    /// One inode less uses its block of attributes, which others may share.
    pub(crate) fn drop_xattr_block(&mut self, raw: &mut Raw) -> Result<(), Error> {
        let block = raw.xattr_block()?;
        if block == 0 {
            return Ok(());
        }
        let bytes = self.block(block)?;
        if u32_at(&bytes, 0)? != MAGIC
            || self.sb.has_csum() && self.xattr_checksum(block, &bytes)? != u32_at(&bytes, 0x10)?
        {
            return Err(Error::Corrupt("a block of extended attributes"));
        }
        let users = u32_at(&bytes, 4)?;
        raw.set_xattr_block(0)?;
        self.count_blocks(raw, -1)?;
        if users <= 1 {
            return self.free_blocks(Blocks { start: block, len: 1 }, true);
        }
        let mut bytes = bytes.to_vec();
        put32(&mut bytes, 4, users - 1)?;
        if self.sb.has_csum() {
            let crc = self.xattr_checksum(block, &bytes)?;
            put32(&mut bytes, 0x10, crc)?;
        }
        self.replace(block, bytes)
    }
}
