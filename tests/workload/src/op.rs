//! What a worker does, one system call or a few each.

/// An operation. Paths are relative to the worker's folder; the empty one is the folder itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// open(2) with `O_CREAT | O_EXCL`: file number `file`.
    Create {
        /// Its name.
        path: String,
        /// Its number.
        file: u32,
    },
    /// pwrite(2).
    Write {
        /// To which file.
        path: String,
        /// From which byte on.
        offset: u64,
        /// How many.
        length: u64,
    },
    /// Stores through a shared mapping (mmap(2)), inside the file's size.
    MapWrite {
        /// To which file.
        path: String,
        /// From which byte on.
        offset: u64,
        /// How many.
        length: u64,
    },
    /// truncate(2), down or up.
    Truncate {
        /// Which file.
        path: String,
        /// Its new size in bytes.
        size: u64,
    },
    /// rename(2) of a file or directory, over a file that is there or not.
    Rename {
        /// The old name.
        from: String,
        /// The new name.
        to: String,
    },
    /// link(2).
    Link {
        /// The name that is there.
        from: String,
        /// The name to add.
        to: String,
    },
    /// unlink(2).
    Unlink {
        /// The name.
        path: String,
    },
    /// mkdir(2).
    MakeDirectory {
        /// Its name.
        path: String,
    },
    /// rmdir(2).
    RemoveDirectory {
        /// Its name.
        path: String,
    },
    /// fsync(2) of a file, or fdatasync(2).
    SyncFile {
        /// Which.
        path: String,
        /// fdatasync(2).
        is_data_only: bool,
    },
    /// msync(2) with `MS_SYNC` of what the last [`MapWrite`](Self::MapWrite) has mapped.
    SyncMap {
        /// Which file.
        path: String,
    },
    /// fsync(2) of a directory.
    SyncDirectory {
        /// Which.
        path: String,
    },
    /// sync(2).
    SyncAll,
}

impl Op {
    /// Whether its return is acknowledged.
    #[must_use]
    pub const fn is_sync(&self) -> bool {
        matches!(
            self,
            Self::SyncFile { .. } | Self::SyncMap { .. } | Self::SyncDirectory { .. } | Self::SyncAll
        )
    }

    /// The directories whose entries it changes, at most two; a directory that moves changes itself too (its `..`).
    #[must_use]
    pub fn changed_directories(&self) -> Vec<&str> {
        match self {
            Self::Create { path, .. }
            | Self::Unlink { path }
            | Self::MakeDirectory { path }
            | Self::RemoveDirectory { path } => vec![parent(path)],
            Self::Link { to, .. } => vec![parent(to)],
            Self::Rename { from, to } => vec![parent(from), parent(to)],
            _ => Vec::new(),
        }
    }
}

/// The directory that holds `path`.
pub(crate) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}
