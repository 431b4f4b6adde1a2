//! Where transactions go: to the journal, or straight home when there is none.

use alloc::vec::Vec;

use crate::journal::{Content, Journal};
use crate::types::Timestamp;
use crate::{Disk, Error};

/// Dirty blocks that may gather without a journal.
const UNLOGGED_CAPACITY: usize = 2048;

/// Where transactions go.
pub(crate) enum Log {
    /// Home.
    None,
    /// The journal.
    Journal(Journal),
}

impl Log {
    /// Blocks a transaction may have.
    pub(crate) fn capacity(&self) -> usize {
        match self {
            Self::None => UNLOGGED_CAPACITY,
            Self::Journal(journal) => journal.max_transaction_blocks(),
        }
    }

    /// Whether there is a journal.
    pub(crate) const fn is_journal(&self) -> bool {
        matches!(self, Self::Journal(_))
    }

    /// Content that is committed, and not home yet.
    pub(crate) fn pending(&self, block: u64) -> Option<Content> {
        match self {
            Self::None => None,
            Self::Journal(journal) => journal.lookup_pending(block),
        }
    }

    /// Brings everything home, so that the log is empty.
    pub(crate) fn finish<D: Disk>(&mut self, disk: &D) -> Result<(), Error> {
        match self {
            Self::None => Ok(disk.flush()?),
            Self::Journal(journal) => journal.close(disk),
        }
    }

    /// Makes a transaction permanent.
    pub(crate) fn commit<D: Disk>(
        &mut self,
        disk: &D,
        blocks: Vec<(u64, Content)>,
        revokes: &[u64],
        superblock: u64,
        now: Timestamp,
    ) -> Result<(), Error> {
        match self {
            Self::None => write_home(disk, &blocks, superblock),
            Self::Journal(journal) => {
                let seconds = u64::try_from(now.seconds).unwrap_or(0);
                let now_ns = seconds
                    .saturating_mul(1_000_000_000)
                    .saturating_add(u64::from(now.nanoseconds));
                journal.commit(disk, blocks, revokes, now_ns).map(|_| ())
            }
        }
    }

    /// Notes an error where the next mount sees it, even if the superblock cannot be written.
    pub(crate) fn abort<D: Disk>(&mut self, disk: &D, errno: u32) {
        if let Self::Journal(journal) = self {
            // The file system is given up already; there is nobody left to tell.
            let _ = journal.abort(disk, errno);
        }
    }
}

/// Without a journal a cut may leave anything half done, and `e2fsck` mends it; the superblock goes last.
fn write_home<D: Disk>(disk: &D, blocks: &[(u64, Content)], superblock: u64) -> Result<(), Error> {
    for (n, content) in blocks.iter().filter(|(n, _)| *n != superblock) {
        disk.write(n * content.len() as u64, content)?;
    }
    disk.flush()?;
    for (n, content) in blocks.iter().filter(|(n, _)| *n == superblock) {
        disk.write(n * content.len() as u64, content)?;
    }
    disk.flush()?;
    Ok(())
}
