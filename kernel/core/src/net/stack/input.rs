//! Packets in.

use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use sis_netstack::packet::{
    self, Arp, ETHERNET, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ICMP, ICMPV6, IpHeader, IpOut, Ndp, TCP, UDP,
    parse_ip, solicited_node,
};
use sis_netstack::route::{IfAddr, LOOPBACK, Route};

use super::super::inet::{self, connections, raw, udp};
use super::super::packet as packet_sockets;
use super::Stack;

/// How a packet's destination concerns us.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Aim {
    Us,
    Everyone,
    Others,
}

impl Stack {
    /// A frame came in on an interface that is up.
    pub(super) fn input(&mut self, now: u64, index: u32, frame: &[u8]) {
        let Some(iface) = self.interface(index) else { return };
        packet_sockets::deliver_incoming(iface, frame);
        let mac = iface.mac;
        let (Some(dst), Some(kind), Some(body)) = (frame.get(..6), frame.get(12..14), frame.get(ETHERNET..)) else {
            return;
        };
        let is_group = dst.first().is_some_and(|b| b & 1 != 0);
        if dst != mac && !is_group {
            return;
        }
        match kind.try_into().map(u16::from_be_bytes) {
            Ok(ETHERTYPE_ARP) => self.input_arp(now, index, body),
            Ok(ETHERTYPE_IPV4 | ETHERTYPE_IPV6) => self.input_ip(now, index, body),
            _ => self.ignore(index),
        }
    }

    fn ignore(&mut self, index: u32) {
        if let Some(i) = self.interface_mut(index) {
            i.rx_ignored += 1;
        }
    }

    fn input_arp(&mut self, now: u64, index: u32, body: &[u8]) {
        let Some(arp) = Arp::parse(body) else {
            return self.ignore(index);
        };
        let Some(mac) = self.interface(index).map(|i| i.mac) else {
            return;
        };
        let is_for_us = self
            .routes
            .addrs()
            .iter()
            .any(|a| a.iface == index && a.addr == IpAddr::V4(arp.target));
        if !arp.sender.is_unspecified() && !arp.sender.is_broadcast() && arp.sender_mac.iter().any(|b| *b != 0) {
            let waiting = self
                .neighbors
                .learn(now, (index, arp.sender.into()), arp.sender_mac, is_for_us);
            for frame in waiting {
                self.transmit_to(index, arp.sender_mac, frame);
            }
        }
        if arp.is_request && is_for_us {
            let answer = Arp {
                is_request: false,
                sender_mac: mac,
                sender: arp.target,
                target_mac: arp.sender_mac,
                target: arp.sender,
            };
            self.transmit(index, answer.frame(arp.sender_mac));
        }
    }

    fn aim(&self, index: u32, dst: IpAddr) -> Aim {
        if self.routes.is_local(dst) && (!dst.is_loopback() || index == LOOPBACK) {
            return Aim::Us;
        }
        match dst {
            IpAddr::V4(_) if dst.is_multicast() || self.routes.is_broadcast(index, dst) => Aim::Everyone,
            // Before an interface has an address, a DHCP server may answer to the one it offers; packet sockets get that.
            IpAddr::V6(a) if a.is_multicast() => {
                let ours = |i: &IfAddr| matches!(i.addr, IpAddr::V6(x) if solicited_node(x) == a);
                let all_nodes = a == Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
                if all_nodes || self.routes.addrs().iter().any(ours) {
                    Aim::Everyone
                } else {
                    Aim::Others
                }
            }
            _ => Aim::Others,
        }
    }

