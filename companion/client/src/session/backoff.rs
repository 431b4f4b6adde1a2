//! How long to wait before the next attempt.

/// The first wait is about this long, milliseconds.
const FIRST_MS: u64 = 200;
/// No wait is longer.
const LONGEST_MS: u64 = 10_000;

/// Doubling waits with jitter, so that many clients of one board do not come back in step.
#[derive(Debug)]
pub(super) struct Backoff {
    ceiling_ms: u64,
    random: u64,
}

impl Backoff {
    pub(super) const fn new(seed: u64) -> Self {
        // The generator stands still at zero.
        Self {
            ceiling_ms: FIRST_MS,
            random: if seed == 0 { 1 } else { seed },
        }
    }

    pub(super) const fn reset(&mut self) {
        self.ceiling_ms = FIRST_MS;
    }

    /// Between half and the whole of a ceiling that doubles each time.
    pub(super) const fn next_delay_ms(&mut self) -> u64 {
        // Marsaglia, "Xorshift RNGs", 2003: good enough to spread clients.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let half = self.ceiling_ms / 2;
        let delay = half + self.random % (half + 1);
        self.ceiling_ms = if self.ceiling_ms * 2 < LONGEST_MS {
            self.ceiling_ms * 2
        } else {
            LONGEST_MS
        };
        delay
    }
}
