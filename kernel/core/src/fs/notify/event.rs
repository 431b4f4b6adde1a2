//! Events and the queue of an instance.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Bytes of `struct inotify_event`, to whose multiple names are padded.
pub const HEADER_BYTES: usize = 16;
/// Most events that wait (fs.inotify.max_queued_events).
pub const MAX_QUEUED: usize = 16384;
/// Was read.
pub const IN_ACCESS: u32 = 1;
/// Was written.
pub const IN_MODIFY: u32 = 2;
/// Attributes changed.
pub const IN_ATTRIB: u32 = 4;
/// Closed, was open for writing.
pub const IN_CLOSE_WRITE: u32 = 8;
/// Closed, was open for reading.
pub const IN_CLOSE_NOWRITE: u32 = 0x10;
/// Opened.
pub const IN_OPEN: u32 = 0x20;
/// A name moved away.
pub const IN_MOVED_FROM: u32 = 0x40;
/// A name moved here.
pub const IN_MOVED_TO: u32 = 0x80;
/// A name was made.
pub const IN_CREATE: u32 = 0x100;
/// A name was removed.
pub const IN_DELETE: u32 = 0x200;
/// The watched file is gone.
pub const IN_DELETE_SELF: u32 = 0x400;
/// The watched file has another name.
pub const IN_MOVE_SELF: u32 = 0x800;
/// What can be asked for.
pub const IN_ALL_EVENTS: u32 = 0xfff;
/// The file system is gone.
pub const IN_UNMOUNT: u32 = 0x2000;
/// Events were lost.
pub const IN_Q_OVERFLOW: u32 = 0x4000;
/// The watch has ended.
pub const IN_IGNORED: u32 = 0x8000;
/// Only if it is a directory.
pub const IN_ONLYDIR: u32 = 0x0100_0000;
/// The link itself.
pub const IN_DONT_FOLLOW: u32 = 0x0200_0000;
/// No events of open files without a name.
pub const IN_EXCL_UNLINK: u32 = 0x0400_0000;
/// Only a new watch.
pub const IN_MASK_CREATE: u32 = 0x1000_0000;
/// Adds to the watch's mask.
pub const IN_MASK_ADD: u32 = 0x2000_0000;
/// It is a directory.
pub const IN_ISDIR: u32 = 0x4000_0000;
/// The watch ends with its first event.
pub const IN_ONESHOT: u32 = 0x8000_0000;

/// One event.
#[derive(Debug, PartialEq, Eq)]
pub struct Event {
    wd: i32,
    mask: u32,
    cookie: u32,
    name: Vec<u8>,
}

impl Event {
    /// An event; the name is empty for the watched file itself.
    pub fn new(wd: i32, mask: u32, cookie: u32, name: &[u8]) -> Self {
        Self {
            wd,
            mask,
            cookie,
            name: name.to_vec(),
        }
    }

    /// Bytes of the name with its NULs.
    fn name_bytes(&self) -> usize {
        match self.name.len() {
            0 => 0,
            n => (n + 1).next_multiple_of(HEADER_BYTES),
        }
    }

    /// Bytes that a read gives.
    pub fn bytes(&self) -> usize {
        HEADER_BYTES + self.name_bytes()
    }

    /// As `struct inotify_event`.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes());
        out.extend_from_slice(&self.wd.to_le_bytes());
        out.extend_from_slice(&self.mask.to_le_bytes());
        out.extend_from_slice(&self.cookie.to_le_bytes());
        out.extend_from_slice(&(self.name_bytes() as u32).to_le_bytes());
        out.extend_from_slice(&self.name);
        out.resize(self.bytes(), 0);
        out
    }

    /// Whether it says nothing new after `last`. Cookies do not count, as on Linux.
    fn repeats(&self, last: &Self) -> bool {
        self.mask & IN_IGNORED == 0 && (self.wd, self.mask, &self.name) == (last.wd, last.mask, &last.name)
    }
}

/// Events that wait to be read.
#[derive(Default)]
pub struct Queue {
    events: VecDeque<Event>,
    /// "Events were lost" waits, once.
    has_overflow: bool,
}

impl Queue {
    /// An empty one.
    pub const fn new() -> Self {
        Self {
            events: VecDeque::new(),
            has_overflow: false,
        }
    }

    /// Appends an event, unless it repeats the last one. Without room (or memory) that events were lost is said once.
    pub fn push(&mut self, event: Event) {
        if self.has_overflow && self.events.len() > MAX_QUEUED {
            return;
        }
        if self.events.len() >= MAX_QUEUED || self.events.try_reserve(1).is_err() {
            if !self.has_overflow && self.events.try_reserve(1).is_ok() {
                self.has_overflow = true;
                self.events.push_back(Event::new(-1, IN_Q_OVERFLOW, 0, b""));
            }
            return;
        }
        if !self.events.back().is_some_and(|last| event.repeats(last)) {
            self.events.push_back(event);
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Bytes of the first event.
    pub fn first_bytes(&self) -> Option<usize> {
        self.events.front().map(Event::bytes)
    }

    /// Bytes of all.
    pub fn bytes(&self) -> usize {
        self.events.iter().map(Event::bytes).sum()
    }

    /// Takes the first.
    pub fn pop(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        if event.mask & IN_Q_OVERFLOW != 0 {
            self.has_overflow = false;
        }
        Some(event)
    }
}
