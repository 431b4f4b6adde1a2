//! Clocks, sleeping, timers.

use alloc::sync::Arc;

use sis_abi::process::{SIGEV_NONE, SIGEV_SIGNAL, SIGEV_THREAD_ID, Sigevent};
use sis_abi::signal::{SIGALRM, Signal};
use sis_abi::time::{
    CLOCK_BOOTTIME, CLOCK_MONOTONIC, CLOCK_MONOTONIC_COARSE, CLOCK_MONOTONIC_RAW, CLOCK_PROCESS_CPUTIME_ID,
    CLOCK_REALTIME, CLOCK_REALTIME_COARSE, CLOCK_TAI, CLOCK_THREAD_CPUTIME_ID, ITIMER_PROF, ITIMER_REAL,
    ITIMER_VIRTUAL, Itimerspec, Itimerval, TIMER_ABSTIME, Timespec, Timeval, Timezone, Tms,
};

use super::{Call, Row, built, partial};
use crate::process::cred::Capability;
use crate::process::exit::TICK_NS;
use crate::process::thread::{Restart, Thread};
use crate::process::timers::{Action, Clock, Interval};
use crate::process::{futex, table};
use crate::time::{Deadline, now_ns, set_wall_ns, wall_ns};
use crate::user::UserPtr;
use crate::wait::WaitQueue;
use crate::{Errno, Result};

/// This family's rows.
pub(super) const CALLS: &[Row] = &[
    built(101, "nanosleep", nanosleep),
    built(102, "getitimer", getitimer),
    built(103, "setitimer", setitimer),
    partial(107, "timer_create", timer_create, "thread CPU clocks, alarm clocks"),
    built(108, "timer_gettime", timer_gettime),
    built(109, "timer_getoverrun", timer_getoverrun),
    partial(
        110,
        "timer_settime",
        timer_settime,
        "CLOCK_REALTIME timers do not move when the clock is set",
    ),
    built(111, "timer_delete", timer_delete),
    partial(112, "clock_settime", clock_settime, "only CLOCK_REALTIME can be set"),
    built(113, "clock_gettime", clock_gettime),
    built(114, "clock_getres", clock_getres),
    partial(
        115,
        "clock_nanosleep",
        clock_nanosleep,
        "CLOCK_PROCESS_CPUTIME_ID; absolute sleeps do not follow the clock",
    ),
    built(128, "restart_syscall", restart_syscall),
    built(153, "times", times),
    built(169, "gettimeofday", gettimeofday),
    partial(170, "settimeofday", settimeofday, "the time zone is ignored"),
];

/// The time of a clock, in nanoseconds. Negative ids are CPU clocks of processes and threads (clock_getcpuclockid(3)).
fn clock_now(call: &Call<'_>, id: i32) -> Result<u64> {
    if id < 0 {
        return cpu_clock(call, id);
    }
    Ok(match id as u32 {
        CLOCK_REALTIME | CLOCK_REALTIME_COARSE | CLOCK_TAI => wall_ns(),
        CLOCK_MONOTONIC | CLOCK_MONOTONIC_RAW | CLOCK_MONOTONIC_COARSE | CLOCK_BOOTTIME => now_ns(),
        CLOCK_PROCESS_CPUTIME_ID => call.thread.process.cpu_now().1,
        CLOCK_THREAD_CPUTIME_ID => call.thread.cpu_ns().1,
        _ => return Err(Errno::EINVAL),
    })
}

/// Bits 0..=1: which clock; bit 2: of a thread; the rest: the number, inverted (posix-timers.h).
fn cpu_clock(call: &Call<'_>, id: i32) -> Result<u64> {
    let number = u32::try_from(!(id >> 3)).map_err(|_| Errno::EINVAL)?;
    let pick = |(user, total): (u64, u64)| match id & 3 {
        // PROF counts user and system, VIRT user, SCHED all.
        1 => Ok(user),
        0 | 2 => Ok(total),
        _ => Err(Errno::EINVAL),
    };
    if id & 4 != 0 {
        if number == 0 {
            return pick(call.thread.cpu_ns());
        }
        let thread = table::thread(number).ok_or(Errno::EINVAL)?;
        if !Arc::ptr_eq(&thread.process, &call.thread.process) {
            return Err(Errno::EINVAL);
        }
        return pick(thread.cpu_ns());
    }
    if number == 0 {
        return pick(call.thread.process.cpu_now());
    }
    pick(table::get(number).ok_or(Errno::EINVAL)?.cpu_now())
}

