//! One page.

use core::sync::atomic::{AtomicU32, Ordering};

use sis_machine::mm::frames::Frame;

use super::Room;
use crate::poll::Events;
use crate::time::Deadline;
use crate::wait::{Sleep, WaitQueue};

bitflags::bitflags! {
    /// What is known of a page.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct State: u32 {
        /// Its memory has the file's content.
        const UPTODATE = 1;
        /// It is being read.
        const READING = 2;
        /// It has been changed since it was last written.
        const DIRTY = 4;
        /// It is being written.
        const WRITEBACK = 8;
        /// Reading it failed, and may be tried again.
        const FAILED = 16;
        /// It has been used since the last look.
        const USED = 32;
        /// Whoever comes here reads ahead.
        const AHEAD = 64;
        /// It has blocks on the disk.
        const BLOCKS = 128;
        /// It has been promised blocks.
        const PROMISED = 256;
        /// It is not the file's any more.
        const GONE = 512;
    }
}

impl State {
    /// Ways in which it can be kept.
    pub(super) const ROOM: Self = Self::BLOCKS.union(Self::PROMISED);
}

impl Room {
    pub(super) fn state(self) -> State {
        match self {
            Self::Blocks => State::BLOCKS,
            Self::Promise => State::PROMISED,
        }
    }
}

/// A page of a file. Changes of DIRTY, WRITEBACK, PROMISED and GONE are made with the lock of the file's tree held.
pub(super) struct Page {
    pub(super) frame: Frame,
    state: AtomicU32,
}

impl Page {
    pub(super) fn new(frame: Frame, state: State) -> Self {
        Self {
            frame,
            state: AtomicU32::new(state.bits()),
        }
    }

    pub(super) fn state(&self) -> State {
        State::from_bits_retain(self.state.load(Ordering::Acquire))
    }

    pub(super) fn is(&self, any: State) -> bool {
        self.state().intersects(any)
    }

    pub(super) fn set(&self, bits: State) {
        self.state.fetch_or(bits.bits(), Ordering::AcqRel);
    }

    /// Answers what was set before.
    pub(super) fn clear(&self, bits: State) -> State {
        State::from_bits_retain(self.state.fetch_and(!bits.bits(), Ordering::AcqRel))
    }

    /// Notes a use, without writing where that is known.
    pub(super) fn touch(&self) {
        if !self.is(State::USED) {
            self.set(State::USED);
        }
    }

    /// A read has ended. Interrupt-safe.
    pub(super) fn end_read(&self, is_good: bool) {
        self.set(if is_good { State::UPTODATE } else { State::FAILED });
        self.clear(State::READING);
        self.wake();
    }

    /// Whoever waits for a change of state looks again. Interrupt-safe.
    pub(super) fn wake(&self) {
        queue_of(self).wake_all(Events::READ);
    }

    /// Sleeps while any of these is set.
    pub(super) fn wait_while(&self, bits: State) {
        // Nothing ends it but the I/O, which the block layer bounds.
        let _ = queue_of(self).wait_for(Sleep::Uninterruptible, Deadline::NEVER, || {
            (!self.is(bits)).then_some(())
        });
    }
}

const QUEUES: usize = 64;

/// Waiters of all pages, by address: few pages have any.
static WAITING: [WaitQueue; QUEUES] = [const { WaitQueue::new() }; QUEUES];

fn queue_of(page: &Page) -> &'static WaitQueue {
    let at = (page.frame.addr().0 >> 12) as usize % QUEUES;
    WAITING.get(at).unwrap_or(&SPARE)
}

/// Never used: the index is always in range.
static SPARE: WaitQueue = WaitQueue::new();
