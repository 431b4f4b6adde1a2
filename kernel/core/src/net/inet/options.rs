//! Options of IPPROTO_IP (ip(7)) and IPPROTO_IPV6 (ipv6(7)).

use alloc::vec::Vec;
use core::net::IpAddr;

use sis_machine::sync::{Rank, SpinLock};
use sis_netstack::sockaddr::AF_INET6;

use super::super::message::{Control, Incoming};
use super::super::options::{bytes, int, int_or_byte};
use super::super::socket::Common;
use crate::{Errno, Result};

/// IPPROTO_IP.
pub(crate) const SOL_IP: i32 = 0;
/// IPPROTO_IPV6.
pub(crate) const SOL_IPV6: i32 = 41;

/// IP_* numbers.
pub(crate) mod ip {
    pub(crate) const TOS: i32 = 1;
    pub(crate) const TTL: i32 = 2;
    pub(crate) const HDRINCL: i32 = 3;
    pub(crate) const PKTINFO: i32 = 8;
    pub(crate) const MTU_DISCOVER: i32 = 10;
    pub(crate) const RECVTTL: i32 = 12;
    pub(crate) const RECVTOS: i32 = 13;
    pub(crate) const FREEBIND: i32 = 15;
    pub(crate) const BIND_ADDRESS_NO_PORT: i32 = 24;
    pub(crate) const MULTICAST_IF: i32 = 32;
    pub(crate) const MULTICAST_TTL: i32 = 33;
    pub(crate) const MULTICAST_LOOP: i32 = 34;
}

/// IPV6_* numbers.
pub(crate) mod ip6 {
    pub(crate) const UNICAST_HOPS: i32 = 16;
    pub(crate) const MULTICAST_IF: i32 = 17;
    pub(crate) const MULTICAST_HOPS: i32 = 18;
    pub(crate) const MULTICAST_LOOP: i32 = 19;
    pub(crate) const MTU_DISCOVER: i32 = 23;
    pub(crate) const V6ONLY: i32 = 26;
    pub(crate) const RECVPKTINFO: i32 = 49;
    pub(crate) const PKTINFO: i32 = 50;
    pub(crate) const RECVHOPLIMIT: i32 = 51;
    pub(crate) const HOPLIMIT: i32 = 52;
    pub(crate) const DONTFRAG: i32 = 62;
    pub(crate) const RECVTCLASS: i32 = 66;
    pub(crate) const TCLASS: i32 = 67;
}

bitflags::bitflags! {
    /// What a receiver wants to know, and other switches.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Switches: u16 {
        /// IP_PKTINFO.
        const PKTINFO = 1 << 0;
        /// IP_RECVTOS.
        const TOS = 1 << 1;
        /// IP_RECVTTL.
        const TTL = 1 << 2;
        /// IPV6_RECVPKTINFO.
        const PKTINFO6 = 1 << 3;
        /// IPV6_RECVTCLASS.
        const TCLASS = 1 << 4;
        /// IPV6_RECVHOPLIMIT.
        const HOPLIMIT = 1 << 5;
        /// IPV6_V6ONLY.
        const V6ONLY = 1 << 6;
        /// IPV6_DONTFRAG.
        const DONTFRAG = 1 << 7;
        /// IP_HDRINCL.
        const HDRINCL = 1 << 8;
        /// IP_FREEBIND.
        const FREEBIND = 1 << 9;
        /// IP_BIND_ADDRESS_NO_PORT.
        const NO_PORT = 1 << 10;
        /// IP_MULTICAST_LOOP.
        const LOOP = 1 << 11;
        /// IPV6_MULTICAST_LOOP.
        const LOOP6 = 1 << 12;
    }
}

/// The options.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Values {
    pub(crate) on: Switches,
    pub(crate) tos: u8,
    pub(crate) tclass: u8,
    pub(crate) ttl: u8,
    pub(crate) hops: u8,
    pub(crate) multicast_ttl: u8,
    pub(crate) multicast_hops: u8,
    pub(crate) multicast_if: u32,
    /// IP_PMTUDISC_*.
    pub(crate) mtu_discover: u8,
    pub(crate) mtu_discover6: u8,
}

/// IP_PMTUDISC_WANT.
const PMTUDISC_WANT: u8 = 1;
/// IP_PMTUDISC_OMIT, the last.
const PMTUDISC_LAST: u8 = 5;

