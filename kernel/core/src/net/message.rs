//! One message being sent or received.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use sis_netstack::sockaddr::SockAddr;

use crate::fs::file::OpenFile;
use crate::process::thread;
use crate::user::{Sink, Source};

bitflags::bitflags! {
    /// MSG_* of send(2) and recv(2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub(crate) struct MsgFlags: u32 {
        /// Out-of-band data.
        const OOB = 0x1;
        /// Look without taking.
        const PEEK = 0x2;
        /// Only to this link.
        const DONTROUTE = 0x4;
        /// Control data was cut (answer).
        const CTRUNC = 0x8;
        /// Data was cut (answer); give the real length (request).
        const TRUNC = 0x20;
        /// Do not wait.
        const DONTWAIT = 0x40;
        /// End of a record.
        const EOR = 0x80;
        /// Wait for all of it.
        const WAITALL = 0x100;
        /// The neighbour is alive.
        const CONFIRM = 0x800;
        /// From the error queue.
        const ERRQUEUE = 0x2000;
        /// No SIGPIPE.
        const NOSIGNAL = 0x4000;
        /// More follows.
        const MORE = 0x8000;
        /// recvmmsg: wait for the first only.
        const WAITFORONE = 0x10000;
        /// Descriptors that come are close-on-exec.
        const CMSG_CLOEXEC = 0x4000_0000;
    }
}

/// `struct ucred`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ucred {
    pub(crate) pid: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Ucred {
    /// The running thread's.
    pub(crate) fn current() -> Self {
        match thread::try_current() {
            Some(t) => {
                let cred = t.cred();
                Self {
                    pid: t.process.pid,
                    uid: cred.euid,
                    gid: cred.egid,
                }
            }
            None => Self { pid: 0, uid: 0, gid: 0 },
        }
    }

    /// The bytes of `struct ucred`.
    pub(crate) fn to_bytes(self) -> [u8; 12] {
        let mut out = [0; 12];
        for (to, from) in out.chunks_exact_mut(4).zip([self.pid, self.uid, self.gid]) {
            to.copy_from_slice(&from.to_le_bytes());
        }
        out
    }
}

/// What sendmsg(2)'s control messages asked for.
#[derive(Default)]
pub(crate) struct Control {
    /// SCM_RIGHTS.
    pub(crate) files: Vec<Arc<OpenFile>>,
    /// SCM_CREDENTIALS.
    pub(crate) cred: Option<Ucred>,
    /// IP_PKTINFO, IPV6_PKTINFO: source address.
    pub(crate) source: Option<IpAddr>,
    /// IP_PKTINFO, IPV6_PKTINFO: interface; 0 for any.
    pub(crate) iface: u32,
    /// IP_TOS, IPV6_TCLASS.
    pub(crate) tos: Option<u8>,
    /// IP_TTL, IPV6_HOPLIMIT.
    pub(crate) ttl: Option<u8>,
    /// UDP_SEGMENT.
    pub(crate) segment: Option<u16>,
}

/// A message to send.
pub(crate) struct Outgoing<'a, 'b> {
    /// The data.
    pub(crate) data: &'a mut Source<'b>,
    /// To whom; the connected peer if none.
    pub(crate) to: Option<SockAddr>,
    /// Control messages.
    pub(crate) control: Control,
    /// MSG_*.
    pub(crate) flags: MsgFlags,
    /// Do not wait.
    pub(crate) nonblock: bool,
}

/// A control message received.
pub(crate) enum Ancillary {
    /// SCM_RIGHTS.
    Files(Vec<Arc<OpenFile>>),
    /// Any other.
    Bytes {
        /// SOL_*.
        level: i32,
        /// Its number.
        kind: i32,
        /// Its data.
        data: Vec<u8>,
    },
}

/// A message to receive.
pub(crate) struct Incoming<'a, 'b> {
    /// Where the data goes.
    pub(crate) data: &'a mut Sink<'b>,
    /// MSG_*.
    pub(crate) flags: MsgFlags,
    /// Do not wait.
    pub(crate) nonblock: bool,
    /// The caller has room for control messages.
    pub(crate) wants_control: bool,
    /// The caller asked for the sender's address.
    pub(crate) wants_from: bool,
    /// Answer: from whom.
    pub(crate) from: Option<SockAddr>,
    /// Answer: MSG_TRUNC, MSG_EOR, ...
    pub(crate) out_flags: MsgFlags,
    /// Answer: control messages.
    pub(crate) ancillary: Vec<Ancillary>,
}

impl<'a, 'b> Incoming<'a, 'b> {
    /// Plain data.
    pub(crate) fn new(data: &'a mut Sink<'b>, flags: MsgFlags, nonblock: bool) -> Self {
        Self {
            data,
            flags,
            nonblock,
            wants_control: false,
            wants_from: false,
            from: None,
            out_flags: MsgFlags::empty(),
            ancillary: Vec::new(),
        }
    }

    /// Whether to look without taking.
    pub(crate) fn is_peek(&self) -> bool {
        self.flags.contains(MsgFlags::PEEK)
    }

    /// Adds a control message that is an `int`.
    pub(crate) fn push_int(&mut self, level: i32, kind: i32, value: i32) {
        self.ancillary.push(Ancillary::Bytes {
            level,
            kind,
            data: value.to_le_bytes().to_vec(),
        });
    }
}
