//! ext2, ext3 and ext4.
//!
//! A function of its inputs: the disk is a [`Disk`], the time is an argument, waiting and locking are the caller's. The
//! content of regular files does not pass through here: the caller asks where it is, and reads and writes it itself.
//!
//! # How it is used
//!
//! [`Volume::mount`] gives a volume; [`Volume::inode`], [`Volume::lookup`] and [`Volume::read_dir`] read it. Every change
//! is whole: one that fails has changed nothing. Changes survive a cut from the next [`Volume::commit`] on, which the
//! caller makes for fsync(2), every few seconds, and at the end.
//!
//! * To read a file, [`Volume::map`] its blocks. Holes and unwritten parts are zeros.
//! * To write, [`Volume::allocate`] the blocks, write the data there, [`Volume::mark_written`], in this order. Room can be
//!   promised before with [`Volume::reserve`].
//! * To shorten a file, let nothing of what goes be written any more, then [`Volume::truncate`].
//! * A file without names lives until [`Volume::evict`].
//!
//! An error of the disk or damage makes the volume read-only, as `errors=remount-ro` does.
#![no_std]
#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::indexing_slicing)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod dir;
pub mod disk;
pub mod error;
mod extent;
mod group;
mod indirect;
pub mod inode;
pub mod journal;
mod le;
pub mod map;
pub mod mount;
pub mod names;
mod orphan;
mod superblock;
pub mod volume;
mod xattr;

pub use dir::{DirEntry, NAME_BYTES_MAX};
pub use disk::{Disk, DiskError};
pub use error::Error;
pub use inode::{Change, Inode, Kind, Owner, ROOT};
pub use map::{Mapping, State};
pub use mount::{MountError, Report, Usage, probe};
pub use names::{NewFile, Rename};
pub use volume::Volume;
