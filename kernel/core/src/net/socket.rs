//! What an open socket is: a [`Protocol`] behind a descriptor.

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::any::Any;
use core::sync::atomic::{AtomicI32, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use sis_abi::signal::{SIGPIPE, SigInfo};
use sis_netstack::sockaddr::SockAddr;

use super::message::{Incoming, MsgFlags, Outgoing};
use super::{ioctl, options};
use crate::fs::file::{File, IoFlags};
use crate::poll::{Events, PollTable};
use crate::process::{signal, thread};
use crate::time::Deadline;
use crate::user::{Sink, Source};
use crate::wait::{Observer, Registration, WaitQueue};
use crate::{Errno, Result};

/// The types of sockets (SOCK_*).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// SOCK_STREAM.
    Stream = 1,
    /// SOCK_DGRAM.
    Datagram = 2,
    /// SOCK_RAW.
    Raw = 3,
    /// SOCK_SEQPACKET.
    SeqPacket = 5,
}

/// Which directions shutdown(2) ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shutdown {
    pub(crate) read: bool,
    pub(crate) write: bool,
}

/// What every socket has.
pub(crate) struct Common {
    /// AF_*.
    pub(crate) family: u16,
    /// SOCK_*.
    pub(crate) kind: Kind,
    /// IPPROTO_*.
    pub(crate) protocol: i32,
    /// Who made it.
    pub(crate) uid: u32,
    /// Who waits for it.
    pub(crate) queue: Arc<WaitQueue>,
    /// Options that are on; see [`options::Bits`].
    pub(crate) bits: AtomicU32,
    /// SO_RCVTIMEO in nanoseconds; 0 for none.
    pub(crate) receive_timeout_ns: AtomicU64,
    /// SO_SNDTIMEO in nanoseconds; 0 for none.
    pub(crate) send_timeout_ns: AtomicU64,
    /// SO_RCVBUF.
    pub(crate) receive_bytes: AtomicUsize,
    /// SO_SNDBUF.
    pub(crate) send_bytes: AtomicUsize,
    /// SO_LINGER in seconds; negative: off.
    pub(crate) linger_s: AtomicI64,
    /// SO_PRIORITY.
    pub(crate) priority: AtomicI32,
    /// SO_MARK.
    pub(crate) mark: AtomicU32,
    /// SO_BINDTODEVICE: interface index; 0 for any.
    pub(crate) device: AtomicU32,
    /// An error that the next call reports (SO_ERROR).
    error: AtomicI32,
}

impl Common {
    pub(crate) fn new(family: u16, kind: Kind, protocol: i32) -> Self {
        Self {
            family,
            kind,
            protocol,
            uid: thread::try_current().map_or(0, |t| t.cred().euid),
            queue: Arc::new(WaitQueue::new()),
            bits: AtomicU32::new(0),
            receive_timeout_ns: AtomicU64::new(0),
            send_timeout_ns: AtomicU64::new(0),
            receive_bytes: AtomicUsize::new(options::DEFAULT_BUFFER),
            send_bytes: AtomicUsize::new(options::DEFAULT_BUFFER),
            linger_s: AtomicI64::new(-1),
            priority: AtomicI32::new(0),
            mark: AtomicU32::new(0),
            device: AtomicU32::new(0),
            error: AtomicI32::new(0),
        }
    }

    /// Whether an option is on.
    pub(crate) fn is(&self, bit: options::Bits) -> bool {
        self.bits.load(Ordering::Relaxed) & bit.bits() != 0
    }

    /// Remembers an error for the next call, and wakes who waits.
    pub(crate) fn fail(&self, e: Errno) {
        self.error.store(e.number(), Ordering::Relaxed);
        self.queue.wake_all(Events::READ | Events::WRITE | Events::ERR);
    }

    /// Takes the remembered error.
    pub(crate) fn take_error(&self) -> Option<Errno> {
        if self.error.load(Ordering::Relaxed) == 0 {
            return None;
        }
        Errno::from_number(self.error.swap(0, Ordering::Relaxed))
    }

    /// Whether an error is remembered.
    pub(crate) fn has_error(&self) -> bool {
        self.error.load(Ordering::Relaxed) != 0
    }

    fn wait<R>(&self, nonblock: bool, timeout_ns: u64, mut ready: impl FnMut() -> Option<Result<R>>) -> Result<R> {
        if nonblock {
            return ready().unwrap_or(Err(Errno::EAGAIN));
        }
        let deadline = if timeout_ns == 0 {
            Deadline::NEVER
        } else {
            Deadline::after_ns(timeout_ns)
        };
        match self.queue.wait_until(deadline, ready) {
            Ok(r) => r,
            Err(Errno::ETIMEDOUT) => Err(Errno::EAGAIN),
            // A call with a timeout is not restarted (signal(7)).
            Err(Errno::ERESTARTSYS) if timeout_ns != 0 => Err(Errno::EINTR),
            Err(e) => Err(e),
        }
    }

