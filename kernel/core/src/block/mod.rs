//! Disks: I/O on them, their partitions and their nodes in /dev.
//!
//! | module | story |
//! |---|---|
//! | [`volume`] | a disk or a partition, and I/O on it: what file systems and the page cache use |
//! | [`io`] | one transfer, and who is told when it is done |
//! | [`disk`] | requests on their way to the device, time-outs, retries |
//! | [`registry`] | the disks there are, their names and numbers |
//! | [`partitions`] | partitions of a disk |
//! | [`claim`] | who has one for themselves |
//! | `node`, `ioctl`, `buffered` | nodes in /dev |
//! | `show` | /sys/block, /proc/partitions, /proc/diskstats |
//! | [`stats`] | counters |
//!
//! # Using it
//!
//! A [`Volume`] reads and writes sectors of 512 bytes in pieces of frames. [`Volume::read`], [`Volume::write`],
//! [`Volume::flush`] and their kin wait; [`Volume::submit_all`] starts any number of I/Os and tells an [`IoDone`] of each
//! end, in interrupt context. [`IoWait`] is the [`IoDone`] that is slept on. Waiting takes no sleeping lock, so it is
//! allowed under any. Time-outs bound every wait: a device that does not answer in 30 s is reset, and after three tries
//! the I/O fails.

mod buffered;
pub mod claim;
pub mod disk;
pub mod io;
mod ioctl;
mod node;
pub mod partitions;
mod queue;
pub mod registry;
mod show;
pub mod stats;
pub mod volume;

pub use claim::Claim;
pub use io::{Io, IoDone, IoWait, errno_of};
pub use registry::{DiskKind, DiskPort, all, attach, find, flush_all, named, totals};
pub use show::{proc_diskstats, proc_partitions};
pub use volume::{BlockResult, Durability, Volume, new_pieces};
