//! What a worker does, from its seed: groups of operations, most of which end with the calls that make them durable.

mod groups;

use crate::op::Op;
use crate::random::Random;
use crate::tree::{Node, Tree};
use std::collections::BTreeMap;

/// An operation and its number; numbers of a worker start at 1 and have no gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its number.
    pub number: u64,
    /// What is done.
    pub op: Op,
}

/// A worker's plan, without end. The same seed and worker make the same plan.
#[derive(Clone, Debug)]
pub struct Plan {
    random: Random,
    tree: Tree,
    sizes: BTreeMap<u32, u64>,
    next_file: u32,
    next_name: u32,
    next_step: u64,
    group: Vec<Step>,
}

impl Plan {
    /// The plan of `worker` in the run with this `seed`.
    #[must_use]
    pub fn new(seed: u64, worker: u32) -> Self {
        let mut random = Random::new(seed);
        for _ in 0..=worker {
            random = Random::new(random.next());
        }
        Self {
            random,
            tree: Tree::default(),
            sizes: BTreeMap::new(),
            next_file: 1,
            next_name: 1,
            next_step: 1,
            group: Vec::new(),
        }
    }

    /// The next operations; never none.
    pub fn next_group(&mut self) -> Vec<Step> {
        while self.group.is_empty() {
            self.choose();
        }
        std::mem::take(&mut self.group)
    }

    /// The names when everything so far is done.
    #[must_use]
    pub const fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Appends an operation to the group.
    fn push(&mut self, op: Op) {
        self.tree.apply(&op);
        let file = |path: &str| self.tree.file(path);
        match &op {
            Op::Create { file, .. } => {
                self.sizes.insert(*file, 0);
            }
            Op::Write { path, offset, length } => {
                if let Some(size) = file(path).and_then(|number| self.sizes.get_mut(&number)) {
                    *size = (*size).max(offset + length);
                }
            }
            Op::Truncate { path, size: new } => {
                if let Some(size) = file(path).and_then(|number| self.sizes.get_mut(&number)) {
                    *size = *new;
                }
            }
            _ => {}
        }
        self.group.push(Step {
            number: self.next_step,
            op,
        });
        self.next_step += 1;
    }

    fn size(&self, path: &str) -> u64 {
        self.tree
            .file(path)
            .and_then(|number| self.sizes.get(&number))
            .copied()
            .unwrap_or(0)
    }

    /// A file that is there, journals and databases left alone.
    fn any_file(&mut self) -> Option<String> {
        let is_ordinary = |path: &&String| !path.starts_with(groups::DATABASE);
        let files: Vec<&String> = self
            .tree
            .0
            .iter()
            .filter(|(_, node)| matches!(node, Node::File(_)))
            .map(|(path, _)| path)
            .filter(is_ordinary)
            .collect();
        self.random.pick(&files).map(|path| (*path).clone())
    }

    /// A directory that is there; the worker's own, the empty path, among them.
    fn any_directory(&mut self) -> String {
        let mut directories = vec![""];
        directories.extend(
            self.tree
                .0
                .iter()
                .filter(|(_, node)| **node == Node::Directory)
                .map(|(path, _)| path.as_str()),
        );
        self.random
            .pick(&directories)
            .map_or_else(String::new, |path| (*path).to_owned())
    }

    /// A name that was never used, in `directory`; some are long, so that directories grow beyond a block.
    fn fresh_name(&mut self, directory: &str) -> String {
        let number = self.next_name;
        self.next_name += 1;
        let padding = if self.random.chance(1, 2) {
            0
        } else {
            self.random.below(180)
        };
        let mut name = if directory.is_empty() {
            format!("n{number}")
        } else {
            format!("{directory}/n{number}")
        };
        name.extend(std::iter::repeat_n('-', padding as usize));
        name
    }

    fn files(&self) -> usize {
        self.tree
            .0
            .values()
            .filter(|node| matches!(node, Node::File(_)))
            .count()
    }
}

#[cfg(test)]
mod tests;
