//! Putting extents into a tree.

use alloc::vec::Vec;

use super::{ENTRY, Entry, Extent, HEADER, MAX_DEPTH, Node, Place, header, search};
use crate::cache::Role;
use crate::inode::Raw;
use crate::volume::Volume;
use crate::{Disk, Error};

const BAD: Error = Error::Corrupt("an extent tree");

/// What became of an insertion below a node.
enum Below {
    Done,
    /// The child was split: the new one, and the first file block below it.
    Split(Entry),
}

impl<D: Disk> Volume<D> {
    pub(crate) fn read_node(&mut self, raw: &Raw, place: Place, depth: u16) -> Result<Node, Error> {
        match place {
            Place::Root => Node::parse(raw.map()),
            Place::Block(block) => {
                let b = self.extent_block(raw, block, depth)?;
                Node::parse(&b)
            }
        }
    }

    pub(crate) fn write_node(&mut self, raw: &mut Raw, place: Place, node: &Node) -> Result<(), Error> {
        match place {
            Place::Root => node.write(raw.map_mut()),
            Place::Block(block) => {
                let role = Role::Extents(raw.seed(&self.layout));
                self.modify(block, role, |b| node.write(b))
            }
        }
    }

    /// A block that will be a node.
    fn new_node(&mut self, raw: &mut Raw, node: &Node) -> Result<u64, Error> {
        let goal = node.entries.first().map_or(0, |e| e.physical);
        let block = self.take_block(goal)?;
        raw.add_blocks(&self.layout, 1)?;
        self.fresh(block, Role::Extents(raw.seed(&self.layout)))?;
        self.write_node(raw, Place::Block(block), node)?;
        Ok(block)
    }

    /// Entries a block has room for, its checksum left out.
    fn node_max(&self) -> usize {
        (self.layout.block_bytes - HEADER - 4) / ENTRY
    }

    /// Moves the root's entries one level down.
    fn deepen(&mut self, raw: &mut Raw) -> Result<(), Error> {
        let mut root = Node::parse(raw.map())?;
        if root.depth >= MAX_DEPTH {
            return Err(Error::NoSpace);
        }
        let first = root.entries.first().ok_or(BAD)?.key;
        let child = Node {
            max: self.node_max(),
            ..root.clone()
        };
        let block = self.new_node(raw, &child)?;
        root.depth += 1;
        root.entries = Vec::from([Entry {
            key: first,
            len: 0,
            physical: block,
        }]);
        root.write(raw.map_mut())
    }

    /// Puts an entry at `i` of a node; a full one is split, and `Split` names the new half.
    fn put_entry(&mut self, raw: &mut Raw, place: Place, node: &mut Node, i: usize, e: Entry) -> Result<Below, Error> {
        if node.entries.len() < node.max {
            node.entries.insert(i.min(node.entries.len()), e);
            self.write_node(raw, place, node)?;
            return Ok(Below::Done);
        }
        // What is added at the end leaves the full node as it is: files mostly grow there.
        let at = if i >= node.entries.len() {
            i
        } else {
            node.entries.len() / 2
        };
        let mut upper = Node {
            entries: node.entries.split_off(at.min(node.entries.len())),
            max: self.node_max(),
            depth: node.depth,
        };
        if i >= at {
            upper.entries.insert((i - at).min(upper.entries.len()), e);
        } else {
            node.entries.insert(i, e);
        }
        let key = upper.entries.first().ok_or(BAD)?.key;
        let block = self.new_node(raw, &upper)?;
        self.write_node(raw, place, node)?;
        Ok(Below::Split(Entry {
            key,
            len: 0,
            physical: block,
        }))
    }

    /// Puts an extent below a node.
    fn insert_below(&mut self, raw: &mut Raw, place: Place, depth: u16, extent: Extent) -> Result<Below, Error> {
        let mut node = self.read_node(raw, place, depth)?;
        let key = extent.first;
        let at = node.entries.partition_point(|e| u64::from(e.key) <= key);
        if depth == 0 {
            return self.insert_in_leaf(raw, place, &mut node, at, extent);
        }
        let i = at.saturating_sub(1);
        let child = node.entries.get_mut(i).ok_or(BAD)?;
        if key < u64::from(child.key) {
            child.key = crate::bytes::low32(key);
            self.write_node(raw, place, &node)?;
        }
        let below = node.entries.get(i).ok_or(BAD)?.physical;
        match self.insert_below(raw, Place::Block(below), depth - 1, extent)? {
            Below::Done => Ok(Below::Done),
            Below::Split(e) if place == Place::Root && node.entries.len() >= node.max => {
                self.deepen(raw)?;
                let root = Node::parse(raw.map())?;
                let place = Place::Block(root.entries.first().ok_or(BAD)?.physical);
                let mut node = self.read_node(raw, place, depth)?;
                self.put_entry(raw, place, &mut node, i + 1, e)
            }
            Below::Split(e) => self.put_entry(raw, place, &mut node, i + 1, e),
        }
    }

