//! Extent trees (kernel documentation, `filesystems/ext4/ifork.rst`).

use alloc::vec;
use alloc::vec::Vec;

use crate::inode::Raw;
use crate::le::{crc32c, part, put, put16, put32, u16_at, u32_at};
use crate::volume::{Blocks, Volume};
use crate::{Disk, Error};

const MAGIC: u16 = 0xf30a;
const DEPTH_MAX: u16 = 5;
/// Blocks of a written extent at most; an unwritten one has one less.
const LEN_MAX: u32 = 32768;
const BAD: Error = Error::Corrupt("an extent tree");

/// Blocks of a file that follow each other on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// The first block of the file.
    pub(crate) first: u32,
    pub(crate) len: u32,
    pub(crate) start: u64,
    pub(crate) is_unwritten: bool,
}

impl Extent {
    fn end(&self) -> u64 {
        u64::from(self.first) + u64::from(self.len)
    }

    fn most(&self) -> u32 {
        if self.is_unwritten { LEN_MAX - 1 } else { LEN_MAX }
    }

    /// Whether `next` goes on where this ends, in the file and on the disk.
    fn is_followed_by(&self, next: &Self) -> bool {
        self.end() == u64::from(next.first)
            && self.start + u64::from(self.len) == next.start
            && self.is_unwritten == next.is_unwritten
            && self.len + next.len <= self.most()
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Entries {
    Leaf(Vec<Extent>),
    Index(Vec<(u32, u64)>),
}

#[derive(Clone, Debug)]
struct Node {
    depth: u16,
    entries: Entries,
}

impl Node {
    fn len(&self) -> usize {
        match &self.entries {
            Entries::Leaf(e) => e.len(),
            Entries::Index(e) => e.len(),
        }
    }

    fn first(&self) -> Option<u32> {
        match &self.entries {
            Entries::Leaf(e) => e.first().map(|e| e.first),
            Entries::Index(e) => e.first().map(|e| e.0),
        }
    }

    fn parse(bytes: &[u8], room: usize) -> Result<Self, Error> {
        let (magic, count, most, depth) = (
            u16_at(bytes, 0)?,
            usize::from(u16_at(bytes, 2)?),
            usize::from(u16_at(bytes, 4)?),
            u16_at(bytes, 6)?,
        );
        if magic != MAGIC || count > most || most > room || depth > DEPTH_MAX {
            return Err(BAD);
        }
        let at = |i: usize| 12 + 12 * i;
        let mut before: Option<u64> = None;
        if depth > 0 {
            let mut out = Vec::with_capacity(count);
            for i in 0..count {
                let first = u32_at(bytes, at(i))?;
                let block = u64::from(u32_at(bytes, at(i) + 4)?) | u64::from(u16_at(bytes, at(i) + 8)?) << 32;
                if before.is_some_and(|b| b >= u64::from(first)) {
                    return Err(BAD);
                }
                before = Some(u64::from(first));
                out.push((first, block));
            }
            return Ok(Self {
                depth,
                entries: Entries::Index(out),
            });
        }
        let mut out = Vec::with_capacity(count);
        for i in 0..count {
            let len = u32::from(u16_at(bytes, at(i) + 4)?);
            let is_unwritten = len > LEN_MAX;
            let e = Extent {
                first: u32_at(bytes, at(i))?,
                len: if is_unwritten { len - LEN_MAX } else { len },
                start: u64::from(u32_at(bytes, at(i) + 8)?) | u64::from(u16_at(bytes, at(i) + 6)?) << 32,
                is_unwritten,
            };
            if e.len == 0 || before.is_some_and(|b| b > u64::from(e.first)) || e.end() > 1 << 32 {
                return Err(BAD);
            }
            before = Some(e.end());
            out.push(e);
        }
        Ok(Self {
            depth,
            entries: Entries::Leaf(out),
        })
    }

    fn write(&self, bytes: &mut [u8], room: usize) -> Result<(), Error> {
        put16(bytes, 0, MAGIC)?;
        put16(bytes, 2, self.len() as u16)?;
        put16(bytes, 4, room as u16)?;
        put16(bytes, 6, self.depth)?;
        let at = |i: usize| 12 + 12 * i;
        match &self.entries {
            Entries::Index(list) => {
                for (i, (first, block)) in list.iter().enumerate() {
                    put32(bytes, at(i), *first)?;
                    put32(bytes, at(i) + 4, *block as u32)?;
                    put32(bytes, at(i) + 8, (*block >> 32) as u32 & 0xffff)?;
                }
            }
            Entries::Leaf(list) => {
                for (i, e) in list.iter().enumerate() {
                    let len = if e.is_unwritten { e.len + LEN_MAX } else { e.len };
                    put32(bytes, at(i), e.first)?;
                    put16(bytes, at(i) + 4, len as u16)?;
                    put16(bytes, at(i) + 6, (e.start >> 32) as u16)?;
                    put32(bytes, at(i) + 8, e.start as u32)?;
                }
            }
        }
        Ok(())
    }
}

/// The root of a file without blocks.
pub(crate) fn empty_root() -> [u8; 60] {
    let mut out = [0; 60];
    out[0] = 0x0a;
    out[1] = 0xf3;
    out[4] = 4;
    out
}

/// Where a node is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Root,
    Block(u64),
}

impl<D: Disk> Volume<D> {
    fn node_room(&self, at: At) -> usize {
        match at {
            At::Root => 4,
            At::Block(_) => (self.sb.block_bytes - 12) / 12,
        }
    }

