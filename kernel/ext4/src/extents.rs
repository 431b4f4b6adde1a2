//! Extent trees: the map of a file's blocks to the disk's.
//!
//! A *node* is a header and entries, sorted by the file's blocks. The root is in the inode, the others are blocks. Entries
//! of nodes of depth 0, *leaves*, are extents; those of the others name a child and the first file block below it.

use alloc::vec::Vec;

use crate::bytes::{low16, low32, put_u16, put_u32, slice, slice_mut, u16_at, u32_at};
use crate::cache::Role;
use crate::crc::crc32c;
use crate::inode::Raw;
use crate::journal::Content;
use crate::types::{Mapping, State};
use crate::volume::Volume;
use crate::{Disk, Error};

pub(crate) mod change;
pub(crate) mod remove;

const MAGIC: u16 = 0xf30a;
pub(crate) const HEADER: usize = 12;
pub(crate) const ENTRY: usize = 12;
/// Levels below the root, as Linux has it.
pub(crate) const MAX_DEPTH: u16 = 5;
/// Blocks of a written extent; longer ones are unwritten, by this less.
pub(crate) const MAX_WRITTEN: u32 = 32768;
/// Blocks of an unwritten extent.
pub(crate) const MAX_UNWRITTEN: u32 = 32767;
/// One past the last block a file can have.
pub(crate) const END: u64 = u32::MAX as u64;

/// A run of a file's blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) first: u64,
    pub(crate) len: u32,
    pub(crate) physical: u64,
    pub(crate) is_written: bool,
}

impl Extent {
    pub(crate) fn end(&self) -> u64 {
        self.first + u64::from(self.len)
    }

    pub(crate) fn limit(&self) -> u32 {
        if self.is_written { MAX_WRITTEN } else { MAX_UNWRITTEN }
    }

    /// One extent of both, if they are one run.
    pub(crate) fn joined(&self, next: &Self) -> Option<Self> {
        let fits = self.is_written == next.is_written
            && self.end() == next.first
            && self.physical + u64::from(self.len) == next.physical
            && self.len + next.len <= self.limit();
        fits.then_some(Self {
            len: self.len + next.len,
            ..*self
        })
    }

    /// The part from `from` to `to`, both within.
    pub(crate) fn part(&self, from: u64, to: u64) -> Self {
        Self {
            first: from,
            len: low32(to.saturating_sub(from)),
            physical: self.physical + from.saturating_sub(self.first),
            is_written: self.is_written,
        }
    }
}

/// Where a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Root,
    Block(u64),
}

/// An entry of any node: of an extent, `len` is as stored; of a child it is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: u32,
    pub(crate) len: u16,
    pub(crate) physical: u64,
}

impl Entry {
    pub(crate) fn extent(&self) -> Extent {
        let len = u32::from(self.len);
        let is_written = len <= MAX_WRITTEN;
        Extent {
            first: u64::from(self.key),
            len: if is_written { len } else { len - MAX_WRITTEN },
            physical: self.physical,
            is_written,
        }
    }
}

impl From<Extent> for Entry {
    fn from(e: Extent) -> Self {
        let len = if e.is_written { e.len } else { e.len + MAX_WRITTEN };
        Self {
            key: low32(e.first),
            len: low16(len),
            physical: e.physical,
        }
    }
}

/// A node's header, checked against the space it is in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) count: usize,
    pub(crate) max: usize,
    pub(crate) depth: u16,
}

pub(crate) fn header(b: &[u8]) -> Result<Header, Error> {
    let (count, max) = (usize::from(u16_at(b, 2)?), usize::from(u16_at(b, 4)?));
    let depth = u16_at(b, 6)?;
    let room = b.len().saturating_sub(HEADER) / ENTRY;
    if u16_at(b, 0)? != MAGIC || max == 0 || max > room || count > max || depth > MAX_DEPTH {
        return Err(Error::Corrupt("header of an extent node"));
    }
    if count == 0 && depth > 0 {
        return Err(Error::Corrupt("an extent node without children"));
    }
    Ok(Header { count, max, depth })
}

pub(crate) fn entry(b: &[u8], depth: u16, i: usize) -> Result<Entry, Error> {
    let e = slice(b, HEADER + i * ENTRY, ENTRY)?;
    let key = u32_at(e, 0)?;
    Ok(if depth == 0 {
        Entry {
            key,
            len: u16_at(e, 4)?,
            physical: u64::from(u16_at(e, 6)?) << 32 | u64::from(u32_at(e, 8)?),
        }
    } else {
        Entry {
            key,
            len: 0,
            physical: u64::from(u32_at(e, 4)?) | u64::from(u16_at(e, 8)?) << 32,
        }
    })
}

/// Checks the order of a node's entries; whether they are data, only the volume knows.
fn verify_order(b: &[u8]) -> Result<(), Error> {
    let h = header(b)?;
    let mut end = 0;
    for i in 0..h.count {
        let e = entry(b, h.depth, i)?;
        if u64::from(e.key) < end {
            return Err(Error::Corrupt("order of an extent node"));
        }
        end = if h.depth == 0 {
            let extent = e.extent();
            if extent.len == 0 || extent.end() > END {
                return Err(Error::Corrupt("length of an extent"));
            }
            extent.end()
        } else {
            u64::from(e.key) + 1
        };
    }
    Ok(())
}

fn tail(b: &[u8]) -> Result<usize, Error> {
    Ok(HEADER + header(b)?.max * ENTRY)
}

