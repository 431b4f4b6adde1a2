//! Directories: entries in blocks, and what all kinds of them share.
//!
//! Every block is a chain of entries that ends exactly at the block's end (with metadata checksums, an unused entry of 12
//! bytes at the end holds the sum). Blocks of an index look like one unused entry to who does not know of indexes.

use crate::bytes::{low16, put, put_u8, put_u16, put_u32, slice, u8_at, u16_at, u32_at};
use crate::cache::Role;
use crate::crc::crc32c;
use crate::inode::{Raw, flag};
use crate::journal::Content;
use crate::types::{Ino, Kind, State};
use crate::volume::Volume;
use crate::{Disk, Error};

pub(crate) mod hash;
pub(crate) mod index;
pub(crate) mod insert;
pub(crate) mod read;

/// Bytes of the entry that holds a checksum.
pub(crate) const TAIL: usize = 12;
/// Bytes of an entry before its name.
pub(crate) const HEAD: usize = 8;
/// Bytes of the longest name.
pub const NAME_MAX: usize = 255;

/// An entry in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) at: usize,
    pub(crate) len: usize,
    pub(crate) ino: u32,
    pub(crate) name_len: usize,
    pub(crate) kind: u8,
}

impl Slot {
    pub(crate) fn end(&self) -> usize {
        self.at + self.len
    }

    /// Bytes it needs; an unused one needs none.
    pub(crate) fn used(&self) -> usize {
        if self.ino == 0 { 0 } else { needed(self.name_len) }
    }

    pub(crate) fn name<'a>(&self, b: &'a [u8]) -> Result<&'a [u8], Error> {
        slice(b, self.at + HEAD, self.name_len)
    }
}

/// Bytes an entry of this name needs.
pub(crate) fn needed(name_len: usize) -> usize {
    (HEAD + name_len).next_multiple_of(4)
}

/// The entry at `at` of a block.
pub(crate) fn entry_at(b: &[u8], at: usize, has_types: bool) -> Result<Slot, Error> {
    let len = usize::from(u16_at(b, at + 4)?);
    let (name_len, kind) = if has_types {
        (usize::from(u8_at(b, at + 6)?), u8_at(b, at + 7)?)
    } else {
        // Without file types the name's length has 16 bits, of which 8 may be used.
        (usize::from(u16_at(b, at + 6)?), 0)
    };
    let is_tail = has_types && len == TAIL && kind == 0xde && name_len == 0;
    if len < TAIL
        || !len.is_multiple_of(4)
        || at + len > b.len()
        || name_len > NAME_MAX
        || (!is_tail && HEAD + name_len > len)
    {
        return Err(Error::Corrupt("an entry of a directory"));
    }
    Ok(Slot {
        at,
        len,
        ino: u32_at(b, at)?,
        name_len,
        kind: kind & 7,
    })
}

/// The entries of a block up to `end`.
pub(crate) fn entries(b: &[u8], end: usize, has_types: bool) -> impl Iterator<Item = Result<Slot, Error>> {
    let mut at = 0;
    core::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let slot = entry_at(b, at, has_types);
        at = slot.as_ref().map_or(end, Slot::end);
        Some(slot)
    })
}

fn has_tail(b: &[u8]) -> bool {
    let Some(at) = b.len().checked_sub(TAIL) else {
        return false;
    };
    let expected = |at: usize, value: u32| u32_at(b, at) == Ok(value);
    expected(at, 0) && expected(at + 4, 0xde00_000c)
}

fn leaf_sum(b: &[u8], seed: u32) -> Result<u32, Error> {
    Ok(crc32c(seed, slice(b, 0, b.len().saturating_sub(TAIL))?))
}

/// Checks a block of a directory: its chain, and its checksum where there are any.
pub(crate) fn verify_block(b: &[u8], seed: Option<u32>) -> Result<(), Error> {
    const BAD: Error = Error::Corrupt("checksum of a directory's block");
    // Whether entries have types only changes where the name's length is; the chain is the same.
    let mut at = 0;
    while at < b.len() {
        let len = usize::from(u16_at(b, at + 4)?);
        if len < TAIL || !len.is_multiple_of(4) || at + len > b.len() {
            return Err(Error::Corrupt("entries of a directory's block"));
        }
        at += len;
    }
    let Some(seed) = seed else { return Ok(()) };
    let is_right = if has_tail(b) {
        leaf_sum(b, seed)? == u32_at(b, b.len() - 4)?
    } else {
        let (at, sum) = index::checksum(b, seed)?;
        sum == u32_at(b, at)?
    };
    if is_right { Ok(()) } else { Err(BAD) }
}

