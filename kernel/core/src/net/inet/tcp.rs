//! TCP sockets (tcp(7)).
//!
//! A connection with another machine is one of [`connections`]; one with this machine is a pair of
//! [`Pipe`](super::super::pipe::Pipe)s and never becomes a packet.
//!
//! | module | story |
//! |---|---|
//! | `connect`, `listen` | how a connection comes about, from either end |
//! | `options` | options of sockets, and how a connection gets to know them |
//! | `transfer` | bytes, from a program to a connection and back |

mod connect;
mod listen;
mod options;
mod transfer;

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use sis_machine::sync::{Mutex, Once, Rank, SpinLock};
use sis_netstack::packet::TCP;
use sis_netstack::ports::{Binding, PortTable};
use sis_netstack::sockaddr::SockAddr;
use sis_netstack::tcp::State;

use super::super::message::{Incoming, MsgFlags, Outgoing};
use super::super::options::Bits;
use super::super::pipe::Ends;
use super::super::random_u64;
use super::super::socket::{Common, Kind, Protocol, Shutdown};
use super::super::stack;
use super::connections::{self, ConnId};
use super::listener::Listener;
use super::options::{IpOptions, Switches};
use super::{any, inside, may_bind_port, outside, scope_of};
pub(super) use listen::find_listener;

use crate::poll::Events;
use crate::{Errno, Result};

/// Most connections that wait for accept(2) (`net.core.somaxconn`).
const MAX_BACKLOG: usize = 4096;
/// Bytes of a connection's buffers unless SO_RCVBUF and SO_SNDBUF say otherwise: twice the window of a peer without window scaling, so that it
/// stays open while a program is about to read (Linux begins with as much, `tcp_rmem`).
const BUFFER: usize = 128 * 1024;
/// The most that they may say (twice `net.core.rmem_max`, as Linux doubles what is asked for).
const MAX_BUFFER: usize = 425_984;
static PORTS: SpinLock<PortTable<Weak<TcpSocket>>> = SpinLock::new(Rank::Leaf, PortTable::new());
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Where a socket is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    Idle,
    Listening,
    Connecting,
    Connected,
    /// The connection failed or was reset.
    Broken,
}

#[derive(Clone, Copy, Default)]
struct Place {
    local: Option<SocketAddr>,
    remote: Option<SocketAddr>,
    scope: u32,
}

/// A TCP socket.
pub(crate) struct TcpSocket {
    common: Common,
    me: Weak<Self>,
    id: u64,
    options: IpOptions,
    place: SpinLock<Place>,
    phase: AtomicU8,
    listener: Once<Arc<Listener>>,
    /// A connection with this machine.
    ends: Once<Ends>,
    /// A connection with another machine; 0 for none.
    connection: AtomicU64,
    /// connect(2) has reported the connection.
    is_reported: AtomicBool,
    is_read_shut: AtomicBool,
    is_write_shut: AtomicBool,
    no_delay: AtomicBool,
    keep_idle_s: AtomicU32,
    keep_interval_s: AtomicU32,
    keep_count: AtomicU32,
    user_timeout_ms: AtomicU32,
    /// Held while bytes are taken from a connection, and while they are given to it.
    receiving: Mutex<Vec<u8>>,
    sending: Mutex<Vec<u8>>,
}

/// One line of /proc/net/tcp.
pub(crate) struct Listed {
    pub(crate) local: SocketAddr,
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) is_v6: bool,
    pub(crate) is_listening: bool,
    pub(crate) is_local: bool,
    pub(crate) uid: u32,
    pub(crate) id: u64,
}

/// Every bound TCP socket.
pub(crate) fn list() -> Vec<Listed> {
    let all: Vec<_> = PORTS.lock().iter().filter_map(|(_, b)| b.owner.upgrade()).collect();
    all.iter()
        .filter_map(|s| {
            let place = *s.place.lock();
            Some(Listed {
                local: place.local?,
                remote: place.remote,
                is_v6: s.common.family == sis_netstack::sockaddr::AF_INET6,
                is_listening: s.phase() == Phase::Listening,
                is_local: s.ends.get().is_some(),
                uid: s.common.uid,
                id: s.connection.load(Ordering::Relaxed),
            })
        })
        .collect()
}

impl TcpSocket {
    pub(crate) fn new(family: u16) -> Arc<Self> {
        Self::with_common(Common::new(family, Kind::Stream, i32::from(TCP)))
    }

