//! A bounded log with cursors.
//!
//! Entries are kept as the frames that go on the wire, so that sending to many clients is copying. A reader says the last sequence number it
//! has; from `oldest_seq() - 1` on nothing is missing, an older cursor is stale.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sis_protocol::control::{Event, EventKind};
use sis_protocol::wire::{EventFrame, frame};
use tokio::sync::watch;

/// See the module's documentation.
pub(crate) struct Log {
    state: Mutex<State>,
    head: watch::Sender<u64>,
    max_entries: usize,
    max_bytes: usize,
}

struct State {
    frames: VecDeque<Box<[u8]>>,
    bytes: usize,
    head_seq: u64,
}

impl State {
    /// The cursor before the oldest entry.
    fn oldest_cursor(&self) -> u64 {
        self.head_seq - u64::try_from(self.frames.len()).unwrap_or(self.head_seq)
    }
}

/// What there is after a cursor.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// Whole frames, and the sequence number of the last one.
    Frames { bytes: Vec<u8>, last_seq: u64 },
    /// Nothing new.
    UpToDate,
    /// The cursor is not covered.
    Stale,
}

impl Log {
    pub(crate) fn new(max_entries: usize, max_bytes: usize) -> Self {
        let state = Mutex::new(State {
            frames: VecDeque::new(),
            bytes: 0,
            head_seq: 0,
        });
        Self {
            state,
            head: watch::Sender::new(0),
            max_entries,
            max_bytes,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event and gives it its number.
    pub(crate) fn append(&self, ts_ns: u64, wall_ms: Option<u64>, kind: EventKind, kernel_seq: Option<u64>) -> u64 {
        let seq = {
            let mut state = self.lock();
            let seq = state.head_seq + 1;
            let event = Event {
                seq,
                ts_ns,
                wall_ms,
                kind,
                kernel_seq,
            };
            let bytes = frame::encode(&EventFrame::Event(event)).into_boxed_slice();
            state.bytes += bytes.len();
            state.frames.push_back(bytes);
            state.head_seq = seq;
            while state.frames.len() > self.max_entries || (state.bytes > self.max_bytes && state.frames.len() > 1) {
                if let Some(dropped) = state.frames.pop_front() {
                    state.bytes -= dropped.len();
                }
            }
            seq
        };
        // Appends may overtake each other here: the head only grows.
        self.head.send_if_modified(|head| {
            let is_newer = seq > *head;
            *head = seq.max(*head);
            is_newer
        });
        seq
    }

    /// Learns of new entries.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    /// The oldest good cursor and the newest sequence number.
    pub(crate) fn range(&self) -> (u64, u64) {
        let state = self.lock();
        (state.oldest_cursor(), state.head_seq)
    }

    /// Whole frames after `cursor`, up to about `max_bytes`.
    pub(crate) fn read(&self, cursor: u64, max_bytes: usize) -> Read {
        let state = self.lock();
        let oldest = state.oldest_cursor();
        if cursor < oldest || cursor > state.head_seq {
            return Read::Stale;
        }
        let Ok(skip) = usize::try_from(cursor - oldest) else {
            return Read::Stale;
        };
        let (mut bytes, mut last_seq) = (Vec::new(), cursor);
        for frame in state.frames.range(skip..) {
            if !bytes.is_empty() && bytes.len() + frame.len() > max_bytes {
                break;
            }
            bytes.extend_from_slice(frame);
            last_seq += 1;
        }
        if last_seq == cursor {
            Read::UpToDate
        } else {
            Read::Frames { bytes, last_seq }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(count: u64, max_entries: usize, max_bytes: usize) -> Log {
        let log = Log::new(max_entries, max_bytes);
        for n in 0..count {
            log.append(n, None, EventKind::Lost { count: n }, None);
        }
        log
    }

    fn sequence_numbers(mut bytes: &[u8]) -> Vec<u64> {
        let mut reader = frame::Reader::new(1 << 20);
        reader.feed(std::mem::take(&mut bytes));
        let mut numbers = Vec::new();
        while let Some(EventFrame::Event(event)) = reader.next_open().unwrap() {
            numbers.push(event.seq);
        }
        numbers
    }

    #[test]
    fn reads_on_from_a_cursor_without_gap_or_repeat() {
        let log = filled(1000, 2000, 1 << 20);
        let (mut cursor, mut seen) = (0, Vec::new());
        while let Read::Frames { bytes, last_seq } = log.read(cursor, 100) {
            seen.extend(sequence_numbers(&bytes));
            cursor = last_seq;
        }
        assert_eq!(seen, (1..=1000).collect::<Vec<_>>());
        assert_eq!(log.read(1000, 100), Read::UpToDate);
    }

    #[test]
    fn keeps_so_many_and_says_when_a_cursor_is_stale() {
        let log = filled(25, 10, 1 << 20);
        assert_eq!(log.range(), (15, 25));
        assert_eq!(log.read(14, 100), Read::Stale);
        assert!(matches!(log.read(15, 1 << 20), Read::Frames { last_seq: 25, .. }));
        assert_eq!(log.read(26, 100), Read::Stale);
    }

    #[test]
    fn is_bounded_in_bytes_too() {
        let log = filled(1000, 10_000, 1000);
        let (oldest, head) = log.range();
        assert_eq!(head, 1000);
        assert!(head - oldest < 100);
        assert!(log.lock().bytes <= 1000);
    }

    #[test]
    fn an_empty_log_is_up_to_date() {
        assert_eq!(Log::new(1, 1).read(0, 1), Read::UpToDate);
    }
}