    fn node(&mut self, raw: &Raw, at: At, depth: Option<u16>) -> Result<Node, Error> {
        let room = self.node_room(at);
        let node = match at {
            At::Root => Node::parse(raw.map()?, room)?,
            At::Block(block) => {
                let bytes = self.block(block)?;
                if self.sb.has_csum() {
                    let tail = 12 + 12 * usize::from(u16_at(&bytes, 4)?);
                    let want = crc32c(raw.seed(self.sb.seed)?, part(&bytes, 0, tail)?);
                    if want != u32_at(&bytes, tail)? {
                        return Err(Error::Corrupt("the checksum of an extent tree"));
                    }
                }
                Node::parse(&bytes, room)?
            }
        };
        // Each level is one less deep: no tree leads round.
        if depth.is_some_and(|d| d != node.depth) {
            return Err(BAD);
        }
        Ok(node)
    }

    fn put_node(&mut self, raw: &mut Raw, at: At, node: &Node) -> Result<(), Error> {
        let room = self.node_room(at);
        match at {
            At::Root => {
                let mut map = [0; 60];
                node.write(&mut map, room)?;
                raw.put_map(&map)
            }
            At::Block(block) => {
                let mut bytes = vec![0; self.sb.block_bytes];
                node.write(&mut bytes, room)?;
                if self.sb.has_csum() {
                    let tail = 12 + 12 * room;
                    let crc = crc32c(raw.seed(self.sb.seed)?, part(&bytes, 0, tail)?);
                    put(&mut bytes, tail, &crc.to_le_bytes())?;
                }
                self.replace(block, bytes)
            }
        }
    }

    /// The extent that has `block`, or the hole there: how long it is at most.
    pub(crate) fn find_extent(&mut self, raw: &Raw, block: u32) -> Result<Result<Extent, u32>, Error> {
        let mut at = At::Root;
        let mut depth = None;
        let mut limit = u64::from(u32::MAX) + 1;
        loop {
            let node = self.node(raw, at, depth)?;
            match &node.entries {
                Entries::Index(list) => {
                    let i = list.partition_point(|(first, _)| *first <= block);
                    if let Some((next, _)) = list.get(i) {
                        limit = limit.min(u64::from(*next));
                    }
                    let Some((_, child)) = i.checked_sub(1).and_then(|i| list.get(i)) else {
                        return Ok(Err((limit - u64::from(block)).min(u64::from(u32::MAX)) as u32));
                    };
                    at = At::Block(*child);
                    depth = Some(node.depth - 1);
                }
                Entries::Leaf(list) => {
                    let i = list.partition_point(|e| e.first <= block);
                    if let Some(e) = i.checked_sub(1).and_then(|i| list.get(i))
                        && u64::from(block) < e.end()
                    {
                        self.check_extent(e)?;
                        return Ok(Ok(*e));
                    }
                    if let Some(next) = list.get(i) {
                        limit = limit.min(u64::from(next.first));
                    }
                    return Ok(Err((limit - u64::from(block)).min(u64::from(u32::MAX)) as u32));
                }
            }
        }
    }

