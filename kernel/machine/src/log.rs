//! The kernel log: a ring of records, and the console.
//!
//! Levels are those of syslog(2), 0 (emergency) to 7 (debug). A record goes to the console when its level is below the
//! console level. Every record keeps the monotonic time at which it was made.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use sis_hal::ConsoleDevice;
use spin::Once;

use crate::sync::{IrqLock, Rank};

/// Most records kept.
const RECORDS: usize = 4096;
/// Most bytes of one record.
const LINE: usize = 1000;

/// One record.
#[derive(Clone, Debug)]
pub struct Record {
    /// From 1, without gaps.
    pub seq: u64,
    /// Monotonic time in nanoseconds.
    pub time_ns: u64,
    /// 0 to 7; facility in the bits above 3, as syslog has it.
    pub level: u8,
    /// The text, without newline.
    pub text: String,
}

static RING: IrqLock<Option<VecDeque<Record>>> = IrqLock::new(Rank::Log, None);
static NEXT: AtomicU64 = AtomicU64::new(1);
static CONSOLE_LEVEL: AtomicU8 = AtomicU8::new(7);
static DEVICE: Once<&'static dyn ConsoleDevice> = Once::new();
static OUTPUT: IrqLock<()> = IrqLock::new(Rank::Console, ());
static HOOK: Once<fn(u64)> = Once::new();
static MIRROR: Once<fn(&[u8])> = Once::new();

pub(crate) fn init() {
    *RING.lock() = Some(VecDeque::with_capacity(RECORDS + 1));
}

/// Names the console device; once, at boot.
pub fn set_console(d: &'static dyn ConsoleDevice) {
    DEVICE.call_once(|| d);
}

/// The console device.
pub fn console() -> Option<&'static dyn ConsoleDevice> {
    DEVICE.get().copied()
}

/// Calls `f` with each new record's number, after it is in the ring; interrupt-safe.
pub fn set_hook(f: fn(u64)) {
    HOOK.call_once(|| f);
}

/// Calls `f` with all that goes to the console from now on, so that something else shows it too. It is called by whoever
/// writes, in any context, with the console's lock held: it must take no lock but [`Rank::Mirror`]'s.
pub fn set_mirror(f: fn(&[u8])) {
    MIRROR.call_once(|| f);
}

fn mirror(bytes: &[u8]) {
    if let Some(f) = MIRROR.get() {
        f(bytes);
    }
}

/// Records of a level below this go to the console (1..=8).
pub fn set_console_level(level: u8) {
    CONSOLE_LEVEL.store(level.clamp(1, 8), Ordering::Relaxed);
}

/// Records of a level below this go to the console.
pub fn console_level() -> u8 {
    CONSOLE_LEVEL.load(Ordering::Relaxed)
}

/// Writes bytes to the console, `\n` as `\r\n`.
pub fn console_write(bytes: &[u8]) {
    let _guard = OUTPUT.lock();
    Console.write_bytes(bytes);
}

/// Writes bytes to the console as they are: for terminals, which do their own output processing.
pub fn console_write_raw(bytes: &[u8]) {
    let _guard = OUTPUT.lock();
    mirror(bytes);
    match DEVICE.get() {
        Some(d) => {
            d.write_bytes(bytes);
        }
        None => bytes.iter().for_each(|b| crate::start::early_putc(*b)),
    }
}

/// As [`console_write`] without the lock: for panics.
pub(crate) fn raw_write(bytes: &[u8]) {
    for &b in bytes {
        if b == b'\n' {
            put(b'\r');
        }
        put(b);
    }
}

fn put(b: u8) {
    match DEVICE.get() {
        Some(d) => {
            let _ = d.write_byte_blocking(b);
        }
        None => crate::start::early_putc(b),
    }
}

/// The console and what mirrors it, while the console's lock is held.
struct Console;
impl Console {
    fn write_bytes(&mut self, bytes: &[u8]) {
        raw_write(bytes);
        for (i, line) in bytes.split(|b| *b == b'\n').enumerate() {
            if i > 0 {
                mirror(b"\r\n");
            }
            mirror(line);
        }
    }
}
impl Write for Console {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.write_bytes(s.as_bytes());
        Ok(())
    }
}

/// Adds a record. `level` below 8; longer texts are cut.
pub fn record(level: u8, args: fmt::Arguments<'_>) {
    let mut text = String::new();
    let _ = text.write_fmt(args);
    record_text(level, text);
}

