//! Bringing committed blocks home, and freeing their part of the log.

use alloc::collections::BTreeSet;

use super::place::Gather;
use super::{Journal, Tid};
use crate::{Disk, Error};

/// How much of the log is to be freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    All,
    /// So many blocks are to be free, if the log has as many.
    Space(u32),
}

impl Journal {
    /// Writes the blocks of the oldest transactions home, in the order of their places and in runs, until `how_much` of the
    /// log is free. A block goes home with its newest committed content.
    ///
    /// Order: home writes; a flush; the log's new tail, written through. So a transaction leaves the log after its blocks
    /// are on stable storage, and a part of the log is used again after no recovery begins there any more.
    ///
    /// # Errors
    /// [`Error::Disk`]: the log is as it was, and the journal takes no more commits. [`Error::ReadOnly`] for a stopped
    /// journal.
    pub fn checkpoint<D: Disk>(&mut self, disk: &D, how_much: Extent) -> Result<(), Error> {
        if self.is_stopped {
            return Err(Error::ReadOnly);
        }
        let wanted = match how_much {
            Extent::All => u32::MAX,
            Extent::Space(blocks) => blocks,
        };
        let mut space = self.space();
        let mut count = 0usize;
        let mut homes = BTreeSet::new();
        for transaction in &self.logged {
            if space >= wanted {
                break;
            }
            homes.extend(transaction.homes.iter().copied());
            space = space.saturating_add(transaction.len);
            count += 1;
        }
        if count == 0 {
            return Ok(());
        }
        let result = self.bring_home(disk, &homes, count);
        self.is_stopped |= result.is_err();
        result
    }

    fn bring_home<D: Disk>(&mut self, disk: &D, homes: &BTreeSet<u64>, count: usize) -> Result<(), Error> {
        let mut gather = Gather::new(disk, &self.place);
        for home in homes {
            if let Some(content) = self.pending.get(home) {
                gather.push(*home, content)?;
            }
        }
        gather.finish()?;
        disk.flush()?;
        let (start, tid): (u32, Tid) = match self.logged.get(count) {
            Some(oldest) => (oldest.start, oldest.tid),
            None => (self.head, self.next),
        };
        self.write_tail(disk, start, tid)?;
        self.logged.drain(..count);
        for home in homes {
            self.pending.remove(home);
        }
        Ok(())
    }
}
