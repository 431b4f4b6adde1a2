//! Timers that send signals: setitimer(2), timer_create(2), RLIMIT_CPU.
//!
//! An [`Alarm`] counts on a clock of its own: the monotonic clock, the wall clock, or the CPU time of its process. It is
//! backed by a timer of the monotonic clock that is set for the earliest moment at which the alarm can be due; when it
//! goes off too early, because the process did not run all the time, it is set again.

use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use core::sync::atomic::{AtomicI64, Ordering};

use sis_abi::signal::{Detail, SIGALRM, SIGKILL, SIGPROF, SIGVTALRM, SIGXCPU, SigInfo, Signal, code};
use sis_machine::sync::{IrqLock, Rank, SpinLock};

use super::limits::Resource;
use super::signal::{send_to_process, send_to_thread};
use super::thread::Thread;
use super::{Process, signal};
use crate::time::{self, Deadline, Expire, Timer, now_ns, wall_ns};
use crate::{Errno, Result};

/// Most timers of a process (timer_create).
const TIMERS_MAX: usize = 1024;
/// CPU time is looked at no more often.
const CPU_GRAIN_NS: u64 = 1_000_000;
/// A period that is shorter is counted but not waited for: a timer of a nanosecond would keep its CPU in interrupts.
const PERIOD_GRAIN_NS: u64 = 50_000;

/// What an alarm counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    Monotonic,
    Wall,
    /// CPU time of the process.
    Cpu,
    /// CPU time of the process in user mode.
    User,
}

impl Clock {
    /// Its time now, in nanoseconds.
    pub(crate) fn now(self, process: &Process) -> u64 {
        match self {
            Self::Monotonic => now_ns(),
            Self::Wall => wall_ns(),
            Self::Cpu => process.cpu_now().1,
            Self::User => process.cpu_now().0,
        }
    }
}

/// What an alarm does when it is due.
#[derive(Clone)]
pub(crate) enum Action {
    /// Sends a signal to the process, as the kernel.
    Signal(Signal),
    /// Sends a timer's signal, to the process or to one thread.
    Timer {
        id: i32,
        signal: Signal,
        value: u64,
        thread: Option<Weak<Thread>>,
    },
    /// Nothing (SIGEV_NONE).
    None,
    /// RLIMIT_CPU.
    CpuLimit,
}

struct State {
    /// When it is due, on its clock.
    next_ns: Option<u64>,
    interval_ns: u64,
    timer: Option<Timer>,
}

/// A timer that sends a signal.
pub(crate) struct Alarm {
    process: Weak<Process>,
    pub(crate) clock: Clock,
    action: Action,
    state: IrqLock<State>,
}

impl Alarm {
    fn new(process: &Arc<Process>, clock: Clock, action: Action) -> Arc<Self> {
        let state = State {
            next_ns: None,
            interval_ns: 0,
            timer: None,
        };
        Arc::new(Self {
            process: Arc::downgrade(process),
            clock,
            action,
            state: IrqLock::new(Rank::Leaf, state),
        })
    }

    /// Sets it to be due at `next_ns` of its clock (`None`: never), and then every `interval_ns` (0: once). Answers what
    /// was left, and the interval.
    pub(crate) fn set(self: &Arc<Self>, next_ns: Option<u64>, interval_ns: u64) -> (u64, u64) {
        let Some(process) = self.process.upgrade() else {
            return (0, 0);
        };
        let before = self.get();
        let backing = next_ns.and_then(|n| self.back(&process, n, 0));
        let old = {
            let mut state = self.state.lock();
            state.next_ns = next_ns;
            state.interval_ns = interval_ns;
            core::mem::replace(&mut state.timer, backing)
        };
        drop(old);
        before
    }

    /// What is left (0: not set, at least 1 otherwise), and the interval.
    pub(crate) fn get(&self) -> (u64, u64) {
        let (next, interval) = {
            let state = self.state.lock();
            (state.next_ns, state.interval_ns)
        };
        let now = self.process.upgrade().map_or(0, |p| self.clock.now(&p));
        (next.map_or(0, |n| n.saturating_sub(now).max(1)), interval)
    }

