//! UDP and TCP on the loopback, over IPv4 and IPv6: what programs and the agent's QUIC library ask for.

use super::Case;
use crate::sys::{Ended, Errno, Fd, Outcome, What, child, fd, read, refused, sleep_ms, wait, write};

pub(super) static CASES: &[Case] = &[
    ("sockets/udp-v4", udp_v4),
    ("sockets/udp-v6", udp_v6),
    ("sockets/udp-truncates", udp_truncates),
    ("sockets/udp-connected", udp_connected),
    ("sockets/udp-refused", udp_refused),
    ("sockets/udp-peek", udp_peek),
    ("sockets/udp-empty", udp_empty),
    ("sockets/udp-large", udp_large),
    ("sockets/udp-dual-stack", udp_dual_stack),
    ("sockets/many-messages", many_messages),
    ("sockets/packet-information-v4", packet_information_v4),
    ("sockets/packet-information-v6", packet_information_v6),
    ("sockets/type-of-service", type_of_service),
    ("sockets/segmentation-is-honest", segmentation_is_honest),
    ("sockets/tcp-v4", tcp_v4),
    ("sockets/tcp-v6", tcp_v6),
    ("sockets/tcp-large", tcp_large),
    ("sockets/tcp-half-close", tcp_half_close),
    ("sockets/tcp-nonblocking-connect", tcp_nonblocking_connect),
    ("sockets/tcp-refused", tcp_refused),
    ("sockets/tcp-reset", tcp_reset),
    ("sockets/tcp-many", tcp_many),
    ("sockets/tcp-poll", tcp_poll),
    ("sockets/addresses", addresses),
    ("sockets/bind-errors", bind_errors),
    ("sockets/socket-errors", socket_errors),
    ("sockets/options", options),
    ("sockets/unknown-options", unknown_options),
    ("sockets/receive-time-out", receive_time_out),
    ("sockets/nonblocking", nonblocking),
    ("sockets/message-errors", message_errors),
    ("sockets/edge-epoll-udp", edge_epoll_udp),
    ("sockets/interfaces", interfaces),
];

/// An address as system calls take it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Address {
    bytes: [u8; 28],
    length: u32,
}

const V4: i32 = libc::AF_INET;
const V6: i32 = libc::AF_INET6;

fn loopback(family: i32, port: u16) -> Address {
    let mut bytes = [0; 28];
    bytes[..2].copy_from_slice(&(family as u16).to_ne_bytes());
    bytes[2..4].copy_from_slice(&port.to_be_bytes());
    if family == V4 {
        bytes[4..8].copy_from_slice(&[127, 0, 0, 1]);
        Address { bytes, length: 16 }
    } else {
        // Port, flow, then the address: ::1.
        bytes[23] = 1;
        Address { bytes, length: 28 }
    }
}

fn any(family: i32) -> Address {
    let mut address = loopback(family, 0);
    address.bytes[4..24].fill(0);
    address
}

impl Address {
    fn port(&self) -> u16 {
        u16::from_be_bytes([self.bytes[2], self.bytes[3]])
    }
}

fn socket(family: i32, kind: i32) -> Result<Fd, String> {
    fd(sys!(SYS_socket, family, kind | libc::SOCK_CLOEXEC, 0), "socket")
}

fn bind(socket: &Fd, to: &Address) -> Result<i64, Errno> {
    sys!(SYS_bind, socket, to.bytes.as_ptr(), to.length)
}

fn connect(socket: &Fd, to: &Address) -> Result<i64, Errno> {
    sys!(SYS_connect, socket, to.bytes.as_ptr(), to.length)
}

fn name(socket: &Fd) -> Result<Address, String> {
    let mut address = Address {
        bytes: [0; 28],
        length: 28,
    };
    sys!(
        SYS_getsockname,
        socket,
        address.bytes.as_mut_ptr(),
        &raw mut address.length
    )
    .what("getsockname")?;
    Ok(address)
}

fn peer(socket: &Fd) -> Result<Address, Errno> {
    let mut address = Address {
        bytes: [0; 28],
        length: 28,
    };
    sys!(
        SYS_getpeername,
        socket,
        address.bytes.as_mut_ptr(),
        &raw mut address.length
    )?;
    Ok(address)
}

fn send_to(socket: &Fd, bytes: &[u8], to: &Address) -> Result<i64, Errno> {
    sys!(
        SYS_sendto,
        socket,
        bytes.as_ptr(),
        bytes.len(),
        0,
        to.bytes.as_ptr(),
        to.length
    )
}

fn receive(socket: &Fd, limit: usize, flags: i32) -> Result<(Vec<u8>, Address), Errno> {
    let (mut bytes, mut from) = (
        vec![0; limit],
        Address {
            bytes: [0; 28],
            length: 28,
        },
    );
    let length = sys!(
        SYS_recvfrom,
        socket,
        bytes.as_mut_ptr(),
        limit,
        flags,
        from.bytes.as_mut_ptr(),
        &raw mut from.length
    )?;
    bytes.truncate(length as usize);
    Ok((bytes, from))
}

fn set(socket: &Fd, level: i32, option: i32, value: i32) -> Result<i64, Errno> {
    sys!(SYS_setsockopt, socket, level, option, &raw const value, 4)
}

fn get(socket: &Fd, level: i32, option: i32) -> Result<i32, Errno> {
    let (mut value, mut length) = (0_i32, 4_u32);
    sys!(SYS_getsockopt, socket, level, option, &raw mut value, &raw mut length)?;
    Ok(value)
}

