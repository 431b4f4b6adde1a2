//! Where a file's content is, and making room for it.
//!
//! Content is written before the map names it: `allocate` only promises blocks, in memory; `mark_written` takes them and
//! puts them into the map, in one operation. A cut between the two loses the new content and nothing else; blocks with
//! what somebody else had written are never seen, whichever map the file has.

use alloc::vec::Vec;

use crate::extents::{END, Extent, MAX_UNWRITTEN};
use crate::inode::Raw;
use crate::transaction::STEP_CREDITS;
use crate::types::{Ino, Kind, Mapping, State, Timestamp};
use crate::volume::Volume;
use crate::{Disk, Error};

/// Pieces of a file that one operation puts into the map.
const PIECES: usize = 8;
/// Blocks that one call may ask for.
const CALL_MAX: u64 = 1 << 20;

/// Where `allocate` may take blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// They were promised by `reserve`.
    Reserved,
    /// What is free for everybody.
    Free,
    /// Also what is kept for the privileged.
    Privileged,
}

/// Room for content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allocation {
    /// Where the blocks are, in order and without gaps; none is a hole.
    pub pieces: Vec<Mapping>,
    /// Blocks that had no place before: so many of a reservation were used.
    pub new_blocks: u64,
}

impl<D: Disk> Volume<D> {
    /// What the map says at `first`, for up to `count` blocks.
    pub(crate) fn map_raw(&mut self, raw: &Raw, first: u64, count: u64) -> Result<Mapping, Error> {
        if raw.has_extents() {
            self.map_extents(raw, first, count)
        } else {
            self.map_indirect(raw, first, count)
        }
    }

    fn map_claimed(&mut self, raw: &Raw, first: u64, count: u64) -> Result<Mapping, Error> {
        let mut mapping = self.map_raw(raw, first, count)?;
        if mapping.state == State::Hole
            && let Some((at, physical, len)) = self.claims.next(raw.ino, first)
        {
            if at == first {
                mapping.physical = physical;
                mapping.state = State::Unwritten;
                mapping.len = mapping.len.min(len);
            } else {
                mapping.len = mapping.len.min(at - first);
            }
        }
        Ok(mapping)
    }

    pub(crate) fn file(&mut self, ino: Ino) -> Result<Raw, Error> {
        let raw = self.live(ino.0)?;
        match raw.kind()? {
            Kind::Regular => Ok(raw),
            Kind::Directory => Err(Error::IsDirectory),
            _ => Err(Error::Invalid),
        }
    }

    /// What is at `first` of a regular file, and for how many blocks, at most `count`. Blocks promised by
    /// [`allocate`](Self::allocate) are unwritten.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a count of 0 and for what is no regular file.
    pub fn map(&mut self, ino: Ino, first: u64, count: u64) -> Result<Mapping, Error> {
        if count == 0 {
            return Err(Error::Invalid);
        }
        if first >= END {
            return Ok(Mapping {
                first,
                len: count,
                physical: 0,
                state: State::Hole,
            });
        }
        let result = self.file(ino).and_then(|raw| self.map_claimed(&raw, first, count));
        self.seen(result)
    }

    /// Promises space for `blocks` of content that have no place yet.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::ReadOnly`].
    pub fn reserve(&mut self, blocks: u64, is_privileged: bool) -> Result<(), Error> {
        self.check_writable()?;
        if self.available(is_privileged) < blocks {
            return Err(Error::NoSpace);
        }
        self.reserved += blocks;
        Ok(())
    }

    /// Takes back a promise of [`reserve`](Self::reserve) that is not used.
    pub fn release(&mut self, blocks: u64) {
        self.reserved = self.reserved.saturating_sub(blocks);
    }

    /// Finds room for `count` blocks of a regular file from `first` on. Answers where all of them are: those that had a
    /// place keep it. Blocks that come out unwritten are to be written and then told to
    /// [`mark_written`](Self::mark_written); until then nothing on the disk has changed.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::TooLarge`]; nothing was promised, and nothing of a reservation used, then.
    pub fn allocate(&mut self, ino: Ino, first: u64, count: u64, source: Source) -> Result<Allocation, Error> {
        self.check_writable()?;
        let mut new = Vec::new();
        let result = self.allocate_all(ino, first, count, source, &mut new);
        let new_blocks = new.iter().map(|(_, len)| len).sum();
        match result {
            Ok(pieces) => Ok(Allocation { pieces, new_blocks }),
            Err(e) => {
                for (at, len) in new {
                    self.release_claims(ino.0, at, at + len);
                }
                if source == Source::Reserved {
                    self.reserved += new_blocks;
                }
                Err(self.note(e))
            }
        }
    }

