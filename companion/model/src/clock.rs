//! What time it is on a board, in the host's time.
//!
//! A board counts nanoseconds from its boot on; what happens there is shown in the host's time of day. The *offset* is what has to be
//! added to the one to get the other. Two things tell of it:
//!
//! - A *round trip*: the host asked at one time, had the answer at another, and the board read its clock in between. The board's reading is
//!   of some moment between the two, so the middle is wrong by at most half of the round trip (as in NTP, RFC 5905 section 8). Of the
//!   newest trips those that were nearly as fast as the fastest count (RFC 5905 section 10 takes the fastest), and of these the median: one
//!   answer that lies does not move it.
//! - An *arrival*: what was stamped on the board arrived here later, by an unknown but never negative delay. The smallest difference ever
//!   seen is an upper bound of the offset, good until a round trip is known.
//!
//! Bounds: [`TRIPS_MAX`] round trips and one difference a [`SPAN_MS`] are kept, none for longer than [`AGE_MAX_MS`], so that drift between the
//! clocks does not add up.

use std::collections::VecDeque;

/// Round trips that are kept.
pub const TRIPS_MAX: usize = 32;
/// Milliseconds after which a measurement counts no more.
pub const AGE_MAX_MS: u64 = 600_000;
/// Of the arrivals of so many milliseconds the fastest is kept.
pub const SPAN_MS: u64 = 10_000;

const NS_PER_MS: i128 = 1_000_000;
/// Trips that took at most so much longer than twice the fastest count as fast: a clock of milliseconds tells no less.
const SLACK_NS: i128 = NS_PER_MS;

/// One question and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoundTrip {
    /// When it was asked, Unix milliseconds of the host.
    pub sent_ms: u64,
    /// When the answer was there.
    pub received_ms: u64,
    /// The board's monotonic clock when it answered.
    pub board_ns: u64,
}

/// How well the two clocks are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skew {
    /// Host time less board time, nanoseconds.
    pub offset_ns: i128,
    /// It is wrong by at most so much; `None` where only arrivals are known.
    pub error_ns: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Trip {
    received_ms: u64,
    offset_ns: i128,
    duration_ns: i128,
}

/// The newest measurements; see the module's documentation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Clock {
    trips: VecDeque<Trip>,
    /// The start of a span, and the least difference in it.
    arrivals: VecDeque<(u64, i128)>,
}

impl Clock {
    /// Adds a round trip. One that ended before it began says nothing (the host's clock was set) and is passed over.
    pub fn add_round_trip(&mut self, trip: RoundTrip) {
        let RoundTrip {
            sent_ms,
            received_ms,
            board_ns,
        } = trip;
        if received_ms < sent_ms {
            return;
        }
        let (sent_ns, received_ns) = (i128::from(sent_ms) * NS_PER_MS, i128::from(received_ms) * NS_PER_MS);
        if self.trips.len() == TRIPS_MAX {
            self.trips.pop_front();
        }
        self.trips.push_back(Trip {
            received_ms,
            offset_ns: i128::midpoint(sent_ns, received_ns) - i128::from(board_ns),
            duration_ns: received_ns - sent_ns,
        });
        self.forget_before(received_ms.saturating_sub(AGE_MAX_MS));
    }

    /// Adds something that the board stamped just before it sent it.
    pub fn add_arrival(&mut self, received_ms: u64, board_ns: u64) {
        let difference_ns = i128::from(received_ms) * NS_PER_MS - i128::from(board_ns);
        match self.arrivals.back_mut() {
            // The host's clock may have been set back: then the span only grows.
            Some((start_ms, least)) if received_ms.saturating_sub(*start_ms) < SPAN_MS => {
                *least = difference_ns.min(*least);
            }
            _ => self.arrivals.push_back((received_ms, difference_ns)),
        }
        self.forget_before(received_ms.saturating_sub(AGE_MAX_MS));
    }

    /// What is known, `None` at first.
    #[must_use]
    pub fn skew(&self) -> Option<Skew> {
        let least = self.arrivals.iter().map(|(_, difference)| *difference).min();
        let Some(fastest_ns) = self.trips.iter().map(|trip| trip.duration_ns).min() else {
            return least.map(|offset_ns| Skew {
                offset_ns,
                error_ns: None,
            });
        };
        let mut fast: Vec<Trip> = self
            .trips
            .iter()
            .copied()
            .filter(|trip| trip.duration_ns <= 2 * fastest_ns + SLACK_NS)
            .collect();
        fast.sort_unstable_by_key(|trip| trip.offset_ns);
        let median = fast.get(fast.len() / 2)?;
        // Half of its own round trip, and a millisecond for the two readings of the host's clock.
        let error_ns = u64::try_from(median.duration_ns / 2 + NS_PER_MS).ok();
        Some(Skew {
            offset_ns: median.offset_ns,
            error_ns,
        })
    }

    /// A time of the board in the host's, Unix milliseconds; `None` while nothing is known. What lies outside of what such a number
    /// holds becomes the nearest that it holds.
    #[must_use]
    pub fn host_ms(&self, board_ns: u64) -> Option<u64> {
        let host_ms = (i128::from(board_ns) + self.skew()?.offset_ns) / NS_PER_MS;
        Some(u64::try_from(host_ms).unwrap_or(if host_ms < 0 { 0 } else { u64::MAX }))
    }

