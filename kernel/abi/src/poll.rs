//! Waiting for events: poll(2), epoll(7), eventfd(2), inotify(7).

use crate::macros::{constants, flags};

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
