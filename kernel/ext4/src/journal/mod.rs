//! The journal (jbd2).
//!
//! # Terms
//!
//! A *transaction* is a set of metadata blocks with their new content, and of blocks that must not be replayed any more
//! (*revoked*). It is *committed* once all of it and its commit block are on stable storage in the log: from then on it
//! will happen, whatever is cut. A committed block is *checkpointed* when its content is at its *home*, its place outside
//! the log; when every block of a transaction is, the transaction's part of the log is free again. The log is a ring; its
//! *tail* is the oldest transaction that is not checkpointed, its *head* where the next one goes.
//!
//! # What the caller does
//!
//! 1. [`Journal::open`]. When [`Journal::needs_recovery`], [`Journal::recover`], before anything else of the file system is
//!    read: what was read before, the superblock included, may be stale afterwards. A mount that must not write does not
//!    recover, and sees the file system as it was some time ago or damaged.
//! 2. [`Journal::set_features`], once, before the first commit.
//! 3. Set `INCOMPAT_RECOVER` in the superblock of the file system, write it through, and only then commit. While it is
//!    clear, `e2fsck` and Linux do not look into the log. It is written at its home, past the journal, and it is also set
//!    in every copy of the superblock that is committed.
//! 4. Data first: content of files that a transaction makes reachable is written home before [`Journal::commit`], which
//!    flushes it (ordered mode). A block that a transaction frees is not used for anything before its commit returns, and
//!    when metadata was in it, it is among that transaction's `revokes`. Nothing else has to be done when a metadata block
//!    is freed: the commit that revokes it also drops its pending content. Dropping it earlier would lose it, should the
//!    freeing never be committed.
//! 5. A block that is not in the cache is looked for with [`Journal::lookup_pending`] before the disk is read.
//! 6. [`Journal::close`], and only then clear `INCOMPAT_RECOVER` at home, written through.
//!
//! After an error of `commit`, `checkpoint` or `close` the journal takes no more commits ([`Error::ReadOnly`]); what was
//! acknowledged is in the log, for the next mount. [`Journal::abort`] notes that on the disk.

mod checkpoint;
mod checksum;
mod commit;
mod fields;
mod format;
mod place;
mod recover;
mod superblock;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use crate::{Disk, Error};
pub use checkpoint::Extent;
use format::Format;
use place::Place;
pub use recover::Report;
use superblock::Superblock;

/// Number of a transaction; wraps around.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tid(pub u32);

impl Tid {
    /// Whether this transaction is `other` or came after it, across the wrap-around.
    #[must_use]
    pub const fn is_at_least(self, other: Self) -> bool {
        self.0.wrapping_sub(other.0).cast_signed() >= 0
    }

    const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
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

/// A transaction in the log.
#[derive(Debug)]
struct Logged {
    tid: Tid,
    /// Where it begins.
    start: u32,
    /// Blocks of the log.
    len: u32,
    homes: Vec<u64>,
}

/// An open journal. The signatures are the contract between the journal and the rest of the file system.
#[derive(Debug)]
pub struct Journal {
    place: Place,
    superblock: Superblock,
    /// Where the next transaction begins.
    head: u32,
    /// Its number.
    next: Tid,
    /// Transactions in the log, oldest first.
    logged: VecDeque<Logged>,
    /// Newest committed content of blocks that are not home.
    pending: BTreeMap<u64, Content>,
    /// What the log has was written by a former user.
    is_unclean: bool,
    is_stopped: bool,
}

impl Journal {
    /// Reads the journal's superblock. `runs` cover the whole log, in order; `block_bytes` is the file system's.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for a journal that contradicts itself, [`Error::Feature`] for features that are unknown and for
    /// a journal on a device of its own (`runs` is empty then).
    pub fn open<D: Disk>(disk: &D, block_bytes: usize, runs: Vec<Run>) -> Result<Self, Error> {
        if !block_bytes.is_power_of_two() || !(1024..=65536).contains(&block_bytes) {
            return Err(Error::Corrupt("the block size"));
        }
        if runs.is_empty() {
            return Err(Error::Feature("external journal"));
        }
        let place = Place::new_checked(runs, block_bytes, disk.len_bytes())?;
        let (first, _) = place.find(0)?;
        let mut bytes = vec![0; superblock::BYTES];
        disk.read(place.offset(first), &mut bytes)?;
        let superblock = Superblock::new_checked(&bytes, block_bytes, place.log_blocks)?;
        Ok(Self {
            head: superblock.first,
            next: Tid(superblock.sequence()).next(),
            is_unclean: superblock.start() != 0,
            place,
            superblock,
            logged: VecDeque::new(),
            pending: BTreeMap::new(),
            is_stopped: false,
        })
    }

    /// Whether there are, or may be, transactions in the log that are not home.
    #[must_use]
    pub fn needs_recovery(&self) -> bool {
        self.is_unclean
    }

    /// The error that a former user noted when he gave up: an errno, positive. The file system needs a check then.
    #[must_use]
    pub fn errno(&self) -> Option<u32> {
        let errno = self.superblock.errno();
        (errno != 0).then(|| errno.unsigned_abs())
    }

