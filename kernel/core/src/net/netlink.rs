//! AF_NETLINK sockets, NETLINK_ROUTE only (rtnetlink(7)): what ip(8) and getifaddrs(3) ask.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::sync::atomic::{AtomicU32, Ordering};

use sis_netstack::netlink::{
    self, F_ACK, F_DUMP, F_REPLACE, Link, Reply, Request, address, attribute, kind, number, requests,
};
use sis_netstack::packet::BROADCAST;
use sis_netstack::route::{IfAddr, Route, network};
use sis_netstack::sockaddr::{AF_INET, AF_INET6, AF_NETLINK, SockAddr};

use super::interface::{Interface, flag};
use super::mailbox::{Letter, Mailbox};
use super::message::{Incoming, MsgFlags, Outgoing};
use super::socket::{Common, Kind, Protocol, Shutdown};
use super::stack::{self, Change, Stack};
use crate::poll::Events;
use crate::process::cred::Capability;
use crate::process::thread;
use crate::{Errno, Result};

/// NETLINK_ROUTE.
pub(crate) const NETLINK_ROUTE: i32 = 0;
/// Bytes of one datagram of answers.
const DATAGRAM: usize = 8192;

static NEXT_PORT: AtomicU32 = AtomicU32::new(0x8000_0000);

struct Answer(Vec<u8>);

impl Letter for Answer {
    fn bytes(&self) -> usize {
        self.0.len()
    }
}

/// A netlink socket.
pub(crate) struct NetlinkSocket {
    common: Common,
    /// Port id; 0 while unbound.
    port: AtomicU32,
    mailbox: Mailbox<Answer>,
}

impl NetlinkSocket {
    pub(crate) fn new(kind: Kind) -> Arc<Self> {
        let common = Common::new(AF_NETLINK, kind, NETLINK_ROUTE);
        let queue = common.queue.clone();
        Arc::new(Self {
            common,
            port: AtomicU32::new(0),
            mailbox: Mailbox::new(queue),
        })
    }

    fn choose_port(&self) -> u32 {
        let port = self.port.load(Ordering::Relaxed);
        if port != 0 {
            return port;
        }
        let new = NEXT_PORT.fetch_add(1, Ordering::Relaxed);
        match self.port.compare_exchange(0, new, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => new,
            Err(other) => other,
        }
    }

    fn answer(&self, r: &Request<'_>) {
        let is_dump = r.flags & F_DUMP != 0 && matches!(r.kind & 3, 2);
        let reply = Reply {
            seq: r.seq,
            port: self.choose_port(),
            is_multi: is_dump,
        };
        if r.kind < 16 {
            // NLMSG_NOOP and the like: control messages are for replies.
            if r.flags & F_ACK != 0 {
                self.put(reply.error(0, r));
            }
            return;
        }
        let needs_power = r.kind & 3 != 2;
        let may = thread::try_current().is_none_or(|t| t.cred().has(Capability::NetAdmin));
        let out = if needs_power && !may {
            Err(Errno::EPERM)
        } else {
            answers(r, reply)
        };
        match out {
            Ok(messages) => {
                let mut batch = Vec::new();
                for m in messages {
                    if batch.len() + m.len() > DATAGRAM {
                        self.put(core::mem::take(&mut batch));
                    }
                    batch.extend_from_slice(&m);
                }
                if is_dump {
                    batch.extend_from_slice(&reply.done());
                } else if r.flags & F_ACK != 0 {
                    batch.extend_from_slice(&reply.error(0, r));
                }
                if !batch.is_empty() {
                    self.put(batch);
                }
            }
            Err(e) => self.put(reply.error(e.number(), r)),
        }
    }

    fn put(&self, bytes: Vec<u8>) {
        let limit = self.common.receive_bytes.load(Ordering::Relaxed);
        if self.mailbox.put(Answer(bytes), limit).is_err() {
            self.common.fail(Errno::ENOBUFS);
        }
    }
}

