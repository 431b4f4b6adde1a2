//! Time for drivers: a counter to bound waits with, and a wall clock.

use core::fmt;

/// A counter that only goes forward.
///
/// It must advance by itself from the first call on: bounded waits ([`wait_until`]) end only because it does.
pub trait Clock: Send + Sync {
    /// Nanoseconds since some fixed moment at or before boot.
    fn now_ns(&self) -> u64;
}

impl<C: Clock + ?Sized> Clock for &C {
    fn now_ns(&self) -> u64 {
        (**self).now_ns()
    }
}

/// A device did not become ready in the time it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout;

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the device did not become ready in time")
    }
}

impl core::error::Error for Timeout {}

/// Polls `condition` until it holds, for at most `timeout_ns`.
///
/// The condition is asked at least once, and once more after the time is over: a waiter that was itself held up
/// (by an interrupt, or the host under an emulator) does not report a time-out for a device that is ready.
pub fn wait_until(
    clock: &(impl Clock + ?Sized),
    timeout_ns: u64,
    mut condition: impl FnMut() -> bool,
) -> Result<(), Timeout> {
    let start_ns = clock.now_ns();
    loop {
        if condition() {
            return Ok(());
        }
        if clock.now_ns().saturating_sub(start_ns) >= timeout_ns {
            return if condition() { Ok(()) } else { Err(Timeout) };
        }
        core::hint::spin_loop();
    }
}

/// Spins for at least `duration_ns`, for the short pauses that a device's data sheet asks for.
pub fn delay_ns(clock: &(impl Clock + ?Sized), duration_ns: u64) {
    let start_ns = clock.now_ns();
    while clock.now_ns().saturating_sub(start_ns) < duration_ns {
        core::hint::spin_loop();
    }
}

/// A clock that knows the date, read once at boot and set when the kernel's time is stepped.
pub trait WallClock: Send + Sync {
    /// Seconds since 1970-01-01 00:00:00 UTC, or `None` when the device has never been set.
    fn unix_seconds(&self) -> Option<u64>;

    /// Sets the date; devices that cannot hold `seconds` (32-bit counters after 2106) leave theirs as it was and answer
    /// `false`.
    fn set_unix_seconds(&self, seconds: u64) -> bool;
}
