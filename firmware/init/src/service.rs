//! A program that is kept running: when it ends it is started again, later and later while it keeps failing.

use std::time::{Duration, Instant};

/// A run shorter than this counts as a failure to start.
const SHORT_RUN: Duration = Duration::from_secs(5);
/// Wait after the first short run; it doubles with each one that follows.
const FIRST_DELAY: Duration = Duration::from_millis(250);
/// The longest wait.
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// How long to wait before the next start.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    short_runs: u32,
}

impl Backoff {
    /// A run of length `run` has ended: the wait before the next one.
    pub(crate) fn after(&mut self, run: Duration) -> Duration {
        if run >= SHORT_RUN {
            self.short_runs = 0;
            return Duration::ZERO;
        }
        let delay = FIRST_DELAY.saturating_mul(1_u32.checked_shl(self.short_runs).unwrap_or(u32::MAX));
        self.short_runs = self.short_runs.saturating_add(1).min(16);
        delay.min(LONGEST_DELAY)
    }
}

/// What a service is doing.
#[derive(Debug)]
pub(crate) enum State {
    /// To be started at this moment.
    Due(Instant),
    /// Running since then as this process.
    Running {
        /// Its process id.
        pid: i32,
        /// When it was started.
        since: Instant,
    },
    /// Not to be started (again).
    Off,
}

/// One program to keep running.
#[derive(Debug)]
pub(crate) struct Service {
    /// For the log.
    pub(crate) name: &'static str,
    /// The program and its arguments.
    pub(crate) command: Vec<String>,
    /// Whether it is started again after it ended well.
    pub(crate) is_kept: bool,
    /// Whether it lives on the console, which then is its standard input and output.
    pub(crate) is_on_console: bool,
    pub(crate) state: State,
    backoff: Backoff,
}

impl Service {
    /// A service to be started now.
    pub(crate) fn new(name: &'static str, command: &[&str]) -> Self {
        Self {
            name,
            command: command.iter().map(|&word| word.to_owned()).collect(),
            is_kept: true,
            is_on_console: false,
            state: State::Due(Instant::now()),
            backoff: Backoff::default(),
        }
    }

    /// Notes that the process ended (or could not be started) and when it is due again.
    pub(crate) fn ended(&mut self, now: Instant, is_success: bool) -> Duration {
        let run = match self.state {
            State::Running { since, .. } => now.saturating_duration_since(since),
            State::Due(_) | State::Off => Duration::ZERO,
        };
        if is_success && !self.is_kept {
            self.state = State::Off;
            return Duration::ZERO;
        }
        let mut delay = self.backoff.after(run);
        if self.is_on_console {
            // A person waits in front of it: never long, and at once when they left it on purpose.
            delay = if is_success {
                Duration::ZERO
            } else {
                delay.min(Duration::from_secs(2))
            };
        }
        self.state = State::Due(now + delay);
        delay
    }

    /// Whether it failed more than once in a row.
    pub(crate) fn has_been_failing(&self) -> bool {
        self.backoff.short_runs > 1
    }

    /// The process id while it runs.
    pub(crate) fn pid(&self) -> Option<i32> {
        match self.state {
            State::Running { pid, .. } => Some(pid),
            State::Due(_) | State::Off => None,
        }
    }
}

#[cfg(test)]
mod tests;
