//! One TCP connection over smoltcp.
//!
//! smoltcp's interface looks at every socket for every packet; here each connection has an interface of its own with
//! one socket, on an imaginary point-to-point link (`Medium::Ip`) whose packets are handed in and out. Who gets a
//! packet is decided outside, in constant time, and a connection costs nothing while others work.

use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use smoltcp::iface::{Config as IfaceConfig, Interface, SocketHandle, SocketSet, SocketStorage};
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, IpEndpoint, IpListenEndpoint};

use crate::packet::ETHERNET;

pub use smoltcp::socket::tcp::State;

/// Packets that one call may make.
const BURST: usize = 64;

/// How a connection is set up.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Our end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// Bytes of the receive buffer.
    pub receive_bytes: usize,
    /// Bytes of the send buffer.
    pub send_bytes: usize,
    /// Bytes of the largest packet, IP header included.
    pub mtu: usize,
    /// Random, for the initial sequence number.
    pub seed: u64,
}

/// A connection.
pub struct Connection {
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    local: SocketAddr,
    remote: SocketAddr,
    mtu: usize,
}

impl core::fmt::Debug for Connection {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} -> {} {}", self.local, self.remote, self.state())
    }
}

/// Packets made by a connection: IP packets with room for an Ethernet header in front.
pub type Packets = Vec<Vec<u8>>;

struct Link<'a> {
    incoming: Option<&'a [u8]>,
    outgoing: &'a mut Packets,
    mtu: usize,
}

struct Incoming<'a>(&'a [u8]);
struct Outgoing<'a>(&'a mut Packets);

impl RxToken for Incoming<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

impl TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; ETHERNET + len];
        let out = f(frame.get_mut(ETHERNET..).unwrap_or_default());
        self.0.push(frame);
        out
    }
}

