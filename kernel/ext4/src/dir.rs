//! Directories (kernel documentation, `filesystems/ext4/directory.rst`).
//!
//! Names are looked for block by block; an index, whose blocks look like empty entries, is passed over. A directory with
//! an index that grows becomes one without: both are right, and the flag says which it is.

use alloc::vec;
use alloc::vec::Vec;

use crate::inode::{FLAG_INDEX, Kind, Raw};
use crate::journal::Content;
use crate::le::{crc32c, part, put, put16, put32, u8_at, u16_at, u32_at};
use crate::map::State;
use crate::superblock::incompat;
use crate::volume::Volume;
use crate::{Disk, Error};

/// Bytes of the longest name.
pub const NAME_BYTES_MAX: usize = 255;
const BAD: Error = Error::Corrupt("a directory");
/// Bytes of the checksum at a block's end, dressed as an entry without a name.
const TAIL: usize = 12;
const TAIL_KIND: u8 = 0xde;

/// An entry of a directory's block.
#[derive(Clone, Copy)]
struct Entry<'a> {
    at: usize,
    len: usize,
    ino: u32,
    name: &'a [u8],
    kind: u8,
}

/// Bytes that an entry with such a name takes.
fn entry_bytes(name_len: usize) -> usize {
    (8 + name_len).next_multiple_of(4)
}

/// A name in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirEntry<'a> {
    /// The name.
    pub name: &'a [u8],
    /// Whose it is.
    pub ino: u32,
    /// What that is, where the file system says so in directories.
    pub kind: Option<Kind>,
    /// The position behind it.
    pub next: u64,
}

impl<D: Disk> Volume<D> {
    fn dir_room(&self) -> usize {
        self.sb.block_bytes - if self.sb.has_csum() { TAIL } else { 0 }
    }

