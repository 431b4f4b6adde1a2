//! ioctl(2) of sockets: bytes waiting, and the configuration of interfaces and routes (netdevice(7)).

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use sis_netstack::packet::BROADCAST;
use sis_netstack::route::{Route, netmask, network, prefix_of};
use sis_netstack::sockaddr::{AF_INET, SockAddr};

use super::interface::Interface;
use super::socket::Protocol;
use super::stack::{self, Change, Stack};
use crate::process::cred::Capability;
use crate::process::thread;
use crate::user::{UserPtr, UserSlice, read_cstr};
use crate::{Errno, Result};

const FIONREAD: u32 = 0x541b;
const SIOCOUTQ: u32 = 0x5411;
const SIOCADDRT: u32 = 0x890b;
const SIOCDELRT: u32 = 0x890c;
const SIOCGIFNAME: u32 = 0x8910;
const SIOCGIFCONF: u32 = 0x8912;
const SIOCGIFFLAGS: u32 = 0x8913;
const SIOCSIFFLAGS: u32 = 0x8914;
const SIOCGIFADDR: u32 = 0x8915;
const SIOCSIFADDR: u32 = 0x8916;
const SIOCGIFDSTADDR: u32 = 0x8917;
const SIOCGIFBRDADDR: u32 = 0x8919;
const SIOCSIFBRDADDR: u32 = 0x891a;
const SIOCGIFNETMASK: u32 = 0x891b;
const SIOCSIFNETMASK: u32 = 0x891c;
const SIOCGIFMETRIC: u32 = 0x891d;
const SIOCGIFMTU: u32 = 0x8921;
const SIOCSIFMTU: u32 = 0x8922;
const SIOCGIFHWADDR: u32 = 0x8927;
const SIOCGIFINDEX: u32 = 0x8933;
const SIOCGIFTXQLEN: u32 = 0x8942;
const SIOCGIFMAP: u32 = 0x8970;

/// Bytes of an interface name (IFNAMSIZ).
const NAME: usize = 16;
/// Bytes of `struct ifreq`.
const IFREQ: usize = 40;
/// Bytes of `struct rtentry`.
const RTENTRY: usize = 120;
/// RTF_GATEWAY.
const RTF_GATEWAY: u16 = 2;
/// RTF_HOST.
const RTF_HOST: u16 = 4;
/// RTF_REJECT.
const RTF_REJECT: u16 = 0x200;

/// ioctl(2) of any socket.
pub(crate) fn socket(p: &dyn Protocol, command: u32, argument: usize) -> Result<usize> {
    match command {
        FIONREAD => {
            if p.is_listening() {
                return Err(Errno::EINVAL);
            }
            UserPtr::<i32>::new(argument).write(&(p.readable_bytes() as i32))?;
        }
        SIOCOUTQ => {
            if p.is_listening() {
                return Err(Errno::EINVAL);
            }
            UserPtr::<i32>::new(argument).write(&(p.unsent_bytes() as i32))?;
        }
        SIOCGIFCONF => list(argument)?,
        SIOCADDRT => route(Change::Add, argument)?,
        SIOCDELRT => route(Change::Remove, argument)?,
        0x8910..=0x89ff => request(command, argument)?,
        _ => return Err(Errno::ENOTTY),
    }
    Ok(0)
}

