//! Delivering signals on the way back to user mode: default actions, stops, handlers, restarts.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use sis_abi::process::WaitStatus;
use sis_abi::signal::{
    DefaultAction, SIG_DFL, SIG_IGN, SIGCHLD, SIGSEGV, SIGSTOP, SaFlags, SigAction, SigInfo, SigSet, Signal,
};
use sis_machine::task;
use sis_machine::user::UserContext;

use super::{Event, SignalState, Stop, frame, recompute};
use crate::Errno;
use crate::control::events;
use crate::poll::Events;
use crate::process::thread::{Thread, work};
use crate::process::{Process, exit, table};

/// `restart_syscall` (asm-generic/unistd.h).
const NR_RESTART_SYSCALL: u64 = 128;

/// A system call that was interrupted, for restarting it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interrupted {
    /// The kernel-internal error that it answered.
    pub(crate) error: Errno,
    /// Its first argument, which the answer has overwritten.
    pub(crate) x0: u64,
}

/// What comes next after signals have been looked at.
enum Next {
    /// Nothing is left to do.
    Done,
    /// A handler is to run.
    Handle(SigInfo, SigAction),
    /// Look again: a stop has ended, or a signal meant nothing.
    Again,
}

/// Does what [`Thread::work`] asks for. True when the thread may go back to user mode, false when it must end.
///
/// `is_interrupted`: a call was answered with an interruption, so that a temporary mask counts until handlers have run.
pub(crate) fn do_work(
    thread: &Arc<Thread>,
    user: &mut UserContext,
    mut call: Option<Interrupted>,
    is_interrupted: bool,
) -> bool {
    if !is_interrupted && thread.work() & work::MASK != 0 {
        restore_mask(thread);
    }
    loop {
        let bits = thread.work();
        if bits & work::KILL != 0 {
            return false;
        }
        if bits & work::REPORT != 0 {
            report(thread);
            continue;
        }
        if bits & (work::SIGNAL | work::STOP) == 0 {
            break;
        }
        match next(thread, bits, user.pc) {
            Next::Done => break,
            Next::Again => {}
            Next::Handle(info, action) => {
                if let Some(call) = call.take() {
                    interrupt(user, call, action.flags.contains(SaFlags::RESTART));
                }
                handle(thread, user, info, action);
            }
        }
    }
    if let Some(call) = call {
        restart(user, call);
    }
    if thread.work() & work::MASK != 0 {
        restore_mask(thread);
    }
    true
}

/// Puts back the mask that a call such as ppoll(2) replaced, unless a handler's frame has taken it over.
pub(crate) fn restore_mask(thread: &Thread) {
    thread.clear_work(work::MASK);
    let saved = thread.saved_mask.lock().take();
    if let Some(mask) = saved {
        thread.set_blocked(mask);
    }
}

/// No handler has run: the call is made again.
fn restart(user: &mut UserContext, call: Interrupted) {
    user.x[0] = call.x0;
    if call.error == Errno::ERESTART_RESTARTBLOCK {
        user.x[8] = NR_RESTART_SYSCALL;
    }
    user.pc = user.pc.wrapping_sub(4);
}

/// A handler runs: the call is made again after it, or answers EINTR (signal(7)).
fn interrupt(user: &mut UserContext, call: Interrupted, restarts: bool) {
    let again = match call.error {
        Errno::ERESTARTNOINTR => true,
        Errno::ERESTARTSYS => restarts,
        _ => false,
    };
    if again {
        user.x[0] = call.x0;
        user.pc = user.pc.wrapping_sub(4);
    } else {
        user.x[0] = Errno::EINTR.to_return() as u64;
    }
}

fn next(thread: &Arc<Thread>, bits: u32, pc: u64) -> Next {
    let process = &thread.process;
    let mut state = process.signal.lock();
    if bits & work::STOP != 0 {
        return take_part_in_stop(thread, state);
    }
    let wanted = SigSet(!thread.blocked().0);
    let own = thread.pending.lock().take(wanted);
    let Some(info) = own.or_else(|| state.pending.take(wanted)) else {
        recompute(&state, thread);
        return Next::Done;
    };
    recompute(&state, thread);
    process.timers.note_delivered(&info);
    let action = state.actions.get(info.signal);
    match action.handler {
        SIG_IGN => return Next::Again,
        SIG_DFL => {}
        _ => {
            if action.flags.contains(SaFlags::RESETHAND) {
                state.actions.set(info.signal, SigAction::default());
            }
            return Next::Handle(info, action);
        }
    }
    drop(state);
    by_default(thread, info, pc)
}