    fn allocate_all(
        &mut self,
        ino: Ino,
        first: u64,
        count: u64,
        source: Source,
        new: &mut Vec<(u64, u64)>,
    ) -> Result<Vec<Mapping>, Error> {
        let raw = self.file(ino)?;
        if count == 0 || count > CALL_MAX {
            return Err(Error::Invalid);
        }
        let end = first.checked_add(count).ok_or(Error::TooLarge)?;
        let limit = self.layout.max_size(raw.has_extents()) / self.layout.block_bytes as u64;
        if end > limit {
            return Err(Error::TooLarge);
        }
        let mut pieces = Vec::new();
        let mut at = first;
        while at < end {
            let mut piece = self.map_claimed(&raw, at, end - at)?;
            if piece.state == State::Hole {
                piece = self.claim_piece(&raw, at, piece.len, source)?;
                new.push((at, piece.len));
            }
            pieces.push(piece);
            at += piece.len;
        }
        Ok(pieces)
    }

    fn claim_piece(&mut self, raw: &Raw, at: u64, len: u64, source: Source) -> Result<Mapping, Error> {
        let most = match source {
            Source::Reserved => self.reserved,
            Source::Free => self.available(false),
            Source::Privileged => self.available(true),
        };
        if most == 0 {
            return Err(Error::NoSpace);
        }
        let want = len.min(most).min(u64::from(MAX_UNWRITTEN)) as u32;
        let goal = self.goal(raw, at)?;
        let (start, len) = match self.find_run(goal, want) {
            Err(Error::NoSpace) if !self.freed.is_empty() => {
                // Freed blocks are free again after the commit.
                self.commit_running()?;
                self.find_run(goal, want)?
            }
            found => found?,
        };
        if !self.is_data_run(start, u64::from(len)) {
            return Err(Error::Corrupt("a bitmap has blocks of the file system's own free"));
        }
        if !raw.has_extents() && start + u64::from(len) > u64::from(u32::MAX) {
            return Err(Error::NoSpace);
        }
        self.claim(raw.ino, at, start, len);
        if source == Source::Reserved {
            self.release(u64::from(len));
        }
        Ok(Mapping {
            first: at,
            len: u64::from(len),
            physical: start,
            state: State::Unwritten,
        })
    }

    /// Where file block `at` should be: after the block before it.
    pub(crate) fn goal(&mut self, raw: &Raw, at: u64) -> Result<u64, Error> {
        if let Some(goal) = self.claims.goal(raw.ino, at) {
            return Ok(goal);
        }
        if at > 0 {
            let before = self.map_raw(raw, at - 1, 1)?;
            if before.state != State::Hole {
                return Ok(before.physical + 1);
            }
        }
        Ok(self.group_goal(raw.ino))
    }

    /// The content of `count` blocks from `first` on is on the disk: the map names them from now on, and blocks of
    /// extents that were unwritten are content. `size` is the file's new size where it grew (a smaller one, as 0, leaves
    /// it): content that is not written yet must be beyond it. What became a hole in between stays one.
    ///
    /// # Errors
    /// As any operation that writes; what was not marked can be marked again.
    pub fn mark_written(&mut self, ino: Ino, first: u64, count: u64, size: u64, now: Timestamp) -> Result<(), Error> {
        let end = first.checked_add(count).ok_or(Error::TooLarge)?;
        if self.is_marked(ino, first, end, size)? {
            return Ok(());
        }
        let mut at = first;
        loop {
            let from = at;
            at = self.transact(STEP_CREDITS, now, |v| {
                let mut raw = v.file(ino)?;
                let mut at = from;
                for _ in 0..PIECES {
                    if at >= end {
                        break;
                    }
                    let piece = v.map_claimed(&raw, at, end - at)?;
                    v.mark_piece(&mut raw, &piece)?;
                    at = piece.first + piece.len;
                }
                // At each step: content behind the end is damage to whoever looks after a cut.
                let reached = size.min(at.saturating_mul(v.layout.block_bytes as u64));
                if reached > raw.size() {
                    v.grow_to(&mut raw, reached)?;
                }
                v.store(&mut raw)?;
                Ok(at)
            })?;
            self.release_claims(ino.0, from, at.min(end));
            if at >= end {
                return Ok(());
            }
        }
    }

    /// Whether the map and the size say all of it already: content has been written over content.
    fn is_marked(&mut self, ino: Ino, first: u64, end: u64, size: u64) -> Result<bool, Error> {
        let found = self.file(ino).and_then(|raw| {
            if size > raw.size() {
                return Ok(false);
            }
            let mut at = first;
            for _ in 0..PIECES {
                let piece = self.map_claimed(&raw, at, end - at)?;
                if piece.state != State::Written {
                    return Ok(false);
                }
                at = piece.first + piece.len;
                if at >= end {
                    return Ok(true);
                }
            }
            Ok(false)
        });
        self.seen(found)
    }

