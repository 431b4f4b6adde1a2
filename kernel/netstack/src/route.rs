//! Interfaces' addresses and where a packet goes: longest prefix first, then the smaller metric.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Routes and addresses kept at most, each.
pub const CAPACITY: usize = 128;

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IfAddr {
    /// Interface index.
    pub iface: u32,
    /// The address.
    pub addr: IpAddr,
    /// Bits of the network.
    pub prefix: u8,
    /// Where broadcasts go (IPv4).
    pub broadcast: Option<Ipv4Addr>,
}

/// A route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Network.
    pub dst: IpAddr,
    /// Bits of the network.
    pub prefix: u8,
    /// Router; none when the network is on the link.
    pub gateway: Option<IpAddr>,
    /// Interface index.
    pub iface: u32,
    /// Smaller is better.
    pub metric: u32,
    /// Preferred source address.
    pub source: Option<IpAddr>,
    /// Who made it: RTPROT_KERNEL (2), RTPROT_BOOT (3), RTPROT_STATIC (4), RTPROT_RA (9).
    pub protocol: u8,
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Interface index.
    pub iface: u32,
    /// The neighbour that gets it.
    pub next: IpAddr,
    /// Source address to use if the sender names none.
    pub source: IpAddr,
    /// The destination is an address of this machine.
    pub is_local: bool,
}

/// Why a change was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeError {
    /// It is there already (EEXIST).
    Exists,
    /// It is not there (ESRCH for routes, EADDRNOTAVAIL for addresses).
    Missing,
    /// The gateway is not on a link (ENETUNREACH).
    Gateway,
    /// The prefix is longer than the address, or the address has bits outside the network (EINVAL).
    Invalid,
    /// No more room (ENOBUFS).
    Full,
}

/// Index of the loopback interface.
pub const LOOPBACK: u32 = 1;

/// Addresses and routes.
#[derive(Debug, Default)]
pub struct RouteTable {
    addrs: Vec<IfAddr>,
    routes: Vec<Route>,
}

fn bits(a: IpAddr) -> (u128, u8) {
    match a {
        IpAddr::V4(a) => (u128::from(u32::from(a)) << 96, 32),
        IpAddr::V6(a) => (u128::from(a), 128),
    }
}

/// `addr` with everything but the first `prefix` bits cleared.
pub fn network(addr: IpAddr, prefix: u8) -> IpAddr {
    match addr {
        IpAddr::V4(a) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            Ipv4Addr::from(u32::from(a) & mask).into()
        }
        IpAddr::V6(a) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
            Ipv6Addr::from(u128::from(a) & mask).into()
        }
    }
}

/// Whether `addr` lies in the network.
pub fn contains(net: IpAddr, prefix: u8, addr: IpAddr) -> bool {
    net.is_ipv4() == addr.is_ipv4() && network(net, prefix) == network(addr, prefix)
}

/// The netmask of a prefix length (IPv4).
pub fn netmask(prefix: u8) -> Ipv4Addr {
    Ipv4Addr::from(u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0))
}

/// The prefix length of a netmask; `None` when its ones are not contiguous.
pub fn prefix_of(mask: Ipv4Addr) -> Option<u8> {
    let m = u32::from(mask);
    (m.leading_ones() + m.trailing_zeros() >= 32).then_some(m.leading_ones() as u8)
}

fn is_link_local(a: IpAddr) -> bool {
    match a {
        IpAddr::V4(_) => false,
        IpAddr::V6(a) => a.segments().first().is_some_and(|s| s & 0xffc0 == 0xfe80),
    }
}

impl RouteTable {
    /// No addresses, no routes.
    pub const fn new() -> Self {
        Self {
            addrs: Vec::new(),
            routes: Vec::new(),
        }
    }

    /// The addresses.
    pub fn addrs(&self) -> &[IfAddr] {
        &self.addrs
    }

    /// The routes.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// Whether `addr` is one of this machine's.
    pub fn is_local(&self, addr: IpAddr) -> bool {
        if addr.is_loopback() {
            return self
                .addrs
                .iter()
                .any(|a| a.iface == LOOPBACK && a.addr.is_ipv4() == addr.is_ipv4());
        }
        self.addrs.iter().any(|a| a.addr == addr)
    }

