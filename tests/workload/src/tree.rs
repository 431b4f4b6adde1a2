//! Names, and what they are names of.

use crate::op::Op;
use std::collections::BTreeMap;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Directory,
    /// The file with this number.
    File(u32),
}

/// Everything below a worker's folder, by relative path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree(pub BTreeMap<String, Node>);

impl Tree {
    /// The number of the file with this name.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<u32> {
        match self.0.get(path) {
            Some(Node::File(number)) => Some(*number),
            _ => None,
        }
    }

    /// What an operation does to the names; whether it does anything to them.
    pub fn apply(&mut self, op: &Op) -> bool {
        match op {
            Op::Create { path, file } => {
                self.0.insert(path.clone(), Node::File(*file));
            }
            Op::MakeDirectory { path } => {
                self.0.insert(path.clone(), Node::Directory);
            }
            Op::Unlink { path } | Op::RemoveDirectory { path } => {
                self.0.remove(path);
            }
            Op::Link { from, to } => {
                if let Some(node) = self.0.get(from).copied() {
                    self.0.insert(to.clone(), node);
                }
            }
            Op::Rename { from, to } => self.rename(from, to),
            _ => return false,
        }
        true
    }

    fn rename(&mut self, from: &str, to: &str) {
        let inside = format!("{from}/");
        let moved: Vec<String> = self
            .0
            .keys()
            .filter(|path| *path == from || path.starts_with(&inside))
            .cloned()
            .collect();
        for path in moved {
            if let (Some(node), Some(rest)) = (self.0.remove(&path), path.get(from.len()..)) {
                self.0.insert(format!("{to}{rest}"), node);
            }
        }
    }
}