/// Writes a block's checksum.
pub(crate) fn seal_block(b: &mut [u8], seed: u32) -> Result<(), Error> {
    let (at, sum) = if has_tail(b) {
        (b.len() - 4, leaf_sum(b, seed)?)
    } else {
        index::checksum(b, seed)?
    };
    put_u32(b, at, sum)
}

/// Writes an entry.
pub(crate) fn put_entry(b: &mut [u8], at: usize, len: usize, ino: u32, name: &[u8], kind: u8) -> Result<(), Error> {
    put_u32(b, at, ino)?;
    put_u16(b, at + 4, low16(len as u32))?;
    put_u8(b, at + 6, low16(name.len() as u32) as u8)?;
    put_u8(b, at + 7, kind)?;
    put(b, at + HEAD, name)
}

/// Writes the unused entry that holds the checksum.
pub(crate) fn put_tail(b: &mut [u8]) -> Result<(), Error> {
    let at = b.len().saturating_sub(TAIL);
    put_u32(b, at, 0)?;
    put_u32(b, at + 4, 0xde00_000c)
}

/// Where an entry was found: the block of the disk, the entry, and the one before it in the block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Position {
    pub(crate) block: u64,
    pub(crate) slot: Slot,
    pub(crate) before: Option<Slot>,
}

/// Whether a name may be in a directory.
pub(crate) fn check_name(name: &[u8]) -> Result<(), Error> {
    if name.len() > NAME_MAX {
        return Err(Error::NameTooLong);
    }
    if name.is_empty() || name.iter().any(|b| matches!(b, 0 | b'/')) {
        return Err(Error::Invalid);
    }
    Ok(())
}

impl<D: Disk> Volume<D> {
    /// Where the entries of a block end.
    pub(crate) fn entries_end(&self) -> usize {
        let tail = if self.layout.has_checksums() { TAIL } else { 0 };
        self.layout.block_bytes - tail
    }

    /// Blocks of a directory.
    pub(crate) fn directory_blocks(&self, raw: &Raw) -> Result<u32, Error> {
        let blocks = raw.size() / self.layout.block_bytes as u64;
        if blocks == 0 || !raw.size().is_multiple_of(self.layout.block_bytes as u64) {
            return Err(Error::Corrupt("size of a directory"));
        }
        u32::try_from(blocks).map_err(|_| Error::Corrupt("size of a directory"))
    }

    /// A directory's block: where it is, and its content.
    pub(crate) fn directory_block(&mut self, raw: &Raw, n: u32) -> Result<(u64, Content), Error> {
        if n >= self.directory_blocks(raw)? {
            return Err(Error::Corrupt("a directory's index points beyond its end"));
        }
        let mapping = self.map_raw(raw, u64::from(n), 1)?;
        if mapping.state != State::Written {
            return Err(Error::Corrupt("a hole in a directory"));
        }
        let seed = raw.seed(&self.layout);
        let content = self.block(mapping.physical, Role::Directory(seed))?;
        Ok((mapping.physical, content))
    }

    pub(crate) fn is_indexed(&self, raw: &Raw) -> bool {
        self.layout.has_dir_index() && raw.flags() & flag::INDEX != 0
    }

    /// Looks for a name in one block.
    pub(crate) fn search_block(&self, block: u64, b: &[u8], name: &[u8]) -> Result<Option<Position>, Error> {
        let mut before = None;
        for slot in entries(b, self.entries_end(), self.layout.has_file_types()) {
            let slot = slot?;
            if slot.ino != 0 && slot.name_len == name.len() && slot.name(b)? == name {
                return Ok(Some(Position { block, slot, before }));
            }
            before = Some(slot);
        }
        Ok(None)
    }

    /// Looks for a name.
    pub(crate) fn find(&mut self, raw: &Raw, name: &[u8]) -> Result<Option<Position>, Error> {
        if self.is_indexed(raw) && name != b"." && name != b".." {
            return self.find_indexed(raw, name);
        }
        let is_in_first = self.is_indexed(raw);
        let blocks = if is_in_first { 1 } else { self.directory_blocks(raw)? };
        for n in 0..blocks {
            let (block, b) = self.directory_block(raw, n)?;
            if let Some(found) = self.search_block(block, &b, name)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// What a name in a directory names.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotDirectory`], [`Error::NameTooLong`].
    pub fn lookup(&mut self, dir: Ino, name: &[u8]) -> Result<(Ino, Option<Kind>), Error> {
        check_name(name)?;
        let found = self.directory(dir).and_then(|raw| self.find(&raw, name));
        match self.seen(found)? {
            Some(p) if p.slot.ino > self.layout.inodes => Err(self.note(Error::Corrupt("inode of an entry"))),
            Some(p) => Ok((Ino(p.slot.ino), Kind::from_entry_type(p.slot.kind))),
            None => Err(Error::NotFound),
        }
    }
}