    /// Whether `addr` is a broadcast address of `iface` (0: of any).
    pub fn is_broadcast(&self, iface: u32, addr: IpAddr) -> bool {
        let IpAddr::V4(v4) = addr else { return false };
        v4.is_broadcast()
            || self
                .addrs
                .iter()
                .any(|a| (iface == 0 || a.iface == iface) && a.broadcast == Some(v4))
    }

    /// The first address of an interface in the family of `like`, not link-local if there is another.
    pub fn first_addr(&self, iface: u32, like: IpAddr) -> Option<IpAddr> {
        let mine = || {
            self.addrs
                .iter()
                .filter(|a| a.iface == iface && a.addr.is_ipv4() == like.is_ipv4())
        };
        mine()
            .find(|a| is_link_local(a.addr) == is_link_local(like))
            .or_else(|| mine().next())
            .map(|a| a.addr)
    }

    /// Finds the way to `dst`; `iface` not 0 allows that interface only.
    pub fn lookup(&self, dst: IpAddr, iface: u32) -> Option<Hop> {
        if self.is_local(dst) {
            let source = if dst.is_loopback() && dst.is_ipv4() {
                Ipv4Addr::LOCALHOST.into()
            } else {
                dst
            };
            return Some(Hop {
                iface: LOOPBACK,
                next: dst,
                source,
                is_local: true,
            });
        }
        if dst.is_multicast() || self.is_broadcast(iface, dst) {
            return self.lookup_multicast(dst, iface);
        }
        let fits = |r: &&Route| (iface == 0 || r.iface == iface) && contains(r.dst, r.prefix, dst);
        let best = self
            .routes
            .iter()
            .filter(fits)
            .min_by_key(|r| (core::cmp::Reverse(r.prefix), r.metric))?;
        let source = best.source.or_else(|| self.source_for(best.iface, dst))?;
        Some(Hop {
            iface: best.iface,
            next: best.gateway.unwrap_or(dst),
            source,
            is_local: false,
        })
    }

    fn lookup_multicast(&self, dst: IpAddr, iface: u32) -> Option<Hop> {
        let on = if iface != 0 {
            iface
        } else {
            let holder = self
                .addrs
                .iter()
                .find(|a| a.broadcast.map(IpAddr::V4) == Some(dst))
                .map(|a| a.iface);
            let default = || {
                self.routes
                    .iter()
                    .find(|r| r.prefix == 0 && r.dst.is_ipv4() == dst.is_ipv4())
            };
            holder.or_else(|| default().map(|r| r.iface)).or_else(|| {
                let mut real = self
                    .addrs
                    .iter()
                    .filter(|a| a.iface != LOOPBACK && a.addr.is_ipv4() == dst.is_ipv4());
                real.next().map(|a| a.iface)
            })?
        };
        // A DHCP client broadcasts before it has an address.
        let source = self
            .first_addr(on, dst)
            .unwrap_or(crate::sockaddr::unspecified_like(dst));
        Some(Hop {
            iface: on,
            next: dst,
            source,
            is_local: false,
        })
    }

    /// The source address for packets to `dst` over `iface`: the one whose network fits best.
    fn source_for(&self, iface: u32, dst: IpAddr) -> Option<IpAddr> {
        let mine = self
            .addrs
            .iter()
            .filter(|a| a.iface == iface && a.addr.is_ipv4() == dst.is_ipv4());
        let common = |a: &&IfAddr| {
            let ((x, width), (y, _)) = (bits(a.addr), bits(dst));
            let same = (x ^ y).leading_zeros().min(u32::from(width));
            (is_link_local(a.addr) == is_link_local(dst), same)
        };
        mine.max_by_key(common).map(|a| a.addr)
    }

