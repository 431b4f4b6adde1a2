//! Lines as files.

use std::fmt::Write;

use serde::Serialize;
use sis_protocol::control::{Facility, Level};

use super::LogLine;

/// A line of an NDJSON export.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Exported<'a> {
    epoch: u64,
    seq: u64,
    ts_ns: u64,
    wall_ms: Option<u64>,
    level: Level,
    source: Facility,
    text: &'a str,
}

/// For people, as `dmesg` has it: `[    1.234567] kernel error: text`.
pub(super) fn text<'a>(lines: impl IntoIterator<Item = &'a LogLine>) -> String {
    let mut out = String::new();
    for line in lines {
        let (seconds, micros) = (line.ts_ns / 1_000_000_000, line.ts_ns / 1000 % 1_000_000);
        let (source, level) = (source_name(line.source), level_name(line.level));
        // Writing to a string cannot fail.
        let _ = writeln!(out, "[{seconds:5}.{micros:06}] {source} {level}: {}", line.text);
    }
    out
}

/// For programs: one JSON object a line.
pub(super) fn ndjson<'a>(lines: impl IntoIterator<Item = &'a LogLine>) -> String {
    let mut out = String::new();
    for line in lines {
        let exported = Exported {
            epoch: line.cursor.epoch,
            seq: line.cursor.seq,
            ts_ns: line.ts_ns,
            wall_ms: line.wall_ms,
            level: line.level,
            source: line.source,
            text: &line.text,
        };
        // Numbers and text: nothing that JSON has no word for.
        out.push_str(&serde_json::to_string(&exported).unwrap_or_default());
        out.push('\n');
    }
    out
}

impl super::LogStore {
    /// All lines for people, as `dmesg` has them: `[    1.234567] kernel error: text`.
    #[must_use]
    pub fn to_text(&self) -> String {
        text(self.lines())
    }

    /// All lines for programs: one JSON object a line.
    #[must_use]
    pub fn to_ndjson(&self) -> String {
        ndjson(self.lines())
    }
}

impl super::LogView {
    /// The shown lines, as [`super::LogStore::to_text`].
    #[must_use]
    pub fn to_text(&self, store: &super::LogStore) -> String {
        text(self.lines(store, 0, usize::MAX))
    }

    /// The shown lines, as [`super::LogStore::to_ndjson`].
    #[must_use]
    pub fn to_ndjson(&self, store: &super::LogStore) -> String {
        ndjson(self.lines(store, 0, usize::MAX))
    }
}

const fn level_name(level: Level) -> &'static str {
    match level {
        Level::Emergency => "emergency",
        Level::Alert => "alert",
        Level::Critical => "critical",
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Notice => "notice",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Unknown(_) => "unknown",
    }
}

const fn source_name(source: Facility) -> &'static str {
    match source {
        Facility::Kernel => "kernel",
        Facility::User => "user",
        Facility::Daemon => "daemon",
        Facility::Unknown(_) => "unknown",
    }
}
