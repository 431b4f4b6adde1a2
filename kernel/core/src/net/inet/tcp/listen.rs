//! Listening (listen(2)), and taking what has come (accept(2)).

use alloc::sync::{Arc, Weak};
use core::net::SocketAddr;
use core::sync::atomic::Ordering;

use sis_netstack::sockaddr::SockAddr;

use super::super::super::socket::Protocol;
use super::super::listener::Listener;
use super::super::{any, outside};
use super::{MAX_BACKLOG, PORTS, Phase, TcpSocket};
use crate::poll::Events;
use crate::{Errno, Result};

/// Who listens on `local` for `remote`.
pub(in super::super) fn find_listener(
    local: SocketAddr,
    remote: SocketAddr,
    iface: u32,
) -> Option<(Arc<Listener>, Arc<TcpSocket>)> {
    let socket = PORTS
        .lock()
        .find(local.port(), local.ip(), remote, iface, true)
        .and_then(Weak::upgrade)?;
    let listener = socket.listener.get()?.clone();
    Some((listener, socket))
}

impl TcpSocket {
    /// listen(2).
    pub(super) fn start_listening(&self, backlog: usize) -> Result<()> {
        let most = backlog.min(MAX_BACKLOG);
        match self.phase() {
            Phase::Listening => {
                if let Some(l) = self.listener.get() {
                    l.set_backlog(most);
                }
                return Ok(());
            }
            Phase::Idle => {}
            _ => return Err(Errno::EINVAL),
        }
        if self.place.lock().local.is_none() {
            self.bind_to(SocketAddr::new(any(&self.common), 0))?;
        }
        let port = self.place.lock().local.map_or(0, |l| l.port());
        self.listener
            .call_once(|| Listener::new(self.common.queue.clone(), most));
        PORTS
            .lock()
            .set_listening(port, self.id)
            .map_err(|_| Errno::EADDRINUSE)?;
        self.set_phase(Phase::Listening);
        Ok(())
    }

    /// accept(2).
    pub(super) fn take_accepted(&self, nonblock: bool) -> Result<(Arc<dyn Protocol>, SockAddr)> {
        if self.phase() != Phase::Listening {
            return Err(Errno::EINVAL);
        }
        let listener = self.listener.get().ok_or(Errno::EINVAL)?;
        let got = self.common.wait_receive(nonblock, || {
            if self.phase() != Phase::Listening {
                return Some(Err(Errno::EINVAL));
            }
            listener.take().map(Ok)
        })?;
        got.tune();
        let place = *got.place.lock();
        let remote = place.remote.unwrap_or_else(|| SocketAddr::new(any(&self.common), 0));
        let peer = outside(&self.common, remote, place.scope);
        Ok((got, peer))
    }

    /// Refuses whoever waits in the queue of a listening socket.
    pub(super) fn stop_listening(&self) {
        let Some(listener) = self.listener.get().filter(|_| self.phase() == Phase::Listening) else {
            return;
        };
        self.set_phase(Phase::Idle);
        let port = self.place.lock().local.map_or(0, |l| l.port());
        if let Some(b) = PORTS.lock().get_mut(port, self.id) {
            b.is_listening = false;
        }
        let (ready, overflow) = listener.close();
        for s in ready.into_iter().chain(overflow.iter().map(|(s, _)| s.clone())) {
            s.common.linger_s.store(0, Ordering::Relaxed);
            Protocol::close(&*s);
        }
        for (_, from) in overflow {
            if let Some(f) = from.upgrade() {
                f.fail(Errno::ECONNREFUSED);
            }
        }
        self.wake(Events::READ | Events::HUP);
    }
}
