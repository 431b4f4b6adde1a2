//! The first block of the log: `journal_superblock_t`, 1024 bytes, big-endian.

use alloc::vec::Vec;

use super::fields::{put, put_u32, u32_at};
use super::format::MAGIC;
use crate::Error;
use crate::crc::crc32c;

/// Bytes of it.
pub(super) const BYTES: usize = 1024;

mod at {
    pub(super) const TYPE: usize = 0x04;
    pub(super) const BLOCK_BYTES: usize = 0x0c;
    pub(super) const MAX_LEN: usize = 0x10;
    pub(super) const FIRST: usize = 0x14;
    pub(super) const SEQUENCE: usize = 0x18;
    pub(super) const START: usize = 0x1c;
    pub(super) const ERRNO: usize = 0x20;
    pub(super) const COMPAT: usize = 0x24;
    pub(super) const INCOMPAT: usize = 0x28;
    pub(super) const RO_COMPAT: usize = 0x2c;
    pub(super) const UUID: usize = 0x30;
    pub(super) const CHECKSUM_TYPE: usize = 0x50;
    pub(super) const FAST_COMMIT_BLOCKS: usize = 0x54;
    pub(super) const CHECKSUM: usize = 0xfc;
}

const VERSION_1: u32 = 3;
const VERSION_2: u32 = 4;
/// `JBD2_CRC32C_CHKSUM`.
const CRC32C: u8 = 4;
/// `JBD2_DEFAULT_FAST_COMMIT_BLOCKS`, meant where the field is zero.
const DEFAULT_FAST_COMMIT_BLOCKS: u32 = 256;
/// Shortest log that Linux takes, `JBD2_MIN_JOURNAL_BLOCKS`, is 1024; the format itself needs a descriptor, a block and
/// a commit block.
const MIN_LOG_BLOCKS: u32 = 4;

const COMPAT_CHECKSUM: u32 = 0x1;
/// Names of the incompatible features, by bit.
const INCOMPAT_REVOKE: u32 = 0x1;
const INCOMPAT_64BIT: u32 = 0x2;
const INCOMPAT_ASYNC_COMMIT: u32 = 0x4;
const INCOMPAT_CSUM_V2: u32 = 0x8;
const INCOMPAT_CSUM_V3: u32 = 0x10;
const INCOMPAT_FAST_COMMIT: u32 = 0x20;
const INCOMPAT_KNOWN: u32 = 0x3f;

/// How blocks of the log are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checksums {
    None,
    /// One in the commit block, over descriptors and data.
    V1,
    /// In every block; 16 bits a tag.
    V2,
    /// In every block; 32 bits a tag.
    V3,
}

/// What the superblock says, and its bytes.
#[derive(Clone, Debug)]
pub(super) struct Superblock {
    bytes: Vec<u8>,
    /// The log's own blocks are `first..last`; it wraps around there.
    pub(super) first: u32,
    pub(super) last: u32,
    /// Blocks, with those of fast commits.
    pub(super) max_len: u32,
    pub(super) checksums: Checksums,
    pub(super) is_wide: bool,
    pub(super) is_async: bool,
    pub(super) has_fast_commit: bool,
    pub(super) has_revoke: bool,
    /// What checksums of version 2 and 3 begin with.
    pub(super) seed: u32,
}