impl Device for Link<'_> {
    type RxToken<'a>
        = Incoming<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = Outgoing<'a>
    where
        Self: 'a;

    fn receive(&mut self, _now: Instant) -> Option<(Incoming<'_>, Outgoing<'_>)> {
        let packet = self.incoming.take()?;
        Some((Incoming(packet), Outgoing(self.outgoing)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Outgoing<'_>> {
        (self.outgoing.len() < BURST).then_some(Outgoing(self.outgoing))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut caps = DeviceCapabilities::default();
        caps.medium = Medium::Ip;
        caps.max_transmission_unit = self.mtu;
        // Whoever hands packets in has checked them.
        caps.checksum.ipv4 = Checksum::Tx;
        caps.checksum.tcp = Checksum::Tx;
        caps
    }
}

fn at(ns: u64) -> Instant {
    Instant::from_micros(i64::try_from(ns / 1000).unwrap_or(i64::MAX))
}

/// A buffer of zeros; `None` without memory.
fn zeros(len: usize) -> Option<Vec<u8>> {
    let mut v = Vec::new();
    v.try_reserve_exact(len).ok()?;
    v.resize(len, 0);
    Some(v)
}

fn endpoint(a: SocketAddr) -> IpEndpoint {
    let addr = match a.ip() {
        IpAddr::V4(a) => IpAddress::Ipv4(a),
        IpAddr::V6(a) => IpAddress::Ipv6(a),
    };
    IpEndpoint { addr, port: a.port() }
}

impl Connection {
    fn new(setup: &Setup, now_ns: u64) -> Option<Self> {
        let mut config = IfaceConfig::new(HardwareAddress::Ip);
        config.random_seed = setup.seed;
        let mut none = Packets::new();
        let mut link = Link {
            incoming: None,
            outgoing: &mut none,
            mtu: setup.mtu,
        };
        let mut interface = Interface::new(config, &mut link, at(now_ns));
        interface.update_ip_addrs(|addrs| {
            // A prefix of 0 bits: everything is on the link, so no routes are needed here.
            let _ = addrs.push(IpCidr::new(endpoint(setup.local).addr, 0));
        });
        let rx = tcp::SocketBuffer::new(zeros(setup.receive_bytes)?);
        let tx = tcp::SocketBuffer::new(zeros(setup.send_bytes)?);
        let mut socket = tcp::Socket::new(rx, tx);
        socket.set_congestion_control(tcp::CongestionControl::Reno);
        let mut sockets = SocketSet::new(vec![SocketStorage::EMPTY]);
        let handle = sockets.add(socket);
        Some(Self {
            interface,
            sockets,
            handle,
            local: setup.local,
            remote: setup.remote,
            mtu: setup.mtu,
        })
    }

    /// Starts to connect: the SYN is among the packets of the next [`Self::poll`]. `None` for addresses that cannot be
    /// connected (unspecified, port 0, two families), and without memory.
    pub fn connect(setup: &Setup, now_ns: u64) -> Option<Self> {
        let mut c = Self::new(setup, now_ns)?;
        let socket = c.sockets.get_mut::<tcp::Socket<'_>>(c.handle);
        socket
            .connect(c.interface.context(), endpoint(setup.remote), endpoint(setup.local))
            .ok()?;
        Some(c)
    }

    /// Waits for the SYN that the caller hands in next. `None` without memory.
    pub fn accept(setup: &Setup, now_ns: u64) -> Option<Self> {
        let mut c = Self::new(setup, now_ns)?;
        let local = endpoint(setup.local);
        let listen = IpListenEndpoint {
            addr: Some(local.addr),
            port: local.port,
        };
        c.socket_mut().listen(listen).ok()?;
        Some(c)
    }

    fn socket(&self) -> &tcp::Socket<'static> {
        self.sockets.get(self.handle)
    }

    fn socket_mut(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    /// Our end.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The other end.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Where it is in its life.
    pub fn state(&self) -> State {
        self.socket().state()
    }

    /// Takes an IP packet of this connection, whose checksums hold, in; what it answers
    /// at once is added to `out`; [`Self::poll`] sends the rest.
    pub fn process(&mut self, now_ns: u64, packet: &[u8], out: &mut Packets) {
        let mut link = Link {
            incoming: Some(packet),
            outgoing: out,
            mtu: self.mtu,
        };
        self.interface
            .poll_ingress_single(at(now_ns), &mut link, &mut self.sockets);
    }

    /// Sends what is due now: data, acknowledgements, retransmissions. A bounded number of packets is added to `out`.
    pub fn poll(&mut self, now_ns: u64, out: &mut Packets) {
        let end = out.len() + BURST;
        let mut link = Link {
            incoming: None,
            outgoing: out,
            mtu: self.mtu,
        };
        while link.outgoing.len() < end {
            let before = link.outgoing.len();
            self.interface.poll_egress(at(now_ns), &mut link, &mut self.sockets);
            if link.outgoing.len() == before {
                break;
            }
        }
    }

    /// When [`Self::poll`] is due next; `None`: only a packet or a call changes anything.
    pub fn next_ns(&mut self, now_ns: u64) -> Option<u64> {
        let due = self.interface.poll_at(at(now_ns), &self.sockets)?;
        Some(
            u64::try_from(due.total_micros())
                .unwrap_or(0)
                .saturating_mul(1000)
                .max(now_ns),
        )
    }

    /// Bytes that can be received now.
    pub fn readable(&self) -> usize {
        self.socket().recv_queue()
    }

    /// Whether data may still come (or is here).
    pub fn may_receive(&self) -> bool {
        self.socket().may_recv()
    }

    /// Bytes that can be sent now; 0 also when nothing may be sent any more.
    pub fn writable(&self) -> usize {
        let s = self.socket();
        if s.may_send() {
            s.send_capacity() - s.send_queue()
        } else {
            0
        }
    }

    /// Whether data may (still) be sent.
    pub fn may_send(&self) -> bool {
        self.socket().may_send()
    }

    /// Bytes sent or waiting that the other end has not acknowledged.
    pub fn unacknowledged(&self) -> usize {
        self.socket().send_queue()
    }

    /// Takes data to send; answers how much.
    pub fn send(&mut self, data: &[u8]) -> usize {
        self.socket_mut().send_slice(data).unwrap_or(0)
    }

    /// Copies received data without taking it; answers how much.
    pub fn peek(&mut self, out: &mut [u8]) -> usize {
        self.socket_mut().peek_slice(out).unwrap_or(0)
    }

    /// Takes `n` bytes of received data.
    pub fn consume(&mut self, n: usize) {
        let mut left = n;
        while left > 0 {
            let step = self.socket_mut().recv(|b| {
                let step = b.len().min(left);
                (step, step)
            });
            match step {
                Ok(step) if step > 0 => left -= step,
                _ => return,
            }
        }
    }

    /// Ends our direction (FIN after what waits).
    pub fn close(&mut self) {
        self.socket_mut().close();
    }

    /// Ends both directions at once (RST).
    pub fn abort(&mut self) {
        self.socket_mut().abort();
    }

    /// TCP_NODELAY.
    pub fn set_no_delay(&mut self, on: bool) {
        self.socket_mut().set_nagle_enabled(!on);
    }

    /// Asks the other end for a sign of life after this much silence.
    pub fn set_keep_alive_ns(&mut self, interval_ns: Option<u64>) {
        self.socket_mut()
            .set_keep_alive(interval_ns.map(|ns| Duration::from_micros(ns / 1000)));
    }

    /// TTL or hop limit.
    pub fn set_hop_limit(&mut self, hops: u8) {
        self.socket_mut().set_hop_limit(Some(hops.max(1)));
    }

    /// Whether it is over and can be forgotten (the last packet has been made).
    pub fn is_over(&self) -> bool {
        self.state() == State::Closed && self.socket().local_endpoint().is_none()
    }
}

#[cfg(test)]
mod tests;