/// Two bound UDP sockets, with a time limit on receiving so that a lost datagram is a failure and not a hang.
fn udp_pair(family: i32) -> Result<(Fd, Fd, Address, Address), String> {
    let (one, two) = (socket(family, libc::SOCK_DGRAM)?, socket(family, libc::SOCK_DGRAM)?);
    for socket in [&one, &two] {
        bind(socket, &loopback(family, 0)).what("bind")?;
        limit(socket, 5)?;
    }
    let (a, b) = (name(&one)?, name(&two)?);
    Ok((one, two, a, b))
}

fn limit(socket: &Fd, seconds: u64) -> Outcome {
    let time = [seconds, 0];
    sys!(
        SYS_setsockopt,
        socket,
        libc::SOL_SOCKET,
        libc::SO_RCVTIMEO,
        time.as_ptr(),
        16
    )
    .what("SO_RCVTIMEO")
    .map(|_| ())
}

fn udp(family: i32) -> Outcome {
    let (one, two, from, to) = udp_pair(family)?;
    check!(
        to.port() != 0 && to.port() != from.port(),
        "ports {} and {}",
        from.port(),
        to.port()
    );
    same!(send_to(&one, b"hello", &to), Ok(5), "sendto");
    same!(receive(&two, 100, 0), Ok((b"hello".to_vec(), from)), "recvfrom");
    send_to(&two, b"answer", &from).what("sendto")?;
    same!(receive(&one, 100, 0), Ok((b"answer".to_vec(), to)), "the answer");
    Ok(())
}

fn udp_v4() -> Outcome {
    udp(V4)
}

fn udp_v6() -> Outcome {
    udp(V6)
}

fn udp_truncates() -> Outcome {
    let (one, two, _, to) = udp_pair(V4)?;
    send_to(&one, b"0123456789", &to).what("sendto")?;
    send_to(&one, b"next", &to).what("sendto")?;
    same!(receive(&two, 4, 0).what("recvfrom")?.0, b"0123".to_vec(), "cut");
    same!(
        receive(&two, 100, 0).what("recvfrom")?.0,
        b"next".to_vec(),
        "the next one is whole"
    );
    send_to(&one, b"0123456789", &to).what("sendto")?;
    let mut bytes = [0_u8; 4];
    same!(
        sys!(SYS_recvfrom, &two, bytes.as_mut_ptr(), 4, libc::MSG_TRUNC, 0, 0),
        Ok(10),
        "MSG_TRUNC gives the real length"
    );
    Ok(())
}

fn udp_connected() -> Outcome {
    let (one, two, from, to) = udp_pair(V4)?;
    refused("getpeername before", peer(&one), libc::ENOTCONN)?;
    connect(&one, &to).what("connect")?;
    same!(peer(&one), Ok(to), "getpeername");
    write(&one, b"by write").what("write")?;
    same!(receive(&two, 100, 0), Ok((b"by write".to_vec(), from)), "received");
    let stranger = socket(V4, libc::SOCK_DGRAM)?;
    send_to(&stranger, b"stranger", &from).what("sendto")?;
    send_to(&two, b"peer", &from).what("sendto")?;
    same!(read(&one, 100).what("read")?, b"peer".to_vec(), "only from the peer");
    let none = [0_u8; 16];
    sys!(SYS_connect, &one, none.as_ptr(), 16).what("connect to AF_UNSPEC")?;
    refused("getpeername afterwards", peer(&one), libc::ENOTCONN)
}

fn udp_refused() -> Outcome {
    let (one, two, _, to) = udp_pair(V4)?;
    drop(two);
    connect(&one, &to).what("connect")?;
    write(&one, b"x").what("write")?;
    sleep_ms(20);
    refused(
        "the next call after a port that is closed",
        write(&one, b"x"),
        libc::ECONNREFUSED,
    )?;
    refused(
        "write without a peer",
        write(&socket(V4, libc::SOCK_DGRAM)?, b"x"),
        libc::EDESTADDRREQ,
    )
}

fn udp_peek() -> Outcome {
    let (one, two, _, to) = udp_pair(V4)?;
    send_to(&one, b"look", &to).what("sendto")?;
    for flags in [libc::MSG_PEEK, libc::MSG_PEEK, 0] {
        same!(
            receive(&two, 100, flags).what("recvfrom")?.0,
            b"look".to_vec(),
            "content"
        );
    }
    refused("nothing is left", receive(&two, 1, libc::MSG_DONTWAIT), libc::EAGAIN)
}

fn udp_empty() -> Outcome {
    let (one, two, from, to) = udp_pair(V4)?;
    same!(send_to(&one, b"", &to), Ok(0), "an empty datagram");
    same!(receive(&two, 10, 0), Ok((vec![], from)), "received");
    Ok(())
}

fn udp_large() -> Outcome {
    for family in [V4, V6] {
        let (one, two, _, to) = udp_pair(family)?;
        let data: Vec<u8> = (0..8000_u32).map(|n| (n % 253) as u8).collect();
        same!(send_to(&one, &data, &to), Ok(8000), "sendto");
        same!(receive(&two, 10_000, 0).what("recvfrom")?.0, data, "8000 bytes");
        refused(
            "more than a datagram holds",
            send_to(&one, &vec![0; 70_000], &to),
            libc::EMSGSIZE,
        )?;
    }
    Ok(())
}

