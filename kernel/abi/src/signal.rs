//! Signal numbers, sets, actions and `siginfo_t` (signal(7), sigaction(2), asm-generic/siginfo.h).

use core::fmt;

/// A signal number, 1..=64.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Signal(u8);

/// The largest signal number (SIGRTMAX).
pub const SIGNALS: usize = 64;

impl Signal {
    /// From a number; `None` outside 1..=64.
    pub const fn new(number: i32) -> Option<Self> {
        if number >= 1 && number <= SIGNALS as i32 {
            Some(Self(number as u8))
        } else {
            None
        }
    }

    /// The number.
    pub const fn number(self) -> i32 {
        self.0 as i32
    }

    /// Position in arrays of 64: the number minus one.
    pub const fn index(self) -> usize {
        (self.0 - 1) as usize
    }

    /// Whether instances queue up instead of collapsing (32..=64).
    pub const fn is_realtime(self) -> bool {
        self.0 >= 32
    }

    /// What happens without a handler (signal(7)).
    pub const fn default_action(self) -> DefaultAction {
        match self.0 {
            17 | 23 | 28 => DefaultAction::Ignore,
            18 => DefaultAction::Continue,
            19..=22 => DefaultAction::Stop,
            3..=8 | 11 | 24 | 25 | 31 => DefaultAction::Dump,
            _ => DefaultAction::Terminate,
        }
    }

    /// Its name, `SIGTERM` or `SIGRT`.
    pub fn name(self) -> &'static str {
        NAMES.get(self.index()).copied().unwrap_or("SIGRT")
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.name(), self.0)
    }
}

/// What a signal does without a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultAction {
    /// Ends the process.
    Terminate,
    /// Ends the process and says that memory was dumped (it is not).
    Dump,
    /// Nothing.
    Ignore,
    /// Stops the process.
    Stop,
    /// Lets a stopped process continue.
    Continue,
}