fn clock_gettime(call: &mut Call<'_>) -> Result<usize> {
    let now = clock_now(call, call.int(0))?;
    UserPtr::<Timespec>::new(call.usize(1)).write(&Timespec::from_ns(now))?;
    Ok(0)
}

fn clock_getres(call: &mut Call<'_>) -> Result<usize> {
    clock_now(call, call.int(0))?;
    let is_coarse = matches!(call.uint(0), CLOCK_REALTIME_COARSE | CLOCK_MONOTONIC_COARSE);
    let resolution = if is_coarse { 4_000_000 } else { 1 };
    UserPtr::<Timespec>::new(call.usize(1)).write_opt(&Timespec::from_ns(resolution))?;
    Ok(0)
}

fn clock_settime(call: &mut Call<'_>) -> Result<usize> {
    if call.uint(0) != CLOCK_REALTIME {
        return Err(Errno::EINVAL);
    }
    let to = UserPtr::<Timespec>::new(call.usize(1))
        .read()?
        .to_ns()
        .ok_or(Errno::EINVAL)?;
    set_wall(call, to)
}

fn set_wall(call: &Call<'_>, to_ns: u64) -> Result<usize> {
    if !call.thread.cred().has(Capability::SysTime) {
        return Err(Errno::EPERM);
    }
    // Linux refuses times at which the monotonic clock would have begun before 1970.
    if to_ns < now_ns() || to_ns > i64::MAX as u64 {
        return Err(Errno::EINVAL);
    }
    set_wall_ns(to_ns);
    Ok(0)
}

fn gettimeofday(call: &mut Call<'_>) -> Result<usize> {
    UserPtr::<Timeval>::new(call.usize(0)).write_opt(&Timeval::from_ns(wall_ns()))?;
    UserPtr::<Timezone>::new(call.usize(1)).write_opt(&Timezone {
        tz_minuteswest: 0,
        tz_dsttime: 0,
    })?;
    Ok(0)
}

fn settimeofday(call: &mut Call<'_>) -> Result<usize> {
    let time = UserPtr::<Timeval>::new(call.usize(0)).read_opt()?;
    UserPtr::<Timezone>::new(call.usize(1)).read_opt()?;
    match time {
        Some(t) => set_wall(call, t.to_ns().ok_or(Errno::EINVAL)?),
        None if call.thread.cred().has(Capability::SysTime) => Ok(0),
        None => Err(Errno::EPERM),
    }
}

fn times(call: &mut Call<'_>) -> Result<usize> {
    let own = call.thread.process.usage();
    let children = call.thread.process.children_usage();
    let ticks = |ns: u64| (ns / TICK_NS) as i64;
    let out = Tms {
        tms_utime: ticks(own.user_ns),
        tms_stime: ticks(own.system_ns),
        tms_cutime: ticks(children.user_ns),
        tms_cstime: ticks(children.system_ns),
    };
    UserPtr::<Tms>::new(call.usize(0)).write_opt(&out)?;
    Ok((now_ns() / TICK_NS) as usize)
}

/// Sleeps until a point of the monotonic clock; what is left goes to `remaining` when a handler ends it.
fn sleep(thread: &Thread, until: Deadline, remaining: usize) -> Result<usize> {
    match WaitQueue::new().wait_until(until, || None::<()>) {
        Err(Errno::ETIMEDOUT) => Ok(0),
        Err(Errno::ERESTARTSYS) => {
            let left = until.ns().saturating_sub(now_ns());
            if remaining != 0 {
                UserPtr::<Timespec>::new(remaining).write(&Timespec::from_ns(left))?;
            }
            *thread.restart.lock() = Some(Restart::Sleep {
                until_ns: until.ns(),
                remaining,
            });
            Err(Errno::ERESTART_RESTARTBLOCK)
        }
        other => other.map(|()| 0),
    }
}

