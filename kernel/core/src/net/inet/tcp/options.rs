//! Options of TCP sockets (tcp(7)).

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};

use super::super::super::options::{Bits, SOL_SOCKET, bytes, int, so};
use super::super::super::stack;
use super::super::connections::{self, Tuning};
use super::{PORTS, Phase, TcpSocket, state_number};
use crate::{Errno, Result};

/// IPPROTO_TCP as an option level.
const SOL_TCP: i32 = 6;
const SECOND_NS: u64 = 1_000_000_000;

/// TCP_* numbers.
mod name {
    pub(super) const NODELAY: i32 = 1;
    pub(super) const MAXSEG: i32 = 2;
    pub(super) const KEEPIDLE: i32 = 4;
    pub(super) const KEEPINTVL: i32 = 5;
    pub(super) const KEEPCNT: i32 = 6;
    pub(super) const INFO: i32 = 11;
    pub(super) const CONGESTION: i32 = 13;
    pub(super) const USER_TIMEOUT: i32 = 18;
}

/// Bytes of `struct tcp_info` that are filled (all of it up to tcpi_total_retrans).
const INFO_BYTES: usize = 104;

impl TcpSocket {
    /// Carries the options over to the connection.
    pub(super) fn tune(&self) {
        let Some(id) = self.connection() else { return };
        let v = self.options.get();
        let read = |a: &AtomicU32| u64::from(a.load(Ordering::Relaxed));
        let keeps = self.common.is(Bits::KEEP_ALIVE);
        let idle = read(&self.keep_idle_s) * SECOND_NS;
        let patience = idle + read(&self.keep_interval_s) * read(&self.keep_count) * SECOND_NS;
        let user = read(&self.user_timeout_ms) * 1_000_000;
        let silence = match (user, keeps) {
            (0, true) => Some(patience),
            (0, false) => None,
            (ns, _) => Some(ns),
        };
        let is_v4 = self.place.lock().remote.is_none_or(|r| r.is_ipv4());
        let tuning = Tuning {
            no_delay: self.no_delay.load(Ordering::Relaxed),
            keep_alive_ns: keeps.then_some(idle),
            silence_ns: silence,
            tos: if is_v4 { v.tos } else { v.tclass },
            ttl: if is_v4 { v.ttl } else { v.hops },
        };
        stack::with(|s| connections::tune(s, id, &tuning));
    }

    /// setsockopt(2); `ENOPROTOOPT` for what is another one's.
    pub(super) fn set(&self, level: i32, name: i32, value: &[u8]) -> Result<()> {
        let positive =
            |most: i32| int(value).and_then(|v| (1..=most).contains(&v).then_some(v as u32).ok_or(Errno::EINVAL));
        match (level, name) {
            (SOL_SOCKET, so::KEEPALIVE) => self.tune(),
            (SOL_SOCKET, _) => {
                let port = self.place.lock().local.map_or(0, |l| l.port());
                if let Some(b) = PORTS.lock().get_mut(port, self.id) {
                    b.iface = self.common.device.load(Ordering::Relaxed);
                    b.reuse_addr = self.common.is(Bits::REUSE_ADDR);
                    b.reuse_port = self.common.is(Bits::REUSE_PORT);
                }
                return Err(Errno::ENOPROTOOPT);
            }
            (SOL_TCP, name::NODELAY) => {
                self.no_delay.store(int(value)? != 0, Ordering::Relaxed);
                self.tune();
            }
            (SOL_TCP, name::KEEPIDLE) => {
                self.keep_idle_s.store(positive(32767)?, Ordering::Relaxed);
                self.tune();
            }
            (SOL_TCP, name::KEEPINTVL) => {
                self.keep_interval_s.store(positive(32767)?, Ordering::Relaxed);
                self.tune();
            }
            (SOL_TCP, name::KEEPCNT) => {
                self.keep_count.store(positive(127)?, Ordering::Relaxed);
                self.tune();
            }
            (SOL_TCP, name::USER_TIMEOUT) => {
                let v = u32::try_from(int(value)?).map_err(|_| Errno::EINVAL)?;
                self.user_timeout_ms.store(v, Ordering::Relaxed);
                self.tune();
            }
            (SOL_TCP, name::CONGESTION) if value.starts_with(b"reno") => {}
            (SOL_TCP, _) => return Err(Errno::ENOPROTOOPT),
            _ => {
                let is_bound = self.place.lock().local.is_some();
                self.options.set(&self.common, level, name, value, is_bound)?;
                self.tune();
            }
        }
        Ok(())
    }

    /// getsockopt(2).
    pub(super) fn read(&self, level: i32, name: i32) -> Result<Vec<u8>> {
        let number = |a: &AtomicU32| bytes(i64::from(a.load(Ordering::Relaxed)));
        Ok(match (level, name) {
            (SOL_SOCKET, _) => return Err(Errno::ENOPROTOOPT),
            (SOL_TCP, name::NODELAY) => bytes(self.no_delay.load(Ordering::Relaxed)),
            (SOL_TCP, name::MAXSEG) => bytes(1460),
            (SOL_TCP, name::KEEPIDLE) => number(&self.keep_idle_s),
            (SOL_TCP, name::KEEPINTVL) => number(&self.keep_interval_s),
            (SOL_TCP, name::KEEPCNT) => number(&self.keep_count),
            (SOL_TCP, name::USER_TIMEOUT) => number(&self.user_timeout_ms),
            (SOL_TCP, name::INFO) => self.info(),
            (SOL_TCP, name::CONGESTION) => b"reno\0\0\0\0\0\0\0\0\0\0\0\0".to_vec(),
            (SOL_TCP, _) => return Err(Errno::ENOPROTOOPT),
            _ => return self.options.read(&self.common, level, name),
        })
    }

    fn info(&self) -> Vec<u8> {
        let state = match (self.phase(), self.connection()) {
            (_, Some(id)) => stack::with(|s| connections::inspect(s, id, |c| c.state())).map_or(7, state_number),
            (Phase::Connected, None) => 1,
            (Phase::Listening, None) => 10,
            _ => 7,
        };
        let mut out = alloc::vec![0; INFO_BYTES];
        if let Some(first) = out.first_mut() {
            *first = state;
        }
        out
    }
}
