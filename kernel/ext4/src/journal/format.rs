//! What the log's blocks look like. All numbers are big-endian. Source: the kernel's documentation,
//! `filesystems/ext4/journal.rst`, and `include/linux/jbd2.h`.

use alloc::borrow::Cow;
use alloc::vec;
use alloc::vec::Vec;

use super::Tid;
use crate::Error;
use crate::le::{be16_at, be32_at, be64_at, crc32_be, crc32c, part, put, put_be16, put_be32};

pub(super) const MAGIC: u32 = 0xc03b_3998;
/// Bytes before what is a block's own: magic, kind, transaction.
const HEADER: usize = 12;

const COMPAT_CHECKSUM: u32 = 1;
const INCOMPAT_REVOKE: u32 = 1;
const INCOMPAT_64BIT: u32 = 2;
const INCOMPAT_ASYNC_COMMIT: u32 = 4;
const INCOMPAT_CSUM_V2: u32 = 8;
const INCOMPAT_CSUM_V3: u32 = 16;
const INCOMPAT_FAST_COMMIT: u32 = 32;

const TAG_ESCAPED: u32 = 1;
const TAG_SAME_UUID: u32 = 2;
const TAG_LAST: u32 = 8;
const UUID: usize = 16;

/// Kinds of blocks in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Descriptor = 1,
    Commit = 2,
    Revoke = 5,
}

/// One block of a transaction, as its descriptor names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) home: u64,
    pub(super) is_escaped: bool,
    /// As wide as the tag has room for.
    pub(super) checksum: u32,
}

/// The log's superblock.
#[derive(Clone, Debug)]
pub(super) struct LogSuper {
    raw: Vec<u8>,
    /// Blocks of the log.
    pub(super) len: u32,
    /// The first that transactions use.
    pub(super) first: u32,
    /// The number of the oldest transaction, or of the next.
    pub(super) sequence: u32,
    /// Where the oldest transaction begins; 0: the log is empty.
    pub(super) start: u32,
    pub(super) errno: i32,
    compat: u32,
    incompat: u32,
    seed: u32,
}

impl LogSuper {
    pub(super) fn parse(block: &[u8], block_bytes: usize) -> Result<Self, Error> {
        const BAD: Error = Error::Corrupt("the journal's superblock");
        let raw = part(block, 0, 1024)?.to_vec();
        let kind = be32_at(&raw, 4)?;
        if be32_at(&raw, 0)? != MAGIC || !(kind == 3 || kind == 4) {
            return Err(BAD);
        }
        let has_features = kind == 4;
        let feature = |at| if has_features { be32_at(&raw, at) } else { Ok(0) };
        let (compat, incompat, ro_compat) = (feature(0x24)?, feature(0x28)?, feature(0x2c)?);
        let mut out = Self {
            len: be32_at(&raw, 0x10)?,
            first: be32_at(&raw, 0x14)?,
            sequence: be32_at(&raw, 0x18)?,
            start: be32_at(&raw, 0x1c)?,
            errno: be32_at(&raw, 0x20)? as i32,
            compat,
            incompat,
            seed: crc32c(!0, part(&raw, 0x30, 0x40)?),
            raw,
        };
        let known = INCOMPAT_REVOKE
            | INCOMPAT_64BIT
            | INCOMPAT_ASYNC_COMMIT
            | INCOMPAT_CSUM_V2
            | INCOMPAT_CSUM_V3
            | INCOMPAT_FAST_COMMIT;
        if incompat & !known != 0 || ro_compat != 0 {
            return Err(Error::Unsupported);
        }
        if incompat & INCOMPAT_FAST_COMMIT != 0 {
            // Blocks at the log's end are for fast commits, which are not written here. A log that has some is not
            // replayed in part.
            let blocks = match be32_at(&out.raw, 0x54)? {
                0 => 256,
                n => n,
            };
            if out.start != 0 {
                return Err(Error::Unsupported);
            }
            out.len = out.len.checked_sub(blocks).ok_or(BAD)?;
        }
        let checksums = u32::from(incompat & INCOMPAT_CSUM_V2 != 0)
            + u32::from(incompat & INCOMPAT_CSUM_V3 != 0)
            + u32::from(compat & COMPAT_CHECKSUM != 0);
        if be32_at(&out.raw, 0xc)? as usize != block_bytes
            || out.first == 0
            || out.first.checked_add(4).is_none_or(|n| n > out.len)
            || out.start >= out.len
            || (out.start != 0 && out.start < out.first)
            || checksums > 1
        {
            return Err(BAD);
        }
        if out.features().has_checksums() {
            let is_crc32c = out.raw.get(0x50) == Some(&4);
            if !is_crc32c || out.checksum()? != be32_at(&out.raw, 0xfc)? {
                return Err(Error::Corrupt("the checksum of the journal's superblock"));
            }
        }
        Ok(out)
    }

