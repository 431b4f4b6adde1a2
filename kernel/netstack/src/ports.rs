//! Who may bind which port, and who gets a packet.
//!
//! The rules are those of Linux: two sockets may share a port if their addresses differ (and neither is the wildcard of a
//! family that includes the other), or if both set SO_REUSEPORT and belong to one user, or if both set SO_REUSEADDR
//! (for TCP only while neither listens).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

/// First port given to sockets that name none (`ip_local_port_range`).
pub const EPHEMERAL_FIRST: u16 = 32768;
/// Last of them.
pub const EPHEMERAL_LAST: u16 = 60999;

/// What a socket holds of a port.
#[derive(Clone, Debug)]
pub struct Binding<T> {
    /// Local address; unspecified for all of them.
    pub addr: IpAddr,
    /// An IPv6 wildcard that does not include IPv4.
    pub is_v6_only: bool,
    /// Only packets of this interface (0: any).
    pub iface: u32,
    /// SO_REUSEADDR.
    pub reuse_addr: bool,
    /// SO_REUSEPORT.
    pub reuse_port: bool,
    /// Listens (TCP).
    pub is_listening: bool,
    /// Effective user of the socket.
    pub uid: u32,
    /// Only packets from here.
    pub remote: Option<SocketAddr>,
    /// The socket.
    pub owner: T,
    /// What the socket is called in this table.
    pub id: u64,
}

/// Why a port was not bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindError {
    /// Somebody has it (EADDRINUSE).
    InUse,
}

/// The bound ports of one protocol.
#[derive(Debug)]
pub struct PortTable<T> {
    ports: BTreeMap<u16, Vec<Binding<T>>>,
    next: u16,
}

impl<T> Default for PortTable<T> {
    fn default() -> Self {
        Self::new()
    }
}

fn addrs_overlap<T>(a: &Binding<T>, b: &Binding<T>) -> bool {
    if a.iface != 0 && b.iface != 0 && a.iface != b.iface {
        return false;
    }
    match (a.addr, b.addr) {
        (IpAddr::V4(x), IpAddr::V4(y)) => x == y || x.is_unspecified() || y.is_unspecified(),
        (IpAddr::V6(x), IpAddr::V6(y)) => x == y || x.is_unspecified() || y.is_unspecified(),
        (IpAddr::V4(_), IpAddr::V6(y)) => y.is_unspecified() && !b.is_v6_only,
        (IpAddr::V6(x), IpAddr::V4(_)) => x.is_unspecified() && !a.is_v6_only,
    }
}

fn conflict<T>(a: &Binding<T>, b: &Binding<T>) -> bool {
    if !addrs_overlap(a, b) {
        return false;
    }
    if a.reuse_port && b.reuse_port && a.uid == b.uid {
        return false;
    }
    let both_reuse = a.reuse_addr && b.reuse_addr;
    let one_listens = a.is_listening || b.is_listening;
    !both_reuse || one_listens
}

impl<T> PortTable<T> {
    /// No ports are bound.
    pub const fn new() -> Self {
        Self {
            ports: BTreeMap::new(),
            next: EPHEMERAL_FIRST,
        }
    }

    /// Binds `port`.
    pub fn bind(&mut self, port: u16, new: Binding<T>) -> Result<(), BindError> {
        let holders = self.ports.entry(port).or_default();
        if holders.iter().any(|h| conflict(h, &new)) {
            return Err(BindError::InUse);
        }
        holders.push(new);
        Ok(())
    }

    /// Binds a port that nobody holds for an overlapping address; `random` spreads the choice.
    pub fn bind_ephemeral(&mut self, random: u16, new: Binding<T>) -> Result<u16, BindError> {
        let span = u32::from(EPHEMERAL_LAST - EPHEMERAL_FIRST) + 1;
        let start = u32::from(self.next - EPHEMERAL_FIRST) + u32::from(random & 0xf);
        for i in 0..span {
            let port = EPHEMERAL_FIRST + ((start + i) % span) as u16;
            let is_free = self
                .ports
                .get(&port)
                .is_none_or(|hs| !hs.iter().any(|h| addrs_overlap(h, &new)));
            if is_free {
                self.next = if port == EPHEMERAL_LAST {
                    EPHEMERAL_FIRST
                } else {
                    port + 1
                };
                self.ports.entry(port).or_default().push(new);
                return Ok(port);
            }
        }
        Err(BindError::InUse)
    }

    /// Adds a socket that shares a port it may always share: an accepted connection.
    pub fn share(&mut self, port: u16, new: Binding<T>) {
        self.ports.entry(port).or_default().push(new);
    }

    /// Lets go of a port.
    pub fn release(&mut self, port: u16, id: u64) -> Option<Binding<T>> {
        let holders = self.ports.get_mut(&port)?;
        let at = holders.iter().position(|h| h.id == id)?;
        let gone = holders.swap_remove(at);
        if holders.is_empty() {
            self.ports.remove(&port);
        }
        Some(gone)
    }

