//! Blocks of the log: headers, tags, checksums.

use alloc::vec;
use alloc::vec::Vec;

use super::fields::{high, low, put, put_u32, u16_at, u32_at, u64_at};
use super::superblock::{Checksums, Superblock};
use crate::Error;
use crate::crc::crc32c;

/// `JBD2_MAGIC_NUMBER`, at the beginning of every block that is not data.
pub(super) const MAGIC: u32 = 0xc03b_3998;
pub(super) const HEADER_BYTES: usize = 12;
/// The checksum at the end of descriptors and revoke blocks.
const TAIL_BYTES: usize = 4;
const UUID_BYTES: usize = 16;
pub(super) const COMMIT_CHECKSUM_TYPE: usize = 12;
pub(super) const COMMIT_CHECKSUM: usize = 16;
const COMMIT_SECONDS: usize = 48;
const COMMIT_NANOSECONDS: usize = 56;

const ESCAPED: u32 = 1;
const SAME_UUID: u32 = 2;
const LAST: u32 = 8;

/// What a block of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Descriptor,
    Commit,
    Revoke,
}

impl Kind {
    const fn number(self) -> u32 {
        match self {
            Self::Descriptor => 1,
            Self::Commit => 2,
            Self::Revoke => 5,
        }
    }

    /// The kind of a block that has the magic number and this sequence.
    pub(super) fn of(block: &[u8], sequence: u32) -> Option<Self> {
        let word = |at| u32_at(block, at).ok();
        if word(0)? != MAGIC || word(8)? != sequence {
            return None;
        }
        match word(4)? {
            1 => Some(Self::Descriptor),
            2 => Some(Self::Commit),
            5 => Some(Self::Revoke),
            _ => None,
        }
    }
}

/// One block that a descriptor describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) home: u64,
    pub(super) is_escaped: bool,
    pub(super) checksum: u32,
}

/// How this log's blocks are laid out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Format {
    pub(super) checksums: Checksums,
    is_wide: bool,
    seed: u32,
    block_bytes: usize,
}

impl Format {
    pub(super) fn new(sb: &Superblock, block_bytes: usize) -> Self {
        Self {
            checksums: sb.checksums,
            is_wide: sb.is_wide,
            seed: sb.seed,
            block_bytes,
        }
    }

    pub(super) fn is_summed(&self) -> bool {
        matches!(self.checksums, Checksums::V2 | Checksums::V3)
    }

    /// Bytes of a tag. In version 2 they are two more than its fields, by a mistake that became the format.
    fn tag_bytes(&self) -> usize {
        match (self.checksums, self.is_wide) {
            (Checksums::V3, _) => 16,
            (Checksums::V2, true) => 14,
            (Checksums::V2, false) => 10,
            (_, true) => 12,
            (_, false) => 8,
        }
    }

    fn payload_end(&self) -> usize {
        self.block_bytes - if self.is_summed() { TAIL_BYTES } else { 0 }
    }

    /// Blocks that a descriptor can describe when it names the journal's UUID once.
    pub(super) fn tags_per_descriptor(&self) -> usize {
        (self.payload_end() - HEADER_BYTES - UUID_BYTES) / self.tag_bytes()
    }

    fn record_bytes(&self) -> usize {
        if self.is_wide { 8 } else { 4 }
    }

    /// Blocks that a revoke block can name.
    pub(super) fn records_per_revoke_block(&self) -> usize {
        (self.payload_end() - HEADER_BYTES - 4) / self.record_bytes()
    }

    /// Whether a block's number can be written down.
    pub(super) fn can_name(&self, block: u64) -> bool {
        self.is_wide || high(block) == 0
    }

    fn header(&self, kind: Kind, sequence: u32) -> Result<Vec<u8>, Error> {
        let mut block = vec![0; self.block_bytes];
        put_u32(&mut block, 0, MAGIC)?;
        put_u32(&mut block, 4, kind.number())?;
        put_u32(&mut block, 8, sequence)?;
        Ok(block)
    }

    /// CRC-32C of a block with zeroes at `at`.
    fn sum_without(&self, block: &[u8], at: usize) -> Result<u32, Error> {
        let short = Error::Corrupt("a block of the journal");
        let before = block.get(..at).ok_or(short)?;
        let after = block.get(at + 4..).ok_or(short)?;
        Ok(crc32c(crc32c(crc32c(self.seed, before), &[0; 4]), after))
    }

    fn seal(&self, block: &mut [u8], at: usize) -> Result<(), Error> {
        if self.is_summed() {
            let sum = self.sum_without(block, at)?;
            put_u32(block, at, sum)?;
        }
        Ok(())
    }

    /// Whether a descriptor or a revoke block is as it was written.
    pub(super) fn is_tail_right(&self, block: &[u8]) -> bool {
        let at = self.payload_end();
        !self.is_summed()
            || self
                .sum_without(block, at)
                .is_ok_and(|sum| Ok(sum) == u32_at(block, at))
    }

    /// Whether a commit block is as it was written.
    pub(super) fn is_commit_right(&self, block: &[u8]) -> bool {
        let at = COMMIT_CHECKSUM;
        !self.is_summed()
            || self
                .sum_without(block, at)
                .is_ok_and(|sum| Ok(sum) == u32_at(block, at))
    }

