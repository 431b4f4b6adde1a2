//! /dev/kmsg (Documentation/ABI/testing/dev-kmsg): each read gives one record of the kernel log, each write adds one.

use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::any::Any;
use core::fmt::Write;
use core::sync::atomic::{AtomicU64, Ordering};

use sis_machine::log;
use sis_machine::sync::Once;

use super::devfs::register_char;
use super::file::{File, IoFlags, Whence};
use crate::poll::{Events, PollTable};
use crate::time::Deadline;
use crate::user::{Sink, Source};
use crate::wait::{Observer, Registration, WaitQueue};
use crate::{Errno, Result};

/// Longest line that a write may have.
const LINE_MAX: usize = 1024 - 32;
/// How often a waiting reader looks by itself, should nobody tell of new records.
const LOOK_NS: u64 = 250_000_000;

static QUEUE: Once<Arc<WaitQueue>> = Once::new();

fn queue() -> &'static Arc<WaitQueue> {
    QUEUE.call_once(|| Arc::new(WaitQueue::new()))
}

/// The log has grown: wakes who waits for it. Interrupt-safe.
pub fn log_grew() {
    if let Some(q) = QUEUE.get() {
        q.wake_all(Events::READ);
    }
}

/// An open /dev/kmsg.
struct Kmsg {
    /// The record that the next read gives.
    next: AtomicU64,
}

impl Kmsg {
    fn has_more(&self) -> bool {
        self.next.load(Ordering::Relaxed) < log::bounds().1
    }
}

/// A record as a read gives it: `level,sequence,microseconds,-;text`. Unprintable bytes are escaped.
fn format(record: &log::Record) -> String {
    let mut out = alloc::format!("{},{},{},-;", record.level, record.seq, record.time_ns / 1000);
    for c in record.text.chars() {
        match c {
            '\\' | '\0'..='\x1f' | '\x7f' => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('\n');
    out
}

impl File for Kmsg {
    fn read(&self, to: &mut Sink<'_>, _offset: u64, flags: IoFlags) -> Result<usize> {
        loop {
            let next = self.next.load(Ordering::Relaxed);
            let Some(record) = log::read(next, 1).pop() else {
                if flags.nonblock {
                    return Err(Errno::EAGAIN);
                }
                match queue().wait_until(Deadline::after_ns(LOOK_NS), || self.has_more().then_some(())) {
                    Ok(()) | Err(Errno::ETIMEDOUT) => continue,
                    Err(e) => return Err(e),
                }
            };
            if record.seq > next && next > 1 {
                // Records were overwritten: the reader is told once.
                self.next.store(record.seq, Ordering::Relaxed);
                return Err(Errno::EPIPE);
            }
            let line = format(&record);
            if line.len() > to.remaining() {
                return Err(Errno::EINVAL);
            }
            self.next.store(record.seq + 1, Ordering::Relaxed);
            return to.put(line.as_bytes());
        }
    }

    fn write(&self, from: &mut Source<'_>, offset: u64, _flags: IoFlags) -> Result<(usize, u64)> {
        if from.remaining() > LINE_MAX {
            return Err(Errno::EINVAL);
        }
        let line = from.take_vec(LINE_MAX)?;
        let n = line.len();
        let text = String::from_utf8_lossy(&line);
        let (level, text) = split_level(text.trim_end_matches('\n'));
        log::record_text(level, String::from(text));
        log_grew();
        Ok((n, offset))
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn seek(&self, _current: u64, offset: i64, whence: Whence) -> Result<u64> {
        let (first, end) = log::bounds();
        let to = match whence {
            _ if offset != 0 => return Err(Errno::ESPIPE),
            Whence::Start | Whence::Data => first,
            Whence::End => end,
            _ => return Err(Errno::EINVAL),
        };
        self.next.store(to, Ordering::Relaxed);
        Ok(0)
    }

    fn poll(&self, table: Option<&mut PollTable>) -> Events {
        if let Some(t) = table {
            t.watch(queue());
        }
        if self.has_more() { Events::READ } else { Events::empty() }
    }

    fn observe(&self, observer: Weak<dyn Observer>) -> Result<Vec<Registration>> {
        Ok(alloc::vec![queue().observe(observer)])
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The level of `<N>text`: the priority with its facility, users' messages where there is none; 12 (a user's warning)
/// without a prefix, as on Linux.
fn split_level(text: &str) -> (u8, &str) {
    const USER: u8 = 1 << 3;
    let parsed = text.strip_prefix('<').and_then(|t| t.split_once('>'));
    match parsed.and_then(|(n, rest)| Some((n.parse::<u8>().ok()?, rest))) {
        Some((n, rest)) if n >> 3 == 0 => (n | USER, rest),
        Some(found) => found,
        None => (USER | 4, text),
    }
}

/// Registers the device.
pub(super) fn register() {
    let open = |_| -> Result<Arc<dyn File>> {
        Ok(Arc::new(Kmsg {
            next: AtomicU64::new(log::bounds().0),
        }))
    };
    let made = register_char("kmsg", 1, 11, 0o644, Arc::new(open));
    debug_assert!(made.is_ok());
}
