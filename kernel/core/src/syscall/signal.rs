//! Signals: actions, masks, sending, waiting.

use alloc::sync::Arc;

use sis_abi::sigframe::{SIG_BLOCK, SIG_SETMASK, SIG_UNBLOCK, SigAltStack};
use sis_abi::signal::{Detail, SIGCONT, SigAction, SigInfo, SigSet, Signal, code};
use sis_abi::time::Timespec;

use super::{Call, Row, built};
use crate::process::signal::{self, dequeue, frame, send_to_process, send_to_thread};
use crate::process::thread::Thread;
use crate::process::{Process, table};
use crate::time::Deadline;
use crate::user::{UserPtr, UserSlice};
use crate::wait::WaitQueue;
use crate::{Errno, Result};

/// This family's rows.
pub(super) const CALLS: &[Row] = &[
    built(129, "kill", kill),
    built(130, "tkill", tkill),
    built(131, "tgkill", tgkill),
    built(132, "sigaltstack", sigaltstack),
    built(133, "rt_sigsuspend", rt_sigsuspend),
    built(134, "rt_sigaction", rt_sigaction),
    built(135, "rt_sigprocmask", rt_sigprocmask),
    built(136, "rt_sigpending", rt_sigpending),
    built(137, "rt_sigtimedwait", rt_sigtimedwait),
    built(138, "rt_sigqueueinfo", rt_sigqueueinfo),
    built(139, "rt_sigreturn", rt_sigreturn),
    built(240, "rt_tgsigqueueinfo", rt_tgsigqueueinfo),
];

/// Bytes of the kernel's `sigset_t`; every call says it.
const SET_BYTES: usize = 8;

