//! What `/proc/net` shows (proc(5)).

use alloc::string::String;
use core::fmt::Write;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use sis_netstack::route::netmask;
use sis_netstack::sockaddr::{UnixName, as_v6};

use super::inet::{connections, tcp, udp};
use super::socket::Kind;
use super::{stack, unix};

/// A file of `/proc/net`: its name, and what makes its text.
pub type Entry = (&'static str, fn() -> String);

/// The files of `/proc/net`.
pub const FILES: &[Entry] = &[
    ("dev", dev),
    ("route", route),
    ("arp", arp),
    ("if_inet6", if_inet6),
    ("tcp", || tcp_of(false)),
    ("tcp6", || tcp_of(true)),
    ("udp", || udp_of(false)),
    ("udp6", || udp_of(true)),
    ("unix", unix_sockets),
];

fn dev() -> String {
    let mut out = String::from(
        "Inter-|   Receive                                                |  Transmit\n \
         face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls \
         carrier compressed\n",
    );
    stack::with(|s| {
        for i in s.interfaces() {
            let c = i.stats();
            let _ = writeln!(
                out,
                "{:>6}: {:>7} {:>7} {:>4} {:>4}    0     0          0         0 {:>8} {:>7} {:>4} {:>4}    0     0       \
                 0          0",
                i.name,
                c.rx_bytes,
                c.rx_packets,
                c.rx_errors,
                c.rx_dropped,
                c.tx_bytes,
                c.tx_packets,
                c.tx_errors,
                c.tx_dropped
            );
        }
    });
    out
}

/// An IPv4 address as these files print it: the word as it lies in memory.
fn hex4(a: Ipv4Addr) -> u32 {
    u32::from_le_bytes(a.octets())
}

fn route() -> String {
    let mut out = String::from(
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT                              \
         \x20                        \n",
    );
    stack::with(|s| {
        for r in s.routes.routes() {
            let IpAddr::V4(dst) = r.dst else { continue };
            let gateway = match r.gateway {
                Some(IpAddr::V4(g)) => g,
                _ => Ipv4Addr::UNSPECIFIED,
            };
            // RTF_UP, RTF_GATEWAY, RTF_HOST.
            let flags = 1 | if r.gateway.is_some() { 2 } else { 0 } | if r.prefix == 32 { 4 } else { 0 };
            let name = s.interface(r.iface).map_or("?", |i| i.name);
            let _ = writeln!(
                out,
                "{name}\t{:08X}\t{:08X}\t{flags:04X}\t0\t0\t{}\t{:08X}\t0\t0\t0",
                hex4(dst),
                hex4(gateway),
                r.metric,
                hex4(netmask(r.prefix))
            );
        }
    });
    out
}

fn arp() -> String {
    let mut out = String::from("IP address       HW type     Flags       HW address            Mask     Device\n");
    stack::with(|s| {
        for n in s.neighbors.iter() {
            let IpAddr::V4(ip) = n.key.1 else { continue };
            let name = s.interface(n.key.0).map_or("?", |i| i.name);
            let [a, b, c, d, e, f] = n.mac.unwrap_or_default();
            // ATF_COM, ATF_PERM.
            let flags = match (n.mac, n.is_permanent) {
                (None, _) => 0,
                (Some(_), false) => 2,
                (Some(_), true) => 6,
            };
            let _ = writeln!(
                out,
                "{ip:<16} 0x1         0x{flags:x}         {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}     *        {name}"
            );
        }
    });
    out
}

fn if_inet6() -> String {
    let mut out = String::new();
    stack::with(|s| {
        for a in s.routes.addrs() {
            let IpAddr::V6(ip) = a.addr else { continue };
            let scope = match ip.segments().first() {
                _ if ip.is_loopback() => 0x10,
                Some(s) if s & 0xffc0 == 0xfe80 => 0x20,
                Some(s) if s & 0xffc0 == 0xfec0 => 0x40,
                _ => 0,
            };
            for o in ip.octets() {
                let _ = write!(out, "{o:02x}");
            }
            let name = s.interface(a.iface).map_or("?", |i| i.name);
            let _ = writeln!(out, " {:02x} {:02x} {scope:02x} 80 {name:>8}", a.iface, a.prefix);
        }
    });
    out
}

fn address(a: SocketAddr, wide: bool) -> String {
    let mut out = String::new();
    match (a.ip(), wide) {
        (IpAddr::V4(ip), false) => {
            let _ = write!(out, "{:08X}", hex4(ip));
        }
        _ => {
            let IpAddr::V6(ip) = as_v6(a).ip() else { return out };
            for w in ip.octets().chunks_exact(4) {
                let _ = write!(out, "{:08X}", u32::from_le_bytes(w.try_into().unwrap_or_default()));
            }
        }
    }
    let _ = write!(out, ":{:04X}", a.port());
    out
}

/// The wildcard that stands for "no peer".
fn nobody(like: SocketAddr) -> SocketAddr {
    SocketAddr::new(sis_netstack::sockaddr::unspecified_like(like.ip()), 0)
}

fn tcp_of(wide: bool) -> String {
    let mut out = String::from(
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n",
    );
    let sockets = tcp::list();
    for (n, s) in sockets.iter().filter(|s| s.is_v6 == wide).enumerate() {
        let remote = s.remote.unwrap_or_else(|| nobody(s.local));
        let live = stack::with(|st| {
            connections::inspect(st, s.id, |c| {
                (tcp::state_number(c.state()), c.unacknowledged(), c.readable())
            })
        });
        let (state, tx, rx) = match live {
            Some(l) => l,
            None if s.is_listening => (10, 0, 0),
            None if s.is_local => (1, 0, 0),
            None => (7, 0, 0),
        };
        let _ = writeln!(
            out,
            "{n:4}: {} {} {state:02X} {tx:08X}:{rx:08X} 00:00000000 00000000 {:5}        0 0 1 0 100 0 0 10 0",
            address(s.local, wide),
            address(remote, wide),
            s.uid
        );
    }
    out
}

fn udp_of(wide: bool) -> String {
    let mut out = String::from(
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer \
         drops\n",
    );
    for (n, s) in udp::list().iter().filter(|s| s.is_v6 == wide).enumerate() {
        let remote = s.remote.unwrap_or_else(|| nobody(s.local));
        let state = if s.remote.is_some() { 1 } else { 7 };
        let _ = writeln!(
            out,
            "{n:5}: {} {} {state:02X} 00000000:{:08X} 00:00000000 00000000 {:5}        0 0 2 0 {}",
            address(s.local, wide),
            address(remote, wide),
            s.queued,
            s.uid,
            s.dropped
        );
    }
    out
}

fn unix_sockets() -> String {
    let mut out = String::from("Num       RefCount Protocol Flags    Type St Inode Path\n");
    for (name, kind, is_listening) in unix::list() {
        // __SO_ACCEPTCON; SS_UNCONNECTED or SS_CONNECTED.
        let flags = if is_listening { 0x1_0000 } else { 0 };
        let state = if is_listening || kind == Kind::Datagram { 1 } else { 3 };
        let _ = write!(
            out,
            "0000000000000000: 00000002 00000000 {flags:08X} {:04X} {state:02X} 0 ",
            kind as u32
        );
        match name {
            UnixName::Path(p) => out.push_str(&String::from_utf8_lossy(&p)),
            UnixName::Abstract(n) => {
                out.push('@');
                out.push_str(&String::from_utf8_lossy(&n));
            }
            UnixName::Unnamed => {}
        }
        out.push('\n');
    }
    out
}