    /// The checksum of a block as it is in the log: version 2 keeps 16 bits of it.
    pub(super) fn data_checksum(&self, sequence: u32, data: &[u8]) -> u32 {
        let sum = || crc32c(crc32c(self.seed, &sequence.to_be_bytes()), data);
        match self.checksums {
            Checksums::V3 => sum(),
            Checksums::V2 => sum() & 0xffff,
            Checksums::V1 | Checksums::None => 0,
        }
    }

    pub(super) fn is_data_right(&self, tag: &Tag, sequence: u32, data: &[u8]) -> bool {
        !self.is_summed() || self.data_checksum(sequence, data) == tag.checksum
    }

    /// A descriptor of at most [`tags_per_descriptor`](Self::tags_per_descriptor) blocks.
    pub(super) fn descriptor(&self, sequence: u32, uuid: [u8; 16], tags: &[Tag]) -> Result<Vec<u8>, Error> {
        let mut block = self.header(Kind::Descriptor, sequence)?;
        let mut at = HEADER_BYTES;
        for (i, tag) in tags.iter().enumerate() {
            let mut flags = 0;
            if tag.is_escaped {
                flags |= ESCAPED;
            }
            if i != 0 {
                flags |= SAME_UUID;
            }
            if i + 1 == tags.len() {
                flags |= LAST;
            }
            put_u32(&mut block, at, low(tag.home))?;
            if self.checksums == Checksums::V3 {
                put_u32(&mut block, at + 4, flags)?;
                put_u32(&mut block, at + 8, high(tag.home))?;
                put_u32(&mut block, at + 12, tag.checksum)?;
            } else {
                put_u32(&mut block, at + 4, (tag.checksum & 0xffff) << 16 | flags)?;
                if self.is_wide {
                    put_u32(&mut block, at + 8, high(tag.home))?;
                }
            }
            at += self.tag_bytes();
            if i == 0 {
                put(&mut block, at, &uuid)?;
                at += UUID_BYTES;
            }
        }
        self.seal(&mut block, self.payload_end())?;
        Ok(block)
    }

    /// The blocks that a descriptor describes; those that fit, however it ends.
    pub(super) fn tags(&self, block: &[u8]) -> Result<Vec<Tag>, Error> {
        let mut tags = Vec::new();
        let mut at = HEADER_BYTES;
        while at + self.tag_bytes() <= self.payload_end() {
            let mut home = u64::from(u32_at(block, at)?);
            let (flags, checksum);
            if self.checksums == Checksums::V3 {
                flags = u32_at(block, at + 4)?;
                checksum = u32_at(block, at + 12)?;
            } else {
                flags = u32::from(u16_at(block, at + 6)?);
                checksum = u32::from(u16_at(block, at + 4)?);
            }
            if self.is_wide {
                home |= u64::from(u32_at(block, at + 8)?) << 32;
            }
            tags.push(Tag {
                home,
                is_escaped: flags & ESCAPED != 0,
                checksum,
            });
            at += self.tag_bytes();
            if flags & SAME_UUID == 0 {
                at += UUID_BYTES;
            }
            if flags & LAST != 0 {
                break;
            }
        }
        Ok(tags)
    }

    /// A revoke block of at most [`records_per_revoke_block`](Self::records_per_revoke_block) blocks.
    pub(super) fn revoke_block(&self, sequence: u32, revoked: &[u64]) -> Result<Vec<u8>, Error> {
        let mut block = self.header(Kind::Revoke, sequence)?;
        let mut at = HEADER_BYTES + 4;
        for home in revoked {
            if self.is_wide {
                put(&mut block, at, &home.to_be_bytes())?;
            } else {
                put_u32(&mut block, at, low(*home))?;
            }
            at += self.record_bytes();
        }
        put_u32(&mut block, HEADER_BYTES, low(at as u64))?;
        self.seal(&mut block, self.payload_end())?;
        Ok(block)
    }

    /// The blocks that a revoke block names.
    pub(super) fn revoked(&self, block: &[u8]) -> Result<Vec<u64>, Error> {
        let end = super::fields::index(u32_at(block, HEADER_BYTES)?);
        if end > self.payload_end() {
            return Err(Error::Corrupt("a revoke block of the journal: its length"));
        }
        let mut revoked = Vec::new();
        let mut at = HEADER_BYTES + 4;
        while at + self.record_bytes() <= end {
            revoked.push(if self.is_wide {
                u64_at(block, at)?
            } else {
                u64::from(u32_at(block, at)?)
            });
            at += self.record_bytes();
        }
        Ok(revoked)
    }

    /// A commit block.
    pub(super) fn commit_block(&self, sequence: u32, now_ns: u64) -> Result<Vec<u8>, Error> {
        let mut block = self.header(Kind::Commit, sequence)?;
        put(&mut block, COMMIT_SECONDS, &(now_ns / 1_000_000_000).to_be_bytes())?;
        put_u32(&mut block, COMMIT_NANOSECONDS, low(now_ns % 1_000_000_000))?;
        self.seal(&mut block, COMMIT_CHECKSUM)?;
        Ok(block)
    }

    /// Seconds at which a transaction was committed.
    pub(super) fn commit_seconds(block: &[u8]) -> Result<u64, Error> {
        u64_at(block, COMMIT_SECONDS)
    }
}
