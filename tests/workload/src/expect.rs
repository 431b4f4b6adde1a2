//! What must be there after a cut.

use crate::content::{Author, Content};
use crate::op::Op;
use crate::plan::{Plan, Step};
use crate::tree::{Node, Tree};
use std::collections::BTreeMap;
use std::fmt::Write;

/// What a file's synchronised state was, and what has happened to it since.
#[derive(Clone, Debug)]
pub struct History {
    author: Author,
    /// The last synchronised content, and that after each later change.
    states: Vec<Content>,
    /// Whether the change into the state with this index made the file longer by a write.
    grew: Vec<bool>,
}

impl History {
    fn new(author: Author) -> Self {
        Self {
            author,
            states: vec![Content::default()],
            grew: vec![false],
        }
    }

    fn now(&self) -> Content {
        self.states.last().cloned().unwrap_or_default()
    }

    fn change(&mut self, content: Content, is_write: bool) {
        self.grew.push(is_write && content.size() > self.now().size());
        self.states.push(content);
    }

    fn synchronise(&mut self) {
        self.states = vec![self.now()];
        self.grew = vec![false];
    }

    /// Whether a file may have this content.
    ///
    /// # Errors
    /// What is wrong, in a sentence.
    pub fn check(&self, found: &[u8]) -> Result<(), String> {
        let size = found.len() as u64;
        let may_have = self
            .states
            .iter()
            .zip(&self.grew)
            .enumerate()
            .any(|(index, (state, grew))| {
                let before = index.checked_sub(1).and_then(|index| self.states.get(index));
                let is_between = before.is_some_and(|before| *grew && (before.size()..state.size()).contains(&size));
                state.size() == size || is_between
            });
        if !may_have {
            let sizes: Vec<u64> = self.states.iter().map(Content::size).collect();
            return Err(format!(
                "{size} bytes long, and since it was synchronised it has been {sizes:?}"
            ));
        }
        let states: Vec<Vec<u8>> = self
            .states
            .iter()
            .map(|state| state.bytes(self.author, found.len()))
            .collect();
        let is_right = |at: usize, byte: u8| states.iter().any(|state| state.get(at) == Some(&byte));
        let wrong = found.iter().enumerate().find(|(at, byte)| !is_right(*at, **byte));
        let Some((at, _)) = wrong else { return Ok(()) };
        let count = found
            .iter()
            .enumerate()
            .filter(|(at, byte)| !is_right(*at, **byte))
            .count();
        let line = |bytes: &[u8]| {
            bytes.iter().skip(at).take(8).fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            })
        };
        let wanted: Vec<String> = states.iter().map(|state| line(state)).collect();
        Err(format!(
            "{count} of {size} bytes are nobody's, the first at {at}: {} and not one of {wanted:?}",
            line(found)
        ))
    }
}

/// What was found below a worker's folder, by relative path; directories have no content.
pub type Found = BTreeMap<String, Option<Vec<u8>>>;

/// What may be there.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// The names: one of these trees, the oldest first.
    pub trees: Vec<Tree>,
    /// The content of each file by number.
    pub files: BTreeMap<u32, History>,
}

