//! What happened, numbered, the last few thousand kept.
//!
//! Events are encoded once, when they happen, and kept in one ring; a reader of the device holds no events of its own but
//! the number of the last one it has seen. A reader that is too slow is told how many it missed.
//!
//! Lines of the kernel log are events too. They may be made in interrupt handlers and with locks held, so they are not
//! taken over where they are made but a moment later: by a kernel thread, or by whoever looks at the ring first.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use sis_abi::signal::Signal;
use sis_machine::sync::{Rank, SpinLock};
use sis_machine::{log, percpu};
use sis_protocol::control::{Event, EventKind, Facility, Level, LogRecord, Message};

use super::device::Client;
use crate::fs::kmsg;
use crate::poll::Events;
use crate::time::{self, Deadline};
use crate::tty::screen;
use crate::wait::{Sleep, WaitQueue};
use crate::{process, sched};

/// The most events that are kept.
const KEPT: usize = 4096;
/// The most bytes of events that are kept.
const KEPT_BYTES: usize = 1 << 20;
/// Log lines taken over under one hold of the lock.
const LINES_AT_ONCE: usize = 64;
/// The wall clock is taken for set when it is past this (2001-09-09), in nanoseconds since 1970.
const PLAUSIBLE_WALL_NS: u64 = 1_000_000_000_000_000_000;

struct Ring {
    /// Encoded messages, oldest first; the last one has number `head`.
    kept: VecDeque<Arc<[u8]>>,
    bytes: usize,
    head: u64,
    /// The next record of the kernel log to take over.
    next_record: u64,
}

static RING: SpinLock<Ring> = SpinLock::new(
    Rank::Leaf,
    Ring {
        kept: VecDeque::new(),
        bytes: 0,
        head: 0,
        next_record: 1,
    },
);
/// `Ring::head` and `Ring::next_record`, to be looked at without the lock.
static HEAD: AtomicU64 = AtomicU64::new(0);
static NEXT_RECORD: AtomicU64 = AtomicU64::new(1);
/// The newest record of the kernel log.
static LOGGED: AtomicU64 = AtomicU64::new(0);
/// Open files that have subscribed.
static SUBSCRIBERS: SpinLock<Vec<Weak<Client>>> = SpinLock::new(Rank::Leaf, Vec::new());
static SUBSCRIBED: AtomicUsize = AtomicUsize::new(0);
/// Where the thread that takes log lines over sleeps.
static LINES: WaitQueue = WaitQueue::new();

/// What comes after a cursor.
pub(super) enum Next {
    /// Nothing yet.
    Nothing,
    /// So many events are not kept any more; the first that is has the number after `cursor`.
    Lost {
        /// How many.
        count: u64,
        /// The last that is lost.
        cursor: u64,
    },
    /// An event.
    Event(Arc<[u8]>),
}

/// Starts to take log lines over.
pub(super) fn init() {
    LOGGED.fetch_max(log::bounds().1.saturating_sub(1), Ordering::Relaxed);
    log::set_hook(note_record);
    let body = || {
        loop {
            // Nothing ends this sleep but the condition.
            let _ = LINES.wait_for(Sleep::Uninterruptible, Deadline::NEVER, || is_behind().then_some(()));
            catch_up();
            sched::cond_resched();
        }
    };
    if sched::spawn_kernel("events", body).is_err() {
        sis_machine::warn!("no memory for the event thread: log lines reach readers late");
    }
}

/// The log has a new record. Called wherever something is logged: nothing here may wait.
fn note_record(number: u64) {
    LOGGED.fetch_max(number, Ordering::SeqCst);
    // With a lock held a queue could be one that must not be taken now: the memory manager looks twice a second, readers
    // of /dev/kmsg by themselves.
    if percpu::holds_spin() {
        return;
    }
    kmsg::log_grew();
    screen::poke();
    if SUBSCRIBED.load(Ordering::Relaxed) > 0 {
        LINES.wake_all(Events::READ);
    }
}

fn is_behind() -> bool {
    LOGGED.load(Ordering::SeqCst) >= NEXT_RECORD.load(Ordering::SeqCst)
}

/// Takes over what the log has. Cheap when it has nothing. No spinning lock may be held.
pub(super) fn catch_up() {
    if !is_behind() {
        return;
    }
    while take_lines() {}
    wake_subscribers();
}

/// Takes over some lines; true when there may be more.
fn take_lines() -> bool {
    let mut ring = RING.lock();
    ring.take_lines()
}

/// Tells that something happened. No spinning lock may be held.
pub fn emit(kind: EventKind) {
    // What was logged before comes before.
    while is_behind() && take_lines() {}
    RING.lock().push(time::now_ns(), kind);
    wake_subscribers();
}

