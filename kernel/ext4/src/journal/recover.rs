//! Replaying the log after a cut.
//!
//! Three passes, as jbd2 makes them: find the last whole transaction, gather revocations, write contents home. The log's
//! tail moves only when everything is home and flushed, so that a cut anywhere in here changes nothing.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use super::format::{Features, Kind, Tag, unescape};
use super::{Journal, Tid};
use crate::{Disk, Error};

/// What was replayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Transactions.
    pub transactions: u32,
    /// Blocks written home.
    pub blocks: u64,
    /// Blocks left alone because they had been revoked.
    pub revoked: u64,
}

/// What one walk over the log is for.
enum Pass<'a> {
    Scan,
    Revoke(&'a mut BTreeMap<u64, Tid>),
    Replay(&'a BTreeMap<u64, Tid>, &'a mut Recovered),
}

impl Journal {
    /// Replays what the log has, if anything.
    ///
    /// # Errors
    /// [`Error::Disk`], [`Error::Corrupt`] when the log contradicts itself in a way that no cut leaves.
    pub fn recover<D: Disk>(&mut self, disk: &D) -> Result<Recovered, Error> {
        let mut report = Recovered::default();
        if !self.needs_recovery() {
            return Ok(report);
        }
        let first = Tid(self.head.sequence);
        let end = self.walk(disk, None, Pass::Scan)?;
        let mut revoked = BTreeMap::new();
        self.walk(disk, Some(end), Pass::Revoke(&mut revoked))?;
        self.walk(disk, Some(end), Pass::Replay(&revoked, &mut report))?;
        disk.flush()?;
        report.transactions = end.0.wrapping_sub(first.0);
        // A number that no remnant in the log carries.
        self.next_tid = end.next();
        self.next_block = self.head.first;
        self.live.clear();
        self.head.start = 0;
        self.head.sequence = self.next_tid.0;
        self.write_head(disk)?;
        Ok(report)
    }

    /// Goes over the transactions up to `end`, or as far as they are whole; the first number that was not.
    fn walk<D: Disk>(&self, disk: &D, end: Option<Tid>, mut pass: Pass<'_>) -> Result<Tid, Error> {
        let f = self.head.features();
        let mut tid = Tid(self.head.sequence);
        let mut at = self.head.start;
        let mut block = vec![0; self.block_bytes];
        let mut crc1 = !0;
        // The log is a ring: whatever it says, it has no more blocks than these.
        let mut left = self.usable();
        while end.is_none_or(|e| e != tid) {
            left = match left.checked_sub(1) {
                Some(n) => n,
                None => break,
            };
            self.read_log(disk, at, &mut block)?;
            let Some((kind, number)) = Features::header(&block) else {
                break;
            };
            if number != tid.0 {
                break;
            }
            at = self.advance(at, 1);
            match kind {
                Kind::Descriptor => {
                    if !f.is_sealed(&block)? {
                        break;
                    }
                    let tags = f.tags(&block)?;
                    let Some(rest) = left.checked_sub(tags.len() as u32) else {
                        break;
                    };
                    left = rest;
                    if matches!(pass, Pass::Scan) {
                        crc1 = f.first_checksum(crc1, &block);
                    }
                    if !self.contents(disk, tid, at, &tags, &mut pass, &mut crc1)? {
                        // A torn content ends the log as a torn commit block does: the transaction was not acknowledged,
                        // or its home is still to be written by nobody.
                        break;
                    }
                    at = self.advance_far(at, tags.len() as u32);
                }
                Kind::Revoke => {
                    if !f.is_sealed(&block)? {
                        break;
                    }
                    if let Pass::Revoke(revoked) = &mut pass {
                        for home in f.revokes(&block)? {
                            revoked.insert(home, tid);
                        }
                    }
                }
                Kind::Commit => {
                    if !f.is_commit_whole(&block, crc1)? && matches!(pass, Pass::Scan) {
                        break;
                    }
                    crc1 = !0;
                    tid = tid.next();
                }
            }
        }
        Ok(tid)
    }

    fn advance_far(&self, at: u32, by: u32) -> u32 {
        (0..by).fold(at, |at, _| self.advance(at, 1))
    }

    /// The contents behind a descriptor; false when one does not have its checksum.
    fn contents<D: Disk>(
        &self,
        disk: &D,
        tid: Tid,
        mut at: u32,
        tags: &[Tag],
        pass: &mut Pass<'_>,
        crc1: &mut u32,
    ) -> Result<bool, Error> {
        let f = self.head.features();
        let mut content: Vec<u8> = vec![0; self.block_bytes];
        for tag in tags {
            match pass {
                Pass::Revoke(_) => {}
                Pass::Scan => {
                    self.read_log(disk, at, &mut content)?;
                    *crc1 = f.first_checksum(*crc1, &content);
                    if f.tag_checksum(tid, &content) != tag.checksum && f.has_checksums() {
                        return Ok(false);
                    }
                }
                Pass::Replay(revoked, report) => {
                    if revoked.get(&tag.home).is_some_and(|r| !tid.is_after(*r)) {
                        report.revoked += 1;
                    } else {
                        self.read_log(disk, at, &mut content)?;
                        if tag.is_escaped {
                            unescape(&mut content)?;
                        }
                        disk.write(self.offset(tag.home), &content)?;
                        report.blocks += 1;
                    }
                }
            }
            at = self.advance(at, 1);
        }
        Ok(true)
    }
}