/// What must be there of `worker` when `acked` was its last acknowledgement and `intended` its last intent (0 for none).
#[must_use]
pub fn expect(seed: u64, worker: u32, acked: u64, intended: u64) -> Expectation {
    let mut plan = Plan::new(seed, worker);
    let mut names = Names::default();
    let mut files: BTreeMap<u32, History> = BTreeMap::new();
    'plan: loop {
        for Step { number, op } in plan.next_group() {
            if number > intended {
                break 'plan;
            }
            if let Op::Create { file, .. } = &op {
                let author = Author {
                    seed,
                    worker,
                    file: *file,
                };
                files.insert(*file, History::new(author));
            }
            let history = match &op {
                Op::Write { path, .. }
                | Op::MapWrite { path, .. }
                | Op::Truncate { path, .. }
                | Op::SyncFile { path, .. }
                | Op::SyncMap { path } => names.now.file(path).and_then(|file| files.get_mut(&file)),
                _ => None,
            };
            let is_acked = number <= acked;
            match (&op, history) {
                (Op::Write { offset, length, .. } | Op::MapWrite { offset, length, .. }, Some(history)) => {
                    history.change(history.now().written(*offset, *length, number), true);
                }
                (Op::Truncate { size, .. }, Some(history)) => history.change(history.now().truncated(*size), false),
                (Op::SyncFile { .. }, Some(history)) if is_acked => history.synchronise(),
                // What was mapped is durable, and nothing else needs to be.
                (Op::SyncMap { .. }, Some(history)) if is_acked && history.states.len() == 2 => history.synchronise(),
                (Op::SyncDirectory { path }, _) if is_acked => names.synchronise(path),
                (Op::SyncAll, _) if is_acked => {
                    names.synchronise_all();
                    files.values_mut().for_each(History::synchronise);
                }
                _ => names.change(&op),
            }
        }
    }
    Expectation {
        trees: names.trees,
        files,
    }
}

/// The names' history since they were last made durable.
#[derive(Debug)]
struct Names {
    now: Tree,
    /// The last durable tree, and that after each later change.
    trees: Vec<Tree>,
    /// What each of those changes changed.
    changed: Vec<Vec<String>>,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            now: Tree::default(),
            trees: vec![Tree::default()],
            changed: vec![Vec::new()],
        }
    }
}

impl Names {
    fn change(&mut self, op: &Op) {
        if self.now.apply(op) {
            self.trees.push(self.now.clone());
            self.changed
                .push(op.changed_directories().into_iter().map(str::to_owned).collect());
        }
    }

    /// The last change of `directory` and, because their order is kept, every one before it.
    fn synchronise(&mut self, directory: &str) {
        let last = self
            .changed
            .iter()
            .rposition(|paths| paths.iter().any(|path| path == directory));
        if let Some(last) = last {
            self.trees.drain(..last);
            self.changed.drain(..last);
            if let Some(first) = self.changed.first_mut() {
                first.clear();
            }
        }
    }

    fn synchronise_all(&mut self) {
        self.trees = vec![self.now.clone()];
        self.changed = vec![Vec::new()];
    }
}

impl Expectation {
    /// Whether what was found is one of the allowed states.
    ///
    /// # Errors
    /// What is wrong against the state that comes closest, a line a fault.
    pub fn check(&self, found: &Found) -> Result<(), Vec<String>> {
        let mut best: Option<Vec<String>> = None;
        for tree in self.trees.iter().rev() {
            let faults = self.faults(tree, found);
            if faults.is_empty() {
                return Ok(());
            }
            if best.as_ref().is_none_or(|best| best.len() > faults.len()) {
                best = Some(faults);
            }
        }
        Err(best.unwrap_or_default())
    }

    fn faults(&self, tree: &Tree, found: &Found) -> Vec<String> {
        let mut faults = Vec::new();
        for (path, node) in &tree.0 {
            let fault = match (node, found.get(path)) {
                (Node::Directory, Some(None)) => None,
                (Node::File(number), Some(Some(bytes))) => match self.files.get(number) {
                    Some(history) => history.check(bytes).err(),
                    None => Some("is a file that was never made".to_owned()),
                },
                (_, None) => Some("is missing".to_owned()),
                (Node::Directory, Some(Some(_))) => Some("is a file and not a directory".to_owned()),
                (Node::File(_), Some(None)) => Some("is a directory and not a file".to_owned()),
            };
            faults.extend(fault.map(|fault| format!("{}: {fault}", short(path))));
        }
        let extra = found.keys().filter(|path| !tree.0.contains_key(*path));
        faults.extend(extra.map(|path| format!("{}: should not be there", short(path))));
        faults
    }
}

/// Long names are padding.
fn short(path: &str) -> String {
    path.split('/')
        .map(|name| name.trim_end_matches('-'))
        .collect::<Vec<_>>()
        .join("/")
}

#[cfg(test)]
mod tests;