/// Adds a record of a ready text.
pub fn record_text(level: u8, text: String) {
    let text = cut(text);
    let time_ns = crate::timer::now_ns();
    if (level & 7) < CONSOLE_LEVEL.load(Ordering::Relaxed) {
        let _guard = OUTPUT.lock();
        let _ = writeln!(
            Console,
            "[{:5}.{:06}] {text}",
            time_ns / 1_000_000_000,
            time_ns / 1000 % 1_000_000
        );
    }
    keep(level, time_ns, text);
}

/// Adds a record that does not go to the console, whatever its level.
pub fn record_quietly(level: u8, text: &str) {
    keep(level, crate::timer::now_ns(), cut(String::from(text)));
}

fn cut(mut text: String) -> String {
    if text.len() > LINE {
        let mut end = LINE;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    text
}

fn keep(level: u8, time_ns: u64, text: String) {
    let mut seq = 0;
    let old = {
        let mut ring = RING.lock();
        ring.as_mut().and_then(|r| {
            seq = NEXT.fetch_add(1, Ordering::Relaxed);
            let old = if r.len() >= RECORDS { r.pop_front() } else { None };
            r.push_back(Record {
                seq,
                time_ns,
                level,
                text,
            });
            old
        })
    };
    drop(old);
    if seq != 0
        && let Some(f) = HOOK.get()
    {
        f(seq);
    }
}

/// Prints a boot marker as a line of its own, and records it.
pub fn marker(text: &str) {
    if 6 < CONSOLE_LEVEL.load(Ordering::Relaxed) {
        let _guard = OUTPUT.lock();
        let _ = writeln!(Console, "{text}");
    }
    record_quietly(6, text);
}

/// Records from number `from` on, at most `most`.
pub fn read(from: u64, most: usize) -> Vec<Record> {
    let mut out = Vec::with_capacity(most.min(64));
    let mut next = from;
    // A few at a time: copies allocate, which must not happen under the ring's lock.
    while out.len() < most {
        let mut text = String::with_capacity(LINE);
        let got = {
            let ring = RING.lock();
            ring.as_ref().and_then(|r| {
                let first = r.front()?.seq;
                let at = next.max(first) - first;
                let rec = r.get(usize::try_from(at).ok()?)?;
                text.push_str(&rec.text);
                Some((rec.seq, rec.time_ns, rec.level))
            })
        };
        let Some((seq, time_ns, level)) = got else { break };
        text.shrink_to_fit();
        out.push(Record {
            seq,
            time_ns,
            level,
            text,
        });
        next = seq + 1;
    }
    out
}

/// Number of the first record kept, and one past the last.
pub fn bounds() -> (u64, u64) {
    let ring = RING.lock();
    let next = NEXT.load(Ordering::Relaxed);
    (ring.as_ref().and_then(|r| r.front()).map_or(next, |r| r.seq), next)
}

/// Prints the last `n` records without taking a lock that may be held: for panics.
pub(crate) fn print_tail(n: usize, to: &mut dyn Write) {
    let Some(ring) = RING.try_lock() else {
        let _ = writeln!(to, "  (the log is in use)");
        return;
    };
    if let Some(r) = ring.as_ref() {
        for rec in r.iter().skip(r.len().saturating_sub(n)) {
            let _ = writeln!(
                to,
                "  [{:5}.{:06}] <{}> {}",
                rec.time_ns / 1_000_000_000,
                rec.time_ns / 1000 % 1_000_000,
                rec.level & 7,
                rec.text
            );
        }
    }
}

/// Records an error (level 3).
#[macro_export]
macro_rules! error { ($($t:tt)*) => { $crate::log::record(3, format_args!($($t)*)) }; }
/// Records a warning (level 4).
#[macro_export]
macro_rules! warn { ($($t:tt)*) => { $crate::log::record(4, format_args!($($t)*)) }; }
/// Records what an operator may want to know (level 5).
#[macro_export]
macro_rules! notice { ($($t:tt)*) => { $crate::log::record(5, format_args!($($t)*)) }; }
/// Records information (level 6).
#[macro_export]
macro_rules! info { ($($t:tt)*) => { $crate::log::record(6, format_args!($($t)*)) }; }
/// Records detail for developers (level 7).
#[macro_export]
macro_rules! debug { ($($t:tt)*) => { $crate::log::record(7, format_args!($($t)*)) }; }
