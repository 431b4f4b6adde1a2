//! Who waits for connections.

use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

use sis_machine::sync::{Rank, SpinLock};

use super::tcp::TcpSocket;
use crate::poll::Events;
use crate::wait::WaitQueue;

/// Handshakes under way besides the backlog.
const EMBRYOS: usize = 128;
/// Local connections that wait for a place in the backlog.
const OVERFLOW: usize = 128;

struct State {
    /// Connections that accept(2) can take.
    ready: VecDeque<Arc<TcpSocket>>,
    most: usize,
    embryos: usize,
    /// Connections of this machine that found no place: theirs for accept(2), and who connects.
    overflow: VecDeque<(Arc<TcpSocket>, Weak<TcpSocket>)>,
    is_closed: bool,
}

/// Connections that can be taken, and those that wait for a place with who connects.
type Waiting = (VecDeque<Arc<TcpSocket>>, VecDeque<(Arc<TcpSocket>, Weak<TcpSocket>)>);

/// The queue of a listening socket.
pub(crate) struct Listener {
    state: SpinLock<State>,
    queue: Arc<WaitQueue>,
}

/// What became of a connection of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// It is in the queue.
    Queued,
    /// It waits for a place in the queue.
    Waiting,
    /// There is no room at all, or nobody listens any more.
    Refused,
}

impl Listener {
    pub(crate) fn new(queue: Arc<WaitQueue>, most: usize) -> Arc<Self> {
        let state = State {
            ready: VecDeque::new(),
            most,
            embryos: 0,
            overflow: VecDeque::new(),
            is_closed: false,
        };
        Arc::new(Self {
            state: SpinLock::new(Rank::Leaf, state),
            queue,
        })
    }

    /// listen(2) again.
    pub(crate) fn set_backlog(&self, most: usize) {
        self.state.lock().most = most;
    }

    /// A place for a handshake.
    pub(crate) fn reserve(&self) -> bool {
        let mut s = self.state.lock();
        let is_free = !s.is_closed && s.embryos < EMBRYOS && s.ready.len() <= s.most;
        if is_free {
            s.embryos += 1;
        }
        is_free
    }

    /// A handshake came to nothing.
    pub(crate) fn unreserve(&self) {
        let mut s = self.state.lock();
        s.embryos = s.embryos.saturating_sub(1);
    }

    /// A handshake is complete; whether there is a place.
    pub(crate) fn promote(&self, socket: Arc<TcpSocket>) -> bool {
        let mut s = self.state.lock();
        s.embryos = s.embryos.saturating_sub(1);
        let is_free = !s.is_closed && s.ready.len() <= s.most;
        if is_free {
            s.ready.push_back(socket);
        }
        drop(s);
        if is_free {
            self.queue.wake_all(Events::READ);
        }
        is_free
    }

    /// A connection of this machine.
    pub(crate) fn arrive(&self, socket: Arc<TcpSocket>, from: &Arc<TcpSocket>) -> Arrival {
        let mut s = self.state.lock();
        if s.is_closed {
            return Arrival::Refused;
        }
        if s.ready.len() <= s.most {
            s.ready.push_back(socket);
            drop(s);
            self.queue.wake_all(Events::READ);
            return Arrival::Queued;
        }
        if s.overflow.len() >= OVERFLOW {
            return Arrival::Refused;
        }
        s.overflow.push_back((socket, Arc::downgrade(from)));
        Arrival::Waiting
    }

    /// Takes a connection.
    pub(crate) fn take(&self) -> Option<Arc<TcpSocket>> {
        let mut s = self.state.lock();
        let got = s.ready.pop_front()?;
        // Those whose other end has given up are dropped without the lock.
        let mut gone = Vec::new();
        let mut moved = None;
        while s.ready.len() <= s.most {
            let Some((theirs, from)) = s.overflow.pop_front() else {
                break;
            };
            let Some(from) = from.upgrade() else {
                gone.push(theirs);
                continue;
            };
            s.ready.push_back(theirs);
            moved = Some(from);
            break;
        }
        drop(s);
        drop(gone);
        if let Some(from) = moved {
            from.set_connected();
            from.wake(Events::WRITE);
        }
        Some(got)
    }

    /// Whether accept(2) has something to take.
    pub(crate) fn is_ready(&self) -> bool {
        !self.state.lock().ready.is_empty()
    }

    /// Nobody will accept any more; gives what waited.
    pub(crate) fn close(&self) -> Waiting {
        let mut s = self.state.lock();
        s.is_closed = true;
        (core::mem::take(&mut s.ready), core::mem::take(&mut s.overflow))
    }
}