fn nanosleep(call: &mut Call<'_>) -> Result<usize> {
    let ns = UserPtr::<Timespec>::new(call.usize(0))
        .read()?
        .to_ns()
        .ok_or(Errno::EINVAL)?;
    let until = Deadline::at_ns(now_ns().saturating_add(ns).min(u64::MAX - 1));
    sleep(call.thread, until, call.usize(1))
}

fn clock_nanosleep(call: &mut Call<'_>) -> Result<usize> {
    let id = call.uint(0);
    let now = match id {
        CLOCK_REALTIME | CLOCK_TAI => wall_ns(),
        CLOCK_MONOTONIC | CLOCK_BOOTTIME => now_ns(),
        CLOCK_MONOTONIC_RAW | CLOCK_MONOTONIC_COARSE | CLOCK_REALTIME_COARSE | CLOCK_PROCESS_CPUTIME_ID => {
            return Err(Errno::EOPNOTSUPP);
        }
        _ => return Err(Errno::EINVAL),
    };
    let ns = UserPtr::<Timespec>::new(call.usize(2))
        .read()?
        .to_ns()
        .ok_or(Errno::EINVAL)?;
    let is_absolute = call.uint(1) & TIMER_ABSTIME != 0;
    let left = if is_absolute { ns.saturating_sub(now) } else { ns };
    let until = Deadline::at_ns(now_ns().saturating_add(left).min(u64::MAX - 1));
    if is_absolute {
        return match WaitQueue::new().wait_until(until, || None::<()>) {
            Err(Errno::ETIMEDOUT) => Ok(0),
            Err(Errno::ERESTARTSYS) => Err(Errno::ERESTARTNOHAND),
            other => other.map(|()| 0),
        };
    }
    sleep(call.thread, until, call.usize(3))
}

fn restart_syscall(call: &mut Call<'_>) -> Result<usize> {
    let restart = call.thread.restart.lock().take();
    match restart {
        None => Err(Errno::EINTR),
        Some(Restart::Sleep { until_ns, remaining }) => sleep(call.thread, Deadline::at_ns(until_ns), remaining),
        Some(Restart::Futex {
            address,
            expected,
            bitset,
            is_private,
            until_ns,
        }) => {
            let deadline = Deadline::at_ns(until_ns);
            futex::wait(call.thread, address, expected, bitset, is_private, deadline).map(|()| 0)
        }
    }
}

fn interval(which: u32) -> Result<Interval> {
    match which {
        ITIMER_REAL => Ok(Interval::Real),
        ITIMER_VIRTUAL => Ok(Interval::Virtual),
        ITIMER_PROF => Ok(Interval::Profiling),
        _ => Err(Errno::EINVAL),
    }
}

fn itimerval((left, interval): (u64, u64)) -> Itimerval {
    // What is set never reads as zero.
    let left = if left > 0 { left.max(1000) } else { 0 };
    Itimerval {
        it_interval: Timeval::from_ns(interval),
        it_value: Timeval::from_ns(left),
    }
}

fn getitimer(call: &mut Call<'_>) -> Result<usize> {
    let alarm = call.thread.process.interval_timer(interval(call.uint(0))?);
    UserPtr::<Itimerval>::new(call.usize(1)).write(&itimerval(alarm.get()))?;
    Ok(0)
}

fn setitimer(call: &mut Call<'_>) -> Result<usize> {
    let which = interval(call.uint(0))?;
    let (value, every) = match UserPtr::<Itimerval>::new(call.usize(1)).read_opt()? {
        None => (0, 0),
        Some(t) => (
            t.it_value.to_ns().ok_or(Errno::EINVAL)?,
            t.it_interval.to_ns().ok_or(Errno::EINVAL)?,
        ),
    };
    let process = &call.thread.process;
    let alarm = process.interval_timer(which);
    let next = (value > 0).then(|| alarm.clock.now(process).saturating_add(value));
    let old = alarm.set(next, every);
    UserPtr::<Itimerval>::new(call.usize(2)).write_opt(&itimerval(old))?;
    Ok(0)
}