    /// The timer of the monotonic clock for a moment of this clock, at least `least_ns` from now.
    fn back(self: &Arc<Self>, process: &Process, next_ns: u64, least_ns: u64) -> Option<Timer> {
        let deadline = match self.clock {
            Clock::Monotonic => next_ns.max(now_ns().saturating_add(least_ns)),
            clock => {
                let left = next_ns.saturating_sub(clock.now(process));
                let least = if matches!(clock, Clock::Wall) {
                    least_ns
                } else {
                    CPU_GRAIN_NS
                };
                now_ns().saturating_add(left.max(least))
            }
        };
        time::set_timer(Deadline::at_ns(deadline.min(u64::MAX - 1)), self.clone())
    }

    fn fire(&self, process: &Arc<Process>, count: u64) {
        match &self.action {
            Action::None => {}
            Action::Signal(signal) => {
                let _ = send_to_process(process, SigInfo::kernel(*signal));
            }
            Action::Timer {
                id,
                signal,
                value,
                thread,
            } => {
                let missed = i32::try_from(count - 1).unwrap_or(i32::MAX);
                if signal::add_overrun(process, thread.as_ref(), *id, missed.saturating_add(1)) {
                    return;
                }
                let detail = Detail::Timer {
                    id: *id,
                    overrun: missed,
                    value: *value,
                };
                let info = SigInfo {
                    signal: *signal,
                    errno: 0,
                    code: code::SI_TIMER,
                    detail,
                };
                let _ = match thread {
                    None => send_to_process(process, info),
                    Some(t) => t.upgrade().map_or(Ok(()), |t| send_to_thread(&t, info)),
                };
            }
            Action::CpuLimit => {
                let hard = process.timers.cpu_hard_s.load(Ordering::Relaxed);
                let used_s = process.cpu_now().1 / 1_000_000_000;
                let is_over = hard >= 0 && used_s >= hard as u64;
                let _ = send_to_process(process, SigInfo::kernel(if is_over { SIGKILL } else { SIGXCPU }));
            }
        }
    }
}

impl Expire for Alarm {
    fn expire(self: Arc<Self>) {
        let Some(process) = self.process.upgrade() else { return };
        let now = self.clock.now(&process);
        let mut count = 0;
        let next = {
            let mut state = self.state.lock();
            match state.next_ns {
                Some(next) if next <= now => {
                    let missed = (now - next).checked_div(state.interval_ns);
                    count = 1 + missed.unwrap_or(0);
                    state.next_ns = missed.map(|m| next.saturating_add((m + 1).saturating_mul(state.interval_ns)));
                }
                _ => {}
            }
            state.next_ns
        };
        let backing = next.and_then(|n| self.back(&process, n, PERIOD_GRAIN_NS));
        let old = core::mem::replace(&mut self.state.lock().timer, backing);
        drop(old);
        if count > 0 {
            self.fire(&process, count);
        }
    }
}

/// The three of setitimer(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interval {
    Real,
    Virtual,
    Profiling,
}

struct Set {
    real: Option<Arc<Alarm>>,
    virtual_: Option<Arc<Alarm>>,
    profiling: Option<Arc<Alarm>>,
    cpu_limit: Option<Arc<Alarm>>,
    posix: BTreeMap<i32, Arc<Alarm>>,
    next_id: i32,
}

/// A process's timers.
pub(crate) struct Timers {
    set: SpinLock<Set>,
    /// RLIMIT_CPU's hard limit in seconds, where interrupts can read it; below 0 for none.
    cpu_hard_s: AtomicI64,
    /// Overrun of the signal delivered last, by timer.
    delivered: IrqLock<BTreeMap<i32, i32>>,
}

impl Timers {
    pub(crate) fn new() -> Self {
        Self {
            set: SpinLock::new(
                Rank::Leaf,
                Set {
                    real: None,
                    virtual_: None,
                    profiling: None,
                    cpu_limit: None,
                    posix: BTreeMap::new(),
                    next_id: 0,
                },
            ),
            cpu_hard_s: AtomicI64::new(-1),
            delivered: IrqLock::new(Rank::Leaf, BTreeMap::new()),
        }
    }

    /// Stops and forgets all, for exit.
    pub(crate) fn clear(&self) {
        let (a, b, c, d) = {
            let mut set = self.set.lock();
            (
                set.real.take(),
                set.virtual_.take(),
                set.profiling.take(),
                set.cpu_limit.take(),
            )
        };
        for alarm in [a, b, c, d].into_iter().flatten() {
            alarm.set(None, 0);
        }
        self.clear_posix();
    }

