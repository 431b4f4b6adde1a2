//! Making a connection (connect(2)), with another machine or with this one.

use core::net::SocketAddr;
use core::sync::atomic::Ordering;

use sis_netstack::sockaddr::SockAddr;

use super::super::super::pipe::Ends;
use super::super::super::stack;
use super::super::connections::{self, Opening};
use super::super::listener::Arrival;
use super::super::{inside, reachable, scope_of};
use super::{PORTS, Phase, TcpSocket, find_listener};
use crate::{Errno, Result};

impl TcpSocket {
    /// connect(2).
    pub(super) fn connect_to(&self, addr: SockAddr, nonblock: bool) -> Result<()> {
        if addr == SockAddr::Unspec {
            // Dissolving a connection is for datagrams; here it ends it.
            return match self.phase() {
                Phase::Idle => Ok(()),
                _ => Err(Errno::EINVAL),
            };
        }
        self.recover();
        match self.phase() {
            Phase::Idle => {
                let to = reachable(inside(&self.common, &addr, self.options.get().is_v6_only())?);
                if to.port() == 0 {
                    return Err(Errno::ECONNREFUSED);
                }
                if to.ip().is_multicast() {
                    return Err(Errno::ENETUNREACH);
                }
                let was = self.phase.compare_exchange(
                    Phase::Idle as u8,
                    Phase::Connecting as u8,
                    Ordering::AcqRel,
                    Ordering::Acquire,
                );
                if was.is_err() {
                    return Err(Errno::EALREADY);
                }
                if let Err(e) = self.start_connecting(to, scope_of(&addr)) {
                    if self.phase() == Phase::Connecting {
                        self.set_phase(Phase::Idle);
                    }
                    return Err(e);
                }
                if nonblock && self.phase() == Phase::Connecting {
                    return Err(Errno::EINPROGRESS);
                }
            }
            Phase::Connecting if nonblock => return Err(Errno::EALREADY),
            Phase::Connecting => {}
            Phase::Connected if self.is_reported.load(Ordering::Relaxed) => return Err(Errno::EISCONN),
            Phase::Connected => {}
            Phase::Listening | Phase::Broken => return Err(Errno::EISCONN),
        }
        // A timeout of connect(2) (SO_SNDTIMEO) says that it goes on.
        let out = self.common.wait_send(false, || self.connect_result());
        if out == Err(Errno::EAGAIN) {
            Err(Errno::EINPROGRESS)
        } else {
            out
        }
    }

    /// The local end for a connection to `to`; bound now if it was not.
    fn local_for(&self, to: SocketAddr) -> Result<SocketAddr> {
        let device = self.common.device.load(Ordering::Relaxed);
        let hop = stack::with(|s| s.routes.lookup(to.ip(), device)).ok_or(Errno::ENETUNREACH)?;
        let bound = self.place.lock().local;
        let local = match bound {
            Some(l) if !l.ip().is_unspecified() => l,
            Some(l) => SocketAddr::new(hop.source, l.port()),
            None => {
                self.bind_to(SocketAddr::new(hop.source, 0))?;
                self.place.lock().local.ok_or(Errno::EADDRINUSE)?
            }
        };
        if local.is_ipv4() != to.is_ipv4() {
            return Err(Errno::ENETUNREACH);
        }
        self.place.lock().local = Some(local);
        if let Some(b) = PORTS.lock().get_mut(local.port(), self.id) {
            b.addr = local.ip();
            b.remote = Some(to);
        }
        Ok(local)
    }

    fn connect_here(&self, local: SocketAddr, to: SocketAddr) -> Result<()> {
        let me = self.me.upgrade().ok_or(Errno::EINVAL)?;
        let iface = sis_netstack::route::LOOPBACK;
        let (listener, parent) = find_listener(to, local, iface).ok_or(Errno::ECONNREFUSED)?;
        let theirs = Self::accepted(&parent, to, local);
        let limit = self.common.send_bytes.load(Ordering::Relaxed);
        let (a, b) = Ends::pair(limit, &self.common.queue, &theirs.common.queue);
        self.ends.call_once(|| a);
        theirs.ends.call_once(|| b);
        theirs.set_connected();
        match listener.arrive(theirs, &me) {
            Arrival::Queued => {
                self.set_phase(Phase::Connected);
                Ok(())
            }
            // accept(2) makes it connected.
            Arrival::Waiting => Ok(()),
            Arrival::Refused => {
                self.set_phase(Phase::Broken);
                Err(Errno::ECONNREFUSED)
            }
        }
    }

    fn start_connecting(&self, to: SocketAddr, scope: u32) -> Result<()> {
        let local = self.local_for(to)?;
        {
            let mut place = self.place.lock();
            place.remote = Some(to);
            place.scope = scope;
        }
        let is_here = stack::with(|s| s.routes.is_local(to.ip()));
        if is_here {
            return self.connect_here(local, to);
        }
        let me = self.me.upgrade().ok_or(Errno::EINVAL)?;
        let how = Opening {
            local,
            remote: to,
            buffers: self.buffer_sizes(),
        };
        let id = stack::with(|s| connections::connect(s, &how, &me))?;
        self.set_connection(id);
        self.tune();
        Ok(())
    }

    /// What a connecting socket waits for.
    fn connect_result(&self) -> Option<Result<()>> {
        match self.phase() {
            Phase::Connected => {
                self.is_reported.store(true, Ordering::Relaxed);
                Some(Ok(()))
            }
            Phase::Connecting => None,
            _ => Some(Err(self.common.take_error().unwrap_or(Errno::ECONNABORTED))),
        }
    }

    /// A socket whose connection failed may try again; its port stays.
    fn recover(&self) {
        if self.phase() == Phase::Broken && self.ends.get().is_none() {
            if let Some(id) = self.connection() {
                stack::with(|s| connections::abandon(s, id, true));
                self.connection.store(0, Ordering::Release);
            }
            self.set_phase(Phase::Idle);
        }
    }
}
