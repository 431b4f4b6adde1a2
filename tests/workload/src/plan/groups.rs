//! The groups: each one way in which programs make what they write durable.

use super::Plan;
use crate::op::{Op, parent};
use crate::tree::Node;

/// Names that begin so belong to the database.
pub(super) const DATABASE: &str = "db";
const JOURNAL: &str = "db-journal";
/// Pages of the database, and their bytes.
const PAGES: u64 = 16;
const PAGE_BYTES: u64 = 4096;
/// As many names at most.
const MAX_FILES: usize = 48;
const MAX_DIRECTORIES: usize = 10;
const MAX_DEPTH: usize = 4;
/// Most files stay below this.
const SMALL_BYTES: u64 = 20_000;
/// No file grows beyond.
const MAX_FILE_BYTES: u64 = 200_000;

impl Plan {
    pub(super) fn choose(&mut self) {
        if self.files() >= MAX_FILES {
            return self.remove();
        }
        match self.random.below(100) {
            0..12 => self.create(),
            12..22 => self.append(),
            22..31 => self.overwrite(),
            31..38 => self.truncate(),
            38..48 => self.replace(),
            48..54 => self.rename(),
            54..58 => self.link(),
            58..64 => self.remove(),
            64..69 => self.make_directory(),
            69..72 => self.remove_directory(),
            72..76 => self.rename_directory(),
            76..83 => self.commit(),
            83..88 => self.map(),
            _ => self.burst(),
        }
    }

    fn sync_file(&mut self, path: &str) {
        let is_data_only = self.random.chance(1, 3);
        self.push(Op::SyncFile {
            path: path.into(),
            is_data_only,
        });
    }

    fn sync_directory(&mut self, path: &str) {
        self.push(Op::SyncDirectory { path: path.into() });
    }

    /// Makes the directory of `path` durable.
    fn sync_parent(&mut self, path: &str) {
        self.sync_directory(parent(path));
    }

    fn length(&mut self) -> u64 {
        match self.random.below(10) {
            0..4 => 1 + self.random.below(300),
            4..9 => 1 + self.random.below(SMALL_BYTES),
            _ => 1 + self.random.below(60_000),
        }
    }

    fn write(&mut self, path: &str, offset: u64, length: u64) {
        self.push(Op::Write {
            path: path.into(),
            offset,
            length,
        });
    }

    /// A new file in some directory, with something in it; not synchronised.
    fn new_file(&mut self, directory: &str) -> String {
        let path = self.fresh_name(directory);
        let file = self.next_file;
        self.next_file += 1;
        self.push(Op::Create {
            path: path.clone(),
            file,
        });
        let length = self.length();
        self.write(&path, 0, length);
        path
    }

    fn create(&mut self) {
        let directory = self.any_directory();
        for _ in 0..=self.random.below(3) {
            let path = self.new_file(&directory);
            self.sync_file(&path);
        }
        self.sync_directory(&directory);
    }

    fn append(&mut self) {
        let Some(path) = self.any_file() else { return };
        for _ in 0..=self.random.below(3) {
            let (offset, length) = (self.size(&path), self.length());
            if offset + length <= MAX_FILE_BYTES {
                self.write(&path, offset, length);
            }
        }
        self.sync_file(&path);
    }

    fn overwrite(&mut self) {
        let Some(path) = self.any_file() else { return };
        for _ in 0..=self.random.below(3) {
            // Sometimes beyond the end, which leaves a hole.
            let offset = self.random.below((self.size(&path) + 3000).min(MAX_FILE_BYTES));
            let length = self.length();
            self.write(&path, offset, length);
        }
        self.sync_file(&path);
    }

    fn truncate(&mut self) {
        let Some(path) = self.any_file() else { return };
        for _ in 0..=self.random.below(2) {
            let limit = (self.size(&path) * 2 + 5000).min(MAX_FILE_BYTES);
            let size = match self.random.below(5) {
                0 => 0,
                1 => self.random.below(limit),
                _ => self.random.below(self.size(&path) + 1),
            };
            self.push(Op::Truncate {
                path: path.clone(),
                size,
            });
            if self.random.chance(1, 3) {
                let (offset, length) = (self.size(&path), self.length());
                self.write(&path, offset, length);
            }
        }
        self.sync_file(&path);
    }

    /// The atomic replacement of a file: all of the new one is durable before it gets the name.
    fn replace(&mut self) {
        let Some(old) = self.any_file() else { return };
        let new = self.new_file(parent(&old).to_owned().as_str());
        self.sync_file(&new);
        self.push(Op::Rename {
            from: new,
            to: old.clone(),
        });
        self.sync_parent(&old);
    }

    /// To a new name or over another file, in the same directory or not.
    fn rename(&mut self) {
        let Some(from) = self.any_file() else { return };
        let to = if self.random.chance(1, 2) {
            let directory = self.any_directory();
            self.fresh_name(&directory)
        } else {
            match self.any_file() {
                // Two names of one file: rename(2) does nothing then.
                Some(other) if self.tree.file(&other) != self.tree.file(&from) => other,
                _ => return,
            }
        };
        self.push(Op::Rename {
            from: from.clone(),
            to: to.clone(),
        });
        self.sync_parent(&to);
        if parent(&from) != parent(&to) {
            self.sync_parent(&from);
        }
    }

    fn link(&mut self) {
        let Some(from) = self.any_file() else { return };
        let directory = self.any_directory();
        let to = self.fresh_name(&directory);
        self.push(Op::Link { from, to: to.clone() });
        self.sync_parent(&to);
    }

