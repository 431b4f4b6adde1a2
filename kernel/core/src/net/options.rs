//! Option numbers (socket(7), ip(7), ipv6(7), udp(7), tcp(7)) and the options that every socket has.

use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use super::message::Ucred;
use super::socket::Protocol;
use super::stack;
use crate::process::cred::Capability;
use crate::process::thread;
use crate::{Errno, Result};

/// SOL_SOCKET.
pub(crate) const SOL_SOCKET: i32 = 1;
/// Bytes of a buffer at first (`net.core.rmem_default`).
pub(crate) const DEFAULT_BUFFER: usize = 212_992;
/// Most bytes of a buffer (`net.core.rmem_max`, doubled as SO_RCVBUF does).
const MAX_BUFFER: usize = 2 * 212_992;
/// Fewest bytes of a buffer.
const MIN_BUFFER: usize = 2304;

bitflags::bitflags! {
    /// Options that are on or off.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Bits: u32 {
        /// SO_REUSEADDR.
        const REUSE_ADDR = 1 << 0;
        /// SO_REUSEPORT.
        const REUSE_PORT = 1 << 1;
        /// SO_BROADCAST.
        const BROADCAST = 1 << 2;
        /// SO_KEEPALIVE.
        const KEEP_ALIVE = 1 << 3;
        /// SO_PASSCRED.
        const PASS_CRED = 1 << 4;
        /// SO_DONTROUTE.
        const DONT_ROUTE = 1 << 5;
        /// SO_OOBINLINE.
        const OOB_INLINE = 1 << 6;
        /// SO_TIMESTAMP.
        const TIMESTAMP = 1 << 7;
    }
}

/// SO_* numbers (asm-generic/socket.h).
pub(crate) mod so {
    pub(crate) const REUSEADDR: i32 = 2;
    pub(crate) const TYPE: i32 = 3;
    pub(crate) const ERROR: i32 = 4;
    pub(crate) const DONTROUTE: i32 = 5;
    pub(crate) const BROADCAST: i32 = 6;
    pub(crate) const SNDBUF: i32 = 7;
    pub(crate) const RCVBUF: i32 = 8;
    pub(crate) const KEEPALIVE: i32 = 9;
    pub(crate) const OOBINLINE: i32 = 10;
    pub(crate) const PRIORITY: i32 = 12;
    pub(crate) const LINGER: i32 = 13;
    pub(crate) const REUSEPORT: i32 = 15;
    pub(crate) const PASSCRED: i32 = 16;
    pub(crate) const PEERCRED: i32 = 17;
    pub(crate) const RCVLOWAT: i32 = 18;
    pub(crate) const SNDLOWAT: i32 = 19;
    pub(crate) const RCVTIMEO: i32 = 20;
    pub(crate) const SNDTIMEO: i32 = 21;
    pub(crate) const BINDTODEVICE: i32 = 25;
    pub(crate) const TIMESTAMP: i32 = 29;
    pub(crate) const ACCEPTCONN: i32 = 30;
    pub(crate) const SNDBUFFORCE: i32 = 32;
    pub(crate) const RCVBUFFORCE: i32 = 33;
    pub(crate) const MARK: i32 = 36;
    pub(crate) const PROTOCOL: i32 = 38;
    pub(crate) const DOMAIN: i32 = 39;
}

/// An option's value as an `int`; `EINVAL` when it is shorter.
pub(crate) fn int(value: &[u8]) -> Result<i32> {
    let bytes = value.get(..4).and_then(|b| b.try_into().ok()).ok_or(Errno::EINVAL)?;
    Ok(i32::from_le_bytes(bytes))
}

/// An option's value as an `int` that may also be a single byte (IPPROTO_IP).
pub(crate) fn int_or_byte(value: &[u8]) -> Result<i32> {
    match value {
        [one, ..] if value.len() < 4 => Ok(i32::from(*one)),
        _ => int(value),
    }
}

/// The bytes of an `int`.
pub(crate) fn bytes(v: impl Into<i64>) -> Vec<u8> {
    (v.into() as i32).to_le_bytes().to_vec()
}

fn timeval_ns(value: &[u8]) -> Result<u64> {
    let word = |at: usize| {
        value
            .get(at..at + 8)
            .and_then(|b| b.try_into().ok())
            .map(i64::from_le_bytes)
    };
    let (s, us) = (word(0).ok_or(Errno::EINVAL)?, word(8).ok_or(Errno::EINVAL)?);
    if !(0..1_000_000).contains(&us) {
        return Err(Errno::EDOM);
    }
    // A negative time means not to wait at all (a moment, here); zero means for ever.
    match u64::try_from(s) {
        Err(_) => Ok(1),
        Ok(s) => Ok(s.saturating_mul(1_000_000_000).saturating_add(us as u64 * 1000)),
    }
}

fn timeval(ns: u64) -> Vec<u8> {
    let mut out = ((ns / 1_000_000_000) as i64).to_le_bytes().to_vec();
    out.extend_from_slice(&((ns % 1_000_000_000 / 1000) as i64).to_le_bytes());
    out
}

fn bit_of(name: i32) -> Option<Bits> {
    Some(match name {
        so::REUSEADDR => Bits::REUSE_ADDR,
        so::REUSEPORT => Bits::REUSE_PORT,
        so::BROADCAST => Bits::BROADCAST,
        so::KEEPALIVE => Bits::KEEP_ALIVE,
        so::PASSCRED => Bits::PASS_CRED,
        so::DONTROUTE => Bits::DONT_ROUTE,
        so::OOBINLINE => Bits::OOB_INLINE,
        so::TIMESTAMP => Bits::TIMESTAMP,
        _ => return None,
    })
}

