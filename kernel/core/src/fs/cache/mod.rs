//! The page cache: pages of files and disks, shared by read(2), write(2) and mmap(2).
//!
//! | module | story |
//! |---|---|
//! | `page` | a page and its state |
//! | [`file`](mod@file) | the pages of one file |
//! | [`read`](mod@read), [`ahead`] | reading, and reading ahead |
//! | [`write`](mod@write) | changing pages, and room for what was changed |
//! | [`back`] | writing changed pages back |
//! | [`flusher`] | when that is done, and how much may wait for it |
//! | [`reclaim`](mod@reclaim) | giving memory back |
//! | [`source`] | mappings |
//! | [`opened`] | open files |
//! | [`direct`] | transfers that leave the cache out |
//! | [`errors`] | failures of write-back, told to each open file once |
//!
//! # Terms
//!
//! A page is *up to date* when its memory has the file's content, *dirty* when the store has not, and *under write-back*
//! while it is written. A dirty page has *room*: blocks of its own, or a promise of some, so that what write(2) took can
//! be kept. A [`Store`] is where a file's pages are kept: it says where on the disk they are.
//!
//! # Locks
//!
//! See docs/adr/0012. In short: `writing` (an inode's mutex) is held by everything that changes size or content by a call;
//! `filling` by what brings pages in and by what frees blocks; the tree of pages is a spinning lock, and no lock is held
//! while user memory is copied but `writing`. Write-back takes neither `writing` nor `filling`: whoever waits for it may
//! hold them.

pub mod ahead;
pub mod back;
pub mod direct;
pub mod errors;
pub mod file;
pub mod flusher;
pub mod opened;
mod page;
pub mod read;
pub mod reclaim;
pub mod source;
pub mod write;

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::Result;
use crate::block::{Volume, errno_of};

pub use ahead::{ReadAhead, advise, sync_range};
pub use back::{Wait, write_back};
pub use errors::{ErrorSeq, Seen};
pub use file::FileCache;
pub use flusher::{Flusher, Usage, throttle, usage};
pub use read::read;
pub use reclaim::{drop_clean, reclaim};
pub use source::MappedFile;
pub use write::{set_size, write, zero_edges};

/// Bytes of a page.
pub const PAGE: u64 = sis_machine::mm::PAGE_SIZE as u64;

/// Where a part of a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// From this sector of the device on.
    Sector(u64),
    /// Nowhere: it reads as zeros, and is not written.
    Nowhere,
}

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Bytes, a multiple of the device's blocks.
    pub len: u64,
    /// Where it is.
    pub place: Place,
}

/// Where the pages of a file are kept. Calls may sleep, and may be made at the same time; none is made with a spinning
/// lock or an address space's lock held.
pub trait Store: Send + Sync {
    /// Its pages.
    fn cache(&self) -> &FileCache;

    /// What it is on.
    fn device(&self) -> &Arc<Volume>;

    /// Who writes it back.
    fn flusher(&self) -> &Arc<Flusher>;

    /// Where `count` pages from `first` on are, in order and without gaps; what is not covered reads as zeros.
    ///
    /// # Errors
    /// `EIO`, `EUCLEAN`.
    fn map_read(&self, first: u64, count: u64) -> Result<Vec<Extent>>;

    /// As [`Self::map_read`], giving places to what has none; `promised` of the pages have a promise, which this
    /// redeems. What is not covered lies behind the end, and is not written.
    ///
    /// # Errors
    /// `EIO`, `EUCLEAN`, `ENOSPC`, `EROFS`.
    fn map_write(&self, first: u64, count: u64, promised: u64) -> Result<Vec<Extent>>;

    /// The `bytes` bytes from page `first` on that [`Self::map_write`] gave places to have been written there.
    ///
    /// # Errors
    /// `EIO`, `EUCLEAN`, `ENOSPC`, `EROFS`.
    fn written(&self, first: u64, bytes: u64) -> Result<()>;

    /// Sees to it that `count` pages from `first` on can be kept. Answers for how many of them, at least one, the answer
    /// holds: whether they have blocks, or have been promised some.
    ///
    /// # Errors
    /// `ENOSPC`, `EDQUOT`, `EIO`, `EUCLEAN`, `EROFS`.
    fn reserve(&self, first: u64, count: u64) -> Result<(u64, Room)>;

    /// Promises to so many pages are not needed any more.
    fn release(&self, pages: u64);

    /// What has been written survives a cut when this returns: what leads to it is on stable storage too.
    ///
    /// # Errors
    /// `EIO`, `EUCLEAN`, `EROFS`.
    fn commit(&self) -> Result<()> {
        self.device().flush().map_err(errno_of)
    }

    /// A page has been changed through a mapping. No sleeping: an address space's lock may be held.
    fn touched(&self) {}

    /// Nobody will read it again: it need not be written back.
    fn is_doomed(&self) -> bool {
        false
    }
}

/// How a page can be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// It has blocks.
    Blocks,
    /// It has been promised some.
    Promise,
}
