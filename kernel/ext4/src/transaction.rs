//! Operations and transactions.
//!
//! An *operation* happens whole or not at all: what it changes in memory is remembered and put back when it fails. The
//! *running transaction* collects operations until it is committed; the next one begins with the next operation.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::alloc_state::Undo;
use crate::bytes::{low32, put, put_u16, put_u32, u16_at, u32_at};
use crate::layout::{field, state};
use crate::types::Timestamp;
use crate::volume::Volume;
use crate::{Disk, Error};

/// Blocks that an operation on names may change, at the very most: two splits of a directory's index, its tables, the
/// bitmaps and descriptors of what it allocates, three inodes, an attribute block.
pub(crate) const NAMES_CREDITS: usize = 64;
/// Blocks that one step of freeing may change.
pub(crate) const STEP_CREDITS: usize = 96;

/// Revokes that may gather in a transaction: they take room in the log as well.
const MOST_REVOKES: usize = 1024;
/// Linux's numbers for damage and for a failing disk, as a journal notes them.
const EUCLEAN: u32 = 117;
const EIO: u32 = 5;

impl<D: Disk> Volume<D> {
    /// Runs an operation: whole, or without a trace. `credits` is the most blocks it may change.
    pub(crate) fn transact<T>(
        &mut self,
        credits: usize,
        now: Timestamp,
        mut operation: impl FnMut(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.now = now;
        self.check_writable()?;
        if self.undo.is_some() {
            return Err(Error::Invalid);
        }
        if self.cache.dirty.len() + credits > self.log.capacity() || self.revokes.len() > MOST_REVOKES {
            self.commit_running()?;
        }
        let mut is_second = false;
        loop {
            self.begin();
            match operation(self) {
                Ok(value) => {
                    self.undo = None;
                    self.cache.shrink();
                    return Ok(value);
                }
                Err(e) => {
                    self.roll_back();
                    if e == Error::NoSpace && !self.freed.is_empty() && !is_second {
                        // Freed blocks are free again after the commit.
                        is_second = true;
                        self.commit_running()?;
                        continue;
                    }
                    return Err(self.note(e));
                }
            }
        }
    }

    pub(crate) fn check_writable(&self) -> Result<(), Error> {
        if self.is_read_only {
            Err(Error::ReadOnly)
        } else {
            Ok(())
        }
    }

    pub(crate) fn begin(&mut self) {
        self.undo = Some(Undo::new(self.counts));
    }

    pub(crate) fn roll_back(&mut self) {
        let Some(undo) = self.undo.take() else { return };
        self.counts = undo.counts;
        for (group, bit, len) in &undo.freed {
            self.freed.unset(*group, *bit, *len);
        }
        for (ino, before) in undo.orphans.iter().rev() {
            match before {
                Some(prev) => self.orphans.insert(*ino, *prev),
                None => self.orphans.remove(ino),
            };
        }
        for block in &undo.revokes_added {
            self.revokes.remove(block);
        }
        for block in &undo.revokes_removed {
            self.revokes.insert(*block);
        }
        undo.into_blocks(&mut self.cache);
    }

    /// Commits the running transaction, and flushes the disk in any case.
    pub(crate) fn commit_running(&mut self) -> Result<(), Error> {
        if self.cache.dirty.is_empty() && self.revokes.is_empty() {
            return self.disk.flush().map_err(|e| self.fail(e.into()));
        }
        if let Err(e) = self.seal() {
            return Err(self.fail(e));
        }
        let dirty: Vec<u64> = self.cache.dirty.iter().copied().collect();
        let mut blocks = Vec::with_capacity(dirty.len());
        for n in dirty {
            let Some(slot) = self.cache.get(n) else { continue };
            blocks.push((n, Arc::clone(&slot.content)));
        }
        let revokes: Vec<u64> = self.revokes.iter().copied().collect();
        let (superblock, _) = self.layout.superblock();
        if let Err(e) = self.log.commit(&self.disk, blocks, &revokes, superblock, self.now) {
            return Err(self.fail(e));
        }
        self.cache.dirty.clear();
        self.revokes.clear();
        self.freed.clear();
        self.cache.shrink();
        Ok(())
    }

    /// What a failed operation means for the file system: damage and a failing disk make it read-only.
    pub(crate) fn note(&mut self, e: Error) -> Error {
        if let Error::Corrupt(_) | Error::Disk(_) = e
            && !self.is_read_only
        {
            self.record(e);
            self.is_read_only = true;
            self.is_frozen = true;
        }
        e
    }

    /// As [`note`](Self::note), for what a reader found.
    pub(crate) fn seen<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        result.map_err(|e| self.note(e))
    }

    /// The commit itself failed: nothing more is written.
    fn fail(&mut self, e: Error) -> Error {
        self.is_read_only = true;
        self.is_frozen = true;
        e
    }

    /// Writes the error into the superblock, with the rest of the running transaction.
    fn record(&mut self, e: Error) {
        let seconds = low32(self.now.seconds.unsigned_abs());
        let what: &[u8] = match e {
            Error::Corrupt(what) => what.as_bytes(),
            _ => b"disk error",
        };
        let what = what.get(..31).unwrap_or(what);
        self.begin();
        let written = self.modify_superblock(|sb| {
            let state = u16_at(sb, field::STATE)?;
            put_u16(sb, field::STATE, state | state::ERRORS)?;
            let count = u32_at(sb, field::ERROR_COUNT)?;
            put_u32(sb, field::ERROR_COUNT, count.saturating_add(1))?;
            if count == 0 {
                put_u32(sb, field::FIRST_ERROR_TIME, seconds)?;
                put(sb, field::FIRST_ERROR_FUNCTION, &[0; 32])?;
                put(sb, field::FIRST_ERROR_FUNCTION, what)?;
            }
            put_u32(sb, field::LAST_ERROR_TIME, seconds)?;
            put(sb, field::LAST_ERROR_FUNCTION, &[0; 32])?;
            put(sb, field::LAST_ERROR_FUNCTION, what)
        });
        match written {
            Ok(()) => self.undo = None,
            Err(_) => self.roll_back(),
        }
        // Every operation before this one was whole; if this fails too there is nothing left to try.
        if self.commit_running().is_err() {
            let errno = if matches!(e, Error::Corrupt(_)) { EUCLEAN } else { EIO };
            self.log.abort(&self.disk, errno);
        }
    }
}
