//! UDP sockets (udp(7)).
//!
//! A datagram to one of our own addresses goes straight into the receiver's queue.

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};

use sis_machine::sync::{Rank, SpinLock};
use sis_netstack::packet::UDP;
use sis_netstack::ports::{Binding, PortTable};
use sis_netstack::sockaddr::SockAddr;

use super::super::interface::LOOPBACK_COUNTERS;
use super::super::mailbox::{Letter, Mailbox, Refused};
use super::super::message::{Incoming, MsgFlags, Outgoing};
use super::super::options::{Bits, SOL_SOCKET, bytes, int};
use super::super::random_u64;
use super::super::socket::{Common, Kind, Protocol, Shutdown};
use super::super::stack::{self, Sending};
use super::options::{IpOptions, Values};
use super::{any, inside, may_bind_port, outside, reachable, scope_of};
use crate::poll::Events;
use crate::{Errno, Result};

/// IPPROTO_UDP as an option level.
pub(crate) const SOL_UDP: i32 = 17;
/// UDP_SEGMENT.
pub(crate) const UDP_SEGMENT: i32 = 103;
/// Most bytes of a datagram over IPv4.
const MOST: usize = 65_507;
/// Most datagrams of one send with UDP_SEGMENT (UDP_MAX_SEGMENTS).
const MOST_SEGMENTS: usize = 64;
/// Bytes of the headers of IPv4 and UDP.
const HEADERS_V4: usize = 28;
/// Bytes of the headers of IPv6 and UDP.
const HEADERS_V6: usize = 48;

static TABLE: SpinLock<PortTable<Weak<UdpSocket>>> = SpinLock::new(Rank::Leaf, PortTable::new());
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Where a datagram came from and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meta {
    pub(crate) from: SocketAddr,
    pub(crate) to: IpAddr,
    pub(crate) iface: u32,
    pub(crate) tos: u8,
    pub(crate) ttl: u8,
}

#[derive(Clone)]
struct Datagram {
    meta: Meta,
    data: Vec<u8>,
}

impl Letter for Datagram {
    fn bytes(&self) -> usize {
        self.data.len()
    }
}

#[derive(Clone, Copy, Default)]
struct Place {
    local: Option<SocketAddr>,
    remote: Option<SocketAddr>,
    /// Interface that a link-local peer or the socket itself is bound to.
    scope: u32,
}

/// A UDP socket.
pub(crate) struct UdpSocket {
    common: Common,
    me: Weak<Self>,
    id: u64,
    options: IpOptions,
    place: SpinLock<Place>,
    mailbox: Mailbox<Datagram>,
    is_read_shut: AtomicBool,
    is_write_shut: AtomicBool,
    /// UDP_SEGMENT; 0 for none.
    segment: AtomicU16,
}

impl UdpSocket {
    pub(crate) fn new(family: u16) -> Arc<Self> {
        let common = Common::new(family, Kind::Datagram, i32::from(UDP));
        let queue = common.queue.clone();
        Arc::new_cyclic(|me| Self {
            common,
            me: me.clone(),
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            options: IpOptions::new(),
            place: SpinLock::new(Rank::Socket, Place::default()),
            mailbox: Mailbox::new(queue),
            is_read_shut: AtomicBool::new(false),
            is_write_shut: AtomicBool::new(false),
            segment: AtomicU16::new(0),
        })
    }

    fn binding(&self, addr: IpAddr, remote: Option<SocketAddr>) -> Binding<Weak<Self>> {
        Binding {
            addr,
            is_v6_only: self.options.get().is_v6_only(),
            iface: self.common.device.load(Ordering::Relaxed),
            reuse_addr: self.common.is(Bits::REUSE_ADDR),
            reuse_port: self.common.is(Bits::REUSE_PORT),
            is_listening: false,
            uid: self.common.uid,
            remote,
            owner: self.me.clone(),
            id: self.id,
        }
    }

