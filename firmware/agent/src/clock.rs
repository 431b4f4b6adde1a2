//! The times that events and samples carry.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// 2020-01-01: a clock that shows less was never set.
const PLAUSIBLE_MS: u64 = 1_577_836_800_000;

/// `CLOCK_MONOTONIC`, nanoseconds.
pub(crate) fn monotonic_ns() -> u64 {
    nanoseconds(ClockId::Monotonic)
}

/// Since boot, suspended time included, nanoseconds.
pub(crate) fn uptime_ns() -> u64 {
    nanoseconds(ClockId::Boottime)
}

/// CPU time of this process, nanoseconds.
pub(crate) fn process_cpu_ns() -> u64 {
    nanoseconds(ClockId::ProcessCPUTime)
}

/// Unix milliseconds, `None` while the clock was not set.
pub(crate) fn wall_ms() -> Option<u64> {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since_epoch.as_millis())
        .ok()
        .filter(|ms| *ms >= PLAUSIBLE_MS)
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}