    /// The entry of a socket.
    pub fn get_mut(&mut self, port: u16, id: u64) -> Option<&mut Binding<T>> {
        self.ports.get_mut(&port)?.iter_mut().find(|h| h.id == id)
    }

    /// Marks a socket as listening; refused when another that overlaps listens and they do not share.
    pub fn set_listening(&mut self, port: u16, id: u64) -> Result<(), BindError> {
        let Some(holders) = self.ports.get_mut(&port) else {
            return Err(BindError::InUse);
        };
        let Some(me) = holders.iter().find(|h| h.id == id) else {
            return Err(BindError::InUse);
        };
        let blocks =
            |h: &&Binding<T>| h.id != id && h.is_listening && addrs_overlap(h, me) && !(h.reuse_port && me.reuse_port);
        if holders.iter().any(|h| blocks(&h)) {
            return Err(BindError::InUse);
        }
        if let Some(me) = holders.iter_mut().find(|h| h.id == id) {
            me.is_listening = true;
        }
        Ok(())
    }

    /// How well a socket fits a packet; `None`: not at all.
    fn score(b: &Binding<T>, dst: IpAddr, src: SocketAddr, iface: u32) -> Option<u32> {
        if b.iface != 0 && b.iface != iface {
            return None;
        }
        let mut score = u32::from(b.iface != 0);
        if b.addr.is_unspecified() {
            if b.addr.is_ipv4() && dst.is_ipv6() || b.addr.is_ipv6() && dst.is_ipv4() && b.is_v6_only {
                return None;
            }
            score += u32::from(b.addr.is_ipv4() == dst.is_ipv4());
        } else if b.addr == dst {
            score += 4;
        } else {
            return None;
        }
        match b.remote {
            Some(r) if r.ip() == src.ip() && r.port() == src.port() => score += 8,
            Some(_) => return None,
            None => {}
        }
        Some(score)
    }

    /// The socket that gets a packet. Of sockets that share the port by SO_REUSEPORT the flow chooses one.
    pub fn find(&self, port: u16, dst: IpAddr, src: SocketAddr, iface: u32, listening: bool) -> Option<&T> {
        let holders = self.ports.get(&port)?;
        let mut best: Option<(u32, &Binding<T>)> = None;
        let mut equals = 0u32;
        for h in holders.iter().filter(|h| h.is_listening == listening) {
            let Some(s) = Self::score(h, dst, src, iface) else {
                continue;
            };
            match best {
                Some((b, _)) if s < b => {}
                Some((b, _)) if s == b => equals += 1,
                _ => {
                    best = Some((s, h));
                    equals = 1;
                }
            }
        }
        let (score, first) = best?;
        if equals < 2 || !first.reuse_port {
            return Some(&first.owner);
        }
        let pick = flow_hash(src) % equals;
        let same = holders.iter().filter(|h| h.is_listening == listening);
        let mut same = same.filter(|h| Self::score(h, dst, src, iface) == Some(score));
        same.nth(pick as usize).map(|h| &h.owner)
    }

    /// Every socket that gets a broadcast or multicast packet.
    pub fn find_all(&self, port: u16, dst: IpAddr, src: SocketAddr, iface: u32) -> impl Iterator<Item = &T> {
        let holders = self.ports.get(&port).map(Vec::as_slice).unwrap_or_default();
        holders.iter().filter_map(move |h| {
            let is_named = h.addr == dst || h.addr.is_unspecified();
            let fits = is_named && (h.addr.is_ipv4() == dst.is_ipv4() || !h.is_v6_only && h.addr.is_ipv6());
            let remote_fits = h.remote.is_none_or(|r| r == src);
            (fits && remote_fits && (h.iface == 0 || h.iface == iface)).then_some(&h.owner)
        })
    }

    /// Every bound port with its sockets.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &Binding<T>)> {
        self.ports.iter().flat_map(|(p, hs)| hs.iter().map(move |h| (*p, h)))
    }
}

fn flow_hash(src: SocketAddr) -> u32 {
    let ip = match src.ip() {
        IpAddr::V4(a) => u32::from(a),
        IpAddr::V6(a) => {
            let x = u128::from(a);
            (x ^ (x >> 32) ^ (x >> 64) ^ (x >> 96)) as u32
        }
    };
    // The finaliser of MurmurHash3: every input bit reaches the low bits.
    let mut x = ip ^ (u32::from(src.port()) << 16);
    x = (x ^ (x >> 16)).wrapping_mul(0x85eb_ca6b);
    x = (x ^ (x >> 13)).wrapping_mul(0xc2b2_ae35);
    x ^ (x >> 16)
}

#[cfg(test)]
mod tests;
