//! Putting names into a directory and taking them out.

use alloc::vec::Vec;

use super::hash::Hash;
use super::index::{self, ENTRY, NODE, Path, ROOT};
use super::{HEAD, Position, TAIL, entries, needed, put_entry, put_tail};
use crate::bytes::{low16, low32, put, put_u8, put_u16, put_u32, slice, u32_at};
use crate::cache::Role;
use crate::extents::Extent;
use crate::inode::{Raw, flag};
use crate::volume::Volume;
use crate::{Disk, Error};

const BAD: Error = Error::Corrupt("index of a directory");
/// A root that grows, and a split on each level, before there is room in a leaf.
const MAX_SPLITS: usize = 8;

/// An entry on its way to another block.
struct Moved {
    hash: Hash,
    ino: u32,
    kind: u8,
    name: Vec<u8>,
}

/// Writes a block of entries.
fn write_leaf(b: &mut [u8], end: usize, moved: &[Moved]) -> Result<(), Error> {
    b.fill(0);
    let mut at = 0;
    for (i, m) in moved.iter().enumerate() {
        let len = if i + 1 == moved.len() {
            end.saturating_sub(at)
        } else {
            needed(m.name.len())
        };
        if at + len > end || len < needed(m.name.len()) {
            return Err(BAD);
        }
        put_entry(b, at, len, m.ino, &m.name, m.kind)?;
        at += len;
    }
    if moved.is_empty() {
        put_u16(b, 4, low16(end as u32))?;
    }
    if end < b.len() {
        put_tail(b)?;
    }
    Ok(())
}

impl<D: Disk> Volume<D> {
    fn directory_role(&self, raw: &Raw) -> Role {
        Role::Directory(raw.seed(&self.layout))
    }

    /// The type an entry has for `kind`, where entries have types.
    fn entry_type(&self, kind: u8) -> u8 {
        if self.layout.has_file_types() { kind } else { 0 }
    }

    /// Puts an entry into a block, if it has room.
    fn insert_in_block(&mut self, raw: &Raw, n: u32, name: &[u8], ino: u32, kind: u8) -> Result<bool, Error> {
        let (block, b) = self.directory_block(raw, n)?;
        let need = needed(name.len());
        let mut room = None;
        for slot in entries(&b, self.entries_end(), self.layout.has_file_types()) {
            let slot = slot?;
            if slot.len - slot.used().min(slot.len) >= need {
                room = Some(slot);
                break;
            }
        }
        drop(b);
        let Some(slot) = room else { return Ok(false) };
        let kind = self.entry_type(kind);
        self.modify(block, self.directory_role(raw), |b| {
            let used = slot.used();
            if used > 0 {
                put_u16(b, slot.at + 4, low16(used as u32))?;
            }
            put_entry(b, slot.at + used, slot.len - used, ino, name, kind)
        })?;
        Ok(true)
    }

    /// Adds a block to a directory; it is zeros, and not in order until something is written there.
    fn append_block(&mut self, raw: &mut Raw) -> Result<(u32, u64), Error> {
        let n = low32(raw.size() / self.layout.block_bytes as u64);
        let goal = self.goal(raw, u64::from(n))?;
        let block = self.take_block(goal)?;
        if raw.has_extents() {
            let extent = Extent {
                first: u64::from(n),
                len: 1,
                physical: block,
                is_written: true,
            };
            self.insert_extent(raw, extent)?;
        } else {
            if block > u64::from(u32::MAX) {
                return Err(Error::NoSpace);
            }
            self.insert_pointers(raw, u64::from(n), block, 1)?;
        }
        raw.add_blocks(&self.layout, 1)?;
        let size = raw.size() + self.layout.block_bytes as u64;
        if size > i32::MAX as u64 && self.max_levels() < 2 {
            return Err(Error::NoSpace);
        }
        raw.set_size(size);
        self.fresh(block, self.directory_role(raw))?;
        Ok((n, block))
    }

    fn append_leaf(&mut self, raw: &mut Raw, moved: &[Moved]) -> Result<u32, Error> {
        let (n, block) = self.append_block(raw)?;
        let end = self.entries_end();
        self.modify(block, self.directory_role(raw), |b| write_leaf(b, end, moved))?;
        Ok(n)
    }

    /// The first block of a new directory.
    pub(crate) fn init_directory(&mut self, raw: &mut Raw, parent: u32) -> Result<(), Error> {
        let (_, block) = self.append_block(raw)?;
        let (end, kind) = (self.entries_end(), self.entry_type(2));
        let ino = raw.ino;
        self.modify(block, self.directory_role(raw), |b| {
            put_entry(b, 0, 12, ino, b".", kind)?;
            put_entry(b, 12, end - 12, parent, b"..", kind)?;
            if end < b.len() {
                put_tail(b)?;
            }
            Ok(())
        })
    }