    fn remove(&mut self) {
        let mut last = None;
        for _ in 0..=self.random.below(2) {
            let Some(path) = self.any_file() else { break };
            self.push(Op::Unlink { path: path.clone() });
            last = Some(path);
        }
        if let Some(path) = last {
            self.sync_parent(&path);
        }
    }

    fn make_directory(&mut self) {
        let directories = self.tree.0.values().filter(|node| **node == Node::Directory).count();
        let parent = self.any_directory();
        if directories >= MAX_DIRECTORIES || depth(&parent) >= MAX_DEPTH {
            return;
        }
        let path = self.fresh_name(&parent);
        self.push(Op::MakeDirectory { path: path.clone() });
        if self.random.chance(1, 2) {
            let file = self.new_file(&path);
            self.sync_file(&file);
            self.sync_directory(&path);
        }
        self.sync_directory(&parent);
    }

    fn remove_directory(&mut self) {
        let path = self.any_directory();
        if path.is_empty() {
            return;
        }
        let inside = format!("{path}/");
        let names: Vec<(String, Node)> = self
            .tree
            .0
            .iter()
            .filter(|(name, _)| name.starts_with(&inside))
            .map(|(name, node)| (name.clone(), *node))
            .collect();
        // Deepest first.
        for (name, node) in names.into_iter().rev() {
            self.push(match node {
                Node::Directory => Op::RemoveDirectory { path: name },
                Node::File(_) => Op::Unlink { path: name },
            });
        }
        self.push(Op::RemoveDirectory { path: path.clone() });
        self.sync_parent(&path);
    }

    fn rename_directory(&mut self) {
        let (from, into) = (self.any_directory(), self.any_directory());
        let is_inside = into == from || into.starts_with(&format!("{from}/"));
        if from.is_empty() || is_inside || depth(&into) + 1 >= MAX_DEPTH {
            return;
        }
        let to = self.fresh_name(&into);
        self.push(Op::Rename {
            from: from.clone(),
            to: to.clone(),
        });
        self.sync_parent(&to);
        if parent(&from) != parent(&to) {
            self.sync_parent(&from);
        }
    }

    /// A commit with a rollback journal, as SQLite makes it: the old pages into the journal, the journal durable, the
    /// new pages into the database, the database durable, the journal away.
    fn commit(&mut self) {
        if self.tree.file(DATABASE).is_none() {
            let file = self.next_file;
            self.next_file += 1;
            self.push(Op::Create {
                path: DATABASE.into(),
                file,
            });
            self.write(DATABASE, 0, PAGES * PAGE_BYTES);
            self.sync_file(DATABASE);
            self.sync_directory("");
        }
        if self.tree.file(JOURNAL).is_none() {
            let file = self.next_file;
            self.next_file += 1;
            self.push(Op::Create {
                path: JOURNAL.into(),
                file,
            });
        }
        let pages = 1 + self.random.below(4);
        for page in 0..pages {
            self.write(JOURNAL, 512 + page * (PAGE_BYTES + 8), PAGE_BYTES + 8);
        }
        self.sync_file(JOURNAL);
        // The header says that the journal counts, so it comes last.
        self.write(JOURNAL, 0, 512);
        self.sync_file(JOURNAL);
        self.sync_directory("");
        for _ in 0..pages {
            let page = self.random.below(PAGES);
            self.write(DATABASE, page * PAGE_BYTES, PAGE_BYTES);
        }
        self.sync_file(DATABASE);
        if self.random.chance(1, 3) {
            self.push(Op::Truncate {
                path: JOURNAL.into(),
                size: 0,
            });
            self.sync_file(JOURNAL);
        } else {
            self.push(Op::Unlink { path: JOURNAL.into() });
            self.sync_directory("");
        }
    }

    fn map(&mut self) {
        let Some(path) = self.any_file() else { return };
        let size = self.size(&path);
        if size == 0 {
            return;
        }
        let offset = self.random.below(size);
        let length = 1 + self.random.below(size - offset);
        self.push(Op::MapWrite {
            path: path.clone(),
            offset,
            length,
        });
        if self.random.chance(2, 3) {
            self.push(Op::SyncMap { path });
        } else {
            self.sync_file(&path);
        }
    }

    /// Many changes that nothing synchronises, or one sync(2) for all of them.
    fn burst(&mut self) {
        for _ in 0..2 + self.random.below(5) {
            let Some(path) = self.any_file() else { return };
            match self.random.below(6) {
                0 => {
                    let directory = self.any_directory();
                    if self.files() < MAX_FILES {
                        self.new_file(&directory);
                    }
                }
                1 => {
                    let (offset, length) = (self.size(&path), self.length());
                    if offset + length <= MAX_FILE_BYTES {
                        self.write(&path, offset, length);
                    }
                }
                2 => {
                    let offset = self.random.below(self.size(&path) + 1);
                    self.write(&path, offset, 2000);
                }
                3 => {
                    let size = self.random.below(self.size(&path) + 1);
                    self.push(Op::Truncate { path, size });
                }
                4 => {
                    let to = self.fresh_name(parent(&path));
                    self.push(Op::Rename { from: path, to });
                }
                _ => self.push(Op::Unlink { path }),
            }
        }
        if self.random.chance(1, 3) {
            self.push(Op::SyncAll);
        }
    }
}

fn depth(path: &str) -> usize {
    if path.is_empty() {
        0
    } else {
        1 + path.matches('/').count()
    }
}
