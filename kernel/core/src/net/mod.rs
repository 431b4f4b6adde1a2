//! Sockets.
//!
//! | module | story |
//! |---|---|
//! | [`socket`] | what an open socket is: a [`socket::Protocol`] behind a descriptor |
//! | [`message`] | one message being sent or received |
//! | [`options`] | option numbers and the options that every socket has |
//! | [`pipe`] | a byte stream inside the kernel (AF_UNIX, TCP to ourselves) |
//! | [`mailbox`] | a queue of whole messages |
//! | [`passed`] | files on their way through sockets |
//! | [`unix`] | AF_UNIX |
//! | [`inet`] | AF_INET and AF_INET6: UDP, TCP, raw |
//! | [`packet`] | AF_PACKET |
//! | [`netlink`] | AF_NETLINK: rtnetlink |
//! | [`stack`] | interfaces, and packets between them and the sockets |
//! | [`proc`] | what `/proc/net` shows |
//! | `sys` | what `/sys/class/net` shows |
//!
//! The stack has one spinning lock ([`stack::with`]). It is taken for a packet or a call at a time; nobody sleeps or
//! touches user memory with it. Packets come in by the kernel thread `net`, which the devices' interrupts and the
//! stack's timers wake. What two sockets of this machine say to each other never becomes a packet.

pub(crate) mod inet;
pub(crate) mod interface;
pub(crate) mod ioctl;
pub(crate) mod mailbox;
pub(crate) mod message;
pub(crate) mod netlink;
pub(crate) mod options;
pub(crate) mod packet;
pub(crate) mod passed;
pub(crate) mod pipe;
pub mod proc;
pub mod socket;
pub(crate) mod stack;
mod sys;
mod thread;
pub(crate) mod unix;

pub use interface::totals;
pub use thread::{attach, init};

/// An unpredictable number, for port choice and initial sequence numbers.
pub(crate) fn random_u64() -> u64 {
    crate::random::next_u64()
}