    fn check_extent(&self, e: &Extent) -> Result<(), Error> {
        if e.start <= self.sb.first_data_block || e.start + u64::from(e.len) > self.sb.blocks {
            return Err(Error::Corrupt("an extent is not on the file system"));
        }
        Ok(())
    }

    /// A block for the tree itself.
    fn take_node(&mut self, raw: &mut Raw, goal: u64) -> Result<u64, Error> {
        let got = self.take_blocks(goal, 1)?;
        self.count_blocks(raw, 1)?;
        Ok(got.start)
    }

    /// Adds an extent whose blocks the file does not have yet.
    pub(crate) fn insert_extent(&mut self, raw: &mut Raw, e: Extent) -> Result<(), Error> {
        let root = self.node(raw, At::Root, None)?;
        let depth = root.depth;
        let Some((key, block)) = self.insert_at(raw, At::Root, depth, e)? else {
            return Ok(());
        };
        // The root is full and was split: its halves go one level down.
        let left = self.node(raw, At::Root, None)?;
        if depth >= DEPTH_MAX {
            return Err(Error::TooLarge);
        }
        let child = self.take_node(raw, e.start)?;
        self.put_node(raw, At::Block(child), &left)?;
        let first = left.first().unwrap_or(0);
        let root = Node {
            depth: depth + 1,
            entries: Entries::Index(vec![(first, child), (key, block)]),
        };
        self.put_node(raw, At::Root, &root)
    }

    /// Adds below `at`; what did not fit is in a new node, answered with its first key.
    fn insert_at(&mut self, raw: &mut Raw, at: At, depth: u16, e: Extent) -> Result<Option<(u32, u64)>, Error> {
        let mut node = self.node(raw, at, Some(depth))?;
        match &mut node.entries {
            Entries::Leaf(list) => {
                let i = list.partition_point(|x| x.first < e.first);
                let next_overlaps = list.get(i).is_some_and(|n| u64::from(n.first) < e.end());
                let before_overlaps = i
                    .checked_sub(1)
                    .and_then(|i| list.get(i))
                    .is_some_and(|b| b.end() > u64::from(e.first));
                if next_overlaps || before_overlaps {
                    return Err(Error::Corrupt("an extent is there already"));
                }
                list.insert(i, e);
                merge_around(list, i);
            }
            Entries::Index(list) => {
                let i = list.partition_point(|(first, _)| *first <= e.first).saturating_sub(1);
                let Some(entry) = list.get_mut(i) else { return Err(BAD) };
                // Before everything: the first key goes down.
                let lowered = e.first < entry.0;
                if lowered {
                    entry.0 = e.first;
                }
                let child = entry.1;
                match self.insert_at(raw, At::Block(child), depth - 1, e)? {
                    Some((key, block)) => {
                        if list.iter().any(|(k, _)| *k == key) {
                            return Err(BAD);
                        }
                        list.insert(i + 1, (key, block));
                    }
                    None if !lowered => return Ok(None),
                    None => {}
                }
            }
        }
        let room = self.node_room(at);
        if node.len() <= room {
            self.put_node(raw, at, &node)?;
            return Ok(None);
        }
        // At the end, as files grow, the left half stays full.
        let is_append = match &node.entries {
            Entries::Leaf(list) => list.last().is_some_and(|l| l.first == e.first),
            Entries::Index(list) => list.last().is_some_and(|l| l.0 <= e.first),
        };
        let middle = if is_append && at != At::Root {
            node.len() - 1
        } else {
            node.len() / 2
        };
        let right = Node {
            depth,
            entries: match &mut node.entries {
                Entries::Leaf(list) => Entries::Leaf(list.split_off(middle)),
                Entries::Index(list) => Entries::Index(list.split_off(middle)),
            },
        };
        let key = right.first().ok_or(BAD)?;
        let block = self.take_node(raw, e.start)?;
        self.put_node(raw, at, &node)?;
        self.put_node(raw, At::Block(block), &right)?;
        Ok(Some((key, block)))
    }

