//! Replaying a log that was not closed.
//!
//! Three passes, as in jbd2: *scan* finds the end of the log, which is the first transaction without a commit block of its
//! number, or with a commit block whose checksum is wrong; *revoke* collects what must not be replayed; *replay* writes
//! the rest home. Unlike jbd2, the checksums of all blocks are verified before the first is written: a log with a damaged
//! block changes nothing on the disk, and `e2fsck` has everything to decide upon.
//!
//! A cut anywhere leaves the log as it was until its tail is reset, after a flush; replaying again gives the same.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::checksum::crc32_be;
use super::fields::u32_at;
use super::format::{COMMIT_CHECKSUM, COMMIT_CHECKSUM_TYPE, Format, Kind, MAGIC, Tag};
use super::place::{Gather, Reader};
use super::superblock::Checksums;
use super::{Journal, Tid};
use crate::{Disk, Error};

/// Revoked blocks that are taken from one log: they are kept in memory. No Linux writes as many.
const MAX_REVOKED: usize = 1 << 20;
/// Bytes of blocks that are sorted together.
const BATCH_BYTES: usize = 1 << 20;
/// `JBD2_CRC32_CHKSUM` and its size, of a commit block with a checksum of version 1.
const CRC32: [u8; 2] = [1, 4];

/// What recovery did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Transactions found.
    pub transactions: u32,
    /// Blocks replayed, the same one in several transactions counted each time.
    pub blocks: u64,
    /// Blocks that were not replayed, because they were revoked.
    pub revoked: u64,
    /// The last transaction found.
    pub last_tid: Option<u32>,
}

/// Where the log ends.
struct End {
    /// The first transaction that is not replayed.
    tid: Tid,
    transactions: u32,
    /// The log goes on behind it, and is damaged there.
    is_damaged: bool,
}

impl Journal {
    /// Replays the log, and marks it empty. To be called before anything else is read; on a disk that can be written.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when blocks of committed transactions are damaged, or lie about themselves, and
    /// [`Error::Feature`] with fast commits to be replayed: nothing was written then. [`Error::Disk`]: replaying may be
    /// tried again. [`Error::ReadOnly`].
    pub fn recover<D: Disk>(&mut self, disk: &D) -> Result<Report, Error> {
        if !self.needs_recovery() {
            return Ok(Report::default());
        }
        if disk.is_read_only() {
            return Err(Error::ReadOnly);
        }
        let end = self.scan(disk)?;
        self.check_fast_commits(disk, end.tid)?;
        let revoked = self.collect_revoked(disk, end.tid)?;
        let mut report = Report {
            transactions: end.transactions,
            last_tid: (end.transactions != 0).then_some(end.tid.0.wrapping_sub(1)),
            ..Report::default()
        };
        self.verify(disk, end.tid, &revoked, &mut report)?;
        self.replay(disk, end.tid, &revoked)?;
        // The transaction at the end may lie in the log in part: its number is not used again. Behind a damaged one there
        // may be whole ones, at most as many as the log has blocks.
        let skip = if end.is_damaged { self.superblock.max_len } else { 0 };
        let sequence = Tid(end.tid.0.wrapping_add(skip));
        self.write_tail(disk, 0, sequence)?;
        self.next = sequence.next();
        self.head = self.superblock.first;
        self.is_unclean = false;
        Ok(report)
    }