    fn checksum(&self) -> Result<u32, Error> {
        let mut copy = self.raw.clone();
        put_be32(&mut copy, 0xfc, 0)?;
        Ok(crc32c(!0, &copy))
    }

    pub(super) fn features(&self) -> Features {
        Features {
            compat: self.compat,
            incompat: self.incompat,
            seed: self.seed,
        }
    }

    /// Whether that changed something.
    pub(super) fn set_features(&mut self, has_checksums: bool, is_64bit: bool) -> bool {
        let before = (self.compat, self.incompat);
        self.incompat |= INCOMPAT_REVOKE;
        if is_64bit {
            self.incompat |= INCOMPAT_64BIT;
        }
        self.incompat &= !INCOMPAT_ASYNC_COMMIT;
        if has_checksums {
            self.incompat = self.incompat & !INCOMPAT_CSUM_V2 | INCOMPAT_CSUM_V3;
            self.compat &= !COMPAT_CHECKSUM;
        }
        (self.compat, self.incompat) != before
    }

    pub(super) fn seal(&mut self, block_bytes: usize) -> Result<Vec<u8>, Error> {
        let raw = &mut self.raw;
        // Features exist in the second version only.
        put_be32(raw, 4, 4)?;
        put_be32(raw, 0x18, self.sequence)?;
        put_be32(raw, 0x1c, self.start)?;
        put_be32(raw, 0x20, self.errno as u32)?;
        put_be32(raw, 0x24, self.compat)?;
        put_be32(raw, 0x28, self.incompat)?;
        if self.features().has_checksums() {
            put(&mut self.raw, 0x50, &[4])?;
            let checksum = self.checksum()?;
            put_be32(&mut self.raw, 0xfc, checksum)?;
        }
        let mut block = vec![0; block_bytes];
        put(&mut block, 0, &self.raw)?;
        Ok(block)
    }
}

/// A block that begins as the log's own do would be taken for one: its first word is kept in its tag.
pub(super) fn escape(content: &[u8]) -> (Cow<'_, [u8]>, bool) {
    if be32_at(content, 0) != Ok(MAGIC) {
        return (Cow::Borrowed(content), false);
    }
    let mut copy = content.to_vec();
    copy.iter_mut().take(4).for_each(|b| *b = 0);
    (Cow::Owned(copy), true)
}

pub(super) fn unescape(content: &mut [u8]) -> Result<(), Error> {
    put_be32(content, 0, MAGIC)
}

/// How a log's blocks are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Features {
    compat: u32,
    incompat: u32,
    seed: u32,
}

impl Features {
    pub(super) fn has_checksums(self) -> bool {
        self.incompat & (INCOMPAT_CSUM_V2 | INCOMPAT_CSUM_V3) != 0
    }

    fn has_v3(self) -> bool {
        self.incompat & INCOMPAT_CSUM_V3 != 0
    }

    fn is_64bit(self) -> bool {
        self.incompat & INCOMPAT_64BIT != 0
    }

    /// Bytes of a tag without its UUID.
    fn tag_bytes(self) -> usize {
        if self.has_v3() {
            return 16;
        }
        let checksum = if self.incompat & INCOMPAT_CSUM_V2 != 0 { 2 } else { 0 };
        // Without 64 bits the upper half is left out.
        12 + checksum - if self.is_64bit() { 0 } else { 4 }
    }

    fn tail(self) -> usize {
        if self.has_checksums() { 4 } else { 0 }
    }

