//! eventfd, timerfd, signalfd.

use alloc::sync::Arc;

use sis_abi::signal::SigSet;
use sis_abi::time::{CLOCK_BOOTTIME, CLOCK_BOOTTIME_ALARM, CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_REALTIME_ALARM};
use sis_abi::time::{Itimerspec, Timespec};

use super::args;
use super::{Call, Row, built, partial};
use crate::fs::eventfd::EventFd;
use crate::fs::file::{File, OpenFile};
use crate::fs::flags::{O_CLOEXEC, O_NONBLOCK, O_RDWR};
use crate::fs::signalfd::SignalFd;
use crate::fs::timerfd::{Setting, TimerFd};
use crate::time::{now_ns, wall_ns};
use crate::user::UserPtr;
use crate::{Errno, Result};

pub(super) const CALLS: &[Row] = &[
    built(19, "eventfd2", eventfd2),
    built(74, "signalfd4", signalfd4),
    built(85, "timerfd_create", timerfd_create),
    partial(
        86,
        "timerfd_settime",
        timerfd_settime,
        "TFD_TIMER_CANCEL_ON_SET; a later change of the wall clock",
    ),
    built(87, "timerfd_gettime", timerfd_gettime),
];

/// Puts a new file into the lowest free descriptor.
fn install(call: &Call<'_>, ops: Arc<dyn File>, flags: u32) -> Result<usize> {
    let file = OpenFile::new(ops, O_RDWR | (flags & O_NONBLOCK), None);
    let limit = call.thread.process.nofile_limit();
    Ok(call.thread.files().insert(file, flags & O_CLOEXEC != 0, 0, limit)? as usize)
}

const EFD_SEMAPHORE: u32 = 1;

fn eventfd2(call: &mut Call<'_>) -> Result<usize> {
    let flags = call.uint(1);
    if flags & !(EFD_SEMAPHORE | O_CLOEXEC | O_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let file = EventFd::new(u64::from(call.uint(0)), flags & EFD_SEMAPHORE != 0);
    install(call, Arc::new(file), flags)
}

fn timerfd_create(call: &mut Call<'_>) -> Result<usize> {
    let (clock, flags) = (call.uint(0), call.uint(1));
    if flags & !(O_CLOEXEC | O_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    match clock {
        CLOCK_REALTIME | CLOCK_MONOTONIC | CLOCK_BOOTTIME | CLOCK_REALTIME_ALARM | CLOCK_BOOTTIME_ALARM => {}
        _ => return Err(Errno::EINVAL),
    }
    install(call, TimerFd::new(clock), flags)
}

fn timer(file: &OpenFile) -> Result<&TimerFd> {
    file.ops.as_any().downcast_ref().ok_or(Errno::EINVAL)
}

fn to_itimerspec(s: Setting) -> Itimerspec {
    Itimerspec {
        it_interval: Timespec::from_ns(s.interval_ns),
        it_value: Timespec::from_ns(s.value_ns),
    }
}

const TFD_TIMER_ABSTIME: u32 = 1;

fn timerfd_settime(call: &mut Call<'_>) -> Result<usize> {
    let flags = call.uint(1);
    if flags & !TFD_TIMER_ABSTIME != 0 {
        return Err(Errno::EINVAL);
    }
    let new = UserPtr::<Itimerspec>::new(call.usize(2)).read()?;
    let file = args::file(call, 0)?;
    let timer = timer(&file)?;
    let value = new.it_value.to_ns().ok_or(Errno::EINVAL)?;
    let interval = new.it_interval.to_ns().ok_or(Errno::EINVAL)?;
    let at = match value {
        0 => None,
        v if flags & TFD_TIMER_ABSTIME == 0 => Some(now_ns().saturating_add(v)),
        v if matches!(timer.clock, CLOCK_REALTIME | CLOCK_REALTIME_ALARM) => {
            Some(now_ns().saturating_add(v.saturating_sub(wall_ns())))
        }
        v => Some(v),
    };
    let old = timer.set(at, interval);
    UserPtr::new(call.usize(3)).write_opt(&to_itimerspec(old))?;
    Ok(0)
}

fn timerfd_gettime(call: &mut Call<'_>) -> Result<usize> {
    let file = args::file(call, 0)?;
    UserPtr::new(call.usize(1)).write(&to_itimerspec(timer(&file)?.get()))?;
    Ok(0)
}

/// Bytes of a signal set.
const SIGSET_BYTES: usize = 8;

fn signalfd4(call: &mut Call<'_>) -> Result<usize> {
    let flags = call.uint(3);
    if flags & !(O_CLOEXEC | O_NONBLOCK) != 0 || call.usize(2) != SIGSET_BYTES {
        return Err(Errno::EINVAL);
    }
    let mask = SigSet(UserPtr::<u64>::new(call.usize(1)).read()?);
    if call.int(0) == -1 {
        return install(call, Arc::new(SignalFd::new(mask)), flags);
    }
    let file = args::file(call, 0)?;
    file.ops
        .as_any()
        .downcast_ref::<SignalFd>()
        .ok_or(Errno::EINVAL)?
        .set_mask(mask);
    Ok(call.usize(0))
}
