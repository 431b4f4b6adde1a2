//! Scheduling: yielding, affinity, policies, priorities.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use sis_abi::process::{
    PRIO_PGRP, PRIO_PROCESS, PRIO_USER, SCHED_BATCH, SCHED_FIFO, SCHED_IDLE, SCHED_NORMAL, SCHED_RESET_ON_FORK,
    SCHED_RR, SchedAttr, SchedParam,
};
use sis_abi::time::Timespec;
use sis_machine::{cpu, percpu};

use super::{Call, Row, built, partial};
use crate::process::cred::{Capability, Cred};
use crate::process::limits::Resource;
use crate::process::table;
use crate::process::thread::Thread;
use crate::time::Deadline;
use crate::user::{UserPtr, UserSlice};
use crate::wait::{Sleep, WaitQueue};
use crate::{Errno, Result, sched};

/// This family's rows.
pub(super) const CALLS: &[Row] = &[
    built(118, "sched_setparam", sched_setparam),
    partial(
        119,
        "sched_setscheduler",
        sched_setscheduler,
        "real-time policies answer EPERM",
    ),
    built(120, "sched_getscheduler", sched_getscheduler),
    built(121, "sched_getparam", sched_getparam),
    partial(
        122,
        "sched_setaffinity",
        sched_setaffinity,
        "another thread that runs moves when it next sleeps",
    ),
    built(123, "sched_getaffinity", sched_getaffinity),
    built(124, "sched_yield", sched_yield),
    built(125, "sched_get_priority_max", sched_get_priority_max),
    built(126, "sched_get_priority_min", sched_get_priority_min),
    built(127, "sched_rr_get_interval", sched_rr_get_interval),
    built(140, "setpriority", setpriority),
    built(141, "getpriority", getpriority),
    built(168, "getcpu", getcpu),
    partial(
        274,
        "sched_setattr",
        sched_setattr,
        "real-time and deadline policies answer EPERM",
    ),
    built(275, "sched_getattr", sched_getattr),
];

/// The slice of sched_rr_get_interval(2), in nanoseconds.
const SLICE_NS: u64 = 4_000_000;

const MIGRATION_TRIES: usize = 50;
const MIGRATION_PAUSE_NS: u64 = 20_000;

fn target(call: &Call<'_>, tid: i32) -> Result<Arc<Thread>> {
    match tid {
        0 => Ok(call.thread.clone()),
        tid if tid > 0 => table::thread(tid as u32).ok_or(Errno::ESRCH),
        _ => Err(Errno::EINVAL),
    }
}