    /// Waits as receiving does: SO_RCVTIMEO, and `EAGAIN` when it may not wait.
    pub(crate) fn wait_receive<R>(&self, nonblock: bool, ready: impl FnMut() -> Option<Result<R>>) -> Result<R> {
        self.wait(nonblock, self.receive_timeout_ns.load(Ordering::Relaxed), ready)
    }

    /// Waits as sending does: SO_SNDTIMEO, and `EAGAIN` when it may not wait.
    pub(crate) fn wait_send<R>(&self, nonblock: bool, ready: impl FnMut() -> Option<Result<R>>) -> Result<R> {
        self.wait(nonblock, self.send_timeout_ns.load(Ordering::Relaxed), ready)
    }
}

/// What a kind of socket can do. The defaults are what Linux answers for one that cannot.
pub(crate) trait Protocol: Send + Sync {
    /// What every socket has.
    fn common(&self) -> &Common;

    /// bind(2).
    fn bind(&self, addr: SockAddr) -> Result<()>;

    /// connect(2).
    fn connect(&self, addr: SockAddr, nonblock: bool) -> Result<()>;

    /// listen(2).
    fn listen(&self, backlog: usize) -> Result<()> {
        let _ = backlog;
        Err(Errno::EOPNOTSUPP)
    }

    /// accept(2): the connection, and the peer's address.
    fn accept(&self, nonblock: bool) -> Result<(Arc<dyn Protocol>, SockAddr)> {
        let _ = nonblock;
        Err(Errno::EOPNOTSUPP)
    }

    /// Sends; answers how many bytes.
    fn send(&self, message: &mut Outgoing<'_, '_>) -> Result<usize>;

    /// Receives; answers how many bytes (of the whole message with MSG_TRUNC).
    fn receive(&self, message: &mut Incoming<'_, '_>) -> Result<usize>;

    /// shutdown(2).
    fn shutdown(&self, how: Shutdown) -> Result<()>;

    /// getsockname(2).
    fn local(&self) -> Result<SockAddr>;

    /// getpeername(2).
    fn peer(&self) -> Result<SockAddr>;

    /// An option of another level than SOL_SOCKET, or one that only this kind of socket has.
    fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<()> {
        let _ = (level, name, value);
        Err(Errno::ENOPROTOOPT)
    }

    /// As [`Self::set_option`], read.
    fn get_option(&self, level: i32, name: i32) -> Result<Vec<u8>> {
        let _ = (level, name);
        Err(Errno::ENOPROTOOPT)
    }

    /// Whether it listens (SO_ACCEPTCONN).
    fn is_listening(&self) -> bool {
        false
    }

    /// What it is ready for.
    fn events(&self) -> Events;

    /// FIONREAD.
    fn readable_bytes(&self) -> usize;

    /// SIOCOUTQ.
    fn unsent_bytes(&self) -> usize {
        0
    }

    /// The last descriptor was closed.
    fn close(&self);
}

/// A socket as a file.
pub struct Socket {
    protocol: Arc<dyn Protocol>,
}

impl Socket {
    pub(crate) fn new(protocol: Arc<dyn Protocol>) -> Arc<Self> {
        Arc::new(Self { protocol })
    }

    /// What it can do.
    pub(crate) fn protocol(&self) -> &Arc<dyn Protocol> {
        &self.protocol
    }

    /// Sends; SIGPIPE for `EPIPE` unless the caller does not want it.
    pub(crate) fn send(&self, message: &mut Outgoing<'_, '_>) -> Result<usize> {
        let out = self.protocol.send(message);
        if out == Err(Errno::EPIPE)
            && self.protocol.common().kind != Kind::Datagram
            && !message.flags.contains(MsgFlags::NOSIGNAL)
            && let Some(t) = thread::try_current()
        {
            let info = SigInfo::user(SIGPIPE, t.process.pid, t.cred().uid);
            let _ = signal::send_to_thread(&t.to_arc(), info);
        }
        out
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.protocol.close();
    }
}

impl File for Socket {
    fn read(&self, to: &mut Sink<'_>, _offset: u64, flags: IoFlags) -> Result<usize> {
        if to.remaining() == 0 {
            return Ok(0);
        }
        self.protocol
            .receive(&mut Incoming::new(to, MsgFlags::empty(), flags.nonblock))
    }

    fn write(&self, from: &mut Source<'_>, _offset: u64, flags: IoFlags) -> Result<(usize, u64)> {
        let mut message = Outgoing {
            data: from,
            to: None,
            control: super::message::Control::default(),
            flags: MsgFlags::empty(),
            nonblock: flags.nonblock,
        };
        self.send(&mut message).map(|n| (n, 0))
    }

    fn poll(&self, table: Option<&mut PollTable>) -> Events {
        if let Some(t) = table {
            t.watch(&self.protocol.common().queue);
        }
        self.protocol.events()
    }

    fn observe(&self, observer: Weak<dyn Observer>) -> Result<Vec<Registration>> {
        Ok(alloc::vec![self.protocol.common().queue.observe(observer)])
    }

    fn ioctl(&self, command: u32, argument: usize) -> Result<usize> {
        ioctl::socket(&*self.protocol, command, argument)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