impl Superblock {
    /// Checks the first bytes of the log's first block.
    pub(super) fn new_checked(bytes: &[u8], block_bytes: usize, log_blocks: u32) -> Result<Self, Error> {
        let bytes = bytes.get(..BYTES).ok_or(Error::Corrupt("journal superblock"))?.to_vec();
        if u32_at(&bytes, 0)? != MAGIC {
            return Err(Error::Corrupt("journal superblock: its magic number"));
        }
        let is_version_2 = match u32_at(&bytes, at::TYPE)? {
            VERSION_1 => false,
            VERSION_2 => true,
            _ => return Err(Error::Corrupt("journal superblock: its type")),
        };
        if u64::from(u32_at(&bytes, at::BLOCK_BYTES)?) != block_bytes as u64 {
            return Err(Error::Corrupt("journal superblock: the block size"));
        }
        let (compat, incompat, ro_compat) = if is_version_2 {
            (
                u32_at(&bytes, at::COMPAT)?,
                u32_at(&bytes, at::INCOMPAT)?,
                u32_at(&bytes, at::RO_COMPAT)?,
            )
        } else {
            (0, 0, 0)
        };
        if incompat & !INCOMPAT_KNOWN != 0 {
            return Err(Error::Feature(unknown_name(incompat & !INCOMPAT_KNOWN)));
        }
        if ro_compat != 0 {
            return Err(Error::Feature("journal_ro_compat"));
        }
        let has = |feature: u32| incompat & feature != 0;
        let checksums = match (
            compat & COMPAT_CHECKSUM != 0,
            has(INCOMPAT_CSUM_V2),
            has(INCOMPAT_CSUM_V3),
        ) {
            (false, false, false) => Checksums::None,
            (true, false, false) => Checksums::V1,
            (false, true, false) => Checksums::V2,
            (false, false, true) => Checksums::V3,
            _ => return Err(Error::Corrupt("journal superblock: two kinds of checksums at once")),
        };
        let is_summed = matches!(checksums, Checksums::V2 | Checksums::V3);
        if is_summed {
            if bytes.get(at::CHECKSUM_TYPE) != Some(&CRC32C) {
                return Err(Error::Feature("journal checksum type"));
            }
            if checksum(&bytes)? != u32_at(&bytes, at::CHECKSUM)? {
                return Err(Error::Corrupt("journal superblock: its checksum"));
            }
        }
        let max_len = u32_at(&bytes, at::MAX_LEN)?;
        let first = u32_at(&bytes, at::FIRST)?;
        let has_fast_commit = has(INCOMPAT_FAST_COMMIT);
        let fast_commit_blocks = match (has_fast_commit, u32_at(&bytes, at::FAST_COMMIT_BLOCKS)?) {
            (false, _) => 0,
            (true, 0) => DEFAULT_FAST_COMMIT_BLOCKS,
            (true, n) => n,
        };
        let last = max_len.saturating_sub(fast_commit_blocks);
        let start = u32_at(&bytes, at::START)?;
        if max_len > log_blocks || first == 0 || first >= last || last - first < MIN_LOG_BLOCKS {
            return Err(Error::Corrupt("journal superblock: the log's size"));
        }
        if start != 0 && (start < first || start >= last) {
            return Err(Error::Corrupt("journal superblock: the log's start"));
        }
        let seed = crc32c(!0, bytes.get(at::UUID..at::UUID + 16).unwrap_or(&[]));
        Ok(Self {
            first,
            last,
            max_len,
            checksums,
            is_wide: has(INCOMPAT_64BIT),
            is_async: has(INCOMPAT_ASYNC_COMMIT),
            has_fast_commit,
            has_revoke: has(INCOMPAT_REVOKE),
            seed,
            bytes,
        })
    }

    pub(super) fn is_summed(&self) -> bool {
        matches!(self.checksums, Checksums::V2 | Checksums::V3)
    }

    /// The first block of the log that is not checkpointed; 0: there is none.
    pub(super) fn start(&self) -> u32 {
        u32_at(&self.bytes, at::START).unwrap_or(0)
    }

    /// The transaction that begins at the start.
    pub(super) fn sequence(&self) -> u32 {
        u32_at(&self.bytes, at::SEQUENCE).unwrap_or(0)
    }

    /// The error that ended the journal's use: negative, as in Linux; 0: none.
    pub(super) fn errno(&self) -> i32 {
        u32_at(&self.bytes, at::ERRNO).unwrap_or(0).cast_signed()
    }

    pub(super) fn uuid(&self) -> [u8; 16] {
        let mut uuid = [0; 16];
        if let Some(bytes) = self.bytes.get(at::UUID..at::UUID + 16) {
            uuid.copy_from_slice(bytes);
        }
        uuid
    }