/// The default action.
fn by_default(thread: &Arc<Thread>, info: SigInfo, pc: u64) -> Next {
    let process = &thread.process;
    let signal = info.signal;
    // What process 1 has not asked for does nothing, unless its own instructions cause it.
    if process.is_init() && !(SigSet::SYNCHRONOUS.has(signal) && info.code > 0) {
        return Next::Again;
    }
    match signal.default_action() {
        DefaultAction::Ignore | DefaultAction::Continue => Next::Again,
        DefaultAction::Stop => {
            // Signals from a terminal do not stop a group that nobody could continue.
            if signal != SIGSTOP && table::lock().is_orphaned(process.pgid(), None) {
                return Next::Again;
            }
            begin_stop(thread, signal);
            Next::Again
        }
        kind @ (DefaultAction::Terminate | DefaultAction::Dump) => {
            if kind == DefaultAction::Dump {
                sis_machine::info!(
                    "{}[{}]: killed by {}{}",
                    thread.name(),
                    thread.tid(),
                    signal.name(),
                    frame::Fault(&info)
                );
                events::crash(thread, signal, frame::fault_address(&info), pc);
            }
            let number = u8::try_from(signal.number()).unwrap_or(0);
            // A core would have been dumped, but there are none: the bit stays clear.
            let status = WaitStatus::Killed {
                signal: number,
                has_core: false,
            };
            exit::begin_group(&thread.process, status.to_raw());
            Next::Again
        }
    }
}

/// Runs a handler: its frame on the stack, the mask, the registers.
fn handle(thread: &Arc<Thread>, user: &mut UserContext, info: SigInfo, action: SigAction) {
    if frame::push(thread, user, &info, &action).is_err() {
        // Nowhere to put the frame: SIGSEGV, by default if that was the signal.
        if info.signal == SIGSEGV {
            thread.process.signal.lock().actions.set(SIGSEGV, SigAction::default());
        }
        super::force(thread, SigInfo::kernel(SIGSEGV));
        return;
    }
    let mut blocked = thread.blocked().union(action.mask);
    if !action.flags.contains(SaFlags::NODEFER) {
        blocked = blocked.with(info.signal);
    }
    thread.clear_work(work::MASK);
    *thread.saved_mask.lock() = None;
    thread.set_blocked(blocked.blockable());
}

/// Stops the process: every thread is to notice.
fn begin_stop(thread: &Arc<Thread>, signal: Signal) {
    let mut state = thread.process.signal.lock();
    if state.group_exit.is_some() || state.stop != Stop::No {
        return;
    }
    // A SIGCONT may have come in between.
    let mut remaining = 0;
    for t in &state.threads {
        if !t.is_exiting.load(Ordering::Relaxed) {
            remaining += 1;
            t.add_work(work::STOP);
            if !Arc::ptr_eq(t, thread) {
                t.kick();
            }
        }
    }
    state.stop = Stop::Stopping { signal, remaining };
}

/// The thread has noticed that its process is being stopped; the last one tells the parent. Returns when it continues.
fn take_part_in_stop(thread: &Arc<Thread>, mut state: sis_machine::sync::IrqGuard<'_, SignalState>) -> Next {
    thread.clear_work(work::STOP);
    let is_last = note_stopped(&mut state);
    drop(state);
    if is_last {
        report(thread);
    }
    loop {
        if thread.kill_pending() || thread.process.signal.lock().stop == Stop::No {
            return Next::Again;
        }
        task::park();
    }
}

/// One thread less has yet to notice a stop; true when it was the last.
pub(crate) fn note_stopped(state: &mut SignalState) -> bool {
    if let Stop::Stopping { signal, remaining } = state.stop {
        if remaining <= 1 {
            state.stop = Stop::Stopped { signal };
            state.event = Some(Event::Stopped(signal));
            state.report = Some(Event::Stopped(signal));
            return true;
        }
        state.stop = Stop::Stopping {
            signal,
            remaining: remaining - 1,
        };
    }
    false
}

/// Tells the parent that the process has stopped or continued.
pub(crate) fn report(thread: &Arc<Thread>) {
    let process = &thread.process;
    thread.clear_work(work::REPORT);
    let Some(event) = process.signal.lock().report.take() else {
        return;
    };
    let Some(parent) = table::get(process.ppid()) else {
        return;
    };
    let (code, status) = match event {
        Event::Stopped(signal) => (sis_abi::signal::code::CLD_STOPPED, signal.number()),
        Event::Continued => (sis_abi::signal::code::CLD_CONTINUED, sis_abi::signal::SIGCONT.number()),
    };
    let wants = {
        let state = parent.signal.lock();
        let action = state.actions.get(SIGCHLD);
        action.handler != SIG_IGN && !action.flags.contains(SaFlags::NOCLDSTOP)
    };
    if wants {
        let _ = super::send_to_process(&parent, exit::child_info(process, thread.cred().uid, code, status));
    }
    parent.child_wait.wake_all(Events::READ);
}

impl Thread {
    /// Replaces the mask. By the thread itself.
    pub(crate) fn set_blocked(&self, mask: SigSet) {
        let state = self.process.signal.lock();
        self.blocked.store(mask.blockable().0, Ordering::Relaxed);
        recompute(&state, self);
    }

    /// Replaces the mask until the running call has been answered and its signals delivered (ppoll, pselect,
    /// epoll_pwait, sigsuspend). If the call is answered with an interruption, handlers run before the old mask is back.
    pub fn set_temporary_mask(&self, mask: SigSet) {
        let old = self.blocked();
        self.set_blocked(mask);
        *self.saved_mask.lock() = Some(old);
        self.add_work(work::MASK);
    }
}

impl Process {
    /// The signals that are ignored and those that have handlers, for /proc/PID/status.
    pub fn action_sets(&self) -> (SigSet, SigSet) {
        self.signal.lock().actions.sets()
    }
}
