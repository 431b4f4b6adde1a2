//! Raw sockets (raw(7)) and ping sockets (SOCK_DGRAM with IPPROTO_ICMP, icmp(7)).

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use sis_machine::sync::{Rank, SpinLock};
use sis_netstack::packet::{self, ETHERNET, ICMP, ICMPV6, IpHeader};
use sis_netstack::sockaddr::{AF_INET, AF_INET6, SockAddr};

use super::super::mailbox::{Letter, Mailbox};
use super::super::message::{Incoming, MsgFlags, Outgoing};
use super::super::options::{Bits, SOL_SOCKET};
use super::super::random_u64;
use super::super::socket::{Common, Kind, Protocol, Shutdown};
use super::super::stack::{self, Sending};
use super::options::{IpOptions, Switches};
use super::{any, inside, outside, reachable, scope_of};
use crate::poll::Events;
use crate::{Errno, Result};

/// IPPROTO_RAW: the program writes the IP header, and receives nothing.
pub(crate) const IPPROTO_RAW: i32 = 255;
/// SOL_RAW's and SOL_ICMPV6's filter option.
const ICMP_FILTER: i32 = 1;
/// SOL_RAW.
const SOL_RAW: i32 = 255;
/// SOL_ICMPV6.
const SOL_ICMPV6: i32 = 58;
/// IPV6_CHECKSUM as an option of SOL_RAW.
const IPV6_CHECKSUM: i32 = 7;

static ALL: SpinLock<Vec<Weak<RawSocket>>> = SpinLock::new(Rank::Leaf, Vec::new());
static COUNT: AtomicUsize = AtomicUsize::new(0);

struct Packet {
    from: IpAddr,
    to: IpAddr,
    iface: u32,
    tos: u8,
    ttl: u8,
    data: Vec<u8>,
}

impl Letter for Packet {
    fn bytes(&self) -> usize {
        self.data.len()
    }
}

#[derive(Clone, Copy, Default)]
struct Place {
    local: Option<IpAddr>,
    remote: Option<SocketAddr>,
    scope: u32,
    /// Identifier of a ping socket's messages.
    id: u16,
}

/// A raw or ping socket.
pub(crate) struct RawSocket {
    common: Common,
    me: Weak<Self>,
    options: IpOptions,
    place: SpinLock<Place>,
    mailbox: Mailbox<Packet>,
    is_read_shut: AtomicBool,
    /// ICMP_FILTER: types that are not wanted (the first 32).
    filter: AtomicU32,
    /// ICMPV6_FILTER: likewise, all 256.
    filter6: SpinLock<[u32; 8]>,
}

impl RawSocket {
    pub(crate) fn new(family: u16, kind: Kind, protocol: i32) -> Arc<Self> {
        let common = Common::new(family, kind, protocol);
        let queue = common.queue.clone();
        let new = Arc::new_cyclic(|me| Self {
            common,
            me: me.clone(),
            options: IpOptions::new(),
            place: SpinLock::new(Rank::Socket, Place::default()),
            mailbox: Mailbox::new(queue),
            is_read_shut: AtomicBool::new(false),
            filter: AtomicU32::new(0),
            filter6: SpinLock::new(Rank::Leaf, [0; 8]),
        });
        if kind == Kind::Datagram {
            new.place.lock().id = random_u64() as u16;
        }
        ALL.lock().push(new.me.clone());
        COUNT.fetch_add(1, Ordering::Relaxed);
        new
    }

    fn is_ping(&self) -> bool {
        self.common.kind == Kind::Datagram
    }

    fn wants(&self, index: u32, ip: &IpHeader, payload: &[u8]) -> bool {
        let is_v6 = self.common.family == AF_INET6;
        let device = self.common.device.load(Ordering::Relaxed);
        if ip.dst.is_ipv6() != is_v6
            || (self.common.protocol != i32::from(ip.protocol) && self.common.protocol != 0)
            || self.common.protocol == IPPROTO_RAW
            || (device != 0 && device != index)
        {
            return false;
        }
        let place = *self.place.lock();
        if place.local.is_some_and(|l| l != ip.dst) || place.remote.is_some_and(|r| r.ip() != ip.src) {
            return false;
        }
        let kind = payload.first().copied().unwrap_or(0);
        if self.is_ping() {
            let reply = if is_v6 { 129 } else { 0 };
            return kind == reply && payload.get(4..6) == Some(&place.id.to_be_bytes()[..]);
        }
        match ip.protocol {
            ICMP if !is_v6 => kind >= 32 || self.filter.load(Ordering::Relaxed) & (1 << kind) == 0,
            ICMPV6 if is_v6 => {
                let words = self.filter6.lock();
                words
                    .get(usize::from(kind / 32))
                    .is_none_or(|w| w & (1 << (kind % 32)) == 0)
            }
            _ => true,
        }
    }