    fn bind_to(&self, addr: SocketAddr) -> Result<()> {
        let mut place = self.place.lock();
        if place.local.is_some() {
            return Err(Errno::EINVAL);
        }
        let new = self.binding(addr.ip(), None);
        // Before the table's lock: the generator has one of the same rank.
        let random = if addr.port() == 0 { random_u64() as u16 } else { 0 };
        let port = match addr.port() {
            0 => TABLE.lock().bind_ephemeral(random, new),
            p => TABLE.lock().bind(p, new).map(|()| p),
        };
        let port = port.map_err(|_| Errno::EADDRINUSE)?;
        place.local = Some(SocketAddr::new(addr.ip(), port));
        Ok(())
    }

    /// The place of the socket, bound if it was not.
    fn bound_place(&self) -> Result<Place> {
        let place = *self.place.lock();
        if place.local.is_some() {
            return Ok(place);
        }
        match self.bind_to(SocketAddr::new(any(&self.common), 0)) {
            Ok(()) | Err(Errno::EINVAL) => Ok(*self.place.lock()),
            Err(e) => Err(e),
        }
    }

    fn disconnect(&self) {
        let mut place = self.place.lock();
        place.remote = None;
        place.scope = 0;
        if let Some(l) = place.local
            && let Some(b) = TABLE.lock().get_mut(l.port(), self.id)
        {
            b.remote = None;
        }
    }

    /// Sends one datagram of at most [`MOST`] bytes.
    fn send_one(&self, place: &Place, to: SocketAddr, how: &How, data: Vec<u8>) -> Result<()> {
        let bound = place
            .local
            .filter(|l| !l.ip().is_unspecified() && l.is_ipv4() == to.is_ipv4());
        let src = how.source.or(bound.map(|l| l.ip()));
        let port = place.local.map_or(0, |l| l.port());
        // The loopback's addresses are always ours: no need to ask the stack.
        let source = if to.ip().is_loopback() && how.iface == 0 {
            Some(src.unwrap_or(match to.ip() {
                IpAddr::V4(_) => core::net::Ipv4Addr::LOCALHOST.into(),
                v6 => v6,
            }))
        } else {
            None
        };
        if let Some(source) = source {
            return self.send_here(SocketAddr::new(source, port), to, how, data);
        }
        let sending = Sending {
            dst: to.ip(),
            src,
            iface: how.iface,
            protocol: UDP,
            tos: how.tos,
            ttl: how.ttl,
            dont_fragment: how.dont_fragment,
        };
        let local = stack::with(|s| -> Result<Option<(IpAddr, Vec<u8>)>> {
            if s.routes.is_broadcast(how.iface, to.ip()) && !self.common.is(Bits::BROADCAST) {
                return Err(Errno::EACCES);
            }
            if let Some(src) = src
                && !s.may_bind(src)
            {
                return Err(Errno::EINVAL);
            }
            let (hop, head, mtu) = s.prepare(&sending)?;
            if hop.is_local {
                return Ok(Some((head.src, data)));
            }
            let headers = if to.is_ipv4() { HEADERS_V4 } else { HEADERS_V6 };
            if how.dont_fragment && data.len() + headers > mtu {
                return Err(Errno::EMSGSIZE);
            }
            let frame = head.udp(port, to.port(), &data);
            s.send(&hop, &head, mtu, frame)?;
            Ok(None)
        })?;
        match local {
            Some((source, data)) => self.send_here(SocketAddr::new(source, port), to, how, data),
            None => Ok(()),
        }
    }

    /// Sends to a socket of this machine.
    fn send_here(&self, from: SocketAddr, to: SocketAddr, how: &How, data: Vec<u8>) -> Result<()> {
        LOOPBACK_COUNTERS.add(data.len() + HEADERS_V4);
        let iface = sis_netstack::route::LOOPBACK;
        let meta = Meta {
            from,
            to: to.ip(),
            iface,
            tos: how.tos,
            ttl: how.ttl,
        };
        let target = find(to.port(), &meta);
        let delivered = target.is_some_and(|t| t.take_in(&meta, data));
        if !delivered && self.place.lock().remote.is_some() {
            // What an ICMP "port unreachable" would do.
            self.common.fail(Errno::ECONNREFUSED);
        }
        Ok(())
    }

