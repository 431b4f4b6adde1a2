//! What the console's lines mean. Bytes in, in any chunking; events out. Pure: time is passed in.
//!
//! CRLF is one line end, ANSI escapes are taken out of the text (whoever shows the console to a person keeps the raw
//! bytes), invalid UTF-8 is shown escaped and never stops the stream. A prompt is seen before its line ends, at the blank behind
//! it, however the bytes are chunked.

use std::time::Duration;

/// The boot markers, in the order in which a boot says them.
pub const BOOT_MARKERS: [&str; 8] = [
    "KERNEL(U)",
    "STACK OK",
    "MMU: SCTLR",
    "MMU ON",
    "UART: READY",
    "GIC: INIT",
    "VECTORS OK",
    "LAUNCHING SHELL",
];
/// The line of a crash, wherever in it and in whatever case.
const PANIC_PHRASES: [&str; 7] = [
    "kernel panic",
    "panic:",
    "unable to handle kernel",
    "oops:",
    "backtrace:",
    "pc is at",
    "lr is at",
];
/// One crash says many such lines; they are one panic.
const PANIC_DEBOUNCE: Duration = Duration::from_secs(5);
/// A line longer than this is cut here: a stream without line ends must not eat the memory.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// Something the console said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Any whole line, before what it means.
    Line(String),
    /// A boot marker: its place in [`BOOT_MARKERS`].
    Marker(usize),
    /// `METRIC name=value`; the name in lower case.
    Metric {
        /// Its name.
        name: String,
        /// Its value.
        value: i64,
    },
    /// `[PASS] name` or `[FAIL] name`.
    Check {
        /// What was checked.
        name: String,
        /// Whether it holds.
        has_passed: bool,
    },
    /// `sis>` at the start of a line: a command may be typed.
    Prompt,
    /// The first prompt after `LAUNCHING SHELL`: the board is up.
    Ready,
    /// The kernel crashed; the line that says so.
    Panic(String),
}

/// The parser of one run.
#[derive(Debug, Default)]
pub struct LineParser {
    /// Text of the unfinished line, escapes taken out.
    line: Vec<u8>,
    escape: Escape,
    has_prompted_on_line: bool,
    has_launched_shell: bool,
    is_ready: bool,
    ends_with_cr: bool,
    last_panic: Option<Duration>,
}

/// Where in an escape sequence the stream is (ECMA-48: CSI, OSC, and two-byte escapes).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    Started,
    /// One more byte (a character set's name).
    Designator,
    Csi,
    /// Ends with BEL or with ESC `\`.
    Osc,
    OscEnding,
}

impl LineParser {
    /// A parser at the start of a run.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the board has shown its prompt after the shell was launched.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// Takes the next bytes; `now` counts from any fixed point.
    pub fn push(&mut self, bytes: &[u8], now: Duration) -> Vec<Event> {
        let mut events = Vec::new();
        for &byte in bytes {
            self.push_byte(byte, now, &mut events);
        }
        events
    }

    /// The end of the stream: what was said without a line end is a line.
    pub fn finish(&mut self, now: Duration) -> Vec<Event> {
        let mut events = Vec::new();
        if !self.line.is_empty() {
            self.end_line(now, &mut events);
        }
        events
    }

    fn push_byte(&mut self, byte: u8, now: Duration, events: &mut Vec<Event>) {
        if self.skips(byte) {
            return;
        }
        let after_cr = std::mem::replace(&mut self.ends_with_cr, byte == b'\r');
        match byte {
            b'\n' => self.end_line(now, events),
            b'\r' => {}
            0x08 => {
                self.line.pop();
            }
            _ => {
                // A lone carriage return goes back to the line's start: what follows replaces it.
                if after_cr {
                    self.line.clear();
                    self.has_prompted_on_line = false;
                }
                self.line.push(byte);
                if byte == b' ' {
                    self.look_for_prompt(events);
                }
                if self.line.len() >= MAX_LINE_BYTES {
                    self.end_line(now, events);
                }
            }
        }
    }

