//! Signals (signal(7)).
//!
//! A process's signal state is under one interrupt-safe lock, so that a timer may send one; what a thread keeps for
//! itself (its mask, its own pending signals) changes under that lock too. A thread learns of work through
//! [`super::thread::Thread::work`]: [`recompute`] keeps its SIGNAL bit in step with pending signals and mask.

pub(crate) mod deliver;
pub(crate) mod frame;
pub mod pending;
mod send;
pub mod stack;

use alloc::sync::Arc;
use alloc::vec::Vec;

use sis_abi::signal::{SIGNALS, SigAction, SigSet, Signal};
use sis_machine::sync::{IrqLock, Rank};

use self::pending::Pending;
use super::thread::{Thread, work};

pub(crate) use self::send::{add_overrun, flush, session_ended};
pub use self::send::{dequeue, force, send_to_group, send_to_process, send_to_thread, set_session_hook};
pub use sis_abi::signal::SigInfo as SignalInfo;

/// Handlers, shared by the threads of a process (and by processes with CLONE_SIGHAND).
pub struct Actions(IrqLock<[SigAction; SIGNALS]>);

impl Actions {
    /// Everything at its default.
    pub(crate) fn new() -> Arc<Self> {
        Self::of([SigAction::default(); SIGNALS])
    }

    fn of(all: [SigAction; SIGNALS]) -> Arc<Self> {
        Arc::new(Self(IrqLock::new(Rank::Leaf, all)))
    }

    /// A copy, for fork.
    pub(crate) fn duplicate(&self) -> Arc<Self> {
        Self::of(*self.0.lock())
    }

    /// A copy for exec: what has a handler goes back to the default, what is ignored stays so.
    pub(crate) fn for_exec(&self) -> Arc<Self> {
        let mut all = *self.0.lock();
        for a in &mut all {
            let handler = if a.handler == sis_abi::signal::SIG_IGN {
                a.handler
            } else {
                sis_abi::signal::SIG_DFL
            };
            *a = SigAction {
                handler,
                ..SigAction::default()
            };
        }
        Self::of(all)
    }

    /// What happens on `signal`.
    pub fn get(&self, signal: Signal) -> SigAction {
        self.0.lock().get(signal.index()).copied().unwrap_or_default()
    }

    /// Replaces what happens on `signal`.
    pub(crate) fn set(&self, signal: Signal, action: SigAction) -> SigAction {
        let mut all = self.0.lock();
        match all.get_mut(signal.index()) {
            Some(a) => core::mem::replace(a, action),
            None => SigAction::default(),
        }
    }

    /// The signals that are ignored, and those that have a handler, for /proc/PID/status.
    pub fn sets(&self) -> (SigSet, SigSet) {
        let all = self.0.lock();
        let mut ignored = SigSet::EMPTY;
        let mut caught = SigSet::EMPTY;
        for (bit, a) in all.iter().enumerate() {
            match a.handler {
                sis_abi::signal::SIG_DFL => {}
                sis_abi::signal::SIG_IGN => ignored.0 |= 1 << bit,
                _ => caught.0 |= 1 << bit,
            }
        }
        (ignored, caught)
    }
}

/// Whether a process is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It runs.
    No,
    /// This many threads have yet to notice.
    Stopping { signal: Signal, remaining: usize },
    /// All have.
    Stopped { signal: Signal },
}

/// What a parent has not been told by wait(2) yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Stopped(Signal),
    Continued,
}

/// A process's signal state.
pub(crate) struct SignalState {
    /// Threads that have not ended; the first one first.
    pub(crate) threads: Vec<Arc<Thread>>,
    /// Sent to the process as a whole.
    pub(crate) pending: Pending,
    pub(crate) actions: Arc<Actions>,
    /// The process is ending with this wait status.
    pub(crate) group_exit: Option<i32>,
    /// A thread runs exec: the others must end, but not the process.
    pub(crate) exec_by: Option<u32>,
    pub(crate) stop: Stop,
    /// For wait(2).
    pub(crate) event: Option<Event>,
    /// For SIGCHLD: to be sent by the process itself.
    pub(crate) report: Option<Event>,
}

impl SignalState {
    pub(crate) fn new(actions: Arc<Actions>) -> Self {
        Self {
            threads: Vec::new(),
            pending: Pending::new(),
            actions,
            group_exit: None,
            exec_by: None,
            stop: Stop::No,
            event: None,
            report: None,
        }
    }

    /// Whether every thread has stopped.
    pub(crate) fn is_stopped(&self) -> bool {
        matches!(self.stop, Stop::Stopped { .. })
    }

    /// Starts to end the process; the first status counts.
    pub(crate) fn begin_exit(&mut self, status: i32) {
        if self.group_exit.is_none() {
            self.group_exit = Some(status);
        }
        self.stop = Stop::No;
        for t in &self.threads {
            t.clear_work(work::STOP);
            t.add_work(work::KILL);
            t.kick();
        }
    }
}

/// Sets or clears the SIGNAL bit of a thread's work. With the process's signal lock held.
pub(crate) fn recompute(state: &SignalState, thread: &Thread) {
    let pending = state.pending.set().union(thread.pending.lock().set());
    if pending.without(thread.blocked()).is_empty() {
        thread.clear_work(work::SIGNAL);
    } else {
        thread.add_work(work::SIGNAL);
    }
}