    fn with_common(common: Common) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            common,
            me: me.clone(),
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            options: IpOptions::new(),
            place: SpinLock::new(Rank::Socket, Place::default()),
            phase: AtomicU8::new(Phase::Idle as u8),
            listener: Once::new(),
            ends: Once::new(),
            connection: AtomicU64::new(0),
            is_reported: AtomicBool::new(false),
            is_read_shut: AtomicBool::new(false),
            is_write_shut: AtomicBool::new(false),
            no_delay: AtomicBool::new(false),
            keep_idle_s: AtomicU32::new(7200),
            keep_interval_s: AtomicU32::new(75),
            keep_count: AtomicU32::new(9),
            user_timeout_ms: AtomicU32::new(0),
            receiving: Mutex::new(Rank::Stream, Vec::new()),
            sending: Mutex::new(Rank::Stream, Vec::new()),
        })
    }

    /// The socket of a connection that came to `parent`. It has the options of its parent.
    pub(super) fn accepted(parent: &Self, local: SocketAddr, remote: SocketAddr) -> Arc<Self> {
        let mut common = Common::new(parent.common.family, Kind::Stream, i32::from(TCP));
        common.uid = parent.common.uid;
        let copy = |to: &AtomicU32, from: &AtomicU32| to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        copy(&common.bits, &parent.common.bits);
        copy(&common.mark, &parent.common.mark);
        let (r, s) = (&parent.common.receive_bytes, &parent.common.send_bytes);
        common.receive_bytes.store(r.load(Ordering::Relaxed), Ordering::Relaxed);
        common.send_bytes.store(s.load(Ordering::Relaxed), Ordering::Relaxed);
        common
            .linger_s
            .store(parent.common.linger_s.load(Ordering::Relaxed), Ordering::Relaxed);
        let new = Self::with_common(common);
        new.options.inherit(&parent.options);
        new.no_delay
            .store(parent.no_delay.load(Ordering::Relaxed), Ordering::Relaxed);
        copy(&new.keep_idle_s, &parent.keep_idle_s);
        copy(&new.keep_interval_s, &parent.keep_interval_s);
        copy(&new.keep_count, &parent.keep_count);
        copy(&new.user_timeout_ms, &parent.user_timeout_ms);
        *new.place.lock() = Place {
            local: Some(local),
            remote: Some(remote),
            scope: 0,
        };
        new.is_reported.store(true, Ordering::Relaxed);
        let binding = new.binding(local, Some(remote));
        PORTS.lock().share(local.port(), binding);
        new
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Idle,
            1 => Phase::Listening,
            2 => Phase::Connecting,
            3 => Phase::Connected,
            _ => Phase::Broken,
        }
    }

    fn set_phase(&self, p: Phase) {
        self.phase.store(p as u8, Ordering::Release);
    }

    /// The handshake is done.
    pub(super) fn set_connected(&self) {
        self.set_phase(Phase::Connected);
    }

    pub(super) fn set_connection(&self, id: ConnId) {
        self.connection.store(id, Ordering::Release);
    }

    /// The connection has failed.
    pub(super) fn fail(&self, e: Errno) {
        self.set_phase(Phase::Broken);
        self.common.fail(e);
    }

    pub(super) fn wake(&self, events: Events) {
        self.common.queue.wake_all(events);
    }

    /// Sizes of a connection's buffers.
    pub(super) fn buffer_sizes(&self) -> (usize, usize) {
        use super::super::options::DEFAULT_BUFFER;
        let size = |v: usize| {
            if v == DEFAULT_BUFFER {
                BUFFER
            } else {
                v.clamp(4096, MAX_BUFFER)
            }
        };
        let (r, s) = (&self.common.receive_bytes, &self.common.send_bytes);
        (size(r.load(Ordering::Relaxed)), size(s.load(Ordering::Relaxed)))
    }

    fn connection(&self) -> Option<ConnId> {
        let id = self.connection.load(Ordering::Acquire);
        (id != 0).then_some(id)
    }

    fn binding(&self, addr: SocketAddr, remote: Option<SocketAddr>) -> Binding<Weak<Self>> {
        Binding {
            addr: addr.ip(),
            is_v6_only: self.options.get().is_v6_only(),
            iface: self.common.device.load(Ordering::Relaxed),
            reuse_addr: self.common.is(Bits::REUSE_ADDR),
            reuse_port: self.common.is(Bits::REUSE_PORT),
            is_listening: false,
            uid: self.common.uid,
            remote,
            owner: self.me.clone(),
            id: self.id,
        }
    }

    fn bind_to(&self, addr: SocketAddr) -> Result<()> {
        let mut place = self.place.lock();
        if place.local.is_some() {
            return Err(Errno::EINVAL);
        }
        let new = self.binding(addr, None);
        // One leaf lock at a time.
        drop(place);
        // Before the table's lock: the generator has one of the same rank.
        let random = if addr.port() == 0 { random_u64() as u16 } else { 0 };
        let port = match addr.port() {
            0 => PORTS.lock().bind_ephemeral(random, new),
            p => PORTS.lock().bind(p, new).map(|()| p),
        };
        let port = port.map_err(|_| Errno::EADDRINUSE)?;
        place = self.place.lock();
        if place.local.is_some() {
            drop(place);
            let gone = PORTS.lock().release(port, self.id);
            drop(gone);
            return Err(Errno::EINVAL);
        }
        place.local = Some(SocketAddr::new(addr.ip(), port));
        Ok(())
    }

    /// Waits until the connection is made.
    fn wait_connected(&self, nonblock: bool) -> Result<()> {
        self.common.wait_send(nonblock, || match self.phase() {
            Phase::Connecting => None,
            Phase::Connected => Some(Ok(())),
            _ => Some(Err(self.common.take_error().unwrap_or(Errno::EPIPE))),
        })
    }
}

