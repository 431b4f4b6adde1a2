//! Changing interfaces, addresses and routes; what ioctl(2) and rtnetlink share.

use core::net::{IpAddr, Ipv4Addr};

use sis_netstack::packet;
use sis_netstack::route::{ChangeError, IfAddr, Route, netmask};

use super::super::interface::flag;
use super::Stack;
use crate::time;
use crate::{Errno, Result};

/// A change of an address or a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Add; fails if it is there.
    Add,
    /// Add or replace.
    Replace,
    /// Remove.
    Remove,
}

/// The broadcast address of a network; none for very small ones.
pub(crate) fn broadcast_of(addr: Ipv4Addr, prefix: u8) -> Option<Ipv4Addr> {
    (prefix < 31).then(|| Ipv4Addr::from(u32::from(addr) | !u32::from(netmask(prefix))))
}

fn errno(e: ChangeError, missing: Errno) -> Errno {
    match e {
        ChangeError::Exists => Errno::EEXIST,
        ChangeError::Missing => missing,
        ChangeError::Gateway => Errno::ENETUNREACH,
        ChangeError::Invalid => Errno::EINVAL,
        ChangeError::Full => Errno::ENOBUFS,
    }
}

impl Stack {
    /// Sets those of IFF_* that a person may set.
    pub(crate) fn set_flags(&mut self, index: u32, flags: u32) -> Result<()> {
        let settable = flag::UP | flag::PROMISC | flag::ALLMULTI | flag::NOARP;
        let iface = self.interface_mut(index).ok_or(Errno::ENODEV)?;
        let was_up = iface.is_up();
        iface.flags = (iface.flags & !settable) | (flags & settable);
        let (is_up, is_ethernet, mac) = (iface.is_up(), iface.device.is_some(), iface.mac);
        if is_up && !was_up && is_ethernet {
            iface.is_v6_started = true;
            let addr = IfAddr {
                iface: index,
                addr: packet::link_local(mac).into(),
                prefix: 64,
                broadcast: None,
            };
            let _ = self.routes.add_addr(addr);
            self.solicit = Some((time::now_ns(), 3));
        }
        if !is_up && was_up && is_ethernet {
            self.neighbors.flush(index);
            self.routes.drop_gateways(index);
            let v6: alloc::vec::Vec<IpAddr> = self
                .routes
                .addrs()
                .iter()
                .filter(|a| a.iface == index && a.addr.is_ipv6())
                .map(|a| a.addr)
                .collect();
            for a in v6 {
                let _ = self.routes.remove_addr(index, a);
            }
        }
        Ok(())
    }

    /// Sets an interface's MTU.
    pub(crate) fn set_mtu(&mut self, index: u32, mtu: usize) -> Result<()> {
        let iface = self.interface_mut(index).ok_or(Errno::ENODEV)?;
        let most = iface.device.map_or(65536, |d| d.mtu_bytes());
        if !(576..=most).contains(&mtu) {
            return Err(Errno::EINVAL);
        }
        iface.mtu = mtu;
        Ok(())
    }

    /// Changes an address.
    pub(crate) fn change_addr(&mut self, change: Change, a: IfAddr) -> Result<()> {
        self.interface(a.iface).ok_or(Errno::ENODEV)?;
        match change {
            Change::Add => self.routes.add_addr(a).map_err(|e| errno(e, Errno::EADDRNOTAVAIL)),
            Change::Replace => {
                let _ = self.routes.remove_addr(a.iface, a.addr);
                self.routes.add_addr(a).map_err(|e| errno(e, Errno::EADDRNOTAVAIL))
            }
            Change::Remove => self
                .routes
                .remove_addr(a.iface, a.addr)
                .map(|_| ())
                .map_err(|e| errno(e, Errno::EADDRNOTAVAIL)),
        }
    }

    /// SIOCSIFADDR: the interface's IPv4 address becomes `addr` with its class's mask; 0.0.0.0 removes it.
    pub(crate) fn set_primary(&mut self, index: u32, addr: Ipv4Addr) -> Result<()> {
        self.interface(index).ok_or(Errno::ENODEV)?;
        if let Some(old) = self.primary(index) {
            let _ = self.routes.remove_addr(index, old.addr);
        }
        self.neighbors.flush(index);
        if addr.is_unspecified() {
            return Ok(());
        }
        let prefix = match addr.octets() {
            [0..=127, ..] => 8,
            [128..=191, ..] => 16,
            [192..=223, ..] => 24,
            _ => return Err(Errno::EINVAL),
        };
        let is_ethernet = self.interface(index).is_some_and(|i| i.device.is_some());
        let broadcast = broadcast_of(addr, prefix).filter(|_| is_ethernet);
        self.change_addr(
            Change::Add,
            IfAddr {
                iface: index,
                addr: addr.into(),
                prefix,
                broadcast,
            },
        )?;
        // As on Linux, an address brings the interface up.
        let flags = self.interface(index).map_or(0, |i| i.flags);
        self.set_flags(index, flags | flag::UP)
    }

    /// The IPv4 address that the ioctls speak of.
    pub(crate) fn primary(&self, index: u32) -> Option<IfAddr> {
        self.routes
            .addrs()
            .iter()
            .find(|a| a.iface == index && a.addr.is_ipv4())
            .copied()
    }

    /// SIOCSIFNETMASK, SIOCSIFBRDADDR: replaces parts of the IPv4 address.
    pub(crate) fn alter_primary(&mut self, index: u32, alter: impl FnOnce(&mut IfAddr)) -> Result<()> {
        let old = self.primary(index).ok_or(Errno::EADDRNOTAVAIL)?;
        let mut new = old;
        alter(&mut new);
        // Routes through routers survive if the router is still on the link.
        let gateways: alloc::vec::Vec<Route> = self
            .routes
            .routes()
            .iter()
            .filter(|r| r.iface == index && r.gateway.is_some())
            .copied()
            .collect();
        let _ = self.routes.remove_addr(index, old.addr);
        self.change_addr(Change::Add, new)?;
        for r in gateways {
            let _ = self.routes.add_route(r);
        }
        Ok(())
    }

    /// Changes a route. With interface 0 the gateway tells it.
    pub(crate) fn change_route(&mut self, change: Change, mut r: Route) -> Result<()> {
        if change == Change::Remove {
            let gone = self
                .routes
                .remove_route(r.dst, r.prefix, r.gateway, r.iface, Some(r.metric));
            let gone = gone.or_else(|_| self.routes.remove_route(r.dst, r.prefix, r.gateway, r.iface, None));
            return gone.map(|_| ()).map_err(|e| errno(e, Errno::ESRCH));
        }
        if r.iface == 0 {
            let via = r.gateway.ok_or(Errno::ENODEV)?;
            r.iface = self
                .routes
                .lookup(via, 0)
                .filter(|h| !h.is_local)
                .ok_or(Errno::ENETUNREACH)?
                .iface;
        }
        let iface = self.interface(r.iface).ok_or(Errno::ENODEV)?;
        if !iface.is_up() {
            return Err(Errno::ENETDOWN);
        }
        if change == Change::Replace {
            let _ = self.routes.remove_route(r.dst, r.prefix, None, 0, Some(r.metric));
        }
        self.routes.add_route(r).map_err(|e| errno(e, Errno::ESRCH))
    }

    /// Sets a neighbour's hardware address for good.
    pub(crate) fn set_neighbor(&mut self, key: sis_netstack::neighbor::Key, mac: packet::Mac) {
        for frame in self.neighbors.set_permanent(key, mac) {
            self.transmit_to(key.0, mac, frame);
        }
    }
}
