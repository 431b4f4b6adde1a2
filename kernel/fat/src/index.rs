//! The names of directories that were looked at: they are read once, and kept up to date from then on.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::String;

use crate::directories::At;

/// Names that are kept, of all directories together. What is over is forgotten, and read again when it is wanted.
const NAMES_MAX: usize = 65_536;

/// The names of one directory.
#[derive(Default)]
pub(crate) struct Index {
    /// Where the entries are, by long and short names in small letters.
    places: BTreeMap<String, At>,
    /// Long names, as they are written.
    long: BTreeMap<At, String>,
}

impl Index {
    pub(crate) fn find(&self, name: &str) -> Option<At> {
        self.places.get(&folded(name)).copied()
    }

    pub(crate) fn long(&self, at: At) -> Option<&str> {
        self.long.get(&at).map(String::as_str)
    }

    pub(crate) fn insert(&mut self, at: At, short: &str, long: Option<&str>) {
        // The first of two files of one name is found, as it is in the directory.
        self.places.entry(folded(short)).or_insert(at);
        if let Some(long) = long {
            self.places.entry(folded(long)).or_insert(at);
            self.long.insert(at, long.to_owned());
        }
    }

    pub(crate) fn remove(&mut self, at: At, short: &str) {
        let long = self.long.remove(&at);
        for name in [Some(short), long.as_deref()].into_iter().flatten() {
            let name = folded(name);
            if self.places.get(&name) == Some(&at) {
                self.places.remove(&name);
            }
        }
    }
}

/// Letters of ASCII are the same in both cases, as on Linux where names are UTF-8 (`vfat_cmp`).
fn folded(name: &str) -> String {
    name.to_ascii_lowercase()
}

/// The directories whose names are known, by their first cluster.
#[derive(Default)]
pub(crate) struct Indexes(BTreeMap<u32, Index>);

impl Indexes {
    pub(crate) fn get(&self, directory: u32) -> Option<&Index> {
        self.0.get(&directory)
    }

    pub(crate) fn get_mut(&mut self, directory: u32) -> Option<&mut Index> {
        self.0.get_mut(&directory)
    }

    pub(crate) fn insert(&mut self, directory: u32, index: Index) {
        let count: usize = self.0.values().map(|i| i.places.len()).sum();
        if count + index.places.len() > NAMES_MAX {
            self.0.clear();
        }
        self.0.insert(directory, index);
    }

    pub(crate) fn remove(&mut self, directory: u32) {
        self.0.remove(&directory);
    }
}
