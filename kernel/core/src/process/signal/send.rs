//! Sending signals, and taking them back out without delivery.

use alloc::sync::{Arc, Weak};
use core::sync::atomic::Ordering;

use sis_abi::signal::{DefaultAction, SIG_DFL, SIG_IGN, SIGCONT, SIGKILL, SigAction, SigInfo, SigSet, Signal, code};

use sis_machine::sync::Once;

use super::{Event, SignalState, Stop, recompute};
use crate::poll::Events;
use crate::process::limits::Resource;
use crate::process::thread::{Thread, work};
use crate::process::{Process, table};
use crate::{Errno, Result};

/// Most queued signals of a process, whatever its limit.
const QUEUE_MAX: usize = 32768;

/// Sends a signal to a process; one of its threads that do not block it gets it. Interrupt-safe.
///
/// # Errors
/// `EAGAIN` when a queued signal (`si_code < 0`) exceeds RLIMIT_SIGPENDING.
pub fn send_to_process(process: &Process, info: SigInfo) -> Result<()> {
    let mut state = process.signal.lock();
    send_locked(process, &mut state, info, None)
}

/// Sends a signal to one thread. Interrupt-safe. Errors as for [`send_to_process`].
pub fn send_to_thread(thread: &Arc<Thread>, info: SigInfo) -> Result<()> {
    let mut state = thread.process.signal.lock();
    send_locked(&thread.process, &mut state, info, Some(thread))
}

/// Sends a signal from the kernel to every process of a group; `ESRCH` when it has none. Not from interrupts.
pub fn send_to_group(pgid: u32, info: SigInfo) -> Result<()> {
    let members = table::group(pgid);
    if members.is_empty() {
        return Err(Errno::ESRCH);
    }
    for process in members {
        send_to_process(&process, info)?;
    }
    Ok(())
}

/// Sends the running thread a signal that it cannot avoid: blocked or ignored, it takes its default action.
pub fn force(thread: &Arc<Thread>, info: SigInfo) {
    let state = thread.process.signal.lock();
    let action = state.actions.get(info.signal);
    let is_blocked = thread.blocked().has(info.signal);
    if is_blocked || action.handler == SIG_IGN {
        state.actions.set(info.signal, SigAction::default());
        let blocked = thread.blocked().without(SigSet::of(&[info.signal]));
        thread.blocked.store(blocked.0, Ordering::Relaxed);
    }
    thread.pending.lock().push(info);
    recompute(&state, thread);
}

fn send_locked(process: &Process, state: &mut SignalState, info: SigInfo, to: Option<&Arc<Thread>>) -> Result<()> {
    let signal = info.signal;
    if state.threads.is_empty() || state.group_exit.is_some() {
        return Ok(());
    }
    prepare(process, state, signal);
    let action = state.actions.get(signal);
    if is_dropped(process, state, signal, &action, to) {
        return Ok(());
    }
    if signal == SIGKILL {
        state.begin_exit(SIGKILL.number());
        return Ok(());
    }
    if !queue(process, state, info, to)? {
        return Ok(());
    }
    let chosen = match to {
        Some(t) => (!t.blocked().has(signal)).then(|| t.clone()),
        None => choose(state, signal),
    };
    if let Some(thread) = chosen {
        thread.add_work(work::SIGNAL);
        thread.kick();
    }
    process.signal_wait.wake_all(Events::READ);
    Ok(())
}

/// SIGCONT and the stop signals cancel each other at once, whatever else becomes of them.
fn prepare(_process: &Process, state: &mut SignalState, signal: Signal) {
    if SigSet::STOPS.has(signal) {
        flush(state, SigSet::of(&[SIGCONT]));
    } else if signal == SIGCONT {
        flush(state, SigSet::STOPS);
        let was_stopped = state.is_stopped();
        state.stop = Stop::No;
        if was_stopped {
            state.event = Some(Event::Continued);
            state.report = Some(Event::Continued);
            if let Some(first) = state.threads.first() {
                first.add_work(work::REPORT);
            }
        }
        for t in &state.threads {
            t.clear_work(work::STOP);
            t.kick();
        }
    }
}

/// Forgets pending signals of a process and of all its threads.
pub(crate) fn flush(state: &mut SignalState, gone: SigSet) {
    state.pending.flush(gone);
    for t in &state.threads {
        t.pending.lock().flush(gone);
    }
    for t in &state.threads {
        recompute(state, t);
    }
}

