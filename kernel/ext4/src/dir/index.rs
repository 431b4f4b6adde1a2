//! A directory's index: a tree of hashes in the directory's own blocks (htree).
//!
//! Block 0 is the root, below it up to two levels of *nodes* (three with `large_dir`), then *leaves*, blocks of entries. An
//! index entry is the least hash of what is below it; the first of each node has none and stands for everything less.

use alloc::vec::Vec;

use super::Position;
use super::hash::{Hash, Hasher};
use crate::bytes::{slice, u8_at, u16_at, u32_at};
use crate::crc::crc32c;
use crate::features::incompat;
use crate::inode::Raw;
use crate::volume::Volume;
use crate::{Disk, Error};

/// Where the root's entries are, after the entries of the directory itself and of its parent, and the index's header.
pub(crate) const ROOT: usize = 32;
/// Where a node's entries are.
pub(crate) const NODE: usize = 8;
pub(crate) const ENTRY: usize = 8;

const BAD: Error = Error::Corrupt("index of a directory");

/// Where the entries of an index block are, told from the block itself.
pub(crate) fn entries_at(b: &[u8]) -> Result<usize, Error> {
    let len = usize::from(u16_at(b, 4)?);
    if len == b.len() {
        return Ok(NODE);
    }
    let is_root = len == 12 && usize::from(u16_at(b, 16)?) == b.len() - 12 && u8_at(b, 29)? == 8;
    if is_root { Ok(ROOT) } else { Err(BAD) }
}

/// Entries there may be and are.
pub(crate) fn limit_and_count(b: &[u8], at: usize) -> Result<(usize, usize), Error> {
    let (limit, count) = (usize::from(u16_at(b, at)?), usize::from(u16_at(b, at + 2)?));
    if count == 0 || count > limit || at + limit * ENTRY > b.len() {
        return Err(BAD);
    }
    Ok((limit, count))
}

/// Where the checksum of an index block is, and what it has to be.
pub(crate) fn checksum(b: &[u8], seed: u32) -> Result<(usize, u32), Error> {
    let at = entries_at(b)?;
    let (limit, count) = limit_and_count(b, at)?;
    let tail = at + limit * ENTRY;
    let sum = crc32c(seed, slice(b, 0, at + count * ENTRY)?);
    let sum = crc32c(sum, slice(b, tail, 4)?);
    Ok((tail + 4, crc32c(sum, &[0; 4])))
}

/// Entry `i`: the least hash below it, and its block of the directory.
pub(crate) fn entry(b: &[u8], at: usize, i: usize) -> Result<(u32, u32), Error> {
    let hash = if i == 0 { 0 } else { u32_at(b, at + i * ENTRY)? };
    Ok((hash, u32_at(b, at + i * ENTRY + 4)? & 0x0fff_ffff))
}

/// One step of the way down.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    /// The index block's number in the directory.
    pub(crate) n: u32,
    /// Where its entries are.
    pub(crate) at: usize,
    pub(crate) limit: usize,
    pub(crate) count: usize,
    /// The entry taken.
    pub(crate) i: usize,
}

/// The way to a leaf.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    pub(crate) frames: Vec<Frame>,
    pub(crate) leaf: u32,
    pub(crate) hasher: Hasher,
}

impl<D: Disk> Volume<D> {
    /// Levels of nodes a directory may have below its root.
    pub(crate) fn max_levels(&self) -> usize {
        if self.layout.incompat & incompat::LARGEDIR != 0 {
            2
        } else {
            1
        }
    }

    pub(crate) fn hasher(&self, version: u8) -> Hasher {
        // Versions from 3 on are the same three with unsigned bytes, which on the disk is a flag of the superblock.
        let (version, is_unsigned) = match version {
            3..=5 => (version - 3, true),
            v => (v, self.layout.is_hash_unsigned),
        };
        Hasher {
            version,
            is_unsigned,
            seed: self.layout.hash_seed,
        }
    }