fn may(capability: Capability) -> Result<()> {
    let is_allowed = thread::try_current().is_none_or(|t| t.cred().has(capability));
    if is_allowed { Ok(()) } else { Err(Errno::EPERM) }
}

/// setsockopt(2).
pub(crate) fn set(p: &dyn Protocol, level: i32, name: i32, value: &[u8]) -> Result<()> {
    if level != SOL_SOCKET {
        return p.set_option(level, name, value);
    }
    let c = p.common();
    if let Some(bit) = bit_of(name) {
        if int(value)? != 0 {
            c.bits.fetch_or(bit.bits(), Ordering::Relaxed);
        } else {
            c.bits.fetch_and(!bit.bits(), Ordering::Relaxed);
        }
        return match p.set_option(level, name, value) {
            Err(Errno::ENOPROTOOPT) => Ok(()),
            other => other,
        };
    }
    let buffer = |v: i32, most: usize| (v.max(0) as usize).saturating_mul(2).clamp(MIN_BUFFER, most);
    match name {
        so::SNDBUF => c.send_bytes.store(buffer(int(value)?, MAX_BUFFER), Ordering::Relaxed),
        so::RCVBUF => c
            .receive_bytes
            .store(buffer(int(value)?, MAX_BUFFER), Ordering::Relaxed),
        so::SNDBUFFORCE => {
            may(Capability::NetAdmin)?;
            c.send_bytes.store(buffer(int(value)?, 1 << 24), Ordering::Relaxed);
        }
        so::RCVBUFFORCE => {
            may(Capability::NetAdmin)?;
            c.receive_bytes.store(buffer(int(value)?, 1 << 24), Ordering::Relaxed);
        }
        so::PRIORITY => c.priority.store(int(value)?, Ordering::Relaxed),
        so::MARK => {
            may(Capability::NetAdmin)?;
            c.mark.store(int(value)? as u32, Ordering::Relaxed);
        }
        so::LINGER => {
            let on = int(value)?;
            let seconds = int(value.get(4..).unwrap_or_default())?;
            c.linger_s
                .store(if on != 0 { i64::from(seconds.max(0)) } else { -1 }, Ordering::Relaxed);
        }
        so::RCVTIMEO => c.receive_timeout_ns.store(timeval_ns(value)?, Ordering::Relaxed),
        so::SNDTIMEO => c.send_timeout_ns.store(timeval_ns(value)?, Ordering::Relaxed),
        so::BINDTODEVICE => {
            let end = value.iter().position(|b| *b == 0).unwrap_or(value.len()).min(15);
            let wanted = value.get(..end).unwrap_or_default();
            let index = if wanted.is_empty() {
                0
            } else {
                stack::with(|s| s.interface_named(wanted).map(|i| i.index)).ok_or(Errno::ENODEV)?
            };
            c.device.store(index, Ordering::Relaxed);
            return match p.set_option(level, name, value) {
                Err(Errno::ENOPROTOOPT) => Ok(()),
                other => other,
            };
        }
        // Any data is enough to wake a reader here.
        so::RCVLOWAT if int(value)? <= 1 => {}
        so::TYPE | so::ERROR | so::ACCEPTCONN | so::PROTOCOL | so::DOMAIN => return Err(Errno::ENOPROTOOPT),
        _ => return p.set_option(level, name, value),
    }
    Ok(())
}

/// getsockopt(2).
pub(crate) fn get(p: &dyn Protocol, level: i32, name: i32) -> Result<Vec<u8>> {
    if level != SOL_SOCKET {
        return p.get_option(level, name);
    }
    let c = p.common();
    if let Some(bit) = bit_of(name) {
        return Ok(bytes(c.is(bit)));
    }
    Ok(match name {
        so::TYPE => bytes(c.kind as i32),
        so::ERROR => bytes(c.take_error().map_or(0, Errno::number)),
        so::SNDBUF => bytes(c.send_bytes.load(Ordering::Relaxed) as i64),
        so::RCVBUF => bytes(c.receive_bytes.load(Ordering::Relaxed) as i64),
        so::PRIORITY => bytes(c.priority.load(Ordering::Relaxed)),
        so::MARK => bytes(c.mark.load(Ordering::Relaxed)),
        so::LINGER => {
            let s = c.linger_s.load(Ordering::Relaxed);
            let mut out = bytes(s >= 0);
            out.extend_from_slice(&bytes(s.max(0)));
            out
        }
        so::RCVTIMEO => timeval(c.receive_timeout_ns.load(Ordering::Relaxed)),
        so::SNDTIMEO => timeval(c.send_timeout_ns.load(Ordering::Relaxed)),
        so::RCVLOWAT | so::SNDLOWAT => bytes(1),
        so::ACCEPTCONN => bytes(p.is_listening()),
        so::PROTOCOL => bytes(c.protocol),
        so::DOMAIN => bytes(i32::from(c.family)),
        so::PEERCRED => match p.get_option(level, name) {
            Err(Errno::ENOPROTOOPT) => Ucred {
                pid: 0,
                uid: u32::MAX,
                gid: u32::MAX,
            }
            .to_bytes()
            .to_vec(),
            other => return other,
        },
        so::BINDTODEVICE => {
            let index = c.device.load(Ordering::Relaxed);
            let name = stack::with(|s| s.interface(index).map(|i| i.name)).unwrap_or_default();
            let mut out = name.as_bytes().to_vec();
            if !out.is_empty() {
                out.push(0);
            }
            out
        }
        _ => return p.get_option(level, name),
    })
}
