//! TCP connections with other machines.
//!
//! Each is a [`Connection`]; here they are found by their addresses, fed with packets and time, and their sockets are
//! told what changed. All of it happens under the stack's lock.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use sis_netstack::packet::{self, ETHERNET, IpHeader, IpOut, TCP, set_tos, tcp_flags};
use sis_netstack::tcp::{Connection, Packets, Setup, State};

use super::super::random_u64;
use super::super::stack::Stack;
use super::listener::Listener;
use super::tcp::TcpSocket;
use crate::poll::Events;
use crate::{Errno, Result, time};

/// What a connection is called.
pub(crate) type ConnId = u64;

const SECOND_NS: u64 = 1_000_000_000;
/// Connections at most, for each 128 MiB of memory.
const MOST_EACH: usize = 128;
/// All connections' buffers have this part of memory; after that new ones get small buffers (as Linux does from `tcp_mem` on).
const BUFFER_PART: usize = 16;
/// Those.
const SMALL_BUFFER: usize = 16 * 1024;
/// How long a SYN is repeated (tcp_syn_retries = 6).
const CONNECT_NS: u64 = 127 * SECOND_NS;
/// How long the answer to a SYN is repeated (tcp_synack_retries = 4 or so: less than Linux, as each holds buffers).
const HANDSHAKE_NS: u64 = 31 * SECOND_NS;
/// How long data is repeated without an answer (tcp_retries2 = 15).
const SILENCE_NS: u64 = 924 * SECOND_NS;
/// How long a connection that its program has closed may take to end (tcp_fin_timeout).
const ORPHAN_NS: u64 = 60 * SECOND_NS;

/// What the socket was told last.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen {
    state: State,
    readable: usize,
    may_receive: bool,
    is_writable: bool,
}

struct Entry {
    conn: Box<Connection>,
    socket: Weak<TcpSocket>,
    /// While the handshake of an incoming connection runs: who waits for it, and the socket it will get.
    embryo: Option<(Weak<Listener>, Arc<TcpSocket>)>,
    seen: Seen,
    /// When it wants time next; `u64::MAX` for never.
    due_ns: u64,
    /// Heard from the other end.
    heard_ns: u64,
    /// When it is given up in its present state; `u64::MAX` for never.
    give_up_ns: u64,
    /// Most silence while data or keep-alive probes are unanswered.
    silence_ns: u64,
    keeps_alive: bool,
    is_orphan: bool,
    /// What its buffers take.
    buffer_bytes: usize,
    /// Segments came that it has not answered yet: it is in [`Connections::touched`].
    is_touched: bool,
    tos: u8,
}

/// The connections.
pub(crate) struct Connections {
    all: BTreeMap<ConnId, Entry>,
    by_address: BTreeMap<(SocketAddr, SocketAddr), ConnId>,
    timers: BTreeSet<(u64, ConnId)>,
    /// Those that segments came for in this burst.
    touched: Vec<ConnId>,
    /// What the buffers of all of them take.
    buffer_bytes: usize,
    next: ConnId,
}

/// How a connection is to be made.
pub(crate) struct Opening {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    /// Wished sizes of the receive and the send buffer.
    pub(crate) buffers: (usize, usize),
}

impl Connections {
    pub(crate) const fn new() -> Self {
        Self {
            all: BTreeMap::new(),
            by_address: BTreeMap::new(),
            timers: BTreeSet::new(),
            touched: Vec::new(),
            buffer_bytes: 0,
            next: 1,
        }
    }

    /// When the first of them wants time.
    pub(crate) fn next_ns(&self) -> u64 {
        self.timers.first().map_or(u64::MAX, |t| t.0)
    }

    fn has_room(&self) -> bool {
        let each = sis_machine::mm::frames::total_frames() / 32768;
        self.all.len() < (each.max(1)).saturating_mul(MOST_EACH)
    }

    /// The sizes of a new connection's buffers: those that are wished for while there is memory for them.
    fn buffers(&self, (receive, send): (usize, usize)) -> (usize, usize) {
        let most = sis_machine::mm::frames::total_frames() * (sis_machine::mm::PAGE_SIZE / BUFFER_PART);
        if self.buffer_bytes.saturating_add(receive).saturating_add(send) <= most {
            (receive, send)
        } else {
            (receive.min(SMALL_BUFFER), send.min(SMALL_BUFFER))
        }
    }