    fn forget_before(&mut self, oldest_ms: u64) {
        while self.trips.front().is_some_and(|trip| trip.received_ms < oldest_ms) {
            self.trips.pop_front();
        }
        while self.arrivals.front().is_some_and(|(start_ms, _)| *start_ms < oldest_ms) {
            self.arrivals.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// When the board of these tests booted, by the host's clock.
    const BOOT_MS: u64 = 1_700_000_000_000;

    fn trip(sent_ms: u64, there_ms: u64, back_ms: u64) -> RoundTrip {
        RoundTrip {
            sent_ms,
            received_ms: sent_ms + there_ms + back_ms,
            board_ns: (sent_ms + there_ms - BOOT_MS) * 1_000_000,
        }
    }

    fn error_ms(clock: &Clock) -> u64 {
        clock.host_ms(5_000_000).unwrap().abs_diff(BOOT_MS + 5)
    }

    #[test]
    fn nothing_is_known_at_first() {
        assert_eq!(Clock::default().skew(), None);
        assert_eq!(Clock::default().host_ms(1), None);
    }

    #[test]
    fn the_fast_round_trips_count() {
        let mut clock = Clock::default();
        clock.add_round_trip(trip(BOOT_MS + 100, 900, 10));
        assert_eq!(error_ms(&clock), 445);
        clock.add_round_trip(trip(BOOT_MS + 2000, 2, 2));
        assert_eq!(error_ms(&clock), 0);
        clock.add_round_trip(trip(BOOT_MS + 3000, 10, 4000));
        assert_eq!(error_ms(&clock), 0);
    }

    #[test]
    fn many_slow_round_trips_do_not_outvote_a_fast_one() {
        let mut clock = Clock::default();
        clock.add_round_trip(trip(BOOT_MS, 2, 2));
        for n in 1..20 {
            clock.add_round_trip(trip(BOOT_MS + 1000 * n, 10, 200));
        }
        assert_eq!(error_ms(&clock), 0);
    }

    #[test]
    fn a_board_that_lies_once_does_not_move_it() {
        let mut clock = Clock::default();
        for n in 0..5 {
            clock.add_round_trip(trip(BOOT_MS + 1000 * n, 2, 2));
        }
        for board_ns in [0, u64::MAX] {
            clock.add_round_trip(RoundTrip {
                board_ns,
                ..trip(BOOT_MS + 10_000, 2, 2)
            });
        }
        assert_eq!(error_ms(&clock), 0);
    }

    #[test]
    fn without_round_trips_the_fastest_arrival_counts() {
        let mut clock = Clock::default();
        for (n, delay_ms) in [(0, 80), (1, 7), (2, 300)] {
            clock.add_arrival(BOOT_MS + n * 100 + delay_ms, n * 100_000_000);
        }
        assert_eq!(error_ms(&clock), 7);
        assert_eq!(clock.skew().unwrap().error_ns, None);
        clock.add_round_trip(trip(BOOT_MS + 1000, 3, 3));
        assert_eq!(error_ms(&clock), 0);
    }

    #[test]
    fn old_measurements_do_not_hide_drift() {
        let mut clock = Clock::default();
        clock.add_round_trip(trip(BOOT_MS, 0, 0));
        // Half an hour later the board's clock is 100 ms behind; this trip is slower than the old one.
        let later = trip(BOOT_MS + 1_800_000, 5, 5);
        clock.add_round_trip(RoundTrip {
            board_ns: later.board_ns - 100_000_000,
            ..later
        });
        assert_eq!(error_ms(&clock), 100);
    }

    #[test]
    fn a_trip_that_ended_before_it_began_is_passed_over() {
        let mut clock = Clock::default();
        clock.add_round_trip(RoundTrip {
            sent_ms: 10,
            received_ms: 9,
            board_ns: 0,
        });
        assert_eq!(clock, Clock::default());
    }

    proptest! {
        #[test]
        fn the_error_is_within_what_is_promised(
            trips in prop::collection::vec((0..500_u64, 0..200_u64, 0..200_u64), 1..60),
        ) {
            let mut clock = Clock::default();
            let mut sent_ms = BOOT_MS;
            for (pause_ms, there_ms, back_ms) in trips {
                sent_ms += pause_ms;
                clock.add_round_trip(trip(sent_ms, there_ms, back_ms));
            }
            let promised_ns = clock.skew().unwrap().error_ns.unwrap();
            prop_assert!(error_ms(&clock) * 1_000_000 <= promised_ns);
        }

        #[test]
        fn memory_is_bounded_and_nothing_panics(
            trips in prop::collection::vec(any::<(u64, u64, u64)>(), 0..300),
        ) {
            let mut clock = Clock::default();
            for (sent_ms, received_ms, board_ns) in trips {
                clock.add_round_trip(RoundTrip { sent_ms, received_ms, board_ns });
                clock.add_arrival(received_ms, board_ns);
                let _ = clock.host_ms(board_ns);
            }
            prop_assert!(clock.trips.len() <= TRIPS_MAX);
            prop_assert!(clock.arrivals.len() as u64 <= AGE_MAX_MS / SPAN_MS + 1);
        }
    }
}