/// Memory ran out and a process was ended.
pub(crate) fn oom_kill(pid: u32, name: String, resident_pages: usize) {
    emit(EventKind::OomKill {
        pid,
        name,
        rss_bytes: Some(super::metrics::bytes(resident_pages)),
    });
}

/// A process is ended by a signal that says that it is broken.
pub(crate) fn crash(thread: &process::thread::Thread, signal: Signal, fault_address: Option<u64>, pc: u64) {
    emit(EventKind::ProcessCrash {
        pid: thread.process.pid,
        name: thread.name(),
        signal: u32::try_from(signal.number()).unwrap_or(0),
        fault_address,
        pc: Some(pc),
    });
}

/// The number of the newest event.
pub(super) fn head() -> u64 {
    HEAD.load(Ordering::SeqCst)
}

/// The oldest cursor from which nothing is missing, and the number of the newest event.
pub(super) fn bounds() -> (u64, u64) {
    let ring = RING.lock();
    (ring.oldest_cursor(), ring.head)
}

/// What comes after the event of number `cursor`.
pub(super) fn after(cursor: u64) -> Next {
    let ring = RING.lock();
    let oldest = ring.oldest_cursor();
    if cursor < oldest {
        return Next::Lost {
            count: oldest - cursor,
            cursor: oldest,
        };
    }
    let at = usize::try_from(cursor - oldest).ok();
    at.and_then(|at| ring.kept.get(at))
        .map_or(Next::Nothing, |event| Next::Event(event.clone()))
}

/// Wakes `client` whenever there is something new, until [`unsubscribe`].
pub(super) fn subscribe(client: &Arc<Client>) {
    SUBSCRIBERS.lock().push(Arc::downgrade(client));
    SUBSCRIBED.fetch_add(1, Ordering::SeqCst);
}

/// The end of [`subscribe`].
pub(super) fn unsubscribe(client: &Client) {
    let mut list = SUBSCRIBERS.lock();
    let gone = list
        .iter()
        .position(|c| core::ptr::eq(c.as_ptr(), client))
        .map(|at| list.swap_remove(at));
    drop(list);
    if gone.is_some() {
        SUBSCRIBED.fetch_sub(1, Ordering::SeqCst);
    }
}

fn wake_subscribers() {
    if SUBSCRIBED.load(Ordering::SeqCst) == 0 {
        return;
    }
    let clients: Vec<_> = SUBSCRIBERS.lock().iter().filter_map(Weak::upgrade).collect();
    for client in clients {
        client.wake(Events::READ);
    }
}

/// A time of the monotonic clock as Unix milliseconds, once the date is known.
fn wall_ms(ts_ns: u64) -> Option<u64> {
    let now = time::wall_ns();
    let at = now.saturating_sub(time::now_ns().saturating_sub(ts_ns));
    (now > PLAUSIBLE_WALL_NS).then_some(at / 1_000_000)
}

impl Ring {
    fn oldest_cursor(&self) -> u64 {
        self.head - self.kept.len() as u64
    }

    fn push(&mut self, ts_ns: u64, kind: EventKind) {
        self.head += 1;
        let event = Event {
            seq: self.head,
            ts_ns,
            wall_ms: wall_ms(ts_ns),
            kind,
            kernel_seq: None,
        };
        let bytes: Arc<[u8]> = Message::Event(event).to_cbor().into();
        self.bytes += bytes.len();
        self.kept.push_back(bytes);
        while self.kept.len() > KEPT || self.bytes > KEPT_BYTES {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.bytes -= oldest.len();
        }
        HEAD.store(self.head, Ordering::SeqCst);
    }

    /// Takes over some lines; true when there may be more.
    fn take_lines(&mut self) -> bool {
        let records = log::read(self.next_record, LINES_AT_ONCE);
        let is_full = records.len() == LINES_AT_ONCE;
        for record in records {
            if record.seq > self.next_record {
                self.push(
                    record.time_ns,
                    EventKind::Lost {
                        count: record.seq - self.next_record,
                    },
                );
            }
            self.next_record = record.seq + 1;
            self.push(record.time_ns, EventKind::LogLine(line(record)));
        }
        NEXT_RECORD.store(self.next_record, Ordering::SeqCst);
        is_full
    }
}

/// A record of the log as the protocol has it.
pub(super) fn line(record: log::Record) -> LogRecord {
    LogRecord {
        ts_ns: record.time_ns,
        level: Level::from_number(u32::from(record.level & 7)),
        facility: Facility::from_number(u32::from(record.level >> 3)),
        text: record.text,
    }
}