    /// Puts a name that is not there into a directory; the inode is the caller's to store.
    pub(crate) fn add_entry(&mut self, raw: &mut Raw, name: &[u8], ino: u32, kind: u8) -> Result<(), Error> {
        if self.is_indexed(raw) {
            return self.insert_indexed(raw, name, ino, kind);
        }
        let blocks = self.directory_blocks(raw)?;
        for n in 0..blocks {
            if self.insert_in_block(raw, n, name, ino, kind)? {
                return Ok(());
            }
        }
        if blocks == 1 && self.layout.has_dir_index() {
            self.make_index(raw)?;
            return self.insert_indexed(raw, name, ino, kind);
        }
        let one = Moved {
            hash: Hash::default(),
            ino,
            kind: self.entry_type(kind),
            name: name.to_vec(),
        };
        self.append_leaf(raw, &[one])?;
        Ok(())
    }

    /// Takes an entry out.
    pub(crate) fn remove_entry(&mut self, raw: &Raw, p: &Position) -> Result<(), Error> {
        let p = *p;
        self.modify(p.block, self.directory_role(raw), |b| {
            put_u32(b, p.slot.at, 0)?;
            match p.before {
                Some(before) => put_u16(b, before.at + 4, low16((before.len + p.slot.len) as u32)),
                None => Ok(()),
            }
        })
    }

    /// Lets an entry name another inode.
    pub(crate) fn set_entry(&mut self, raw: &Raw, p: &Position, ino: u32, kind: u8) -> Result<(), Error> {
        let (at, kind) = (p.slot.at, self.layout.has_file_types().then_some(kind));
        self.modify(p.block, self.directory_role(raw), |b| {
            put_u32(b, at, ino)?;
            match kind {
                Some(kind) => put_u8(b, at + 7, kind),
                None => Ok(()),
            }
        })
    }