fn show_link(reply: Reply, i: &Interface) -> Vec<u8> {
    let s = i.stats();
    reply.link(&Link {
        index: i.index,
        name: i.name,
        hardware_type: i.hardware_type(),
        flags: i.all_flags(),
        // IF_OPER_UNKNOWN for the loopback, IF_OPER_UP, IF_OPER_DOWN.
        operational: match (i.is_loopback(), i.all_flags() & flag::RUNNING != 0) {
            (true, _) => 0,
            (_, true) => 6,
            (_, false) => 2,
        },
        mtu: i.mtu as u32,
        address: i.mac,
        broadcast: if i.is_loopback() { [0; 6] } else { BROADCAST },
        stats: [
            s.rx_packets,
            s.tx_packets,
            s.rx_bytes,
            s.tx_bytes,
            s.rx_errors,
            s.tx_errors,
            s.rx_dropped,
            s.tx_dropped,
        ],
    })
}

/// Whether a dump for `family` (0: all) includes `addr`.
fn family_fits(family: u8, addr: IpAddr) -> bool {
    match u16::from(family) {
        0 => true,
        AF_INET => addr.is_ipv4(),
        AF_INET6 => addr.is_ipv6(),
        _ => false,
    }
}

fn answers(r: &Request<'_>, reply: Reply) -> Result<Vec<Vec<u8>>> {
    let family = r.body.first().copied().unwrap_or(0);
    let is_dump = r.flags & F_DUMP != 0;
    stack::with(|s| match r.kind {
        kind::GET_LINK if is_dump => Ok(s.interfaces().iter().map(|i| show_link(reply, i)).collect()),
        kind::GET_LINK => {
            let i = link_of(s, r).ok_or(Errno::ENODEV)?;
            Ok(alloc::vec![show_link(reply, i)])
        }
        kind::NEW_LINK | kind::SET_LINK => set_link(s, r).map(|()| Vec::new()),
        kind::GET_ADDR => {
            let all = s.routes.addrs().iter().filter(|a| family_fits(family, a.addr));
            Ok(all
                .map(|a| reply.addr(a, s.interface(a.iface).map_or("", |i| i.name)))
                .collect())
        }
        kind::NEW_ADDR | kind::DEL_ADDR => change_addr(s, r).map(|()| Vec::new()),
        kind::GET_ROUTE if is_dump => {
            let all = s.routes.routes().iter().filter(|a| family_fits(family, a.dst));
            Ok(all.map(|a| reply.route(a)).collect())
        }
        kind::GET_ROUTE => {
            let dst = attribute(r.body, 12, 1).and_then(address).ok_or(Errno::EINVAL)?;
            let hop = s.routes.lookup(dst, 0).ok_or(Errno::ENETUNREACH)?;
            let width = if dst.is_ipv4() { 32 } else { 128 };
            let shown = Route {
                dst,
                prefix: width,
                gateway: (hop.next != dst).then_some(hop.next),
                iface: hop.iface,
                metric: 0,
                source: Some(hop.source),
                protocol: 0,
            };
            Ok(alloc::vec![reply.route(&shown)])
        }
        kind::NEW_ROUTE | kind::DEL_ROUTE => change_route(s, r).map(|()| Vec::new()),
        kind::GET_NEIGH => {
            let all = s.neighbors.iter().filter(|n| family_fits(family, n.key.1));
            Ok(all.map(|n| reply.neighbor(&n)).collect())
        }
        kind::NEW_NEIGH | kind::DEL_NEIGH => change_neighbor(s, r).map(|()| Vec::new()),
        // Policy routing: there are no rules to show.
        kind::GET_RULE => Ok(Vec::new()),
        _ => Err(Errno::EOPNOTSUPP),
    })
}

fn u32_at(b: &[u8], at: usize) -> Option<u32> {
    b.get(at..at + 4).and_then(number)
}