macro_rules! signals {
    ($($name:ident = $n:literal, $doc:literal;)*) => {
        $(#[doc = $doc] pub const $name: Signal = Signal($n);)*
        const NAMES: [&str; 31] = [$(stringify!($name)),*];
    };
}

signals! {
    SIGHUP = 1, "Hang-up of the controlling terminal.";
    SIGINT = 2, "Interrupt from the keyboard.";
    SIGQUIT = 3, "Quit from the keyboard.";
    SIGILL = 4, "Illegal instruction.";
    SIGTRAP = 5, "Breakpoint.";
    SIGABRT = 6, "abort(3).";
    SIGBUS = 7, "Bad memory access.";
    SIGFPE = 8, "Arithmetic error.";
    SIGKILL = 9, "Kill; cannot be caught.";
    SIGUSR1 = 10, "User-defined.";
    SIGSEGV = 11, "Invalid memory reference.";
    SIGUSR2 = 12, "User-defined.";
    SIGPIPE = 13, "Write to a pipe that nobody reads.";
    SIGALRM = 14, "alarm(2).";
    SIGTERM = 15, "Please end.";
    SIGSTKFLT = 16, "Unused.";
    SIGCHLD = 17, "A child ended, stopped or continued.";
    SIGCONT = 18, "Continue.";
    SIGSTOP = 19, "Stop; cannot be caught.";
    SIGTSTP = 20, "Stop from the terminal.";
    SIGTTIN = 21, "Terminal input by a background process.";
    SIGTTOU = 22, "Terminal output by a background process.";
    SIGURG = 23, "Urgent data on a socket.";
    SIGXCPU = 24, "CPU time limit.";
    SIGXFSZ = 25, "File size limit.";
    SIGVTALRM = 26, "Virtual timer.";
    SIGPROF = 27, "Profiling timer.";
    SIGWINCH = 28, "The terminal's size changed.";
    SIGIO = 29, "I/O is possible.";
    SIGPWR = 30, "Power failure.";
    SIGSYS = 31, "Bad system call.";
}

/// A set of signals; bit `n - 1` is signal `n`, as in the kernel's `sigset_t`.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct SigSet(pub u64);

impl fmt::Debug for SigSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigSet({:#018x})", self.0)
    }
}

impl SigSet {
    /// No signal.
    pub const EMPTY: Self = Self(0);
    /// SIGKILL and SIGSTOP, which cannot be blocked, caught or ignored.
    pub const UNBLOCKABLE: Self = Self::of(&[SIGKILL, SIGSTOP]);
    /// The signals that stop a process by default.
    pub const STOPS: Self = Self::of(&[SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU]);
    /// The signals that the thread's own instructions cause; they are delivered first.
    pub const SYNCHRONOUS: Self = Self::of(&[SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE, SIGSYS]);

    /// Of some signals.
    pub const fn of(signals: &[Signal]) -> Self {
        let mut bits = 0;
        let mut rest = signals;
        while let [first, tail @ ..] = rest {
            bits |= 1 << (first.0 - 1);
            rest = tail;
        }
        Self(bits)
    }

    /// Whether it has `signal`.
    pub const fn has(self, signal: Signal) -> bool {
        self.0 & (1 << (signal.0 - 1)) != 0
    }

    /// Whether it has none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// With `signal`.
    #[must_use]
    pub const fn with(self, signal: Signal) -> Self {
        Self(self.0 | 1 << (signal.0 - 1))
    }

    /// In either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// In both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// In this one and not in the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// A mask as a program asks for it: without what cannot be blocked.
    #[must_use]
    pub const fn blockable(self) -> Self {
        self.without(Self::UNBLOCKABLE)
    }

    /// The lowest-numbered signal.
    pub const fn first(self) -> Option<Signal> {
        if self.0 == 0 {
            None
        } else {
            Some(Signal(self.0.trailing_zeros() as u8 + 1))
        }
    }

    /// The signal to deliver next: synchronous ones first, then by number (kernel/signal.c, next_signal).
    pub const fn next_to_deliver(self) -> Option<Signal> {
        match self.and(Self::SYNCHRONOUS).first() {
            Some(s) => Some(s),
            None => self.first(),
        }
    }
}

/// sa_handler: the default action.
pub const SIG_DFL: u64 = 0;
/// sa_handler: ignored.
pub const SIG_IGN: u64 = 1;

bitflags::bitflags! {
    /// sa_flags (sigaction(2)).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct SaFlags: u64 {
        /// No SIGCHLD when children stop.
        const NOCLDSTOP = 0x1;
        /// Children do not become zombies.
        const NOCLDWAIT = 0x2;
        /// The handler takes three arguments.
        const SIGINFO = 0x4;
        /// Report unknown flags by clearing them.
        const UNSUPPORTED = 0x400;
        /// `restorer` is valid.
        const RESTORER = 0x0400_0000;
        /// Run on the alternate stack.
        const ONSTACK = 0x0800_0000;
        /// Restart interrupted calls.
        const RESTART = 0x1000_0000;
        /// Do not block the signal in its handler.
        const NODEFER = 0x4000_0000;
        /// Back to the default before the handler runs.
        const RESETHAND = 0x8000_0000;
    }
}

/// The kernel's `struct sigaction` (asm-generic/signal.h): handler, flags, restorer, mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SigAction {
    /// SIG_DFL, SIG_IGN or the handler's address.
    pub handler: u64,
    /// How it is run.
    pub flags: SaFlags,
    /// Where the handler returns to, with [`SaFlags::RESTORER`].
    pub restorer: u64,
    /// Blocked while the handler runs.
    pub mask: SigSet,
}

impl SigAction {
    /// Bytes in user memory.
    pub const SIZE: usize = 32;

