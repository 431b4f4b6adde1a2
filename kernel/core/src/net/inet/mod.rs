//! AF_INET and AF_INET6.
//!
//! Inside, IPv4 addresses are IPv4 addresses; an AF_INET6 socket maps them (`::ffff:a.b.c.d`) when it shows them.

pub(crate) mod connections;
pub(crate) mod listener;
pub(crate) mod options;
pub(crate) mod raw;
pub(crate) mod tcp;
pub(crate) mod udp;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use sis_netstack::packet::{self, TCP, UDP};
use sis_netstack::sockaddr::{AF_INET, AF_INET6, SockAddr, as_v6, canonical};

use super::socket::Common;
use super::stack::Stack;
use crate::process::cred::Capability;
use crate::process::thread;
use crate::{Errno, Result};

/// Ports below this need CAP_NET_BIND_SERVICE.
const PRIVILEGED: u16 = 1024;

/// A program's address for a socket, IPv4 unmapped.
fn inside(common: &Common, addr: &SockAddr, is_v6_only: bool) -> Result<SocketAddr> {
    match (addr, common.family) {
        (SockAddr::Inet(a @ SocketAddr::V4(_)), AF_INET) => Ok(*a),
        (SockAddr::Inet(a @ SocketAddr::V6(_)), AF_INET6) => {
            let c = canonical(*a);
            if is_v6_only && c.is_ipv4() {
                return Err(Errno::ENETUNREACH);
            }
            Ok(without_extras(c))
        }
        // An AF_INET6 socket that may carry IPv4 takes IPv4 addresses for sending (as Linux does).
        (SockAddr::Inet(a @ SocketAddr::V4(_)), AF_INET6) if !is_v6_only => Ok(*a),
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

/// Without flow label and scope, so that addresses compare.
fn without_extras(a: SocketAddr) -> SocketAddr {
    SocketAddr::new(a.ip(), a.port())
}

/// The scope (interface) that a link-local address names; 0 for none.
fn scope_of(addr: &SockAddr) -> u32 {
    match addr {
        SockAddr::Inet(SocketAddr::V6(a)) => a.scope_id(),
        _ => 0,
    }
}

/// How a socket shows an address. Link-local addresses get the interface as their scope.
fn outside(common: &Common, addr: SocketAddr, iface: u32) -> SockAddr {
    if common.family != AF_INET6 {
        return SockAddr::Inet(addr);
    }
    let mut shown = as_v6(addr);
    if let SocketAddr::V6(a) = &mut shown
        && a.ip().segments().first().is_some_and(|s| s & 0xffc0 == 0xfe80)
    {
        a.set_scope_id(iface);
    }
    SockAddr::Inet(shown)
}

/// The wildcard address of a socket's family.
fn any(common: &Common) -> IpAddr {
    if common.family == AF_INET6 {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    }
}

/// "This host" as a destination means the loopback.
fn reachable(addr: SocketAddr) -> SocketAddr {
    match addr.ip() {
        IpAddr::V4(a) if a.is_unspecified() => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), addr.port()),
        IpAddr::V6(a) if a.is_unspecified() => SocketAddr::new(Ipv6Addr::LOCALHOST.into(), addr.port()),
        _ => addr,
    }
}

/// Whether the running thread may bind `port`.
fn may_bind_port(port: u16) -> Result<()> {
    let is_allowed = port == 0
        || port >= PRIVILEGED
        || thread::try_current().is_none_or(|t| t.cred().has(Capability::NetBindService));
    if is_allowed { Ok(()) } else { Err(Errno::EACCES) }
}

/// What an ICMP "destination unreachable" code (IPv4) means to a socket (icmp(7)).
pub(crate) fn errno_of_icmp(code: u8) -> Errno {
    match code {
        0 | 5 | 6 | 8 | 11 => Errno::ENETUNREACH,
        2 => Errno::ENOPROTOOPT,
        3 => Errno::ECONNREFUSED,
        4 => Errno::EMSGSIZE,
        _ => Errno::EHOSTUNREACH,
    }
}

/// An ICMP error came for a packet that we sent: `quoted` is its source, destination and protocol, `data` what it
/// carried, cut short.
pub(crate) fn icmp_error(stack: &mut Stack, quoted: (IpAddr, IpAddr, u8), data: &[u8], e: Errno) {
    let (src, dst, protocol) = quoted;
    let Some((src_port, dst_port)) = packet::ports(data) else {
        return;
    };
    let (local, remote) = (SocketAddr::new(src, src_port), SocketAddr::new(dst, dst_port));
    match protocol {
        UDP => udp::fail(local, remote, e),
        TCP => connections::fail_connecting(stack, local, remote, e),
        _ => {}
    }
}

/// A packet of ours could not be sent because the neighbour does not answer.
pub(crate) fn unreachable(stack: &mut Stack, _neighbor: IpAddr, whole: &[u8]) {
    if let Some((ip, payload)) = packet::parse_ip(whole) {
        icmp_error(stack, (ip.src, ip.dst, ip.protocol), payload, Errno::EHOSTUNREACH);
    }
}