    /// A datagram for this socket. It counts as delivered even when there is no room.
    fn take_in(&self, meta: &Meta, data: Vec<u8>) -> bool {
        let limit = self.common.receive_bytes.load(Ordering::Relaxed);
        match self.mailbox.put(Datagram { meta: *meta, data }, limit) {
            Ok(()) | Err((Refused::Full, _)) => true,
            Err((Refused::Closed, _)) => false,
        }
    }
}

/// How a datagram is sent.
struct How {
    source: Option<IpAddr>,
    iface: u32,
    tos: u8,
    ttl: u8,
    dont_fragment: bool,
}

fn find(port: u16, meta: &Meta) -> Option<Arc<UdpSocket>> {
    TABLE
        .lock()
        .find(port, meta.to, meta.from, meta.iface, false)
        .and_then(Weak::upgrade)
}

/// A datagram came in for one of our addresses. Answers whether somebody has the port.
pub(crate) fn deliver(port: u16, meta: &Meta, data: &[u8]) -> bool {
    find(port, meta).is_some_and(|s| s.take_in(meta, data.to_vec()))
}

/// A broadcast or multicast datagram came in.
pub(crate) fn deliver_to_all(port: u16, meta: &Meta, data: &[u8]) {
    let all: Vec<_> = {
        let table = TABLE.lock();
        table
            .find_all(port, meta.to, meta.from, meta.iface)
            .filter_map(Weak::upgrade)
            .collect()
    };
    for s in all {
        s.take_in(meta, data.to_vec());
    }
}

/// A datagram that `local` sent to `remote` did not arrive. Only a connected socket is told.
pub(crate) fn fail(local: SocketAddr, remote: SocketAddr, e: Errno) {
    let meta = Meta {
        from: remote,
        to: local.ip(),
        iface: 0,
        tos: 0,
        ttl: 0,
    };
    if let Some(s) = find(local.port(), &meta)
        && s.place.lock().remote == Some(remote)
    {
        s.common.fail(e);
    }
}

/// One line of /proc/net/udp.
pub(crate) struct Listed {
    pub(crate) local: SocketAddr,
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) is_v6: bool,
    pub(crate) queued: usize,
    pub(crate) dropped: u64,
    pub(crate) uid: u32,
}

/// Every bound UDP socket.
pub(crate) fn list() -> Vec<Listed> {
    let all: Vec<_> = TABLE.lock().iter().filter_map(|(_, b)| b.owner.upgrade()).collect();
    all.iter()
        .filter_map(|s| {
            let place = *s.place.lock();
            let (queued, dropped) = s.mailbox.load();
            Some(Listed {
                local: place.local?,
                remote: place.remote,
                is_v6: s.common.family == sis_netstack::sockaddr::AF_INET6,
                queued,
                dropped,
                uid: s.common.uid,
            })
        })
        .collect()
}

impl Protocol for UdpSocket {
    fn common(&self) -> &Common {
        &self.common
    }

    fn bind(&self, addr: SockAddr) -> Result<()> {
        let a = inside(&self.common, &addr, self.options.get().is_v6_only()).map_err(|e| match e {
            Errno::ENETUNREACH => Errno::EADDRNOTAVAIL,
            e => e,
        })?;
        may_bind_port(a.port())?;
        let is_free_bind = self.options.get().on.contains(super::options::Switches::FREEBIND);
        if !is_free_bind && !stack::with(|s| s.may_bind(a.ip())) {
            return Err(Errno::EADDRNOTAVAIL);
        }
        // "::" on a socket that also carries IPv4 is the wildcard of both.
        self.bind_to(a)?;
        self.place.lock().scope = scope_of(&addr);
        Ok(())
    }

