//! Ends of threads and processes (exit(2), exit_group(2)), and what becomes of children.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use sis_abi::signal::{Detail, SIG_IGN, SIGCHLD, SIGCONT, SIGHUP, SaFlags, SigInfo, Signal, code};

use super::fault::Leaving;
use super::signal::{deliver, send_to_process, send_to_thread};
use super::table::{self, Table};
use super::thread::{Thread, work};
use super::{Process, State, Usage, futex};
use crate::fs::FsContext;
use crate::fs::file::FdTable;
use crate::poll::Events;
use crate::sched;

/// Nanoseconds of a tick of times(2) and SIGCHLD.
pub(crate) const TICK_NS: u64 = 1_000_000_000 / sis_abi::time::USER_HZ;

/// Starts to end the whole process with a wait status; the first one counts.
pub(crate) fn begin_group(process: &Process, status: i32) {
    process.signal.lock().begin_exit(status);
}

/// Starts to end the running thread alone.
pub(crate) fn begin_one(thread: &Thread, status: i32) {
    thread.exit_status.store(status, Ordering::Relaxed);
    thread.add_work(work::KILL);
}

/// Ends the running thread, and its process when it was the last. The caller drops what it holds and ends the task.
pub(crate) fn finish(thread: &Arc<Thread>) {
    let process = &thread.process;
    thread.is_exiting.store(true, Ordering::Relaxed);
    futex::exit_robust(thread);
    clear_tid(thread);
    let is_last_user = { process.signal.lock().threads.len() == 1 };
    if is_last_user {
        release_memory(thread);
    }
    drop(thread.set_files(Arc::new(FdTable::new())));
    let root = FsContext::new(crate::fs::root());
    drop(thread.set_fs(Arc::new(root)));
    let is_last = leave(thread);
    if is_last && process.has_memory() {
        // Two that ended at once each saw the other: nobody has released it yet.
        release_memory(thread);
    }
    // The task may go in the middle of a switch or of an interrupt, where a whole address space must not.
    sched::set_current_space(None);
    let gone = table::lock().remove_thread(thread);
    drop(gone);
    if is_last {
        end_process(thread);
    }
}

/// CLONE_CHILD_CLEARTID: zero there, and whoever waits for that is woken.
pub(crate) fn clear_tid(thread: &Thread) {
    let address = thread.clear_tid.swap(0, Ordering::Relaxed);
    if address != 0 && crate::user::UserPtr::<u32>::new(address).write(&0).is_ok() {
        let _ = futex::wake_shared(&thread.vm(), address, 1);
    }
}

/// Gives the address space up, and tells a parent that waits in vfork(2).
pub(crate) fn release_memory(thread: &Thread) {
    let process = &thread.process;
    let leaving = Leaving::begin();
    let old = process.set_vm(None);
    if let Some(vm) = &old {
        let peak = vm.resident_pages() as u64 * 4;
        let mut inner = process.inner.lock();
        inner.ended.max_resident_kib = inner.ended.max_resident_kib.max(peak);
        inner.arguments = super::Arguments::default();
    }
    sched::set_current_space(None);
    drop(old);
    drop(leaving);
    vfork_done(process);
}

/// Lets a parent that waits in vfork(2) go on.
pub(crate) fn vfork_done(process: &Process) {
    if process.is_vfork_child.swap(false, Ordering::AcqRel) {
        process.vfork_wait.wake_all(Events::READ);
    }
}

/// Takes the thread out of its process; true when it was the last.
fn leave(thread: &Arc<Thread>) -> bool {
    let process = &thread.process;
    let usage = thread.usage();
    process.inner.lock().ended.add(&usage);
    let mut state = process.signal.lock();
    process.ended_user_ns.fetch_add(usage.user_ns, Ordering::Relaxed);
    process
        .ended_total_ns
        .fetch_add(usage.user_ns + usage.system_ns, Ordering::Relaxed);
    state.threads.retain(|t| !Arc::ptr_eq(t, thread));
    // What it has taken but not handled goes to another thread.
    for t in &state.threads {
        super::signal::recompute(&state, t);
        if t.work() & work::SIGNAL != 0 {
            t.kick();
        }
    }
    let is_stopped = thread.work() & work::STOP != 0 && deliver::note_stopped(&mut state);
    if is_stopped && let Some(t) = state.threads.first() {
        t.add_work(work::REPORT);
        t.kick();
    }
    if let Some(by) = state.exec_by
        && let Some(t) = state.threads.iter().find(|t| t.tid() == by)
    {
        t.kick();
    }
    let is_last = state.threads.is_empty();
    if is_last {
        let status = state.group_exit.unwrap_or(thread.exit_status.load(Ordering::Relaxed));
        process.exit_status.store(status, Ordering::Relaxed);
    }
    is_last
}

fn end_process(thread: &Arc<Thread>) {
    let process = &thread.process;
    let status = process.exit_status.load(Ordering::Relaxed);
    if process.is_init() {
        panic!("Attempted to kill init! exitcode=0x{status:08x}");
    }
    process.timers.clear();
    let exe = {
        let mut inner = process.inner.lock();
        (inner.exe.take(), inner.text.take())
    };
    drop(exe);
    if process.sid() == process.pid {
        super::signal::session_ended(process.pid);
    }
    let uid = thread.cred().uid;
    let mut gone: Vec<Arc<Process>> = Vec::new();
    {
        let mut table = table::lock();
        reparent(&mut table, process, &mut gone);
        hang_up_orphans(&table, process);
        table.set_zombie(process);
        notify_parent(&mut table, process, uid, &mut gone);
    }
    drop(gone);
}

