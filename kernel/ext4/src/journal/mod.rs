//! The journal (jbd2).
//!
//! # Terms
//!
//! A *transaction* is a set of metadata blocks with their new content, and of blocks that must not be replayed any more
//! (*revoked*). It is *committed* once all of it and its commit block are on stable storage in the log: from then on it
//! will happen, whatever is cut. A committed block is *checkpointed* when its content is at its *home*, its place outside
//! the log; when every block of a transaction is, the transaction's part of the log is free again.
//!
//! # Order
//!
//! A commit writes revocations, descriptors and contents, flushes, and writes the commit block through. The flush also
//! covers what the caller wrote before it asked for the commit: data that the transaction makes visible is on the disk
//! first. A checkpoint writes homes, flushes, and only then moves the log's tail, through.
//!
//! The file system's superblock must say that recovery is needed (INCOMPAT_RECOVER) before the first commit, and may
//! say that it is not only after [`Journal::close`].

mod format;
mod recover;

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

pub use recover::Recovered;

use crate::{Disk, Error};
use format::{LogSuper, Tag};

/// Number of a transaction; wraps around.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tid(pub u32);

impl Tid {
    fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// Whether it came after `other`, on a circle of numbers.
    pub fn is_after(self, other: Self) -> bool {
        (self.0.wrapping_sub(other.0) as i32) > 0
    }
}

/// Where blocks of the log are on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first block of the log in this run.
    pub logical: u32,
    /// Where it is.
    pub physical: u64,
    /// Blocks.
    pub len: u32,
}

/// The content of one block; its length is the file system's block size. Shared with the cache of metadata blocks, which
/// copies before it changes one that the journal still holds.
pub type Content = Arc<Vec<u8>>;

/// Most blocks of the log that one write to the disk takes.
const BATCH: usize = 128;

/// An open journal.
pub struct Journal {
    block_bytes: usize,
    runs: Vec<Run>,
    head: LogSuper,
    /// The log's next free block.
    next_block: u32,
    /// The next transaction.
    next_tid: Tid,
    /// Transactions of the log, oldest first: the first block of each and its number.
    live: Vec<(u32, Tid)>,
    /// Committed content that is not at its home.
    pending: BTreeMap<u64, Content>,
    is_aborted: bool,
}

impl Journal {
    /// Reads the journal's superblock. `runs` cover the whole log, in order; `block_bytes` is the file system's.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for a journal that contradicts itself, [`Error::Unsupported`] for features that are unknown.
    pub fn open<D: Disk>(disk: &D, block_bytes: usize, runs: Vec<Run>) -> Result<Self, Error> {
        let first = runs.first().filter(|r| r.logical == 0 && r.len > 0);
        let at = first.ok_or(Error::Corrupt("the journal has no blocks"))?.physical;
        let mut block = vec![0; block_bytes];
        disk.read(at.saturating_mul(block_bytes as u64), &mut block)?;
        let head = LogSuper::parse(&block, block_bytes)?;
        let covered: u64 = runs.iter().map(|r| u64::from(r.len)).sum();
        if u64::from(head.len) > covered {
            return Err(Error::Corrupt("the journal is longer than its file"));
        }
        let next_tid = Tid(head.sequence);
        Ok(Self {
            block_bytes,
            runs,
            next_block: head.first,
            next_tid,
            head,
            live: Vec::new(),
            pending: BTreeMap::new(),
            is_aborted: false,
        })
    }

    /// Whether the log has transactions that may not be at their homes.
    pub fn needs_recovery(&self) -> bool {
        self.head.start != 0
    }

    /// The error that an earlier user of the journal left (0: none), a negative errno of Linux.
    pub fn errno(&self) -> i32 {
        self.head.errno
    }

    /// Uses checksums of the third kind from now on, as a file system with `metadata_csum` has them. Before the first
    /// commit.
    ///
    /// # Errors
    /// [`Error::Disk`].
    pub fn require<D: Disk>(&mut self, disk: &D, has_checksums: bool, is_64bit: bool) -> Result<(), Error> {
        if self.head.set_features(has_checksums, is_64bit) {
            self.write_head(disk)?;
        }
        Ok(())
    }

    /// Most blocks that one transaction may have, so that it fits the log beside another.
    pub fn transaction_blocks_max(&self) -> usize {
        (self.usable() as usize / 4).max(8)
    }

    fn usable(&self) -> u32 {
        self.head.len - self.head.first
    }

    fn free(&self) -> u32 {
        match self.live.first() {
            None => self.usable(),
            Some((tail, _)) if *tail <= self.next_block => self.usable() - (self.next_block - tail),
            Some((tail, _)) => tail - self.next_block,
        }
    }