fn udp_dual_stack() -> Outcome {
    let six = socket(V6, libc::SOCK_DGRAM)?;
    set(&six, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 0).what("IPV6_V6ONLY")?;
    bind(&six, &any(V6)).what("bind")?;
    limit(&six, 5)?;
    let four = socket(V4, libc::SOCK_DGRAM)?;
    bind(&four, &loopback(V4, 0)).what("bind")?;
    send_to(&four, b"four", &loopback(V4, name(&six)?.port())).what("sendto")?;
    let (bytes, from) = receive(&six, 10, 0).what("recvfrom")?;
    same!(
        (bytes, &from.bytes[8..24]),
        (
            b"four".to_vec(),
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 127, 0, 0, 1][..]
        ),
        "a mapped address"
    );
    send_to(&six, b"back", &from).what("sendto to the mapped address")?;
    limit(&four, 5)?;
    same!(
        receive(&four, 10, 0).what("recvfrom")?.0,
        b"back".to_vec(),
        "the answer"
    );
    Ok(())
}

/// A message's parts: one buffer, room for an address and for control data.
struct Message {
    data: Vec<u8>,
    address: Address,
    control: Vec<u64>,
    vector: libc::iovec,
}

impl Message {
    fn new(data: &[u8], address: Address, control_bytes: usize) -> Box<Self> {
        let vector = libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: data.len(),
        };
        let mut message = Box::new(Self {
            data: data.to_vec(),
            address,
            control: vec![0; control_bytes.div_ceil(8)],
            vector,
        });
        message.vector.iov_base = message.data.as_mut_ptr().cast();
        message
    }

    fn header(&mut self) -> libc::msghdr {
        // SAFETY: plain data for which all zeros is a value.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_name = self.address.bytes.as_mut_ptr().cast();
        header.msg_namelen = self.address.length;
        header.msg_iov = &raw mut self.vector;
        header.msg_iovlen = 1;
        header.msg_control = self.control.as_mut_ptr().cast();
        header.msg_controllen = (self.control.len() * 8) as _;
        header
    }

    /// Writes one control message: length, level, type, data (cmsg(3)), and returns its length.
    fn put(&mut self, level: i32, kind: i32, data: &[u8]) -> usize {
        let length = 16 + data.len();
        self.control[0] = length as u64;
        self.control[1] = u64::from(level as u32) | (u64::from(kind as u32) << 32);
        for (n, byte) in data.iter().enumerate() {
            self.control[2 + n / 8] |= u64::from(*byte) << (n % 8 * 8);
        }
        length.div_ceil(8) * 8
    }
}

/// The control messages in a buffer after recvmsg(2): level, type, data.
fn controls(words: &[u64], length: usize) -> Vec<(i32, i32, Vec<u8>)> {
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).take(length).collect();
    let (mut all, mut at) = (Vec::new(), 0);
    let word = |at: usize| i32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    while at + 16 <= bytes.len() {
        let size = word(at) as usize;
        if size < 16 || at + size > bytes.len() {
            break;
        }
        all.push((word(at + 8), word(at + 12), bytes[at + 16..at + size].to_vec()));
        at += size.div_ceil(8) * 8;
    }
    all
}

type Received = (Vec<u8>, Address, Vec<(i32, i32, Vec<u8>)>, i32);

fn receive_message(socket: &Fd) -> Result<Received, String> {
    let mut message = Message::new(
        &[0; 2000],
        Address {
            bytes: [0; 28],
            length: 28,
        },
        256,
    );
    let mut header = message.header();
    let length = sys!(SYS_recvmsg, socket, &raw mut header, 0).what("recvmsg")? as usize;
    let found = controls(&message.control, header.msg_controllen as usize);
    message.address.length = header.msg_namelen;
    Ok((
        message.data[..length].to_vec(),
        message.address,
        found,
        header.msg_flags,
    ))
}

fn many_messages() -> Outcome {
    let (one, two, from, to) = udp_pair(V4)?;
    let mut out: Vec<_> = (0..10_u8).map(|n| Message::new(&[n; 20], to, 0)).collect();
    let mut headers: Vec<libc::mmsghdr> = out
        .iter_mut()
        .map(|m| libc::mmsghdr {
            msg_hdr: m.header(),
            msg_len: 0,
        })
        .collect();
    same!(
        sys!(SYS_sendmmsg, &one, headers.as_mut_ptr(), 10, 0),
        Ok(10),
        "sendmmsg"
    );
    check!(headers.iter().all(|h| h.msg_len == 20), "lengths of what was sent");
    let mut into: Vec<_> = (0..32).map(|_| Message::new(&[0; 100], from, 64)).collect();
    let mut headers: Vec<libc::mmsghdr> = into
        .iter_mut()
        .map(|m| libc::mmsghdr {
            msg_hdr: m.header(),
            msg_len: 0,
        })
        .collect();
    same!(
        sys!(SYS_recvmmsg, &two, headers.as_mut_ptr(), 32, libc::MSG_DONTWAIT, 0),
        Ok(10),
        "recvmmsg"
    );
    for n in 0..10 {
        same!(
            (headers[n].msg_len, into[n].data[0], into[n].address.port()),
            (20, n as u8, from.port()),
            "a message"
        );
    }
    refused(
        "nothing more",
        sys!(SYS_recvmmsg, &two, headers.as_mut_ptr(), 32, libc::MSG_DONTWAIT, 0),
        libc::EAGAIN,
    )
}