/// Children get the nearest ancestor that asked for them (prctl PR_SET_CHILD_SUBREAPER), or process 1.
fn reparent(table: &mut Table, process: &Arc<Process>, gone: &mut Vec<Arc<Process>>) {
    let children = core::mem::take(&mut *process.children.lock());
    if children.is_empty() {
        return;
    }
    let Some(heir) = heir(table, process) else { return };
    let mut groups = Vec::new();
    for child in children {
        let pgid = child.pgid();
        let was_tied = pgid != process.pgid() && child.sid() == process.sid();
        table.set_parent(&child, &heir);
        child.exit_signal.store(SIGCHLD.number(), Ordering::Relaxed);
        for t in child.threads() {
            if let Some(signal) = Signal::new(t.parent_death_signal.load(Ordering::Relaxed)) {
                let _ = send_to_thread(&t, SigInfo::user(signal, process.pid, 0));
            }
        }
        if child.state() == State::Zombie {
            notify_parent(table, &child, 0, gone);
        }
        if was_tied && !groups.contains(&pgid) {
            groups.push(pgid);
        }
    }
    for pgid in groups {
        hang_up_if_orphaned(table, pgid, process);
    }
}

fn heir(table: &Table, process: &Process) -> Option<Arc<Process>> {
    let mut at = process.ppid();
    while let Some(p) = table.process(at) {
        if p.is_subreaper.load(Ordering::Relaxed) && p.state() == State::Alive {
            return Some(p.clone());
        }
        at = p.ppid();
    }
    table.process(1).cloned()
}

/// The group of a process that ends may become orphaned by that.
fn hang_up_orphans(table: &Table, process: &Arc<Process>) {
    let is_tied = table
        .process(process.ppid())
        .is_some_and(|p| p.pgid() != process.pgid() && p.sid() == process.sid());
    if is_tied {
        hang_up_if_orphaned(table, process.pgid(), process);
    }
}

/// A newly orphaned group with stopped members gets SIGHUP and SIGCONT (exit(3)).
fn hang_up_if_orphaned(table: &Table, pgid: u32, ended: &Arc<Process>) {
    let has_stopped = table
        .members(pgid)
        .iter()
        .any(|p| !Arc::ptr_eq(p, ended) && p.is_stopped());
    if has_stopped && table.is_orphaned(pgid, Some(ended)) {
        for p in table.members(pgid) {
            let _ = send_to_process(p, SigInfo::kernel(SIGHUP));
            let _ = send_to_process(p, SigInfo::kernel(SIGCONT));
        }
    }
}

/// Tells the parent of a zombie; reaps it when the parent does not want to know (sigaction(2), SA_NOCLDWAIT).
fn notify_parent(table: &mut Table, process: &Arc<Process>, uid: u32, gone: &mut Vec<Arc<Process>>) {
    let Some(parent) = table.process(process.ppid()).cloned() else {
        gone.extend(table.remove(process));
        return;
    };
    let number = process.exit_signal.load(Ordering::Relaxed);
    let status = process.exit_status.load(Ordering::Relaxed);
    let mut is_unwanted = false;
    if let Some(signal) = Signal::new(number) {
        let action = parent.signal.lock().actions.get(signal);
        let is_ignored = signal == SIGCHLD && action.handler == SIG_IGN;
        is_unwanted = is_ignored || signal == SIGCHLD && action.flags.contains(SaFlags::NOCLDWAIT);
        if !is_ignored {
            let (code, value) = child_code(status);
            let info = SigInfo {
                signal,
                ..child_info(process, uid, code, value)
            };
            let _ = send_to_process(&parent, info);
        }
    }
    if is_unwanted {
        gone.extend(table.remove(process));
    }
    parent.child_wait.wake_all(Events::READ);
}

/// `si_code` and `si_status` for a wait status.
pub(crate) fn child_code(status: i32) -> (i32, i32) {
    match (status & 0x7f, status & 0x80) {
        (0, _) => (code::CLD_EXITED, status >> 8 & 0xff),
        (signal, 0) => (code::CLD_KILLED, signal),
        (signal, _) => (code::CLD_DUMPED, signal),
    }
}

/// SIGCHLD's `siginfo_t`.
pub(crate) fn child_info(process: &Process, uid: u32, code: i32, status: i32) -> SigInfo {
    let usage = process.usage();
    SigInfo {
        signal: SIGCHLD,
        errno: 0,
        code,
        detail: Detail::Child {
            pid: process.pid,
            uid,
            status,
            utime: (usage.user_ns / TICK_NS) as i64,
            stime: (usage.system_ns / TICK_NS) as i64,
        },
    }
}

impl Thread {
    /// Its times and faults so far.
    pub fn usage(&self) -> Usage {
        let (user, total) = self.cpu_ns();
        let switches = self
            .task()
            .map_or(0, |t| sched::ext(&t).switches.load(Ordering::Relaxed));
        Usage {
            user_ns: user,
            system_ns: total - user,
            minor_faults: self.minor_faults.load(Ordering::Relaxed),
            major_faults: self.major_faults.load(Ordering::Relaxed),
            max_resident_kib: 0,
            voluntary_switches: switches,
            involuntary_switches: 0,
        }
    }
}

impl Process {
    /// Times and faults of its threads, ended ones too, so far.
    pub fn usage(&self) -> Usage {
        let mut usage = self.inner.lock().ended;
        for t in self.threads() {
            usage.add(&t.usage());
        }
        usage
    }

    /// Times and faults of its reaped children and theirs.
    pub fn children_usage(&self) -> Usage {
        self.inner.lock().reaped
    }
}
