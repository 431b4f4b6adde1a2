//! Threads: what a user task is to the rest of the kernel.

use alloc::string::String;
use alloc::sync::Arc;
use core::ops::Deref;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use sis_abi::signal::SigSet;
use sis_machine::sync::{IrqLock, Rank, SpinLock};
use sis_machine::task::{self, Task};

use super::Process;
use super::cred::Cred;
use super::signal::pending::Pending;
use super::signal::stack::AltStack;
use crate::fs::FsContext;
use crate::fs::file::FdTable;
use crate::sched;
use crate::vm::Vm;

/// Bytes of a thread's name, its NUL included (TASK_COMM_LEN).
pub const NAME_BYTES: usize = 16;

/// What a thread has to look at before it goes back to user mode ([`Thread::work`]).
pub mod work {
    /// A signal that it does not block is pending.
    pub const SIGNAL: u32 = 1 << 0;
    /// It must end: its process does, or another of its threads runs exec.
    pub const KILL: u32 = 1 << 1;
    /// Its process is being stopped.
    pub const STOP: u32 = 1 << 2;
    /// Its process has stopped or continued and the parent is to be told.
    pub const REPORT: u32 = 1 << 3;
    /// A temporary mask is to be taken back.
    pub const MASK: u32 = 1 << 4;
    /// What ends an interruptible sleep.
    pub const INTERRUPTS: u32 = SIGNAL | KILL | STOP;
}

/// A call that restart_syscall(2) goes on with.
#[derive(Clone, Copy, Debug)]
pub enum Restart {
    /// A sleep until a point of the monotonic clock.
    Sleep {
        /// Nanoseconds.
        until_ns: u64,
        /// Where the rest is stored when a handler interrupts it; 0 for nowhere.
        remaining: usize,
    },
    /// futex(2) FUTEX_WAIT with a relative timeout.
    Futex {
        /// The word.
        address: usize,
        /// What it must hold.
        expected: u32,
        /// Which waiters.
        bitset: u32,
        /// Whether the key is the address in this address space.
        is_private: bool,
        /// Nanoseconds of the monotonic clock.
        until_ns: u64,
    },
}

/// What a thread shares with others by reference.
struct Shared {
    files: Arc<FdTable>,
    fs: Arc<FsContext>,
    cred: Arc<Cred>,
}

/// A user thread.
pub struct Thread {
    /// See [`Self::tid`].
    number: AtomicU32,
    /// Its process.
    pub process: Arc<Process>,
    /// Kept alive by this while it sleeps; given up at the end.
    task: IrqLock<Option<Arc<Task>>>,
    work: AtomicU32,
    name: SpinLock<[u8; NAME_BYTES]>,
    shared: SpinLock<Shared>,
    /// Signals that it blocks. Changed by itself alone, under the process's signal lock.
    pub(crate) blocked: AtomicU64,
    /// The mask to come back to after a call that set a temporary one.
    pub(crate) saved_mask: IrqLock<Option<SigSet>>,
    /// Signals sent to it and not to its process.
    pub(crate) pending: IrqLock<Pending>,
    pub(crate) alt_stack: SpinLock<AltStack>,
    pub(crate) restart: SpinLock<Option<Restart>>,
    /// CLONE_CHILD_CLEARTID, set_tid_address(2).
    pub(crate) clear_tid: AtomicUsize,
    /// Head of its robust futexes; 0 for none.
    pub(crate) robust_list: AtomicUsize,
    /// prctl PR_SET_NO_NEW_PRIVS.
    pub(crate) no_new_privs: AtomicBool,
    /// Sent to it when its parent ends; 0 for none.
    pub(crate) parent_death_signal: AtomicI32,
    /// SCHED_*, for sched_getscheduler(2).
    pub(crate) policy: AtomicU32,
    /// prctl PR_SET_TIMERSLACK.
    pub(crate) timer_slack_ns: AtomicU64,
    /// Nanoseconds in user mode.
    pub(crate) user_ns: AtomicU64,
    /// Faults answered without and with I/O.
    pub(crate) minor_faults: AtomicU64,
    pub(crate) major_faults: AtomicU64,
    /// Has begun to end.
    pub(crate) is_exiting: AtomicBool,
    /// What exit(2) was called with, as a wait status.
    pub(crate) exit_status: AtomicI32,
    /// When it was made, on the monotonic clock.
    pub start_ns: u64,
}

