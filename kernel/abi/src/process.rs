//! Processes and threads: creation, waiting, scheduling, limits, futexes.

mod layouts;

pub use layouts::{
    CLONE_ARGS_BYTES, CapData, CapHeader, CloneArgs, FutexWaitv, Rlimit, RobustListHead, Rusage, SchedAttr, SchedParam,
    Sigevent, Sysinfo, UtsString, Utsname, uts_string,
};

use crate::macros::{constants, flags};

flags! {
    /// clone(2), clone3(2), unshare(2). The lowest byte of clone(2)'s argument is the signal at exit.
    pub struct CloneFlags: u64, "CLONE_" {
        NEWTIME = 0x80;
        VM = 0x100;
        FS = 0x200;
        FILES = 0x400;
        SIGHAND = 0x800;
        PIDFD = 0x1000;
        PTRACE = 0x2000;
        VFORK = 0x4000;
        PARENT = 0x8000;
        THREAD = 0x1_0000;
        NEWNS = 0x2_0000;
        SYSVSEM = 0x4_0000;
        SETTLS = 0x8_0000;
        PARENT_SETTID = 0x10_0000;
        CHILD_CLEARTID = 0x20_0000;
        DETACHED = 0x40_0000;
        UNTRACED = 0x80_0000;
        CHILD_SETTID = 0x100_0000;
        NEWCGROUP = 0x200_0000;
        NEWUTS = 0x400_0000;
        NEWIPC = 0x800_0000;
        NEWUSER = 0x1000_0000;
        NEWPID = 0x2000_0000;
        NEWNET = 0x4000_0000;
        IO = 0x8000_0000;
        CLEAR_SIGHAND = 0x1_0000_0000;
        INTO_CGROUP = 0x2_0000_0000;
    }
}

/// The signal at exit in the argument of clone(2).
pub const CSIGNAL: u64 = 0xff;

flags! {
    /// wait4(2), waitid(2).
    pub struct WaitOptions: u32, "" {
        WNOHANG = 1;
        // The same bit as WSTOPPED of waitid.
        WUNTRACED = 2;
        WEXITED = 4;
        WCONTINUED = 8;
        WNOWAIT = 0x100_0000;
        __WNOTHREAD = 0x2000_0000;
        __WALL = 0x4000_0000;
        __WCLONE = 0x8000_0000;
    }
}

constants! { WAITID_LIST, u32, "waitid(2)";
    P_ALL = 0;
    P_PID = 1;
    P_PGID = 2;
    P_PIDFD = 3;
}

/// How a process ended or changed, as wait4(2) tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitStatus {
    /// It called exit with this status.
    Exited(u8),
    /// This signal killed it.
    Killed {
        /// The signal's number.
        signal: u8,
        /// Whether a core dump was written.
        has_core: bool,
    },
    /// This signal stopped it.
    Stopped(u8),
    /// SIGCONT continued it.
    Continued,
}

impl WaitStatus {
    /// The number that wait4(2) stores.
    pub const fn to_raw(self) -> i32 {
        match self {
            Self::Exited(status) => (status as i32) << 8,
            Self::Killed { signal, has_core } => (signal & 0x7f) as i32 | if has_core { 0x80 } else { 0 },
            Self::Stopped(signal) => (signal as i32) << 8 | 0x7f,
            Self::Continued => 0xffff,
        }
    }
}

constants! { SCHED_LIST, u32, "sched(7)";
    SCHED_NORMAL = 0;
    SCHED_FIFO = 1;
    SCHED_RR = 2;
    SCHED_BATCH = 3;
    SCHED_IDLE = 5;
    SCHED_DEADLINE = 6;
    SCHED_RESET_ON_FORK = 0x4000_0000;
}

constants! { PRIO_LIST, u32, "getpriority(2)";
    PRIO_PROCESS = 0;
    PRIO_PGRP = 1;
    PRIO_USER = 2;
}

constants! { RUSAGE_LIST, i32, "getrusage(2)";
    RUSAGE_SELF = 0;
    RUSAGE_CHILDREN = -1;
    RUSAGE_THREAD = 1;
}

constants! { RLIMIT_LIST, u32, "getrlimit(2)";
    RLIMIT_CPU = 0;
    RLIMIT_FSIZE = 1;
    RLIMIT_DATA = 2;
    RLIMIT_STACK = 3;
    RLIMIT_CORE = 4;
    RLIMIT_RSS = 5;
    RLIMIT_NPROC = 6;
    RLIMIT_NOFILE = 7;
    RLIMIT_MEMLOCK = 8;
    RLIMIT_AS = 9;
    RLIMIT_LOCKS = 10;
    RLIMIT_SIGPENDING = 11;
    RLIMIT_MSGQUEUE = 12;
    RLIMIT_NICE = 13;
    RLIMIT_RTPRIO = 14;
    RLIMIT_RTTIME = 15;
}

/// How many resource limits there are.
pub const RLIM_NLIMITS: usize = 16;

/// No limit.
pub const RLIM_INFINITY: u64 = u64::MAX;

