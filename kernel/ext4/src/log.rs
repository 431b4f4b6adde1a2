//! Where transactions go: to the journal, or straight home when there is none.

use alloc::vec::Vec;

use crate::journal::Content;
use crate::{Disk, Error};

/// Dirty blocks that may gather without a journal.
const UNLOGGED_CAPACITY: usize = 2048;

/// Where transactions go.
pub(crate) enum Log {
    /// Home.
    None,
}

impl Log {
    /// Blocks a transaction may have.
    pub(crate) fn capacity(&self) -> usize {
        UNLOGGED_CAPACITY
    }

    /// Whether there is a journal.
    pub(crate) fn is_journal(&self) -> bool {
        match self {
            Self::None => false,
        }
    }

    /// Brings everything home, so that the log is empty.
    pub(crate) fn finish<D: Disk>(&mut self, disk: &D) -> Result<(), Error> {
        Ok(disk.flush()?)
    }

    /// Content that is committed, and not home yet.
    pub(crate) fn pending(&self, _block: u64) -> Option<Content> {
        None
    }

    /// Makes a transaction permanent.
    pub(crate) fn commit<D: Disk>(
        &mut self,
        disk: &D,
        blocks: Vec<(u64, Content)>,
        _revokes: &[u64],
        superblock: u64,
    ) -> Result<(), Error> {
        write_home(disk, &blocks, superblock)
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