    /// An IP packet came in.
    pub(super) fn input_ip(&mut self, now: u64, index: u32, whole: &[u8]) {
        let Some((ip, payload)) = parse_ip(whole) else {
            return self.ignore(index);
        };
        // Nobody else may speak in our name, and nobody at all as a group.
        let is_forged = index != LOOPBACK && (ip.src.is_loopback() || self.routes.is_local(ip.src));
        if is_forged || ip.src.is_multicast() || self.routes.is_broadcast(index, ip.src) {
            return self.ignore(index);
        }
        let aim = self.aim(index, ip.dst);
        if aim == Aim::Others {
            return;
        }
        let whole = whole.get(..ip.total_len).unwrap_or_default();
        match ip.fragment {
            None => self.input_transport(now, index, &ip, whole, payload, aim),
            Some(piece) => {
                if let Some(joined) = self.reassembly.add(now, &ip, piece, payload) {
                    let ip = IpHeader {
                        fragment: None,
                        total_len: ip.header_len + joined.len(),
                        ..ip
                    };
                    self.input_transport(now, index, &ip, whole, &joined, aim);
                }
            }
        }
    }

    fn input_transport(&mut self, now: u64, index: u32, ip: &IpHeader, whole: &[u8], payload: &[u8], aim: Aim) {
        raw::deliver(index, ip, whole, payload);
        match ip.protocol {
            UDP => self.input_udp(index, ip, whole, payload, aim),
            TCP if aim == Aim::Us => connections::input(self, now, index, ip, whole, payload),
            ICMP if ip.dst.is_ipv4() => self.input_icmp(ip, payload, aim),
            ICMPV6 if ip.dst.is_ipv6() => self.input_icmpv6(now, index, ip, payload, aim),
            _ => {}
        }
    }

    fn input_udp(&mut self, index: u32, ip: &IpHeader, whole: &[u8], payload: &[u8], aim: Aim) {
        let Some(d) = packet::parse_udp(ip, payload) else {
            return self.ignore(index);
        };
        let from = SocketAddr::new(ip.src, d.src_port);
        let meta = udp::Meta {
            from,
            to: ip.dst,
            iface: index,
            tos: ip.tos,
            ttl: ip.ttl,
        };
        if aim == Aim::Everyone {
            udp::deliver_to_all(d.dst_port, &meta, d.data);
        } else if !udp::deliver(d.dst_port, &meta, d.data)
            && let Some(answer) = packet::unreachable(ip, whole, 3, ip.dst)
        {
            self.reply(ip.src, answer);
        }
    }

    /// Sends an answer made by the packet builders back where the question came from.
    pub(crate) fn reply(&mut self, to: IpAddr, frame: alloc::vec::Vec<u8>) {
        if let Some(hop) = self.routes.lookup(to, 0) {
            let _ = self.send_frame(&hop, frame);
        }
    }

    fn input_icmp(&mut self, ip: &IpHeader, message: &[u8], aim: Aim) {
        if !packet::icmp_is_sound(message) {
            return;
        }
        match message.first() {
            Some(8) if aim == Aim::Us => {
                let second = message.get(4..8).and_then(|s| s.try_into().ok()).unwrap_or_default();
                let answer = packet::icmp(0, 0, second, message.get(8..).unwrap_or_default());
                let head = IpOut {
                    src: ip.dst,
                    dst: ip.src,
                    protocol: ICMP,
                    tos: ip.tos,
                    ttl: 64,
                    dont_fragment: false,
                    id: 0,
                };
                self.answer(&head, head.packet(&answer));
            }
            Some(3) => {
                if let Some((quoted, data)) = message.get(8..).and_then(quoted_ip) {
                    let code = message.get(1).copied().unwrap_or(0);
                    inet::icmp_error(self, quoted, data, inet::errno_of_icmp(code));
                }
            }
            _ => {}
        }
    }

    fn answer(&mut self, head: &IpOut, frame: alloc::vec::Vec<u8>) {
        if let Some(hop) = self.routes.lookup(head.dst, 0) {
            let mtu = self.interface(hop.iface).map_or(1280, |i| i.mtu);
            let _ = self.send(&hop, head, mtu, frame);
        }
    }

