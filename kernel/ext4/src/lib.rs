//! ext2, ext3 and ext4.
//!
//! A function of its inputs: the disk is a [`Disk`], the time is an argument, waiting and locking are the caller's. The
//! content of regular files does not pass through here: the caller asks where it is, and reads and writes it itself.
//!
//! # Using it
//!
//! A [`Volume`] is what is mounted; every operation takes it exclusively, and is atomic: it happens whole, or fails and
//! leaves nothing behind. What was done becomes permanent with [`Volume::commit`], in the order it was done; a cut before
//! loses it, and never a part. After [`Error::Corrupt`] or [`Error::Disk`] the volume is read-only
//! ([`Volume::is_read_only`]); what was committed before stays readable.
//!
//! Blocks, of the file and of the disk, are counted in units of [`Volume::block_bytes`].
//!
//! **Reading**: [`Volume::map`] answers one run that is alike. A hole and unwritten blocks read as zeros; written blocks
//! are at `physical` of the disk. A run may be remembered as long as the caller knows of no `truncate`, `punch_hole` or
//! `zero_range` of the file.
//!
//! **Writing, with delayed allocation**:
//!
//! 1. When a page becomes dirty and its blocks are holes: [`Volume::reserve`]. `NoSpace` is told here, to the writer.
//! 2. When it is written back: [`Volume::allocate`] with [`Source::Reserved`] for as many neighbouring blocks as are
//!    dirty. Nothing on the disk changes; the blocks are chosen, and kept for this file in memory. Blocks that had a place
//!    keep it, and use nothing of the reservation: give that back with [`Volume::release`].
//! 3. Write the content to the places answered, and wait until the device has it (it may be in its cache).
//! 4. [`Volume::mark_written`] with the range and the file's size up to there. The map names the blocks from now on.
//!    Written blocks that were overwritten in place may be left out.
//!
//! The content is on its way to the medium before the map that names it is, and a commit flushes the device before it
//! counts: no cut shows what a block held before, be the map made of extents or of pointers, and there is no list of data
//! that a commit had to wait for. A cut between 3 and 4 loses the new content only. If writing fails, do not mark: the
//! promise can be written again, or ends with `truncate`, `punch_hole` or `evict`.
//!
//! **fsync**: steps 2 to 4 for the file's dirty pages, then [`Volume::commit`], which returns after a flush of the device
//! even when nothing else was to be done. Many callers may share one commit.
//!
//! **Truncating**: clear the bytes beyond the new size in the last block's page, keep write-back off the pages beyond, then
//! [`Volume::truncate`]. Long files go in steps; a cut between them is finished at the next mount. Growing a file whose
//! last block is partly beyond the old size needs that block's tail cleared as well.
//!
//! **Removing**: [`Volume::unlink`], [`Volume::rmdir`] and [`Volume::rename`] answer what lost its last name. Such an inode
//! stays usable, and is removed by the next mount after a cut; when its last user is gone, call [`Volume::evict`].
//!
//! **Ending**: [`Volume::unmount`], or [`Volume::remount`] to read-only, commit, bring everything home and mark the file
//! system as clean.
//!
//! # What is not supported
//!
//! Refused with their name: `inline_data`, `ea_inode`, `encrypt`, `casefold`, `mmp`, `bigalloc`, `compression`, journals on
//! another device, blocks of more than 4 KiB. Mounted read-only: `quota`, `project`, `verity`, and what is not known.
#![no_std]
#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::indexing_slicing)]

extern crate alloc;

mod alloc_state;
mod balloc;
mod bytes;
mod cache;
mod crc;
mod dir;
pub mod disk;
pub mod error;
mod extents;
mod features;
mod group;
mod ialloc;
mod indirect;
mod inode;
pub mod journal;
mod layout;
mod log;
mod mapping;
mod mount;
mod names;
mod orphan;
mod transaction;
mod truncate;
pub mod types;
mod volume;
mod xattr;

pub use dir::NAME_MAX;
pub use dir::read::END as DIRECTORY_END;
pub use disk::{Disk, DiskError};
pub use error::Error;
pub use mapping::Source;
pub use types::{
    Attributes, Device, Entry, Ino, Inode, Kind, Mapping, MountOptions, MountReport, NewFile, RenameMode, Space, State,
    Timestamp, Unlinked,
};
pub use volume::Volume;
