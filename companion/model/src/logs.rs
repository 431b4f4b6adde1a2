//! The newest lines of a board's log.
//!
//! A [`LogStore`] keeps so many lines and bytes, whichever is less. Each line has a *number* of this store, which only grows, so that a
//! [`LogView`] can go on where it was.

mod export;
mod filter;
mod view;

use std::collections::VecDeque;

use sis_protocol::control::{Event, EventKind, Facility, Level, LogRecord};
use sis_protocol::wire::Cursor;

pub use filter::{LogFilter, Sources};
pub use view::LogView;

use crate::feed::{Feed, Turn};
use crate::input::Delivery;
use crate::resent::Resent;
use crate::text::{LINE_BYTES, clean};

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Its place in the board's log.
    pub cursor: Cursor,
    /// The kernel's own number, where it has given one.
    pub kernel_seq: Option<u64>,
    /// When: nanoseconds of the board's monotonic clock.
    pub ts_ns: u64,
    /// When: Unix milliseconds, by the board's own word.
    pub wall_ms: Option<u64>,
    /// How severe.
    pub level: Level,
    /// Where from.
    pub source: Facility,
    /// Without a newline, cut to 4096 bytes, and nothing in it that would drive a terminal.
    pub text: String,
}

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogStore {
    feed: Feed,
    lines: VecDeque<LogLine>,
    lines_max: usize,
    bytes: usize,
    bytes_max: usize,
    /// The number of the oldest line that is kept.
    first: u64,
    /// Things in the log that were no lines.
    unknown: u64,
    resent: Resent,
}

impl Default for LogStore {
    /// 10,000 lines, 4 MiB.
    fn default() -> Self {
        Self::new(10_000, 4 << 20)
    }
}

impl LogStore {
    /// An empty store of so many lines and bytes of text; the newest line is kept however long it is.
    #[must_use]
    pub fn new(lines_max: usize, bytes_max: usize) -> Self {
        Self {
            feed: Feed::default(),
            lines: VecDeque::new(),
            lines_max: lines_max.max(1),
            bytes: 0,
            bytes_max,
            first: 0,
            unknown: 0,
            resent: Resent::default(),
        }
    }

    /// Where the subscription stands.
    #[must_use]
    pub const fn feed(&self) -> &Feed {
        &self.feed
    }

    /// The lines, oldest first.
    pub fn lines(&self) -> impl DoubleEndedIterator<Item = &LogLine> + ExactSizeIterator {
        self.lines.iter()
    }

    /// The numbers of the lines that are kept, from the first to before the second.
    #[must_use]
    pub fn numbers(&self) -> (u64, u64) {
        (self.first, self.first + self.lines.len() as u64)
    }

    /// The line of this number, `None` when it is no longer kept, or not there yet.
    #[must_use]
    pub fn get(&self, number: u64) -> Option<&LogLine> {
        let at = number.checked_sub(self.first)?;
        self.lines.get(usize::try_from(at).ok()?)
    }

    /// How much was in the log that this version does not know as a line.
    #[must_use]
    pub const fn unknown(&self) -> u64 {
        self.unknown
    }

    /// Takes what the subscription delivered. When the board's log begins a new life, the lines of the old one stay: they were said.
    pub fn apply(&mut self, delivery: Delivery) {
        let (cursor, event) = match self.feed.take(delivery) {
            Turn::Apply(cursor, event) => (cursor, event),
            Turn::Replace { is_new_life: true } => {
                self.resent = Resent::expect(self.lines.iter().map(|line| (line.kernel_seq, line.ts_ns)));
                return;
            }
            Turn::Replace { is_new_life: false } | Turn::Nothing => return,
        };
        let Event {
            wall_ms,
            kind,
            kernel_seq,
            ..
        } = *event;
        let EventKind::LogLine(LogRecord {
            ts_ns,
            level,
            facility,
            text,
        }) = kind
        else {
            self.unknown += 1;
            return;
        };
        if self.resent.contains(kernel_seq, ts_ns) {
            return;
        }
        self.push(LogLine {
            cursor,
            kernel_seq,
            ts_ns,
            wall_ms,
            level,
            source: facility,
            text: clean(text, LINE_BYTES),
        });
    }

    fn push(&mut self, line: LogLine) {
        self.bytes += line.text.len();
        self.lines.push_back(line);
        while self.lines.len() > self.lines_max || (self.bytes > self.bytes_max && self.lines.len() > 1) {
            if let Some(oldest) = self.lines.pop_front() {
                self.bytes -= oldest.text.len();
                self.first += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests;