/// What a new thread begins with.
pub(crate) struct Beginning {
    pub(crate) files: Arc<FdTable>,
    pub(crate) fs: Arc<FsContext>,
    pub(crate) cred: Arc<Cred>,
    pub(crate) name: [u8; NAME_BYTES],
    pub(crate) blocked: SigSet,
    pub(crate) alt_stack: AltStack,
    pub(crate) no_new_privs: bool,
}

impl Thread {
    pub(crate) fn new(tid: u32, process: Arc<Process>, from: Beginning) -> Arc<Self> {
        Arc::new(Self {
            number: AtomicU32::new(tid),
            process,
            task: IrqLock::new(Rank::Leaf, None),
            work: AtomicU32::new(0),
            name: SpinLock::new(Rank::Leaf, from.name),
            shared: SpinLock::new(
                Rank::Leaf,
                Shared {
                    files: from.files,
                    fs: from.fs,
                    cred: from.cred,
                },
            ),
            blocked: AtomicU64::new(from.blocked.0),
            saved_mask: IrqLock::new(Rank::Leaf, None),
            pending: IrqLock::new(Rank::Leaf, Pending::new()),
            alt_stack: SpinLock::new(Rank::Leaf, from.alt_stack),
            restart: SpinLock::new(Rank::Leaf, None),
            clear_tid: AtomicUsize::new(0),
            robust_list: AtomicUsize::new(0),
            no_new_privs: AtomicBool::new(from.no_new_privs),
            parent_death_signal: AtomicI32::new(0),
            policy: AtomicU32::new(0),
            timer_slack_ns: AtomicU64::new(50_000),
            user_ns: AtomicU64::new(0),
            minor_faults: AtomicU64::new(0),
            major_faults: AtomicU64::new(0),
            is_exiting: AtomicBool::new(false),
            exit_status: AtomicI32::new(0),
            start_ns: crate::time::now_ns(),
        })
    }

    /// Its number; the process's for the first thread. exec(2) by another thread than the first changes it.
    pub fn tid(&self) -> u32 {
        self.number.load(Ordering::Relaxed)
    }

    pub(crate) fn set_tid(&self, tid: u32) {
        self.number.store(tid, Ordering::Relaxed);
    }

    /// Its descriptors.
    pub fn files(&self) -> Arc<FdTable> {
        self.shared.lock().files.clone()
    }

    /// Replaces its descriptors; drop the old ones without locks.
    pub(crate) fn set_files(&self, files: Arc<FdTable>) -> Arc<FdTable> {
        core::mem::replace(&mut self.shared.lock().files, files)
    }

    /// Its root, working directory and umask.
    pub fn fs(&self) -> Arc<FsContext> {
        self.shared.lock().fs.clone()
    }

    /// Replaces its root, working directory and umask; drop the old ones without locks.
    pub(crate) fn set_fs(&self, fs: Arc<FsContext>) -> Arc<FsContext> {
        core::mem::replace(&mut self.shared.lock().fs, fs)
    }

    /// Whom it acts for.
    pub fn cred(&self) -> Arc<Cred> {
        self.shared.lock().cred.clone()
    }

    /// Replaces whom it acts for.
    pub(crate) fn set_cred(&self, cred: Arc<Cred>) {
        self.process.uid.store(cred.uid, Ordering::Relaxed);
        let old = core::mem::replace(&mut self.shared.lock().cred, cred);
        drop(old);
    }

    /// Its address space. For a thread that runs; others may have given theirs up ([`Process::vm`]).
    pub fn vm(&self) -> Arc<Vm> {
        match self.process.vm() {
            Some(vm) => vm,
            None => panic!("thread {} has no address space", self.tid()),
        }
    }