    fn connect(&self, addr: SockAddr, _nonblock: bool) -> Result<()> {
        if addr == SockAddr::Unspec {
            self.disconnect();
            return Ok(());
        }
        let to = reachable(inside(&self.common, &addr, self.options.get().is_v6_only())?);
        if to.port() == 0 {
            return Err(Errno::EINVAL);
        }
        let scope = scope_of(&addr);
        let device = self.common.device.load(Ordering::Relaxed);
        let iface = if scope != 0 { scope } else { device };
        let (hop, is_broadcast) =
            stack::with(|s| (s.routes.lookup(to.ip(), iface), s.routes.is_broadcast(iface, to.ip())));
        let hop = hop.ok_or(Errno::ENETUNREACH)?;
        if is_broadcast && !self.common.is(Bits::BROADCAST) {
            return Err(Errno::EACCES);
        }
        let local = self.bound_place()?.local.ok_or(Errno::EADDRINUSE)?;
        let mut place = self.place.lock();
        // A socket on the wildcard gets the address that its packets will carry.
        let ip = if local.ip().is_unspecified() {
            hop.source
        } else {
            local.ip()
        };
        let mut table = TABLE.lock();
        if let Some(b) = table.get_mut(local.port(), self.id) {
            b.remote = Some(to);
            b.addr = ip;
        }
        drop(table);
        place.local = Some(SocketAddr::new(ip, local.port()));
        place.remote = Some(to);
        place.scope = scope;
        Ok(())
    }

    fn send(&self, message: &mut Outgoing<'_, '_>) -> Result<usize> {
        if message.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        if self.is_write_shut.load(Ordering::Relaxed) {
            return Err(Errno::EPIPE);
        }
        if let Some(e) = self.common.take_error() {
            return Err(e);
        }
        let options: Values = self.options.get();
        let place = self.bound_place()?;
        let (to, scope) = match &message.to {
            Some(SockAddr::Unspec) | None => (place.remote.ok_or(Errno::EDESTADDRREQ)?, place.scope),
            Some(a) => (reachable(inside(&self.common, a, options.is_v6_only())?), scope_of(a)),
        };
        if to.port() == 0 {
            return Err(Errno::EINVAL);
        }
        // A socket bound to an IPv6 address does not reach IPv4, nor the reverse.
        if place
            .local
            .is_some_and(|l| !l.ip().is_unspecified() && l.is_ipv4() != to.is_ipv4())
        {
            return Err(Errno::ENETUNREACH);
        }
        let (tos, ttl) = options.for_packet(to.ip());
        let device = self.common.device.load(Ordering::Relaxed);
        let chosen = [message.control.iface, scope, device].into_iter().find(|i| *i != 0);
        let multicast_if = if to.ip().is_multicast() {
            options.multicast_if
        } else {
            0
        };
        let how = How {
            source: message.control.source.filter(|s| s.is_ipv4() == to.is_ipv4()),
            iface: chosen.unwrap_or(multicast_if),
            tos: message.control.tos.unwrap_or(tos),
            ttl: message.control.ttl.unwrap_or(ttl),
            dont_fragment: options.dont_fragment(to.ip()),
        };
        let len = message.data.remaining();
        let segment = message
            .control
            .segment
            .unwrap_or_else(|| self.segment.load(Ordering::Relaxed));
        if len > MOST {
            return Err(Errno::EMSGSIZE);
        }
        let data = message.data.take_vec(len)?;
        if data.len() < len {
            return Err(Errno::EFAULT);
        }
        if segment == 0 || len <= usize::from(segment) {
            self.send_one(&place, to, &how, data)?;
            return Ok(len);
        }
        if len.div_ceil(usize::from(segment)) > MOST_SEGMENTS {
            return Err(Errno::EINVAL);
        }
        for piece in data.chunks(usize::from(segment)) {
            self.send_one(&place, to, &how, piece.to_vec())?;
        }
        Ok(len)
    }