    /// From user memory; unknown flags are dropped, as Linux does (SA_UNSUPPORTED lets a program find out).
    pub fn from_bytes(b: &[u8; Self::SIZE]) -> Self {
        let word = |at: usize| read_u64(b, at);
        Self {
            handler: word(0),
            flags: SaFlags::from_bits_truncate(word(8)).difference(SaFlags::UNSUPPORTED),
            restorer: word(16),
            mask: SigSet(word(24)).blockable(),
        }
    }

    /// To user memory.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut out = [0; Self::SIZE];
        for (at, word) in [
            (0, self.handler),
            (8, self.flags.bits()),
            (16, self.restorer),
            (24, self.mask.0),
        ] {
            put(&mut out, at, &word.to_le_bytes());
        }
        out
    }

    /// Whether the signal vanishes when it is sent: ignored, or by default nothing.
    pub fn ignores(&self, signal: Signal) -> bool {
        self.handler == SIG_IGN
            || (self.handler == SIG_DFL
                && matches!(signal.default_action(), DefaultAction::Ignore | DefaultAction::Continue))
    }
}

/// si_code values (sigaction(2)).
pub mod code {
    /// kill(2).
    pub const SI_USER: i32 = 0;
    /// The kernel.
    pub const SI_KERNEL: i32 = 0x80;
    /// sigqueue(3).
    pub const SI_QUEUE: i32 = -1;
    /// A POSIX timer.
    pub const SI_TIMER: i32 = -2;
    /// tkill(2), tgkill(2).
    pub const SI_TKILL: i32 = -6;
    /// SIGILL: illegal opcode.
    pub const ILL_ILLOPC: i32 = 1;
    /// SIGFPE: invalid operation.
    pub const FPE_FLTINV: i32 = 7;
    /// SIGFPE: cannot be told.
    pub const FPE_FLTUNK: i32 = 14;
    /// SIGSEGV: nothing mapped.
    pub const SEGV_MAPERR: i32 = 1;
    /// SIGSEGV: the mapping forbids it.
    pub const SEGV_ACCERR: i32 = 2;
    /// SIGBUS: misaligned.
    pub const BUS_ADRALN: i32 = 1;
    /// SIGBUS: beyond the object.
    pub const BUS_ADRERR: i32 = 2;
    /// SIGBUS: hardware error.
    pub const BUS_OBJERR: i32 = 3;
    /// SIGTRAP: breakpoint.
    pub const TRAP_BRKPT: i32 = 1;
    /// SIGCHLD: exited.
    pub const CLD_EXITED: i32 = 1;
    /// SIGCHLD: killed.
    pub const CLD_KILLED: i32 = 2;
    /// SIGCHLD: killed, and would have dumped core.
    pub const CLD_DUMPED: i32 = 3;
    /// SIGCHLD: stopped.
    pub const CLD_STOPPED: i32 = 5;
    /// SIGCHLD: continued.
    pub const CLD_CONTINUED: i32 = 6;
}

/// What `siginfo_t` says besides signal and code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Who sent it (`_kill`).
    Sender {
        /// Sender's process.
        pid: u32,
        /// Sender's real user.
        uid: u32,
    },
    /// Who queued it and what with (`_rt`).
    Queued {
        /// Sender's process.
        pid: u32,
        /// Sender's real user.
        uid: u32,
        /// `sigval`.
        value: u64,
    },
    /// A timer (`_timer`).
    Timer {
        /// Its id.
        id: i32,
        /// Expirations missed.
        overrun: i32,
        /// `sigval`.
        value: u64,
    },
    /// A child (`_sigchld`).
    Child {
        /// The child.
        pid: u32,
        /// Its real user.
        uid: u32,
        /// Exit status or signal.
        status: i32,
        /// User time in clock ticks.
        utime: i64,
        /// System time in clock ticks.
        stime: i64,
    },
    /// A fault (`_sigfault`).
    Fault {
        /// The address.
        address: u64,
    },
    /// Bytes 16..128 as rt_sigqueueinfo(2) gave them.
    Raw([u8; 112]),
}

