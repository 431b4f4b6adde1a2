//! Where a file's content is.
//!
//! The content itself is the caller's to move. Reading: [`Volume::map`]. Writing, so that a cut never shows what a block
//! had before: [`Volume::allocate`] gives blocks that read as zeros; the caller writes its data there; then
//! [`Volume::mark_written`] makes it content, and sets the size. ext2 and ext3 files have no blocks that read as zeros:
//! theirs are content from `allocate` on, so that the caller must write the data before the next [`Volume::commit`].

use alloc::vec::Vec;

use crate::extent::Extent;
use crate::inode::{Kind, Raw};
use crate::volume::{Blocks, Volume};
use crate::{Disk, Error};

/// Pieces that one step of a truncation takes.
const STEP: usize = 256;

/// What a part of a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No blocks: zeros.
    Hole,
    /// Blocks that read as zeros.
    Unwritten,
    /// Blocks with content.
    Written,
}

/// A part of a file, in blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// What it is.
    pub state: State,
    /// Its first block of the disk; 0 for a hole.
    pub start: u64,
    /// Blocks, at least 1.
    pub len: u32,
}

impl<D: Disk> Volume<D> {
    /// What `block` of a file is, and as many after it as are the same and in a row, at most `most`.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Disk`].
    pub fn map(&mut self, ino: u32, block: u32, most: u32) -> Result<Mapping, Error> {
        let result = self.raw(ino).and_then(|raw| self.map_of(&raw, block, most));
        if let Err(error) = &result {
            self.note(error);
        }
        result
    }

    pub(crate) fn map_of(&mut self, raw: &Raw, block: u32, most: u32) -> Result<Mapping, Error> {
        let most = most.max(1);
        if !raw.has_extents()? {
            let (start, len) = self.find_mapped(raw, u64::from(block), most)?;
            let state = if start == 0 { State::Hole } else { State::Written };
            return Ok(Mapping { state, start, len });
        }
        Ok(match self.find_extent(raw, block)? {
            Ok(e) => {
                let into = block - e.first;
                Mapping {
                    state: if e.is_unwritten {
                        State::Unwritten
                    } else {
                        State::Written
                    },
                    start: e.start + u64::from(into),
                    len: (e.len - into).min(most),
                }
            }
            Err(len) => Mapping {
                state: State::Hole,
                start: 0,
                len: len.clamp(1, most),
            },
        })
    }

    /// Promises room for `blocks` more of content that gets its place later, and for the maps that this takes.
    ///
    /// # Errors
    /// [`Error::NoSpace`].
    pub fn reserve(&mut self, blocks: u64, may_use_reserve: bool) -> Result<(), Error> {
        let needed = blocks + blocks / 64 + 8;
        let mut there = self.available_blocks(may_use_reserve)?;
        if there < needed {
            // What the running transaction freed counts from its commit on.
            there += self.freed.iter().map(|(b, _)| u64::from(b.len)).sum::<u64>();
        }
        if there < needed {
            return Err(Error::NoSpace);
        }
        self.reserved += blocks;
        Ok(())
    }

    /// Takes a promise back: the content has its place, or is not to have one.
    pub fn release(&mut self, blocks: u64) {
        self.reserved = self.reserved.saturating_sub(blocks);
    }

    fn goal(&mut self, raw: &Raw, block: u32) -> Result<u64, Error> {
        if let Some(before) = block.checked_sub(1) {
            let m = self.map_of(raw, before, 1)?;
            if m.state != State::Hole {
                return Ok(m.start + 1);
            }
        }
        let group = (raw.ino - 1) / self.sb.inodes_per_group;
        let home = self.sb.first_block_of(group);
        // Files that are written one after the other lie one behind the other.
        Ok(match self.sb.group_of(self.last_block) {
            Some((g, _)) if g == group => self.last_block,
            _ => home,
        })
    }

    /// Gives `block` and up to `count` in all of the same hole places; what is there then. A part that has a place is
    /// answered as it is.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::TooLarge`], [`Error::ReadOnly`], [`Error::Corrupt`], [`Error::Disk`].
    pub fn allocate(&mut self, ino: u32, block: u32, count: u32, now_ns: i64) -> Result<Mapping, Error> {
        self.operation(now_ns, |v| {
            let mut raw = v.raw(ino)?;
            let out = v.allocate_in(&mut raw, block, count)?;
            v.store(&mut raw)?;
            Ok(out)
        })
    }