    /// Whether a directory has no names but its own and its parent's.
    pub(crate) fn is_empty_directory(&mut self, raw: &Raw) -> Result<bool, Error> {
        for n in 0..self.directory_blocks(raw)? {
            let (_, b) = self.directory_block(raw, n)?;
            for slot in entries(&b, self.entries_end(), self.layout.has_file_types()) {
                let slot = slot?;
                let name = slot.name(&b)?;
                if slot.ino != 0 && name != b"." && name != b".." {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn index_limit(&self, at: usize) -> usize {
        (self.layout.block_bytes - at) / ENTRY - usize::from(self.layout.has_checksums())
    }

    /// The entries of a block, hashed, without those of the directory itself and of its parent.
    fn take_entries(&mut self, raw: &Raw, n: u32, version: super::hash::Hasher) -> Result<Vec<Moved>, Error> {
        let (_, b) = self.directory_block(raw, n)?;
        let mut moved = Vec::new();
        for slot in entries(&b, self.entries_end(), self.layout.has_file_types()) {
            let slot = slot?;
            let name = slot.name(&b)?;
            if slot.ino != 0 && name != b"." && name != b".." {
                moved.push(Moved {
                    hash: Self::name_hash(version, name)?,
                    ino: slot.ino,
                    kind: slot.kind,
                    name: name.to_vec(),
                });
            }
        }
        Ok(moved)
    }

    /// Turns a directory of one block into an indexed one of two.
    fn make_index(&mut self, raw: &mut Raw) -> Result<(), Error> {
        let version = self.layout.hash_version;
        let moved = self.take_entries(raw, 0, self.hasher(version))?;
        let (block, b) = self.directory_block(raw, 0)?;
        let has_types = self.layout.has_file_types();
        let dot = super::entry_at(&b, 0, has_types)?;
        let parent = super::entry_at(&b, dot.end(), has_types)?;
        if dot.name(&b)? != b"." || parent.name(&b)? != b".." {
            return Err(Error::Corrupt("a directory does not begin with itself and its parent"));
        }
        drop(b);
        let leaf = self.append_leaf(raw, &moved)?;
        let (limit, kind) = (self.index_limit(ROOT), self.entry_type(2));
        self.modify(block, self.directory_role(raw), |b| {
            b.fill(0);
            let bytes = b.len();
            put_entry(b, 0, 12, dot.ino, b".", kind)?;
            put_entry(b, 12, bytes - 12, parent.ino, b"..", kind)?;
            put_u8(b, 28, version)?;
            put_u8(b, 29, 8)?;
            put_u16(b, ROOT, low16(limit as u32))?;
            put_u16(b, ROOT + 2, 1)?;
            put_u32(b, ROOT + 4, leaf)
        })?;
        raw.set_flags(raw.flags() | flag::INDEX);
        Ok(())
    }

    fn insert_indexed(&mut self, raw: &mut Raw, name: &[u8], ino: u32, kind: u8) -> Result<(), Error> {
        let (hasher, _) = self.index_header(raw)?;
        let hash = Self::name_hash(hasher, name)?.major;
        for _ in 0..MAX_SPLITS {
            let path = self.probe(raw, hash)?;
            if self.insert_in_block(raw, path.leaf, name, ino, kind)? {
                return Ok(());
            }
            // Room is made from the lowest level that has some, upwards from the leaf.
            match path.frames.iter().rposition(|f| f.count < f.limit) {
                Some(level) if level + 1 == path.frames.len() => self.split_leaf(raw, &path)?,
                Some(level) => self.split_node(raw, &path, level + 1)?,
                None => self.deepen_index(raw, &path)?,
            }
        }
        Err(Error::NoSpace)
    }

    /// Puts an index entry after the one taken at `level`.
    fn put_index_entry(&mut self, raw: &Raw, path: &Path, level: usize, hash: u32, n: u32) -> Result<(), Error> {
        let frame = *path.frames.get(level).ok_or(BAD)?;
        let (block, _) = self.directory_block(raw, frame.n)?;
        self.modify(block, self.directory_role(raw), |b| {
            let (limit, count) = index::limit_and_count(b, frame.at)?;
            let i = frame.i + 1;
            if count >= limit || i > count {
                return Err(BAD);
            }
            let (from, to) = (frame.at + i * ENTRY, frame.at + count * ENTRY);
            if to + ENTRY > b.len() {
                return Err(BAD);
            }
            b.copy_within(from..to, from + ENTRY);
            put_u32(b, from, hash)?;
            put_u32(b, from + 4, n)?;
            put_u16(b, frame.at + 2, low16(count as u32 + 1))
        })
    }

    fn split_leaf(&mut self, raw: &mut Raw, path: &Path) -> Result<(), Error> {
        let mut lower = self.take_entries(raw, path.leaf, path.hasher)?;
        lower.sort_by_key(|m| m.hash);
        // Half of the bytes move, at least one entry, and not all.
        let half = self.layout.block_bytes / 2;
        let mut size = 0;
        let mut at = lower.len();
        while at > 1 {
            let len = lower.get(at - 1).map_or(0, |m| needed(m.name.len()));
            if size + len / 2 > half {
                break;
            }
            size += len;
            at -= 1;
        }
        let at = at.min(lower.len().saturating_sub(1)).max(1);
        if at >= lower.len() {
            return Err(BAD);
        }
        let upper = lower.split_off(at);
        let (last, first) = (
            lower.last().ok_or(BAD)?.hash.major,
            upper.first().ok_or(BAD)?.hash.major,
        );
        let hash = first | u32::from(first == last);
        let n = self.append_leaf(raw, &upper)?;
        let (block, _) = self.directory_block(raw, path.leaf)?;
        let end = self.entries_end();
        self.modify(block, self.directory_role(raw), |b| write_leaf(b, end, &lower))?;
        self.put_index_entry(raw, path, path.frames.len() - 1, hash, n)
    }

    /// A new node with entries that were at `from` of another.
    fn new_index_node(&mut self, raw: &mut Raw, from: &[u8]) -> Result<u32, Error> {
        let (n, block) = self.append_block(raw)?;
        let limit = self.index_limit(NODE);
        let count = from.len() / ENTRY;
        if count > limit || count == 0 {
            return Err(BAD);
        }
        self.modify(block, self.directory_role(raw), |b| {
            let bytes = b.len();
            put_u16(b, 4, low16(bytes as u32))?;
            put(b, NODE, from)?;
            // The first entry's hash makes way for the counts.
            put_u16(b, NODE, low16(limit as u32))?;
            put_u16(b, NODE + 2, low16(count as u32))
        })?;
        Ok(n)
    }

    /// Moves the upper half of a full node to a new one; its parent has room.
    fn split_node(&mut self, raw: &mut Raw, path: &Path, level: usize) -> Result<(), Error> {
        let frame = *path.frames.get(level).ok_or(BAD)?;
        let (block, b) = self.directory_block(raw, frame.n)?;
        let half = frame.count / 2;
        if half == 0 {
            return Err(BAD);
        }
        let at = frame.at + half * ENTRY;
        let moved = slice(&b, at, (frame.count - half) * ENTRY)?.to_vec();
        let hash = u32_at(&b, at)?;
        drop(b);
        let n = self.new_index_node(raw, &moved)?;
        self.modify(block, self.directory_role(raw), |b| {
            put_u16(b, frame.at + 2, low16(half as u32))
        })?;
        self.put_index_entry(raw, path, level - 1, hash, n)
    }

    /// Moves the root's entries one level down.
    fn deepen_index(&mut self, raw: &mut Raw, path: &Path) -> Result<(), Error> {
        if path.frames.len() > self.max_levels() {
            return Err(Error::NoSpace);
        }
        let root = *path.frames.first().ok_or(BAD)?;
        let (block, b) = self.directory_block(raw, 0)?;
        let moved = slice(&b, root.at, root.count * ENTRY)?.to_vec();
        drop(b);
        let n = self.new_index_node(raw, &moved)?;
        let levels = low16(path.frames.len() as u32) as u8;
        self.modify(block, self.directory_role(raw), |b| {
            put_u8(b, 30, levels)?;
            put_u16(b, ROOT + 2, 1)?;
            put_u32(b, ROOT + 4, n)
        })
    }
}

/// A directory block has at least room for the longest name beside its checksum.
const _: () = assert!(HEAD + super::NAME_MAX + TAIL < 1024);
