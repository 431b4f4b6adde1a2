//! Taking extents out of a tree, in steps that an operation can hold.

use super::{Entry, Extent, Node, Place};
use crate::inode::Raw;
use crate::volume::Volume;
use crate::{Disk, Error};

const BAD: Error = Error::Corrupt("an extent tree");

/// What one operation may still free.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// Changes of a bitmap and its descriptor.
    pub(crate) groups: u32,
    /// Entries of tables.
    pub(crate) entries: u32,
}

impl Budget {
    /// What one step frees at most; each change of a group dirties two blocks.
    pub(crate) const STEP: Self = Self {
        groups: 24,
        entries: 4096,
    };

    pub(crate) fn is_spent(&self) -> bool {
        self.groups == 0 || self.entries == 0
    }

    pub(crate) fn spend(&mut self, groups: u32) {
        self.groups = self.groups.saturating_sub(groups.max(1));
        self.entries = self.entries.saturating_sub(1);
    }
}

impl<D: Disk> Volume<D> {
    /// Takes an extent that is in the tree as it is out of it; its blocks stay in use.
    pub(crate) fn cut_extent(&mut self, raw: &mut Raw, old: Extent) -> Result<(), Error> {
        self.replace_extent(raw, old.first, |e| {
            (e.first == old.first && e.end() >= old.end()).then_some((None, None))
        })
    }

    /// Replaces the extent at `key` by none, one or two; the first may begin later, the second goes in afterwards.
    fn replace_extent(
        &mut self,
        raw: &mut Raw,
        key: u64,
        replace: impl FnOnce(Extent) -> Option<(Option<Extent>, Option<Extent>)>,
    ) -> Result<(), Error> {
        let path = self.leaf_path(raw, key)?;
        let (leaf, i) = *path.last().ok_or(BAD)?;
        let mut node = self.read_node(raw, leaf, 0)?;
        let slot = node.entries.get_mut(i).ok_or(BAD)?;
        let (first, second) = replace(slot.extent()).ok_or(BAD)?;
        match first {
            Some(e) => *slot = e.into(),
            None => {
                node.entries.remove(i);
            }
        }
        self.write_up(raw, &path, node)?;
        match second {
            Some(e) => self.insert_extent(raw, e),
            None => Ok(()),
        }
    }

    /// Writes a changed leaf: empty nodes are freed, and parents learn of a first key that changed.
    fn write_up(&mut self, raw: &mut Raw, path: &[(Place, usize)], leaf: Node) -> Result<(), Error> {
        let mut node = leaf;
        for (level, (place, _)) in path.iter().enumerate().rev() {
            if node.entries.is_empty() && *place == Place::Root {
                node.depth = 0;
            }
            let parent = level.checked_sub(1).and_then(|up| path.get(up)).copied();
            let Some((parent_place, i)) = parent else {
                self.write_node(raw, *place, &node)?;
                break;
            };
            let mut above = self.read_node(raw, parent_place, node.depth + 1)?;
            if let (Place::Block(block), true) = (*place, node.entries.is_empty()) {
                self.free_run(block, 1, true)?;
                raw.add_blocks(&self.layout, -1)?;
                if i >= above.entries.len() {
                    return Err(BAD);
                }
                above.entries.remove(i);
            } else {
                self.write_node(raw, *place, &node)?;
                let first = node.entries.first().ok_or(BAD)?.key;
                let slot = above.entries.get_mut(i).ok_or(BAD)?;
                if slot.key == first {
                    break;
                }
                slot.key = first;
            }
            node = above;
        }
        self.flatten(raw)
    }

    /// A root with one child whose entries fit takes them.
    fn flatten(&mut self, raw: &mut Raw) -> Result<(), Error> {
        loop {
            let root = Node::parse(raw.map())?;
            let (1, Some(only)) = (root.entries.len(), root.entries.first()) else {
                return Ok(());
            };
            if root.depth == 0 {
                return Ok(());
            }
            let child = self.read_node(raw, Place::Block(only.physical), root.depth - 1)?;
            if child.entries.len() > root.max {
                return Ok(());
            }
            Node { max: root.max, ..child }.write(raw.map_mut())?;
            self.free_run(only.physical, 1, true)?;
            raw.add_blocks(&self.layout, -1)?;
        }
    }

    /// The last extent that reaches into `from..to`.
    fn last_extent(&mut self, raw: &Raw, from: u64, to: u64) -> Result<Option<Extent>, Error> {
        let path = self.leaf_path(raw, to - 1)?;
        let (leaf, i) = *path.last().ok_or(BAD)?;
        let node = self.read_node(raw, leaf, 0)?;
        let found = node.entries.get(i).map(Entry::extent);
        Ok(found.filter(|e| e.end() > from && e.first < to))
    }

    /// Frees what is mapped in `from..to`, from its end on, until the budget is spent. Answers where it stopped; at
    /// `from` all is done.
    pub(crate) fn remove_extents(
        &mut self,
        raw: &mut Raw,
        from: u64,
        to: u64,
        budget: &mut Budget,
    ) -> Result<u64, Error> {
        let mut to = to.min(super::END);
        let metadata = !raw.is_regular();
        while to > from {
            if budget.is_spent() {
                return Ok(to);
            }
            let Some(extent) = self.last_extent(raw, from, to)? else {
                return Ok(from);
            };
            let (mut a, b) = (extent.first.max(from), extent.end().min(to));
            // No more groups than the budget allows.
            let per = u64::from(self.layout.blocks_per_group);
            let most = u64::from(budget.groups) * per;
            a = a.max(b.saturating_sub(most));
            let gone = extent.part(a, b);
            if !self.is_data_run(gone.physical, u64::from(gone.len)) {
                return Err(Error::Corrupt("an extent is not where files may be"));
            }
            self.replace_extent(raw, extent.first, |e| {
                let head = (e.first < a).then(|| e.part(e.first, a));
                let tail = (b < e.end()).then(|| e.part(b, e.end()));
                Some(match head {
                    Some(head) => (Some(head), tail),
                    None => (tail, None),
                })
            })?;
            self.free_run(gone.physical, u64::from(gone.len), metadata)?;
            raw.add_blocks(&self.layout, -i64::from(gone.len))?;
            budget.spend((u64::from(gone.len) / per) as u32 + 1);
            to = a;
        }
        Ok(from)
    }
}