    fn scan<D: Disk>(&self, disk: &D) -> Result<End, Error> {
        let format = self.format();
        let mut reader = Reader::new(disk, &self.place);
        let mut walk = Walk::new(self);
        let mut transactions = 0;
        let mut is_damaged = false;
        let mut last_commit_seconds = 0;
        let mut sum_v1 = !0;
        // A block that precedes the commit block has a wrong checksum: left over from an earlier use of the disk, unless
        // a commit block of the right age follows.
        let mut is_doubtful = false;
        while let Some(at) = walk.next(1) {
            let block = reader.block(at)?;
            match Kind::of(block, walk.tid.0) {
                Some(Kind::Descriptor) => {
                    is_doubtful |= !format.is_tail_right(block);
                    let tags = format.tags(block)?.len();
                    if format.checksums == Checksums::V1 {
                        sum_v1 = crc32_be(sum_v1, block);
                        for _ in 0..tags {
                            let Some(at) = walk.next(1) else { break };
                            sum_v1 = crc32_be(sum_v1, reader.block(at)?);
                        }
                    } else {
                        walk.next(u32::try_from(tags).unwrap_or(u32::MAX));
                    }
                }
                Some(Kind::Revoke) => is_doubtful |= !format.is_tail_right(block),
                Some(Kind::Commit) => {
                    let seconds = Format::commit_seconds(block)?;
                    if is_doubtful {
                        if seconds >= last_commit_seconds {
                            return Err(Error::Corrupt("the checksum of a descriptor in the journal"));
                        }
                        break;
                    }
                    let is_right = match format.checksums {
                        Checksums::V1 => is_v1_right(block, sum_v1)?,
                        _ => format.is_commit_right(block),
                    };
                    if !is_right {
                        is_damaged = true;
                        break;
                    }
                    sum_v1 = !0;
                    last_commit_seconds = seconds;
                    walk.tid = walk.tid.next();
                    transactions += 1;
                }
                None => break,
            }
        }
        Ok(End {
            tid: walk.tid,
            transactions,
            is_damaged: is_damaged || is_doubtful,
        })
    }

    /// Fast commits are no transactions, and they are not replayed here: what they acknowledged would be lost.
    fn check_fast_commits<D: Disk>(&self, disk: &D, end: Tid) -> Result<(), Error> {
        // `EXT4_FC_TAG_HEAD`: tag and length, 16 bits each, features, transaction; little-endian.
        const HEAD: [u8; 2] = [9, 0];
        if !self.superblock.has_fast_commit {
            return Ok(());
        }
        let mut reader = Reader::new(disk, &self.place);
        let block = reader.block(self.superblock.last)?;
        let tid = block.get(8..12).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
        if block.get(..2) == Some(&HEAD) && tid == Some(end.0) {
            return Err(Error::Feature("fast_commit (with commits to be replayed)"));
        }
        Ok(())
    }

    fn collect_revoked<D: Disk>(&self, disk: &D, end: Tid) -> Result<BTreeMap<u64, Tid>, Error> {
        let mut revoked = BTreeMap::new();
        self.each(disk, end, |_, _, block, kind, tid, format| {
            if kind == Kind::Revoke {
                for home in format.revoked(block)? {
                    let newest = revoked.entry(home).or_insert(tid);
                    if tid.is_at_least(*newest) {
                        *newest = tid;
                    }
                }
                if revoked.len() > MAX_REVOKED {
                    return Err(Error::Corrupt("the journal: too many revoked blocks"));
                }
            }
            Ok(())
        })?;
        Ok(revoked)
    }

    /// Reads everything that is going to be written, and checks it.
    fn verify<D: Disk>(
        &self,
        disk: &D,
        end: Tid,
        revoked: &BTreeMap<u64, Tid>,
        report: &mut Report,
    ) -> Result<(), Error> {
        let format = self.format();
        self.each_block(disk, end, |tag, tid, data| {
            if is_revoked(revoked, tag.home, tid) {
                report.revoked += 1;
                return Ok(());
            }
            if tag.home >= self.place.disk_blocks || self.place.contains(tag.home) {
                return Err(Error::Corrupt("the journal: the place of a block"));
            }
            if !format.is_data_right(tag, tid.0, data) {
                return Err(Error::Corrupt("the checksum of a block in the journal"));
            }
            report.blocks += 1;
            Ok(())
        })
    }

    fn replay<D: Disk>(&self, disk: &D, end: Tid, revoked: &BTreeMap<u64, Tid>) -> Result<(), Error> {
        let capacity = (BATCH_BYTES / self.place.block_bytes).max(1);
        let mut batch: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        self.each_block(disk, end, |tag, tid, data| {
            if is_revoked(revoked, tag.home, tid) {
                return Ok(());
            }
            let mut content = data.to_vec();
            if tag.is_escaped
                && let Some(start) = content.first_chunk_mut()
            {
                *start = MAGIC.to_be_bytes();
            }
            batch.insert(tag.home, content);
            if batch.len() >= capacity {
                self.write_batch(disk, &mut batch)?;
            }
            Ok(())
        })?;
        self.write_batch(disk, &mut batch)
    }