    fn mark_piece(&mut self, raw: &mut Raw, piece: &Mapping) -> Result<(), Error> {
        if piece.state != State::Unwritten {
            return Ok(());
        }
        let end = piece.first + piece.len;
        if self.map_raw(raw, piece.first, piece.len)?.state == State::Unwritten {
            return self.convert_extents(raw, piece.first, end, true);
        }
        let len = u32::try_from(piece.len).map_err(|_| Error::Invalid)?;
        self.take_run(piece.physical, len)?;
        if raw.has_extents() {
            self.insert_extent(
                raw,
                Extent {
                    first: piece.first,
                    len,
                    physical: piece.physical,
                    is_written: true,
                },
            )?;
        } else {
            self.insert_pointers(raw, piece.first, piece.physical, len)?;
        }
        raw.add_blocks(&self.layout, i64::from(len))
    }

    /// Sets a greater size; the first file of more than 2 GiB makes that a feature of the file system.
    pub(crate) fn grow_to(&mut self, raw: &mut Raw, size: u64) -> Result<(), Error> {
        if size > self.layout.max_size(raw.has_extents()) {
            return Err(Error::TooLarge);
        }
        raw.set_size(size);
        if size > i32::MAX as u64 && !self.layout.is_large_file_set {
            use crate::features::ro_compat::LARGE_FILE;
            use crate::layout::field::RO_COMPAT;
            self.modify_superblock(|sb| {
                let features = crate::bytes::u32_at(sb, RO_COMPAT)?;
                crate::bytes::put_u32(sb, RO_COMPAT, features | LARGE_FILE)
            })?;
        }
        Ok(())
    }

    /// Gives `count` blocks from `first` on a place, without content: they read as zeros. With `size` the file grows.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for files without extents.
    pub fn fallocate(
        &mut self,
        ino: Ino,
        first: u64,
        count: u64,
        size: Option<u64>,
        source: Source,
        now: Timestamp,
    ) -> Result<(), Error> {
        let end = first.checked_add(count).ok_or(Error::TooLarge)?;
        if count == 0 {
            return Err(Error::Invalid);
        }
        let mut at = first;
        while at < end {
            let from = at;
            at = self.transact(STEP_CREDITS, now, |v| {
                let mut raw = v.file(ino)?;
                if !raw.has_extents() {
                    return Err(Error::Unsupported);
                }
                if end > END - 1 {
                    return Err(Error::TooLarge);
                }
                let mut at = from;
                for _ in 0..PIECES {
                    if at >= end {
                        break;
                    }
                    let piece = v.map_claimed(&raw, at, end - at)?;
                    at = piece.first + piece.len;
                    if piece.state != State::Hole {
                        continue;
                    }
                    let most = v.available(source == Source::Privileged);
                    if most == 0 {
                        return Err(Error::NoSpace);
                    }
                    let goal = v.goal(&raw, piece.first)?;
                    let want = piece.len.min(most).min(u64::from(MAX_UNWRITTEN)) as u32;
                    let (physical, len) = v.find_run(goal, want)?;
                    v.take_run(physical, len)?;
                    let first = piece.first;
                    v.insert_extent(
                        &mut raw,
                        Extent {
                            first,
                            len,
                            physical,
                            is_written: false,
                        },
                    )?;
                    raw.add_blocks(&v.layout, i64::from(len))?;
                    at = first + u64::from(len);
                }
                if at >= end
                    && let Some(size) = size
                    && size > raw.size()
                {
                    v.grow_to(&mut raw, size)?;
                    raw.set_mtime(now);
                }
                raw.set_ctime(now);
                v.store(&mut raw)?;
                Ok(at)
            })?;
        }
        Ok(())
    }

    /// The first block from `first` on that has content (or promised content), below `end`.
    ///
    /// # Errors
    /// As [`map`](Self::map).
    pub fn next_data(&mut self, ino: Ino, first: u64, end: u64) -> Result<Option<u64>, Error> {
        self.scan(ino, first, end, |state| state == State::Written)
    }

    /// The first block from `first` on that has none, below `end`.
    ///
    /// # Errors
    /// As [`map`](Self::map).
    pub fn next_hole(&mut self, ino: Ino, first: u64, end: u64) -> Result<Option<u64>, Error> {
        self.scan(ino, first, end, |state| state != State::Written)
    }

    fn scan(&mut self, ino: Ino, first: u64, end: u64, is_it: impl Fn(State) -> bool) -> Result<Option<u64>, Error> {
        let mut at = first;
        while at < end.min(END) {
            let piece = self.map(ino, at, end - at)?;
            if is_it(piece.state) {
                return Ok(Some(at));
            }
            at = piece.first + piece.len;
        }
        Ok((at < end && is_it(State::Hole)).then_some(at))
    }
}