    /// Adds an address and the route to its network.
    pub fn add_addr(&mut self, new: IfAddr) -> Result<(), ChangeError> {
        let (_, width) = bits(new.addr);
        if new.prefix > width || new.addr.is_unspecified() || new.addr.is_multicast() {
            return Err(ChangeError::Invalid);
        }
        if self.addrs.iter().any(|a| a.iface == new.iface && a.addr == new.addr) {
            return Err(ChangeError::Exists);
        }
        if self.addrs.len() >= CAPACITY {
            return Err(ChangeError::Full);
        }
        self.addrs.push(new);
        if new.iface != LOOPBACK && new.prefix < width {
            let route = Route {
                dst: network(new.addr, new.prefix),
                prefix: new.prefix,
                gateway: None,
                iface: new.iface,
                metric: if new.addr.is_ipv4() { 0 } else { 256 },
                source: new.addr.is_ipv4().then_some(new.addr),
                protocol: 2,
            };
            match self.add_route(route) {
                Ok(()) | Err(ChangeError::Exists) => {}
                Err(e) => {
                    self.addrs.pop();
                    return Err(e);
                }
            }
        }
        Ok(())
    }

    /// Removes an address, and the routes that need it.
    pub fn remove_addr(&mut self, iface: u32, addr: IpAddr) -> Result<IfAddr, ChangeError> {
        let at = self
            .addrs
            .iter()
            .position(|a| a.iface == iface && a.addr == addr)
            .ok_or(ChangeError::Missing)?;
        let gone = self.addrs.swap_remove(at);
        let is_needed = self
            .addrs
            .iter()
            .any(|a| a.iface == iface && a.prefix == gone.prefix && contains(a.addr, a.prefix, gone.addr));
        self.routes.retain(|r| {
            let own = r.protocol == 2 && r.iface == iface && r.prefix == gone.prefix && contains(r.dst, r.prefix, addr);
            (!own || is_needed) && r.source != Some(addr)
        });
        let links: Vec<Route> = self.routes.iter().filter(|r| r.gateway.is_none()).copied().collect();
        self.routes.retain(|r| match r.gateway {
            Some(g) => links.iter().any(|l| l.iface == r.iface && contains(l.dst, l.prefix, g)),
            None => true,
        });
        Ok(gone)
    }

    /// Adds a route.
    pub fn add_route(&mut self, new: Route) -> Result<(), ChangeError> {
        let (_, width) = bits(new.dst);
        if new.prefix > width || network(new.dst, new.prefix) != new.dst {
            return Err(ChangeError::Invalid);
        }
        if let Some(g) = new.gateway {
            if g.is_ipv4() != new.dst.is_ipv4() || self.is_local(g) {
                return Err(ChangeError::Invalid);
            }
            let mut links = self
                .routes
                .iter()
                .filter(|r| r.gateway.is_none() && r.iface == new.iface);
            if !links.any(|r| contains(r.dst, r.prefix, g)) {
                return Err(ChangeError::Gateway);
            }
        }
        let same = |r: &Route| r.dst == new.dst && r.prefix == new.prefix && r.metric == new.metric;
        if self
            .routes
            .iter()
            .any(|r| same(r) && (new.dst.is_ipv4() || r.iface == new.iface))
        {
            return Err(ChangeError::Exists);
        }
        if self.routes.len() >= CAPACITY {
            return Err(ChangeError::Full);
        }
        self.routes.push(new);
        Ok(())
    }

    /// Removes the first route to a network; gateway, interface and metric narrow the choice if given.
    pub fn remove_route(
        &mut self,
        dst: IpAddr,
        prefix: u8,
        gateway: Option<IpAddr>,
        iface: u32,
        metric: Option<u32>,
    ) -> Result<Route, ChangeError> {
        let fits = |r: &Route| {
            r.dst == dst
                && r.prefix == prefix
                && (gateway.is_none() || r.gateway == gateway)
                && (iface == 0 || r.iface == iface)
                && metric.is_none_or(|m| r.metric == m)
        };
        let at = self.routes.iter().position(fits).ok_or(ChangeError::Missing)?;
        Ok(self.routes.remove(at))
    }

    /// The interface went down: its IPv4 routes through routers go, its link routes stay for when it comes back.
    pub fn drop_gateways(&mut self, iface: u32) {
        self.routes.retain(|r| r.iface != iface || r.gateway.is_none());
    }
}

#[cfg(test)]
mod tests;
