//! Sleeping until something is true.
//!
//! A [`WaitQueue`] belongs to an object whose state others wait for. A waiter puts itself on the queue *before* it looks
//! at the state and the waker changes the state *before* it wakes, so no wake-up is lost. [`Observer`]s (epoll) sit on
//! the same queues and are called instead of woken.

use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use sis_abi::Errno;
use sis_machine::sync::{IrqLock, Rank};
use sis_machine::task::{self, Task};

use crate::Result;
use crate::poll::Events;
use crate::process::thread;
use crate::time::{self, Deadline};

/// Called when an object that it watches may have become ready. Interrupt-safe; must not sleep and must not touch the
/// queue that calls it.
pub trait Observer: Send + Sync {
    /// `events` is what may be ready now.
    fn notify(&self, events: Events);
}

/// Observers of one queue that are told without the heap's help.
const FEW: usize = 2;

enum Waiter {
    Task { task: Arc<Task>, id: u64 },
    Observer { observer: Weak<dyn Observer>, id: u64 },
}

/// Tasks and observers that wait for one object.
pub struct WaitQueue {
    waiters: IrqLock<VecDeque<Waiter>>,
    count: AtomicUsize,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Default for WaitQueue {
    fn default() -> Self {
        Self::new()
    }
}

/// How a sleep may end early.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sleep {
    /// A signal ends it (`ERESTARTSYS`).
    Interruptible,
    /// Only a signal that kills ends it (`EINTR`).
    Killable,
    /// Nothing ends it.
    Uninterruptible,
}

impl WaitQueue {
    /// An empty queue.
    pub const fn new() -> Self {
        Self {
            waiters: IrqLock::new(Rank::WaitQueue, VecDeque::new()),
            count: AtomicUsize::new(0),
        }
    }

    /// Sleeps until `ready` gives a value. A pending signal ends the sleep with `ERESTARTSYS`.
    ///
    /// `ready` is called with no lock held; it may take locks.
    pub fn wait<R>(&self, ready: impl FnMut() -> Option<R>) -> Result<R> {
        self.wait_for(Sleep::Interruptible, Deadline::NEVER, ready)
    }

    /// As [`Self::wait`], at most until `deadline` (then `ETIMEDOUT`).
    pub fn wait_until<R>(&self, deadline: Deadline, ready: impl FnMut() -> Option<R>) -> Result<R> {
        self.wait_for(Sleep::Interruptible, deadline, ready)
    }

    /// Sleeps until `ready` gives a value; see [`Sleep`] for what else ends it.
    pub fn wait_for<R>(&self, how: Sleep, deadline: Deadline, mut ready: impl FnMut() -> Option<R>) -> Result<R> {
        if let Some(v) = ready() {
            return Ok(v);
        }
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let me = task::current_arc();
        let timer = time::wake_at(deadline, &me);
        let out = loop {
            self.add(Waiter::Task { task: me.clone(), id });
            if let Some(v) = ready() {
                break Ok(v);
            }
            match how {
                Sleep::Interruptible if thread::signal_pending() => break Err(Errno::ERESTARTSYS),
                Sleep::Killable if thread::kill_pending() => break Err(Errno::EINTR),
                _ => {}
            }
            if deadline.has_passed() {
                break Err(Errno::ETIMEDOUT);
            }
            task::park();
            self.remove(id);
        };
        self.remove(id);
        drop(timer);
        out
    }

    fn add(&self, waiter: Waiter) {
        self.waiters.lock().push_back(waiter);
        self.count.fetch_add(1, Ordering::SeqCst);
    }

    fn remove(&self, id: u64) {
        let mut waiters = self.waiters.lock();
        let found = waiters.iter().position(|w| match w {
            Waiter::Task { id: i, .. } | Waiter::Observer { id: i, .. } => *i == id,
        });
        if let Some(at) = found {
            let gone = waiters.remove(at);
            self.count.fetch_sub(1, Ordering::SeqCst);
            drop(waiters);
            drop(gone);
        }
    }

    /// Wakes one task, and tells every observer of `events`. Interrupt-safe.
    pub fn wake_one(&self, events: Events) {
        self.wake(1, events);
    }

    /// Wakes every task, and tells every observer of `events`. Interrupt-safe.
    pub fn wake_all(&self, events: Events) {
        self.wake(usize::MAX, events);
    }

    /// Wakes up to `most` tasks in the order they came; returns how many.
    pub fn wake(&self, most: usize, events: Events) -> usize {
        core::sync::atomic::fence(Ordering::SeqCst);
        if self.count.load(Ordering::SeqCst) == 0 {
            return 0;
        }
        let mut woken = 0;
        // One or two observers are the rule: they need no heap.
        let mut few: [Option<Arc<dyn Observer>>; FEW] = [const { None }; FEW];
        let mut few_count = 0;
        let mut more: Vec<Arc<dyn Observer>> = Vec::new();
        let mut waiters = self.waiters.lock();
        let mut index = 0;
        while let Some(waiter) = waiters.get(index) {
            match waiter {
                Waiter::Task { .. } if woken < most => {
                    if let Some(Waiter::Task { task, .. }) = waiters.remove(index) {
                        self.count.fetch_sub(1, Ordering::SeqCst);
                        task.unpark();
                        woken += 1;
                    }
                }
                Waiter::Task { .. } => index += 1,
                Waiter::Observer { observer, .. } => {
                    if let Some(o) = observer.upgrade() {
                        match few.get_mut(few_count) {
                            Some(slot) => {
                                *slot = Some(o);
                                few_count += 1;
                            }
                            None => more.push(o),
                        }
                    }
                    index += 1;
                }
            }
        }
        drop(waiters);
        for o in few.iter().take(few_count).flatten().chain(&more) {
            o.notify(events);
        }
        woken
    }

    /// Adds an observer; it is told of every wake until the registration is dropped.
    pub fn observe(self: &Arc<Self>, observer: Weak<dyn Observer>) -> Registration {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        self.add(Waiter::Observer { observer, id });
        Registration {
            queue: self.clone(),
            id,
        }
    }

    /// Adds the running task until the registration is dropped; see [`crate::poll::PollTable`].
    pub fn register_current(self: &Arc<Self>) -> Registration {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        self.add(Waiter::Task {
            task: task::current_arc(),
            id,
        });
        Registration {
            queue: self.clone(),
            id,
        }
    }
}

/// A place on a queue; dropping it leaves the queue.
pub struct Registration {
    queue: Arc<WaitQueue>,
    id: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.queue.remove(self.id);
    }
}