    fn input_icmpv6(&mut self, now: u64, index: u32, ip: &IpHeader, message: &[u8], aim: Aim) {
        if !packet::icmpv6_is_sound(ip, message) {
            return;
        }
        match message.first() {
            Some(128) if aim == Aim::Us => {
                let mut answer = message.to_vec();
                if let Some(kind) = answer.first_mut() {
                    *kind = 129;
                }
                let head = IpOut {
                    src: ip.dst,
                    dst: ip.src,
                    protocol: ICMPV6,
                    tos: ip.tos,
                    ttl: 64,
                    dont_fragment: false,
                    id: 0,
                };
                self.answer(&head, head.icmpv6(&answer));
            }
            Some(1) => {
                if let Some((quoted, data)) = message.get(8..).and_then(quoted_ip) {
                    let code = if message.get(1) == Some(&4) { 3 } else { 1 };
                    inet::icmp_error(self, quoted, data, inet::errno_of_icmp(code));
                }
            }
            _ => {
                if let Some(m) = Ndp::parse(ip.ttl, message) {
                    self.input_ndp(now, index, ip, m);
                }
            }
        }
    }

    fn input_ndp(&mut self, now: u64, index: u32, ip: &IpHeader, m: Ndp) {
        let Some(mac) = self.interface(index).filter(|i| i.device.is_some()).map(|i| i.mac) else {
            return;
        };
        let IpAddr::V6(src) = ip.src else { return };
        match m {
            Ndp::Solicit { target, mac: theirs } => {
                let is_ours = self
                    .routes
                    .addrs()
                    .iter()
                    .any(|a| a.iface == index && a.addr == IpAddr::V6(target));
                if !is_ours {
                    return;
                }
                if let Some(to) = theirs.filter(|_| !src.is_unspecified()) {
                    for frame in self.neighbors.learn(now, (index, src.into()), to, true) {
                        self.transmit_to(index, to, frame);
                    }
                    self.transmit(index, Ndp::advert(target, src, to, mac));
                }
            }
            Ndp::Advert {
                target, mac: Some(to), ..
            } => {
                for frame in self.neighbors.learn(now, (index, target.into()), to, false) {
                    self.transmit_to(index, to, frame);
                }
            }
            Ndp::Advert { .. } => {}
            Ndp::Router {
                lifetime_s,
                mac: router,
                prefix,
            } => {
                self.solicit = None;
                if let Some(to) = router {
                    self.neighbors.learn(now, (index, src.into()), to, true);
                }
                if let Some((net, len, _)) = prefix {
                    let addr = packet::with_interface_id(net, mac).into();
                    let _ = self.routes.add_addr(IfAddr {
                        iface: index,
                        addr,
                        prefix: len,
                        broadcast: None,
                    });
                }
                let default = Route {
                    dst: Ipv6Addr::UNSPECIFIED.into(),
                    prefix: 0,
                    gateway: Some(src.into()),
                    iface: index,
                    metric: 1024,
                    source: None,
                    protocol: 9,
                };
                if lifetime_s > 0 {
                    let _ = self.routes.add_route(default);
                } else {
                    let _ = self.routes.remove_route(default.dst, 0, default.gateway, index, None);
                }
            }
        }
    }
}

/// Source, destination and protocol.
type Quoted = (IpAddr, IpAddr, u8);

/// The IP header and what follows it of a packet quoted in an ICMP error, which may be cut short.
fn quoted_ip(quote: &[u8]) -> Option<(Quoted, &[u8])> {
    let version = quote.first()? >> 4;
    if version == 4 {
        let len = usize::from(quote.first()? & 15) * 4;
        let src: [u8; 4] = quote.get(12..16)?.try_into().ok()?;
        let dst: [u8; 4] = quote.get(16..20)?.try_into().ok()?;
        return Some(((src.into(), dst.into(), *quote.get(9)?), quote.get(len..)?));
    }
    let src: [u8; 16] = quote.get(8..24)?.try_into().ok()?;
    let dst: [u8; 16] = quote.get(24..40)?.try_into().ok()?;
    Some(((src.into(), dst.into(), *quote.get(6)?), quote.get(40..)?))
}