    pub(crate) fn allocate_in(&mut self, raw: &mut Raw, block: u32, count: u32) -> Result<Mapping, Error> {
        let there = self.map_of(raw, block, count)?;
        if there.state != State::Hole {
            return Ok(there);
        }
        let goal = self.goal(raw, block)?;
        let has_extents = raw.has_extents()?;
        let most = if has_extents { 32767 } else { 1024 };
        let got = self.take_blocks(goal, there.len.min(most))?;
        self.last_block = got.start + u64::from(got.len);
        self.count_blocks(raw, i64::from(got.len))?;
        if has_extents {
            self.insert_extent(
                raw,
                Extent {
                    first: block,
                    len: got.len,
                    start: got.start,
                    is_unwritten: true,
                },
            )?;
        } else {
            for i in 0..got.len {
                self.put_mapped(raw, u64::from(block) + u64::from(i), got.start + u64::from(i))?;
            }
        }
        Ok(Mapping {
            state: if has_extents { State::Unwritten } else { State::Written },
            start: got.start,
            len: got.len,
        })
    }

    /// The blocks from `block` on have their content on the disk; with `size` the file is so long at least.
    ///
    /// # Errors
    /// [`Error::Invalid`] when one of them has no place.
    pub fn mark_written(
        &mut self,
        ino: u32,
        block: u32,
        count: u32,
        size: Option<u64>,
        now_ns: i64,
    ) -> Result<(), Error> {
        self.operation(now_ns, |v| {
            let mut raw = v.raw(ino)?;
            v.mark_written_in(&mut raw, block, count)?;
            if let Some(size) = size
                && size > raw.size()?
            {
                v.set_size_of(&mut raw, size)?;
            }
            v.store(&mut raw)
        })
    }

    pub(crate) fn mark_written_in(&mut self, raw: &mut Raw, block: u32, count: u32) -> Result<(), Error> {
        if !raw.has_extents()? {
            return Ok(());
        }
        let mut at = block;
        let end = u64::from(block) + u64::from(count);
        while u64::from(at) < end {
            let m = self.map_of(raw, at, (end - u64::from(at)) as u32)?;
            match m.state {
                State::Hole => return Err(Error::Invalid),
                State::Written => {}
                State::Unwritten => {
                    let to = u64::from(at) + u64::from(m.len);
                    for e in self.extract_extents(raw, at, to, usize::MAX)? {
                        self.insert_extent(
                            raw,
                            Extent {
                                is_unwritten: false,
                                ..e
                            },
                        )?;
                    }
                }
            }
            match at.checked_add(m.len) {
                Some(next) => at = next,
                None => break,
            }
        }
        Ok(())
    }

    pub(crate) fn set_size_of(&mut self, raw: &mut Raw, size: u64) -> Result<(), Error> {
        if size > self.file_bytes_max(raw.has_extents()?) {
            return Err(Error::TooLarge);
        }
        if size > 0x7fff_ffff && self.sb.ro_compat & crate::superblock::ro_compat::LARGE_FILE == 0 {
            self.change_super(|sb| {
                let bits = sb.ro_compat | crate::superblock::ro_compat::LARGE_FILE;
                sb.set_ro_compat(bits)
            })?;
        }
        raw.set_size(size)
    }

    /// Frees the blocks `from..to`, a bounded number of pieces; whether all are freed.
    fn free_range(&mut self, raw: &mut Raw, from: u32, to: u64) -> Result<bool, Error> {
        let mut runs: Vec<Blocks> = Vec::new();
        let is_done;
        if raw.has_extents()? {
            let taken = self.extract_extents(raw, from, to, STEP)?;
            is_done = taken.len() < STEP;
            for e in &taken {
                if e.start <= self.sb.first_data_block || e.start + u64::from(e.len) > self.sb.blocks {
                    return Err(Error::Corrupt("an extent is not on the file system"));
                }
            }
            runs.extend(taken.iter().map(|e| Blocks {
                start: e.start,
                len: e.len,
            }));
        } else {
            let mut taken = Vec::new();
            is_done = self.extract_mapped(raw, (u64::from(from), to), STEP * 16, &mut taken)?;
            taken.sort_unstable();
            for block in taken {
                match runs.last_mut() {
                    Some(run) if run.start + u64::from(run.len) == block => run.len += 1,
                    _ => runs.push(Blocks { start: block, len: 1 }),
                }
            }
        }
        // The blocks of directories and symbolic links go through the journal.
        let is_metadata = raw.kind()? != Kind::Regular;
        for run in runs {
            self.count_blocks(raw, -i64::from(run.len))?;
            self.free_blocks(run, is_metadata)?;
        }
        Ok(is_done)
    }

