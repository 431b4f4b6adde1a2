//! Failures of write-back: each open file description is told once (Linux's errseq).

use core::sync::atomic::{AtomicU64, Ordering};

use crate::{Errno, Result};

const SEEN: u64 = 1 << 32;
const COUNT: u64 = 1 << 33;

/// The last failure of a file or file system, and how many there were.
#[derive(Default)]
pub struct ErrorSeq(AtomicU64);

/// What somebody has been told of.
pub struct Seen(AtomicU64);

fn result_of(value: u64) -> Result<()> {
    match value as u32 {
        0 => Ok(()),
        n => Err(Errno::from_number(n as i32).unwrap_or(Errno::EIO)),
    }
}

impl ErrorSeq {
    /// No failure yet.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Notes a failure.
    pub fn put(&self, e: Errno) {
        let number = u64::from(e.number() as u32);
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |old| {
            Some((old & !(COUNT - 1)).wrapping_add(COUNT) | number)
        });
    }

    /// Where a new open file begins: a failure that nobody has been told of is still to be told.
    pub fn sample(&self) -> Seen {
        let now = self.0.load(Ordering::Acquire);
        let is_news = now & SEEN == 0 && now as u32 != 0;
        Seen(AtomicU64::new(if is_news { 0 } else { now & !SEEN }))
    }

    /// The failure since the last time that this was asked with `seen`.
    ///
    /// # Errors
    /// The failure.
    pub fn check(&self, seen: &Seen) -> Result<()> {
        let now = self.0.load(Ordering::Acquire);
        if now & !SEEN == seen.0.swap(now & !SEEN, Ordering::AcqRel) {
            return Ok(());
        }
        let _ = self
            .0
            .compare_exchange(now, now | SEEN, Ordering::AcqRel, Ordering::Relaxed);
        result_of(now)
    }
}
