//! What a file system is made to do before its power is cut, and what must be there afterwards.
//!
//! Shared by the program that does it on a board (`sis-guest crash-load`) and by the checker on the host. Everything is
//! a function of a seed: which operations a worker makes ([`Plan`]), and what the bytes of each file are ([`content`]).
//! So the log of a run ([`Record`]) needs to say only how far each worker had come: *intent* `n`, written before the
//! first of a group of operations that ends with number `n`; *ack* `n`, written after the synchronising call with number
//! `n` has returned.
//!
//! # What is promised, and checked
//!
//! Of a worker whose last intent is `i` and whose last acknowledgement is `a`, after recovery:
//!
//! - **Data** (fsync(2), fdatasync(2), msync(2), sync(2); POSIX "synchronized I/O completion"): when operation `a` or an
//!   earlier one has synchronised a file, its size and every byte are those of that time, or of later writes to it up to
//!   `i`. Later writes that nobody has synchronised may be there in part, byte by byte, in any order.
//! - **Size**: that of one of the states from the last synchronised one on; where a write made the file longer, any size
//!   in between, because pages reach the disk by themselves. truncate(2) has no size in between.
//! - **No stale bytes** (ext4, `data=ordered`): a byte that no state since then has is zero (a hole, an extent not yet
//!   written) and only where one of those states has zero or ends before it. Never another file's, never an older
//!   version's.
//! - **Names**: fsync of a directory makes the changes made in it durable. Journalling makes each change atomic and keeps
//!   their order (jbd2 commits transactions in order, and each call is one handle), so what is found is the tree
//!   after some prefix of the worker's changes, no shorter than the last that an acknowledged fsync of its directory
//!   covers, no longer than what was intended. A rename over a name is one change: the name is never missing, and what it
//!   shows is one of the two files. ext4 promises the prefix; POSIX alone would not.
//!
//! Not checked, because nobody promises it: that fsync of a new file makes its name durable, the order of unsynchronised
//! data against names, times, and what happens to files whose `close` or `munmap` came without a synchronising call.
#![forbid(unsafe_code)]

pub mod content;
mod expect;
mod op;
mod plan;
mod random;
mod record;
mod tree;

pub use content::Content;
pub use expect::{Expectation, Found, History, expect};
pub use op::Op;
pub use plan::{Plan, Step};
pub use random::Random;
pub use record::{Kind, LOG_BYTES, RECORD_BYTES, REGION_BYTES, Record, WORKERS};
pub use tree::{Node, Tree};

/// The folder of a worker of the run with this seed, in the root of the file system.
#[must_use]
pub fn folder(seed: u64, worker: u32) -> String {
    format!("run{seed}-worker{worker}")
}
