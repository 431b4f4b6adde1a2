//! The journal (jbd2).
//!
//! # Terms
//!
//! A *transaction* is a set of metadata blocks with their new content, and of blocks that must not be replayed any more
//! (*revoked*). It is *committed* once all of it and its commit block are on stable storage in the log: from then on it
//! will happen, whatever is cut. A committed block is *checkpointed* when its content is at its *home*, its place outside
//! the log; when every block of a transaction is, the transaction's part of the log is free again.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::{Disk, Error};

/// Number of a transaction; wraps around.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tid(pub u32);

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

/// An open journal. The signatures are the contract between the journal and the rest of the file system.
pub struct Journal {}

impl Journal {
    /// Reads the journal's superblock. `runs` cover the whole log, in order; `block_bytes` is the file system's.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for a journal that contradicts itself, [`Error::Unsupported`] for features that are unknown.
    pub fn open<D: Disk>(disk: &D, block_bytes: usize, runs: Vec<Run>) -> Result<Self, Error> {
        let _ = (disk, block_bytes, runs);
        Err(Error::Unsupported)
    }
}