constants! { FUTEX_LIST, u32, "futex(2)";
    FUTEX_WAIT = 0;
    FUTEX_WAKE = 1;
    FUTEX_FD = 2;
    FUTEX_REQUEUE = 3;
    FUTEX_CMP_REQUEUE = 4;
    FUTEX_WAKE_OP = 5;
    FUTEX_LOCK_PI = 6;
    FUTEX_UNLOCK_PI = 7;
    FUTEX_TRYLOCK_PI = 8;
    FUTEX_WAIT_BITSET = 9;
    FUTEX_WAKE_BITSET = 10;
    FUTEX_WAIT_REQUEUE_PI = 11;
    FUTEX_CMP_REQUEUE_PI = 12;
    FUTEX_LOCK_PI2 = 13;
    FUTEX_PRIVATE_FLAG = 128;
    FUTEX_CLOCK_REALTIME = 256;
    FUTEX_CMD_MASK = !(128 | 256);
    FUTEX_BITSET_MATCH_ANY = 0xffff_ffff;
    FUTEX_WAITERS = 0x8000_0000;
    FUTEX_OWNER_DIED = 0x4000_0000;
    FUTEX_TID_MASK = 0x3fff_ffff;
    FUTEX_OP_SET = 0;
    FUTEX_OP_ADD = 1;
    FUTEX_OP_OR = 2;
    FUTEX_OP_ANDN = 3;
    FUTEX_OP_XOR = 4;
    FUTEX_OP_OPARG_SHIFT = 8;
    FUTEX_OP_CMP_EQ = 0;
    FUTEX_OP_CMP_NE = 1;
    FUTEX_OP_CMP_LT = 2;
    FUTEX_OP_CMP_LE = 3;
    FUTEX_OP_CMP_GT = 4;
    FUTEX_OP_CMP_GE = 5;
}

constants! { PRCTL_LIST, u32, "prctl(2)";
    PR_SET_PDEATHSIG = 1;
    PR_GET_PDEATHSIG = 2;
    PR_GET_DUMPABLE = 3;
    PR_SET_DUMPABLE = 4;
    PR_GET_KEEPCAPS = 7;
    PR_SET_KEEPCAPS = 8;
    PR_SET_NAME = 15;
    PR_GET_NAME = 16;
    PR_GET_SECCOMP = 21;
    PR_SET_SECCOMP = 22;
    PR_CAPBSET_READ = 23;
    PR_CAPBSET_DROP = 24;
    PR_GET_SECUREBITS = 27;
    PR_SET_SECUREBITS = 28;
    PR_SET_TIMERSLACK = 29;
    PR_GET_TIMERSLACK = 30;
    PR_SET_MM = 35;
    PR_SET_CHILD_SUBREAPER = 36;
    PR_GET_CHILD_SUBREAPER = 37;
    PR_SET_NO_NEW_PRIVS = 38;
    PR_GET_NO_NEW_PRIVS = 39;
    PR_GET_TID_ADDRESS = 40;
    PR_SET_THP_DISABLE = 41;
    PR_GET_THP_DISABLE = 42;
    PR_CAP_AMBIENT = 47;
    PR_SVE_SET_VL = 50;
    PR_SVE_GET_VL = 51;
    PR_PAC_RESET_KEYS = 54;
    PR_SET_TAGGED_ADDR_CTRL = 55;
    PR_GET_TAGGED_ADDR_CTRL = 56;
    PR_SET_VMA = 0x5356_4d41;
    PR_SET_VMA_ANON_NAME = 0;
    PR_SET_PTRACER = 0x5961_6d61;
}

/// The length of a thread's name with its NUL (`TASK_COMM_LEN`).
pub const COMM_BYTES: usize = 16;

constants! { SIGEV_LIST, u32, "sigevent(7)";
    SIGEV_SIGNAL = 0;
    SIGEV_NONE = 1;
    SIGEV_THREAD = 2;
    SIGEV_THREAD_ID = 4;
}

constants! { CAPABILITY_LIST, u32, "capabilities(7)";
    _LINUX_CAPABILITY_VERSION_1 = 0x1998_0330;
    _LINUX_CAPABILITY_VERSION_2 = 0x2007_1026;
    _LINUX_CAPABILITY_VERSION_3 = 0x2008_0522;
    CAP_CHOWN = 0;
    CAP_DAC_OVERRIDE = 1;
    CAP_DAC_READ_SEARCH = 2;
    CAP_FOWNER = 3;
    CAP_FSETID = 4;
    CAP_KILL = 5;
    CAP_SETGID = 6;
    CAP_SETUID = 7;
    CAP_SETPCAP = 8;
    CAP_NET_BIND_SERVICE = 10;
    CAP_NET_BROADCAST = 11;
    CAP_NET_ADMIN = 12;
    CAP_NET_RAW = 13;
    CAP_IPC_LOCK = 14;
    CAP_SYS_MODULE = 16;
    CAP_SYS_RAWIO = 17;
    CAP_SYS_CHROOT = 18;
    CAP_SYS_PTRACE = 19;
    CAP_SYS_ADMIN = 21;
    CAP_SYS_BOOT = 22;
    CAP_SYS_NICE = 23;
    CAP_SYS_RESOURCE = 24;
    CAP_SYS_TIME = 25;
    CAP_SYS_TTY_CONFIG = 26;
    CAP_MKNOD = 27;
    CAP_SYSLOG = 34;
    CAP_LAST_CAP = 40;
}