fn may_configure() -> Result<()> {
    if thread::current().cred().has(Capability::NetAdmin) {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

fn sockaddr(ip: Ipv4Addr) -> Vec<u8> {
    SockAddr::Inet(SocketAddr::new(ip.into(), 0)).encode()
}

fn v4(a: IpAddr) -> Ipv4Addr {
    match a {
        IpAddr::V4(a) => a,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    }
}

/// The IPv4 address of a `struct sockaddr`.
fn ipv4_of(bytes: &[u8]) -> Result<Ipv4Addr> {
    match bytes.get(..16).map(SockAddr::parse) {
        Some(Ok(SockAddr::Inet(SocketAddr::V4(a)))) => Ok(*a.ip()),
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

/// SIOCGIFCONF: the interfaces that have an IPv4 address.
fn list(argument: usize) -> Result<()> {
    let len_at = UserPtr::<i32>::new(argument);
    let len = usize::try_from(len_at.read()?).map_err(|_| Errno::EINVAL)?;
    let buffer = UserPtr::<u64>::new(argument + 8).read()? as usize;
    let all = stack::with(|s| {
        let mut out = Vec::new();
        for i in s.interfaces() {
            let Some(a) = s.primary(i.index) else { continue };
            let mut one = i.name.as_bytes().to_vec();
            one.resize(NAME, 0);
            one.extend_from_slice(&sockaddr(v4(a.addr)));
            one.resize(IFREQ, 0);
            out.extend_from_slice(&one);
        }
        out
    });
    if buffer == 0 {
        return len_at.write(&(all.len() as i32));
    }
    let whole = len.min(all.len()) / IFREQ * IFREQ;
    UserSlice::new(buffer, whole).write_prefix(all.get(..whole).unwrap_or_default())?;
    len_at.write(&(whole as i32))
}

/// The requests that carry a `struct ifreq`.
fn request(command: u32, argument: usize) -> Result<()> {
    let mut ifreq = UserSlice::new(argument, IFREQ).read_to_vec(IFREQ)?;
    let word = |b: &[u8]| {
        b.get(NAME..NAME + 4)
            .and_then(|w| w.try_into().ok())
            .map_or(0, u32::from_le_bytes)
    };
    if command == SIOCGIFNAME {
        let index = word(&ifreq);
        let name = stack::with(|s| s.interface(index).map(|i| i.name)).ok_or(Errno::ENODEV)?;
        let mut bytes = name.as_bytes().to_vec();
        bytes.resize(NAME, 0);
        return UserSlice::new(argument, NAME).write_prefix(&bytes).map(|_| ());
    }
    let named = ifreq.get(..NAME).unwrap_or_default();
    let end = named.iter().position(|b| *b == 0).unwrap_or(NAME - 1);
    let mut name = named.get(..end).unwrap_or_default().to_vec();
    // An alias ("eth0:1") means its interface.
    if let Some(colon) = name.iter().position(|b| *b == b':') {
        name.truncate(colon);
    }
    if matches!(
        command,
        SIOCSIFFLAGS | SIOCSIFADDR | SIOCSIFBRDADDR | SIOCSIFNETMASK | SIOCSIFMTU
    ) {
        may_configure()?;
        let value = ifreq.get(NAME..).unwrap_or_default();
        return stack::with(|s| {
            let index = s.interface_named(&name).ok_or(Errno::ENODEV)?.index;
            set(s, command, index, value)
        });
    }
    let answer = stack::with(|s| {
        let i = s.interface_named(&name).ok_or(Errno::ENODEV)?;
        get(s, i, command)
    })?;
    ifreq.truncate(NAME);
    ifreq.extend_from_slice(&answer);
    ifreq.resize(IFREQ, 0);
    UserSlice::new(argument, IFREQ).write_prefix(&ifreq).map(|_| ())
}

fn set(s: &mut Stack, command: u32, index: u32, value: &[u8]) -> Result<()> {
    match command {
        SIOCSIFFLAGS => {
            let flags = value
                .get(..2)
                .and_then(|b| b.try_into().ok())
                .map(u16::from_le_bytes)
                .ok_or(Errno::EINVAL)?;
            s.set_flags(index, u32::from(flags))
        }
        SIOCSIFADDR => s.set_primary(index, ipv4_of(value)?),
        SIOCSIFNETMASK => {
            let mask = ipv4_of(value)?;
            let prefix = prefix_of(mask).ok_or(Errno::EINVAL)?;
            s.alter_primary(index, |a| {
                if a.broadcast.is_some() {
                    a.broadcast = stack::broadcast_of(v4(a.addr), prefix);
                }
                a.prefix = prefix;
            })
        }
        SIOCSIFBRDADDR => {
            let to = ipv4_of(value)?;
            s.alter_primary(index, |a| a.broadcast = (!to.is_unspecified()).then_some(to))
        }
        SIOCSIFMTU => {
            let mtu = value
                .get(..4)
                .and_then(|b| b.try_into().ok())
                .map(u32::from_le_bytes)
                .ok_or(Errno::EINVAL)?;
            s.set_mtu(index, mtu as usize)
        }
        _ => Err(Errno::EINVAL),
    }
}

fn get(s: &Stack, i: &Interface, command: u32) -> Result<Vec<u8>> {
    let primary = || s.primary(i.index).ok_or(Errno::EADDRNOTAVAIL);
    Ok(match command {
        SIOCGIFFLAGS => (i.all_flags() as u16).to_le_bytes().to_vec(),
        SIOCGIFADDR | SIOCGIFDSTADDR => sockaddr(v4(primary()?.addr)),
        SIOCGIFBRDADDR => sockaddr(primary()?.broadcast.unwrap_or(Ipv4Addr::UNSPECIFIED)),
        SIOCGIFNETMASK => sockaddr(netmask(primary()?.prefix)),
        SIOCGIFMETRIC => 0u32.to_le_bytes().to_vec(),
        SIOCGIFMTU => (i.mtu as u32).to_le_bytes().to_vec(),
        SIOCGIFINDEX => i.index.to_le_bytes().to_vec(),
        SIOCGIFTXQLEN => 1000u32.to_le_bytes().to_vec(),
        // struct ifmap: no memory, no port, no interrupt that a person could set.
        SIOCGIFMAP => alloc::vec![0; 24],
        SIOCGIFHWADDR => {
            let mut out = i.hardware_type().to_le_bytes().to_vec();
            out.extend_from_slice(&i.mac);
            debug_assert!(i.mac != BROADCAST);
            out
        }
        _ => return Err(Errno::EINVAL),
    })
}

/// SIOCADDRT and SIOCDELRT.
fn route(change: Change, argument: usize) -> Result<()> {
    may_configure()?;
    let b = UserSlice::new(argument, RTENTRY).read_to_vec(RTENTRY)?;
    let family = b
        .get(8..10)
        .and_then(|f| f.try_into().ok())
        .map_or(0, u16::from_le_bytes);
    if family != AF_INET {
        return Err(Errno::EAFNOSUPPORT);
    }
    let dst = ipv4_of(b.get(8..24).unwrap_or_default())?;
    let flags = b
        .get(56..58)
        .and_then(|f| f.try_into().ok())
        .map_or(0, u16::from_le_bytes);
    if flags & RTF_REJECT != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let metric = b
        .get(80..82)
        .and_then(|f| f.try_into().ok())
        .map_or(0, i16::from_le_bytes);
    let device_at = b
        .get(88..96)
        .and_then(|f| f.try_into().ok())
        .map_or(0, u64::from_le_bytes) as usize;
    let gateway = if flags & RTF_GATEWAY != 0 {
        Some(IpAddr::V4(ipv4_of(b.get(24..40).unwrap_or_default())?))
    } else {
        None
    };
    let prefix = if flags & RTF_HOST != 0 {
        32
    } else {
        // The mask's family may be left out.
        let mask: [u8; 4] = b.get(44..48).and_then(|m| m.try_into().ok()).unwrap_or_default();
        prefix_of(mask.into()).ok_or(Errno::EINVAL)?
    };
    if network(dst.into(), prefix) != IpAddr::V4(dst) {
        return Err(Errno::EINVAL);
    }
    let device = if device_at == 0 {
        None
    } else {
        Some(read_cstr(device_at, NAME - 1)?)
    };
    stack::with(|s| {
        let iface = match &device {
            Some(name) => s.interface_named(name).ok_or(Errno::ENODEV)?.index,
            None => 0,
        };
        let r = Route {
            dst: dst.into(),
            prefix,
            gateway: gateway.filter(|g| !g.is_unspecified()),
            iface,
            metric: u32::try_from(i32::from(metric) - 1).unwrap_or(0),
            source: None,
            protocol: 3,
        };
        s.change_route(change, r)
    })
}
