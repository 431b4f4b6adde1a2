//! Socket addresses as user programs pass them (`struct sockaddr_*`).
//!
//! Sources: ip(7), ipv6(7), unix(7), netlink(7), packet(7).

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// AF_UNSPEC.
pub const AF_UNSPEC: u16 = 0;
/// AF_UNIX.
pub const AF_UNIX: u16 = 1;
/// AF_INET.
pub const AF_INET: u16 = 2;
/// AF_INET6.
pub const AF_INET6: u16 = 10;
/// AF_NETLINK.
pub const AF_NETLINK: u16 = 16;
/// AF_PACKET.
pub const AF_PACKET: u16 = 17;

/// Bytes of `struct sockaddr_storage`: no address is longer.
pub const MAX_LEN: usize = 128;
/// Bytes of `sun_path`.
pub const UNIX_PATH_MAX: usize = 108;

/// An AF_UNIX name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UnixName {
    /// No name (an unbound socket; in bind(2): choose an abstract one).
    Unnamed,
    /// A path in the file system, without NUL.
    Path(Vec<u8>),
    /// A name of the abstract namespace, without the leading NUL; any bytes.
    Abstract(Vec<u8>),
}

/// `struct sockaddr_ll`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LinkAddr {
    /// EtherType in host order (ETH_P_*); 0 for none, 3 for all.
    pub protocol: u16,
    /// Interface index; 0 for any.
    pub index: u32,
    /// ARPHRD_*.
    pub hardware_type: u16,
    /// PACKET_HOST, PACKET_BROADCAST, ...
    pub packet_type: u8,
    /// Hardware address.
    pub address: [u8; 6],
}

/// A socket address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SockAddr {
    /// AF_UNSPEC: dissolves an association in connect(2).
    Unspec,
    /// AF_INET or AF_INET6.
    Inet(SocketAddr),
    /// AF_UNIX.
    Unix(UnixName),
    /// AF_NETLINK.
    Netlink {
        /// Port id; 0 for the kernel, or "choose one".
        pid: u32,
        /// Multicast groups, a bit each.
        groups: u32,
    },
    /// AF_PACKET.
    Packet(LinkAddr),
}

/// Why bytes are no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// Shorter than its family's layout, or longer than any (EINVAL).
    Length,
    /// A family that is not built (EAFNOSUPPORT).
    Family,
}

fn be16(b: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(b.get(at..at + 2)?.try_into().ok()?))
}

fn ne32(b: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(b.get(at..at + 4)?.try_into().ok()?))
}

impl SockAddr {
    /// From the bytes that a program passed.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        if bytes.len() > MAX_LEN {
            return Err(ParseError::Length);
        }
        let family = bytes
            .get(..2)
            .and_then(|b| Some(u16::from_le_bytes(b.try_into().ok()?)));
        let family = family.ok_or(ParseError::Length)?;
        match family {
            AF_UNSPEC => Ok(Self::Unspec),
            AF_INET => parse_inet(bytes).ok_or(ParseError::Length),
            AF_INET6 => parse_inet6(bytes).ok_or(ParseError::Length),
            AF_UNIX => parse_unix(bytes).ok_or(ParseError::Length),
            AF_NETLINK => match (ne32(bytes, 4), ne32(bytes, 8)) {
                (Some(pid), Some(groups)) => Ok(Self::Netlink { pid, groups }),
                _ => Err(ParseError::Length),
            },
            AF_PACKET => parse_packet(bytes).ok_or(ParseError::Length),
            _ => Err(ParseError::Family),
        }
    }

    /// The bytes, as getsockname(2) gives them.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(28);
        match self {
            Self::Unspec => out.extend_from_slice(&AF_UNSPEC.to_le_bytes()),
            Self::Inet(SocketAddr::V4(a)) => {
                out.extend_from_slice(&AF_INET.to_le_bytes());
                out.extend_from_slice(&a.port().to_be_bytes());
                out.extend_from_slice(&a.ip().octets());
                out.extend_from_slice(&[0; 8]);
            }
            Self::Inet(SocketAddr::V6(a)) => {
                out.extend_from_slice(&AF_INET6.to_le_bytes());
                out.extend_from_slice(&a.port().to_be_bytes());
                out.extend_from_slice(&a.flowinfo().to_be_bytes());
                out.extend_from_slice(&a.ip().octets());
                out.extend_from_slice(&a.scope_id().to_le_bytes());
            }
            Self::Unix(name) => {
                out.extend_from_slice(&AF_UNIX.to_le_bytes());
                match name {
                    UnixName::Unnamed => {}
                    UnixName::Path(p) => {
                        out.extend_from_slice(p);
                        out.push(0);
                    }
                    UnixName::Abstract(n) => {
                        out.push(0);
                        out.extend_from_slice(n);
                    }
                }
            }
            Self::Netlink { pid, groups } => {
                out.extend_from_slice(&AF_NETLINK.to_le_bytes());
                out.extend_from_slice(&[0; 2]);
                out.extend_from_slice(&pid.to_le_bytes());
                out.extend_from_slice(&groups.to_le_bytes());
            }
            Self::Packet(l) => {
                out.extend_from_slice(&AF_PACKET.to_le_bytes());
                out.extend_from_slice(&l.protocol.to_be_bytes());
                out.extend_from_slice(&l.index.to_le_bytes());
                out.extend_from_slice(&l.hardware_type.to_le_bytes());
                out.push(l.packet_type);
                out.push(6);
                out.extend_from_slice(&l.address);
                out.extend_from_slice(&[0; 2]);
            }
        }
        out
    }
}