    /// Sets where the log begins. The caller writes [`bytes`](Self::bytes).
    pub(super) fn set_tail(&mut self, start: u32, sequence: u32) -> Result<(), Error> {
        put_u32(&mut self.bytes, at::START, start)?;
        put_u32(&mut self.bytes, at::SEQUENCE, sequence)?;
        self.seal()
    }

    pub(super) fn set_errno(&mut self, errno: i32) -> Result<(), Error> {
        put_u32(&mut self.bytes, at::ERRNO, errno.cast_unsigned())?;
        self.seal()
    }

    /// Turns to the features that Linux gives the journal of such a file system; the log must be empty.
    pub(super) fn set_features(&mut self, is_wide: bool, is_summed: bool) -> Result<(), Error> {
        if u32_at(&self.bytes, at::TYPE)? == VERSION_1 {
            put_u32(&mut self.bytes, at::TYPE, VERSION_2)?;
            if let Some(rest) = self.bytes.get_mut(at::COMPAT..) {
                rest.fill(0);
            }
        }
        let old = u32_at(&self.bytes, at::INCOMPAT)?;
        let mut incompat = (old & INCOMPAT_FAST_COMMIT) | INCOMPAT_REVOKE;
        if is_wide {
            incompat |= INCOMPAT_64BIT;
        }
        if is_summed {
            incompat |= INCOMPAT_CSUM_V3;
            put(&mut self.bytes, at::CHECKSUM_TYPE, &[CRC32C])?;
        } else {
            put(&mut self.bytes, at::CHECKSUM_TYPE, &[0])?;
            put_u32(&mut self.bytes, at::CHECKSUM, 0)?;
        }
        let compat = u32_at(&self.bytes, at::COMPAT)? & !COMPAT_CHECKSUM;
        put_u32(&mut self.bytes, at::COMPAT, compat)?;
        put_u32(&mut self.bytes, at::INCOMPAT, incompat)?;
        self.checksums = if is_summed { Checksums::V3 } else { Checksums::None };
        self.is_wide = is_wide;
        self.is_async = false;
        self.has_revoke = true;
        self.seed = crc32c(!0, &self.uuid());
        self.seal()
    }

    fn seal(&mut self) -> Result<(), Error> {
        if self.is_summed() {
            let sum = checksum(&self.bytes)?;
            put_u32(&mut self.bytes, at::CHECKSUM, sum)?;
        }
        Ok(())
    }

    /// What belongs at the beginning of the log's first block.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn checksum(bytes: &[u8]) -> Result<u32, Error> {
    let short = Error::Corrupt("journal superblock");
    let before = bytes.get(..at::CHECKSUM).ok_or(short)?;
    let after = bytes.get(at::CHECKSUM + 4..).ok_or(short)?;
    Ok(crc32c(crc32c(crc32c(!0, before), &[0; 4]), after))
}

/// The lowest unknown feature as e2fsprogs names those it does not know.
fn unknown_name(features: u32) -> &'static str {
    const NAMES: [&str; 26] = [
        "journal_incompat I6",
        "journal_incompat I7",
        "journal_incompat I8",
        "journal_incompat I9",
        "journal_incompat I10",
        "journal_incompat I11",
        "journal_incompat I12",
        "journal_incompat I13",
        "journal_incompat I14",
        "journal_incompat I15",
        "journal_incompat I16",
        "journal_incompat I17",
        "journal_incompat I18",
        "journal_incompat I19",
        "journal_incompat I20",
        "journal_incompat I21",
        "journal_incompat I22",
        "journal_incompat I23",
        "journal_incompat I24",
        "journal_incompat I25",
        "journal_incompat I26",
        "journal_incompat I27",
        "journal_incompat I28",
        "journal_incompat I29",
        "journal_incompat I30",
        "journal_incompat I31",
    ];
    let bit = features.trailing_zeros().saturating_sub(6);
    NAMES
        .get(super::fields::index(bit))
        .copied()
        .unwrap_or("journal_incompat")
}
