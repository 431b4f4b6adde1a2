//! What the calls on processes pass and answer.

use crate::{macros::layout, time::Timeval};

layout! {
    /// clone3(2).
    pub struct CloneArgs = "struct clone_args", 88 {
        /// [`CloneFlags`](super::CloneFlags), without a signal.
        flags: u64 = 0,
        /// Where the descriptor of the child goes.
        pidfd: u64 = 8,
        /// Where the child's id goes in the child.
        child_tid: u64 = 16,
        /// Where the child's id goes in the parent.
        parent_tid: u64 = 24,
        /// The signal at exit.
        exit_signal: u64 = 32,
        /// The lowest byte of the child's stack.
        stack: u64 = 40,
        /// The size of the child's stack.
        stack_size: u64 = 48,
        /// The child's thread pointer.
        tls: u64 = 56,
        /// Ids to take.
        set_tid: u64 = 64,
        /// How many ids to take.
        set_tid_size: u64 = 72,
        /// The cgroup to start in.
        cgroup: u64 = 80,
    }
}

/// The sizes of [`CloneArgs`] that programs may pass: the structure grew twice.
pub const CLONE_ARGS_BYTES: [usize; 3] = [64, 80, 88];

layout! {
    /// getrlimit(2), prlimit(2).
    pub struct Rlimit = "struct rlimit64", 16 {
        /// The limit in force.
        rlim_cur: u64 = 0,
        /// How far a process may raise it.
        rlim_max: u64 = 8,
    }
}

layout! {
    /// getrusage(2), wait4(2).
    pub struct Rusage = "struct rusage", 144 {
        /// Time in user mode.
        ru_utime: Timeval = 0,
        /// Time in the kernel.
        ru_stime: Timeval = 16,
        /// The most memory it had, in KiB.
        ru_maxrss: i64 = 32,
        /// Page faults without I/O.
        ru_minflt: i64 = 64,
        /// Page faults with I/O.
        ru_majflt: i64 = 72,
        /// Blocks read.
        ru_inblock: i64 = 88,
        /// Blocks written.
        ru_oublock: i64 = 96,
        /// Context switches of its own will.
        ru_nvcsw: i64 = 128,
        /// Context switches against its will.
        ru_nivcsw: i64 = 136,
    }
}

layout! {
    /// sysinfo(2).
    pub struct Sysinfo = "struct sysinfo", 112 {
        /// Seconds since boot.
        uptime: i64 = 0,
        /// Load averages of 1, 5 and 15 minutes, times 65536.
        loads: [u64; 3] = 8,
        /// Memory in units.
        totalram: u64 = 32,
        /// Free memory in units.
        freeram: u64 = 40,
        /// Shared memory in units.
        sharedram: u64 = 48,
        /// Buffers in units.
        bufferram: u64 = 56,
        /// Swap in units.
        totalswap: u64 = 64,
        /// Free swap in units.
        freeswap: u64 = 72,
        /// How many threads there are.
        procs: u16 = 80,
        /// High memory in units.
        totalhigh: u64 = 88,
        /// Free high memory in units.
        freehigh: u64 = 96,
        /// The unit in bytes.
        mem_unit: u32 = 104,
    }
}

/// A string of [`Utsname`], with its NUL.
pub type UtsString = [u8; 65];

layout! {
    /// uname(2).
    pub struct Utsname = "struct new_utsname", 390 {
        /// The system's name.
        sysname: UtsString = 0,
        /// The host's name.
        nodename: UtsString = 65,
        /// The kernel's release.
        release: UtsString = 130,
        /// The kernel's version.
        version: UtsString = 195,
        /// The machine.
        machine: UtsString = 260,
        /// The NIS domain's name.
        domainname: UtsString = 325,
    }
}

/// A string of [`Utsname`]: cut to 64 bytes, filled with NULs.
pub fn uts_string(text: &[u8]) -> UtsString {
    let mut out = [0; 65];
    for (to, from) in out.iter_mut().take(64).zip(text) {
        *to = *from;
    }
    out
}

layout! {
    /// sched_setparam(2).
    pub struct SchedParam = "struct sched_param", 4 {
        /// The priority of a real-time policy; zero otherwise.
        sched_priority: i32 = 0,
    }
}

layout! {
    /// sched_setattr(2).
    pub struct SchedAttr = "struct sched_attr", 56 {
        /// The size that the program knows.
        size: u32 = 0,
        /// A `SCHED_` policy.
        sched_policy: u32 = 4,
        /// Flags (`SCHED_FLAG_`).
        sched_flags: u64 = 8,
        /// The nice value.
        sched_nice: i32 = 16,
        /// The priority of a real-time policy.
        sched_priority: u32 = 20,
        /// `SCHED_DEADLINE`: run time, ns.
        sched_runtime: u64 = 24,
        /// `SCHED_DEADLINE`: deadline, ns.
        sched_deadline: u64 = 32,
        /// `SCHED_DEADLINE`: period, ns.
        sched_period: u64 = 40,
        /// Lowest utilisation hint.
        sched_util_min: u32 = 48,
        /// Highest utilisation hint.
        sched_util_max: u32 = 52,
    }
}

layout! {
    /// One futex of futex_waitv(2).
    pub struct FutexWaitv = "struct futex_waitv", 24 {
        /// The value expected.
        val: u64 = 0,
        /// The address.
        uaddr: u64 = 8,
        /// `FUTEX_32`, `FUTEX_PRIVATE_FLAG`.
        flags: u32 = 16,
        /// Zero.
        reserved: u32 = 20 => "__reserved",
    }
}

layout! {
    /// set_robust_list(2).
    pub struct RobustListHead = "struct robust_list_head", 24 {
        /// The first entry; the head itself when there is none.
        list: u64 = 0,
        /// From an entry to its futex.
        futex_offset: i64 = 8,
        /// An entry that is being added or removed.
        list_op_pending: u64 = 16,
    }
}

layout! {
    /// capget(2): version and process.
    pub struct CapHeader = "struct __user_cap_header_struct", 8 {
        /// One of the versions.
        version: u32 = 0,
        /// The process; zero: the caller.
        pid: i32 = 4,
    }
}

layout! {
    /// capget(2): 32 capabilities; version 3 has two of these.
    pub struct CapData = "struct __user_cap_data_struct", 12 {
        /// Those in force.
        effective: u32 = 0,
        /// Those that may be in force.
        permitted: u32 = 4,
        /// Those that pass execve(2).
        inheritable: u32 = 8,
    }
}

layout! {
    /// How a timer tells, timer_create(2).
    pub struct Sigevent = "struct sigevent", 64 {
        /// What comes with the signal.
        sigev_value: u64 = 0,
        /// The signal.
        sigev_signo: i32 = 8,
        /// A `SIGEV_` number.
        sigev_notify: i32 = 12,
        /// `SIGEV_THREAD_ID`: the thread.
        sigev_notify_thread_id: i32 = 16 => "_sigev_un._tid",
    }
}