fn parse_inet(b: &[u8]) -> Option<SockAddr> {
    if b.len() < 16 {
        return None;
    }
    let ip: [u8; 4] = b.get(4..8)?.try_into().ok()?;
    Some(SockAddr::Inet(SocketAddr::new(Ipv4Addr::from(ip).into(), be16(b, 2)?)))
}

fn parse_inet6(b: &[u8]) -> Option<SockAddr> {
    // The old 24-byte layout without a scope is accepted, as on Linux (SIN6_LEN_RFC2133).
    let ip: [u8; 16] = b.get(8..24)?.try_into().ok()?;
    let flow = u32::from_be_bytes(b.get(4..8)?.try_into().ok()?);
    let scope = ne32(b, 24).unwrap_or(0);
    let a = core::net::SocketAddrV6::new(Ipv6Addr::from(ip), be16(b, 2)?, flow, scope);
    Some(SockAddr::Inet(SocketAddr::V6(a)))
}

fn parse_unix(b: &[u8]) -> Option<SockAddr> {
    let path = b.get(2..)?;
    if path.len() > UNIX_PATH_MAX {
        return None;
    }
    Some(SockAddr::Unix(match path.split_first() {
        None => UnixName::Unnamed,
        Some((0, name)) => UnixName::Abstract(name.to_vec()),
        Some(_) => {
            let end = path.iter().position(|c| *c == 0).unwrap_or(path.len());
            UnixName::Path(path.get(..end)?.to_vec())
        }
    }))
}

fn parse_packet(b: &[u8]) -> Option<SockAddr> {
    if b.len() < 12 {
        return None;
    }
    let mut address = [0; 6];
    for (to, from) in address.iter_mut().zip(b.get(12..).unwrap_or_default()) {
        *to = *from;
    }
    Some(SockAddr::Packet(LinkAddr {
        protocol: be16(b, 2)?,
        index: ne32(b, 4)?,
        hardware_type: u16::from_le_bytes(b.get(8..10)?.try_into().ok()?),
        packet_type: *b.get(10)?,
        address,
    }))
}

/// An IPv4 address inside IPv6 (`::ffff:a.b.c.d`) as the IPv4 address; others as they are.
pub fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V6(a) => match a.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::new(v4.into(), a.port()),
            None => addr,
        },
        SocketAddr::V4(_) => addr,
    }
}

/// As an AF_INET6 socket shows it: IPv4 addresses mapped.
pub fn as_v6(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V4(a) => SocketAddr::new(a.ip().to_ipv6_mapped().into(), a.port()),
        SocketAddr::V6(_) => addr,
    }
}

/// The wildcard address of the same family as `like`.
pub fn unspecified_like(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

#[cfg(test)]
mod tests;