    pub(super) fn tags_a_block(self, block_bytes: usize) -> usize {
        ((block_bytes - HEADER - self.tail() - UUID) / self.tag_bytes()).max(1)
    }

    pub(super) fn revokes_a_block(self, block_bytes: usize) -> usize {
        let one = if self.is_64bit() { 8 } else { 4 };
        ((block_bytes - HEADER - 4 - self.tail()) / one).max(1)
    }

    /// A block's kind and transaction, if it is one of the log's own.
    pub(super) fn header(block: &[u8]) -> Option<(Kind, u32)> {
        if be32_at(block, 0).ok()? != MAGIC {
            return None;
        }
        let kind = match be32_at(block, 4).ok()? {
            1 => Kind::Descriptor,
            2 => Kind::Commit,
            5 => Kind::Revoke,
            _ => return None,
        };
        Some((kind, be32_at(block, 8).ok()?))
    }

    fn begin(block_bytes: usize, kind: Kind, tid: Tid) -> Result<Vec<u8>, Error> {
        let mut block = vec![0; block_bytes];
        put_be32(&mut block, 0, MAGIC)?;
        put_be32(&mut block, 4, kind as u32)?;
        put_be32(&mut block, 8, tid.0)?;
        Ok(block)
    }

    /// The checksum of a whole block whose field for it, at `at`, is zero.
    fn block_checksum(self, block: &[u8], at: usize) -> Result<u32, Error> {
        let mut crc = crc32c(self.seed, part(block, 0, at)?);
        crc = crc32c(crc, &[0; 4]);
        Ok(crc32c(crc, part(block, at + 4, block.len())?))
    }

    fn seal(self, block: &mut [u8]) -> Result<(), Error> {
        if self.has_checksums() {
            let at = block.len() - 4;
            let checksum = self.block_checksum(block, at)?;
            put_be32(block, at, checksum)?;
        }
        Ok(())
    }

    /// Whether a descriptor's or revocation's checksum is right.
    pub(super) fn is_sealed(self, block: &[u8]) -> Result<bool, Error> {
        if !self.has_checksums() {
            return Ok(true);
        }
        let at = block.len() - 4;
        Ok(self.block_checksum(block, at)? == be32_at(block, at)?)
    }

    /// The checksum of a block's content as it is in the log.
    pub(super) fn tag_checksum(self, tid: Tid, content: &[u8]) -> u32 {
        if !self.has_checksums() {
            return 0;
        }
        let crc = crc32c(crc32c(self.seed, &tid.0.to_be_bytes()), content);
        if self.has_v3() { crc } else { crc & 0xffff }
    }

    /// Goes on with the checksum over a whole transaction, where the log has that kind.
    pub(super) fn first_checksum(self, crc: u32, block: &[u8]) -> u32 {
        if self.compat & COMPAT_CHECKSUM != 0 {
            crc32_be(crc, block)
        } else {
            crc
        }
    }

    pub(super) fn descriptor_block(self, block_bytes: usize, tid: Tid, tags: &[Tag]) -> Result<Vec<u8>, Error> {
        let mut block = Self::begin(block_bytes, Kind::Descriptor, tid)?;
        let mut at = HEADER;
        for (i, tag) in tags.iter().enumerate() {
            let mut flags = if tag.is_escaped { TAG_ESCAPED } else { 0 };
            if i > 0 {
                flags |= TAG_SAME_UUID;
            }
            if i + 1 == tags.len() {
                flags |= TAG_LAST;
            }
            put_be32(&mut block, at, tag.home as u32)?;
            let high = (tag.home >> 32) as u32;
            if self.has_v3() {
                put_be32(&mut block, at + 4, flags)?;
                put_be32(&mut block, at + 8, high)?;
                put_be32(&mut block, at + 12, tag.checksum)?;
            } else {
                put_be16(&mut block, at + 4, tag.checksum as u16)?;
                put_be16(&mut block, at + 6, flags as u16)?;
                if self.is_64bit() {
                    put_be32(&mut block, at + 8, high)?;
                } else if high != 0 {
                    return Err(Error::Corrupt("a block's number does not fit the journal"));
                }
            }
            at += self.tag_bytes();
            if i == 0 {
                at += UUID;
            }
        }
        self.seal(&mut block)?;
        Ok(block)
    }