    /// Ends with a flush: a later batch may write a block again, and a device may reorder writes between flushes. After the
    /// last batch, the log may be marked empty.
    fn write_batch<D: Disk>(&self, disk: &D, batch: &mut BTreeMap<u64, Vec<u8>>) -> Result<(), Error> {
        let mut gather = Gather::new(disk, &self.place);
        for (home, content) in batch.iter() {
            gather.push(*home, content)?;
        }
        gather.finish()?;
        disk.flush()?;
        batch.clear();
        Ok(())
    }

    /// Every block that a descriptor before `end` describes: its tag, transaction and content in the log.
    fn each_block<D: Disk>(
        &self,
        disk: &D,
        end: Tid,
        mut visit: impl FnMut(&Tag, Tid, &[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut data = Reader::new(disk, &self.place);
        self.each(disk, end, |at, tags, _, _, tid, _| {
            for (i, tag) in (1u32..).zip(tags) {
                visit(tag, tid, data.block(self.after(at, i))?)?;
            }
            Ok(())
        })
    }

    /// Every block of the log before `end` that is not data: where it is, its tags, itself, its kind and transaction.
    fn each<D: Disk>(
        &self,
        disk: &D,
        end: Tid,
        mut visit: impl FnMut(u32, &[Tag], &[u8], Kind, Tid, &Format) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let format = self.format();
        let mut reader = Reader::new(disk, &self.place);
        let mut walk = Walk::new(self);
        while walk.tid != end {
            let changed = Error::Corrupt("the journal: it changes while it is read");
            let at = walk.next(1).ok_or(changed)?;
            let block = reader.block(at)?;
            let kind = Kind::of(block, walk.tid.0).ok_or(changed)?;
            let tags = match kind {
                Kind::Descriptor => format.tags(block)?,
                Kind::Revoke | Kind::Commit => Vec::new(),
            };
            if kind != Kind::Commit && !format.is_tail_right(block) {
                return Err(Error::Corrupt("the checksum of a descriptor in the journal"));
            }
            visit(at, &tags, block, kind, walk.tid, &format)?;
            match kind {
                Kind::Descriptor if !tags.is_empty() => {
                    walk.next(u32::try_from(tags.len()).unwrap_or(u32::MAX))
                        .ok_or(changed)?;
                }
                Kind::Commit => walk.tid = walk.tid.next(),
                Kind::Descriptor | Kind::Revoke => {}
            }
        }
        Ok(())
    }
}

/// A revoke record holds for its own transaction and all before it.
fn is_revoked(revoked: &BTreeMap<u64, Tid>, home: u64, tid: Tid) -> bool {
    revoked.get(&home).is_some_and(|newest| newest.is_at_least(tid))
}

/// A commit block of a journal with checksums of version 1 may also have none.
fn is_v1_right(block: &[u8], sum: u32) -> Result<bool, Error> {
    let found = u32_at(block, COMMIT_CHECKSUM)?;
    let kind = block.get(COMMIT_CHECKSUM_TYPE..COMMIT_CHECKSUM_TYPE + 2);
    Ok((kind == Some(&CRC32) && found == sum) || (kind == Some(&[0, 0]) && found == 0))
}

/// A walk through the log: once around at most, whatever it says.
struct Walk<'a> {
    journal: &'a Journal,
    at: u32,
    left: u32,
    tid: Tid,
}

impl<'a> Walk<'a> {
    fn new(journal: &'a Journal) -> Self {
        let sb = &journal.superblock;
        Self {
            journal,
            at: sb.start(),
            left: sb.last - sb.first,
            tid: Tid(sb.sequence()),
        }
    }

    /// Goes on by `count` blocks, and gives the first of them.
    fn next(&mut self, count: u32) -> Option<u32> {
        let Some(left) = self.left.checked_sub(count) else {
            self.left = 0;
            return None;
        };
        self.left = left;
        let at = self.at;
        self.at = self.journal.after(at, count);
        Some(at)
    }
}