/// The interface that an ifinfomsg names by index or by IFLA_IFNAME.
fn link_of<'a>(s: &'a Stack, r: &Request<'_>) -> Option<&'a Interface> {
    match u32_at(r.body, 4)? {
        0 => {
            let name = attribute(r.body, 16, 3)?;
            let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
            s.interface_named(name.get(..end)?)
        }
        index => s.interface(index),
    }
}

fn set_link(s: &mut Stack, r: &Request<'_>) -> Result<()> {
    let (index, now) = link_of(s, r).map(|i| (i.index, i.flags)).ok_or(Errno::ENODEV)?;
    let flags = u32_at(r.body, 8).ok_or(Errno::EINVAL)?;
    let mask = match u32_at(r.body, 12).ok_or(Errno::EINVAL)? {
        0 => flags,
        m => m,
    };
    if let Some(mtu) = attribute(r.body, 16, 4).and_then(number) {
        s.set_mtu(index, mtu as usize)?;
    }
    // New addresses, names and masters are not built.
    if netlink::attributes(r.body, 16).any(|(k, _)| matches!(k, 1 | 10 | 18)) {
        return Err(Errno::EOPNOTSUPP);
    }
    s.set_flags(index, (now & !mask) | (flags & mask))
}

fn change_of(r: &Request<'_>, remove: u16) -> Change {
    match r.kind {
        k if k == remove => Change::Remove,
        _ if r.flags & F_REPLACE != 0 => Change::Replace,
        _ => Change::Add,
    }
}

fn change_addr(s: &mut Stack, r: &Request<'_>) -> Result<()> {
    let addr = attribute(r.body, 8, 2)
        .or_else(|| attribute(r.body, 8, 1))
        .and_then(address)
        .ok_or(Errno::EINVAL)?;
    let prefix = *r.body.get(1).ok_or(Errno::EINVAL)?;
    let broadcast = match attribute(r.body, 8, 4).and_then(address) {
        Some(IpAddr::V4(b)) => Some(b),
        _ => None,
    };
    let a = IfAddr {
        iface: u32_at(r.body, 4).ok_or(Errno::EINVAL)?,
        addr,
        prefix,
        broadcast,
    };
    s.change_addr(change_of(r, kind::DEL_ADDR), a)
}

fn change_route(s: &mut Stack, r: &Request<'_>) -> Result<()> {
    let (family, prefix) = (
        r.body.first().copied().ok_or(Errno::EINVAL)?,
        *r.body.get(1).ok_or(Errno::EINVAL)?,
    );
    let any: IpAddr = match u16::from(family) {
        AF_INET => Ipv4Addr::UNSPECIFIED.into(),
        AF_INET6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return Err(Errno::EAFNOSUPPORT),
    };
    // Only unicast routes of the main table: RTN_UNICAST (0 when deleting), RT_TABLE_MAIN or unspecified.
    let kind_of = *r.body.get(7).ok_or(Errno::EINVAL)?;
    let table = *r.body.get(4).ok_or(Errno::EINVAL)?;
    if !matches!(kind_of, 0 | 1) || !matches!(table, 0 | 254) {
        return Err(Errno::EOPNOTSUPP);
    }
    let dst = attribute(r.body, 12, 1).and_then(address).unwrap_or(any);
    let route = Route {
        dst: if prefix == 0 { any } else { dst },
        prefix,
        gateway: attribute(r.body, 12, 5).and_then(address),
        iface: attribute(r.body, 12, 4).and_then(number).unwrap_or(0),
        metric: attribute(r.body, 12, 6).and_then(number).unwrap_or(0),
        source: attribute(r.body, 12, 7).and_then(address),
        protocol: *r.body.get(5).ok_or(Errno::EINVAL)?,
    };
    if network(route.dst, prefix) != route.dst {
        return Err(Errno::EINVAL);
    }
    s.change_route(change_of(r, kind::DEL_ROUTE), route)
}