/// Checks a block that is a node.
pub(crate) fn verify_block(b: &[u8], seed: Option<u32>) -> Result<(), Error> {
    verify_order(b)?;
    if let Some(seed) = seed {
        let at = tail(b)?;
        if crc32c(seed, slice(b, 0, at)?) != u32_at(b, at)? {
            return Err(Error::Corrupt("checksum of an extent node"));
        }
    }
    Ok(())
}

/// Writes the checksum of a block that is a node.
pub(crate) fn seal_block(b: &mut [u8], seed: u32) -> Result<(), Error> {
    let at = tail(b)?;
    let sum = crc32c(seed, slice(b, 0, at)?);
    put_u32(b, at, sum)
}

/// The last entry whose key is at most `key`.
pub(crate) fn search(b: &[u8], h: &Header, key: u64) -> Result<Option<usize>, Error> {
    let (mut low, mut high) = (0, h.count);
    while low < high {
        let mid = low.midpoint(high);
        if u64::from(entry(b, h.depth, mid)?.key) <= key {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    Ok(low.checked_sub(1))
}

/// A node in memory, to be changed and written back.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) depth: u16,
    pub(crate) max: usize,
    pub(crate) entries: Vec<Entry>,
}

impl Node {
    pub(crate) fn parse(b: &[u8]) -> Result<Self, Error> {
        let h = header(b)?;
        let entries = (0..h.count).map(|i| entry(b, h.depth, i)).collect::<Result<_, _>>()?;
        Ok(Self {
            depth: h.depth,
            max: h.max,
            entries,
        })
    }

    pub(crate) fn write(&self, b: &mut [u8]) -> Result<(), Error> {
        if self.entries.len() > self.max {
            return Err(Error::Corrupt("too many entries for an extent node"));
        }
        put_u16(b, 0, MAGIC)?;
        put_u16(b, 2, low16(self.entries.len() as u32))?;
        put_u16(b, 4, low16(self.max as u32))?;
        put_u16(b, 6, self.depth)?;
        for (i, e) in self.entries.iter().enumerate() {
            let at = slice_mut(b, HEADER + i * ENTRY, ENTRY)?;
            put_u32(at, 0, e.key)?;
            let high = low16(low32(e.physical >> 32));
            if self.depth == 0 {
                put_u16(at, 4, e.len)?;
                put_u16(at, 6, high)?;
                put_u32(at, 8, low32(e.physical))?;
            } else {
                put_u32(at, 4, low32(e.physical))?;
                put_u16(at, 8, high)?;
                put_u16(at, 10, 0)?;
            }
        }
        Ok(())
    }
}

/// An empty tree for a new inode.
pub(crate) fn write_empty_root(map: &mut [u8]) -> Result<(), Error> {
    map.fill(0);
    let max = map.len().saturating_sub(HEADER) / ENTRY;
    Node {
        depth: 0,
        max,
        entries: Vec::new(),
    }
    .write(map)
}

/// What is at a file block: an extent, or the hole up to the next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Found {
    Extent(Extent),
    /// Up to here.
    Hole(u64),
}

impl<D: Disk> Volume<D> {
    pub(crate) fn extent_block(&mut self, raw: &Raw, block: u64, depth: u16) -> Result<Content, Error> {
        if !self.is_data_run(block, 1) {
            return Err(Error::Corrupt("an extent node is not where files may be"));
        }
        let seed = raw.seed(&self.layout);
        let content = self.block(block, Role::Extents(seed))?;
        if header(&content)?.depth != depth {
            return Err(Error::Corrupt("depth of an extent node"));
        }
        Ok(content)
    }

    /// What is at file block `at`.
    pub(crate) fn find_extent(&mut self, raw: &Raw, at: u64) -> Result<Found, Error> {
        verify_order(raw.map())?;
        let mut h = header(raw.map())?;
        let mut next = END;
        let mut content: Option<Content> = None;
        let mut floor = 0;
        loop {
            let b: &[u8] = match &content {
                Some(c) => c,
                None => raw.map(),
            };
            let found = search(b, &h, at)?;
            let after = found.map_or(0, |i| i + 1);
            if after < h.count {
                next = next.min(u64::from(entry(b, h.depth, after)?.key));
            }
            let Some(i) = found else { return Ok(Found::Hole(next)) };
            let e = entry(b, h.depth, i)?;
            if u64::from(e.key) < floor {
                return Err(Error::Corrupt("an extent is not below its parent"));
            }
            floor = u64::from(e.key);
            if h.depth == 0 {
                let extent = e.extent();
                if !self.is_data_run(extent.physical, u64::from(extent.len)) {
                    return Err(Error::Corrupt("an extent is not where files may be"));
                }
                if extent.end() <= at {
                    return Ok(Found::Hole(next.max(at + 1)));
                }
                // An extent that reaches beyond what its parent gives it is cut there.
                let end = extent.end().min(next);
                return Ok(Found::Extent(extent.part(extent.first, end.max(at + 1))));
            }
            let depth = h.depth - 1;
            let child = self.extent_block(raw, e.physical, depth)?;
            h = header(&child)?;
            content = Some(child);
        }
    }

    pub(crate) fn map_extents(&mut self, raw: &Raw, first: u64, count: u64) -> Result<Mapping, Error> {
        Ok(match self.find_extent(raw, first)? {
            Found::Hole(end) => Mapping {
                first,
                len: count.min(end.saturating_sub(first)).max(1),
                physical: 0,
                state: State::Hole,
            },
            Found::Extent(e) => Mapping {
                first,
                len: count.min(e.end().saturating_sub(first)).max(1),
                physical: e.physical + first.saturating_sub(e.first),
                state: if e.is_written { State::Written } else { State::Unwritten },
            },
        })
    }
}
