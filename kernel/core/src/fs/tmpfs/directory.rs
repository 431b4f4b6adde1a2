//! The entries of a directory: by name, and in the order of a number that getdents64 can come back to.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use hashbrown::HashMap;

use super::node::TmpNode;
use crate::{Errno, Result};

/// The numbers of the first entry; those below are `.` and `..`.
const FIRST: u64 = 2;

/// A directory's entries.
pub(super) struct Entries {
    by_name: HashMap<Arc<[u8]>, u64>,
    by_number: BTreeMap<u64, (Arc<[u8]>, Arc<TmpNode>)>,
    next: u64,
    is_removed: bool,
}

impl Entries {
    pub(super) fn new() -> Self {
        Self {
            by_name: HashMap::new(),
            by_number: BTreeMap::new(),
            next: FIRST,
            is_removed: false,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(super) fn get(&self, name: &[u8]) -> Option<Arc<TmpNode>> {
        let number = self.by_name.get(name)?;
        self.by_number.get(number).map(|(_, node)| node.clone())
    }

    /// Adds an entry; `EEXIST`, and `ENOENT` in a directory that has been removed.
    pub(super) fn insert(&mut self, name: &[u8], node: Arc<TmpNode>) -> Result<()> {
        if self.is_removed {
            return Err(Errno::ENOENT);
        }
        if self.by_name.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        let name: Arc<[u8]> = Arc::from(name);
        let number = self.next;
        self.next += 1;
        self.by_name.insert(name.clone(), number);
        self.by_number.insert(number, (name, node));
        Ok(())
    }

    pub(super) fn remove(&mut self, name: &[u8]) -> Option<Arc<TmpNode>> {
        let number = self.by_name.remove(name)?;
        self.by_number.remove(&number).map(|(_, node)| node)
    }

    /// Puts another file behind a name; the old one.
    pub(super) fn replace(&mut self, name: &[u8], node: Arc<TmpNode>) -> Option<Arc<TmpNode>> {
        let number = self.by_name.get(name)?;
        let entry = self.by_number.get_mut(number)?;
        Some(core::mem::replace(&mut entry.1, node))
    }

    /// Marks the directory as removed; `ENOTEMPTY`.
    pub(super) fn remove_self(&mut self) -> Result<()> {
        if !self.by_name.is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        self.is_removed = true;
        Ok(())
    }

    /// The files of all entries.
    pub(super) fn into_nodes(self) -> alloc::vec::Vec<Arc<TmpNode>> {
        self.by_number.into_values().map(|(_, node)| node).collect()
    }

    /// Up to `most` entries from number `from` on.
    pub(super) fn some_from(&self, from: u64, most: usize) -> alloc::vec::Vec<(u64, Arc<[u8]>, Arc<TmpNode>)> {
        self.by_number
            .range(from.max(FIRST)..)
            .take(most)
            .map(|(n, (name, node))| (*n, name.clone(), node.clone()))
            .collect()
    }
}
