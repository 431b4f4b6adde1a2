//! Waiting for events: poll(2), epoll(7), eventfd(2), inotify(7).

use crate::macros::{constants, flags, layout};

flags! {
    /// poll(2).
    pub struct PollEvents: u16, "POLL" {
        IN = 0x1;
        PRI = 0x2;
        OUT = 0x4;
        ERR = 0x8;
        HUP = 0x10;
        NVAL = 0x20;
        RDNORM = 0x40;
        RDBAND = 0x80;
        WRNORM = 0x100;
        WRBAND = 0x200;
        MSG = 0x400;
        REMOVE = 0x1000;
        RDHUP = 0x2000;
    }
}

flags! {
    /// epoll_ctl(2): the events of poll(2) and the modes of an entry.
    pub struct EpollEvents: u32, "EPOLL" {
        IN = 0x1;
        PRI = 0x2;
        OUT = 0x4;
        ERR = 0x8;
        HUP = 0x10;
        NVAL = 0x20;
        RDNORM = 0x40;
        RDBAND = 0x80;
        WRNORM = 0x100;
        WRBAND = 0x200;
        MSG = 0x400;
        RDHUP = 0x2000;
        EXCLUSIVE = 1 << 28;
        WAKEUP = 1 << 29;
        ONESHOT = 1 << 30;
        ET = 1 << 31;
    }
}

impl EpollEvents {
    /// The events of poll(2) in it.
    pub const fn poll(self) -> PollEvents {
        PollEvents::from_bits_truncate(self.bits() as u16)
    }
}

impl From<PollEvents> for EpollEvents {
    fn from(events: PollEvents) -> Self {
        Self::from_bits_truncate(u32::from(events.bits()))
    }
}

constants! { EPOLL_LIST, u32, "epoll_ctl(2)";
    EPOLL_CTL_ADD = 1;
    EPOLL_CTL_DEL = 2;
    EPOLL_CTL_MOD = 3;
}

flags! {
    /// epoll_create1(2).
    pub struct EpollFlags: u32, "EPOLL_" {
        CLOEXEC = 0o2_000_000;
    }
}

flags! {
    /// eventfd(2).
    pub struct EventfdFlags: u32, "EFD_" {
        SEMAPHORE = 1;
        NONBLOCK = 0o4000;
        CLOEXEC = 0o2_000_000;
    }
}

flags! {
    /// inotify_init1(2).
    pub struct InotifyFlags: u32, "IN_" {
        NONBLOCK = 0o4000;
        CLOEXEC = 0o2_000_000;
    }
}

layout! {
    /// An entry of poll(2).
    pub struct PollFd = "struct pollfd", 8 {
        /// The descriptor; negative: ignored.
        fd: i32 = 0,
        /// What is waited for: [`PollEvents`].
        events: u16 = 4,
        /// What is the case.
        revents: u16 = 6,
    }
}

layout! {
    /// An event of epoll_wait(2); not packed on AArch64.
    pub struct EpollEvent = "struct epoll_event", 16 {
        /// [`EpollEvents`].
        events: u32 = 0,
        /// What the program gave to epoll_ctl(2).
        data: u64 = 8,
    }
}

layout! {
    /// What a signalfd reads, signalfd(2).
    pub struct SignalfdSiginfo = "struct signalfd_siginfo", 128 {
        /// The signal.
        ssi_signo: u32 = 0,
        /// Not used.
        ssi_errno: i32 = 4,
        /// `si_code`.
        ssi_code: i32 = 8,
        /// The sender.
        ssi_pid: u32 = 12,
        /// The sender's user.
        ssi_uid: u32 = 16,
        /// SIGIO: the descriptor.
        ssi_fd: i32 = 20,
        /// A timer: its id.
        ssi_tid: u32 = 24,
        /// SIGIO: the event.
        ssi_band: u32 = 28,
        /// A timer: expiries missed.
        ssi_overrun: u32 = 32,
        /// A fault: the trap.
        ssi_trapno: u32 = 36,
        /// SIGCHLD: exit status or signal.
        ssi_status: i32 = 40,
        /// sigqueue(3): the value as int.
        ssi_int: i32 = 44,
        /// sigqueue(3): the value as pointer.
        ssi_ptr: u64 = 48,
        /// SIGCHLD: user time in ticks.
        ssi_utime: u64 = 56,
        /// SIGCHLD: system time in ticks.
        ssi_stime: u64 = 64,
        /// A fault: the address.
        ssi_addr: u64 = 72,
    }
}

flags! {
    /// signalfd(2).
    pub struct SignalfdFlags: u32, "SFD_" {
        NONBLOCK = 0o4000;
        CLOEXEC = 0o2_000_000;
    }
}
