//! Where a host keeps its key and its boards: `client.pem` and `boards.json` in one directory, mode 0600, replaced as a whole.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sis_identity::{Identity, IdentityError, create_private_dir, write_private};
use sis_protocol::pairing::{KeyHash, Role};

/// A board that this host is paired with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PairedBoard {
    /// What the board is called; unique in a store.
    pub name: String,
    /// The hash of its public key.
    pub key: KeyHash,
    /// Where it was last reached first.
    pub addresses: Vec<SocketAddr>,
    /// What this host may do there.
    pub role: Role,
    /// When it was paired, Unix milliseconds.
    #[serde(default)]
    pub paired_ms: u64,
}

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Neither variable is set.
    #[error("there is no place for keys: set SIS_HOME, XDG_CONFIG_HOME or HOME")]
    NoHome,
    /// A file cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The list of boards is damaged.
    #[error("{path} is damaged ({source}): correct it or move it away and pair again", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        source: serde_json::Error,
    },
    /// The key is damaged or cannot be kept.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// No board is paired.
    #[error("no board is paired: run `sisctl pair` with the code that the board's `pair` command shows")]
    NoBoards,
    /// No board of this name.
    #[error("no board called `{name}` is paired; there is: {known}")]
    UnknownBoard {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// More than one board, and none named.
    #[error("more than one board is paired, name one of: {known}")]
    Ambiguous {
        /// What there is.
        known: String,
    },
}

#[derive(Default, Serialize, Deserialize)]
struct BoardsFile {
    version: u32,
    boards: Vec<PairedBoard>,
}

/// A directory of keys.
#[derive(Debug, Clone)]
pub struct Store {
    directory: PathBuf,
}

impl Store {
    /// `$SIS_HOME`, else `$XDG_CONFIG_HOME/sis`, else `$HOME/.config/sis`; made when it is not there.
    ///
    /// # Errors
    /// [`StoreError::NoHome`], [`StoreError::File`].
    pub fn open_default() -> Result<Self, StoreError> {
        let variable = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let directory = variable("SIS_HOME")
            .or_else(|| variable("XDG_CONFIG_HOME").map(|config| config.join("sis")))
            .or_else(|| variable("HOME").map(|home| home.join(".config").join("sis")))
            .ok_or(StoreError::NoHome)?;
        Self::open(&directory)
    }

    /// This directory; made when it is not there.
    ///
    /// # Errors
    /// [`StoreError::File`].
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        create_private_dir(directory).map_err(|source| StoreError::File {
            path: directory.into(),
            source,
        })?;
        Ok(Self {
            directory: directory.into(),
        })
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// This host's key; made at the first call.
    ///
    /// # Errors
    /// [`StoreError::Identity`], [`StoreError::File`].
    pub fn identity(&self) -> Result<Identity, StoreError> {
        // Two first calls at once must not make two keys.
        let _lock = self.lock()?;
        Ok(Identity::load_or_create(&self.directory.join("client.pem"))?)
    }

    /// All boards, by name.
    ///
    /// # Errors
    /// [`StoreError::File`], [`StoreError::Damaged`].
    pub fn boards(&self) -> Result<Vec<PairedBoard>, StoreError> {
        let path = self.boards_path();
        match std::fs::read(&path) {
            Ok(bytes) => match serde_json::from_slice::<BoardsFile>(&bytes) {
                Ok(file) => Ok(file.boards),
                Err(source) => Err(StoreError::Damaged { path, source }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(source) => Err(StoreError::File { path, source }),
        }
    }

    /// The board of this name, or the only one.
    ///
    /// # Errors
    /// [`StoreError::NoBoards`], [`StoreError::UnknownBoard`], [`StoreError::Ambiguous`], and those of [`Self::boards`].
    pub fn board(&self, name: Option<&str>) -> Result<PairedBoard, StoreError> {
        let mut boards = self.boards()?;
        let known = boards
            .iter()
            .map(|board| board.name.as_str())
            .collect::<Vec<_>>()
            .join(", ");
        match name {
            _ if boards.is_empty() => Err(StoreError::NoBoards),
            Some(name) => boards
                .into_iter()
                .find(|board| board.name == name)
                .ok_or_else(|| StoreError::UnknownBoard {
                    name: name.to_owned(),
                    known,
                }),
            None if boards.len() == 1 => Ok(boards.swap_remove(0)),
            None => Err(StoreError::Ambiguous { known }),
        }
    }

    /// Keeps `board` in place of one with the same key or name.
    ///
    /// # Errors
    /// [`StoreError::File`], [`StoreError::Damaged`].
    pub fn save(&self, board: &PairedBoard) -> Result<(), StoreError> {
        self.change(|boards| {
            boards.retain(|other| other.key != board.key && other.name != board.name);
            boards.push(board.clone());
            boards.sort_by(|a, b| a.name.cmp(&b.name));
        })
    }

    /// Forgets the board of this name; whether there was one.
    ///
    /// # Errors
    /// [`StoreError::File`], [`StoreError::Damaged`].
    pub fn remove(&self, name: &str) -> Result<bool, StoreError> {
        let mut was_there = false;
        self.change(|boards| {
            let before = boards.len();
            boards.retain(|board| board.name != name);
            was_there = boards.len() < before;
        })?;
        Ok(was_there)
    }

    fn change(&self, change: impl FnOnce(&mut Vec<PairedBoard>)) -> Result<(), StoreError> {
        let _lock = self.lock()?;
        let mut boards = self.boards()?;
        change(&mut boards);
        let path = self.boards_path();
        let mut bytes = match serde_json::to_vec_pretty(&BoardsFile { version: 1, boards }) {
            Ok(bytes) => bytes,
            Err(source) => return Err(StoreError::Damaged { path, source }),
        };
        bytes.push(b'\n');
        write_private(&path, &bytes).map_err(|source| StoreError::File { path, source })
    }

    fn boards_path(&self) -> PathBuf {
        self.directory.join("boards.json")
    }

    /// Keeps other processes out until it is dropped.
    fn lock(&self) -> Result<File, StoreError> {
        let path = self.directory.join("lock");
        let mut options = File::options();
        options.write(true).create(true).truncate(false);
        let lock = options.open(&path).and_then(|file| file.lock().map(|()| file));
        lock.map_err(|source| StoreError::File { path, source })
    }
}

#[cfg(test)]
mod tests;