/// Whether the signal has no effect. One that is blocked is kept: its action may change before it is unblocked.
fn is_dropped(
    process: &Process,
    state: &SignalState,
    signal: Signal,
    action: &SigAction,
    to: Option<&Arc<Thread>>,
) -> bool {
    let blocked = match to {
        Some(t) => t.blocked(),
        None => state.threads.first().map(|t| t.blocked()).unwrap_or_default(),
    };
    if blocked.has(signal) {
        return false;
    }
    // Process 1 gets only what it has asked for; not even SIGKILL.
    if process.is_init() && action.handler == SIG_DFL {
        return true;
    }
    action.ignores(signal) && !(action.handler == SIG_DFL && signal.default_action() == DefaultAction::Stop)
}

/// Puts the signal into a queue; false when it is there already.
fn queue(process: &Process, state: &mut SignalState, info: SigInfo, to: Option<&Arc<Thread>>) -> Result<bool> {
    let queued = state.pending.queued() + to.map_or(0, |t| t.pending.lock().queued());
    let is_full = queued >= process.pending_limit().min(QUEUE_MAX);
    let put = |pending: &mut super::Pending| {
        if !info.signal.is_realtime() && pending.set().has(info.signal) {
            return Ok(false);
        }
        if !is_full || !info.signal.is_realtime() && queued < QUEUE_MAX {
            pending.push(info);
        } else if info.signal.is_realtime() && info.code != code::SI_USER && info.code < 0 {
            return Err(Errno::EAGAIN);
        } else {
            pending.mark(info.signal);
        }
        Ok(true)
    };
    match to {
        Some(t) => put(&mut t.pending.lock()),
        None => put(&mut state.pending),
    }
}

/// A thread that does not block the signal: the running one if it is of this process, else the first.
fn choose(state: &SignalState, signal: Signal) -> Option<Arc<Thread>> {
    let is_candidate = |t: &&Arc<Thread>| !t.blocked().has(signal) && !t.is_exiting.load(Ordering::Relaxed);
    let first = state.threads.first().filter(is_candidate);
    // One without a signal yet takes it sooner.
    first
        .filter(|t| t.work() & work::SIGNAL == 0)
        .or_else(|| {
            let mut idle = state
                .threads
                .iter()
                .filter(is_candidate)
                .filter(|t| t.work() & work::SIGNAL == 0);
            idle.next()
                .or(first)
                .or_else(|| state.threads.iter().find(is_candidate))
        })
        .cloned()
}

/// Takes the next pending signal of `wanted`, the thread's own first, without delivering it (sigtimedwait, signalfd).
pub fn dequeue(thread: &Thread, wanted: SigSet) -> Option<SigInfo> {
    let mut state = thread.process.signal.lock();
    let own = thread.pending.lock().take(wanted);
    let info = own.or_else(|| state.pending.take(wanted));
    if let Some(info) = &info {
        recompute(&state, thread);
        thread.process.timers.note_delivered(info);
    }
    info
}

impl Process {
    /// RLIMIT_SIGPENDING, readable from interrupts.
    fn pending_limit(&self) -> usize {
        self.sigpending.load(Ordering::Relaxed)
    }

    /// Signals that are pending for the process or for `thread` (sigpending(2), signalfd).
    pub fn pending_signals(&self, thread: &Thread) -> SigSet {
        let state = self.signal.lock();
        let own = thread.pending.lock().set();
        own.union(state.pending.set())
    }

    /// As [`Self::limit`], kept where interrupts can read it.
    pub(crate) fn note_limit(&self, resource: Resource, soft: u64) {
        let value = usize::try_from(soft).unwrap_or(usize::MAX);
        match resource {
            Resource::Files => self.nofile.store(value, Ordering::Relaxed),
            Resource::PendingSignals => self.sigpending.store(value, Ordering::Relaxed),
            _ => {}
        }
    }
}

/// A timer has expired while its signal is still pending: that one counts for more. False when it is not pending.
pub(crate) fn add_overrun(process: &Process, thread: Option<&Weak<Thread>>, id: i32, more: i32) -> bool {
    let mut state = process.signal.lock();
    match thread {
        None => state.pending.add_overrun(id, more),
        Some(t) => t.upgrade().is_some_and(|t| t.pending.lock().add_overrun(id, more)),
    }
}

/// A session's leader has ended: its terminal is nobody's, and who was in its foreground is told.
pub(crate) fn session_ended(sid: u32) {
    if let Some(hook) = SESSION_HOOK.get() {
        hook(sid);
    }
}

static SESSION_HOOK: Once<fn(u32)> = Once::new();

/// Names what terminals do when a session's leader ends; once, at boot.
pub fn set_session_hook(hook: fn(u32)) {
    SESSION_HOOK.call_once(|| hook);
}
