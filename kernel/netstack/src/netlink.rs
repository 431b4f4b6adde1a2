//! rtnetlink messages (netlink(7), rtnetlink(7)): requests read, answers built. Little-endian, attributes aligned to 4.

use alloc::vec::Vec;
use core::net::IpAddr;

use crate::neighbor::Seen;
use crate::route::{IfAddr, Route};
use crate::sockaddr::{AF_INET, AF_INET6};

/// Bytes of `struct nlmsghdr`.
pub const HEADER: usize = 16;

/// Message types.
pub mod kind {
    /// NLMSG_ERROR.
    pub const ERROR: u16 = 2;
    /// NLMSG_DONE.
    pub const DONE: u16 = 3;
    /// RTM_NEWLINK.
    pub const NEW_LINK: u16 = 16;
    /// RTM_GETLINK.
    pub const GET_LINK: u16 = 18;
    /// RTM_SETLINK.
    pub const SET_LINK: u16 = 19;
    /// RTM_NEWADDR.
    pub const NEW_ADDR: u16 = 20;
    /// RTM_DELADDR.
    pub const DEL_ADDR: u16 = 21;
    /// RTM_GETADDR.
    pub const GET_ADDR: u16 = 22;
    /// RTM_NEWROUTE.
    pub const NEW_ROUTE: u16 = 24;
    /// RTM_DELROUTE.
    pub const DEL_ROUTE: u16 = 25;
    /// RTM_GETROUTE.
    pub const GET_ROUTE: u16 = 26;
    /// RTM_NEWNEIGH.
    pub const NEW_NEIGH: u16 = 28;
    /// RTM_DELNEIGH.
    pub const DEL_NEIGH: u16 = 29;
    /// RTM_GETNEIGH.
    pub const GET_NEIGH: u16 = 30;
    /// RTM_GETRULE.
    pub const GET_RULE: u16 = 34;
}

/// NLM_F_REQUEST.
pub const F_REQUEST: u16 = 1;
/// NLM_F_MULTI.
pub const F_MULTI: u16 = 2;
/// NLM_F_ACK.
pub const F_ACK: u16 = 4;
/// NLM_F_ROOT | NLM_F_MATCH: the whole table.
pub const F_DUMP: u16 = 0x300;
/// NLM_F_REPLACE.
pub const F_REPLACE: u16 = 0x100;

fn u16_at(b: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(b.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(b: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(b.get(at..at + 4)?.try_into().ok()?))
}

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// See [`kind`].
    pub kind: u16,
    /// NLM_F_*.
    pub flags: u16,
    /// Repeated in the answer.
    pub seq: u32,
    /// The header as it came, repeated in an error answer.
    pub header: &'a [u8],
    /// What follows the header.
    pub body: &'a [u8],
}

/// The requests of a datagram; a length that does not fit ends the walk.
pub fn requests(datagram: &[u8]) -> impl Iterator<Item = Request<'_>> {
    let mut rest = datagram;
    core::iter::from_fn(move || {
        let len = u32_at(rest, 0)? as usize;
        let whole = rest.get(..len).filter(|w| w.len() >= HEADER)?;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(Request {
            kind: u16_at(whole, 4)?,
            flags: u16_at(whole, 6)?,
            seq: u32_at(whole, 8)?,
            header: whole.get(..HEADER)?,
            body: whole.get(HEADER..)?,
        })
    })
}

/// The attributes after a fixed part of `skip` bytes.
pub fn attributes(body: &[u8], skip: usize) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = body.get(skip..).unwrap_or_default();
    core::iter::from_fn(move || {
        let len = usize::from(u16_at(rest, 0)?);
        let kind = u16_at(rest, 2)? & 0x3fff;
        let data = rest.get(4..len)?;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, data))
    })
}

/// The first attribute of a kind.
pub fn attribute(body: &[u8], skip: usize, kind: u16) -> Option<&[u8]> {
    attributes(body, skip).find(|a| a.0 == kind).map(|a| a.1)
}

/// An address attribute.
pub fn address(data: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(data) {
        return Some(IpAddr::from(v4));
    }
    <[u8; 16]>::try_from(data).ok().map(IpAddr::from)
}

