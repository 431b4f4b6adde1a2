//! Finding processes and threads by number, and how they are related.
//!
//! Numbers are shared by processes, threads, groups and sessions: one is free when none of them uses it. A zombie stays
//! in the table, and in its group, until it is reaped.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use sis_machine::sync::{Rank, SpinGuard, SpinLock};

use super::thread::Thread;
use super::{Process, State};
use crate::{Errno, Result};

/// One more than the largest number (/proc/sys/kernel/pid_max).
pub const PID_MAX: u32 = 32768;
/// Where the search goes on after [`PID_MAX`]: small numbers stay with long-lived processes.
const PID_RESTART: u32 = 300;

/// Processes and threads by number.
pub(crate) struct Table {
    processes: BTreeMap<u32, Arc<Process>>,
    threads: BTreeMap<u32, Arc<Thread>>,
    /// Members of each group, zombies too.
    groups: BTreeMap<u32, Vec<Arc<Process>>>,
    /// Number of processes of each session.
    sessions: BTreeMap<u32, usize>,
    last: u32,
    /// Processes and threads made so far.
    made: u64,
}

static TABLE: SpinLock<Table> = SpinLock::new(
    Rank::ProcessTable,
    Table {
        processes: BTreeMap::new(),
        threads: BTreeMap::new(),
        groups: BTreeMap::new(),
        sessions: BTreeMap::new(),
        last: 0,
        made: 0,
    },
);

/// Locks the table: relations do not change meanwhile.
pub(crate) fn lock() -> SpinGuard<'static, Table> {
    TABLE.lock()
}

/// The process of a number, zombies too.
pub fn get(pid: u32) -> Option<Arc<Process>> {
    lock().process(pid).cloned()
}

/// The thread of a number.
pub fn thread(tid: u32) -> Option<Arc<Thread>> {
    lock().threads.get(&tid).cloned()
}

/// Every process at this moment, zombies too, in order of their numbers.
pub fn iter() -> impl Iterator<Item = Arc<Process>> {
    let all: Vec<_> = lock().processes.values().cloned().collect();
    all.into_iter()
}

/// The members of a group, zombies too.
pub fn group(pgid: u32) -> Vec<Arc<Process>> {
    lock().groups.get(&pgid).cloned().unwrap_or_default()
}

/// Number of processes, zombies too.
pub fn process_count() -> usize {
    lock().processes.len()
}

/// Number of threads, running or not.
pub fn thread_count() -> usize {
    lock().threads.len()
}

/// Threads made since boot (`processes` in /proc/stat).
pub fn made_count() -> u64 {
    lock().made
}

/// The number given out last (/proc/loadavg).
pub fn last_pid() -> u32 {
    lock().last
}

impl Table {
    /// The process of a number, zombies too.
    pub(crate) fn process(&self, pid: u32) -> Option<&Arc<Process>> {
        self.processes.get(&pid)
    }

    /// Every process, zombies too.
    pub(crate) fn processes(&self) -> impl Iterator<Item = &Arc<Process>> {
        self.processes.values()
    }

    /// The members of a group, zombies too.
    pub(crate) fn members(&self, pgid: u32) -> &[Arc<Process>] {
        self.groups.get(&pgid).map_or(&[], Vec::as_slice)
    }

    /// Number of threads, or of processes where more of them are zombies, which have none.
    pub(crate) fn load(&self) -> usize {
        self.threads.len().max(self.processes.len())
    }

    /// Finds a free number; `EAGAIN` when there is none.
    pub(crate) fn allocate(&mut self) -> Result<u32> {
        let mut at = self.last;
        for _ in 0..PID_MAX {
            at = if at + 1 >= PID_MAX { PID_RESTART } else { at + 1 };
            let is_used = self.threads.contains_key(&at)
                || self.processes.contains_key(&at)
                || self.groups.contains_key(&at)
                || self.sessions.contains_key(&at);
            if !is_used {
                self.last = at;
                return Ok(at);
            }
        }
        Err(Errno::EAGAIN)
    }

    /// Adds a process, to its group and session and to its parent's children.
    pub(crate) fn insert(&mut self, process: &Arc<Process>) {
        self.processes.insert(process.pid, process.clone());
        self.groups.entry(process.pgid()).or_default().push(process.clone());
        *self.sessions.entry(process.sid()).or_default() += 1;
        if let Some(parent) = self.processes.get(&process.ppid()) {
            parent.children.lock().push(process.clone());
        }
    }