    fn receive(&self, message: &mut Incoming<'_, '_>) -> Result<usize> {
        if message.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        if message.flags.contains(MsgFlags::ERRQUEUE) {
            return Err(Errno::EAGAIN);
        }
        let is_peek = message.is_peek();
        let got = self.common.wait_receive(message.nonblock, || {
            if let Some(e) = self.common.take_error() {
                return Some(Err(e));
            }
            match if is_peek {
                self.mailbox.peek(Datagram::clone)
            } else {
                self.mailbox.take()
            } {
                Some(d) => Some(Ok(Some(d))),
                None if self.is_read_shut.load(Ordering::Relaxed) => Some(Ok(None)),
                None => None,
            }
        })?;
        let Some(d) = got else { return Ok(0) };
        let n = if d.data.is_empty() {
            0
        } else {
            message.data.put(&d.data)?
        };
        if message.wants_from {
            message.from = Some(outside(&self.common, d.meta.from, d.meta.iface));
        }
        if message.wants_control {
            self.options
                .get()
                .describe(message, d.meta.to, d.meta.iface, d.meta.tos, d.meta.ttl);
        }
        if n < d.data.len() {
            message.out_flags |= MsgFlags::TRUNC;
            if message.flags.contains(MsgFlags::TRUNC) {
                return Ok(d.data.len());
            }
        }
        Ok(n)
    }

    fn shutdown(&self, how: Shutdown) -> Result<()> {
        if self.place.lock().remote.is_none() {
            return Err(Errno::ENOTCONN);
        }
        if how.read {
            self.is_read_shut.store(true, Ordering::Relaxed);
        }
        if how.write {
            self.is_write_shut.store(true, Ordering::Relaxed);
        }
        self.common
            .queue
            .wake_all(Events::READ | Events::WRITE | Events::HUP | Events::RDHUP);
        Ok(())
    }

    fn local(&self) -> Result<SockAddr> {
        let place = *self.place.lock();
        let none = SocketAddr::new(any(&self.common), 0);
        Ok(outside(&self.common, place.local.unwrap_or(none), place.scope))
    }

    fn peer(&self) -> Result<SockAddr> {
        let place = *self.place.lock();
        place
            .remote
            .map(|r| outside(&self.common, r, place.scope))
            .ok_or(Errno::ENOTCONN)
    }

    fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<()> {
        match (level, name) {
            (SOL_SOCKET, _) => {
                // Options that the port table knows follow at once.
                let place = *self.place.lock();
                if let Some(l) = place.local
                    && let Some(b) = TABLE.lock().get_mut(l.port(), self.id)
                {
                    b.iface = self.common.device.load(Ordering::Relaxed);
                    b.reuse_addr = self.common.is(Bits::REUSE_ADDR);
                    b.reuse_port = self.common.is(Bits::REUSE_PORT);
                }
                Err(Errno::ENOPROTOOPT)
            }
            (SOL_UDP, UDP_SEGMENT) => {
                let v = u16::try_from(int(value)?).map_err(|_| Errno::EINVAL)?;
                self.segment.store(v, Ordering::Relaxed);
                Ok(())
            }
            (SOL_UDP, _) => Err(Errno::ENOPROTOOPT),
            _ => self
                .options
                .set(&self.common, level, name, value, self.place.lock().local.is_some()),
        }
    }

    fn get_option(&self, level: i32, name: i32) -> Result<Vec<u8>> {
        match (level, name) {
            (SOL_UDP, UDP_SEGMENT) => Ok(bytes(self.segment.load(Ordering::Relaxed))),
            (SOL_UDP | SOL_SOCKET, _) => Err(Errno::ENOPROTOOPT),
            _ => self.options.read(&self.common, level, name),
        }
    }

    fn events(&self) -> Events {
        let mut e = Events::WRITE;
        let read_shut = self.is_read_shut.load(Ordering::Relaxed);
        if !self.mailbox.is_empty() || read_shut {
            e |= Events::READ;
        }
        if read_shut {
            e |= Events::RDHUP;
            if self.is_write_shut.load(Ordering::Relaxed) {
                e |= Events::HUP;
            }
        }
        if self.common.has_error() {
            e |= Events::ERR | Events::READ;
        }
        e
    }

    fn readable_bytes(&self) -> usize {
        self.mailbox.peek(Letter::bytes).unwrap_or(0)
    }

    fn close(&self) {
        let place = core::mem::take(&mut *self.place.lock());
        if let Some(l) = place.local {
            let gone = TABLE.lock().release(l.port(), self.id);
            drop(gone);
        }
        self.mailbox.close(true);
    }
}