fn packet_information_v4() -> Outcome {
    let (one, _, from, _) = udp_pair(V4)?;
    let two = socket(V4, libc::SOCK_DGRAM)?;
    bind(&two, &any(V4)).what("bind")?;
    limit(&two, 5)?;
    set(&two, libc::IPPROTO_IP, libc::IP_PKTINFO, 1).what("IP_PKTINFO")?;
    let to = loopback(V4, name(&two)?.port());
    send_to(&one, b"x", &to).what("sendto")?;
    let (bytes, source, control, flags) = receive_message(&two)?;
    same!(
        (bytes, source.port(), flags & libc::MSG_CTRUNC),
        (b"x".to_vec(), from.port(), 0),
        "the datagram"
    );
    let info = control
        .iter()
        .find(|c| c.0 == libc::IPPROTO_IP && c.1 == libc::IP_PKTINFO)
        .ok_or("no IP_PKTINFO came")?;
    // in_pktinfo: interface, local address, address in the header.
    same!(
        (info.2.len(), &info.2[8..12]),
        (12, &[127, 0, 0, 1][..]),
        "the address it was sent to"
    );
    // Sending from a chosen address.
    let mut answer = Message::new(b"back", source, 64);
    let used = answer.put(
        libc::IPPROTO_IP,
        libc::IP_PKTINFO,
        &[0, 0, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0],
    );
    let mut header = answer.header();
    header.msg_controllen = used as _;
    same!(
        sys!(SYS_sendmsg, &two, &raw const header, 0),
        Ok(4),
        "sendmsg with IP_PKTINFO"
    );
    same!(receive(&one, 10, 0).what("recvfrom")?.0, b"back".to_vec(), "the answer");
    Ok(())
}

fn packet_information_v6() -> Outcome {
    let (one, _, from, _) = udp_pair(V6)?;
    let two = socket(V6, libc::SOCK_DGRAM)?;
    bind(&two, &any(V6)).what("bind")?;
    limit(&two, 5)?;
    set(&two, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1).what("IPV6_RECVPKTINFO")?;
    send_to(&one, b"x", &loopback(V6, name(&two)?.port())).what("sendto")?;
    let (_, source, control, _) = receive_message(&two)?;
    same!(source.port(), from.port(), "sender");
    let info = control
        .iter()
        .find(|c| c.0 == libc::IPPROTO_IPV6 && c.1 == libc::IPV6_PKTINFO)
        .ok_or("no IPV6_PKTINFO came")?;
    same!((info.2.len(), info.2[15]), (20, 1), "the address it was sent to");
    Ok(())
}

fn type_of_service() -> Outcome {
    let (one, two, _, to) = udp_pair(V4)?;
    set(&two, libc::IPPROTO_IP, libc::IP_RECVTOS, 1).what("IP_RECVTOS")?;
    let mut message = Message::new(b"ecn", to, 64);
    let used = message.put(libc::IPPROTO_IP, libc::IP_TOS, &2_i32.to_ne_bytes());
    let mut header = message.header();
    header.msg_controllen = used as _;
    same!(
        sys!(SYS_sendmsg, &one, &raw const header, 0),
        Ok(3),
        "sendmsg with IP_TOS"
    );
    let (_, _, control, _) = receive_message(&two)?;
    let tos = control
        .iter()
        .find(|c| c.0 == libc::IPPROTO_IP && c.1 == libc::IP_TOS)
        .ok_or("no IP_TOS came")?;
    same!(tos.2, [2], "one byte with the congestion mark");
    Ok(())
}

/// UDP_SEGMENT and UDP_GRO, udp(7).
const SOL_UDP: i32 = 17;
const UDP_SEGMENT: i32 = 103;
const UDP_GRO: i32 = 104;

fn segmentation_is_honest() -> Outcome {
    // Either the kernel cuts, or it says that it does not: a false success would corrupt QUIC.
    let (one, two, _, to) = udp_pair(V4)?;
    match set(&one, SOL_UDP, UDP_SEGMENT, 1000) {
        Err(Errno(libc::ENOPROTOOPT)) => {
            let mut message = Message::new(&[7; 2500], to, 64);
            let used = message.put(SOL_UDP, UDP_SEGMENT, &1000_u16.to_ne_bytes());
            let mut header = message.header();
            header.msg_controllen = used as _;
            refused(
                "UDP_SEGMENT in a message",
                sys!(SYS_sendmsg, &one, &raw const header, 0),
                libc::EINVAL,
            )?;
        }
        other => {
            other.what("UDP_SEGMENT")?;
            same!(send_to(&one, &[7; 2500], &to), Ok(2500), "a burst");
            for want in [1000, 1000, 500] {
                same!(receive(&two, 5000, 0).what("recvfrom")?.0.len(), want, "a segment");
            }
        }
    }
    match set(&two, SOL_UDP, UDP_GRO, 1) {
        Ok(_) | Err(Errno(libc::ENOPROTOOPT)) => Ok(()),
        Err(e) => Err(format!("UDP_GRO: {e}")),
    }
}

fn listener(family: i32, backlog: i32) -> Result<(Fd, Address), String> {
    let listener = socket(family, libc::SOCK_STREAM)?;
    bind(&listener, &loopback(family, 0)).what("bind")?;
    sys!(SYS_listen, &listener, backlog).what("listen")?;
    let address = name(&listener)?;
    Ok((listener, address))
}