/// `EPERM` unless the caller may change how a thread is scheduled.
fn check_permission(cred: &Cred, target: &Thread) -> Result<()> {
    let of = target.cred();
    if cred.euid == of.euid || cred.euid == of.uid || cred.has(Capability::SysNice) {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

fn sched_yield(_call: &mut Call<'_>) -> Result<usize> {
    sched::yield_now();
    Ok(0)
}

fn online_mask() -> u64 {
    percpu::online().fold(0, |m, c| m | 1 << c.id)
}

fn sched_getaffinity(call: &mut Call<'_>) -> Result<usize> {
    let len = call.usize(1);
    if len < 8 || !len.is_multiple_of(8) {
        return Err(Errno::EINVAL);
    }
    let thread = target(call, call.int(0))?;
    let mask = thread.task().map_or(0, |t| sched::ext(&t).affinity()) & online_mask();
    UserPtr::<u64>::new(call.usize(2)).write(&mask)?;
    Ok(8)
}

fn sched_setaffinity(call: &mut Call<'_>) -> Result<usize> {
    let len = call.usize(1).min(128);
    let bytes = UserSlice::new(call.usize(2), len).read_to_vec(128)?;
    let mask = bytes
        .iter()
        .take(8)
        .enumerate()
        .fold(0u64, |m, (n, b)| m | u64::from(*b) << (8 * n));
    let thread = target(call, call.int(0))?;
    check_permission(&call.thread.cred(), &thread)?;
    let mask = mask & online_mask();
    if mask == 0 {
        return Err(Errno::EINVAL);
    }
    if let Some(task) = thread.task() {
        sched::ext(&task).set_affinity(mask);
        if mask & (1 << task.last_cpu()) == 0 {
            if Arc::ptr_eq(&thread, call.thread) {
                migrate(mask);
            } else {
                thread.kick();
            }
        }
    }
    Ok(0)
}

/// Leaves a CPU that the thread may no longer use: the scheduler puts a task that wakes on one that it may.
fn migrate(mask: u64) {
    // A wake-up that comes before the task has left its CPU keeps it there; then once more.
    for _ in 0..MIGRATION_TRIES {
        if mask & (1 << cpu::id().0) != 0 {
            return;
        }
        let soon = Deadline::after_ns(MIGRATION_PAUSE_NS);
        let _ = WaitQueue::new().wait_for(Sleep::Uninterruptible, soon, || None::<()>);
    }
}

fn getcpu(call: &mut Call<'_>) -> Result<usize> {
    UserPtr::<u32>::new(call.usize(0)).write_opt(&cpu::id().0)?;
    UserPtr::<u32>::new(call.usize(1)).write_opt(&0)?;
    Ok(0)
}

/// `EINVAL` for what is no policy, `EPERM` for what is not built, and for leaving what is built without privilege.
fn check_policy(policy: u32, priority: i64) -> Result<()> {
    match policy & !SCHED_RESET_ON_FORK {
        SCHED_NORMAL | SCHED_BATCH | SCHED_IDLE if priority == 0 => Ok(()),
        SCHED_FIFO | SCHED_RR if (1..=99).contains(&priority) => Err(Errno::EPERM),
        _ => Err(Errno::EINVAL),
    }
}

fn set_policy(call: &Call<'_>, thread: &Thread, policy: u32, priority: i64) -> Result<usize> {
    check_policy(policy, priority)?;
    check_permission(&call.thread.cred(), thread)?;
    thread.policy.store(policy & !SCHED_RESET_ON_FORK, Ordering::Relaxed);
    Ok(0)
}

fn sched_setscheduler(call: &mut Call<'_>) -> Result<usize> {
    if call.int(1) < 0 {
        return Err(Errno::EINVAL);
    }
    let param = UserPtr::<SchedParam>::new(call.usize(2)).read()?;
    let thread = target(call, call.int(0))?;
    set_policy(call, &thread, call.uint(1), i64::from(param.sched_priority))
}

fn sched_setparam(call: &mut Call<'_>) -> Result<usize> {
    let param = UserPtr::<SchedParam>::new(call.usize(1)).read()?;
    let thread = target(call, call.int(0))?;
    set_policy(
        call,
        &thread,
        thread.policy.load(Ordering::Relaxed),
        i64::from(param.sched_priority),
    )
}

fn sched_getscheduler(call: &mut Call<'_>) -> Result<usize> {
    Ok(target(call, call.int(0))?.policy.load(Ordering::Relaxed) as usize)
}

fn sched_getparam(call: &mut Call<'_>) -> Result<usize> {
    target(call, call.int(0))?;
    UserPtr::<SchedParam>::new(call.usize(1)).write(&SchedParam { sched_priority: 0 })?;
    Ok(0)
}

fn sched_get_priority_max(call: &mut Call<'_>) -> Result<usize> {
    priority_bound(call.uint(0), 99)
}

fn sched_get_priority_min(call: &mut Call<'_>) -> Result<usize> {
    priority_bound(call.uint(0), 1)
}

fn priority_bound(policy: u32, of_realtime: usize) -> Result<usize> {
    match policy {
        SCHED_FIFO | SCHED_RR => Ok(of_realtime),
        SCHED_NORMAL | SCHED_BATCH | SCHED_IDLE | sis_abi::process::SCHED_DEADLINE => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}

fn sched_rr_get_interval(call: &mut Call<'_>) -> Result<usize> {
    target(call, call.int(0))?;
    UserPtr::<Timespec>::new(call.usize(1)).write(&Timespec::from_ns(SLICE_NS))?;
    Ok(0)
}

/// Bytes of the first `struct sched_attr`.
const ATTR_BYTES: usize = 48;

fn sched_getattr(call: &mut Call<'_>) -> Result<usize> {
    let room = call.uint(2) as usize;
    if !(ATTR_BYTES..=4096).contains(&room) || call.uint(3) != 0 {
        return Err(Errno::EINVAL);
    }
    let thread = target(call, call.int(0))?;
    let nice = thread.task().map_or(0, |t| sched::ext(&t).nice());
    let attr = SchedAttr {
        size: ATTR_BYTES as u32,
        sched_policy: thread.policy.load(Ordering::Relaxed),
        sched_flags: 0,
        sched_nice: i32::from(nice),
        sched_priority: 0,
        sched_runtime: 0,
        sched_deadline: 0,
        sched_period: 0,
        sched_util_min: 0,
        sched_util_max: 0,
    };
    let bytes = attr.to_bytes();
    UserSlice::new(call.usize(1), ATTR_BYTES).write_prefix(&bytes)?;
    Ok(0)
}

fn sched_setattr(call: &mut Call<'_>) -> Result<usize> {
    if call.uint(2) != 0 {
        return Err(Errno::EINVAL);
    }
    let at = call.usize(1);
    let size = UserPtr::<u32>::new(at).read()? as usize;
    if size != 0 && size < ATTR_BYTES || size > 4096 {
        return Err(Errno::E2BIG);
    }
    let bytes = UserPtr::<[u8; ATTR_BYTES]>::new(at).read()?;
    let mut all = [0; 56];
    for (to, from) in all.iter_mut().zip(&bytes) {
        *to = *from;
    }
    let attr = SchedAttr::from_bytes(&all);
    if attr.sched_flags != 0 {
        return Err(Errno::EINVAL);
    }
    let thread = target(call, call.int(0))?;
    set_policy(call, &thread, attr.sched_policy, i64::from(attr.sched_priority))?;
    set_nice(&call.thread.cred(), &thread, attr.sched_nice.clamp(-20, 19))?;
    Ok(0)
}

/// `EACCES` for a better nice value without privilege (RLIMIT_NICE is 20 minus the best one).
fn set_nice(cred: &Cred, thread: &Thread, nice: i32) -> Result<()> {
    let Some(task) = thread.task() else { return Ok(()) };
    let ext = sched::ext(&task);
    let least = 20
        - i64::try_from(thread.process.limit(Resource::Nice).soft)
            .unwrap_or(40)
            .min(40);
    if nice < i32::from(ext.nice()) && i64::from(nice) < least && !cred.has(Capability::SysNice) {
        return Err(Errno::EACCES);
    }
    ext.set_nice(nice as i8);
    if thread.tid() == thread.process.pid {
        thread.process.nice.store(nice, Ordering::Relaxed);
    }
    Ok(())
}

/// The threads that getpriority(2) and setpriority(2) mean.
fn chosen(call: &Call<'_>) -> Result<Vec<Arc<Thread>>> {
    let who = call.int(1);
    let id = u32::try_from(who).map_err(|_| Errno::ESRCH)?;
    let own = &call.thread.process;
    Ok(match call.uint(0) {
        PRIO_PROCESS if id == 0 => alloc::vec![call.thread.clone()],
        PRIO_PROCESS => table::thread(id).into_iter().collect(),
        PRIO_PGRP => {
            let pgid = if id == 0 { own.pgid() } else { id };
            table::group(pgid).iter().flat_map(|p| p.threads()).collect()
        }
        PRIO_USER => {
            let uid = if id == 0 { call.thread.cred().uid } else { id };
            table::iter()
                .filter(|p| p.uid() == uid)
                .flat_map(|p| p.threads())
                .collect()
        }
        _ => return Err(Errno::EINVAL),
    })
}

/// Answers 20 minus the nice value, so that it is never negative.
fn getpriority(call: &mut Call<'_>) -> Result<usize> {
    let best = chosen(call)?
        .iter()
        .filter_map(|t| t.task())
        .map(|t| sched::ext(&t).nice())
        .min();
    best.map(|n| (20 - i32::from(n)) as usize).ok_or(Errno::ESRCH)
}

fn setpriority(call: &mut Call<'_>) -> Result<usize> {
    let nice = call.int(2).clamp(-20, 19);
    let cred = call.thread.cred();
    let mut out = Err(Errno::ESRCH);
    for thread in chosen(call)? {
        let of = thread.cred();
        let done = if cred.euid == of.euid || cred.euid == of.uid || cred.has(Capability::SysNice) {
            set_nice(&cred, &thread, nice)
        } else {
            Err(Errno::EPERM)
        };
        match done {
            Ok(()) if out == Err(Errno::ESRCH) => out = Ok(0),
            Ok(()) => {}
            Err(e) => out = Err(e),
        }
    }
    out
}