/// A state's number as the kernel shows it (TCP_ESTABLISHED, ...).
pub(crate) fn state_number(s: State) -> u8 {
    match s {
        State::Established => 1,
        State::SynSent => 2,
        State::SynReceived => 3,
        State::FinWait1 => 4,
        State::FinWait2 => 5,
        State::TimeWait => 6,
        State::Closed => 7,
        State::CloseWait => 8,
        State::LastAck => 9,
        State::Listen => 10,
        State::Closing => 11,
    }
}

impl Protocol for TcpSocket {
    fn common(&self) -> &Common {
        &self.common
    }

    fn bind(&self, addr: SockAddr) -> Result<()> {
        let a = inside(&self.common, &addr, self.options.get().is_v6_only()).map_err(|e| match e {
            Errno::ENETUNREACH => Errno::EADDRNOTAVAIL,
            e => e,
        })?;
        may_bind_port(a.port())?;
        if self.phase() != Phase::Idle {
            return Err(Errno::EINVAL);
        }
        let is_free_bind = self.options.get().on.contains(Switches::FREEBIND);
        if a.ip().is_multicast() || (!is_free_bind && !stack::with(|s| s.may_bind(a.ip()))) {
            return Err(Errno::EADDRNOTAVAIL);
        }
        self.bind_to(a)?;
        self.place.lock().scope = scope_of(&addr);
        Ok(())
    }

    fn connect(&self, addr: SockAddr, nonblock: bool) -> Result<()> {
        self.connect_to(addr, nonblock)
    }

    fn listen(&self, backlog: usize) -> Result<()> {
        self.start_listening(backlog)
    }

    fn accept(&self, nonblock: bool) -> Result<(Arc<dyn Protocol>, SockAddr)> {
        self.take_accepted(nonblock)
    }

    fn send(&self, message: &mut Outgoing<'_, '_>) -> Result<usize> {
        if message.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        match self.phase() {
            Phase::Connected => {}
            Phase::Connecting => self.wait_connected(message.nonblock)?,
            _ => return Err(self.common.take_error().unwrap_or(Errno::EPIPE)),
        }
        if self.is_write_shut.load(Ordering::Relaxed) {
            return Err(Errno::EPIPE);
        }
        match (self.ends.get(), self.connection()) {
            (Some(ends), _) => self.send_here(ends, message),
            (None, Some(id)) => self.send_away(id, message),
            (None, None) => Err(Errno::ENOTCONN),
        }
    }