fn accept(listener: &Fd) -> Result<(Fd, Address), Errno> {
    let mut from = Address {
        bytes: [0; 28],
        length: 28,
    };
    let number = sys!(
        SYS_accept4,
        listener,
        from.bytes.as_mut_ptr(),
        &raw mut from.length,
        libc::SOCK_CLOEXEC
    )?;
    Ok((Fd(number as i32), from))
}

/// Two connected ends.
fn tcp_pair(family: i32) -> Result<(Fd, Fd), String> {
    let (listener, to) = listener(family, 1)?;
    let one = socket(family, libc::SOCK_STREAM)?;
    connect(&one, &to).what("connect")?;
    let (two, from) = accept(&listener).what("accept4")?;
    same!(
        (from, peer(&one).what("getpeername")?),
        (name(&one)?, to),
        "addresses of both ends"
    );
    limit(&one, 10)?;
    limit(&two, 10)?;
    Ok((one, two))
}

fn tcp(family: i32) -> Outcome {
    let (one, two) = tcp_pair(family)?;
    same!(write(&one, b"question"), Ok(8), "write");
    same!(read(&two, 100).what("read")?, b"question".to_vec(), "read");
    write(&two, b"answer").what("write")?;
    same!(read(&one, 3).what("read")?, b"ans".to_vec(), "part of it");
    same!(read(&one, 100).what("read")?, b"wer".to_vec(), "the rest");
    drop(two);
    same!(read(&one, 10).what("read")?, Vec::<u8>::new(), "the end");
    Ok(())
}

fn tcp_v4() -> Outcome {
    tcp(V4)
}

fn tcp_v6() -> Outcome {
    tcp(V6)
}

fn tcp_large() -> Outcome {
    const BYTES: usize = 4 << 20;
    let (one, two) = tcp_pair(V4)?;
    let pid = child(|| {
        let data: Vec<u8> = (0..BYTES).map(|n| (n % 241) as u8).collect();
        let mut rest = &data[..];
        while !rest.is_empty() {
            let Ok(n) = write(&one, rest) else { return 1 };
            rest = &rest[n..];
        }
        0
    })?;
    drop(one);
    let mut at = 0;
    loop {
        let part = read(&two, 50_000).what("read")?;
        if part.is_empty() {
            break;
        }
        for byte in part {
            check!(usize::from(byte) == at % 241, "byte {at} is wrong");
            at += 1;
        }
    }
    same!((at, wait(pid, 0).what("wait4")?), (BYTES, Ended::Exit(0)), "4 MiB");
    Ok(())
}

fn tcp_half_close() -> Outcome {
    let (one, two) = tcp_pair(V4)?;
    write(&one, b"last words").what("write")?;
    sys!(SYS_shutdown, &one, libc::SHUT_WR).what("shutdown")?;
    same!(
        read(&two, 100).what("read")?,
        b"last words".to_vec(),
        "what was sent before"
    );
    same!(read(&two, 100).what("read")?, Vec::<u8>::new(), "the end");
    write(&two, b"still here").what("write the other way")?;
    same!(read(&one, 100).what("read")?, b"still here".to_vec(), "the other way");
    // SAFETY: SIGPIPE is ignored from here on.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    refused("write after SHUT_WR", write(&one, b"x"), libc::EPIPE)?;
    refused(
        "shutdown without a connection",
        sys!(SYS_shutdown, &socket(V4, libc::SOCK_STREAM)?, libc::SHUT_WR),
        libc::ENOTCONN,
    )
}

fn tcp_nonblocking_connect() -> Outcome {
    let (listener, to) = listener(V4, 5)?;
    let one = socket(V4, libc::SOCK_STREAM | libc::SOCK_NONBLOCK)?;
    let first = connect(&one, &to);
    check!(
        matches!(first, Ok(0) | Err(Errno(libc::EINPROGRESS))),
        "connect: {first:?}"
    );
    let mut poll = [libc::pollfd {
        fd: one.0,
        events: libc::POLLOUT,
        revents: 0,
    }];
    let time = libc::timespec { tv_sec: 5, tv_nsec: 0 };
    same!(
        sys!(SYS_ppoll, poll.as_mut_ptr(), 1, &raw const time, 0, 8),
        Ok(1),
        "ppoll"
    );
    same!(
        (poll[0].revents, get(&one, libc::SOL_SOCKET, libc::SO_ERROR)),
        (libc::POLLOUT, Ok(0)),
        "connected"
    );
    if first == Err(Errno(libc::EINPROGRESS)) {
        same!(connect(&one, &to), Ok(0), "connect again tells of the success, once");
    }
    refused("connect a third time", connect(&one, &to), libc::EISCONN)?;
    let (two, _) = accept(&listener).what("accept4")?;
    refused("read of nothing", read(&one, 1), libc::EAGAIN)?;
    write(&two, b"x").what("write")?;
    sleep_ms(20);
    same!(read(&one, 10).what("read")?, b"x".to_vec(), "data");
    sys!(SYS_fcntl, &listener, libc::F_SETFL, libc::O_NONBLOCK).what("F_SETFL")?;
    refused("accept of nobody", accept(&listener).map(|_| ()), libc::EAGAIN)
}