fn check_size(call: &Call<'_>, argument: usize) -> Result<()> {
    if call.usize(argument) == SET_BYTES {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

fn read_set(address: usize) -> Result<SigSet> {
    Ok(SigSet(UserPtr::<u64>::new(address).read()?))
}

fn rt_sigaction(call: &mut Call<'_>) -> Result<usize> {
    check_size(call, 3)?;
    let signal = Signal::new(call.int(0)).ok_or(Errno::EINVAL)?;
    let new = match call.usize(1) {
        0 => None,
        at => {
            let bytes = UserPtr::<[u8; SigAction::SIZE]>::new(at).read()?;
            if SigSet::UNBLOCKABLE.has(signal) {
                return Err(Errno::EINVAL);
            }
            Some(SigAction::from_bytes(&bytes))
        }
    };
    let old = {
        let mut state = call.thread.process.signal.lock();
        match new {
            None => state.actions.get(signal),
            Some(action) => {
                let old = state.actions.set(signal, action);
                if action.ignores(signal) {
                    signal::flush(&mut state, SigSet::of(&[signal]));
                }
                old
            }
        }
    };
    let out = UserPtr::<[u8; SigAction::SIZE]>::new(call.usize(2));
    out.write_opt(&old.to_bytes())?;
    Ok(0)
}

fn rt_sigprocmask(call: &mut Call<'_>) -> Result<usize> {
    check_size(call, 3)?;
    let thread = call.thread;
    let old = thread.blocked();
    if call.usize(1) != 0 {
        let set = read_set(call.usize(1))?;
        let new = match call.uint(0) {
            SIG_BLOCK => old.union(set),
            SIG_UNBLOCK => old.without(set),
            SIG_SETMASK => set,
            _ => return Err(Errno::EINVAL),
        };
        thread.set_blocked(new);
    }
    UserPtr::<u64>::new(call.usize(2)).write_opt(&old.0)?;
    Ok(0)
}

fn rt_sigpending(call: &mut Call<'_>) -> Result<usize> {
    if call.usize(1) > SET_BYTES {
        return Err(Errno::EINVAL);
    }
    let thread = call.thread;
    let set = thread.process.pending_signals(thread).and(thread.blocked());
    UserSlice::new(call.usize(0), call.usize(1)).write_prefix(&set.0.to_le_bytes())?;
    Ok(0)
}

fn rt_sigsuspend(call: &mut Call<'_>) -> Result<usize> {
    check_size(call, 1)?;
    let mask = read_set(call.usize(0))?;
    call.thread.set_temporary_mask(mask);
    match WaitQueue::new().wait(|| None::<()>) {
        Err(Errno::ERESTARTSYS) => Err(Errno::ERESTARTNOHAND),
        other => other.map(|()| 0),
    }
}

fn rt_sigtimedwait(call: &mut Call<'_>) -> Result<usize> {
    check_size(call, 3)?;
    let wanted = read_set(call.usize(0))?.blockable();
    let deadline = match UserPtr::<Timespec>::new(call.usize(2)).read_opt()? {
        None => Deadline::NEVER,
        Some(t) => Deadline::after_ns(t.to_ns().ok_or(Errno::EINVAL)?.min(u64::MAX / 2)),
    };
    let thread = call.thread;
    let queue = thread.process.signal_wait.clone();
    let info = match queue.wait_until(deadline, || dequeue(thread, wanted)) {
        Ok(info) => info,
        Err(Errno::ETIMEDOUT) => return Err(Errno::EAGAIN),
        Err(_) => return Err(Errno::EINTR),
    };
    if call.usize(1) != 0 {
        UserSlice::new(call.usize(1), SigInfo::SIZE).write_prefix(&info.to_bytes())?;
    }
    Ok(info.signal.number() as usize)
}

fn rt_sigreturn(call: &mut Call<'_>) -> Result<usize> {
    frame::sigreturn(call.thread, call.user);
    call.registers_replaced = true;
    Ok(0)
}

fn sigaltstack(call: &mut Call<'_>) -> Result<usize> {
    let sp = call.user.sp as usize;
    let new = UserPtr::<SigAltStack>::new(call.usize(0)).read_opt()?;
    let old = frame::to_abi(&call.thread.alt_stack.lock(), sp);
    if let Some(new) = new {
        frame::set_alt_stack(call.thread, &new, sp)?;
    }
    UserPtr::<SigAltStack>::new(call.usize(1)).write_opt(&old)?;
    Ok(0)
}

/// A signal's number from a call; `None` for 0, which only asks.
fn signal_or_probe(number: i32) -> Result<Option<Signal>> {
    match number {
        0 => Ok(None),
        n => Signal::new(n).map(Some).ok_or(Errno::EINVAL),
    }
}

/// `EPERM` unless the caller may send the signal.
fn check_permission(caller: &Thread, target: &Process, signal: Option<Signal>) -> Result<()> {
    if core::ptr::eq(&*caller.process, target) {
        return Ok(());
    }
    let cred = caller.cred();
    let allowed = match target.main_thread() {
        Some(t) => cred.may_signal(&t.cred()),
        None => cred.uid == target.uid() || cred.has(crate::process::cred::Capability::Kill),
    };
    if allowed || signal == Some(SIGCONT) && caller.process.sid() == target.sid() {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

fn send(caller: &Thread, target: &Process, signal: Option<Signal>) -> Result<()> {
    check_permission(caller, target, signal)?;
    match signal {
        None => Ok(()),
        Some(s) => send_to_process(target, SigInfo::user(s, caller.process.pid, caller.cred().uid)),
    }
}

fn kill(call: &mut Call<'_>) -> Result<usize> {
    let thread = call.thread;
    let signal = signal_or_probe(call.int(1))?;
    match call.int(0) {
        pid if pid > 0 => {
            let target = table::get(pid as u32).ok_or(Errno::ESRCH)?;
            send(thread, &target, signal)?;
        }
        0 => send_to_many(thread, &table::group(thread.process.pgid()), signal)?,
        -1 => {
            let is_other = |p: &Arc<Process>| !p.is_init() && !Arc::ptr_eq(p, &thread.process);
            let all: alloc::vec::Vec<_> = table::iter().filter(is_other).collect();
            send_to_many(thread, &all, signal)?;
        }
        i32::MIN => return Err(Errno::ESRCH),
        pgid => send_to_many(thread, &table::group(pgid.unsigned_abs()), signal)?,
    }
    Ok(0)
}

/// Succeeds when one of them could be sent it; `ESRCH` when there is none.
fn send_to_many(caller: &Thread, targets: &[Arc<Process>], signal: Option<Signal>) -> Result<()> {
    let mut out = Err(Errno::ESRCH);
    for target in targets {
        match send(caller, target, signal) {
            Ok(()) => out = Ok(()),
            Err(e) if out.is_err() => out = Err(e),
            Err(_) => {}
        }
    }
    out
}

/// Finds a thread; with `tgid` it must be of that process.
fn find_thread(tgid: Option<i32>, tid: i32) -> Result<Arc<Thread>> {
    if tid <= 0 || tgid.is_some_and(|t| t <= 0) {
        return Err(Errno::EINVAL);
    }
    let thread = table::thread(tid as u32).ok_or(Errno::ESRCH)?;
    match tgid {
        Some(t) if thread.process.pid != t as u32 => Err(Errno::ESRCH),
        _ => Ok(thread),
    }
}

fn send_to_one(call: &Call<'_>, target: &Arc<Thread>, number: i32) -> Result<usize> {
    let signal = signal_or_probe(number)?;
    let caller = call.thread;
    check_permission(caller, &target.process, signal)?;
    if let Some(signal) = signal {
        let detail = Detail::Sender {
            pid: caller.process.pid,
            uid: caller.cred().uid,
        };
        send_to_thread(
            target,
            SigInfo {
                signal,
                errno: 0,
                code: code::SI_TKILL,
                detail,
            },
        )?;
    }
    Ok(0)
}

fn tkill(call: &mut Call<'_>) -> Result<usize> {
    let target = find_thread(None, call.int(0))?;
    send_to_one(call, &target, call.int(1))
}

fn tgkill(call: &mut Call<'_>) -> Result<usize> {
    let target = find_thread(Some(call.int(0)), call.int(1))?;
    send_to_one(call, &target, call.int(2))
}

/// Reads a `siginfo_t` for another process; what only the kernel may say is refused.
fn read_info(caller: &Thread, target: &Process, number: i32, address: usize) -> Result<SigInfo> {
    let bytes = UserPtr::<[u8; SigInfo::SIZE]>::new(address).read()?;
    let signal = Signal::new(number).ok_or(Errno::EINVAL)?;
    let raw = SigInfo::from_bytes_as(&bytes, signal);
    let claims_kernel = raw.code >= 0 || raw.code == code::SI_TKILL;
    if claims_kernel && !core::ptr::eq(&*caller.process, target) {
        return Err(Errno::EPERM);
    }
    Ok(raw)
}

fn rt_sigqueueinfo(call: &mut Call<'_>) -> Result<usize> {
    let pid = u32::try_from(call.int(0)).map_err(|_| Errno::ESRCH)?;
    let target = table::get(pid).ok_or(Errno::ESRCH)?;
    let info = read_info(call.thread, &target, call.int(1), call.usize(2))?;
    check_permission(call.thread, &target, Some(info.signal))?;
    send_to_process(&target, info).map(|()| 0)
}

fn rt_tgsigqueueinfo(call: &mut Call<'_>) -> Result<usize> {
    let target = find_thread(Some(call.int(0)), call.int(1))?;
    let info = read_info(call.thread, &target.process, call.int(2), call.usize(3))?;
    check_permission(call.thread, &target.process, Some(info.signal))?;
    send_to_thread(&target, info).map(|()| 0)
}