/// An attribute that is a number.
pub fn number(data: &[u8]) -> Option<u32> {
    u32_at(data, 0)
}

/// Builds one message.
struct Builder {
    out: Vec<u8>,
}

impl Builder {
    fn new(kind: u16, flags: u16, seq: u32, port: u32) -> Self {
        let mut out = Vec::with_capacity(128);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&kind.to_le_bytes());
        out.extend_from_slice(&flags.to_le_bytes());
        out.extend_from_slice(&seq.to_le_bytes());
        out.extend_from_slice(&port.to_le_bytes());
        Self { out }
    }

    fn raw(mut self, data: &[u8]) -> Self {
        self.out.extend_from_slice(data);
        self
    }

    fn attr(mut self, kind: u16, data: &[u8]) -> Self {
        self.out.extend_from_slice(&((4 + data.len()) as u16).to_le_bytes());
        self.out.extend_from_slice(&kind.to_le_bytes());
        self.out.extend_from_slice(data);
        self.out.resize(self.out.len().next_multiple_of(4), 0);
        self
    }

    fn attr_ip(self, kind: u16, ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(a) => self.attr(kind, &a.octets()),
            IpAddr::V6(a) => self.attr(kind, &a.octets()),
        }
    }

    fn finish(mut self) -> Vec<u8> {
        let len = (self.out.len() as u32).to_le_bytes();
        if let Some(to) = self.out.get_mut(..4) {
            to.copy_from_slice(&len);
        }
        self.out
    }
}

/// To whom an answer goes: the request's number and the asker's port, and whether more answers follow.
#[derive(Clone, Copy, Debug)]
pub struct Reply {
    /// The request's sequence number.
    pub seq: u32,
    /// The asker's port id.
    pub port: u32,
    /// One of several (NLM_F_MULTI).
    pub is_multi: bool,
}

impl Reply {
    fn flags(self) -> u16 {
        if self.is_multi { F_MULTI } else { 0 }
    }

    /// The end of several answers.
    pub fn done(self) -> Vec<u8> {
        Builder::new(kind::DONE, F_MULTI, self.seq, self.port)
            .raw(&0i32.to_le_bytes())
            .finish()
    }

    /// An acknowledgement (0) or an error number (positive here).
    pub fn error(self, number: i32, request: &Request<'_>) -> Vec<u8> {
        let b = Builder::new(kind::ERROR, 0, self.seq, self.port)
            .raw(&(-number).to_le_bytes())
            .raw(request.header);
        if number == 0 {
            b.finish()
        } else {
            b.raw(request.body).finish()
        }
    }

    /// RTM_NEWLINK.
    pub fn link(self, l: &Link<'_>) -> Vec<u8> {
        let mut head = [0u8; 16];
        put(&mut head, 2, &l.hardware_type.to_le_bytes());
        put(&mut head, 4, &l.index.to_le_bytes());
        put(&mut head, 8, &l.flags.to_le_bytes());
        let mut name = l.name.as_bytes().to_vec();
        name.push(0);
        let mut stats64 = [0u8; 192];
        let mut stats32 = [0u8; 96];
        for (i, v) in l.stats.iter().enumerate() {
            put(&mut stats64, i * 8, &v.to_le_bytes());
            put(&mut stats32, i * 4, &(*v as u32).to_le_bytes());
        }
        Builder::new(kind::NEW_LINK, self.flags(), self.seq, self.port)
            .raw(&head)
            .attr(3, &name)
            .attr(13, &1000u32.to_le_bytes())
            .attr(16, &[l.operational])
            .attr(17, &[0])
            .attr(4, &l.mtu.to_le_bytes())
            .attr(6, b"noqueue\0")
            .attr(1, &l.address)
            .attr(2, &l.broadcast)
            .attr(23, &stats64)
            .attr(7, &stats32)
            .finish()
    }

