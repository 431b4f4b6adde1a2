//! The agent's own log: one line an entry on standard error, `<level>sis-agent: text`, the form that a kernel log or a journal takes.

use std::fmt::Arguments;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

static IS_QUIET: AtomicBool = AtomicBool::new(false);

/// Leaves out everything but errors.
pub fn set_quiet(is_quiet: bool) {
    IS_QUIET.store(is_quiet, Ordering::Relaxed);
}

pub(crate) fn info(text: Arguments<'_>) {
    if !IS_QUIET.load(Ordering::Relaxed) {
        line(6, text);
    }
}

pub(crate) fn error(text: Arguments<'_>) {
    line(3, text);
}

fn line(level: u8, text: Arguments<'_>) {
    // Peers' names are in it: control characters must not reach the console.
    let text: String = text
        .to_string()
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect();
    // Nowhere to complain to when standard error is gone.
    // One write: to `/dev/kmsg` each write is a record of its own.
    let _ = std::io::stderr().write_all(format!("<{level}>sis-agent: {text}\n").as_bytes());
}
