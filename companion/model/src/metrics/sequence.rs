//! Which samples came, which are missing, which came again.
//!
//! Samples are numbered from 1 on, anew on every stream, and travel as datagrams: any may be lost, late or doubled. As in the
//! anti-replay window of IPsec (RFC 4303 section 3.4.3) one bit says of each of the newest numbers whether it came.

/// So many numbers behind the newest a late sample is still told from one that came before.
const WINDOW: u64 = 64;

/// What a sample's number says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// Newer than all before.
    Next {
        /// Samples between it and the newest before.
        lost: u64,
    },
    /// One that was counted as lost.
    Late,
    /// It came before, or is too old to tell.
    Repeated,
    /// The numbers have begun anew.
    Restarted {
        /// Samples before it under the new numbers.
        lost: u64,
    },
}

/// Counts over all samples of a board.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Samples taken, late ones included.
    pub taken: u64,
    /// Samples that were sent and (so far) did not come.
    pub lost: u64,
    /// Samples that came behind a newer one.
    pub late: u64,
    /// Samples that came again, or too late to tell.
    pub repeated: u64,
}

/// See the module's documentation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sequence {
    /// The newest number, 0 for none.
    newest: u64,
    newest_ts_ns: u64,
    /// Bit `n` is set when `newest - n` came.
    came: u64,
    counts: Counts,
}

impl Sequence {
    /// A new connection: numbers begin anew.
    pub(super) const fn restart(&mut self) {
        self.newest = 0;
        self.newest_ts_ns = 0;
        self.came = 0;
    }

    /// The counts so far.
    pub(super) const fn counts(&self) -> Counts {
        self.counts
    }

    /// Takes a number, and the time on the board that the sample was taken at: time that went on while the number fell back shows that
    /// the numbers have begun anew.
    pub(super) fn observe(&mut self, seq: u64, ts_ns: u64) -> Arrival {
        let arrival = self.classify(seq, ts_ns);
        match arrival {
            Arrival::Next { lost } => {
                let step = u32::try_from(seq - self.newest).unwrap_or(u32::MAX);
                self.came = self.came.checked_shl(step).unwrap_or(0) | 1;
                self.advance(seq, ts_ns, lost);
            }
            Arrival::Restarted { lost } => {
                self.came = 1;
                self.advance(seq, ts_ns, lost);
            }
            Arrival::Late => {
                self.came |= self.bit(seq);
                self.counts.lost = self.counts.lost.saturating_sub(1);
                self.counts.late += 1;
                self.counts.taken += 1;
            }
            Arrival::Repeated => self.counts.repeated += 1,
        }
        arrival
    }

    const fn advance(&mut self, seq: u64, ts_ns: u64, lost: u64) {
        self.newest = seq;
        self.newest_ts_ns = ts_ns;
        self.counts.lost = self.counts.lost.saturating_add(lost);
        self.counts.taken += 1;
    }

    const fn classify(&self, seq: u64, ts_ns: u64) -> Arrival {
        if seq > self.newest {
            return Arrival::Next {
                lost: seq - self.newest - 1,
            };
        }
        if ts_ns > self.newest_ts_ns {
            return Arrival::Restarted {
                lost: seq.saturating_sub(1),
            };
        }
        // A number that is none, or one that was before the first that came, cannot be told from a repeat.
        if seq > 0 && self.newest - seq < WINDOW && self.came & self.bit(seq) == 0 {
            return Arrival::Late;
        }
        Arrival::Repeated
    }

    /// The bit of a number within the window.
    const fn bit(&self, seq: u64) -> u64 {
        1 << (self.newest - seq)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Observes numbers as of one stream, a sample a millisecond.
    fn observe(sequence: &mut Sequence, seq: u64) -> Arrival {
        sequence.observe(seq, seq * 1_000_000)
    }

    #[test]
    fn a_hole_is_counted_and_filled_by_a_late_sample() {
        let mut sequence = Sequence::default();
        assert_eq!(observe(&mut sequence, 1), Arrival::Next { lost: 0 });
        assert_eq!(observe(&mut sequence, 4), Arrival::Next { lost: 2 });
        assert_eq!(observe(&mut sequence, 3), Arrival::Late);
        assert_eq!(observe(&mut sequence, 3), Arrival::Repeated);
        assert_eq!(observe(&mut sequence, 4), Arrival::Repeated);
        let counts = Counts {
            taken: 3,
            lost: 1,
            late: 1,
            repeated: 2,
        };
        assert_eq!(sequence.counts(), counts);
    }

    #[test]
    fn numbers_that_begin_anew_are_no_repeats() {
        let mut sequence = Sequence::default();
        assert_eq!(sequence.observe(500, 9000), Arrival::Next { lost: 499 });
        assert_eq!(sequence.observe(2, 9500), Arrival::Restarted { lost: 1 });
        assert_eq!(sequence.observe(3, 9600), Arrival::Next { lost: 0 });
        // A restarted board: its clock begins anew as well, so the connection has to say it.
        sequence.restart();
        assert_eq!(sequence.observe(1, 10), Arrival::Next { lost: 0 });
        assert_eq!(sequence.counts().repeated, 0);
    }

    #[test]
    fn the_largest_numbers_do_no_harm() {
        let mut sequence = Sequence::default();
        assert_eq!(
            sequence.observe(u64::MAX, u64::MAX),
            Arrival::Next { lost: u64::MAX - 1 }
        );
        sequence.restart();
        assert_eq!(
            sequence.observe(u64::MAX, u64::MAX),
            Arrival::Next { lost: u64::MAX - 1 }
        );
        assert_eq!(sequence.counts().lost, u64::MAX);
        assert_eq!(sequence.observe(0, 0), Arrival::Repeated);
    }

    proptest! {
        #[test]
        fn counts_are_those_of_a_set(numbers in prop::collection::vec(1..60_u64, 1..100)) {
            let mut sequence = Sequence::default();
            let mut came = BTreeSet::new();
            for number in &numbers {
                let is_new = came.insert(*number);
                prop_assert_eq!(observe(&mut sequence, *number) != Arrival::Repeated, is_new);
            }
            let newest = numbers.iter().copied().max().unwrap_or(0);
            prop_assert_eq!(sequence.counts().taken, came.len() as u64);
            prop_assert_eq!(sequence.counts().lost, newest - came.len() as u64);
        }
    }
}