    /// Frees everything from byte `size` on in steps, each a transaction's worth at most.
    pub(crate) fn free_from(&mut self, ino: u32, size: u64, now_ns: i64) -> Result<(), Error> {
        let block_bytes = self.sb.block_bytes as u64;
        let Ok(from) = u32::try_from(size.div_ceil(block_bytes)) else {
            return Ok(());
        };
        loop {
            let is_done = self.operation(now_ns, |v| {
                let mut raw = v.raw(ino)?;
                if !v.has_block_map(&raw)? {
                    return Ok(true);
                }
                let is_done = v.free_range(&mut raw, from, 1 << 32)?;
                v.store(&mut raw)?;
                Ok(is_done)
            })?;
            if is_done {
                return Ok(());
            }
        }
    }

    /// Whether the inode's 60 bytes are a map of blocks.
    pub(crate) fn has_block_map(&self, raw: &Raw) -> Result<bool, Error> {
        Ok(match raw.kind()? {
            Kind::Regular | Kind::Directory => true,
            Kind::Symlink => !self.is_fast_symlink(raw)?,
            _ => false,
        })
    }

    /// Makes a regular file so long. What is cut off is freed; the part of the last block behind the end is the caller's
    /// to clear. What is added is a hole.
    ///
    /// # Errors
    /// [`Error::TooLarge`] and as every change.
    pub fn truncate(&mut self, ino: u32, size: u64, now_ns: i64) -> Result<(), Error> {
        let shrinks = self.operation(now_ns, |v| {
            let mut raw = v.raw(ino)?;
            if raw.kind()? != Kind::Regular {
                return Err(Error::Invalid);
            }
            // Also what lies beyond the end (fallocate with FALLOC_FL_KEEP_SIZE) goes.
            let shrinks = size <= raw.size()?;
            v.set_size_of(&mut raw, size)?;
            raw.touch(now_ns)?;
            if shrinks && raw.links()? > 0 && raw.dtime()? == 0 {
                // Should the freeing be cut in the middle, whoever mounts next finishes it.
                v.add_orphan(&mut raw)?;
            }
            v.store(&mut raw)?;
            Ok(shrinks)
        })?;
        if shrinks {
            self.free_from(ino, size, now_ns)?;
            self.operation(now_ns, |v| {
                let mut raw = v.raw(ino)?;
                if raw.links()? > 0 {
                    v.remove_orphan(&mut raw)?;
                    v.store(&mut raw)?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Frees whole blocks `from..to` of a regular file, which become a hole (FALLOC_FL_PUNCH_HOLE).
    ///
    /// # Errors
    /// As every change.
    pub fn punch(&mut self, ino: u32, from: u32, to: u32, now_ns: i64) -> Result<(), Error> {
        loop {
            let is_done = self.operation(now_ns, |v| {
                let mut raw = v.raw(ino)?;
                let is_done = v.free_range(&mut raw, from, u64::from(to))?;
                raw.touch(now_ns)?;
                v.store(&mut raw)?;
                Ok(is_done)
            })?;
            if is_done {
                return Ok(());
            }
        }
    }

    /// Makes the file so long at least, without places for what is added.
    ///
    /// # Errors
    /// [`Error::TooLarge`] and as every change.
    pub fn extend(&mut self, ino: u32, size: u64, now_ns: i64) -> Result<(), Error> {
        self.operation(now_ns, |v| {
            let mut raw = v.raw(ino)?;
            if size > raw.size()? {
                v.set_size_of(&mut raw, size)?;
                v.store(&mut raw)?;
            }
            Ok(())
        })
    }
}
