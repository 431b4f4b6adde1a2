//! What can go wrong.

use core::fmt;

use crate::DiskError;

/// Why an operation was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The disk failed.
    Disk,
    /// There is no FAT file system.
    NotFat(&'static str),
    /// A FAT file system of a kind that is not supported.
    Unsupported(&'static str),
    /// The file system is damaged.
    Corrupt(&'static str),
    /// Nothing may be changed.
    ReadOnly,
    /// No such name.
    NotFound,
    /// The name is taken.
    Exists,
    /// The directory has names in it.
    NotEmpty,
    /// No cluster is free, or a directory has as many names as it can.
    NoSpace,
    /// More than 255 UTF-16 units.
    NameTooLong,
    /// A name that cannot be on a FAT file system.
    InvalidName,
    /// More bytes than a file can have: 4 GiB less one.
    TooLarge,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk => f.write_str("the disk failed"),
            Self::NotFat(why) => write!(f, "no FAT file system: {why}"),
            Self::Unsupported(what) => write!(f, "not supported: {what}"),
            Self::Corrupt(what) => write!(f, "damaged ({what}): fsck.fat -a mends it"),
            Self::ReadOnly => f.write_str("read-only"),
            Self::NotFound => f.write_str("no such name"),
            Self::Exists => f.write_str("the name is taken"),
            Self::NotEmpty => f.write_str("the directory is not empty"),
            Self::NoSpace => f.write_str("no room left"),
            Self::NameTooLong => f.write_str("the name has more than 255 units"),
            Self::InvalidName => f.write_str("FAT has no such names"),
            Self::TooLarge => f.write_str("larger than 4 GiB"),
        }
    }
}

impl core::error::Error for Error {}

impl From<DiskError> for Error {
    fn from(_: DiskError) -> Self {
        Self::Disk
    }
}