fn timer_create(call: &mut Call<'_>) -> Result<usize> {
    let clock = match call.uint(0) {
        CLOCK_REALTIME | CLOCK_TAI => Clock::Wall,
        CLOCK_MONOTONIC | CLOCK_BOOTTIME => Clock::Monotonic,
        CLOCK_PROCESS_CPUTIME_ID => Clock::Cpu,
        CLOCK_THREAD_CPUTIME_ID => return Err(Errno::EOPNOTSUPP),
        _ => return Err(Errno::EINVAL),
    };
    let event = UserPtr::<Sigevent>::new(call.usize(1)).read_opt()?;
    let process = &call.thread.process;
    let out = UserPtr::<i32>::new(call.usize(2));
    let id = match event {
        None => process.create_timer(clock, |id| Action::Timer {
            id,
            signal: SIGALRM,
            value: id as u64,
            thread: None,
        }),
        Some(e) => {
            let signal = Signal::new(e.sigev_signo);
            let notify = u32::try_from(e.sigev_notify).map_err(|_| Errno::EINVAL)?;
            let value = e.sigev_value;
            match notify {
                SIGEV_NONE => process.create_timer(clock, |_| Action::None),
                SIGEV_SIGNAL => {
                    let signal = signal.ok_or(Errno::EINVAL)?;
                    process.create_timer(clock, |id| Action::Timer {
                        id,
                        signal,
                        value,
                        thread: None,
                    })
                }
                SIGEV_THREAD_ID => {
                    let signal = signal.ok_or(Errno::EINVAL)?;
                    let tid = u32::try_from(e.sigev_notify_thread_id).map_err(|_| Errno::EINVAL)?;
                    let target = table::thread(tid)
                        .filter(|t| Arc::ptr_eq(&t.process, process))
                        .ok_or(Errno::EINVAL)?;
                    let thread = Some(Arc::downgrade(&target));
                    process.create_timer(clock, |id| Action::Timer {
                        id,
                        signal,
                        value,
                        thread,
                    })
                }
                _ => Err(Errno::EINVAL),
            }
        }
    }?;
    if let Err(e) = out.write(&id) {
        let _ = process.timers.delete(id);
        return Err(e);
    }
    Ok(0)
}

fn itimerspec((left, interval): (u64, u64)) -> Itimerspec {
    Itimerspec {
        it_interval: Timespec::from_ns(interval),
        it_value: Timespec::from_ns(left),
    }
}

fn timer_gettime(call: &mut Call<'_>) -> Result<usize> {
    let alarm = call.thread.process.timers.posix(call.int(0))?;
    UserPtr::<Itimerspec>::new(call.usize(1)).write(&itimerspec(alarm.get()))?;
    Ok(0)
}

fn timer_settime(call: &mut Call<'_>) -> Result<usize> {
    let process = &call.thread.process;
    let alarm = process.timers.posix(call.int(0))?;
    let new = UserPtr::<Itimerspec>::new(call.usize(2)).read()?;
    let value = new.it_value.to_ns().ok_or(Errno::EINVAL)?;
    let every = new.it_interval.to_ns().ok_or(Errno::EINVAL)?;
    let is_absolute = call.uint(1) & TIMER_ABSTIME != 0;
    let next = match value {
        0 => None,
        at if is_absolute => Some(at),
        after => Some(alarm.clock.now(process).saturating_add(after)),
    };
    let old = alarm.set(next, every);
    UserPtr::<Itimerspec>::new(call.usize(3)).write_opt(&itimerspec(old))?;
    Ok(0)
}

fn timer_getoverrun(call: &mut Call<'_>) -> Result<usize> {
    Ok(call.thread.process.timers.overrun(call.int(0))? as usize)
}

fn timer_delete(call: &mut Call<'_>) -> Result<usize> {
    call.thread.process.timers.delete(call.int(0)).map(|()| 0)
}