/// A signal with what is known of its cause: `siginfo_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SigInfo {
    /// The signal.
    pub signal: Signal,
    /// si_errno.
    pub errno: i32,
    /// si_code.
    pub code: i32,
    /// The rest.
    pub detail: Detail,
}

impl SigInfo {
    /// Bytes of `siginfo_t`.
    pub const SIZE: usize = 128;

    /// From the kernel itself.
    pub const fn kernel(signal: Signal) -> Self {
        Self {
            signal,
            errno: 0,
            code: code::SI_KERNEL,
            detail: Detail::Sender { pid: 0, uid: 0 },
        }
    }

    /// By kill(2).
    pub const fn user(signal: Signal, pid: u32, uid: u32) -> Self {
        Self {
            signal,
            errno: 0,
            code: code::SI_USER,
            detail: Detail::Sender { pid, uid },
        }
    }

    /// By a fault at `address`.
    pub const fn fault(signal: Signal, code: i32, address: u64) -> Self {
        Self {
            signal,
            errno: 0,
            code,
            detail: Detail::Fault { address },
        }
    }

    /// From user memory, but of `signal`, whatever the bytes say (rt_sigqueueinfo(2)).
    pub fn from_bytes_as(b: &[u8; Self::SIZE], signal: Signal) -> Self {
        let word =
            |at: usize| i32::from_le_bytes(b.get(at..).and_then(|r| r.first_chunk()).copied().unwrap_or_default());
        let raw = b.last_chunk::<112>().copied().unwrap_or([0; 112]);
        Self {
            signal,
            errno: word(4),
            code: word(8),
            detail: Detail::Raw(raw),
        }
    }

    /// From user memory; `None` for a signal number that does not exist.
    pub fn from_bytes(b: &[u8; Self::SIZE]) -> Option<Self> {
        let word =
            |at: usize| i32::from_le_bytes(b.get(at..).and_then(|r| r.first_chunk()).copied().unwrap_or_default());
        let raw = b.last_chunk::<112>().copied().unwrap_or([0; 112]);
        Some(Self {
            signal: Signal::new(word(0))?,
            errno: word(4),
            code: word(8),
            detail: Detail::Raw(raw),
        })
    }

    /// To user memory.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut out = [0u8; Self::SIZE];
        put(&mut out, 0, &self.signal.number().to_le_bytes());
        put(&mut out, 4, &self.errno.to_le_bytes());
        put(&mut out, 8, &self.code.to_le_bytes());
        match self.detail {
            Detail::Sender { pid, uid } => {
                put(&mut out, 16, &pid.to_le_bytes());
                put(&mut out, 20, &uid.to_le_bytes());
            }
            Detail::Queued { pid, uid, value } => {
                put(&mut out, 16, &pid.to_le_bytes());
                put(&mut out, 20, &uid.to_le_bytes());
                put(&mut out, 24, &value.to_le_bytes());
            }
            Detail::Timer { id, overrun, value } => {
                put(&mut out, 16, &id.to_le_bytes());
                put(&mut out, 20, &overrun.to_le_bytes());
                put(&mut out, 24, &value.to_le_bytes());
            }
            Detail::Child {
                pid,
                uid,
                status,
                utime,
                stime,
            } => {
                put(&mut out, 16, &pid.to_le_bytes());
                put(&mut out, 20, &uid.to_le_bytes());
                put(&mut out, 24, &status.to_le_bytes());
                put(&mut out, 32, &utime.to_le_bytes());
                put(&mut out, 40, &stime.to_le_bytes());
            }
            Detail::Fault { address } => put(&mut out, 16, &address.to_le_bytes()),
            Detail::Raw(raw) => put(&mut out, 16, &raw),
        }
        out
    }
}

fn read_u64(b: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(b.get(at..).and_then(|r| r.first_chunk()).copied().unwrap_or_default())
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(to) = out.get_mut(at..at + bytes.len()) {
        to.copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests;