    fn insert(
        &mut self,
        conn: Connection,
        buffer_bytes: usize,
        socket: &Arc<TcpSocket>,
        listener: Option<&Arc<Listener>>,
    ) -> ConnId {
        self.buffer_bytes += buffer_bytes;
        let id = self.next;
        self.next += 1;
        let now = time::now_ns();
        let seen = look(&conn);
        self.by_address.insert((conn.local(), conn.remote()), id);
        let entry = Entry {
            conn: Box::new(conn),
            socket: Arc::downgrade(socket),
            embryo: listener.map(|l| (Arc::downgrade(l), socket.clone())),
            seen,
            due_ns: u64::MAX,
            heard_ns: now,
            give_up_ns: now + if listener.is_some() { HANDSHAKE_NS } else { CONNECT_NS },
            silence_ns: SILENCE_NS,
            keeps_alive: false,
            is_orphan: false,
            buffer_bytes,
            is_touched: false,
            tos: 0,
        };
        self.all.insert(id, entry);
        id
    }

    fn plan(&mut self, id: ConnId, due_ns: u64) {
        let Some(e) = self.all.get_mut(&id) else { return };
        if e.due_ns == due_ns {
            return;
        }
        let old = core::mem::replace(&mut e.due_ns, due_ns);
        self.timers.remove(&(old, id));
        if due_ns != u64::MAX {
            self.timers.insert((due_ns, id));
        }
    }

    fn forget(&mut self, id: ConnId) -> Option<Entry> {
        let e = self.all.remove(&id)?;
        self.timers.remove(&(e.due_ns, id));
        self.buffer_bytes = self.buffer_bytes.saturating_sub(e.buffer_bytes);
        let key = (e.conn.local(), e.conn.remote());
        if self.by_address.get(&key) == Some(&id) {
            self.by_address.remove(&key);
        }
        Some(e)
    }
}

fn look(c: &Connection) -> Seen {
    Seen {
        state: c.state(),
        readable: c.readable(),
        may_receive: c.may_receive(),
        is_writable: is_writable(c),
    }
}

/// Whether poll(2) says that a connection is writable: a third of the buffer is free, or writing fails at once.
pub(crate) fn is_writable(c: &Connection) -> bool {
    !c.may_send() || c.writable() >= c.unacknowledged() / 2
}

/// Begins to connect; the SYN is on its way.
pub(crate) fn connect(stack: &mut Stack, how: &Opening, socket: &Arc<TcpSocket>) -> Result<ConnId> {
    let hop = stack.routes.lookup(how.remote.ip(), 0).ok_or(Errno::ENETUNREACH)?;
    let iface = stack
        .interface(hop.iface)
        .filter(|i| i.is_up())
        .ok_or(Errno::ENETUNREACH)?;
    let (receive_bytes, send_bytes) = stack.connections.buffers(how.buffers);
    let setup = Setup {
        local: how.local,
        remote: how.remote,
        receive_bytes,
        send_bytes,
        mtu: iface.mtu,
        seed: random_u64(),
    };
    if stack.connections.by_address.contains_key(&(how.local, how.remote)) {
        return Err(Errno::EADDRNOTAVAIL);
    }
    if !stack.connections.has_room() {
        return Err(Errno::ENOBUFS);
    }
    let now = time::now_ns();
    // The addresses were checked: it is memory that is missing.
    let conn = Connection::connect(&setup, now).ok_or(Errno::ENOBUFS)?;
    let id = stack.connections.insert(conn, receive_bytes + send_bytes, socket, None);
    settle(stack, now, id);
    Ok(id)
}

/// Works with a connection, then sends what follows. `None` when it is gone.
pub(crate) fn work<R>(stack: &mut Stack, id: ConnId, f: impl FnOnce(&mut Connection) -> R) -> Option<R> {
    let out = f(&mut stack.connections.all.get_mut(&id)?.conn);
    settle(stack, time::now_ns(), id);
    Some(out)
}