    /// Whether `byte` belongs to an escape sequence.
    fn skips(&mut self, byte: u8) -> bool {
        let (next, is_skipped) = match (self.escape, byte) {
            (Escape::None, 0x1b) => (Escape::Started, true),
            (Escape::None, _) => (Escape::None, false),
            (Escape::Started, b'[') => (Escape::Csi, true),
            (Escape::Started, b']' | b'P' | b'_' | b'^' | b'X') => (Escape::Osc, true),
            (Escape::Started, 0x20..=0x2f) => (Escape::Designator, true),
            (Escape::Started, 0x1b) => (Escape::Started, true),
            // A line end inside a sequence is a line end: a broken sequence must not hide it.
            (_, b'\n') => (Escape::None, false),
            (Escape::Started | Escape::Designator, _) => (Escape::None, true),
            (Escape::Csi, 0x40..=0x7e) => (Escape::None, true),
            (Escape::Csi, _) => (Escape::Csi, true),
            (Escape::Osc, 0x07) => (Escape::None, true),
            (Escape::Osc, 0x1b) => (Escape::OscEnding, true),
            (Escape::Osc, _) => (Escape::Osc, true),
            (Escape::OscEnding, _) => (Escape::None, true),
        };
        self.escape = next;
        is_skipped
    }

    fn look_for_prompt(&mut self, events: &mut Vec<Event>) {
        if self.has_prompted_on_line || self.line.trim_ascii() != b"sis>" {
            return;
        }
        self.has_prompted_on_line = true;
        events.push(Event::Prompt);
        if self.has_launched_shell && !self.is_ready {
            self.is_ready = true;
            events.push(Event::Ready);
        }
    }

    fn end_line(&mut self, now: Duration, events: &mut Vec<Event>) {
        self.look_for_prompt(events);
        let line = escaped(&std::mem::take(&mut self.line));
        self.has_prompted_on_line = false;
        let text = line.trim();
        if let Some(marker) = BOOT_MARKERS.iter().position(|marker| is_marker(text, marker)) {
            self.has_launched_shell |= BOOT_MARKERS[marker] == "LAUNCHING SHELL";
            events.push(Event::Line(line.clone()));
            events.push(Event::Marker(marker));
            return;
        }
        events.push(Event::Line(line.clone()));
        if let Some((name, value)) = metric(&line) {
            events.push(Event::Metric { name, value });
        } else if let Some(name) = text.strip_prefix("[PASS] ") {
            events.push(Event::Check {
                name: name.trim().into(),
                has_passed: true,
            });
        } else if let Some(name) = text.strip_prefix("[FAIL] ") {
            events.push(Event::Check {
                name: name.trim().into(),
                has_passed: false,
            });
        } else if is_panic(&line)
            && self
                .last_panic
                .is_none_or(|last| now.saturating_sub(last) >= PANIC_DEBOUNCE)
        {
            self.last_panic = Some(now);
            events.push(Event::Panic(line));
        }
    }
}

/// Whether the line says `marker`, by itself, behind a time stamp (`[    0.001] `), or with more said after it.
fn is_marker(text: &str, marker: &str) -> bool {
    let text = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((stamp, rest)) if stamp.trim().bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => {
            rest.trim_start()
        }
        _ => text,
    };
    text.strip_prefix(marker)
        .is_some_and(|rest| rest.is_empty() || !rest.starts_with(|c: char| c.is_alphanumeric()))
}

/// `^METRIC\s+([A-Za-z0-9_:.\-]+)=(-?[0-9]+)\s*$`; anything else is plain text.
fn metric(line: &str) -> Option<(String, i64)> {
    let rest = line.strip_prefix("METRIC")?;
    let text = rest.trim_start();
    if text.len() == rest.len() {
        return None;
    }
    let (name, value) = text.trim_end().split_once('=')?;
    let is_name = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_:.-".contains(&byte));
    let digits = value.strip_prefix('-').unwrap_or(value);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    (is_name && is_number).then(|| Some((name.to_ascii_lowercase(), value.parse().ok()?)))?
}

fn is_panic(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    PANIC_PHRASES.iter().any(|phrase| line.contains(phrase))
}

/// UTF-8, with bytes that are none and control characters (but tabs) written as `\xNN`.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() && character != '\t' {
                text.extend(character.escape_default());
            } else {
                text.push(character);
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

#[cfg(test)]
mod tests;