    /// A descriptor's tags.
    pub(super) fn tags(self, block: &[u8]) -> Result<Vec<Tag>, Error> {
        let mut out = Vec::new();
        let mut at = HEADER;
        let end = block.len() - self.tail();
        while at + self.tag_bytes() <= end {
            let low = be32_at(block, at)?;
            let (flags, high, checksum) = if self.has_v3() {
                (
                    be32_at(block, at + 4)?,
                    be32_at(block, at + 8)?,
                    be32_at(block, at + 12)?,
                )
            } else {
                let high = if self.is_64bit() { be32_at(block, at + 8)? } else { 0 };
                (
                    u32::from(be16_at(block, at + 6)?),
                    high,
                    u32::from(be16_at(block, at + 4)?),
                )
            };
            out.push(Tag {
                home: u64::from(low) | if self.is_64bit() { u64::from(high) << 32 } else { 0 },
                is_escaped: flags & TAG_ESCAPED != 0,
                checksum,
            });
            at += self.tag_bytes();
            if flags & TAG_SAME_UUID == 0 {
                at += UUID;
            }
            if flags & TAG_LAST != 0 {
                break;
            }
        }
        Ok(out)
    }

    pub(super) fn revoke_block(self, block_bytes: usize, tid: Tid, revokes: &[u64]) -> Result<Vec<u8>, Error> {
        let mut block = Self::begin(block_bytes, Kind::Revoke, tid)?;
        let mut at = HEADER + 4;
        for one in revokes {
            if self.is_64bit() {
                put(&mut block, at, &one.to_be_bytes())?;
                at += 8;
            } else {
                put_be32(&mut block, at, *one as u32)?;
                at += 4;
            }
        }
        put_be32(&mut block, HEADER, at as u32)?;
        self.seal(&mut block)?;
        Ok(block)
    }

    pub(super) fn revokes(self, block: &[u8]) -> Result<Vec<u64>, Error> {
        let end = be32_at(block, HEADER)? as usize;
        if end < HEADER + 4 || end > block.len() - self.tail() {
            return Err(Error::Corrupt("a revocation's length"));
        }
        let mut out = Vec::new();
        let mut at = HEADER + 4;
        let one = if self.is_64bit() { 8 } else { 4 };
        while at + one <= end {
            out.push(if self.is_64bit() {
                be64_at(block, at)?
            } else {
                u64::from(be32_at(block, at)?)
            });
            at += one;
        }
        Ok(out)
    }

    pub(super) fn commit_block(self, block_bytes: usize, tid: Tid, now_ns: i64, crc1: u32) -> Result<Vec<u8>, Error> {
        let mut block = Self::begin(block_bytes, Kind::Commit, tid)?;
        let seconds = now_ns.div_euclid(1_000_000_000);
        put(&mut block, 0x30, &(seconds as u64).to_be_bytes())?;
        put_be32(&mut block, 0x38, now_ns.rem_euclid(1_000_000_000) as u32)?;
        if self.has_checksums() {
            let checksum = self.block_checksum(&block, 0x10)?;
            put_be32(&mut block, 0x10, checksum)?;
        } else if self.compat & COMPAT_CHECKSUM != 0 {
            put(&mut block, 0xc, &[1, 4])?;
            put_be32(&mut block, 0x10, crc1)?;
        }
        Ok(block)
    }

    /// Whether a commit block is whole; `crc1` is the checksum over the transaction's other blocks.
    pub(super) fn is_commit_whole(self, block: &[u8], crc1: u32) -> Result<bool, Error> {
        if self.has_checksums() {
            return Ok(self.block_checksum(block, 0x10)? == be32_at(block, 0x10)?);
        }
        if self.compat & COMPAT_CHECKSUM != 0 {
            let is_crc32 = part(block, 0xc, 0xe)? == [1, 4];
            let none = part(block, 0xc, 0xe)? == [0, 0] && be32_at(block, 0x10)? == 0;
            return Ok(none || (is_crc32 && be32_at(block, 0x10)? == crc1));
        }
        Ok(true)
    }
}