/// The options of one socket.
pub(crate) struct IpOptions(SpinLock<Values>);

fn byte(v: i32, default: u8) -> Result<u8> {
    match v {
        -1 => Ok(default),
        0..=255 => Ok(v as u8),
        _ => Err(Errno::EINVAL),
    }
}

fn hops(v: i32) -> Result<u8> {
    if v == 0 { Err(Errno::EINVAL) } else { byte(v, 64) }
}

impl IpOptions {
    pub(crate) const fn new() -> Self {
        Self(SpinLock::new(
            Rank::Leaf,
            Values {
                on: Switches::LOOP.union(Switches::LOOP6),
                tos: 0,
                tclass: 0,
                ttl: 64,
                hops: 64,
                multicast_ttl: 1,
                multicast_hops: 1,
                multicast_if: 0,
                mtu_discover: PMTUDISC_WANT,
                mtu_discover6: PMTUDISC_WANT,
            },
        ))
    }

    pub(crate) fn get(&self) -> Values {
        *self.0.lock()
    }

    /// For an accepted connection: those of its listener.
    pub(crate) fn inherit(&self, from: &Self) {
        let v = from.get();
        *self.0.lock() = v;
    }

    fn switch(&self, which: Switches, on: bool) {
        self.0.lock().on.set(which, on);
    }

    /// setsockopt(2) of levels IPPROTO_IP and IPPROTO_IPV6.
    pub(crate) fn set(&self, common: &Common, level: i32, name: i32, value: &[u8], is_bound: bool) -> Result<()> {
        match level {
            SOL_IP => self.set_ip(common, name, value),
            SOL_IPV6 if common.family == AF_INET6 => self.set_ip6(name, value, is_bound),
            _ => Err(Errno::ENOPROTOOPT),
        }
    }