/// Copies what a connection has received, without taking it.
pub(crate) fn peek(stack: &mut Stack, id: ConnId, out: &mut [u8]) -> Option<usize> {
    stack.connections.all.get_mut(&id).map(|e| e.conn.peek(out))
}

/// Looks at a connection.
pub(crate) fn inspect<R>(stack: &Stack, id: ConnId, f: impl FnOnce(&Connection) -> R) -> Option<R> {
    stack.connections.all.get(&id).map(|e| f(&e.conn))
}

/// What the socket's options say about a connection.
pub(crate) struct Tuning {
    pub(crate) no_delay: bool,
    pub(crate) keep_alive_ns: Option<u64>,
    pub(crate) silence_ns: Option<u64>,
    pub(crate) tos: u8,
    pub(crate) ttl: u8,
}

/// Follows the socket's options.
pub(crate) fn tune(stack: &mut Stack, id: ConnId, t: &Tuning) {
    let Some(e) = stack.connections.all.get_mut(&id) else {
        return;
    };
    e.conn.set_no_delay(t.no_delay);
    e.conn.set_keep_alive_ns(t.keep_alive_ns);
    e.conn.set_hop_limit(t.ttl);
    e.keeps_alive = t.keep_alive_ns.is_some();
    e.silence_ns = t.silence_ns.unwrap_or(SILENCE_NS);
    e.tos = t.tos;
    settle(stack, time::now_ns(), id);
}

/// The program has closed its socket: the connection ends by itself.
pub(crate) fn abandon(stack: &mut Stack, id: ConnId, abort: bool) {
    let now = time::now_ns();
    let Some(e) = stack.connections.all.get_mut(&id) else {
        return;
    };
    e.is_orphan = true;
    e.give_up_ns = now + ORPHAN_NS;
    if abort || e.conn.readable() > 0 {
        e.conn.abort();
    } else {
        e.conn.close();
    }
    settle(stack, now, id);
}

/// A TCP segment came in for one of our addresses.
pub(crate) fn input(stack: &mut Stack, now: u64, index: u32, ip: &IpHeader, whole: &[u8], segment: &[u8]) {
    if !packet::tcp_is_sound(ip, segment) {
        return;
    }
    let Some((src_port, dst_port)) = packet::ports(segment) else {
        return;
    };
    let (local, remote) = (SocketAddr::new(ip.dst, dst_port), SocketAddr::new(ip.src, src_port));
    // A segment that came in fragments has no packet of its own.
    let rebuilt;
    let mut whole = whole;
    if whole.len() != ip.header_len + segment.len() {
        let head = IpOut {
            src: ip.src,
            dst: ip.dst,
            protocol: TCP,
            tos: ip.tos,
            ttl: ip.ttl,
            dont_fragment: true,
            id: 0,
        };
        rebuilt = head.packet(segment);
        whole = rebuilt.get(ETHERNET..).unwrap_or_default();
    }
    let flags = packet::tcp_flag_bits(segment).unwrap_or(0);
    let is_syn = flags & (tcp_flags::SYN | tcp_flags::ACK | tcp_flags::RST) == tcp_flags::SYN;
    let known = stack.connections.by_address.get(&(local, remote)).copied();
    let id = match known {
        Some(id) => Some(id),
        None if is_syn && src_port != 0 && !ip.src.is_unspecified() => welcome(stack, now, index, local, remote),
        None => None,
    };
    let Some(id) = id else {
        if let Some(rst) = packet::tcp_reset(ip, segment)
            && !(is_syn && is_overloaded(index, local, remote))
        {
            stack.reply(ip.src, rst);
        }
        return;
    };
    let mut out = Packets::new();
    let Some(e) = stack.connections.all.get_mut(&id) else {
        return;
    };
    e.heard_ns = now;
    e.conn.process(now, whole, &mut out);
    // A SYN that was not one leaves nothing behind.
    let is_void = known.is_none() && e.embryo.is_some() && e.conn.state() == State::Listen;
    // What it has to say is said when the burst is over: one acknowledgement for all of it, as where a network card merges segments (GRO).
    // When the state changes nothing waits, so that nobody sees two changes as one.
    let is_changed = e.conn.state() != e.seen.state;
    let is_first = !is_void && !is_changed && !core::mem::replace(&mut e.is_touched, true);
    emit(stack, id, remote.ip(), out);
    if is_void {
        discard_embryo(stack, id);
    } else if is_changed {
        settle(stack, now, id);
    } else if is_first {
        stack.connections.touched.push(id);
    }
}

