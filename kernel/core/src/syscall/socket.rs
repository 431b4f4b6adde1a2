//! Sockets: socket(2) and its family.

mod msg;

use alloc::sync::Arc;
use alloc::vec::Vec;

use sis_netstack::sockaddr::{AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_UNIX, MAX_LEN, ParseError, SockAddr};

use super::{Call, Row, built, partial};
use crate::fs::file::OpenFile;
use crate::net::inet::{raw::RawSocket, tcp::TcpSocket, udp::UdpSocket};
use crate::net::message::{Control, Incoming, MsgFlags, Outgoing};
use crate::net::netlink::{NETLINK_ROUTE, NetlinkSocket};
use crate::net::options;
use crate::net::packet::PacketSocket;
use crate::net::socket::{Kind, Protocol, Shutdown, Socket};
use crate::net::unix::UnixSocket;
use crate::process::cred::Capability;
use crate::process::thread::Thread;
use crate::user::{Sink, Source, UserPtr, UserSlice};
use crate::{Errno, Result};

pub(super) const CALLS: &[Row] = &[
    partial(
        198,
        "socket",
        socket,
        "families other than UNIX, INET, INET6, NETLINK (ROUTE) and PACKET",
    ),
    built(199, "socketpair", socketpair),
    built(200, "bind", bind),
    built(201, "listen", listen),
    built(202, "accept", accept),
    built(203, "connect", connect),
    built(204, "getsockname", getsockname),
    built(205, "getpeername", getpeername),
    built(206, "sendto", sendto),
    built(207, "recvfrom", recvfrom),
    partial(
        208,
        "setsockopt",
        setsockopt,
        "filters, multicast membership, UDP_GRO, TCP_CORK, IP_RECVERR",
    ),
    partial(
        209,
        "getsockopt",
        getsockopt,
        "as setsockopt; TCP_INFO has the state only",
    ),
    built(210, "shutdown", shutdown),
    built(211, "sendmsg", msg::sendmsg),
    built(212, "recvmsg", msg::recvmsg),
    built(242, "accept4", accept4),
    built(243, "recvmmsg", msg::recvmmsg),
    built(269, "sendmmsg", msg::sendmmsg),
];

const SOCK_NONBLOCK: u32 = 0o4000;
const SOCK_CLOEXEC: u32 = 0o2_000_000;
const O_RDWR: u32 = 2;
const O_NONBLOCK: u32 = 0o4000;
/// Longest option value.
const MOST_OPTION: usize = 4096;

const IPPROTO_ICMP: i32 = 1;
const IPPROTO_TCP: i32 = 6;
const IPPROTO_UDP: i32 = 17;
const IPPROTO_ICMPV6: i32 = 58;

/// The open file behind a descriptor, which is a socket.
struct Open(Arc<OpenFile>);

impl Open {
    fn get(thread: &Thread, fd: i32) -> Result<Self> {
        let file = thread.files().get(fd)?;
        if file.ops.as_any().is::<Socket>() {
            Ok(Self(file))
        } else {
            Err(Errno::ENOTSOCK)
        }
    }

    fn socket(&self) -> Result<&Socket> {
        self.0.ops.as_any().downcast_ref::<Socket>().ok_or(Errno::ENOTSOCK)
    }

    fn protocol(&self) -> Result<&Arc<dyn Protocol>> {
        Ok(self.socket()?.protocol())
    }

    fn is_nonblocking(&self, flags: MsgFlags) -> bool {
        flags.contains(MsgFlags::DONTWAIT) || self.0.flags() & O_NONBLOCK != 0
    }
}

fn kind_and_flags(word: u32) -> Result<(Kind, u32)> {
    let flags = word & !0xf;
    if flags & !(SOCK_NONBLOCK | SOCK_CLOEXEC) != 0 {
        return Err(Errno::EINVAL);
    }
    let kind = match word & 0xf {
        1 => Kind::Stream,
        2 => Kind::Datagram,
        3 => Kind::Raw,
        5 => Kind::SeqPacket,
        0 | 4 | 6..=10 => return Err(Errno::ESOCKTNOSUPPORT),
        _ => return Err(Errno::EINVAL),
    };
    Ok((kind, flags))
}

fn install(thread: &Thread, protocol: Arc<dyn Protocol>, flags: u32) -> Result<i32> {
    let status = O_RDWR | if flags & SOCK_NONBLOCK != 0 { O_NONBLOCK } else { 0 };
    let file = OpenFile::new(Socket::new(protocol), status, None);
    thread
        .files()
        .insert(file, flags & SOCK_CLOEXEC != 0, 0, thread.process.nofile_limit())
}

