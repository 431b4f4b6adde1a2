//! Packets out.

use alloc::vec::Vec;
use core::net::IpAddr;

use sis_hal::TxError;
use sis_netstack::neighbor::{Key, Outcome};
use sis_netstack::packet::{
    self, Arp, BROADCAST, ETHERNET, ETHERTYPE_IPV4, ETHERTYPE_IPV6, IpOut, Mac, Ndp, multicast_mac, set_ethernet,
};
use sis_netstack::route::{Hop, LOOPBACK};

use super::super::interface::LOOPBACK_COUNTERS;
use super::super::packet as packet_sockets;
use super::{BACKLOG, Stack};
use crate::time;
use crate::{Errno, Result};

/// How a packet is to go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sending {
    /// Destination.
    pub(crate) dst: IpAddr,
    /// Source, if the sender chose one.
    pub(crate) src: Option<IpAddr>,
    /// Interface, if the sender chose one (0: any).
    pub(crate) iface: u32,
    /// Protocol of the payload.
    pub(crate) protocol: u8,
    /// TOS or traffic class.
    pub(crate) tos: u8,
    /// TTL or hop limit.
    pub(crate) ttl: u8,
    /// Neither we nor routers may cut it.
    pub(crate) dont_fragment: bool,
}

impl Stack {
    /// Finds the way for a packet, and makes its header.
    pub(crate) fn prepare(&mut self, s: &Sending) -> Result<(Hop, IpOut, usize)> {
        let hop = self.routes.lookup(s.dst, s.iface).ok_or(Errno::ENETUNREACH)?;
        let iface = self.interface(hop.iface).ok_or(Errno::ENODEV)?;
        if !iface.is_up() {
            return Err(Errno::ENETDOWN);
        }
        let mtu = iface.mtu;
        self.next_id = self.next_id.wrapping_add(1);
        let out = IpOut {
            src: s.src.unwrap_or(hop.source),
            dst: s.dst,
            protocol: s.protocol,
            tos: s.tos,
            ttl: s.ttl,
            dont_fragment: s.dont_fragment,
            id: self.next_id,
        };
        Ok((hop, out, mtu))
    }

    /// Sends a packet made by one of `out`'s builders.
    pub(crate) fn send(&mut self, hop: &Hop, out: &IpOut, mtu: usize, frame: Vec<u8>) -> Result<()> {
        if frame.len() <= ETHERNET + mtu {
            return self.send_frame(hop, frame);
        }
        if out.dont_fragment {
            return Err(Errno::EMSGSIZE);
        }
        for piece in out.fragments(frame, mtu) {
            self.send_frame(hop, piece)?;
        }
        Ok(())
    }

    /// Sends an IP packet that has room for an Ethernet header in front and fits the interface.
    pub(crate) fn send_frame(&mut self, hop: &Hop, mut frame: Vec<u8>) -> Result<()> {
        if hop.is_local || hop.iface == LOOPBACK {
            LOOPBACK_COUNTERS.add(frame.len() - ETHERNET.min(frame.len()));
            self.loopback.push_back(frame);
            return Ok(());
        }
        let iface = self.interface(hop.iface).ok_or(Errno::ENODEV)?;
        let mac = iface.mac;
        let ethertype = if hop.next.is_ipv4() {
            ETHERTYPE_IPV4
        } else {
            ETHERTYPE_IPV6
        };
        set_ethernet(&mut frame, BROADCAST, mac, ethertype);
        if self.routes.is_broadcast(hop.iface, hop.next) {
            self.transmit(hop.iface, frame);
            return Ok(());
        }
        if hop.next.is_multicast() {
            set_ethernet(&mut frame, multicast_mac(hop.next), mac, ethertype);
            self.transmit(hop.iface, frame);
            return Ok(());
        }
        let key = (hop.iface, hop.next);
        match self.neighbors.resolve(time::now_ns(), key, frame) {
            Outcome::Send(frame, to, ask) => {
                self.transmit_to(hop.iface, to, frame);
                if ask {
                    self.ask(key);
                }
                Ok(())
            }
            Outcome::Wait(ask) => {
                if ask {
                    self.ask(key);
                }
                Ok(())
            }
            Outcome::Unreachable => Err(Errno::EHOSTUNREACH),
        }
    }

    /// Sends a frame whose destination has become known.
    pub(super) fn transmit_to(&mut self, iface: u32, to: Mac, mut frame: Vec<u8>) {
        if let Some(dst) = frame.get_mut(..6) {
            dst.copy_from_slice(&to);
        }
        self.transmit(iface, frame);
    }

    /// Gives a whole frame to the device; it waits when the device is full.
    pub(crate) fn transmit(&mut self, index: u32, frame: Vec<u8>) {
        let Some(iface) = self.interface(index) else { return };
        let Some(device) = iface.device.filter(|_| iface.is_up()) else {
            return;
        };
        packet_sockets::deliver_outgoing(iface, &frame);
        if !self.backlog.is_empty() {
            self.queue(index, frame);
            return;
        }
        let sent = device.transmit(&frame);
        self.note_unflushed(index);
        if sent == Err(TxError::Full) {
            self.queue(index, frame);
        }
    }

    fn note_unflushed(&mut self, index: u32) {
        if let Some(i) = self.interface_mut(index) {
            i.is_unflushed = true;
        }
    }

    fn queue(&mut self, index: u32, frame: Vec<u8>) {
        // The newest is lost: the older ones of its flow are on their way.
        if self.backlog.len() < BACKLOG {
            self.backlog.push_back((index, frame));
        }
    }

    /// Gives waiting frames to their devices.
    pub(super) fn drain_backlog(&mut self) {
        while let Some((index, frame)) = self.backlog.pop_front() {
            let Some(device) = self.interface(index).and_then(|i| i.device) else {
                continue;
            };
            let sent = device.transmit(&frame);
            self.note_unflushed(index);
            if sent == Err(TxError::Full) {
                self.backlog.push_front((index, frame));
                return;
            }
        }
    }

    /// Asks who has an address.
    pub(super) fn ask(&mut self, (index, addr): Key) {
        let Some(mac) = self.interface(index).map(|i| i.mac) else {
            return;
        };
        let Some(source) = self.routes.first_addr(index, addr) else {
            return;
        };
        let frame = match (addr, source) {
            (IpAddr::V4(target), IpAddr::V4(sender)) => Arp {
                is_request: true,
                sender_mac: mac,
                sender,
                target_mac: [0; 6],
                target,
            }
            .frame(BROADCAST),
            (IpAddr::V6(target), IpAddr::V6(source)) => Ndp::solicit(source, target, mac),
            _ => return,
        };
        self.transmit(index, frame);
    }

    /// Asks for routers on every interface that is up and has IPv6.
    pub(super) fn solicit_routers(&mut self) {
        let all: Vec<(u32, Mac)> = self
            .interfaces
            .iter()
            .filter(|i| i.device.is_some() && i.is_up())
            .map(|i| (i.index, i.mac))
            .collect();
        for (index, mac) in all {
            self.transmit(index, Ndp::router_solicit(packet::link_local(mac), mac));
        }
    }
}