fn tcp_refused() -> Outcome {
    for family in [V4, V6] {
        let (closed, to) = listener(family, 1)?;
        drop(closed);
        refused(
            "connect to a closed port",
            connect(&socket(family, libc::SOCK_STREAM)?, &to),
            libc::ECONNREFUSED,
        )?;
        let one = socket(family, libc::SOCK_STREAM | libc::SOCK_NONBLOCK)?;
        let first = connect(&one, &to);
        if first == Err(Errno(libc::EINPROGRESS)) {
            let mut poll = [libc::pollfd {
                fd: one.0,
                events: libc::POLLOUT,
                revents: 0,
            }];
            let time = libc::timespec { tv_sec: 5, tv_nsec: 0 };
            same!(
                sys!(SYS_ppoll, poll.as_mut_ptr(), 1, &raw const time, 0, 8),
                Ok(1),
                "ppoll"
            );
            check!(poll[0].revents & libc::POLLERR != 0, "events {:x}", poll[0].revents);
            same!(
                get(&one, libc::SOL_SOCKET, libc::SO_ERROR),
                Ok(libc::ECONNREFUSED),
                "SO_ERROR"
            );
            same!(
                get(&one, libc::SOL_SOCKET, libc::SO_ERROR),
                Ok(0),
                "SO_ERROR is taken once"
            );
        } else {
            refused("nonblocking connect", first, libc::ECONNREFUSED)?;
        }
    }
    Ok(())
}

fn tcp_reset() -> Outcome {
    let (one, two) = tcp_pair(V4)?;
    // SO_LINGER with no time: close sends a reset, socket(7).
    let linger = [1_i32, 0];
    sys!(
        SYS_setsockopt,
        &two,
        libc::SOL_SOCKET,
        libc::SO_LINGER,
        linger.as_ptr(),
        8
    )
    .what("SO_LINGER")?;
    drop(two);
    sleep_ms(20);
    refused("read after a reset", read(&one, 10), libc::ECONNRESET)?;
    same!(
        read(&one, 10).what("read again")?,
        Vec::<u8>::new(),
        "the error is told once"
    );
    Ok(())
}

fn tcp_many() -> Outcome {
    let (listener, to) = listener(V4, 64)?;
    let mut ends = Vec::new();
    for n in 0..40_u8 {
        let one = socket(V4, libc::SOCK_STREAM)?;
        connect(&one, &to).what("connect")?;
        write(&one, &[n]).what("write")?;
        ends.push(one);
    }
    for one in &ends {
        let (two, from) = accept(&listener).what("accept4")?;
        same!(from, name(one)?, "in the order they came");
        let byte = read(&two, 1).what("read")?;
        write(&two, &byte).what("write")?;
    }
    for (n, one) in ends.iter().enumerate() {
        same!(read(one, 1).what("read")?, vec![n as u8], "the echo");
    }
    Ok(())
}

fn tcp_poll() -> Outcome {
    let (one, two) = tcp_pair(V4)?;
    let events = |of: &Fd| {
        let wanted = libc::POLLIN | libc::POLLOUT | libc::POLLRDHUP;
        let mut poll = [libc::pollfd {
            fd: of.0,
            events: wanted,
            revents: 0,
        }];
        let none = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        sys!(SYS_ppoll, poll.as_mut_ptr(), 1, &raw const none, 0, 8)
            .what("ppoll")
            .map(|_| poll[0].revents)
    };
    same!(events(&one)?, libc::POLLOUT, "connected");
    write(&two, b"x").what("write")?;
    sleep_ms(10);
    same!(events(&one)?, libc::POLLOUT | libc::POLLIN, "data");
    sys!(SYS_shutdown, &two, libc::SHUT_WR).what("shutdown")?;
    sleep_ms(10);
    same!(
        events(&one)?,
        libc::POLLOUT | libc::POLLIN | libc::POLLRDHUP,
        "the other side's end"
    );
    sys!(SYS_shutdown, &one, libc::SHUT_WR).what("shutdown")?;
    sleep_ms(10);
    check!(events(&one)? & libc::POLLHUP != 0, "both sides ended");
    Ok(())
}

fn addresses() -> Outcome {
    let one = socket(V4, libc::SOCK_DGRAM)?;
    same!(name(&one)?, any(V4), "an unbound socket");
    bind(&one, &any(V4)).what("bind")?;
    check!(name(&one)?.port() >= 1024, "a port of its own: {}", name(&one)?.port());
    let (mut bytes, mut length) = ([0_u8; 28], 4_u32);
    sys!(SYS_getsockname, &one, bytes.as_mut_ptr(), &raw mut length).what("getsockname")?;
    same!(
        (length, bytes[4..].iter().all(|&b| b == 0)),
        (16, true),
        "a short buffer is filled and the length is told"
    );
    Ok(())
}

fn bind_errors() -> Outcome {
    let (one, two) = (socket(V4, libc::SOCK_DGRAM)?, socket(V4, libc::SOCK_DGRAM)?);
    bind(&one, &loopback(V4, 0)).what("bind")?;
    refused("a taken port", bind(&two, &name(&one)?), libc::EADDRINUSE)?;
    refused("bound already", bind(&one, &loopback(V4, 0)), libc::EINVAL)?;
    let mut foreign = loopback(V4, 0);
    foreign.bytes[4..8].copy_from_slice(&[8, 8, 8, 8]);
    refused("an address that is not ours", bind(&two, &foreign), libc::EADDRNOTAVAIL)?;
    refused(
        "too short an address",
        sys!(SYS_bind, &two, foreign.bytes.as_ptr(), 3),
        libc::EINVAL,
    )?;
    refused("another family", bind(&two, &loopback(V6, 0)), libc::EAFNOSUPPORT)?;
    let (listening, at) = listener(V4, 1)?;
    let again = socket(V4, libc::SOCK_STREAM)?;
    refused("a port that is listened on", bind(&again, &at), libc::EADDRINUSE)?;
    drop(listening);
    let how = crate::sys::in_child(|| {
        let _ = sys!(SYS_setresuid, 1000, 1000, 1000);
        let mut low = loopback(V4, 80);
        low.bytes[4] = 127;
        bind(&two, &low).err().map_or(0, |e| e.0)
    })?;
    same!(how, Ended::Exit(libc::EACCES), "a port below 1024 for a user");
    Ok(())
}