fn change_neighbor(s: &mut Stack, r: &Request<'_>) -> Result<()> {
    let index = u32_at(r.body, 4).ok_or(Errno::EINVAL)?;
    s.interface(index).ok_or(Errno::ENODEV)?;
    let addr = attribute(r.body, 12, 1).and_then(address).ok_or(Errno::EINVAL)?;
    if r.kind == kind::DEL_NEIGH {
        return if s.neighbors.remove((index, addr)) {
            Ok(())
        } else {
            Err(Errno::ENOENT)
        };
    }
    let mac = attribute(r.body, 12, 2)
        .and_then(|m| m.try_into().ok())
        .ok_or(Errno::EINVAL)?;
    s.set_neighbor((index, addr), mac);
    Ok(())
}

impl Protocol for NetlinkSocket {
    fn common(&self) -> &Common {
        &self.common
    }

    fn bind(&self, addr: SockAddr) -> Result<()> {
        let SockAddr::Netlink { pid, groups } = addr else {
            return Err(Errno::EINVAL);
        };
        let port = self.port.load(Ordering::Relaxed);
        if port != 0 && pid != 0 && pid != port {
            return Err(Errno::EINVAL);
        }
        if pid != 0 {
            self.port.store(pid, Ordering::Relaxed);
        }
        // Multicast groups may be joined, but nothing is announced yet: who waits for changes sees none.
        if groups != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        self.choose_port();
        Ok(())
    }

    fn connect(&self, addr: SockAddr, _nonblock: bool) -> Result<()> {
        match addr {
            SockAddr::Netlink { pid: 0, .. } | SockAddr::Unspec => Ok(()),
            SockAddr::Netlink { .. } => Err(Errno::EPERM),
            _ => Err(Errno::EINVAL),
        }
    }

    fn send(&self, message: &mut Outgoing<'_, '_>) -> Result<usize> {
        match message.to {
            None | Some(SockAddr::Netlink { pid: 0, .. }) => {}
            Some(SockAddr::Netlink { .. }) => return Err(Errno::ECONNREFUSED),
            Some(_) => return Err(Errno::EINVAL),
        }
        let len = message.data.remaining();
        if len > 65_536 {
            return Err(Errno::EMSGSIZE);
        }
        let data = message.data.take_vec(len)?;
        for r in requests(&data) {
            self.answer(&r);
        }
        Ok(data.len())
    }

    fn receive(&self, message: &mut Incoming<'_, '_>) -> Result<usize> {
        let is_peek = message.is_peek();
        let a = self.common.wait_receive(message.nonblock, || {
            if let Some(e) = self.common.take_error() {
                return Some(Err(e));
            }
            if is_peek {
                self.mailbox.peek(|a| Answer(a.0.clone()))
            } else {
                self.mailbox.take()
            }
            .map(Ok)
        })?;
        let n = message.data.put(&a.0)?;
        message.from = Some(SockAddr::Netlink { pid: 0, groups: 0 });
        if n < a.0.len() {
            message.out_flags |= MsgFlags::TRUNC;
            if message.flags.contains(MsgFlags::TRUNC) {
                return Ok(a.0.len());
            }
        }
        Ok(n)
    }

    fn shutdown(&self, _how: Shutdown) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    fn local(&self) -> Result<SockAddr> {
        Ok(SockAddr::Netlink {
            pid: self.port.load(Ordering::Relaxed),
            groups: 0,
        })
    }

    fn peer(&self) -> Result<SockAddr> {
        Ok(SockAddr::Netlink { pid: 0, groups: 0 })
    }

    fn events(&self) -> Events {
        let mut e = Events::WRITE;
        if !self.mailbox.is_empty() || self.common.has_error() {
            e |= Events::READ;
        }
        if self.common.has_error() {
            e |= Events::ERR;
        }
        e
    }

    fn readable_bytes(&self) -> usize {
        self.mailbox.peek(Letter::bytes).unwrap_or(0)
    }

    fn close(&self) {
        self.mailbox.close(true);
    }
}
