//! Signals that wait to be delivered.

use alloc::collections::VecDeque;

use sis_abi::signal::{Detail, SigInfo, SigSet, Signal, code};

/// Signals sent and not yet taken: a set, and what is known of them in order.
///
/// A signal below 32 is there once; real-time signals queue. A bit may be set without an entry: the queue was full.
#[derive(Default)]
pub struct Pending {
    set: SigSet,
    queue: VecDeque<SigInfo>,
}

impl Pending {
    /// Nothing pending.
    pub const fn new() -> Self {
        Self {
            set: SigSet::EMPTY,
            queue: VecDeque::new(),
        }
    }

    /// Which signals.
    pub const fn set(&self) -> SigSet {
        self.set
    }

    /// Entries in the queue, for RLIMIT_SIGPENDING.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Adds one with what is known of it.
    pub fn push(&mut self, info: SigInfo) {
        self.set = self.set.with(info.signal);
        self.queue.push_back(info);
    }

    /// Adds one of which nothing is kept.
    pub fn mark(&mut self, signal: Signal) {
        self.set = self.set.with(signal);
    }

    /// Lets the entry of a timer count for `more` expirations; false when there is none.
    pub(crate) fn add_overrun(&mut self, id: i32, more: i32) -> bool {
        for info in self.queue.iter_mut().filter(|i| i.code == code::SI_TIMER) {
            if let Detail::Timer { id: of, overrun, .. } = &mut info.detail
                && *of == id
            {
                *overrun = overrun.saturating_add(more);
                return true;
            }
        }
        false
    }

    /// Takes the next of those in `wanted`.
    pub fn take(&mut self, wanted: SigSet) -> Option<SigInfo> {
        let signal = self.set.and(wanted).next_to_deliver()?;
        let at = self.queue.iter().position(|i| i.signal == signal);
        let info = match at.and_then(|at| self.queue.remove(at)) {
            Some(info) => info,
            None => SigInfo {
                code: 0,
                ..SigInfo::kernel(signal)
            },
        };
        if !self.queue.iter().any(|i| i.signal == signal) {
            self.set = self.set.without(SigSet::of(&[signal]));
        }
        Some(info)
    }

    /// Forgets those in `gone`.
    pub fn flush(&mut self, gone: SigSet) {
        if !self.set.and(gone).is_empty() {
            self.set = self.set.without(gone);
            self.queue.retain(|i| !gone.has(i.signal));
        }
    }
}