    /// Committed content that is not at its home yet: what a reader of this block must see.
    pub fn lookup_pending(&self, block: u64) -> Option<Content> {
        self.pending.get(&block).cloned()
    }

    /// Blocks that wait for their checkpoint.
    pub fn pending_blocks(&self) -> usize {
        self.pending.len()
    }

    /// The number that the next commit gets.
    pub fn next_tid(&self) -> Tid {
        self.next_tid
    }

    fn disk_block(&self, logical: u32) -> Result<(u64, u32), Error> {
        self.runs
            .iter()
            .find(|r| logical >= r.logical && logical - r.logical < r.len)
            .map(|r| {
                (
                    r.physical + u64::from(logical - r.logical),
                    r.len - (logical - r.logical),
                )
            })
            .ok_or(Error::Corrupt("the journal points outside itself"))
    }

    fn offset(&self, block: u64) -> u64 {
        block.saturating_mul(self.block_bytes as u64)
    }

    fn read_log<D: Disk>(&self, disk: &D, logical: u32, out: &mut [u8]) -> Result<(), Error> {
        let (block, _) = self.disk_block(logical)?;
        Ok(disk.read(self.offset(block), out)?)
    }

    /// Writes consecutive blocks of the log, in as few pieces as their places allow.
    fn write_log<D: Disk>(&self, disk: &D, mut logical: u32, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let (block, run) = self.disk_block(logical)?;
            let blocks = (bytes.len() / self.block_bytes).min(run as usize);
            let n = (blocks * self.block_bytes).min(bytes.len());
            let (now, later) = bytes.split_at_checked(n).unwrap_or((bytes, &[]));
            if now.is_empty() {
                return Err(Error::Corrupt("the journal's writes are not whole blocks"));
            }
            disk.write(self.offset(block), now)?;
            bytes = later;
            logical += blocks as u32;
        }
        Ok(())
    }

    fn write_head<D: Disk>(&mut self, disk: &D) -> Result<(), Error> {
        let (block, _) = self.disk_block(0)?;
        let bytes = self.head.seal(self.block_bytes)?;
        Ok(disk.write_through(self.offset(block), &bytes)?)
    }

    fn advance(&self, logical: u32, by: u32) -> u32 {
        let at = logical + by;
        if at >= self.head.len { at - self.usable() } else { at }
    }

    /// Commits a transaction: `blocks` with their new content, `revokes`: blocks that are no metadata any more. Returns
    /// when it will survive anything.
    ///
    /// A revoked block must not be written by anybody before this returns. `now_ns` is the time since 1970.
    ///
    /// # Errors
    /// [`Error::NoSpace`] when the transaction is larger than [`transaction_blocks_max`](Self::transaction_blocks_max)
    /// allows; [`Error::Disk`]: the journal is aborted then, as nobody knows what is on the disk.
    pub fn commit<D: Disk>(
        &mut self,
        disk: &D,
        blocks: Vec<(u64, Content)>,
        revokes: &[u64],
        now_ns: i64,
    ) -> Result<Tid, Error> {
        if self.is_aborted {
            return Err(Error::ReadOnly);
        }
        let result = self.try_commit(disk, blocks, revokes, now_ns);
        if matches!(result, Err(Error::Disk(_))) {
            self.is_aborted = true;
        }
        result
    }

    fn try_commit<D: Disk>(
        &mut self,
        disk: &D,
        blocks: Vec<(u64, Content)>,
        revokes: &[u64],
        now_ns: i64,
    ) -> Result<Tid, Error> {
        let f = self.head.features();
        let tags_a_block = f.tags_a_block(self.block_bytes);
        let revokes_a_block = f.revokes_a_block(self.block_bytes);
        let needed = blocks.len() + blocks.len().div_ceil(tags_a_block) + revokes.len().div_ceil(revokes_a_block) + 1;
        let needed = u32::try_from(needed).map_err(|_| Error::NoSpace)?;
        // One block stays free, so that a full log is not taken for an empty one.
        if needed >= self.usable() {
            return Err(Error::NoSpace);
        }
        if self.free() <= needed {
            self.checkpoint(disk)?;
        }
        let tid = self.next_tid;
        if self.head.start == 0 {
            // The first transaction of an empty log: recovery must find it.
            self.head.start = self.next_block;
            self.head.sequence = tid.0;
            self.write_head(disk)?;
        }
        let begin = self.next_block;
        let mut out = Batch {
            at: begin,
            bytes: Vec::new(),
        };
        for chunk in revokes.chunks(revokes_a_block) {
            let block = f.revoke_block(self.block_bytes, tid, chunk)?;
            self.emit(disk, &mut out, &block)?;
        }
        let mut crc1 = !0;
        for chunk in blocks.chunks(tags_a_block) {
            let mut tags = Vec::with_capacity(chunk.len());
            let mut contents = Vec::with_capacity(chunk.len());
            for (home, content) in chunk {
                if content.len() != self.block_bytes {
                    return Err(Error::Corrupt("a block of a transaction has another size"));
                }
                let (bytes, is_escaped) = format::escape(content);
                tags.push(Tag {
                    home: *home,
                    is_escaped,
                    checksum: f.tag_checksum(tid, &bytes),
                });
                contents.push(bytes);
            }
            let descriptor = f.descriptor_block(self.block_bytes, tid, &tags)?;
            crc1 = f.first_checksum(crc1, &descriptor);
            self.emit(disk, &mut out, &descriptor)?;
            for bytes in &contents {
                crc1 = f.first_checksum(crc1, bytes);
                self.emit(disk, &mut out, bytes)?;
            }
        }
        self.flush_batch(disk, &mut out)?;
        disk.flush()?;
        let commit = f.commit_block(self.block_bytes, tid, now_ns, crc1)?;
        let (block, _) = self.disk_block(out.at)?;
        disk.write_through(self.offset(block), &commit)?;
        self.next_block = self.advance(out.at, 1);
        self.next_tid = tid.next();
        self.live.push((begin, tid));
        for block in revokes {
            self.pending.remove(block);
        }
        self.pending.extend(blocks);
        Ok(tid)
    }

    fn emit<D: Disk>(&self, disk: &D, out: &mut Batch, block: &[u8]) -> Result<(), Error> {
        out.bytes.extend_from_slice(block);
        let n = (out.bytes.len() / self.block_bytes) as u32;
        if n as usize >= BATCH || out.at + n >= self.head.len {
            self.flush_batch(disk, out)?;
        }
        Ok(())
    }

    fn flush_batch<D: Disk>(&self, disk: &D, out: &mut Batch) -> Result<(), Error> {
        let n = (out.bytes.len() / self.block_bytes) as u32;
        self.write_log(disk, out.at, &out.bytes)?;
        out.at = self.advance(out.at, n);
        out.bytes.clear();
        Ok(())
    }

    /// Writes everything that is committed to its home, and empties the log.
    ///
    /// # Errors
    /// [`Error::Disk`]: the journal is aborted then.
    pub fn checkpoint<D: Disk>(&mut self, disk: &D) -> Result<(), Error> {
        if self.is_aborted {
            return Err(Error::ReadOnly);
        }
        let result = self.try_checkpoint(disk);
        self.is_aborted |= result.is_err();
        result
    }

    fn try_checkpoint<D: Disk>(&mut self, disk: &D) -> Result<(), Error> {
        if self.live.is_empty() && self.pending.is_empty() && self.head.start == 0 {
            return Ok(());
        }
        let mut piece: Vec<u8> = Vec::new();
        let mut piece_at = 0;
        for (block, content) in &self.pending {
            let blocks = (piece.len() / self.block_bytes) as u64;
            if !piece.is_empty() && (piece_at + blocks != *block || blocks as usize >= BATCH) {
                disk.write(self.offset(piece_at), &piece)?;
                piece.clear();
            }
            if piece.is_empty() {
                piece_at = *block;
            }
            piece.extend_from_slice(content);
        }
        if !piece.is_empty() {
            disk.write(self.offset(piece_at), &piece)?;
        }
        disk.flush()?;
        self.live.clear();
        self.head.start = 0;
        self.head.sequence = self.next_tid.0;
        self.write_head(disk)?;
        self.pending.clear();
        Ok(())
    }

    /// Brings everything home and leaves an empty log.
    ///
    /// # Errors
    /// As [`checkpoint`](Self::checkpoint).
    pub fn close<D: Disk>(&mut self, disk: &D) -> Result<(), Error> {
        self.checkpoint(disk)
    }

    /// Takes no more transactions, and leaves a note of why for whoever opens the journal next: a negative errno.
    pub fn abort<D: Disk>(&mut self, disk: &D, errno: i32) {
        if !self.is_aborted {
            self.is_aborted = true;
            self.head.errno = errno;
            // Without it recovery works all the same.
            let _ = self.write_head(disk);
        }
    }

    /// Whether it takes no more transactions.
    pub fn is_aborted(&self) -> bool {
        self.is_aborted
    }
}

/// Blocks of the log that are not written yet.
struct Batch {
    at: u32,
    bytes: Vec<u8>,
}
