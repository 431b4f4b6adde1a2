//! Exactly once: which deliveries of a subscription are new.
//!
//! Delivery is at least once: a reader may be given again what it had, after a reconnect, by a second subscription or by a recording that is
//! played over. A [`Feed`] keeps the cursor of the last event that was taken and passes over what lies before it. A log that has begun a
//! new life (another *epoch*) is followed only when a `Started` or `Bootstrap` says so, and never back into a life that was left.

use std::collections::VecDeque;

use sis_protocol::control::{Event, Failure};
use sis_protocol::wire::Cursor;

use crate::input::Delivery;
use crate::text::{SENTENCE_BYTES, clean};

/// So many lives that were left are remembered.
const LIVES_MAX: usize = 16;

/// What a delivery means for the state that is built from events.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing: it came before, or says nothing of events.
    Nothing,
    /// Apply this event.
    Apply(Cursor, Box<Event>),
    /// Events are missing: the state is to be taken afresh.
    Replace {
        /// Whether the numbers of before mean nothing any more.
        is_new_life: bool,
    },
}

/// What was passed over and what is missing, since the board is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FeedCounts {
    /// Events that came again.
    pub repeated: u64,
    /// Deliveries of a life of the log that was left, or never entered.
    pub foreign: u64,
    /// Events that are known to be missing.
    pub missed: u64,
    /// How often the state had to be taken afresh.
    pub bootstraps: u64,
}

/// See the module's documentation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Feed {
    cursor: Option<Cursor>,
    head_seq: u64,
    left: VecDeque<u64>,
    counts: FeedCounts,
    refusal: Option<String>,
}

impl Feed {
    /// The last event taken: where a new subscription starts after.
    #[must_use]
    pub const fn cursor(&self) -> Option<Cursor> {
        self.cursor
    }

    /// How many events are known to be there that have not come yet: how far catching up has still to go.
    #[must_use]
    pub fn behind(&self) -> u64 {
        self.cursor.map_or(0, |cursor| self.head_seq.saturating_sub(cursor.seq))
    }

    /// What was passed over and what is missing.
    #[must_use]
    pub const fn counts(&self) -> FeedCounts {
        self.counts
    }

    /// Why the board does not give what was subscribed to.
    #[must_use]
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    pub(crate) fn take(&mut self, delivery: Delivery) -> Turn {
        match delivery {
            Delivery::Unknown => Turn::Nothing,
            Delivery::Refused(Failure { message, .. }) => {
                self.refusal = Some(clean(message, SENTENCE_BYTES));
                Turn::Nothing
            }
            Delivery::Started { after, head_seq } => {
                let turn = self.move_to(after);
                if self.cursor.is_some_and(|cursor| cursor.epoch == after.epoch) {
                    self.refusal = None;
                    self.head_seq = self.head_seq.max(head_seq);
                }
                turn
            }
            Delivery::Bootstrap { cursor, .. } => self.move_to(cursor),
            Delivery::Event { epoch, event } => self.take_event(epoch, event),
        }
    }

    /// Delivery goes on after `to`.
    fn move_to(&mut self, to: Cursor) -> Turn {
        let Some(cursor) = self.cursor else {
            self.cursor = Some(to);
            return Turn::Nothing;
        };
        if cursor.epoch == to.epoch {
            let missed = to.seq.saturating_sub(cursor.seq);
            if missed == 0 {
                // It goes on where we stand, or gives again what we have.
                return Turn::Nothing;
            }
            self.counts.missed = self.counts.missed.saturating_add(missed);
        } else if self.left.contains(&to.epoch) {
            self.counts.foreign += 1;
            return Turn::Nothing;
        } else {
            if self.left.len() == LIVES_MAX {
                self.left.pop_front();
            }
            self.left.push_back(cursor.epoch);
            self.head_seq = 0;
        }
        self.counts.bootstraps += 1;
        self.cursor = Some(to);
        Turn::Replace {
            is_new_life: cursor.epoch != to.epoch,
        }
    }

    fn take_event(&mut self, epoch: u64, event: Box<Event>) -> Turn {
        let here = Cursor { epoch, seq: event.seq };
        if let Some(cursor) = self.cursor {
            if cursor.epoch != epoch {
                self.counts.foreign += 1;
                return Turn::Nothing;
            }
            let Some(step) = event.seq.checked_sub(cursor.seq).filter(|step| *step > 0) else {
                self.counts.repeated += 1;
                return Turn::Nothing;
            };
            // The client lets no gap through; a recording may have one. What follows it is still true.
            self.counts.missed = self.counts.missed.saturating_add(step - 1);
        }
        self.cursor = Some(here);
        Turn::Apply(here, event)
    }
}