    /// Its name, as in /proc/PID/comm.
    pub fn name(&self) -> String {
        let name = self.name_bytes();
        let len = name.iter().position(|b| *b == 0).unwrap_or(NAME_BYTES);
        String::from_utf8_lossy(name.get(..len).unwrap_or_default()).into_owned()
    }

    /// Its name, NUL-padded.
    pub fn name_bytes(&self) -> [u8; NAME_BYTES] {
        *self.name.lock()
    }

    /// Renames it; what exceeds 15 bytes is cut.
    pub fn set_name(&self, name: &[u8]) {
        let mut new = [0; NAME_BYTES];
        for (to, from) in new
            .iter_mut()
            .take(NAME_BYTES - 1)
            .zip(name.iter().take_while(|b| **b != 0))
        {
            *to = *from;
        }
        *self.name.lock() = new;
    }

    /// The signals that it blocks.
    pub fn blocked(&self) -> SigSet {
        SigSet(self.blocked.load(Ordering::Relaxed))
    }

    /// What it has to look at before it goes back to user mode.
    #[inline]
    pub fn work(&self) -> u32 {
        self.work.load(Ordering::Acquire)
    }

    pub(crate) fn add_work(&self, bits: u32) {
        self.work.fetch_or(bits, Ordering::AcqRel);
    }

    pub(crate) fn clear_work(&self, bits: u32) {
        self.work.fetch_and(!bits, Ordering::AcqRel);
    }

    /// Whether a sleep that signals may end has to end.
    #[inline]
    pub fn signal_pending(&self) -> bool {
        self.work() & work::INTERRUPTS != 0
    }

    /// Whether it must end.
    #[inline]
    pub fn kill_pending(&self) -> bool {
        self.work() & work::KILL != 0
    }

    /// Its task, while there is one.
    pub fn task(&self) -> Option<Arc<Task>> {
        self.task.lock().clone()
    }

    /// Says which task it is, before that runs.
    pub(crate) fn attach(&self, task: &Arc<Task>) {
        *self.task.lock() = Some(task.clone());
    }

    /// Its task ends: task and thread no longer keep each other.
    pub(crate) fn detach(&self) {
        let task = self.task.lock().take();
        drop(task);
    }

    /// Ends its sleep, or brings it into the kernel, so that it sees its [`Self::work`]. Interrupt-safe.
    pub(crate) fn kick(&self) {
        if let Some(task) = self.task() {
            task.unpark();
            sched::kick(&task);
        }
    }

    /// Nanoseconds that it has run, in user mode and in all.
    pub fn cpu_ns(&self) -> (u64, u64) {
        let total = self.task().map_or(0, |t| sched::run_ns(&t));
        let user = self.user_ns.load(Ordering::Relaxed);
        (user, total.max(user))
    }
}

/// A handle on the running thread; it cannot leave it.
pub struct Current {
    task: task::Current,
}

impl Deref for Current {
    type Target = Thread;
    #[inline]
    fn deref(&self) -> &Thread {
        match sched::thread_of(&self.task) {
            Some(thread) => thread,
            None => panic!("a kernel thread was taken for a user thread"),
        }
    }
}

impl Current {
    /// As a counted reference.
    pub fn to_arc(&self) -> Arc<Thread> {
        match sched::thread_of(&self.task) {
            Some(thread) => thread.clone(),
            None => panic!("a kernel thread was taken for a user thread"),
        }
    }
}

/// The running user thread. Panics in kernel threads.
#[inline]
pub fn current() -> Current {
    Current { task: task::current() }
}

/// The running user thread; `None` in kernel threads and before there are tasks.
#[inline]
pub fn try_current() -> Option<Current> {
    let task = task::try_current()?;
    sched::thread_of(&task)?;
    Some(Current { task })
}

/// Whether a sleep of the running thread that signals may end has to end. Never for kernel threads.
#[inline]
pub fn signal_pending() -> bool {
    try_current().is_some_and(|t| t.signal_pending())
}

/// Whether the running thread must end. Never for kernel threads.
#[inline]
pub fn kill_pending() -> bool {
    try_current().is_some_and(|t| t.kill_pending())
}
