//! ext2, ext3 and ext4.
//!
//! A function of its inputs: the disk is a [`Disk`], the time is an argument, waiting and locking are the caller's. The
//! content of regular files does not pass through here: the caller asks where it is, and reads and writes it itself.
#![no_std]
#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::indexing_slicing)]

extern crate alloc;

pub mod disk;
pub mod error;
pub mod journal;

pub use disk::{Disk, DiskError};
pub use error::Error;