    /// The message with the checksum, and for ping sockets the identifier, that the kernel sets.
    fn finish(&self, data: &mut [u8], id: u16) -> Result<()> {
        if self.is_ping() {
            let request = if self.common.family == AF_INET6 { 128 } else { 8 };
            if data.len() < 8 || data.first() != Some(&request) || data.get(1) != Some(&0) {
                return Err(Errno::EINVAL);
            }
            if let Some(at) = data.get_mut(4..6) {
                at.copy_from_slice(&id.to_be_bytes());
            }
            if self.common.family == AF_INET {
                if let Some(at) = data.get_mut(2..4) {
                    at.fill(0);
                }
                let check = packet::fold(packet::sum(0, data));
                if let Some(at) = data.get_mut(2..4) {
                    at.copy_from_slice(&check.to_be_bytes());
                }
            }
        }
        Ok(())
    }

    /// A packet whose header the program wrote: the stack sets source (if none), identification, length and checksum.
    fn send_whole(&self, message: &Outgoing<'_, '_>, to: SocketAddr, mut whole: Vec<u8>) -> Result<()> {
        let header = usize::from(whole.first().copied().unwrap_or(0) & 15) * 4;
        if whole.len() < 20 || header < 20 || header > whole.len() || to.is_ipv6() {
            return Err(Errno::EINVAL);
        }
        stack::with(|s| {
            let hop = s
                .routes
                .lookup(to.ip(), message.control.iface)
                .ok_or(Errno::ENETUNREACH)?;
            let mtu = s.interface(hop.iface).map_or(0, |i| i.mtu);
            if whole.len() > mtu {
                return Err(Errno::EMSGSIZE);
            }
            let len = (whole.len() as u16).to_be_bytes();
            if let Some(at) = whole.get_mut(2..4) {
                at.copy_from_slice(&len);
            }
            if let (Some(at), IpAddr::V4(source)) = (whole.get_mut(12..16), hop.source)
                && at == [0; 4]
            {
                at.copy_from_slice(&source.octets());
            }
            if let Some(at) = whole.get_mut(10..12) {
                at.fill(0);
            }
            let check = packet::fold(packet::sum(0, whole.get(..header).unwrap_or_default()));
            if let Some(at) = whole.get_mut(10..12) {
                at.copy_from_slice(&check.to_be_bytes());
            }
            let mut frame = alloc::vec![0; ETHERNET];
            frame.extend_from_slice(&whole);
            s.send_frame(&hop, frame)
        })
    }
}

/// Gives a packet to every socket that wants it. `whole` is the packet with its header (of the first fragment, if it
/// came in several).
pub(crate) fn deliver(index: u32, ip: &IpHeader, whole: &[u8], payload: &[u8]) {
    if COUNT.load(Ordering::Relaxed) == 0 {
        return;
    }
    let all: Vec<_> = ALL.lock().iter().filter_map(Weak::upgrade).collect();
    for s in all {
        if !s.wants(index, ip, payload) {
            continue;
        }
        // IPv4 raw sockets get the header too.
        let mut data = Vec::with_capacity(ip.total_len);
        if ip.dst.is_ipv4() && !s.is_ping() {
            data.extend_from_slice(whole.get(..ip.header_len).unwrap_or_default());
        }
        data.extend_from_slice(payload);
        let p = Packet {
            from: ip.src,
            to: ip.dst,
            iface: index,
            tos: ip.tos,
            ttl: ip.ttl,
            data,
        };
        let limit = s.common.receive_bytes.load(Ordering::Relaxed);
        let _ = s.mailbox.put(p, limit);
    }
}

impl Protocol for RawSocket {
    fn common(&self) -> &Common {
        &self.common
    }

    fn bind(&self, addr: SockAddr) -> Result<()> {
        let a = inside(&self.common, &addr, true)?;
        if !stack::with(|s| s.may_bind(a.ip())) {
            return Err(Errno::EADDRNOTAVAIL);
        }
        let mut place = self.place.lock();
        place.local = (!a.ip().is_unspecified()).then_some(a.ip());
        place.scope = scope_of(&addr);
        if self.is_ping() && a.port() != 0 {
            place.id = a.port();
        }
        Ok(())
    }

    fn connect(&self, addr: SockAddr, _nonblock: bool) -> Result<()> {
        let mut place = *self.place.lock();
        if addr == SockAddr::Unspec {
            place.remote = None;
        } else {
            place.remote = Some(reachable(inside(&self.common, &addr, true)?));
            place.scope = scope_of(&addr);
        }
        *self.place.lock() = place;
        Ok(())
    }