fn socket_errors() -> Outcome {
    let new = |family: i32, kind: i32, protocol: i32| {
        sys!(SYS_socket, family, kind, protocol)
            .map(|n| Fd(n as i32))
            .map(|_| ())
    };
    refused("an unknown family", new(200, libc::SOCK_STREAM, 0), libc::EAFNOSUPPORT)?;
    refused("an unknown kind", new(V4, 9, 0), libc::ESOCKTNOSUPPORT)?;
    refused("a kind that cannot be", new(V4, 15, 0), libc::EINVAL)?;
    refused(
        "a protocol of another kind",
        new(V4, libc::SOCK_STREAM, libc::IPPROTO_UDP),
        libc::EPROTONOSUPPORT,
    )?;
    same!(
        new(V4, libc::SOCK_DGRAM, libc::IPPROTO_UDP),
        Ok(()),
        "by its own protocol"
    );
    let null = crate::sys::open("/dev/null", libc::O_RDWR, 0).what("open")?;
    refused("bind of a file", bind(&null, &loopback(V4, 0)), libc::ENOTSOCK)?;
    refused(
        "listen on a datagram socket",
        sys!(SYS_listen, &socket(V4, libc::SOCK_DGRAM)?, 1),
        libc::EOPNOTSUPP,
    )?;
    refused(
        "accept without listen",
        accept(&socket(V4, libc::SOCK_STREAM)?).map(|_| ()),
        libc::EINVAL,
    )?;
    refused(
        "a nonsense flag",
        new(V4, libc::SOCK_STREAM | 0x10_0000, 0),
        libc::EINVAL,
    )
}

fn options() -> Outcome {
    let (tcp, udp) = (socket(V4, libc::SOCK_STREAM)?, socket(V4, libc::SOCK_DGRAM)?);
    let of = |socket: &Fd, option: i32| get(socket, libc::SOL_SOCKET, option);
    same!(
        (of(&tcp, libc::SO_TYPE), of(&udp, libc::SO_TYPE)),
        (Ok(libc::SOCK_STREAM), Ok(libc::SOCK_DGRAM)),
        "SO_TYPE"
    );
    same!(
        (of(&tcp, libc::SO_DOMAIN), of(&tcp, libc::SO_PROTOCOL)),
        (Ok(V4), Ok(libc::IPPROTO_TCP)),
        "family, protocol"
    );
    for option in [libc::SO_REUSEADDR, libc::SO_BROADCAST, libc::SO_KEEPALIVE] {
        set(&tcp, libc::SOL_SOCKET, option, 1).what("set")?;
        same!(of(&tcp, option), Ok(1), "a switch that was set");
    }
    set(&udp, libc::SOL_SOCKET, libc::SO_RCVBUF, 50_000).what("SO_RCVBUF")?;
    check!(
        of(&udp, libc::SO_RCVBUF).is_ok_and(|n| n >= 50_000),
        "SO_RCVBUF is {:?}",
        of(&udp, libc::SO_RCVBUF)
    );
    set(&tcp, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1).what("TCP_NODELAY")?;
    same!(get(&tcp, libc::IPPROTO_TCP, libc::TCP_NODELAY), Ok(1), "TCP_NODELAY");
    let (listening, _) = listener(V4, 1)?;
    same!(
        (of(&listening, libc::SO_ACCEPTCONN), of(&tcp, libc::SO_ACCEPTCONN)),
        (Ok(1), Ok(0)),
        "SO_ACCEPTCONN"
    );
    let six = socket(V6, libc::SOCK_DGRAM)?;
    set(&six, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1).what("IPV6_V6ONLY")?;
    same!(get(&six, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY), Ok(1), "IPV6_V6ONLY");
    Ok(())
}

fn unknown_options() -> Outcome {
    let udp = socket(V4, libc::SOCK_DGRAM)?;
    refused(
        "an unknown socket option",
        set(&udp, libc::SOL_SOCKET, 9999, 1),
        libc::ENOPROTOOPT,
    )?;
    refused("to read it", get(&udp, libc::SOL_SOCKET, 9999), libc::ENOPROTOOPT)?;
    refused(
        "an unknown IP option",
        set(&udp, libc::IPPROTO_IP, 9999, 1),
        libc::ENOPROTOOPT,
    )?;
    refused("an unknown UDP option", set(&udp, SOL_UDP, 9999, 1), libc::ENOPROTOOPT)?;
    refused(
        "too short a value",
        sys!(
            SYS_setsockopt,
            &udp,
            libc::SOL_SOCKET,
            libc::SO_REUSEADDR,
            [1_u8].as_ptr(),
            1
        ),
        libc::EINVAL,
    )?;
    refused(
        "a value nowhere",
        sys!(SYS_setsockopt, &udp, libc::SOL_SOCKET, libc::SO_REUSEADDR, 8, 4),
        libc::EFAULT,
    )
}

