//! Playing a recording: what is due when, as a pure state machine.

use super::recording::{Recording, TimedInput};

/// How fast: thousandths of the speed at which it was recorded, from a tenth to a hundredfold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Speed(u32);

impl Speed {
    /// A tenth.
    pub const SLOWEST: Self = Self(100);
    /// As it was recorded.
    pub const NORMAL: Self = Self(1000);
    /// A hundredfold. To have everything at once, [`Player::seek`] to the end.
    pub const FASTEST: Self = Self(100_000);

    /// A speed in thousandths; what is slower or faster than may be becomes the slowest or the fastest.
    #[must_use]
    pub fn from_permille(permille: u32) -> Self {
        Self(permille.clamp(Self::SLOWEST.0, Self::FASTEST.0))
    }

    /// In thousandths.
    #[must_use]
    pub const fn permille(self) -> u32 {
        self.0
    }
}

/// What whoever plays has to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Forget the board: what follows builds it again from the start.
    Reset,
    /// Apply this to the board.
    Apply(TimedInput),
}

/// Plays a [`Recording`]. Times that are passed in are milliseconds of any clock that runs evenly, the same one at every call.
///
/// After every call, and at [`Self::next_timeout_ms`], [`Self::poll`] is to be asked until it says `None`.
#[derive(Debug, Clone)]
pub struct Player {
    recording: Recording,
    /// The next input to be told.
    next: usize,
    needs_reset: bool,
    /// Microseconds since the recording's start.
    position_us: u64,
    /// Up to when the position is right.
    as_of_ms: u64,
    speed: Speed,
    is_paused: bool,
}

impl Player {
    /// A player that plays from the start on, at the speed of the recording.
    #[must_use]
    pub const fn new(recording: Recording, now_ms: u64) -> Self {
        Self {
            recording,
            next: 0,
            needs_reset: false,
            position_us: 0,
            as_of_ms: now_ms,
            speed: Speed::NORMAL,
            is_paused: false,
        }
    }

    /// What is played.
    #[must_use]
    pub const fn recording(&self) -> &Recording {
        &self.recording
    }

    /// What is due, `None` when nothing is.
    pub fn poll(&mut self, now_ms: u64) -> Option<Step> {
        self.advance(now_ms);
        if std::mem::take(&mut self.needs_reset) {
            return Some(Step::Reset);
        }
        let offset_ms = self.recording.offset_ms(self.next)?;
        if offset_ms > self.position_us / 1000 {
            return None;
        }
        let input = self.recording.get(self.next)?;
        self.next += 1;
        Some(Step::Apply(input))
    }

    /// When [`Self::poll`] will have something; `None` while it is paused, and at the end.
    #[must_use]
    pub fn next_timeout_ms(&self) -> Option<u64> {
        if self.needs_reset {
            return Some(self.as_of_ms);
        }
        let due_us = self.recording.offset_ms(self.next)?.saturating_mul(1000);
        let missing_us = due_us.saturating_sub(self.position_us);
        if missing_us == 0 {
            return Some(self.as_of_ms);
        }
        // A millisecond at a thousand thousandths is a thousand microseconds.
        let wait_ms = missing_us.div_ceil(u64::from(self.speed.0));
        (!self.is_paused).then(|| self.as_of_ms.saturating_add(wait_ms))
    }

    /// Plays at another speed from now on.
    pub fn set_speed(&mut self, speed: Speed, now_ms: u64) {
        self.advance(now_ms);
        self.speed = speed;
    }

    /// The speed.
    #[must_use]
    pub const fn speed(&self) -> Speed {
        self.speed
    }

    /// Stands still.
    pub fn pause(&mut self, now_ms: u64) {
        self.advance(now_ms);
        self.is_paused = true;
    }

    /// Goes on.
    pub fn resume(&mut self, now_ms: u64) {
        self.advance(now_ms);
        self.is_paused = false;
    }

    /// Whether it stands still because it was told to.
    #[must_use]
    pub const fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Goes to so many milliseconds after the start, or to the end if that is earlier. Forward, what lies between is due at once; backward, all up to
    /// there is told again after a [`Step::Reset`].
    pub fn seek(&mut self, position_ms: u64, now_ms: u64) {
        self.advance(now_ms);
        let position_ms = position_ms.min(self.duration_ms());
        self.position_us = position_ms.saturating_mul(1000);
        if self.recording.count_until(position_ms) < self.next {
            self.next = 0;
            self.needs_reset = true;
        }
    }

    /// How far it is, milliseconds since the recording's start, as of the last call.
    #[must_use]
    pub const fn position_ms(&self) -> u64 {
        self.position_us / 1000
    }

    /// How long it is, milliseconds.
    #[must_use]
    pub fn duration_ms(&self) -> u64 {
        self.recording.duration_ms()
    }

    /// How far it is, in thousandths of the whole; of a recording without length all is told at once.
    #[must_use]
    pub fn progress_permille(&self) -> u32 {
        let whole = u128::from(self.duration_ms());
        let part = u128::from(self.position_ms());
        (part * 1000)
            .checked_div(whole)
            .and_then(|permille| u32::try_from(permille).ok())
            .unwrap_or(1000)
    }

    /// Whether everything was told.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.next == self.recording.len()
    }

    /// Moves the position to now. A clock that ran back stands still.
    fn advance(&mut self, now_ms: u64) {
        let elapsed_ms = now_ms.saturating_sub(self.as_of_ms);
        self.as_of_ms = self.as_of_ms.max(now_ms);
        if !self.is_paused {
            let played_us = elapsed_ms.saturating_mul(u64::from(self.speed.0));
            let end_us = self.duration_ms().saturating_mul(1000);
            self.position_us = self.position_us.saturating_add(played_us).min(end_us);
        }
    }
}