    /// Turns to the features that Linux gives the journal of such a file system: revoke records, and with `is_wide`
    /// (feature `64bit`) long block numbers, with `has_checksums` (`metadata_csum`) checksums of version 3. To be called
    /// once there is nothing to recover; does nothing when they are set already.
    ///
    /// # Errors
    /// [`Error::Disk`]; [`Error::Invalid`] with transactions in the log.
    pub fn set_features<D: Disk>(&mut self, disk: &D, is_wide: bool, has_checksums: bool) -> Result<(), Error> {
        let sb = &self.superblock;
        let is_summed = sb.checksums == superblock::Checksums::V3;
        if sb.has_revoke
            && !sb.is_async
            && sb.is_wide == is_wide
            && is_summed == has_checksums
            && (is_summed || sb.checksums == superblock::Checksums::None)
        {
            return Ok(());
        }
        if self.superblock.start() != 0 {
            return Err(Error::Invalid);
        }
        let mut superblock = self.superblock.clone();
        superblock.set_features(is_wide, has_checksums)?;
        self.write_superblock(disk, superblock)
    }

    /// Blocks of the log that are free, before anything is checkpointed.
    #[must_use]
    pub fn space(&self) -> u32 {
        let used = self.logged.iter().fold(0u32, |sum, t| sum.saturating_add(t.len));
        self.usable().saturating_sub(used)
    }

    /// Blocks that a transaction should have at most, so that a few of them fit into the log; a quarter of it, as in Linux.
    /// Revokes are not counted: some hundred of them take one block.
    #[must_use]
    pub fn max_transaction_blocks(&self) -> usize {
        let room = fields::index((self.usable() / 4).max(4));
        let per_descriptor = self.format().tags_per_descriptor().max(1);
        // The commit block, a revoke block, and a descriptor for each so many.
        let room = room.saturating_sub(2);
        room.saturating_sub(room.div_ceil(per_descriptor + 1)).max(1)
    }

    /// Content that is committed, and not home yet.
    #[must_use]
    pub fn lookup_pending(&self, block: u64) -> Option<Content> {
        self.pending.get(&block).map(Arc::clone)
    }

    /// How many blocks are committed, and not home yet.
    #[must_use]
    pub fn pending_blocks(&self) -> usize {
        self.pending.len()
    }

    /// Notes on the disk that the file system met an error, `errno` as Linux numbers it, positive. No commits are taken
    /// any more; what is committed stays in the log for the next mount.
    ///
    /// # Errors
    /// [`Error::Disk`]; the journal is stopped all the same.
    pub fn abort<D: Disk>(&mut self, disk: &D, errno: u32) -> Result<(), Error> {
        self.is_stopped = true;
        let mut superblock = self.superblock.clone();
        superblock.set_errno(0i32.wrapping_sub_unsigned(errno))?;
        self.write_superblock(disk, superblock)
    }

    /// Forgets the error that was noted; when its note has been taken over into the file system's superblock.
    ///
    /// # Errors
    /// [`Error::Disk`].
    pub fn clear_errno<D: Disk>(&mut self, disk: &D) -> Result<(), Error> {
        if self.superblock.errno() == 0 {
            return Ok(());
        }
        let mut superblock = self.superblock.clone();
        superblock.set_errno(0)?;
        self.write_superblock(disk, superblock)
    }

    /// Ends the journal's use: everything goes home, and the log is marked empty. Nothing is done to a stopped journal.
    ///
    /// # Errors
    /// [`Error::Disk`]; the log is then still to be recovered. [`Error::ReadOnly`] for a stopped journal,
    /// [`Error::Invalid`] before recovery.
    pub fn close<D: Disk>(&mut self, disk: &D) -> Result<(), Error> {
        if self.is_unclean {
            return Err(Error::Invalid);
        }
        self.checkpoint(disk, Extent::All)?;
        if self.superblock.start() == 0 {
            return Ok(());
        }
        let result = self.write_tail(disk, 0, self.next);
        self.is_stopped |= result.is_err();
        result
    }

    fn format(&self) -> Format {
        Format::new(&self.superblock, self.place.block_bytes)
    }

    /// Blocks of the log that transactions may fill: all but one, so that a full ring is not taken for an empty one.
    fn usable(&self) -> u32 {
        (self.superblock.last - self.superblock.first).saturating_sub(1)
    }

    /// The block of the log `count` after `at`, around the end.
    fn after(&self, at: u32, count: u32) -> u32 {
        let (first, last) = (self.superblock.first, self.superblock.last);
        let size = u64::from(last - first);
        let skip = (u64::from(at.saturating_sub(first)) + u64::from(count)) % size;
        first + fields::low(skip)
    }

    /// Says on the disk where the log begins. A sector is written whole or not at all, and all that changes is in one.
    fn write_tail<D: Disk>(&mut self, disk: &D, start: u32, tid: Tid) -> Result<(), Error> {
        let mut superblock = self.superblock.clone();
        superblock.set_tail(start, tid.0)?;
        self.write_superblock(disk, superblock)
    }

    fn write_superblock<D: Disk>(&mut self, disk: &D, superblock: Superblock) -> Result<(), Error> {
        let (first, _) = self.place.find(0)?;
        disk.write_through(self.place.offset(first), superblock.bytes())?;
        self.superblock = superblock;
        Ok(())
    }
}