    fn send(&self, message: &mut Outgoing<'_, '_>) -> Result<usize> {
        if let Some(e) = self.common.take_error() {
            return Err(e);
        }
        let place = *self.place.lock();
        let options = self.options.get();
        let (to, scope) = match &message.to {
            None => (place.remote.ok_or(Errno::EDESTADDRREQ)?, place.scope),
            Some(a) => (reachable(inside(&self.common, a, true)?), scope_of(a)),
        };
        let len = message.data.remaining();
        if len > 65_535 {
            return Err(Errno::EMSGSIZE);
        }
        let mut data = message.data.take_vec(len)?;
        if data.len() < len {
            return Err(Errno::EFAULT);
        }
        if options.on.contains(Switches::HDRINCL) || self.common.protocol == IPPROTO_RAW {
            self.send_whole(message, to, data)?;
            return Ok(len);
        }
        self.finish(&mut data, place.id)?;
        let (tos, ttl) = options.for_packet(to.ip());
        let device = self.common.device.load(Ordering::Relaxed);
        let sending = Sending {
            dst: to.ip(),
            src: message.control.source.or(place.local),
            iface: [message.control.iface, scope, device]
                .into_iter()
                .find(|i| *i != 0)
                .unwrap_or(0),
            protocol: self.common.protocol as u8,
            tos: message.control.tos.unwrap_or(tos),
            ttl: message.control.ttl.unwrap_or(ttl),
            dont_fragment: options.dont_fragment(to.ip()),
        };
        stack::with(|s| {
            if s.routes.is_broadcast(sending.iface, to.ip()) && !self.common.is(Bits::BROADCAST) {
                return Err(Errno::EACCES);
            }
            let (hop, head, mtu) = s.prepare(&sending)?;
            let frame = if sending.protocol == ICMPV6 && to.is_ipv6() {
                head.icmpv6(&data)
            } else {
                head.packet(&data)
            };
            s.send(&hop, &head, mtu, frame)
        })?;
        Ok(len)
    }

    fn receive(&self, message: &mut Incoming<'_, '_>) -> Result<usize> {
        if message.flags.contains(MsgFlags::ERRQUEUE) {
            return Err(Errno::EAGAIN);
        }
        let is_peek = message.is_peek();
        let copy = |p: &Packet| Packet {
            data: p.data.clone(),
            ..*p
        };
        let got = self.common.wait_receive(message.nonblock, || {
            if let Some(e) = self.common.take_error() {
                return Some(Err(e));
            }
            match if is_peek {
                self.mailbox.peek(copy)
            } else {
                self.mailbox.take()
            } {
                Some(p) => Some(Ok(Some(p))),
                None if self.is_read_shut.load(Ordering::Relaxed) => Some(Ok(None)),
                None => None,
            }
        })?;
        let Some(p) = got else { return Ok(0) };
        let n = if p.data.is_empty() {
            0
        } else {
            message.data.put(&p.data)?
        };
        message.from = Some(outside(&self.common, SocketAddr::new(p.from, 0), p.iface));
        self.options.get().describe(message, p.to, p.iface, p.tos, p.ttl);
        if n < p.data.len() {
            message.out_flags |= MsgFlags::TRUNC;
            if message.flags.contains(MsgFlags::TRUNC) {
                return Ok(p.data.len());
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
            self.common.queue.wake_all(Events::READ | Events::RDHUP);
        }
        Ok(())
    }

    fn local(&self) -> Result<SockAddr> {
        let place = *self.place.lock();
        let port = if self.is_ping() { place.id } else { 0 };
        let ip = place.local.unwrap_or_else(|| any(&self.common));
        Ok(outside(&self.common, SocketAddr::new(ip, port), place.scope))
    }

    fn peer(&self) -> Result<SockAddr> {
        let place = *self.place.lock();
        place
            .remote
            .map(|r| outside(&self.common, r, place.scope))
            .ok_or(Errno::ENOTCONN)
    }

    fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<()> {
        let word = |i: usize| {
            value
                .get(i * 4..i * 4 + 4)
                .and_then(|b| b.try_into().ok())
                .map(u32::from_le_bytes)
        };
        match (level, name) {
            (SOL_SOCKET, _) => Err(Errno::ENOPROTOOPT),
            (SOL_RAW, ICMP_FILTER) if self.common.family == AF_INET => {
                self.filter.store(word(0).ok_or(Errno::EINVAL)?, Ordering::Relaxed);
                Ok(())
            }
            (SOL_ICMPV6, ICMP_FILTER) if self.common.family == AF_INET6 => {
                let mut words = self.filter6.lock();
                for (i, w) in words.iter_mut().enumerate() {
                    *w = word(i).unwrap_or(0);
                }
                Ok(())
            }
            // The kernel computes ICMPv6's checksum anyway, at offset 2.
            (SOL_RAW, IPV6_CHECKSUM) if self.common.protocol == i32::from(ICMPV6) && word(0) == Some(2) => Ok(()),
            _ => self.options.set(&self.common, level, name, value, false),
        }
    }

    fn get_option(&self, level: i32, name: i32) -> Result<Vec<u8>> {
        match (level, name) {
            (SOL_SOCKET, _) => Err(Errno::ENOPROTOOPT),
            (SOL_RAW, ICMP_FILTER) => Ok(self.filter.load(Ordering::Relaxed).to_le_bytes().to_vec()),
            _ => self.options.read(&self.common, level, name),
        }
    }

    fn events(&self) -> Events {
        let mut e = Events::WRITE;
        if !self.mailbox.is_empty() || self.is_read_shut.load(Ordering::Relaxed) {
            e |= Events::READ;
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
        let me = core::ptr::from_ref(self);
        let mut all = ALL.lock();
        let before = all.len();
        all.retain(|w| !core::ptr::eq(w.as_ptr(), me));
        COUNT.fetch_sub(before - all.len(), Ordering::Relaxed);
        drop(all);
        self.mailbox.close(true);
    }
}
