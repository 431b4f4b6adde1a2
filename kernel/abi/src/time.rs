//! Time: clocks and timers.

use crate::macros::{constants, flags, layout};

constants! { CLOCK_LIST, u32, "clock_gettime(2)";
    CLOCK_REALTIME = 0;
    CLOCK_MONOTONIC = 1;
    CLOCK_PROCESS_CPUTIME_ID = 2;
    CLOCK_THREAD_CPUTIME_ID = 3;
    CLOCK_MONOTONIC_RAW = 4;
    CLOCK_REALTIME_COARSE = 5;
    CLOCK_MONOTONIC_COARSE = 6;
    CLOCK_BOOTTIME = 7;
    CLOCK_REALTIME_ALARM = 8;
    CLOCK_BOOTTIME_ALARM = 9;
    CLOCK_TAI = 11;
}

constants! { TIMER_LIST, u32, "clock_nanosleep(2)";
    TIMER_ABSTIME = 1;
}

flags! {
    /// timerfd_create(2).
    pub struct TimerfdFlags: u32, "TFD_" {
        NONBLOCK = 0o4000;
        CLOEXEC = 0o2_000_000;
    }
}

flags! {
    /// timerfd_settime(2).
    pub struct TimerfdSetFlags: u32, "TFD_TIMER_" {
        ABSTIME = 1;
        CANCEL_ON_SET = 2;
    }
}

constants! { ITIMER_LIST, u32, "setitimer(2)";
    ITIMER_REAL = 0;
    ITIMER_VIRTUAL = 1;
    ITIMER_PROF = 2;
}

/// `USER_HZ`: the unit of times(2) and of /proc, ticks a second.
pub const USER_HZ: u64 = 100;

/// Nanoseconds in a second.
pub const NSEC_PER_SEC: u64 = 1_000_000_000;

layout! {
    /// A time or a duration, to the nanosecond.
    pub struct Timespec = "struct timespec", 16 {
        /// Seconds.
        tv_sec: i64 = 0,
        /// Nanoseconds, 0 to 999999999 where it is valid.
        tv_nsec: i64 = 8,
    }
}

impl Timespec {
    /// From nanoseconds.
    pub const fn from_ns(ns: u64) -> Self {
        Self {
            tv_sec: (ns / NSEC_PER_SEC) as i64,
            tv_nsec: (ns % NSEC_PER_SEC) as i64,
        }
    }

    /// In nanoseconds, or the most there is when it does not fit; `None` when it is negative or its nanoseconds are no part of a second,
    /// which is EINVAL everywhere.
    pub const fn to_ns(&self) -> Option<u64> {
        if self.tv_sec < 0 || self.tv_nsec < 0 || self.tv_nsec >= NSEC_PER_SEC as i64 {
            return None;
        }
        Some(
            (self.tv_sec as u64)
                .saturating_mul(NSEC_PER_SEC)
                .saturating_add(self.tv_nsec as u64),
        )
    }
}

layout! {
    /// A time or a duration, to the microsecond.
    pub struct Timeval = "struct timeval", 16 {
        /// Seconds.
        tv_sec: i64 = 0,
        /// Microseconds, 0 to 999999 where it is valid.
        tv_usec: i64 = 8,
    }
}

impl Timeval {
    /// From nanoseconds, rounded down.
    pub const fn from_ns(ns: u64) -> Self {
        Self {
            tv_sec: (ns / NSEC_PER_SEC) as i64,
            tv_usec: (ns % NSEC_PER_SEC / 1000) as i64,
        }
    }

    /// In nanoseconds, or the most there is when it does not fit; `None` when it is not valid.
    pub const fn to_ns(&self) -> Option<u64> {
        if self.tv_sec < 0 || self.tv_usec < 0 || self.tv_usec >= 1_000_000 {
            return None;
        }
        Some(
            (self.tv_sec as u64)
                .saturating_mul(NSEC_PER_SEC)
                .saturating_add(self.tv_usec as u64 * 1000),
        )
    }
}

layout! {
    /// A timer: when next and how often, timerfd_settime(2).
    pub struct Itimerspec = "struct itimerspec", 32 {
        /// The period; zero for a timer that fires once.
        it_interval: Timespec = 0,
        /// The time until, or of, the next expiry; zero disarms.
        it_value: Timespec = 16,
    }
}

layout! {
    /// A timer of setitimer(2).
    pub struct Itimerval = "struct itimerval", 32 {
        /// The period; zero for a timer that fires once.
        it_interval: Timeval = 0,
        /// The time until the next expiry; zero disarms.
        it_value: Timeval = 16,
    }
}

layout! {
    /// What gettimeofday(2) has for a time zone.
    pub struct Timezone = "struct timezone", 8 {
        /// Minutes west of Greenwich.
        tz_minuteswest: i32 = 0,
        /// Not used.
        tz_dsttime: i32 = 4,
    }
}

layout! {
    /// CPU times in ticks of [`USER_HZ`], times(2).
    pub struct Tms = "struct tms", 32 {
        /// In user mode.
        tms_utime: i64 = 0,
        /// In the kernel.
        tms_stime: i64 = 8,
        /// In user mode, of ended children.
        tms_cutime: i64 = 16,
        /// In the kernel, of ended children.
        tms_cstime: i64 = 24,
    }
}