    /// RTM_NEWADDR.
    pub fn addr(self, a: &IfAddr, label: &str) -> Vec<u8> {
        let (family, scope) = family_and_scope(a.addr);
        let mut name = label.as_bytes().to_vec();
        name.push(0);
        let mut b = Builder::new(kind::NEW_ADDR, self.flags(), self.seq, self.port)
            // IFA_F_PERMANENT.
            .raw(&[family as u8, a.prefix, 0x80, scope])
            .raw(&a.iface.to_le_bytes())
            .attr_ip(1, a.addr);
        if a.addr.is_ipv4() {
            b = b.attr_ip(2, a.addr);
            if let Some(bc) = a.broadcast {
                b = b.attr_ip(4, bc.into());
            }
            b = b.attr(3, &name);
        }
        b.attr(8, &0x80u32.to_le_bytes()).finish()
    }

    /// RTM_NEWROUTE.
    pub fn route(self, r: &Route) -> Vec<u8> {
        let (family, _) = family_and_scope(r.dst);
        // RT_TABLE_MAIN; RT_SCOPE_UNIVERSE or RT_SCOPE_LINK; RTN_UNICAST.
        let scope = if r.gateway.is_some() || r.dst.is_ipv6() { 0 } else { 253 };
        let mut b = Builder::new(kind::NEW_ROUTE, self.flags(), self.seq, self.port)
            .raw(&[family as u8, r.prefix, 0, 0, 254, r.protocol, scope, 1])
            .raw(&0u32.to_le_bytes())
            .attr(15, &254u32.to_le_bytes());
        if r.prefix > 0 {
            b = b.attr_ip(1, r.dst);
        }
        if r.metric != 0 {
            b = b.attr(6, &r.metric.to_le_bytes());
        }
        if let Some(s) = r.source {
            b = b.attr_ip(7, s);
        }
        if let Some(g) = r.gateway {
            b = b.attr_ip(5, g);
        }
        b.attr(4, &r.iface.to_le_bytes()).finish()
    }

    /// RTM_NEWNEIGH.
    pub fn neighbor(self, n: &Seen) -> Vec<u8> {
        let (family, _) = family_and_scope(n.key.1);
        // NUD_PERMANENT, NUD_REACHABLE or NUD_INCOMPLETE.
        let state: u16 = match (n.is_permanent, n.mac) {
            (true, _) => 0x80,
            (_, Some(_)) => 2,
            (_, None) => 1,
        };
        let mut b = Builder::new(kind::NEW_NEIGH, self.flags(), self.seq, self.port)
            .raw(&[family as u8, 0, 0, 0])
            .raw(&n.key.0.to_le_bytes())
            .raw(&state.to_le_bytes())
            .raw(&[0, 1])
            .attr_ip(1, n.key.1);
        if let Some(mac) = n.mac {
            b = b.attr(2, &mac);
        }
        b.finish()
    }
}

/// An interface as RTM_NEWLINK shows it.
#[derive(Clone, Copy, Debug)]
pub struct Link<'a> {
    /// Index, from 1.
    pub index: u32,
    /// Name.
    pub name: &'a str,
    /// ARPHRD_*.
    pub hardware_type: u16,
    /// IFF_*.
    pub flags: u32,
    /// IF_OPER_*.
    pub operational: u8,
    /// Bytes.
    pub mtu: u32,
    /// Hardware address.
    pub address: [u8; 6],
    /// Broadcast hardware address.
    pub broadcast: [u8; 6],
    /// `struct rtnl_link_stats64`: rx packets, tx packets, rx bytes, tx bytes, rx errors, tx errors, rx dropped, tx
    /// dropped.
    pub stats: [u64; 8],
}

fn put(b: &mut [u8], at: usize, data: &[u8]) {
    if let Some(to) = b.get_mut(at..at + data.len()) {
        to.copy_from_slice(data);
    }
}

fn family_and_scope(a: IpAddr) -> (u16, u8) {
    let family = if a.is_ipv4() { AF_INET } else { AF_INET6 };
    let link_local = matches!(a, IpAddr::V6(v) if v.segments().first().is_some_and(|s| s & 0xffc0 == 0xfe80));
    let scope = match (a.is_loopback(), link_local) {
        (true, _) => 254,
        (_, true) => 253,
        _ => 0,
    };
    (family, scope)
}

#[cfg(test)]
mod tests;
