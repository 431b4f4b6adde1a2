//! Clocks and timers.
//!
//! Time is nanoseconds of the monotonic clock, which starts at 0 when the counter does (boot). The wall clock is the
//! monotonic one plus an offset. Timers of a CPU live in a tree ordered by deadline; the CPU's timer interrupt is set
//! for the first one, so an idle CPU takes no ticks.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use sis_machine::sync::{IrqLock, Rank};
use sis_machine::task::Task;
use sis_machine::{cpu, timer};

/// A point of the monotonic clock, in nanoseconds, or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(u64);

impl Deadline {
    /// No deadline.
    pub const NEVER: Self = Self(u64::MAX);

    /// At `ns` of the monotonic clock.
    pub const fn at_ns(ns: u64) -> Self {
        Self(ns)
    }

    /// `ns` from now.
    pub fn after_ns(ns: u64) -> Self {
        Self(now_ns().saturating_add(ns))
    }

    /// The point, in nanoseconds; `u64::MAX` for never.
    pub const fn ns(self) -> u64 {
        self.0
    }

    /// Whether it lies in the past.
    pub fn has_passed(self) -> bool {
        self.0 != u64::MAX && now_ns() >= self.0
    }
}

/// The monotonic clock, in nanoseconds since the counter started.
#[inline]
pub fn now_ns() -> u64 {
    timer::now_ns()
}

static WALL_OFFSET_NS: AtomicI64 = AtomicI64::new(0);

/// The wall clock, in nanoseconds since 1970.
pub fn wall_ns() -> u64 {
    now_ns().saturating_add_signed(WALL_OFFSET_NS.load(Ordering::Relaxed))
}

/// Sets the wall clock.
pub fn set_wall_ns(ns: u64) {
    let offset = ns as i64 - now_ns() as i64;
    WALL_OFFSET_NS.store(offset, Ordering::Relaxed);
    sis_machine::vdso::set_wall_offset_ns(offset);
}

/// What happens when a timer goes off; runs in the timer interrupt: short, no sleeping, interrupt-safe locks only.
pub trait Expire: Send + Sync {
    /// The deadline has passed.
    fn expire(self: Arc<Self>);
}

impl Expire for Task {
    fn expire(self: Arc<Self>) {
        self.unpark();
    }
}

type Queue = BTreeMap<(u64, u64), Arc<dyn Expire>>;

static QUEUES: [IrqLock<Queue>; cpu::MAX_CPUS] = [const { IrqLock::new(Rank::Timers, BTreeMap::new()) }; cpu::MAX_CPUS];
/// This CPU's end of the running task's slice.
static SLICE_END: [AtomicU64; cpu::MAX_CPUS] = [const { AtomicU64::new(u64::MAX) }; cpu::MAX_CPUS];
static NEXT_TIMER: AtomicU64 = AtomicU64::new(1);

/// A set timer; dropping it cancels it (it may be going off at that moment).
#[must_use = "a timer is cancelled when dropped"]
pub struct Timer {
    cpu: usize,
    key: (u64, u64),
}

/// Sets a timer on this CPU. `None` for [`Deadline::NEVER`].
pub fn set_timer(deadline: Deadline, what: Arc<dyn Expire>) -> Option<Timer> {
    if deadline == Deadline::NEVER {
        return None;
    }
    let irq = cpu::irq_save();
    let cpu = cpu::id().0 as usize;
    let key = (deadline.ns(), NEXT_TIMER.fetch_add(1, Ordering::Relaxed));
    if let Some(queue) = QUEUES.get(cpu) {
        queue.lock().insert(key, what);
        program(cpu);
    }
    cpu::irq_restore(irq);
    Some(Timer { cpu, key })
}

/// Sets a timer that lets `task` run at `deadline`.
pub fn wake_at(deadline: Deadline, task: &Arc<Task>) -> Option<Timer> {
    if deadline == Deadline::NEVER {
        None
    } else {
        set_timer(deadline, task.clone())
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let gone = QUEUES.get(self.cpu).and_then(|q| q.lock().remove(&self.key));
        drop(gone);
    }
}

/// Sets when the running task's slice on this CPU ends (`u64::MAX`: never). Interrupts masked.
pub(crate) fn set_slice_end(ns: u64) {
    let cpu = cpu::id().0 as usize;
    if let Some(s) = SLICE_END.get(cpu)
        && s.swap(ns, Ordering::Relaxed) != ns
    {
        program(cpu);
    }
}

fn program(cpu: usize) {
    let first = QUEUES
        .get(cpu)
        .and_then(|q| q.lock().keys().next().map(|k| k.0))
        .unwrap_or(u64::MAX);
    let slice = SLICE_END.get(cpu).map_or(u64::MAX, |s| s.load(Ordering::Relaxed));
    timer::set_deadline_ns(first.min(slice));
}

/// The timer interrupt of this CPU. Answers whether the running task's slice has ended.
pub(crate) fn interrupt() -> bool {
    let cpu = cpu::id().0 as usize;
    let now = now_ns();
    loop {
        let due = QUEUES.get(cpu).and_then(|q| {
            let mut q = q.lock();
            if q.first_key_value().is_some_and(|(k, _)| k.0 <= now) {
                q.pop_first()
            } else {
                None
            }
        });
        match due {
            Some((_, what)) => what.expire(),
            None => break,
        }
    }
    let slice_over = SLICE_END.get(cpu).is_some_and(|s| {
        let end = s.load(Ordering::Relaxed);
        if end <= now {
            s.store(u64::MAX, Ordering::Relaxed);
        }
        end <= now
    });
    program(cpu);
    slice_over
}
