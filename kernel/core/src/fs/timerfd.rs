//! timerfd(2): a timer that can be waited for.
//!
//! As on Linux the timer goes off once; how many periods have passed is counted when it is read, and only then is it set
//! again, so a short period costs nothing while nobody looks.

use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::any::Any;

use sis_machine::sync::{IrqLock, Rank};

use super::file::{File, IoFlags};
use crate::poll::{Events, PollTable};
use crate::time::{self, Deadline, Expire, Timer};
use crate::user::Sink;
use crate::wait::{Observer, Registration, WaitQueue};
use crate::{Errno, Result};

#[derive(Default)]
struct State {
    /// When it goes off next, on the monotonic clock; none when disarmed or when a one-shot has gone off.
    next_ns: Option<u64>,
    interval_ns: u64,
    /// It has gone off since the last read.
    has_expired: bool,
    timer: Option<Timer>,
}

/// A timerfd.
pub struct TimerFd {
    /// The clock that it was made for.
    pub clock: u32,
    state: IrqLock<State>,
    queue: Arc<WaitQueue>,
    me: Weak<TimerFd>,
}

/// The rest of the time and the period, in nanoseconds; a rest of 0 is a disarmed timer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setting {
    /// Until it goes off.
    pub value_ns: u64,
    /// Period; 0 for once.
    pub interval_ns: u64,
}

impl TimerFd {
    /// Disarmed.
    pub fn new(clock: u32) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            clock,
            state: IrqLock::new(Rank::Leaf, State::default()),
            queue: Arc::new(WaitQueue::new()),
            me: me.clone(),
        })
    }

    /// The time left and the period.
    pub fn get(&self) -> Setting {
        let now = time::now_ns();
        let state = self.state.lock();
        let value_ns = match state.next_ns {
            None => 0,
            Some(at) if at > now => at - now,
            Some(_) if state.interval_ns == 0 => 0,
            // Between periods that nobody has read.
            Some(at) => state.interval_ns - (now - at) % state.interval_ns,
        };
        Setting {
            value_ns,
            interval_ns: state.interval_ns,
        }
    }

    /// Sets it to go off at a point of the monotonic clock (`None` disarms), then each `interval_ns`; the old setting.
    pub fn set(&self, at_ns: Option<u64>, interval_ns: u64) -> Setting {
        let old = self.get();
        let mut state = self.state.lock();
        state.next_ns = at_ns;
        state.interval_ns = if at_ns.is_some() { interval_ns } else { 0 };
        state.has_expired = false;
        let gone = state.timer.take();
        self.arm(&mut state);
        drop(state);
        drop(gone);
        old
    }

    fn arm(&self, state: &mut State) {
        if let (Some(at), Some(me)) = (state.next_ns, self.me.upgrade()) {
            state.timer = time::set_timer(Deadline::at_ns(at), me);
        }
    }

    /// How often it has gone off since the last read; none if it has not.
    fn take(&self) -> Option<u64> {
        let mut state = self.state.lock();
        if !state.has_expired {
            return None;
        }
        state.has_expired = false;
        let interval = state.interval_ns;
        let Some(at) = state.next_ns else { return Some(1) };
        if interval == 0 {
            state.next_ns = None;
            return Some(1);
        }
        let passed = time::now_ns().saturating_sub(at) / interval + 1;
        state.next_ns = Some(at.saturating_add(passed.saturating_mul(interval)));
        let gone = state.timer.take();
        self.arm(&mut state);
        drop(state);
        drop(gone);
        Some(passed)
    }
}

impl Expire for TimerFd {
    fn expire(self: Arc<Self>) {
        {
            let mut state = self.state.lock();
            // A setting that was changed at this very moment has another time.
            if state.next_ns.is_none_or(|at| at > time::now_ns()) {
                return;
            }
            state.has_expired = true;
        }
        self.queue.wake_all(Events::READ);
    }
}

impl File for TimerFd {
    fn read(&self, to: &mut Sink<'_>, _offset: u64, flags: IoFlags) -> Result<usize> {
        if to.remaining() < 8 {
            return Err(Errno::EINVAL);
        }
        let n = match self.take() {
            Some(n) => n,
            None if flags.nonblock => return Err(Errno::EAGAIN),
            None => self.queue.wait(|| self.take())?,
        };
        to.put(&n.to_le_bytes())
    }

    fn poll(&self, table: Option<&mut PollTable>) -> Events {
        if let Some(t) = table {
            t.watch(&self.queue);
        }
        if self.state.lock().has_expired {
            Events::READ
        } else {
            Events::empty()
        }
    }

    fn observe(&self, observer: Weak<dyn Observer>) -> Result<Vec<Registration>> {
        Ok(alloc::vec![self.queue.observe(observer)])
    }

    fn describe(&self) -> String {
        String::from("anon_inode:[timerfd]")
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