fn receive_time_out() -> Outcome {
    let (one, _two, ..) = udp_pair(V4)?;
    let time = [0_u64, 50_000];
    sys!(
        SYS_setsockopt,
        &one,
        libc::SOL_SOCKET,
        libc::SO_RCVTIMEO,
        time.as_ptr(),
        16
    )
    .what("SO_RCVTIMEO")?;
    let start = crate::sys::now_ns(libc::CLOCK_MONOTONIC);
    refused("recvfrom", receive(&one, 1, 0), libc::EAGAIN)?;
    let took_ms = (crate::sys::now_ns(libc::CLOCK_MONOTONIC) - start) / 1_000_000;
    check!((50..2000).contains(&took_ms), "50 ms took {took_ms} ms");
    Ok(())
}

fn nonblocking() -> Outcome {
    let one = socket(V4, libc::SOCK_DGRAM | libc::SOCK_NONBLOCK)?;
    bind(&one, &loopback(V4, 0)).what("bind")?;
    refused("recvfrom", receive(&one, 1, 0), libc::EAGAIN)?;
    refused("read", read(&one, 1), libc::EAGAIN)?;
    let (one, _two) = tcp_pair(V4)?;
    refused("MSG_DONTWAIT", receive(&one, 1, libc::MSG_DONTWAIT), libc::EAGAIN)?;
    sys!(SYS_fcntl, &one, libc::F_SETFL, libc::O_NONBLOCK).what("F_SETFL")?;
    let mut total = 0;
    let end = loop {
        match write(&one, &[0; 65536]) {
            Ok(n) => total += n,
            Err(e) => break e,
        }
        check!(total < 100 << 20, "a connection that nobody reads takes all");
    };
    same!(end.0, libc::EAGAIN, "a full connection");
    Ok(())
}

fn message_errors() -> Outcome {
    let (one, _two, _, to) = udp_pair(V4)?;
    refused("sendmsg from nowhere", sys!(SYS_sendmsg, &one, 8, 0), libc::EFAULT)?;
    let mut message = Message::new(b"x", to, 64);
    // A control message that says it is longer than its room.
    message.put(libc::IPPROTO_IP, libc::IP_TOS, &1_i32.to_ne_bytes());
    message.control[0] = 1000;
    let header = message.header();
    refused(
        "a control message that is too long",
        sys!(SYS_sendmsg, &one, &raw const header, 0),
        libc::EINVAL,
    )?;
    let mut message = Message::new(b"x", to, 0);
    let mut header = message.header();
    header.msg_iovlen = 2000;
    refused(
        "too many parts",
        sys!(SYS_sendmsg, &one, &raw const header, 0),
        libc::EMSGSIZE,
    )?;
    refused(
        "MSG_OOB of a datagram",
        sys!(SYS_sendto, &one, b"x".as_ptr(), 1, libc::MSG_OOB, to.bytes.as_ptr(), 16),
        libc::EOPNOTSUPP,
    )
}

fn edge_epoll_udp() -> Outcome {
    let (one, two, _, to) = udp_pair(V4)?;
    sys!(SYS_fcntl, &two, libc::F_SETFL, libc::O_NONBLOCK).what("F_SETFL")?;
    let epoll = fd(sys!(SYS_epoll_create1, 0), "epoll_create1")?;
    let events = (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLET | libc::EPOLLRDHUP) as u32;
    let event = libc::epoll_event { events, u64: 1 };
    sys!(SYS_epoll_ctl, &epoll, libc::EPOLL_CTL_ADD, &two, &raw const event).what("epoll_ctl")?;
    let wait = |timeout: i32| {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        sys!(SYS_epoll_pwait, &epoll, &raw mut event, 1, timeout, 0, 8).map(|n| (n, event.events))
    };
    same!(wait(0), Ok((1, libc::EPOLLOUT as u32)), "room to send");
    for round in 0..3 {
        send_to(&one, b"x", &to).what("sendto")?;
        let seen = wait(2000);
        check!(
            seen.is_ok_and(|(n, e)| n == 1 && e & libc::EPOLLIN as u32 != 0),
            "datagram {round}: {seen:?}"
        );
        while receive(&two, 10, 0).is_ok() {}
    }
    same!(wait(0).map(|(n, _)| n), Ok(0), "nothing new");
    Ok(())
}

fn interfaces() -> Outcome {
    let socket = socket(V4, libc::SOCK_DGRAM)?;
    let mut request = [0_u8; 40];
    request[..2].copy_from_slice(b"lo");
    sys!(SYS_ioctl, &socket, libc::SIOCGIFFLAGS, request.as_mut_ptr()).what("SIOCGIFFLAGS")?;
    let flags = i32::from(u16::from_ne_bytes([request[16], request[17]]));
    let want = libc::IFF_UP | libc::IFF_LOOPBACK | libc::IFF_RUNNING;
    same!(flags & want, want, "the loopback's flags");
    sys!(SYS_ioctl, &socket, libc::SIOCGIFADDR, request.as_mut_ptr()).what("SIOCGIFADDR")?;
    same!(request[20..24], [127, 0, 0, 1], "its address");
    request[..16].fill(0);
    request[..4].copy_from_slice(b"nope");
    refused(
        "an interface that is not there",
        sys!(SYS_ioctl, &socket, libc::SIOCGIFFLAGS, request.as_mut_ptr()),
        libc::ENODEV,
    )
}
