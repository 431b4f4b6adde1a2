//! Writing a transaction into the log.

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use super::format::{MAGIC, Tag};
use super::place::Gather;
use super::{Content, Extent, Journal, Logged, Tid};
use crate::{Disk, Error};

impl Journal {
    /// Commits a transaction: when this returns, `blocks` (home and content, each home once) and `revokes` are on stable
    /// storage, together with everything that was written to the disk before. A block in both is not revoked: its new
    /// content supersedes what the log has. `now_ns` is the time since 1970. Without blocks and revokes, only flushes.
    ///
    /// Order, and why:
    /// 1. the tail in the journal's superblock, when the log was marked empty, so that recovery looks at the log. It may
    ///    reach the disk before or after 2: a tail that points at anything but this transaction's blocks is an empty log;
    /// 2. revoke blocks, descriptors and blocks, in large writes, in any order among themselves;
    /// 3. one flush. The commit block must not be there while anything of 1 and 2 is not, and neither must metadata be
    ///    that leads to data which is not: this one flush serves the log and ordered data alike;
    /// 4. the commit block, written through: one block with a sequence number and a checksum, so that it is there whole or
    ///    it is not there; nothing else has to be flushed with it. Torn, its checksum is wrong (without checksums, all
    ///    that recovery looks at is in its first sector).
    ///
    /// # Errors
    /// [`Error::NoSpace`] for a transaction that is larger than the log: nothing has happened. [`Error::Invalid`] for a
    /// block that is not on the disk, is in the log or has another size, or before recovery: likewise.
    /// [`Error::Disk`]: the transaction may or may not be there after the next mount, and the journal is stopped.
    /// [`Error::ReadOnly`] for a stopped journal.
    pub fn commit<D: Disk>(
        &mut self,
        disk: &D,
        blocks: Vec<(u64, Content)>,
        revokes: &[u64],
        now_ns: u64,
    ) -> Result<Tid, Error> {
        if self.is_stopped {
            return Err(Error::ReadOnly);
        }
        if self.is_unclean {
            return Err(Error::Invalid);
        }
        let mut homes: BTreeSet<u64> = BTreeSet::new();
        for (home, content) in &blocks {
            if content.len() != self.place.block_bytes || !self.can_log(*home) || !homes.insert(*home) {
                return Err(Error::Invalid);
            }
        }
        let revokes: BTreeSet<u64> = revokes.iter().copied().filter(|b| !homes.contains(b)).collect();
        let revokes: Vec<u64> = revokes.into_iter().collect();
        if !revokes.iter().all(|home| self.can_log(*home)) {
            return Err(Error::Invalid);
        }
        if !revokes.is_empty() && !self.superblock.has_revoke {
            return Err(Error::Unsupported);
        }
        if blocks.is_empty() && revokes.is_empty() {
            disk.flush()?;
            return Ok(Tid(self.next.0.wrapping_sub(1)));
        }
        let format = self.format();
        let len = (revokes.len().div_ceil(format.records_per_revoke_block()))
            .saturating_add(blocks.len().div_ceil(format.tags_per_descriptor()))
            .saturating_add(blocks.len())
            .saturating_add(1);
        let len = u32::try_from(len).map_err(|_| Error::NoSpace)?;
        if len > self.usable() {
            return Err(Error::NoSpace);
        }
        self.checkpoint(disk, Extent::Space(len))?;
        let tid = self.next;
        if let Err(e) = self.write(disk, &blocks, &revokes, len, now_ns) {
            self.is_stopped = true;
            return Err(e);
        }
        self.logged.push_back(Logged {
            tid,
            start: self.head,
            len,
            homes: homes.into_iter().collect(),
        });
        self.head = self.after(self.head, len);
        self.next = tid.next();
        // From here on these may be data, which an old content must not be written over.
        for home in &revokes {
            self.pending.remove(home);
        }
        self.pending.extend(blocks);
        Ok(tid)
    }

    fn can_log(&self, home: u64) -> bool {
        home < self.place.disk_blocks && !self.place.contains(home) && self.format().can_name(home)
    }

    fn write<D: Disk>(
        &mut self,
        disk: &D,
        blocks: &[(u64, Content)],
        revokes: &[u64],
        len: u32,
        now_ns: u64,
    ) -> Result<(), Error> {
        let tid = self.next;
        let format = self.format();
        if self.superblock.start() == 0 {
            self.write_tail(disk, self.head, tid)?;
        }
        let mut at = self.head;
        let mut gather = Gather::new(disk, &self.place);
        for revoked in revokes.chunks(format.records_per_revoke_block()) {
            gather.push(self.place.find(at)?.0, &format.revoke_block(tid.0, revoked)?)?;
            at = self.after(at, 1);
        }
        for described in blocks.chunks(format.tags_per_descriptor()) {
            let mut tags = Vec::with_capacity(described.len());
            let mut contents = Vec::with_capacity(described.len());
            for (home, content) in described {
                let is_escaped = content.first_chunk() == Some(&MAGIC.to_be_bytes());
                let content = if is_escaped {
                    escaped(content)
                } else {
                    Arc::clone(content)
                };
                tags.push(Tag {
                    home: *home,
                    is_escaped,
                    checksum: format.data_checksum(tid.0, &content),
                });
                contents.push(content);
            }
            let descriptor = format.descriptor(tid.0, self.superblock.uuid(), &tags)?;
            gather.push(self.place.find(at)?.0, &descriptor)?;
            at = self.after(at, 1);
            for content in &contents {
                gather.push(self.place.find(at)?.0, content)?;
                at = self.after(at, 1);
            }
        }
        debug_assert_eq!(at, self.after(self.head, len.saturating_sub(1)));
        let (commit, _) = self.place.find(at)?;
        // A commit block says everything in its first sector and is zero behind it, under one checksum. With zeros there
        // already, it is whole as soon as that sector is: a cut in the middle of writing it cannot leave one with a wrong
        // checksum, which jbd2 and e2fsck take for a damaged log.
        gather.push(commit, &vec![0; self.place.block_bytes])?;
        gather.finish()?;
        disk.flush()?;
        disk.write_through(self.place.offset(commit), &format.commit_block(tid.0, now_ns)?)?;
        Ok(())
    }
}

/// A copy for the log of a block that begins with the log's magic number.
fn escaped(content: &Content) -> Content {
    let mut copy = content.as_ref().clone();
    if let Some(start) = copy.first_chunk_mut::<4>() {
        *start = [0; 4];
    }
    Arc::new(copy)
}