    /// The entries of a block that is no part of an index, checked.
    fn entries<'a>(&self, block: &'a [u8]) -> Result<Vec<Entry<'a>>, Error> {
        let mut out = Vec::new();
        let mut at = 0;
        while at < block.len() {
            let len = usize::from(u16_at(block, at + 4)?);
            // A block of 64 KiB is not used here, so a length is what it is.
            let name_len = usize::from(u8_at(block, at + 6)?);
            let ino = u32_at(block, at)?;
            if len < 8 || !len.is_multiple_of(4) || at + len > block.len() || entry_bytes(name_len) > len {
                return Err(BAD);
            }
            if ino > self.sb.inodes {
                return Err(Error::Corrupt("a directory names an inode that cannot be"));
            }
            let has_kind = self.sb.incompat & incompat::FILETYPE != 0;
            out.push(Entry {
                at,
                len,
                ino,
                name: part(block, at + 8, at + 8 + name_len)?,
                kind: if has_kind { u8_at(block, at + 7)? } else { 0 },
            });
            at += len;
        }
        Ok(out)
    }

    /// Whether a block is the root or a node of an index.
    fn is_index_block(&self, raw: &Raw, number: u32, block: &[u8]) -> Result<bool, Error> {
        if raw.flags()? & FLAG_INDEX == 0 {
            return Ok(false);
        }
        let is_node = u32_at(block, 0)? == 0 && usize::from(u16_at(block, 4)?) == block.len();
        Ok(number == 0 || is_node)
    }

    fn check_dir_block(&self, raw: &Raw, number: u32, block: &[u8]) -> Result<(), Error> {
        if !self.sb.has_csum() {
            return Ok(());
        }
        const SUM: Error = Error::Corrupt("a directory's checksum");
        let seed = raw.seed(self.sb.seed)?;
        if self.is_index_block(raw, number, block)? {
            let at = if number == 0 { 0x20 } else { 8 };
            let (limit, count) = (usize::from(u16_at(block, at)?), usize::from(u16_at(block, at + 2)?));
            let tail = at + 8 * limit;
            if count > limit || tail + 8 > block.len() {
                return Err(BAD);
            }
            let mut crc = crc32c(seed, part(block, 0, at + 8 * count)?);
            crc = crc32c(crc, part(block, tail, tail + 4)?);
            crc = crc32c(crc, &[0; 4]);
            return if crc == u32_at(block, tail + 4)? {
                Ok(())
            } else {
                Err(SUM)
            };
        }
        let at = block.len() - TAIL;
        let is_tail = u32_at(block, at)? == 0
            && usize::from(u16_at(block, at + 4)?) == TAIL
            && u8_at(block, at + 6)? == 0
            && u8_at(block, at + 7)? == TAIL_KIND;
        if !is_tail || crc32c(seed, part(block, 0, at)?) != u32_at(block, at + 8)? {
            return Err(SUM);
        }
        Ok(())
    }

    fn seal_dir_block(&self, raw: &Raw, block: &mut [u8]) -> Result<(), Error> {
        if !self.sb.has_csum() {
            return Ok(());
        }
        let at = block.len() - TAIL;
        put(block, at, &[0, 0, 0, 0, TAIL as u8, 0, 0, TAIL_KIND])?;
        let crc = crc32c(raw.seed(self.sb.seed)?, part(block, 0, at)?);
        put32(block, at + 8, crc)
    }

    fn dir_blocks(&self, raw: &Raw) -> Result<u32, Error> {
        u32::try_from(raw.size()? / self.sb.block_bytes as u64).map_err(|_| BAD)
    }

    /// Block `number` of a directory: where it is, and its content, checked.
    fn dir_block(&mut self, raw: &Raw, number: u32) -> Result<(u64, Content), Error> {
        let m = self.map_of(raw, number, 1)?;
        if m.state != State::Written {
            return Err(Error::Corrupt("a directory has a hole"));
        }
        let content = self.block(m.start)?;
        self.check_dir_block(raw, number, &content)?;
        Ok((m.start, content))
    }

    fn directory(&mut self, ino: u32) -> Result<Raw, Error> {
        let raw = self.raw(ino)?;
        if raw.kind()? != Kind::Directory {
            return Err(Error::NotDirectory);
        }
        Ok(raw)
    }

    /// The inode behind a name.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotDirectory`], [`Error::NameTooLong`], [`Error::Corrupt`], [`Error::Disk`].
    pub fn lookup(&mut self, dir: u32, name: &[u8]) -> Result<u32, Error> {
        let result = self.try_lookup(dir, name);
        if let Err(error) = &result {
            self.note(error);
        }
        result
    }

    fn try_lookup(&mut self, dir: u32, name: &[u8]) -> Result<u32, Error> {
        if name.len() > NAME_BYTES_MAX {
            return Err(Error::NameTooLong);
        }
        let raw = self.directory(dir)?;
        self.find(&raw, name)?.map(|(_, ino)| ino).ok_or(Error::NotFound)
    }

    /// Block and inode of a name.
    pub(crate) fn find(&mut self, raw: &Raw, name: &[u8]) -> Result<Option<(u32, u32)>, Error> {
        for number in 0..self.dir_blocks(raw)? {
            let (_, content) = self.dir_block(raw, number)?;
            for e in self.entries(&content)? {
                if e.ino != 0 && e.name == name {
                    return Ok(Some((number, e.ino)));
                }
            }
        }
        Ok(None)
    }

    /// Lists names from `position` (0: the start, or a `next` that was given) until `emit` says false. `.` and `..` are
    /// among them. A position is a byte of the directory: an entry stays where it is while it lives.
    ///
    /// # Errors
    /// [`Error::NotDirectory`], [`Error::Corrupt`], [`Error::Disk`].
    pub fn read_dir(
        &mut self,
        dir: u32,
        position: u64,
        mut emit: impl FnMut(&DirEntry<'_>) -> bool,
    ) -> Result<(), Error> {
        let result = self.try_read_dir(dir, position, &mut emit);
        if let Err(error) = &result {
            self.note(error);
        }
        result
    }

    fn try_read_dir(
        &mut self,
        dir: u32,
        position: u64,
        emit: &mut dyn FnMut(&DirEntry<'_>) -> bool,
    ) -> Result<(), Error> {
        let raw = self.directory(dir)?;
        let bytes = self.sb.block_bytes as u64;
        let first = u32::try_from(position / bytes).unwrap_or(u32::MAX);
        for number in first..self.dir_blocks(&raw)? {
            let (_, content) = self.dir_block(&raw, number)?;
            let base = u64::from(number) * bytes;
            for e in self.entries(&content)? {
                let at = base + e.at as u64;
                if at < position || e.ino == 0 || e.name.is_empty() {
                    continue;
                }
                let entry = DirEntry {
                    name: e.name,
                    ino: e.ino,
                    kind: Kind::from_entry_byte(e.kind),
                    next: at + e.len as u64,
                };
                if !emit(&entry) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Adds a name that is not there. The caller stores the inode.
    pub(crate) fn add_name(&mut self, raw: &mut Raw, name: &[u8], ino: u32, kind: Kind) -> Result<(), Error> {
        if name.len() > NAME_BYTES_MAX {
            return Err(Error::NameTooLong);
        }
        if name.is_empty() || name.contains(&b'/') || name.contains(&0) {
            return Err(Error::Invalid);
        }
        if raw.flags()? & FLAG_INDEX != 0 {
            self.drop_index(raw)?;
        }
        let kind = if self.sb.incompat & incompat::FILETYPE != 0 {
            kind.entry_byte()
        } else {
            0
        };
        let needed = entry_bytes(name.len());
        let blocks = self.dir_blocks(raw)?;
        for number in 0..blocks {
            let (at, content) = self.dir_block(raw, number)?;
            let Some((place, len)) = self.room_for(&content, needed)? else {
                continue;
            };
            let mut bytes = content.to_vec();
            let used = if u32_at(&bytes, place)? == 0 {
                0
            } else {
                entry_bytes(usize::from(u8_at(&bytes, place + 6)?))
            };
            if used > 0 {
                put16(&mut bytes, place + 4, used as u16)?;
            }
            write_entry(&mut bytes, place + used, len - used, ino, kind, name)?;
            self.seal_dir_block(raw, &mut bytes)?;
            return self.replace(at, bytes);
        }
        // A new block at the end.
        let at = self.grow_dir(raw, blocks)?;
        let mut bytes = vec![0; self.sb.block_bytes];
        write_entry(&mut bytes, 0, self.dir_room(), ino, kind, name)?;
        self.seal_dir_block(raw, &mut bytes)?;
        self.replace(at, bytes)
    }

    /// An entry with so many bytes to spare: where it is, and its length.
    fn room_for(&self, block: &[u8], needed: usize) -> Result<Option<(usize, usize)>, Error> {
        for e in self.entries(block)? {
            if e.kind == TAIL_KIND && e.ino == 0 && self.sb.has_csum() && e.at == block.len() - TAIL {
                continue;
            }
            let used = if e.ino == 0 { 0 } else { entry_bytes(e.name.len()) };
            if e.len - used >= needed {
                return Ok(Some((e.at, e.len)));
            }
        }
        Ok(None)
    }

    fn grow_dir(&mut self, raw: &mut Raw, blocks: u32) -> Result<u64, Error> {
        let m = self.allocate_in(raw, blocks, 1)?;
        self.mark_written_in(raw, blocks, 1)?;
        let size = (u64::from(blocks) + 1) * self.sb.block_bytes as u64;
        raw.set_size(size)?;
        Ok(m.start)
    }

    /// Makes a directory one without an index: the index's blocks become blocks without names.
    fn drop_index(&mut self, raw: &mut Raw) -> Result<(), Error> {
        let mut found = Vec::new();
        for number in 0..self.dir_blocks(raw)? {
            let (at, content) = self.dir_block(raw, number)?;
            if self.is_index_block(raw, number, &content)? {
                found.push((number, at, content));
            }
        }
        let flags = raw.flags()? & !FLAG_INDEX;
        raw.set_flags(flags)?;
        let room = self.dir_room();
        for (number, at, content) in found {
            let mut bytes = vec![0; self.sb.block_bytes];
            if number == 0 {
                // `.` and `..`, the second as long as the block is.
                put(&mut bytes, 0, part(&content, 0, 24)?)?;
                put16(&mut bytes, 4, 12)?;
                put16(&mut bytes, 16, (room - 12) as u16)?;
            } else {
                put16(&mut bytes, 4, room as u16)?;
            }
            self.seal_dir_block(raw, &mut bytes)?;
            self.replace(at, bytes)?;
        }
        Ok(())
    }

    /// Takes a name away.
    pub(crate) fn remove_name(&mut self, raw: &Raw, name: &[u8]) -> Result<(), Error> {
        let (number, _) = self.find(raw, name)?.ok_or(Error::NotFound)?;
        let (at, content) = self.dir_block(raw, number)?;
        let mut bytes = content.to_vec();
        let mut before: Option<Entry<'_>> = None;
        for e in self.entries(&content)? {
            if e.ino != 0 && e.name == name {
                match before {
                    Some(b) => put16(&mut bytes, b.at + 4, (b.len + e.len) as u16)?,
                    None => put32(&mut bytes, e.at, 0)?,
                }
                return self.put_dir_block(raw, number, at, bytes);
            }
            before = Some(e);
        }
        Err(BAD)
    }

    /// Points a name at another inode.
    pub(crate) fn replace_name(&mut self, raw: &Raw, name: &[u8], ino: u32, kind: Kind) -> Result<(), Error> {
        let (number, _) = self.find(raw, name)?.ok_or(Error::NotFound)?;
        let (at, content) = self.dir_block(raw, number)?;
        let mut bytes = content.to_vec();
        for e in self.entries(&content)? {
            if e.ino != 0 && e.name == name {
                put32(&mut bytes, e.at, ino)?;
                if self.sb.incompat & incompat::FILETYPE != 0 {
                    put(&mut bytes, e.at + 7, &[kind.entry_byte()])?;
                }
                return self.put_dir_block(raw, number, at, bytes);
            }
        }
        Err(BAD)
    }

    /// Seals and stores a block after an entry of it changed; the root of an index has its own checksum.
    fn put_dir_block(&mut self, raw: &Raw, number: u32, at: u64, mut bytes: Vec<u8>) -> Result<(), Error> {
        if self.is_index_block(raw, number, &bytes)? {
            if self.sb.has_csum() {
                let place = if number == 0 { 0x20 } else { 8 };
                let (limit, count) = (
                    usize::from(u16_at(&bytes, place)?),
                    usize::from(u16_at(&bytes, place + 2)?),
                );
                let tail = place + 8 * limit;
                let mut crc = crc32c(raw.seed(self.sb.seed)?, part(&bytes, 0, place + 8 * count)?);
                crc = crc32c(crc, part(&bytes, tail, tail + 4)?);
                crc = crc32c(crc, &[0; 4]);
                put32(&mut bytes, tail + 4, crc)?;
            }
        } else {
            self.seal_dir_block(raw, &mut bytes)?;
        }
        self.replace(at, bytes)
    }

    /// The first block of a new directory.
    pub(crate) fn make_dir_block(&mut self, raw: &mut Raw, parent: u32) -> Result<(), Error> {
        let at = self.grow_dir(raw, 0)?;
        let mut bytes = vec![0; self.sb.block_bytes];
        let kind = if self.sb.incompat & incompat::FILETYPE != 0 {
            Kind::Directory.entry_byte()
        } else {
            0
        };
        write_entry(&mut bytes, 0, 12, raw.ino, kind, b".")?;
        write_entry(&mut bytes, 12, self.dir_room() - 12, parent, kind, b"..")?;
        self.seal_dir_block(raw, &mut bytes)?;
        self.replace(at, bytes)
    }

    pub(crate) fn is_dir_empty(&mut self, raw: &Raw) -> Result<bool, Error> {
        for number in 0..self.dir_blocks(raw)? {
            let (_, content) = self.dir_block(raw, number)?;
            let entries = self.entries(&content)?;
            if entries.iter().any(|e| e.ino != 0 && e.name != b"." && e.name != b"..") {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn write_entry(bytes: &mut [u8], at: usize, len: usize, ino: u32, kind: u8, name: &[u8]) -> Result<(), Error> {
    put32(bytes, at, ino)?;
    put16(bytes, at + 4, len as u16)?;
    put(bytes, at + 6, &[name.len() as u8, kind])?;
    put(bytes, at + 8, name)
}