/// Lets the connections that segments came for answer; whether there were any.
pub(crate) fn settle_touched(stack: &mut Stack) -> bool {
    let touched = core::mem::take(&mut stack.connections.touched);
    if touched.is_empty() {
        return false;
    }
    let now = time::now_ns();
    for id in touched {
        if let Some(e) = stack.connections.all.get_mut(&id) {
            e.is_touched = false;
            settle(stack, now, id);
        }
    }
    true
}

/// Forgets a handshake that came to nothing.
fn discard_embryo(stack: &mut Stack, id: ConnId) {
    let gone = stack.connections.forget(id);
    if let Some((listener, _)) = gone.and_then(|mut e| e.embryo.take())
        && let Some(l) = listener.upgrade()
    {
        l.unreserve();
    }
}

/// Whether somebody listens but has no room: the SYN is ignored then, and comes again.
fn is_overloaded(index: u32, local: SocketAddr, remote: SocketAddr) -> bool {
    super::tcp::find_listener(local, remote, index).is_some()
}

/// A SYN came: makes a connection for it if somebody listens and has room.
fn welcome(stack: &mut Stack, now: u64, index: u32, local: SocketAddr, remote: SocketAddr) -> Option<ConnId> {
    let (listener, parent) = super::tcp::find_listener(local, remote, index)?;
    if !stack.connections.has_room() || !listener.reserve() {
        return None;
    }
    let mtu = stack.interface(index)?.mtu;
    let (receive_bytes, send_bytes) = stack.connections.buffers(parent.buffer_sizes());
    let setup = Setup {
        local,
        remote,
        receive_bytes,
        send_bytes,
        mtu,
        seed: random_u64(),
    };
    let Some(conn) = Connection::accept(&setup, now) else {
        listener.unreserve();
        return None;
    };
    let socket = TcpSocket::accepted(&parent, local, remote);
    let id = stack
        .connections
        .insert(conn, receive_bytes + send_bytes, &socket, Some(&listener));
    socket.set_connection(id);
    Some(id)
}

/// Sends packets that a connection made.
fn emit(stack: &mut Stack, id: ConnId, to: IpAddr, out: Packets) {
    if out.is_empty() {
        return;
    }
    let tos = stack.connections.all.get(&id).map_or(0, |e| e.tos);
    let Some(hop) = stack.routes.lookup(to, 0) else { return };
    for mut frame in out {
        if tos != 0 {
            set_tos(&mut frame, tos);
        }
        // A neighbour that does not answer is a lost packet; it is repeated, and given up in time.
        let _ = stack.send_frame(&hop, frame);
    }
}

/// Sends what a connection has to say now, and tells its socket what changed.
fn settle(stack: &mut Stack, now: u64, id: ConnId) {
    let mut out = Packets::new();
    let Some(e) = stack.connections.all.get_mut(&id) else {
        return;
    };
    e.conn.poll(now, &mut out);
    let to = e.conn.remote().ip();
    emit(stack, id, to, out);
    let Some(e) = stack.connections.all.get_mut(&id) else {
        return;
    };
    let before = e.seen;
    let after = look(&e.conn);
    e.seen = after;
    let mut due = e.conn.next_ns(now).unwrap_or(u64::MAX);
    if before.state != after.state {
        change(stack, now, id, before.state, after.state);
    }
    let Some(e) = stack.connections.all.get_mut(&id) else {
        return;
    };
    if let Some(s) = e.socket.upgrade()
        && e.embryo.is_none()
    {
        let mut events = Events::empty();
        if after.readable > before.readable || before.may_receive != after.may_receive {
            events |= Events::READ;
        }
        if !after.may_receive && before.may_receive {
            events |= Events::RDHUP;
        }
        if after.is_writable && !before.is_writable {
            events |= Events::WRITE;
        }
        if before.state != after.state {
            events |= Events::READ | Events::WRITE;
        }
        if !events.is_empty() {
            s.wake(events);
        }
    }
    let is_done = e.conn.is_over() || e.conn.state() == State::TimeWait || e.conn.state() == State::Closed;
    if e.is_orphan && is_done {
        drop(stack.connections.forget(id));
        return;
    }
    let unanswered = e.conn.unacknowledged() > 0 || e.keeps_alive;
    let silence = if unanswered {
        e.heard_ns.saturating_add(e.silence_ns)
    } else {
        u64::MAX
    };
    due = due.min(e.give_up_ns).min(silence);
    // A connection that is always due must not keep the thread busy.
    let due = if due <= now { now + 1_000_000 } else { due };
    stack.connections.plan(id, due);
}