#[cfg(test)]
mod tests {
    use sis_protocol::control::{ErrorCode, EventKind};

    use super::*;

    fn event(epoch: u64, seq: u64) -> Delivery {
        Delivery::Event {
            epoch,
            event: Box::new(Event {
                seq,
                ts_ns: seq,
                wall_ms: None,
                kind: EventKind::Unknown,
                kernel_seq: None,
            }),
        }
    }

    const fn cursor(epoch: u64, seq: u64) -> Cursor {
        Cursor { epoch, seq }
    }

    fn started(epoch: u64, seq: u64, head_seq: u64) -> Delivery {
        Delivery::Started {
            after: cursor(epoch, seq),
            head_seq,
        }
    }

    fn bootstrap(epoch: u64, seq: u64) -> Delivery {
        Delivery::Bootstrap {
            cursor: cursor(epoch, seq),
            missed: None,
        }
    }

    fn is_applied(turn: &Turn) -> bool {
        matches!(turn, Turn::Apply(..))
    }

    #[test]
    fn an_event_is_taken_once() {
        let mut feed = Feed::default();
        feed.take(started(1, 4, 6));
        assert!(is_applied(&feed.take(event(1, 5))));
        assert!(!is_applied(&feed.take(event(1, 5))));
        assert!(!is_applied(&feed.take(event(1, 3))));
        assert_eq!(feed.behind(), 1);
        assert!(is_applied(&feed.take(event(1, 6))));
        assert_eq!((feed.cursor(), feed.behind()), (Some(cursor(1, 6)), 0));
        assert_eq!(feed.counts().repeated, 2);
    }

    #[test]
    fn resuming_changes_nothing() {
        let mut feed = Feed::default();
        feed.take(started(1, 0, 2));
        feed.take(event(1, 1));
        assert_eq!(feed.take(started(1, 1, 9)), Turn::Nothing);
        // A second subscription that begins earlier.
        assert_eq!(feed.take(started(1, 0, 9)), Turn::Nothing);
        assert_eq!(feed.take(bootstrap(1, 0)), Turn::Nothing);
        assert_eq!((feed.cursor(), feed.behind()), (Some(cursor(1, 1)), 8));
        assert_eq!(feed.counts().bootstraps, 0);
    }

    #[test]
    fn a_stale_cursor_replaces_the_state() {
        let mut feed = Feed::default();
        feed.take(started(1, 0, 2));
        assert_eq!(feed.take(bootstrap(1, 50)), Turn::Replace { is_new_life: false });
        assert_eq!(feed.counts().missed, 50);
        assert!(is_applied(&feed.take(event(1, 51))));
        feed.take(started(1, 51, 90));
        assert_eq!(feed.behind(), 39);
        assert_eq!(feed.take(bootstrap(2, 0)), Turn::Replace { is_new_life: true });
        assert_eq!(feed.behind(), 0);
        assert!(is_applied(&feed.take(event(2, 1))));
    }

    #[test]
    fn a_life_that_was_left_is_not_entered_again() {
        let mut feed = Feed::default();
        feed.take(started(1, 0, 2));
        feed.take(event(1, 1));
        feed.take(bootstrap(2, 0));
        feed.take(event(2, 1));
        for again in [started(1, 0, 2), event(1, 2), bootstrap(1, 7), event(1, 8), event(3, 1)] {
            assert_eq!(feed.take(again), Turn::Nothing);
        }
        assert_eq!(feed.cursor(), Some(cursor(2, 1)));
        assert_eq!(feed.counts().foreign, 5);
    }

    #[test]
    fn a_gap_is_counted_and_what_follows_is_taken() {
        let mut feed = Feed::default();
        assert!(is_applied(&feed.take(event(1, 3))));
        assert!(is_applied(&feed.take(event(1, 7))));
        assert_eq!(feed.counts().missed, 3);
    }

    #[test]
    fn a_refusal_stands_until_delivery_begins() {
        let mut feed = Feed::default();
        feed.take(Delivery::Refused(Failure {
            code: ErrorCode::Forbidden,
            message: "not for you\n".into(),
        }));
        assert_eq!(feed.refusal(), Some("not for you\\n"));
        feed.take(started(1, 0, 0));
        assert_eq!(feed.refusal(), None);
    }
}