fn make(thread: &Thread, family: u16, kind: Kind, protocol: i32) -> Result<Arc<dyn Protocol>> {
    let may_raw = || {
        if thread.cred().has(Capability::NetRaw) {
            Ok(())
        } else {
            Err(Errno::EPERM)
        }
    };
    Ok(match (family, kind) {
        (AF_UNIX, _) if protocol != 0 && protocol != i32::from(AF_UNIX) => return Err(Errno::EPROTONOSUPPORT),
        // As Linux has it, a raw AF_UNIX socket is one for datagrams.
        (AF_UNIX, Kind::Raw) => UnixSocket::new(Kind::Datagram),
        (AF_UNIX, kind) => UnixSocket::new(kind),
        (AF_INET | AF_INET6, Kind::Stream) => match protocol {
            0 | IPPROTO_TCP => TcpSocket::new(family),
            _ => return Err(Errno::EPROTONOSUPPORT),
        },
        (AF_INET | AF_INET6, Kind::Datagram) => match (family, protocol) {
            (_, 0 | IPPROTO_UDP) => UdpSocket::new(family),
            (AF_INET, IPPROTO_ICMP) | (AF_INET6, IPPROTO_ICMPV6) => RawSocket::new(family, kind, protocol),
            _ => return Err(Errno::EPROTONOSUPPORT),
        },
        (AF_INET | AF_INET6, Kind::Raw) => {
            if !(1..=255).contains(&protocol) {
                return Err(Errno::EPROTONOSUPPORT);
            }
            may_raw()?;
            RawSocket::new(family, kind, protocol)
        }
        (AF_INET | AF_INET6, Kind::SeqPacket) => return Err(Errno::ESOCKTNOSUPPORT),
        (AF_NETLINK, Kind::Raw | Kind::Datagram) if protocol == NETLINK_ROUTE => NetlinkSocket::new(kind),
        (AF_NETLINK, Kind::Raw | Kind::Datagram) => return Err(Errno::EPROTONOSUPPORT),
        (AF_PACKET, Kind::Raw | Kind::Datagram) => {
            may_raw()?;
            PacketSocket::new(kind, protocol)
        }
        (AF_NETLINK | AF_PACKET, _) => return Err(Errno::ESOCKTNOSUPPORT),
        _ => return Err(Errno::EAFNOSUPPORT),
    })
}

fn socket(call: &mut Call<'_>) -> Result<usize> {
    let family = u16::try_from(call.int(0)).map_err(|_| Errno::EAFNOSUPPORT)?;
    let (kind, flags) = kind_and_flags(call.uint(1))?;
    let protocol = make(call.thread, family, kind, call.int(2))?;
    install(call.thread, protocol, flags).map(|fd| fd as usize)
}

fn socketpair(call: &mut Call<'_>) -> Result<usize> {
    let (kind, flags) = kind_and_flags(call.uint(1))?;
    match call.int(0) {
        1 => {}
        2 | 10 => return Err(Errno::EOPNOTSUPP),
        _ => return Err(Errno::EAFNOSUPPORT),
    }
    if !matches!(call.int(2), 0 | 1) {
        return Err(Errno::EPROTONOSUPPORT);
    }
    let out = UserPtr::<i32>::new(call.usize(3));
    let kind = if kind == Kind::Raw { Kind::Datagram } else { kind };
    let (a, b) = UnixSocket::pair(kind);
    let fa = install(call.thread, a, flags)?;
    let files = call.thread.files();
    let fb = match install(call.thread, b, flags) {
        Ok(fb) => fb,
        Err(e) => {
            let _ = files.remove(fa);
            return Err(e);
        }
    };
    if let Err(e) = out.write(&fa).and_then(|()| out.nth(1)?.write(&fb)) {
        let _ = (files.remove(fa), files.remove(fb));
        return Err(e);
    }
    Ok(0)
}

/// An address argument.
fn read_addr(address: usize, len: usize) -> Result<SockAddr> {
    if len > MAX_LEN {
        return Err(Errno::EINVAL);
    }
    let mut bytes = [0u8; MAX_LEN];
    let bytes = bytes.get_mut(..len).ok_or(Errno::EINVAL)?;
    sis_machine::mm::usercopy::copy_in(address, bytes).map_err(|_| Errno::EFAULT)?;
    SockAddr::parse(bytes).map_err(|e| match e {
        ParseError::Length => Errno::EINVAL,
        ParseError::Family => Errno::EAFNOSUPPORT,
    })
}

/// Writes an address to a buffer whose length is at `len_at`; the length becomes that of the whole address.
fn write_addr(addr: &SockAddr, to: usize, len_at: UserPtr<i32>) -> Result<()> {
    let room = usize::try_from(len_at.read()?).map_err(|_| Errno::EINVAL)?;
    let bytes = addr.encode();
    UserSlice::new(to, room).write_prefix(&bytes)?;
    len_at.write(&(bytes.len() as i32))
}

fn bind(call: &mut Call<'_>) -> Result<usize> {
    let open = Open::get(call.thread, call.int(0))?;
    let len = usize::try_from(call.int(2)).map_err(|_| Errno::EINVAL)?;
    open.protocol()?.bind(read_addr(call.usize(1), len)?).map(|()| 0)
}

fn connect(call: &mut Call<'_>) -> Result<usize> {
    let open = Open::get(call.thread, call.int(0))?;
    let len = usize::try_from(call.int(2)).map_err(|_| Errno::EINVAL)?;
    let addr = read_addr(call.usize(1), len)?;
    open.protocol()?
        .connect(addr, open.is_nonblocking(MsgFlags::empty()))
        .map(|()| 0)
}