    fn insert_in_leaf(
        &mut self,
        raw: &mut Raw,
        place: Place,
        node: &mut Node,
        at: usize,
        extent: Extent,
    ) -> Result<Below, Error> {
        let before = at.checked_sub(1).and_then(|i| node.entries.get(i)).map(Entry::extent);
        let after = node.entries.get(at).map(Entry::extent);
        if before.is_some_and(|b| b.end() > extent.first) || after.is_some_and(|a| a.first < extent.end()) {
            return Err(Error::Corrupt("extents of one file overlap"));
        }
        if let Some(joined) = before.and_then(|b| b.joined(&extent)) {
            let joined_both = after.and_then(|a| joined.joined(&a));
            if let Some(slot) = node.entries.get_mut(at - 1) {
                *slot = joined_both.unwrap_or(joined).into();
            }
            if joined_both.is_some() {
                node.entries.remove(at);
            }
            self.write_node(raw, place, node)?;
            return Ok(Below::Done);
        }
        // An extent that would begin earlier changes its parent's key, which the way down has done.
        if let Some(joined) = after.and_then(|a| extent.joined(&a))
            && let Some(slot) = node.entries.get_mut(at)
        {
            *slot = joined.into();
            self.write_node(raw, place, node)?;
            return Ok(Below::Done);
        }
        if place == Place::Root && node.entries.len() >= node.max {
            self.deepen(raw)?;
            let root = Node::parse(raw.map())?;
            let place = Place::Block(root.entries.first().ok_or(BAD)?.physical);
            let mut below = self.read_node(raw, place, 0)?;
            let done = self.put_entry(raw, place, &mut below, at, extent.into())?;
            let mut root = Node::parse(raw.map())?;
            if let Some(first) = root.entries.first_mut() {
                first.key = first.key.min(crate::bytes::low32(extent.first));
            }
            root.write(raw.map_mut())?;
            return Ok(done);
        }
        self.put_entry(raw, place, node, at, extent.into())
    }

    /// Puts an extent where the file has a hole. Neighbours of the same run become one.
    pub(crate) fn insert_extent(&mut self, raw: &mut Raw, extent: Extent) -> Result<(), Error> {
        let h = header(raw.map())?;
        match self.insert_below(raw, Place::Root, h.depth, extent)? {
            Below::Done => Ok(()),
            // A root that is full is made deeper before it would split.
            Below::Split(_) => Err(BAD),
        }
    }

    /// Makes the extents in `from..to` written or unwritten. Holes stay.
    pub(crate) fn convert_extents(&mut self, raw: &mut Raw, from: u64, to: u64, written: bool) -> Result<(), Error> {
        let mut at = from;
        while at < to {
            let next = match self.find_extent(raw, at)? {
                super::Found::Hole(end) => end,
                super::Found::Extent(e) => {
                    if e.is_written != written {
                        self.convert_one(raw, e, at, e.end().min(to), written)?;
                    }
                    e.end()
                }
            };
            at = next.max(at + 1);
        }
        Ok(())
    }

    /// Changes the part `from..to` of one extent.
    fn convert_one(&mut self, raw: &mut Raw, old: Extent, from: u64, to: u64, written: bool) -> Result<(), Error> {
        let middle = Extent {
            is_written: written,
            ..old.part(from, to)
        };
        if middle.len > middle.limit() {
            // Only a written extent of the greatest length: it is made unwritten in two parts.
            let half = from + u64::from(middle.len / 2);
            self.convert_one(raw, old, from, half, written)?;
            return self.convert_one(raw, old.part(half, old.end()), half, to, written);
        }
        let mut pieces = Vec::with_capacity(3);
        if old.first < from {
            pieces.push(old.part(old.first, from));
        }
        pieces.push(middle);
        if to < old.end() {
            pieces.push(old.part(to, old.end()));
        }
        // The extent makes way for its parts; all of it is one operation.
        self.cut_extent(raw, old)?;
        for piece in pieces {
            self.insert_extent(raw, piece)?;
        }
        Ok(())
    }

    /// The leaf that has `key`, and the nodes above it with the entries taken.
    pub(crate) fn leaf_path(&mut self, raw: &Raw, key: u64) -> Result<Vec<(Place, usize)>, Error> {
        let mut path = Vec::new();
        let mut place = Place::Root;
        let mut h = header(raw.map())?;
        loop {
            let depth = h.depth;
            let block;
            let b: &[u8] = match place {
                Place::Root => raw.map(),
                Place::Block(n) => {
                    block = self.extent_block(raw, n, depth)?;
                    &block
                }
            };
            let i = search(b, &h, key)?;
            if depth == 0 {
                path.push((place, i.map_or(usize::MAX, |i| i)));
                return Ok(path);
            }
            let i = i.unwrap_or(0);
            path.push((place, i));
            let child = super::entry(b, depth, i)?.physical;
            let child_block = self.extent_block(raw, child, depth - 1)?;
            h = header(&child_block)?;
            place = Place::Block(child);
        }
    }
}
