//! The table: every family's rows, found by number.

use core::sync::atomic::{AtomicU64, Ordering};

use super::{Call, Row};
use crate::{Errno, Result};

/// One past the largest number that is counted.
pub const NUMBERS: usize = 512;

/// Every family. A family is added here.
static FAMILIES: &[&[Row]] = &[
    super::cred::CALLS,
    super::futex::CALLS,
    super::prctl::CALLS,
    super::process::CALLS,
    super::sched::CALLS,
    super::shm::CALLS,
    super::signal::CALLS,
    super::socket::CALLS,
    super::system::CALLS,
    super::time::CALLS,
    super::memory::CALLS,
    super::attributes::CALLS,
    super::dir::CALLS,
    super::epoll::CALLS,
    super::event::CALLS,
    super::fd::CALLS,
    super::file::CALLS,
    super::inotify::CALLS,
    super::io::CALLS,
    super::mount::CALLS,
    super::pipe::CALLS,
    super::poll::CALLS,
    super::stat::CALLS,
    super::xattr::CALLS,
];

static INDEX: sis_machine::sync::Once<[Option<&'static Row>; NUMBERS]> = sis_machine::sync::Once::new();
static COUNTS: [AtomicU64; NUMBERS] = [const { AtomicU64::new(0) }; NUMBERS];
/// Calls of numbers that are not counted one by one.
static BEYOND: AtomicU64 = AtomicU64::new(0);
static UNKNOWN: AtomicU64 = AtomicU64::new(0);

fn index() -> &'static [Option<&'static Row>; NUMBERS] {
    INDEX.call_once(|| {
        let mut out = [None; NUMBERS];
        for row in FAMILIES.iter().flat_map(|f| f.iter()) {
            if let Some(slot) = out.get_mut(usize::from(row.number)) {
                debug_assert!(slot.is_none(), "two rows for system call {}", row.number);
                *slot = Some(row);
            }
        }
        out
    })
}

/// The row of a number.
pub fn row(number: usize) -> Option<&'static Row> {
    index().get(number).copied().flatten()
}

/// Calls made so far of a number.
pub fn count(number: usize) -> u64 {
    COUNTS.get(number).map_or(0, |c| c.load(Ordering::Relaxed))
}

/// Calls made so far of numbers that no row answers.
pub fn unknown_count() -> u64 {
    UNKNOWN.load(Ordering::Relaxed)
}

/// Calls made so far.
pub fn total() -> u64 {
    COUNTS.iter().chain([&BEYOND]).map(|c| c.load(Ordering::Relaxed)).sum()
}

/// Makes the call whose number is in x8.
pub fn dispatch(call: &mut Call<'_>) -> Result<usize> {
    let number = call.arg(8) as usize;
    COUNTS.get(number).unwrap_or(&BEYOND).fetch_add(1, Ordering::Relaxed);
    match row(number) {
        Some(row) => (row.handler)(call),
        None => {
            UNKNOWN.fetch_add(1, Ordering::Relaxed);
            Err(Errno::ENOSYS)
        }
    }
}