fn listen(call: &mut Call<'_>) -> Result<usize> {
    let open = Open::get(call.thread, call.int(0))?;
    // Negative means as many as may be.
    open.protocol()?.listen(call.uint(1) as usize).map(|()| 0)
}

fn accept_with(call: &Call<'_>, flags: u32) -> Result<usize> {
    if flags & !(SOCK_NONBLOCK | SOCK_CLOEXEC) != 0 {
        return Err(Errno::EINVAL);
    }
    let open = Open::get(call.thread, call.int(0))?;
    let (got, addr) = open.protocol()?.accept(open.is_nonblocking(MsgFlags::empty()))?;
    let to = call.usize(1);
    let fd = install(call.thread, got, flags)?;
    if to != 0
        && let Err(e) = write_addr(&addr, to, UserPtr::new(call.usize(2)))
    {
        let _ = call.thread.files().remove(fd);
        return Err(e);
    }
    Ok(fd as usize)
}

fn accept(call: &mut Call<'_>) -> Result<usize> {
    accept_with(call, 0)
}

fn accept4(call: &mut Call<'_>) -> Result<usize> {
    accept_with(call, call.uint(3))
}

fn getsockname(call: &mut Call<'_>) -> Result<usize> {
    let open = Open::get(call.thread, call.int(0))?;
    let addr = open.protocol()?.local()?;
    write_addr(&addr, call.usize(1), UserPtr::new(call.usize(2))).map(|()| 0)
}

fn getpeername(call: &mut Call<'_>) -> Result<usize> {
    let open = Open::get(call.thread, call.int(0))?;
    let addr = open.protocol()?.peer()?;
    write_addr(&addr, call.usize(1), UserPtr::new(call.usize(2))).map(|()| 0)
}

/// Flags of a call; unknown ones are ignored, as Linux does here.
fn msg_flags(word: u32) -> MsgFlags {
    MsgFlags::from_bits_truncate(word)
}

fn sendto(call: &mut Call<'_>) -> Result<usize> {
    let open = Open::get(call.thread, call.int(0))?;
    let flags = msg_flags(call.uint(3));
    let to = match call.usize(4) {
        0 => None,
        at => Some(read_addr(at, usize::try_from(call.int(5)).map_err(|_| Errno::EINVAL)?)?),
    };
    let mut data = Source::user(UserSlice::new(call.usize(1), call.usize(2).min(i32::MAX as usize)));
    let nonblock = open.is_nonblocking(flags);
    let mut message = Outgoing {
        data: &mut data,
        to,
        control: Control::default(),
        flags,
        nonblock,
    };
    open.socket()?.send(&mut message)
}

fn recvfrom(call: &mut Call<'_>) -> Result<usize> {
    let open = Open::get(call.thread, call.int(0))?;
    let flags = msg_flags(call.uint(3));
    let mut data = Sink::user(UserSlice::new(call.usize(1), call.usize(2).min(i32::MAX as usize)));
    let mut message = Incoming::new(&mut data, flags, open.is_nonblocking(flags));
    message.wants_from = call.usize(4) != 0;
    let n = open.protocol()?.receive(&mut message)?;
    if call.usize(4) != 0 {
        let len_at = UserPtr::<i32>::new(call.usize(5));
        match &message.from {
            Some(addr) => write_addr(addr, call.usize(4), len_at)?,
            None => len_at.write(&0)?,
        }
    }
    Ok(n)
}

fn setsockopt(call: &mut Call<'_>) -> Result<usize> {
    let open = Open::get(call.thread, call.int(0))?;
    let len = usize::try_from(call.int(4)).map_err(|_| Errno::EINVAL)?;
    let value: Vec<u8> = UserSlice::new(call.usize(3), len.min(MOST_OPTION)).read_to_vec(MOST_OPTION)?;
    options::set(&**open.protocol()?, call.int(1), call.int(2), &value).map(|()| 0)
}

fn getsockopt(call: &mut Call<'_>) -> Result<usize> {
    let open = Open::get(call.thread, call.int(0))?;
    let len_at = UserPtr::<i32>::new(call.usize(4));
    let room = usize::try_from(len_at.read()?).map_err(|_| Errno::EINVAL)?;
    let value = options::get(&**open.protocol()?, call.int(1), call.int(2))?;
    let n = UserSlice::new(call.usize(3), room).write_prefix(&value)?;
    len_at.write(&(n as i32)).map(|()| 0)
}

fn shutdown(call: &mut Call<'_>) -> Result<usize> {
    let open = Open::get(call.thread, call.int(0))?;
    let how = match call.int(1) {
        0 => Shutdown {
            read: true,
            write: false,
        },
        1 => Shutdown {
            read: false,
            write: true,
        },
        2 => Shutdown {
            read: true,
            write: true,
        },
        _ => return Err(Errno::EINVAL),
    };
    open.protocol()?.shutdown(how).map(|()| 0)
}
