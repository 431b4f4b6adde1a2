//! Processes and threads.
//!
//! A [`Process`] is what getpid(2) names: an address space, limits, signal state, one or more [`thread::Thread`]s. The
//! [`table`] finds processes and threads by number; relations (parent, children, group, session) change under its lock.
//! Lock order: table, [`Process::inner`], [`Process::signal`], leaves.

pub mod clone;
pub mod cred;
pub mod exec;
pub mod exit;
pub mod fault;
pub mod futex;
pub mod init;
pub mod limits;
mod run;
pub mod signal;
pub mod table;
pub mod thread;
pub mod timers;
pub mod wait;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use sis_machine::sync::{IrqLock, Rank, SpinLock};

use self::limits::{Limits, Resource, Rlimit};
use self::signal::SignalState;
use self::thread::Thread;
use crate::vm::Vm;
use crate::wait::WaitQueue;

pub use fault::oom_kill;
pub(crate) use fault::oom_may_help;
pub use init::start_init;

/// Whether a process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// It has threads.
    Alive = 0,
    /// All its threads have ended; its parent has not asked yet.
    Zombie = 1,
    /// Gone.
    Dead = 2,
}

/// What exec(2) leaves for /proc.
#[derive(Clone, Copy, Debug, Default)]
pub struct Arguments {
    /// Where argv's strings are.
    pub args: (usize, usize),
    /// Where the environment's strings are.
    pub env: (usize, usize),
    /// Where the auxiliary vector is.
    pub auxv: (usize, usize),
    /// The first address of the main thread's stack contents.
    pub stack: usize,
}

/// Times and faults, of threads and children that have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Nanoseconds in user mode.
    pub user_ns: u64,
    /// Nanoseconds in the kernel.
    pub system_ns: u64,
    /// Faults without I/O.
    pub minor_faults: u64,
    /// Faults with I/O.
    pub major_faults: u64,
    /// Most resident memory, in KiB.
    pub max_resident_kib: u64,
    /// Times it slept.
    pub voluntary_switches: u64,
    /// Times it was made to yield.
    pub involuntary_switches: u64,
}

impl Usage {
    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.user_ns += other.user_ns;
        self.system_ns += other.system_ns;
        self.minor_faults += other.minor_faults;
        self.major_faults += other.major_faults;
        self.max_resident_kib = self.max_resident_kib.max(other.max_resident_kib);
        self.voluntary_switches += other.voluntary_switches;
        self.involuntary_switches += other.involuntary_switches;
    }
}

/// What is changed seldom.
pub(crate) struct Inner {
    pub(crate) vm: Option<Arc<Vm>>,
    pub(crate) limits: Limits,
    pub(crate) exe: Option<crate::fs::path::Path>,
    /// Keeps what it runs from being written.
    pub(crate) text: Option<crate::fs::text::Running>,
    pub(crate) arguments: Arguments,
    /// Usage of its ended threads.
    pub(crate) ended: Usage,
    /// Usage of its reaped children and theirs.
    pub(crate) reaped: Usage,
}

/// A process.
pub struct Process {
    /// Its number.
    pub pid: u32,
    ppid: AtomicU32,
    pgid: AtomicU32,
    sid: AtomicU32,
    state: AtomicU8,
    /// What wait(2) reports, once it is a zombie.
    pub(crate) exit_status: AtomicI32,
    /// The signal that its parent gets when it ends; 0 for none.
    pub(crate) exit_signal: AtomicI32,
    pub(crate) inner: SpinLock<Inner>,
    pub(crate) signal: IrqLock<SignalState>,
    /// Changed under the table's lock.
    pub(crate) children: SpinLock<Vec<Arc<Process>>>,
    /// Woken when a child ends, stops or continues.
    pub child_wait: Arc<WaitQueue>,
    /// Woken when a signal is sent to it or one of its threads (signalfd, sigtimedwait).
    pub signal_wait: Arc<WaitQueue>,
    /// Woken when it leaves its parent's address space (vfork).
    pub(crate) vfork_wait: WaitQueue,
    pub(crate) is_vfork_child: AtomicBool,
    /// Has run exec since it was forked (setpgid refuses such children).
    pub(crate) has_execed: AtomicBool,
    pub(crate) is_subreaper: AtomicBool,
    pub(crate) is_dumpable: AtomicU32,
    /// membarrier(2) has been asked to be ready.
    pub(crate) has_membarrier: AtomicBool,
    pub(crate) personality: AtomicU32,
    pub(crate) nice: AtomicI32,
    /// oom_score_adj.
    pub oom_adjust: AtomicI32,
    /// The real user, for questions that take no credentials.
    pub(crate) uid: AtomicU32,
    nofile: AtomicUsize,
    sigpending: AtomicUsize,
    /// CPU time of its ended threads, where interrupts can read it.
    pub(crate) ended_user_ns: AtomicU64,
    pub(crate) ended_total_ns: AtomicU64,
    /// When it was made, on the monotonic clock.
    pub start_ns: u64,
    /// Bytes read and written by calls, for /proc/PID/io.
    pub read_bytes: AtomicU64,
    /// As [`Self::read_bytes`].
    pub written_bytes: AtomicU64,
    pub(crate) timers: timers::Timers,
}