    /// Takes `from..to` out of the tree; what was there. Not the blocks: they are the caller's.
    pub(crate) fn extract_extents(
        &mut self,
        raw: &mut Raw,
        from: u32,
        to: u64,
        most: usize,
    ) -> Result<Vec<Extent>, Error> {
        let mut taken = Vec::new();
        let mut rest = Vec::new();
        let depth = self.node(raw, At::Root, None)?.depth;
        self.extract_at(
            raw,
            At::Root,
            depth,
            (u64::from(from), to),
            most,
            (&mut taken, &mut rest),
        )?;
        let root = self.node(raw, At::Root, None)?;
        if root.len() == 0 && root.depth > 0 {
            raw.put_map(&empty_root())?;
        }
        for e in rest {
            self.insert_extent(raw, e)?;
        }
        Ok(taken)
    }

    /// Whether the node is empty now. From the end backwards, so that what is left after `most` is a beginning.
    fn extract_at(
        &mut self,
        raw: &mut Raw,
        at: At,
        depth: u16,
        (from, to): (u64, u64),
        most: usize,
        out: (&mut Vec<Extent>, &mut Vec<Extent>),
    ) -> Result<bool, Error> {
        let (taken, rest) = out;
        let mut node = self.node(raw, at, Some(depth))?;
        let mut has_changed = false;
        match &mut node.entries {
            Entries::Leaf(list) => {
                let mut i = list.len();
                while i > 0 && taken.len() < most {
                    i -= 1;
                    let Some(e) = list.get(i).copied() else { break };
                    if e.end() <= from {
                        break;
                    }
                    if u64::from(e.first) >= to {
                        continue;
                    }
                    has_changed = true;
                    list.remove(i);
                    let cut_from = from.max(u64::from(e.first));
                    let cut_to = to.min(e.end());
                    let piece = |a: u64, b: u64| Extent {
                        first: a as u32,
                        len: (b - a) as u32,
                        start: e.start + (a - u64::from(e.first)),
                        is_unwritten: e.is_unwritten,
                    };
                    taken.push(piece(cut_from, cut_to));
                    if cut_to < e.end() {
                        rest.push(piece(cut_to, e.end()));
                    }
                    if u64::from(e.first) < cut_from {
                        list.insert(i, piece(u64::from(e.first), cut_from));
                    }
                }
            }
            Entries::Index(list) => {
                let mut i = list.len();
                while i > 0 && taken.len() < most {
                    i -= 1;
                    let Some((first, child)) = list.get(i).copied() else {
                        break;
                    };
                    if u64::from(first) >= to {
                        continue;
                    }
                    if self.extract_at(raw, At::Block(child), depth - 1, (from, to), most, (taken, rest))? {
                        self.free_blocks(Blocks { start: child, len: 1 }, true)?;
                        self.count_blocks(raw, -1)?;
                        list.remove(i);
                        has_changed = true;
                    }
                    if u64::from(first) <= from {
                        break;
                    }
                }
            }
        }
        let is_empty = node.len() == 0;
        if has_changed && (!is_empty || at == At::Root) {
            if at == At::Root && is_empty {
                node = Node {
                    depth: 0,
                    entries: Entries::Leaf(Vec::new()),
                };
            }
            self.put_node(raw, at, &node)?;
        }
        Ok(is_empty)
    }
}

fn merge_around(list: &mut Vec<Extent>, i: usize) {
    if let (Some(a), Some(b)) = (list.get(i).copied(), list.get(i + 1).copied())
        && a.is_followed_by(&b)
    {
        if let Some(x) = list.get_mut(i) {
            x.len += b.len;
        }
        list.remove(i + 1);
    }
    if let Some(before) = i.checked_sub(1)
        && let (Some(a), Some(b)) = (list.get(before).copied(), list.get(i).copied())
        && a.is_followed_by(&b)
    {
        if let Some(x) = list.get_mut(before) {
            x.len += b.len;
        }
        list.remove(i);
    }
}
