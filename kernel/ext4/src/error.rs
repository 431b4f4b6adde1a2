//! Why an operation failed.

use core::fmt;

use crate::DiskError;

/// Why an operation failed. Each has one errno of Linux, which the caller chooses at its boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The disk failed (EIO).
    Disk(DiskError),
    /// What is on the disk contradicts itself or its checksum (EUCLEAN); the text names the structure.
    Corrupt(&'static str),
    /// The file system is mounted read-only, or has become so after an error (EROFS).
    ReadOnly,
    /// No such name (ENOENT).
    NotFound,
    /// The name is taken (EEXIST).
    Exists,
    /// Not a directory (ENOTDIR).
    NotDirectory,
    /// A directory (EISDIR).
    IsDirectory,
    /// The directory is not empty (ENOTEMPTY).
    NotEmpty,
    /// No blocks or no inodes are left (ENOSPC).
    NoSpace,
    /// No more names for this file (EMLINK).
    TooManyLinks,
    /// The name is too long (ENAMETOOLONG).
    NameTooLong,
    /// Larger than a file may be (EFBIG).
    TooLarge,
    /// No such attribute (ENODATA).
    NoAttribute,
    /// The value does not fit the caller's buffer or the format (ERANGE).
    Range,
    /// An argument that no operation takes (EINVAL).
    Invalid,
    /// The file system's features do not have this (EOPNOTSUPP).
    Unsupported,
    /// The file system has a feature that is not known here (EINVAL at mount, as Linux); the text is its name.
    Feature(&'static str),
    /// The operation would make a directory its own ancestor (EINVAL).
    Loop,
    /// There is no file system of this kind (EINVAL at mount).
    NotExt4,
}

impl From<DiskError> for Error {
    fn from(e: DiskError) -> Self {
        match e {
            DiskError::ReadOnly => Self::ReadOnly,
            e => Self::Disk(e),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(e) => e.fmt(f),
            Self::Corrupt(what) => write!(f, "the file system is damaged: {what}"),
            Self::ReadOnly => f.write_str("the file system is read-only"),
            Self::NotFound => f.write_str("no such file or directory"),
            Self::Exists => f.write_str("the name is taken"),
            Self::NotDirectory => f.write_str("not a directory"),
            Self::IsDirectory => f.write_str("a directory"),
            Self::NotEmpty => f.write_str("the directory is not empty"),
            Self::NoSpace => f.write_str("no space is left"),
            Self::TooManyLinks => f.write_str("the file has as many names as it may"),
            Self::NameTooLong => f.write_str("the name is too long"),
            Self::TooLarge => f.write_str("the file would be too large"),
            Self::NoAttribute => f.write_str("no such attribute"),
            Self::Range => f.write_str("the value does not fit"),
            Self::Invalid => f.write_str("invalid argument"),
            Self::Unsupported => f.write_str("not supported by this file system"),
            Self::Feature(name) => write!(f, "the file system has the feature {name}, which is not supported"),
            Self::Loop => f.write_str("a directory cannot be moved into itself"),
            Self::NotExt4 => f.write_str("no ext2, ext3 or ext4 file system"),
        }
    }
}

impl core::error::Error for Error {}