    fn frame(&mut self, raw: &Raw, n: u32, is_root: bool, hash: Option<u32>) -> Result<(Frame, u32), Error> {
        let (_, b) = self.directory_block(raw, n)?;
        let at = entries_at(&b)?;
        if (at == ROOT) != is_root {
            return Err(BAD);
        }
        let (limit, count) = limit_and_count(&b, at)?;
        let (mut low, mut high) = (1, count);
        if let Some(hash) = hash {
            while low < high {
                let mid = low.midpoint(high);
                if entry(&b, at, mid)?.0 <= hash {
                    low = mid + 1;
                } else {
                    high = mid;
                }
            }
        }
        let i = low - 1;
        let (_, block) = entry(&b, at, i)?;
        let frame = Frame { n, at, limit, count, i };
        Ok((frame, block))
    }

    /// How an indexed directory's names are hashed, and the levels of nodes below its root.
    pub(crate) fn index_header(&mut self, raw: &Raw) -> Result<(Hasher, usize), Error> {
        let (_, b) = self.directory_block(raw, 0)?;
        if entries_at(&b)? != ROOT {
            return Err(BAD);
        }
        let levels = usize::from(u8_at(&b, 30)?);
        if levels > self.max_levels() {
            return Err(Error::Corrupt("depth of a directory's index"));
        }
        Ok((self.hasher(u8_at(&b, 28)?), levels))
    }

    /// The way to the leaf where `hash` belongs.
    pub(crate) fn probe(&mut self, raw: &Raw, hash: u32) -> Result<Path, Error> {
        let (hasher, levels) = self.index_header(raw)?;
        let mut frames = Vec::with_capacity(levels + 1);
        let mut n = 0;
        for level in 0..=levels {
            let (frame, below) = self.frame(raw, n, level == 0, Some(hash))?;
            frames.push(frame);
            n = below;
        }
        Ok(Path {
            frames,
            leaf: n,
            hasher,
        })
    }

    /// Goes to the next leaf; answers its least hash, or `None` at the end.
    pub(crate) fn next_leaf(&mut self, raw: &Raw, path: &mut Path) -> Result<Option<u32>, Error> {
        let depth = path.frames.len();
        let Some(level) = path.frames.iter().rposition(|f| f.i + 1 < f.count) else {
            return Ok(None);
        };
        path.frames.truncate(level + 1);
        let Some(frame) = path.frames.last_mut() else {
            return Ok(None);
        };
        frame.i += 1;
        let frame = *frame;
        let (_, b) = self.directory_block(raw, frame.n)?;
        let (hash, mut n) = entry(&b, frame.at, frame.i)?;
        for _ in level + 1..depth {
            let (frame, below) = self.frame(raw, n, false, None)?;
            // Without a hash to look for, the first entry is taken.
            path.frames.push(Frame { i: 0, ..frame });
            let (_, b) = self.directory_block(raw, n)?;
            n = entry(&b, frame.at, 0)?.1;
            let _ = below;
        }
        path.leaf = n;
        Ok(Some(hash))
    }

    pub(crate) fn name_hash(hasher: Hasher, name: &[u8]) -> Result<Hash, Error> {
        hasher.hash(name).ok_or(Error::Corrupt("hash of a directory's index"))
    }

    pub(crate) fn find_indexed(&mut self, raw: &Raw, name: &[u8]) -> Result<Option<Position>, Error> {
        let (hasher, _) = self.index_header(raw)?;
        let hash = Self::name_hash(hasher, name)?.major;
        let mut path = self.probe(raw, hash)?;
        // Leaves that go on with the same hash; a directory has at most as many as it has blocks.
        for _ in 0..self.directory_blocks(raw)? {
            let (block, b) = self.directory_block(raw, path.leaf)?;
            if let Some(found) = self.search_block(block, &b, name)? {
                return Ok(Some(found));
            }
            match self.next_leaf(raw, &mut path)? {
                Some(next) if next & 1 == 1 && next & !1 == hash => {}
                _ => return Ok(None),
            }
        }
        Err(BAD)
    }
}
