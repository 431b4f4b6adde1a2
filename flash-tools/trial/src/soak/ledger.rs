//! What came, and what is wrong about it.

use sis_client::Delivery;
use sis_protocol::control::{Event, EventKind};
use sis_protocol::wire::{Cursor, Topic};

/// Faults kept; the rest would say the same.
const MAX_WRONG: usize = 200;

/// Outlives the clients that fill it.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Where each topic is.
    pub(super) event_cursor: Option<Cursor>,
    pub(super) log_cursor: Option<Cursor>,
    /// The newest numbered line.
    pub(super) line: u64,
    pub(super) events: u64,
    pub(super) crashes: u64,
    pub(super) proposals: u64,
    pub(super) outcomes: u64,
    pub(super) samples: u64,
    pub(super) samples_lost: u64,
    /// What is wrong, a sentence each.
    pub(super) wrong: Vec<String>,
}

impl Ledger {
    fn fault(&mut self, text: String) {
        if self.wrong.len() < MAX_WRONG {
            self.wrong.push(text);
        }
    }

    /// Takes what a subscription gave; the proposal in it, if it is one.
    pub(super) fn take(&mut self, topic: Topic, delivery: &Delivery, cursor: Option<Cursor>) -> Option<u64> {
        match delivery {
            Delivery::Event(event) => self.event(topic, event, cursor),
            Delivery::Bootstrap { missed } => {
                self.fault(format!("{topic:?}: the cursor is stale, {missed:?} missed"));
                self.set_cursor(topic, None);
                None
            }
            Delivery::Refused(failure) => {
                self.fault(format!("{topic:?}: refused: {failure}"));
                None
            }
            _ => None,
        }
    }

    fn set_cursor(&mut self, topic: Topic, cursor: Option<Cursor>) {
        match topic {
            Topic::Logs => self.log_cursor = cursor,
            _ => self.event_cursor = cursor,
        }
    }

    fn event(&mut self, topic: Topic, event: &Event, cursor: Option<Cursor>) -> Option<u64> {
        let last = match topic {
            Topic::Logs => self.log_cursor,
            _ => self.event_cursor,
        };
        if let Some(last) = last {
            if last.seq + 1 != event.seq {
                self.fault(format!("{topic:?}: event {} came after {}", event.seq, last.seq));
            }
            if cursor.is_some_and(|cursor| cursor.epoch != last.epoch) {
                self.fault(format!("{topic:?}: the agent has started anew"));
            }
        }
        self.set_cursor(topic, cursor.or(last));
        match &event.kind {
            EventKind::LogLine(record) => {
                let number = record
                    .text
                    .strip_prefix("soak line ")
                    .and_then(|n| n.parse::<u64>().ok());
                if let Some(number) = number {
                    if number != self.line + 1 {
                        self.fault(format!("line {number} came after line {}", self.line));
                    }
                    self.line = number;
                }
                return None;
            }
            EventKind::ProcessCrash { .. } => self.crashes += 1,
            EventKind::Outcome(_) => self.outcomes += 1,
            EventKind::Proposal(proposal) => {
                self.proposals += 1;
                self.events += 1;
                return Some(proposal.id);
            }
            _ => {}
        }
        self.events += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sis_protocol::control::{Facility, Level, LogRecord};

    fn line(seq: u64, text: &str) -> Delivery {
        let record = LogRecord {
            ts_ns: 0,
            level: Level::Debug,
            facility: Facility::User,
            text: text.to_owned(),
        };
        Delivery::Event(Box::new(Event {
            seq,
            ts_ns: 0,
            wall_ms: None,
            kind: EventKind::LogLine(record),
            kernel_seq: None,
        }))
    }

    fn told(lines: &[(u64, &str)]) -> Vec<String> {
        let mut ledger = Ledger::default();
        for (seq, text) in lines {
            let cursor = Cursor { epoch: 1, seq: *seq };
            ledger.take(Topic::Logs, &line(*seq, text), Some(cursor));
        }
        ledger.wrong
    }

    #[test]
    fn a_whole_row_is_right() {
        let row = [(5, "soak line 1"), (6, "something else"), (7, "soak line 2")];
        assert!(told(&row).is_empty());
    }

    #[test]
    fn lost_repeated_and_swapped_events_are_found() {
        assert_eq!(told(&[(5, "a"), (7, "b")]).len(), 1);
        assert_eq!(told(&[(5, "a"), (5, "a")]).len(), 1);
        assert_eq!(told(&[(5, "a"), (7, "b"), (6, "c")]).len(), 2);
    }

    #[test]
    fn a_line_that_was_lost_before_the_agent_had_it_is_found() {
        assert_eq!(told(&[(5, "soak line 1"), (6, "soak line 3")]).len(), 1);
        assert_eq!(told(&[(5, "soak line 2")]).len(), 1);
    }

    #[test]
    fn a_stale_cursor_is_a_fault() {
        let mut ledger = Ledger::default();
        ledger.take(Topic::Events, &Delivery::Bootstrap { missed: Some(3) }, None);
        assert_eq!(ledger.wrong.len(), 1);
    }
}
