//! Freeing a file's blocks, in steps that each fit an operation; between them the inode is on the list of orphans, so
//! that a cut only delays the rest.

use crate::extents::END;
use crate::extents::remove::Budget;
use crate::inode::Raw;
use crate::mapping::Source;
use crate::transaction::STEP_CREDITS;
use crate::types::{Ino, State, Timestamp};
use crate::volume::Volume;
use crate::{Disk, Error};

/// Extents that one step of `zero_range` makes unwritten.
const PIECES: usize = 8;

impl<D: Disk> Volume<D> {
    /// Frees what is mapped in `from..to`, from the end on, as far as the budget goes; answers where it stopped.
    fn remove_mapped(&mut self, raw: &mut Raw, from: u64, to: u64) -> Result<u64, Error> {
        let mut budget = Budget::STEP;
        if raw.has_extents() {
            self.remove_extents(raw, from, to, &mut budget)
        } else {
            self.remove_pointers(raw, from, to, &mut budget)
        }
    }

    /// Frees what is mapped from `from` on. With `first` the first step also changes the inode.
    pub(crate) fn free_from(
        &mut self,
        ino: u32,
        from: u64,
        now: Timestamp,
        mut first: impl FnMut(&mut Self, &mut Raw) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut to = self.transact(STEP_CREDITS, now, |v| {
            let mut raw = v.live(ino)?;
            first(v, &mut raw)?;
            let to = if raw.has_map() {
                v.remove_mapped(&mut raw, from, END)?
            } else {
                from
            };
            if to > from {
                v.add_orphan(&mut raw)?;
            } else if raw.links() > 0 {
                v.remove_orphan(&mut raw)?;
            }
            v.store(&mut raw)?;
            Ok(to)
        })?;
        while to > from {
            let end = to;
            to = self.transact(STEP_CREDITS, now, |v| {
                let mut raw = v.live(ino)?;
                let to = v.remove_mapped(&mut raw, from, end)?;
                if to <= from && raw.links() > 0 {
                    v.remove_orphan(&mut raw)?;
                }
                v.store(&mut raw)?;
                Ok(to)
            })?;
            if to >= end {
                return Err(self.note(Error::Corrupt("a map that cannot be freed")));
            }
        }
        Ok(())
    }

    /// Sets a regular file's size. Blocks beyond it are freed, promised ones too.
    ///
    /// The bytes of the last block beyond the new size are the caller's to clear.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; after a failing disk the rest is freed at the next mount.
    pub fn truncate(&mut self, ino: Ino, size: u64, now: Timestamp) -> Result<(), Error> {
        let raw = self.file(ino);
        let raw = self.seen(raw)?;
        self.check_writable()?;
        if size > self.layout.max_size(raw.has_extents()) {
            return Err(Error::TooLarge);
        }
        let from = size.div_ceil(self.layout.block_bytes as u64);
        // Also where the file is shorter on the disk: content behind the new end may be on its way.
        self.release_claims(ino.0, from, u64::MAX);
        if size > raw.size() {
            return self.transact(STEP_CREDITS, now, |v| {
                let mut raw = v.file(ino)?;
                v.grow_to(&mut raw, size)?;
                raw.touch(now);
                v.store(&mut raw)
            });
        }
        self.free_from(ino.0, from, now, |_, raw| {
            raw.set_size(size);
            raw.touch(now);
            Ok(())
        })
    }

    /// Frees the blocks of a file in a range; they read as zeros afterwards. The size stays.
    ///
    /// # Errors
    /// As any operation that writes.
    pub fn punch_hole(&mut self, ino: Ino, first: u64, count: u64, now: Timestamp) -> Result<(), Error> {
        self.check_writable()?;
        let end = first.checked_add(count).ok_or(Error::TooLarge)?.min(END);
        self.release_claims(ino.0, first, end);
        let mut to = end;
        while to > first {
            let end = to;
            to = self.transact(STEP_CREDITS, now, |v| {
                let mut raw = v.file(ino)?;
                let to = v.remove_mapped(&mut raw, first, end)?;
                raw.touch(now);
                v.store(&mut raw)?;
                Ok(to)
            })?;
            if to >= end {
                return Err(self.note(Error::Corrupt("a map that cannot be freed")));
            }
        }
        Ok(())
    }

    /// Makes a range of a file read as zeros, and gives all of it a place. With `size` the file grows.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for files without extents.
    pub fn zero_range(
        &mut self,
        ino: Ino,
        first: u64,
        count: u64,
        size: Option<u64>,
        source: Source,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.check_writable()?;
        let end = first.checked_add(count).ok_or(Error::TooLarge)?;
        self.release_claims(ino.0, first, end);
        let mut at = first;
        while at < end.min(END) {
            let from = at;
            at = self.transact(STEP_CREDITS, now, |v| {
                let mut raw = v.file(ino)?;
                if !raw.has_extents() {
                    return Err(Error::Unsupported);
                }
                let mut at = from;
                for _ in 0..PIECES {
                    if at >= end.min(END) {
                        break;
                    }
                    let piece = v.map_raw(&raw, at, end.min(END) - at)?;
                    at = piece.first + piece.len;
                    if piece.state == State::Written {
                        v.convert_extents(&mut raw, piece.first, at, false)?;
                    }
                }
                raw.touch(now);
                v.store(&mut raw)?;
                Ok(at)
            })?;
        }
        self.fallocate(ino, first, count, size, source, now)
    }

    /// The last user of an inode without a name is gone: frees its blocks and itself.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an inode that has a name.
    pub fn evict(&mut self, ino: Ino, now: Timestamp) -> Result<(), Error> {
        self.check_writable()?;
        let raw = self.live(ino.0);
        let raw = self.seen(raw)?;
        if raw.links() != 0 {
            return Err(Error::Invalid);
        }
        self.release_claims(ino.0, 0, u64::MAX);
        self.free_from(ino.0, 0, now, |_, _| Ok(()))?;
        self.transact(STEP_CREDITS, now, |v| {
            let mut raw = v.live(ino.0)?;
            v.drop_attribute_block(&mut raw)?;
            v.remove_orphan(&mut raw)?;
            v.free_inode(&mut raw, now)
        })
    }
}