    fn set_ip(&self, common: &Common, name: i32, value: &[u8]) -> Result<()> {
        use super::super::socket::Kind;
        let switch = match name {
            ip::PKTINFO => Some(Switches::PKTINFO),
            ip::RECVTOS => Some(Switches::TOS),
            ip::RECVTTL => Some(Switches::TTL),
            ip::FREEBIND => Some(Switches::FREEBIND),
            ip::BIND_ADDRESS_NO_PORT => Some(Switches::NO_PORT),
            ip::MULTICAST_LOOP => Some(Switches::LOOP),
            ip::HDRINCL if common.kind == Kind::Raw => Some(Switches::HDRINCL),
            _ => None,
        };
        if let Some(which) = switch {
            self.switch(which, int_or_byte(value)? != 0);
            return Ok(());
        }
        match name {
            ip::TOS => {
                let v = int_or_byte(value)? as u8;
                // The ECN bits of a TCP connection are not the program's (ip(7)).
                let v = if common.kind == Kind::Stream { v & !3 } else { v };
                self.0.lock().tos = v;
            }
            ip::TTL => {
                let v = hops(int_or_byte(value)?)?;
                self.0.lock().ttl = v;
            }
            ip::MTU_DISCOVER => {
                let v = u8::try_from(int_or_byte(value)?).ok().filter(|v| *v <= PMTUDISC_LAST);
                let v = v.ok_or(Errno::EINVAL)?;
                self.0.lock().mtu_discover = v;
            }
            ip::MULTICAST_TTL => {
                let v = byte(int_or_byte(value)?, 1)?;
                self.0.lock().multicast_ttl = v;
            }
            // struct in_addr, struct ip_mreq or struct ip_mreqn: the interface's index is the last word of the latter.
            ip::MULTICAST_IF => {
                let v = match value.get(8..12).and_then(|b| b.try_into().ok()) {
                    Some(index) => u32::from_le_bytes(index),
                    None if value.len() >= 4 => 0,
                    None => return Err(Errno::EINVAL),
                };
                self.0.lock().multicast_if = v;
            }
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }

    fn set_ip6(&self, name: i32, value: &[u8], is_bound: bool) -> Result<()> {
        let v = int(value)?;
        let switch = match name {
            ip6::RECVPKTINFO => Some(Switches::PKTINFO6),
            ip6::RECVTCLASS => Some(Switches::TCLASS),
            ip6::RECVHOPLIMIT => Some(Switches::HOPLIMIT),
            ip6::DONTFRAG => Some(Switches::DONTFRAG),
            ip6::MULTICAST_LOOP => Some(Switches::LOOP6),
            ip6::V6ONLY if is_bound => return Err(Errno::EINVAL),
            ip6::V6ONLY => Some(Switches::V6ONLY),
            _ => None,
        };
        if let Some(which) = switch {
            self.switch(which, v != 0);
            return Ok(());
        }
        match name {
            ip6::TCLASS => {
                let v = byte(v, 0)?;
                self.0.lock().tclass = v;
            }
            ip6::UNICAST_HOPS => {
                let v = hops(v)?;
                self.0.lock().hops = v;
            }
            ip6::MULTICAST_HOPS => {
                let v = byte(v, 1)?;
                self.0.lock().multicast_hops = v;
            }
            ip6::MULTICAST_IF => {
                let v = u32::try_from(v).map_err(|_| Errno::EINVAL)?;
                self.0.lock().multicast_if = v;
            }
            ip6::MTU_DISCOVER => {
                let v = u8::try_from(v)
                    .ok()
                    .filter(|v| *v <= PMTUDISC_LAST)
                    .ok_or(Errno::EINVAL)?;
                self.0.lock().mtu_discover6 = v;
            }
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }

    /// getsockopt(2) of levels IPPROTO_IP and IPPROTO_IPV6.
    pub(crate) fn read(&self, common: &Common, level: i32, name: i32) -> Result<Vec<u8>> {
        let v = self.get();
        let on = |s| bytes(v.on.contains(s));
        if level == SOL_IP {
            return Ok(match name {
                ip::TOS => bytes(v.tos),
                ip::TTL => bytes(v.ttl),
                ip::PKTINFO => on(Switches::PKTINFO),
                ip::RECVTOS => on(Switches::TOS),
                ip::RECVTTL => on(Switches::TTL),
                ip::FREEBIND => on(Switches::FREEBIND),
                ip::BIND_ADDRESS_NO_PORT => on(Switches::NO_PORT),
                ip::HDRINCL => on(Switches::HDRINCL),
                ip::MTU_DISCOVER => bytes(v.mtu_discover),
                ip::MULTICAST_TTL => bytes(v.multicast_ttl),
                ip::MULTICAST_LOOP => on(Switches::LOOP),
                _ => return Err(Errno::ENOPROTOOPT),
            });
        }
        if level != SOL_IPV6 || common.family != AF_INET6 {
            return Err(Errno::ENOPROTOOPT);
        }
        Ok(match name {
            ip6::RECVPKTINFO => on(Switches::PKTINFO6),
            ip6::RECVTCLASS => on(Switches::TCLASS),
            ip6::RECVHOPLIMIT => on(Switches::HOPLIMIT),
            ip6::DONTFRAG => on(Switches::DONTFRAG),
            ip6::V6ONLY => on(Switches::V6ONLY),
            ip6::MULTICAST_LOOP => on(Switches::LOOP6),
            ip6::TCLASS => bytes(v.tclass),
            ip6::UNICAST_HOPS => bytes(v.hops),
            ip6::MULTICAST_HOPS => bytes(v.multicast_hops),
            ip6::MULTICAST_IF => bytes(v.multicast_if),
            ip6::MTU_DISCOVER => bytes(v.mtu_discover6),
            _ => return Err(Errno::ENOPROTOOPT),
        })
    }
}

impl Values {
    pub(crate) fn is_v6_only(&self) -> bool {
        self.on.contains(Switches::V6ONLY)
    }

    /// TOS and TTL of a packet to `dst`.
    pub(crate) fn for_packet(&self, dst: IpAddr) -> (u8, u8) {
        match (dst, dst.is_multicast()) {
            (IpAddr::V4(_), false) => (self.tos, self.ttl),
            (IpAddr::V4(_), true) => (self.tos, self.multicast_ttl),
            (IpAddr::V6(_), false) => (self.tclass, self.hops),
            (IpAddr::V6(_), true) => (self.tclass, self.multicast_hops),
        }
    }

    /// Whether a packet to `dst` must not be cut: IP_PMTUDISC_DO and IP_PMTUDISC_PROBE, IPV6_DONTFRAG.
    pub(crate) fn dont_fragment(&self, dst: IpAddr) -> bool {
        match dst {
            IpAddr::V4(_) => matches!(self.mtu_discover, 2 | 3),
            IpAddr::V6(_) => matches!(self.mtu_discover6, 2 | 3) || self.on.contains(Switches::DONTFRAG),
        }
    }

    /// Adds the control messages that the receiver of a packet wants.
    pub(crate) fn describe(&self, message: &mut Incoming<'_, '_>, to: IpAddr, iface: u32, tos: u8, ttl: u8) {
        use super::super::message::Ancillary;
        if !message.wants_control {
            return;
        }
        let v4 = match to {
            IpAddr::V4(a) => Some(a),
            IpAddr::V6(_) => None,
        };
        if let Some(a) = v4 {
            if self.on.contains(Switches::PKTINFO) {
                let mut data = iface.to_le_bytes().to_vec();
                data.extend_from_slice(&a.octets());
                data.extend_from_slice(&a.octets());
                message.ancillary.push(Ancillary::Bytes {
                    level: SOL_IP,
                    kind: ip::PKTINFO,
                    data,
                });
            }
            if self.on.contains(Switches::TOS) {
                let data = alloc::vec![tos];
                message.ancillary.push(Ancillary::Bytes {
                    level: SOL_IP,
                    kind: ip::TOS,
                    data,
                });
            }
            if self.on.contains(Switches::TTL) {
                message.push_int(SOL_IP, ip::TTL, i32::from(ttl));
            }
        } else {
            if self.on.contains(Switches::TCLASS) {
                message.push_int(SOL_IPV6, ip6::TCLASS, i32::from(tos));
            }
            if self.on.contains(Switches::HOPLIMIT) {
                message.push_int(SOL_IPV6, ip6::HOPLIMIT, i32::from(ttl));
            }
        }
        if self.on.contains(Switches::PKTINFO6) {
            let octets = match to {
                IpAddr::V4(a) => a.to_ipv6_mapped().octets(),
                IpAddr::V6(a) => a.octets(),
            };
            let mut data = octets.to_vec();
            data.extend_from_slice(&iface.to_le_bytes());
            message.ancillary.push(Ancillary::Bytes {
                level: SOL_IPV6,
                kind: ip6::PKTINFO,
                data,
            });
        }
    }
}

/// Reads a control message of levels IPPROTO_IP and IPPROTO_IPV6; `EINVAL` for those that are not built.
pub(crate) fn read_control(control: &mut Control, level: i32, kind: i32, data: &[u8]) -> Result<()> {
    let word = |at: usize| data.get(at..at + 4).and_then(|b| <[u8; 4]>::try_from(b).ok());
    match (level, kind) {
        (SOL_IP, ip::TOS) => control.tos = Some(int_or_byte(data)? as u8),
        (SOL_IP, ip::TTL) => {
            let v = int(data)?;
            control.ttl = Some(u8::try_from(v).ok().filter(|v| *v > 0).ok_or(Errno::EINVAL)?);
        }
        (SOL_IP, ip::PKTINFO) => {
            if data.len() != 12 {
                return Err(Errno::EINVAL);
            }
            control.iface = u32::from_le_bytes(word(0).ok_or(Errno::EINVAL)?);
            let source = IpAddr::from(word(4).ok_or(Errno::EINVAL)?);
            control.source = (!source.is_unspecified()).then_some(source);
        }
        (SOL_IPV6, ip6::TCLASS) => control.tos = Some(byte(int(data)?, 0)?),
        (SOL_IPV6, ip6::HOPLIMIT) => control.ttl = Some(byte(int(data)?, 64)?),
        (SOL_IPV6, ip6::PKTINFO) => {
            let octets = data
                .get(..16)
                .and_then(|b| <[u8; 16]>::try_from(b).ok())
                .ok_or(Errno::EINVAL)?;
            control.iface = u32::from_le_bytes(word(16).ok_or(Errno::EINVAL)?);
            let source = core::net::Ipv6Addr::from(octets);
            let source = source.to_ipv4_mapped().map_or(IpAddr::V6(source), IpAddr::V4);
            control.source = (!source.is_unspecified()).then_some(source);
        }
        _ => return Err(Errno::EINVAL),
    }
    Ok(())
}
