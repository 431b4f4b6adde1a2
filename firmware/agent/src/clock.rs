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

/// The Unix milliseconds of a moment of `CLOCK_MONOTONIC`, by the clocks as they stand now; `None` while the clock was not set.
pub(crate) fn wall_ms_of(ts_ns: u64) -> Option<u64> {
    let ago_ms = monotonic_ns().saturating_sub(ts_ns) / 1_000_000;
    wall_ms().map(|now_ms| now_ms.saturating_sub(ago_ms))
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_of_the_past_has_its_own_time_of_day() {
        let (now_ns, now_ms) = (monotonic_ns(), wall_ms().unwrap());
        let then_ms = wall_ms_of(now_ns - 5_000_000_000).unwrap();
        assert!(
            (4_900..5_100).contains(&(now_ms - then_ms)),
            "{then_ms} is not 5 s before {now_ms}"
        );
    }
}