    /// Stops and forgets those of timer_create(2), for exec.
    pub(crate) fn clear_posix(&self) {
        let all = core::mem::take(&mut self.set.lock().posix);
        for alarm in all.values() {
            alarm.set(None, 0);
        }
        self.delivered.lock().clear();
    }

    /// A timer of timer_create(2).
    pub(crate) fn posix(&self, id: i32) -> Result<Arc<Alarm>> {
        self.set.lock().posix.get(&id).cloned().ok_or(Errno::EINVAL)
    }

    /// timer_delete(2).
    pub(crate) fn delete(&self, id: i32) -> Result<()> {
        let alarm = self.set.lock().posix.remove(&id).ok_or(Errno::EINVAL)?;
        alarm.set(None, 0);
        self.delivered.lock().remove(&id);
        Ok(())
    }

    /// timer_getoverrun(2).
    pub(crate) fn overrun(&self, id: i32) -> Result<i32> {
        self.posix(id)?;
        Ok(self.delivered.lock().get(&id).copied().unwrap_or(0))
    }

    /// A timer's signal is being delivered.
    pub(crate) fn note_delivered(&self, info: &SigInfo) {
        if let (code::SI_TIMER, Detail::Timer { id, overrun, .. }) = (info.code, info.detail) {
            self.delivered.lock().insert(id, overrun);
        }
    }
}

impl Process {
    /// One of setitimer(2)'s.
    pub(crate) fn interval_timer(self: &Arc<Self>, which: Interval) -> Arc<Alarm> {
        let (clock, signal) = match which {
            Interval::Real => (Clock::Monotonic, SIGALRM),
            Interval::Virtual => (Clock::User, SIGVTALRM),
            Interval::Profiling => (Clock::Cpu, SIGPROF),
        };
        let mut set = self.timers.set.lock();
        let slot = match which {
            Interval::Real => &mut set.real,
            Interval::Virtual => &mut set.virtual_,
            Interval::Profiling => &mut set.profiling,
        };
        slot.get_or_insert_with(|| Alarm::new(self, clock, Action::Signal(signal)))
            .clone()
    }

    /// timer_create(2). `action` is made from the timer's number. `EAGAIN` when there are too many.
    pub(crate) fn create_timer(self: &Arc<Self>, clock: Clock, action: impl FnOnce(i32) -> Action) -> Result<i32> {
        let mut set = self.timers.set.lock();
        if set.posix.len() >= TIMERS_MAX {
            return Err(Errno::EAGAIN);
        }
        let mut id = set.next_id;
        while set.posix.contains_key(&id) {
            id = id.checked_add(1).unwrap_or(0);
        }
        set.next_id = id.checked_add(1).unwrap_or(0);
        let alarm = Alarm::new(self, clock, action(id));
        set.posix.insert(id, alarm);
        Ok(id)
    }

    /// RLIMIT_CPU has changed: SIGXCPU every second from the soft limit on, SIGKILL at the hard one.
    pub(crate) fn arm_cpu_limit(self: &Arc<Self>) {
        let limit = self.limit(Resource::Cpu);
        let hard = i64::try_from(limit.hard).unwrap_or(-1);
        self.timers.cpu_hard_s.store(hard, Ordering::Relaxed);
        let alarm = {
            let mut set = self.timers.set.lock();
            let slot = &mut set.cpu_limit;
            slot.get_or_insert_with(|| Alarm::new(self, Clock::Cpu, Action::CpuLimit))
                .clone()
        };
        let first = limit.soft.min(limit.hard).checked_mul(1_000_000_000);
        alarm.set(first.map(|n| n.max(1)), 1_000_000_000);
    }

    /// Nanoseconds of CPU time in user mode and in all, of all its threads. Interrupt-safe.
    pub fn cpu_now(&self) -> (u64, u64) {
        let mut user = self.ended_user_ns.load(Ordering::Relaxed);
        let mut total = self.ended_total_ns.load(Ordering::Relaxed);
        let state = self.signal.lock();
        for t in &state.threads {
            let (u, all) = t.cpu_ns();
            user += u;
            total += all;
        }
        (user, total)
    }
}