/// The state of a connection has changed.
fn change(stack: &mut Stack, now: u64, id: ConnId, from: State, to: State) {
    let Some(e) = stack.connections.all.get_mut(&id) else {
        return;
    };
    match to {
        State::Established | State::CloseWait
            if matches!(from, State::SynSent | State::SynReceived | State::Listen) =>
        {
            e.give_up_ns = u64::MAX;
            e.heard_ns = now;
            match e.embryo.take() {
                Some((listener, socket)) => {
                    socket.set_connected();
                    let taken = listener.upgrade().is_some_and(|l| l.promote(socket));
                    if !taken {
                        abandon(stack, id, true);
                    }
                }
                None => {
                    if let Some(s) = e.socket.upgrade() {
                        s.set_connected();
                    }
                }
            }
        }
        State::Closed | State::Listen => {
            if e.embryo.is_some() {
                discard_embryo(stack, id);
                return;
            }
            if e.is_orphan || matches!(from, State::LastAck | State::TimeWait | State::Closing) {
                return;
            }
            let error = if from == State::SynSent {
                Errno::ECONNREFUSED
            } else {
                Errno::ECONNRESET
            };
            if let Some(s) = e.socket.upgrade() {
                s.fail(error);
            }
        }
        _ => {}
    }
}

/// Does what is due.
pub(crate) fn tick(stack: &mut Stack, now: u64) {
    // Bounded: what becomes due meanwhile waits for the next call.
    for _ in 0..1024 {
        let Some((due, id)) = stack.connections.timers.first().copied() else {
            return;
        };
        if due > now {
            return;
        }
        let Some(e) = stack.connections.all.get_mut(&id) else {
            stack.connections.timers.remove(&(due, id));
            continue;
        };
        let unanswered = e.conn.unacknowledged() > 0 || e.keeps_alive;
        let is_silent = unanswered && now >= e.heard_ns.saturating_add(e.silence_ns);
        if now >= e.give_up_ns || is_silent {
            give_up(stack, id, Errno::ETIMEDOUT);
            continue;
        }
        settle(stack, now, id);
    }
}

/// Ends a connection that does not work any more.
fn give_up(stack: &mut Stack, id: ConnId, error: Errno) {
    let Some(mut e) = stack.connections.forget(id) else {
        return;
    };
    e.conn.abort();
    let mut out = Packets::new();
    e.conn.poll(time::now_ns(), &mut out);
    emit(stack, id, e.conn.remote().ip(), out);
    if let Some((listener, _)) = e.embryo.take()
        && let Some(l) = listener.upgrade()
    {
        l.unreserve();
    }
    if let Some(s) = e.socket.upgrade()
        && !e.is_orphan
    {
        s.fail(error);
    }
}

/// An ICMP error answers a SYN: the connection cannot be made. (Later ones are hints that time will judge.)
pub(crate) fn fail_connecting(stack: &mut Stack, local: SocketAddr, remote: SocketAddr, error: Errno) {
    let Some(id) = stack.connections.by_address.get(&(local, remote)).copied() else {
        return;
    };
    if stack
        .connections
        .all
        .get(&id)
        .is_some_and(|e| e.conn.state() == State::SynSent)
    {
        give_up(stack, id, error);
    }
}