    fn receive(&self, message: &mut Incoming<'_, '_>) -> Result<usize> {
        if message.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EINVAL);
        }
        if message.flags.contains(MsgFlags::ERRQUEUE) {
            return Err(Errno::EAGAIN);
        }
        match self.phase() {
            Phase::Connected | Phase::Broken => {}
            Phase::Connecting => self.wait_connected(message.nonblock)?,
            Phase::Idle | Phase::Listening => {
                return Err(self.common.take_error().unwrap_or(Errno::ENOTCONN));
            }
        }
        match (self.ends.get(), self.connection()) {
            (Some(ends), _) => self.receive_here(ends, message),
            (None, Some(id)) => self.receive_away(id, message),
            (None, None) => Err(Errno::ENOTCONN),
        }
    }

    fn shutdown(&self, how: Shutdown) -> Result<()> {
        match self.phase() {
            Phase::Connected => {}
            Phase::Listening if how.read => {
                // As on Linux, this ends the listening.
                self.stop_listening();
                return Ok(());
            }
            _ => return Err(Errno::ENOTCONN),
        }
        if how.read {
            self.is_read_shut.store(true, Ordering::Relaxed);
        }
        if how.write && !self.is_write_shut.swap(true, Ordering::Relaxed) {
            if let Some(ends) = self.ends.get() {
                ends.tx.end();
            } else if let Some(id) = self.connection() {
                stack::with(|s| connections::work(s, id, |c| c.close()));
            }
        }
        self.wake(Events::READ | Events::WRITE | Events::RDHUP);
        Ok(())
    }

    fn local(&self) -> Result<SockAddr> {
        let place = *self.place.lock();
        let none = SocketAddr::new(any(&self.common), 0);
        Ok(outside(&self.common, place.local.unwrap_or(none), place.scope))
    }

    fn peer(&self) -> Result<SockAddr> {
        let place = *self.place.lock();
        if self.phase() != Phase::Connected {
            return Err(Errno::ENOTCONN);
        }
        place
            .remote
            .map(|r| outside(&self.common, r, place.scope))
            .ok_or(Errno::ENOTCONN)
    }

    fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<()> {
        self.set(level, name, value)
    }

    fn get_option(&self, level: i32, name: i32) -> Result<Vec<u8>> {
        self.read(level, name)
    }

    fn is_listening(&self) -> bool {
        self.phase() == Phase::Listening
    }

    fn events(&self) -> Events {
        let mut e = match self.phase() {
            Phase::Idle => Events::WRITE | Events::HUP,
            Phase::Listening if self.listener.get().is_some_and(|l| l.is_ready()) => Events::READ,
            Phase::Listening | Phase::Connecting => Events::empty(),
            Phase::Broken if self.connection().is_none() => Events::READ | Events::WRITE | Events::HUP | Events::RDHUP,
            Phase::Connected | Phase::Broken => match (self.ends.get(), self.connection()) {
                (Some(ends), _) => ends.events(),
                (None, Some(id)) => stack::with(|s| connections::inspect(s, id, connection_events))
                    .unwrap_or(Events::READ | Events::WRITE | Events::HUP | Events::RDHUP),
                (None, None) => Events::HUP,
            },
        };
        if self.is_read_shut.load(Ordering::Relaxed) {
            e |= Events::READ | Events::RDHUP;
            if self.is_write_shut.load(Ordering::Relaxed) {
                e |= Events::HUP;
            }
        }
        if self.is_write_shut.load(Ordering::Relaxed) {
            e |= Events::WRITE;
            if e.contains(Events::RDHUP) {
                e |= Events::HUP;
            }
        }
        if self.common.has_error() {
            e |= Events::ERR | Events::READ | Events::WRITE;
        }
        e
    }

    fn readable_bytes(&self) -> usize {
        match (self.ends.get(), self.connection()) {
            (Some(ends), _) => ends.rx.len(),
            (None, Some(id)) => stack::with(|s| connections::inspect(s, id, |c| c.readable())).unwrap_or(0),
            (None, None) => 0,
        }
    }

    fn unsent_bytes(&self) -> usize {
        match (self.ends.get(), self.connection()) {
            (Some(ends), _) => ends.tx.len(),
            (None, Some(id)) => stack::with(|s| connections::inspect(s, id, |c| c.unacknowledged())).unwrap_or(0),
            (None, None) => 0,
        }
    }

    fn close(&self) {
        self.stop_listening();
        let aborts = self.common.linger_s.load(Ordering::Relaxed) == 0;
        if let Some(ends) = self.ends.get() {
            if aborts {
                ends.rx.deafen();
                ends.tx.reset();
            } else {
                ends.close();
            }
        } else if let Some(id) = self.connection() {
            stack::with(|s| connections::abandon(s, id, aborts));
        }
        let local = self.place.lock().local.take();
        if let Some(l) = local {
            let gone = PORTS.lock().release(l.port(), self.id);
            drop(gone);
        }
    }
}

impl Drop for TcpSocket {
    fn drop(&mut self) {
        // Connections that nobody accepted have no descriptor that closes them.
        if let Some(l) = self.place.get_mut().local {
            let gone = PORTS.lock().release(l.port(), self.id);
            drop(gone);
        }
    }
}

fn connection_events(c: &sis_netstack::tcp::Connection) -> Events {
    let mut e = Events::empty();
    if c.readable() > 0 || !c.may_receive() {
        e |= Events::READ;
    }
    if !c.may_receive() {
        e |= Events::RDHUP;
    }
    if connections::is_writable(c) {
        e |= Events::WRITE;
    }
    if c.state() == State::Closed {
        e |= Events::HUP | Events::RDHUP;
    }
    e
}
