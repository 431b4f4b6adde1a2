//! A bounded queue of whole messages.

use alloc::collections::VecDeque;
use alloc::sync::Arc;

use sis_machine::sync::{Rank, SpinLock};

use crate::poll::Events;
use crate::wait::WaitQueue;

/// What a message costs besides its bytes.
const OVERHEAD: usize = 256;

/// A message in a queue.
pub(crate) trait Letter {
    /// Bytes of data.
    fn bytes(&self) -> usize;
}

struct State<L> {
    letters: VecDeque<L>,
    cost: usize,
    is_closed: bool,
    /// Messages that found no room.
    dropped: u64,
}

/// The queue; its owner waits on `reader`.
pub(crate) struct Mailbox<L> {
    state: SpinLock<State<L>>,
    reader: Arc<WaitQueue>,
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No room.
    Full,
    /// The owner wants no more.
    Closed,
}

impl<L: Letter> Mailbox<L> {
    pub(crate) fn new(reader: Arc<WaitQueue>) -> Self {
        let state = State {
            letters: VecDeque::new(),
            cost: 0,
            is_closed: false,
            dropped: 0,
        };
        Self {
            state: SpinLock::new(Rank::Leaf, state),
            reader,
        }
    }

    /// Adds a message if the queue then costs at most `limit` (an empty queue takes any).
    pub(crate) fn put(&self, letter: L, limit: usize) -> Result<(), (Refused, L)> {
        let cost = letter.bytes() + OVERHEAD;
        let mut s = self.state.lock();
        if s.is_closed {
            return Err((Refused::Closed, letter));
        }
        if s.cost + cost > limit && !s.letters.is_empty() {
            s.dropped += 1;
            return Err((Refused::Full, letter));
        }
        s.cost += cost;
        s.letters.push_back(letter);
        drop(s);
        self.reader.wake_all(Events::READ);
        Ok(())
    }

    /// Takes the oldest message.
    pub(crate) fn take(&self) -> Option<L> {
        let mut s = self.state.lock();
        let letter = s.letters.pop_front()?;
        s.cost -= letter.bytes() + OVERHEAD;
        Some(letter)
    }

    /// Looks at the oldest message.
    pub(crate) fn peek<R>(&self, look: impl FnOnce(&L) -> R) -> Option<R> {
        self.state.lock().letters.front().map(look)
    }

    /// Whether it holds messages.
    pub(crate) fn is_empty(&self) -> bool {
        self.state.lock().letters.is_empty()
    }

    /// Whether a message of a few bytes would find room under `limit`.
    pub(crate) fn has_room(&self, limit: usize) -> bool {
        let s = self.state.lock();
        s.cost * 4 <= limit * 3 || s.letters.is_empty()
    }

    /// Whether the owner wants no more.
    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().is_closed
    }

    /// What the queue costs now and how many messages found no room.
    pub(crate) fn load(&self) -> (usize, u64) {
        let s = self.state.lock();
        (s.cost, s.dropped)
    }

    /// Takes no more messages; those that are there stay unless `forget`.
    pub(crate) fn close(&self, forget: bool) {
        let mut s = self.state.lock();
        s.is_closed = true;
        let gone = if forget {
            core::mem::take(&mut s.letters)
        } else {
            VecDeque::new()
        };
        if forget {
            s.cost = 0;
        }
        drop(s);
        drop(gone);
        self.reader.wake_all(Events::READ | Events::HUP | Events::RDHUP);
    }
}
