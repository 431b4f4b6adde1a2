//! FAT32, for the partition that firmware boots from.
//!
//! Names are read, made and removed by `embedded-sdmmc`. That crate trusts what it reads: a chain that leads nowhere, or in a
//! circle, makes it panic or never end, and it writes every block as it goes. So it does not see the disk. At mounting, the
//! boot sector, the allocation table and every directory are read once, checked as a whole and kept in memory (`check`);
//! the crate is shown a small volume that consists of them (`window`), and works on memory that is known to be good.
//! Where it stops, this crate goes on: it gives long names to new files, moves names, shortens and lengthens chains, and says
//! where content is, which does not pass through here.
//!
//! # Using it
//!
//! A [`Volume`] is what is mounted. Operations change memory; [`Volume::commit`] brings that to the disk, in an order that
//! leaves no damage when the power goes in between: new directories without names in them, what was taken from the free
//! clusters, names, and what was freed. What a cut can leave behind is clusters that nobody owns, which `fsck.fat` gives back,
//! half of a long name, so that the short one is shown, and a file that was being moved under both of its names. Content is written by the
//! caller, before the commit that makes a file long enough to hold it ([`Volume::set_file_size`]).
//!
//! A disk with anything wrong in what is checked is refused ([`Error::Corrupt`]), and `fsck.fat` named as what mends it.
//! After [`Error::Disk`] the volume is read-only.
//!
//! # What is not supported
//!
//! FAT12 and FAT16, sectors other than 512 bytes, and more than 4,194,304 clusters are refused by name.
//!
//! Source: Microsoft, *FAT32 File System Specification*, version 1.03 (2000).
#![no_std]
#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::indexing_slicing)]

extern crate alloc;

mod bitmap;
mod boot;
mod check;
mod clock;
mod directories;
mod disk;
mod error;
mod index;
mod layout;
mod long_name;
mod slot;
mod table;
mod volume;
mod window;

pub use clock::Timestamp;
pub use disk::{Disk, DiskError};
pub use error::Error;
pub use slot::Times;
pub use volume::{Chain, Entry, Exchange, Place, Report, Run, Usage, Volume};
