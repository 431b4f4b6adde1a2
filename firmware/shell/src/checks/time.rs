//! Clocks, sleeping, timers and waiting for events.

use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime};

use super::{Failed, during, ensure};

/// How much later than asked a sleep may end on a busy machine.
const LATE: Duration = Duration::from_millis(1500);

pub(super) fn clock() -> Result<(), Failed> {
    let start = Instant::now();
    let mut last = start;
    for _ in 0..20_000 {
        let now = Instant::now();
        ensure(now >= last, || "the monotonic clock went back".to_owned())?;
        last = now;
    }
    ensure(last > start, || "the monotonic clock stands still".to_owned())?;
    ensure(SystemTime::now() > SystemTime::UNIX_EPOCH, || {
        "the time of day is before 1970".to_owned()
    })
}

fn in_time(what: &str, asked: Duration, took: Duration) -> Result<(), Failed> {
    ensure(took >= asked && took < asked + LATE, || {
        format!("{what} of {asked:?} took {took:?}")
    })
}

pub(super) fn sleep() -> Result<(), Failed> {
    for asked in [Duration::from_millis(1), Duration::from_millis(30)] {
        let start = Instant::now();
        thread::sleep(asked);
        in_time("sleep", asked, start.elapsed())?;
    }
    Ok(())
}

pub(super) fn timerfd() -> Result<(), Failed> {
    let timer = during(
        "timerfd_create",
        timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC),
    )?;
    let every = Timespec {
        tv_sec: 0,
        tv_nsec: 10_000_000,
    };
    let setting = Itimerspec {
        it_interval: every,
        it_value: every,
    };
    let start = Instant::now();
    during(
        "timerfd_settime",
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &setting),
    )?;
    let mut ticks = 0_u64;
    while ticks < 3 {
        let mut bytes = [0; 8];
        let length = during("read", rustix::io::read(&timer, &mut bytes))?;
        ensure(length == 8, || format!("a timer gives {length} bytes"))?;
        ticks += u64::from_ne_bytes(bytes);
    }
    in_time("three ticks of a timer", Duration::from_millis(30), start.elapsed())
}

pub(super) fn epoll() -> Result<(), Failed> {
    let epoll = during("epoll_create1", epoll::create(CreateFlags::CLOEXEC))?;
    let event = during("eventfd2", eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK))?;
    during(
        "epoll_ctl",
        epoll::add(&epoll, &event, EventData::new_u64(42), EventFlags::IN),
    )?;
    let mut ready = Vec::with_capacity(4);
    let none = Timespec {
        tv_sec: 0,
        tv_nsec: 20_000_000,
    };
    let wait = |ready: &mut Vec<_>, limit: &Timespec| {
        ready.clear();
        during(
            "epoll_wait",
            epoll::wait(&epoll, rustix::buffer::spare_capacity(ready), Some(limit)),
        )
    };
    let start = Instant::now();
    let count = wait(&mut ready, &none)?;
    ensure(count == 0, || "an event came out of nothing".to_owned())?;
    in_time("epoll_wait", Duration::from_millis(20), start.elapsed())?;
    during("write", rustix::io::write(&event, &1_u64.to_ne_bytes()))?;
    let count = wait(&mut ready, &Timespec { tv_sec: 2, tv_nsec: 0 })?;
    let data = ready.first().map(|e| e.data.u64());
    ensure(count == 1 && data == Some(42), || {
        format!("{count} events, the first with {data:?}")
    })
}