    /// Adds a thread.
    pub(crate) fn insert_thread(&mut self, thread: &Arc<Thread>) {
        self.made += 1;
        self.threads.insert(thread.tid(), thread.clone());
    }

    /// Takes a thread out, unless its number is another's by now.
    pub(crate) fn remove_thread(&mut self, thread: &Arc<Thread>) -> Option<Arc<Thread>> {
        let tid = thread.tid();
        if self.threads.get(&tid).is_some_and(|t| Arc::ptr_eq(t, thread)) {
            self.threads.remove(&tid)
        } else {
            None
        }
    }

    /// Gives a thread another number.
    pub(crate) fn renumber(&mut self, thread: &Arc<Thread>, tid: u32) {
        if let Some(t) = self.remove_thread(thread) {
            t.set_tid(tid);
            self.threads.insert(tid, t);
        }
    }

    /// Number 1 is taken; the search goes on after it.
    pub(crate) fn reserve_first(&mut self) {
        self.last = self.last.max(1);
    }

    /// Takes a reaped process out of the table, its group, its session and its parent's children. Drop the results
    /// without the lock.
    pub(crate) fn remove(&mut self, process: &Arc<Process>) -> Option<Arc<Process>> {
        process.state.store(State::Dead as u8, Ordering::Release);
        self.leave_group(process);
        self.leave_session(process);
        if let Some(parent) = self.processes.get(&process.ppid()) {
            parent.children.lock().retain(|c| !Arc::ptr_eq(c, process));
        }
        self.processes.remove(&process.pid)
    }

    fn leave_group(&mut self, process: &Arc<Process>) {
        let pgid = process.pgid();
        if let Some(members) = self.groups.get_mut(&pgid) {
            members.retain(|p| !Arc::ptr_eq(p, process));
            if members.is_empty() {
                self.groups.remove(&pgid);
            }
        }
    }

    fn leave_session(&mut self, process: &Arc<Process>) {
        let sid = process.sid();
        if let Some(n) = self.sessions.get_mut(&sid) {
            *n -= 1;
            if *n == 0 {
                self.sessions.remove(&sid);
            }
        }
    }

    /// Moves a process to another group.
    pub(crate) fn set_group(&mut self, process: &Arc<Process>, pgid: u32) {
        if process.pgid() != pgid {
            self.leave_group(process);
            process.pgid.store(pgid, Ordering::Relaxed);
            self.groups.entry(pgid).or_default().push(process.clone());
        }
    }

    /// Makes a process the leader of a new session and group of its own number.
    pub(crate) fn set_session(&mut self, process: &Arc<Process>) {
        self.set_group(process, process.pid);
        if process.sid() != process.pid {
            self.leave_session(process);
            process.sid.store(process.pid, Ordering::Relaxed);
            *self.sessions.entry(process.pid).or_default() += 1;
        }
    }

    /// Gives a process another parent.
    pub(crate) fn set_parent(&mut self, process: &Arc<Process>, parent: &Arc<Process>) {
        if let Some(old) = self.processes.get(&process.ppid()) {
            old.children.lock().retain(|c| !Arc::ptr_eq(c, process));
        }
        process.ppid.store(parent.pid, Ordering::Relaxed);
        parent.children.lock().push(process.clone());
    }

    /// Marks a process as a zombie.
    pub(crate) fn set_zombie(&mut self, process: &Arc<Process>) {
        process.state.store(State::Zombie as u8, Ordering::Release);
    }

    /// Whether a group is orphaned: no living member has a living parent in the same session but another group
    /// (setpgid(2)); `ignoring` is taken for dead.
    pub(crate) fn is_orphaned(&self, pgid: u32, ignoring: Option<&Arc<Process>>) -> bool {
        !self.members(pgid).iter().any(|p| {
            let is_ignored = ignoring.is_some_and(|i| Arc::ptr_eq(i, p));
            !is_ignored
                && p.state() == State::Alive
                && p.ppid() != 1
                && self.process(p.ppid()).is_some_and(|parent| {
                    parent.pgid() != pgid
                        && parent.sid() == p.sid()
                        && !ignoring.is_some_and(|i| Arc::ptr_eq(i, parent))
                })
        })
    }
}
