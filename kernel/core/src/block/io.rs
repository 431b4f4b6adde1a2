//! What is asked of a disk, and who is told when it is done.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering};

use sis_hal::{BlockError, BlockOp};
use sis_machine::mm::scatter::FramePiece;

use super::stats::Stats;
use crate::poll::Events;
use crate::time::{self, Deadline};
use crate::wait::{Sleep, WaitQueue};
use crate::{Errno, Result};

/// Told when an [`Io`] has ended, once for each.
pub trait IoDone: Send + Sync {
    /// The I/O with this cookie has ended; its frames are the submitter's again. Called in interrupt context, by a kernel
    /// thread or inside the submission, with no lock of the block layer held: interrupt-safe locks only, no sleeping, no
    /// submitting.
    fn done(&self, cookie: u64, result: core::result::Result<(), BlockError>);
}

/// One transfer (or flush, discard, zeroing) of any length; the block layer cuts it to what the device takes and joins
/// neighbours.
///
/// I/Os that are under way at the same time are done in any order: who needs an order waits in between. A
/// [`BlockOp::Flush`] covers the writes that had *ended* when it was submitted.
pub struct Io {
    /// What to do. [`BlockOp::WriteThrough`] is done as a write and a flush where the device knows no better.
    pub op: BlockOp,
    /// The first sector, counted from the start of the volume; 0 for a flush.
    pub first_sector: u64,
    /// Sectors; 0 for a flush.
    pub sector_count: u64,
    /// Memory of exactly so many sectors for reads and writes; empty for the others.
    pub pieces: Vec<FramePiece>,
    /// Who is told.
    pub done: Arc<dyn IoDone>,
    /// Handed to [`IoDone::done`].
    pub cookie: u64,
}

/// What an error of the block layer is to a program.
pub fn errno_of(e: BlockError) -> Errno {
    match e {
        BlockError::OutOfRange => Errno::ENOSPC,
        BlockError::Invalid => Errno::EINVAL,
        BlockError::ReadOnly => Errno::EROFS,
        BlockError::Unsupported => Errno::EOPNOTSUPP,
        BlockError::Busy => Errno::EAGAIN,
        BlockError::Medium | BlockError::Device | BlockError::Timeout | BlockError::Gone => Errno::EIO,
    }
}

const ERRORS: [BlockError; 9] = [
    BlockError::OutOfRange,
    BlockError::Invalid,
    BlockError::ReadOnly,
    BlockError::Unsupported,
    BlockError::Busy,
    BlockError::Medium,
    BlockError::Device,
    BlockError::Timeout,
    BlockError::Gone,
];

/// The first error of several parts that end at any time. Interrupt-safe.
#[derive(Default)]
struct FirstError(AtomicU8);

impl FirstError {
    fn put(&self, e: BlockError) {
        let code = ERRORS.iter().position(|x| *x == e).map_or(1, |n| n as u8 + 1);
        let _ = self.0.compare_exchange(0, code, Ordering::AcqRel, Ordering::Relaxed);
    }

    fn get(&self) -> core::result::Result<(), BlockError> {
        match self.0.load(Ordering::Acquire) {
            0 => Ok(()),
            n => Err(ERRORS.get(usize::from(n) - 1).copied().unwrap_or(BlockError::Device)),
        }
    }
}

/// An [`Io`] on its way, shared by the requests that it was cut into.
pub(super) struct Tracked {
    left: AtomicU32,
    error: FirstError,
    done: Arc<dyn IoDone>,
    cookie: u64,
    op: BlockOp,
    sector_count: u64,
    begin_ns: u64,
    /// Of the disk, and of the partition if it is one.
    stats: [Option<Arc<Stats>>; 2],
}

impl Tracked {
    /// An I/O in one part more than are counted by [`Self::add_parts`].
    pub(super) fn begin(
        op: BlockOp,
        sector_count: u64,
        done: Arc<dyn IoDone>,
        cookie: u64,
        stats: [Option<Arc<Stats>>; 2],
    ) -> Arc<Self> {
        for s in stats.iter().flatten() {
            s.begin();
        }
        Arc::new(Self {
            left: AtomicU32::new(1),
            error: FirstError::default(),
            done,
            cookie,
            op,
            sector_count,
            begin_ns: time::now_ns(),
            stats,
        })
    }

    /// There are so many parts more.
    pub(super) fn add_parts(&self, n: u32) {
        self.left.fetch_add(n, Ordering::Relaxed);
    }

    /// Joined another request.
    pub(super) fn merged(&self) {
        for s in self.stats.iter().flatten() {
            s.merged(self.op);
        }
    }

    /// A part has ended.
    pub(super) fn end_part(&self, result: core::result::Result<(), BlockError>) {
        if let Err(e) = result {
            self.error.put(e);
        }
        if self.left.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        let result = self.error.get();
        let spent_ns = time::now_ns().saturating_sub(self.begin_ns);
        for s in self.stats.iter().flatten() {
            s.end(self.op, self.sector_count, spent_ns, result.is_ok());
        }
        self.done.done(self.cookie, result);
    }
}

/// Waits for any number of I/Os.
#[derive(Default)]
pub struct IoWait {
    left: AtomicUsize,
    error: FirstError,
    queue: WaitQueue,
}

impl IoWait {
    /// Waits for nothing yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// `n` more I/Os are submitted with this as [`Io::done`]; said before they are.
    pub fn expect(&self, n: usize) {
        self.left.fetch_add(n, Ordering::Relaxed);
    }

    /// Sleeps until all have ended; no signal ends it, the block layer's time-outs bound it. Answers the first error.
    pub fn wait(&self) -> core::result::Result<(), BlockError> {
        let _ = self.queue.wait_for(Sleep::Uninterruptible, Deadline::NEVER, || {
            (self.left.load(Ordering::Acquire) == 0).then_some(())
        });
        self.error.get()
    }

    /// As [`Self::wait`], with the error as programs see it.
    ///
    /// # Errors
    /// See [`errno_of`].
    pub fn wait_errno(&self) -> Result<()> {
        self.wait().map_err(errno_of)
    }
}

impl IoDone for IoWait {
    fn done(&self, _cookie: u64, result: core::result::Result<(), BlockError>) {
        if let Err(e) = result {
            self.error.put(e);
        }
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.queue.wake_all(Events::READ);
        }
    }
}