impl Process {
    pub(crate) fn new(
        pid: u32,
        ppid: u32,
        pgid: u32,
        sid: u32,
        vm: Option<Arc<Vm>>,
        limits: Limits,
        signal: SignalState,
    ) -> Self {
        let files = limits.get(Resource::Files).soft;
        let pending = limits.get(Resource::PendingSignals).soft;
        let inner = Inner {
            vm,
            limits,
            exe: None,
            text: None,
            arguments: Arguments::default(),
            ended: Usage::default(),
            reaped: Usage::default(),
        };
        Self {
            pid,
            ppid: AtomicU32::new(ppid),
            pgid: AtomicU32::new(pgid),
            sid: AtomicU32::new(sid),
            state: AtomicU8::new(State::Alive as u8),
            exit_status: AtomicI32::new(0),
            exit_signal: AtomicI32::new(sis_abi::signal::SIGCHLD.number()),
            inner: SpinLock::new(Rank::Process, inner),
            signal: IrqLock::new(Rank::Signal, signal),
            children: SpinLock::new(Rank::Process, Vec::new()),
            child_wait: Arc::new(WaitQueue::new()),
            signal_wait: Arc::new(WaitQueue::new()),
            vfork_wait: WaitQueue::new(),
            is_vfork_child: AtomicBool::new(false),
            has_execed: AtomicBool::new(false),
            is_subreaper: AtomicBool::new(false),
            is_dumpable: AtomicU32::new(1),
            has_membarrier: AtomicBool::new(false),
            personality: AtomicU32::new(0),
            nice: AtomicI32::new(0),
            oom_adjust: AtomicI32::new(0),
            uid: AtomicU32::new(0),
            nofile: AtomicUsize::new(usize::try_from(files).unwrap_or(usize::MAX)),
            sigpending: AtomicUsize::new(usize::try_from(pending).unwrap_or(usize::MAX)),
            ended_user_ns: AtomicU64::new(0),
            ended_total_ns: AtomicU64::new(0),
            start_ns: crate::time::now_ns(),
            read_bytes: AtomicU64::new(0),
            written_bytes: AtomicU64::new(0),
            timers: timers::Timers::new(),
        }
    }

    /// The real user of its first thread.
    pub fn uid(&self) -> u32 {
        self.uid.load(Ordering::Relaxed)
    }

    /// Its parent's number; 0 for process 1.
    pub fn ppid(&self) -> u32 {
        self.ppid.load(Ordering::Relaxed)
    }

    /// Its process group.
    pub fn pgid(&self) -> u32 {
        self.pgid.load(Ordering::Relaxed)
    }

    /// Its session.
    pub fn sid(&self) -> u32 {
        self.sid.load(Ordering::Relaxed)
    }

    /// Whether it lives.
    pub fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            0 => State::Alive,
            1 => State::Zombie,
            _ => State::Dead,
        }
    }

    /// Whether it is process 1.
    pub const fn is_init(&self) -> bool {
        self.pid == 1
    }

    /// Its address space, unless it has given it up.
    pub fn vm(&self) -> Option<Arc<Vm>> {
        self.inner.lock().vm.clone()
    }

    /// Replaces its address space; drop the old one without locks.
    pub(crate) fn set_vm(&self, vm: Option<Arc<Vm>>) -> Option<Arc<Vm>> {
        core::mem::replace(&mut self.inner.lock().vm, vm)
    }

    /// The file that it executes.
    pub fn exe(&self) -> Option<crate::fs::path::Path> {
        self.inner.lock().exe.clone()
    }

    /// Where its arguments and environment are, for /proc.
    pub fn arguments(&self) -> Arguments {
        self.inner.lock().arguments
    }

    /// A limit.
    pub fn limit(&self, resource: Resource) -> Rlimit {
        self.inner.lock().limits.get(resource)
    }

    /// Replaces a limit.
    pub(crate) fn set_limit(&self, resource: Resource, limit: Rlimit) {
        self.inner.lock().limits.set(resource, limit);
        self.note_limit(resource, limit.soft);
    }

    /// RLIMIT_NOFILE: one more than the highest descriptor it may have.
    pub fn nofile_limit(&self) -> usize {
        self.nofile.load(Ordering::Relaxed)
    }

    /// Its threads that have not ended, the first one first.
    pub fn threads(&self) -> Vec<Arc<Thread>> {
        self.signal.lock().threads.clone()
    }

    /// Its first thread, unless it is a zombie.
    pub fn main_thread(&self) -> Option<Arc<Thread>> {
        self.signal.lock().threads.first().cloned()
    }

    /// Whether it is stopped by a signal.
    pub fn is_stopped(&self) -> bool {
        self.signal.lock().is_stopped()
    }

    /// Its nice value.
    pub fn nice(&self) -> i32 {
        self.nice.load(Ordering::Relaxed)
    }

    /// personality(2).
    pub fn personality(&self) -> u32 {
        self.personality.load(Ordering::Relaxed)
    }
}
