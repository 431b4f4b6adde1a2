//! AF_UNIX (unix(7)): streams, datagrams, sequenced packets.
//!
//! A stream is two [`Pipe`](super::pipe::Pipe)s; datagrams and sequenced packets are [`Mailbox`]es. Passed descriptors
//! (SCM_RIGHTS) are bounded in number while they travel; a cycle of sockets that hold each other in their queues is not
//! found and stays until reboot.

mod connect;
mod letters;
mod names;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use sis_machine::sync::{Once, Rank, SpinLock};
use sis_netstack::sockaddr::{AF_UNIX, SockAddr, UnixName};

use super::mailbox::Mailbox;
use super::message::{Ancillary, Incoming, MsgFlags, Outgoing, Ucred};
use super::options::{self, Bits, SOL_SOCKET, so};
use super::passed::Passed;
use super::pipe::{Ends, Extra, Taking};
use super::socket::{Common, Kind, Protocol, Shutdown};
use crate::poll::Events;
use crate::wait::WaitQueue;
use crate::{Errno, Result};
use letters::Note;

pub(crate) use names::list;

/// SCM_CREDENTIALS.
const SCM_CREDENTIALS: i32 = 2;
/// Most descriptors of one message (SCM_MAX_FD).
pub(crate) const MAX_FILES: usize = 253;

/// What a socket is connected to.
enum Link {
    None,
    Listening {
        pending: VecDeque<Arc<UnixSocket>>,
        most: usize,
    },
    /// Streams (their bytes go through [`UnixSocket::ends`]) and sequenced packets: the other end.
    Peer(Weak<UnixSocket>),
    /// Datagrams: where they go.
    Target(Arc<UnixSocket>),
    Closed,
}

/// An AF_UNIX socket.
pub(crate) struct UnixSocket {
    common: Common,
    me: Weak<Self>,
    link: SpinLock<Link>,
    /// A stream's bytes, once connected.
    ends: Once<Ends>,
    is_connecting: AtomicBool,
    is_write_shut: AtomicBool,
    mailbox: Mailbox<Note>,
    /// Senders that found the mailbox full.
    full_for: SpinLock<Vec<Arc<WaitQueue>>>,
    name: SpinLock<Option<UnixName>>,
    /// The peer's name and credentials when it was connected.
    peer: SpinLock<Option<(UnixName, Ucred)>>,
    /// Whose credentials a listener shows.
    owner: SpinLock<Ucred>,
}

impl UnixSocket {
    pub(crate) fn new(kind: Kind) -> Arc<Self> {
        let common = Common::new(AF_UNIX, kind, 0);
        let queue = common.queue.clone();
        Arc::new_cyclic(|me| Self {
            common,
            me: me.clone(),
            link: SpinLock::new(Rank::Sockets, Link::None),
            ends: Once::new(),
            is_connecting: AtomicBool::new(false),
            is_write_shut: AtomicBool::new(false),
            mailbox: Mailbox::new(queue),
            full_for: SpinLock::new(Rank::Leaf, Vec::new()),
            name: SpinLock::new(Rank::Leaf, None),
            peer: SpinLock::new(Rank::Leaf, None),
            owner: SpinLock::new(Rank::Leaf, Ucred::current()),
        })
    }

    /// socketpair(2).
    pub(crate) fn pair(kind: Kind) -> (Arc<Self>, Arc<Self>) {
        let (a, b) = (Self::new(kind), Self::new(kind));
        let cred = Ucred::current();
        for (x, y) in [(&a, &b), (&b, &a)] {
            *x.link.lock() = match kind {
                Kind::Datagram => Link::Target(y.clone()),
                _ => Link::Peer(Arc::downgrade(y)),
            };
            *x.peer.lock() = Some((UnixName::Unnamed, cred));
        }
        if kind == Kind::Stream {
            let (ea, eb) = Ends::pair(options::DEFAULT_BUFFER, &a.common.queue, &b.common.queue);
            a.ends.call_once(|| ea);
            b.ends.call_once(|| eb);
        }
        (a, b)
    }

    fn bound_name(&self) -> UnixName {
        self.name.lock().clone().unwrap_or(UnixName::Unnamed)
    }

    /// What goes with a message: the files it passes, and who sends it if somebody wants to know.
    fn extra(&self, message: &mut Outgoing<'_, '_>, peer: Option<&Self>) -> Result<Option<Box<Extra>>> {
        let files = core::mem::take(&mut message.control.files);
        let wants_cred = self.common.is(Bits::PASS_CRED) || peer.is_none_or(|p| p.common.is(Bits::PASS_CRED));
        let cred = message.control.cred.or_else(|| wants_cred.then(Ucred::current));
        if files.is_empty() && cred.is_none() {
            return Ok(None);
        }
        let files = Passed::new(files)?;
        Ok(Some(Box::new(Extra { files, cred })))
    }

    /// Hands what came with a message to the receiver.
    fn give_extra(&self, extra: Option<Extra>, message: &mut Incoming<'_, '_>) {
        let pass_cred = self.common.is(Bits::PASS_CRED);
        let Some(mut extra) = extra else { return };
        if pass_cred && let Some(c) = extra.cred {
            let data = c.to_bytes().to_vec();
            message.ancillary.push(Ancillary::Bytes {
                level: SOL_SOCKET,
                kind: SCM_CREDENTIALS,
                data,
            });
        }
        if !extra.files.is_empty() {
            let files = core::mem::take(&mut extra.files).arrive();
            if message.wants_control {
                message.ancillary.push(Ancillary::Files(files));
            } else {
                message.out_flags |= MsgFlags::CTRUNC;
            }
        }
    }

    fn connected(&self) -> Option<Arc<Self>> {
        match &*self.link.lock() {
            Link::Peer(p) => p.upgrade(),
            Link::Target(t) => Some(t.clone()),
            _ => None,
        }
    }

    fn send_stream(&self, message: &mut Outgoing<'_, '_>) -> Result<usize> {
        if message.to.is_some() {
            return Err(if self.ends.get().is_some() {
                Errno::EISCONN
            } else {
                Errno::EOPNOTSUPP
            });
        }
        let ends = self.ends.get().ok_or(Errno::ENOTCONN)?;
        if message.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let needs_peer = !message.control.files.is_empty() || self.common.is(Bits::PASS_CRED);
        let peer = self.connected();
        let mut extra = if needs_peer || peer.as_ref().is_none_or(|p| p.common.is(Bits::PASS_CRED)) {
            self.extra(message, peer.as_deref())?
        } else {
            None
        };
        let total = message.data.remaining();
        let mut done = 0;
        while done < total {
            if self.is_write_shut.load(Ordering::Relaxed) {
                return if done > 0 { Ok(done) } else { Err(Errno::EPIPE) };
            }
            let room = match self.common.wait_send(message.nonblock, || ends.tx.room()) {
                Ok(room) => room,
                Err(_) if done > 0 => return Ok(done),
                Err(e) => return Err(e),
            };
            match ends.tx.put(message.data, room, &mut extra) {
                Ok(n) => done += n,
                Err(_) if done > 0 => return Ok(done),
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn receive_stream(&self, message: &mut Incoming<'_, '_>) -> Result<usize> {
        let Some(ends) = self.ends.get() else {
            return Err(if self.is_listening() {
                Errno::EINVAL
            } else {
                Errno::ENOTCONN
            });
        };
        if message.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let how = Taking {
            is_peek: message.is_peek(),
            splits_by_cred: self.common.is(Bits::PASS_CRED),
        };
        let all = message.flags.contains(MsgFlags::WAITALL) && !message.is_peek();
        let mut done = 0;
        loop {
            let mut extra = None;
            let nonblock = message.nonblock;
            let data = &mut *message.data;
            let got = self
                .common
                .wait_receive(nonblock, || ends.rx.take(data, how, &mut extra));
            let had_extra = extra.is_some();
            self.give_extra(extra, message);
            match got {
                Ok(0) => return Ok(done),
                Ok(n) => done += n,
                Err(_) if done > 0 => return Ok(done),
                Err(e) => return Err(e),
            }
            if !all || had_extra || message.data.remaining() == 0 {
                return Ok(done);
            }
        }
    }
}

impl Protocol for UnixSocket {
    fn common(&self) -> &Common {
        &self.common
    }

    fn bind(&self, addr: SockAddr) -> Result<()> {
        let SockAddr::Unix(name) = addr else {
            return Err(Errno::EINVAL);
        };
        self.bind_name(name)
    }

    fn connect(&self, addr: SockAddr, nonblock: bool) -> Result<()> {
        match (addr, self.common.kind) {
            (SockAddr::Unix(name), Kind::Datagram) => self.connect_datagram(&name),
            (SockAddr::Unspec, Kind::Datagram) => {
                let old = core::mem::replace(&mut *self.link.lock(), Link::None);
                drop(old);
                *self.peer.lock() = None;
                Ok(())
            }
            (SockAddr::Unix(name), _) => self.connect_stream(&name, nonblock),
            _ => Err(Errno::EINVAL),
        }
    }

    fn listen(&self, backlog: usize) -> Result<()> {
        self.start_listening(backlog)
    }

    fn accept(&self, nonblock: bool) -> Result<(Arc<dyn Protocol>, SockAddr)> {
        self.accept_one(nonblock)
    }

    fn send(&self, message: &mut Outgoing<'_, '_>) -> Result<usize> {
        match self.common.kind {
            Kind::Stream => self.send_stream(message),
            _ => self.send_letter(message),
        }
    }

    fn receive(&self, message: &mut Incoming<'_, '_>) -> Result<usize> {
        match self.common.kind {
            Kind::Stream => self.receive_stream(message),
            _ => self.receive_letter(message),
        }
    }

    fn shutdown(&self, how: Shutdown) -> Result<()> {
        if self.common.kind != Kind::Datagram && self.peer.lock().is_none() {
            return Err(Errno::ENOTCONN);
        }
        if how.write {
            self.is_write_shut.store(true, Ordering::Relaxed);
        }
        match self.ends.get() {
            Some(ends) => {
                if how.write {
                    ends.tx.end();
                }
                if how.read {
                    // What is there can still be read, then comes the end.
                    ends.rx.end();
                }
            }
            None => {
                if how.read {
                    self.mailbox.close(false);
                }
                if how.write
                    && self.common.kind == Kind::SeqPacket
                    && let Some(p) = self.connected()
                {
                    p.mailbox.close(false);
                }
            }
        }
        self.common
            .queue
            .wake_all(Events::READ | Events::WRITE | Events::HUP | Events::RDHUP);
        Ok(())
    }

    fn local(&self) -> Result<SockAddr> {
        Ok(SockAddr::Unix(self.bound_name()))
    }

    fn peer(&self) -> Result<SockAddr> {
        if let Link::Target(t) = &*self.link.lock() {
            return Ok(SockAddr::Unix(t.bound_name()));
        }
        let peer = self.peer.lock().clone().ok_or(Errno::ENOTCONN)?;
        Ok(SockAddr::Unix(peer.0))
    }

    fn get_option(&self, level: i32, name: i32) -> Result<Vec<u8>> {
        if level == SOL_SOCKET && name == so::PEERCRED {
            let peer = self.peer.lock().as_ref().map(|p| p.1);
            let none = Ucred {
                pid: 0,
                uid: u32::MAX,
                gid: u32::MAX,
            };
            return Ok(peer.unwrap_or(none).to_bytes().to_vec());
        }
        Err(if level == SOL_SOCKET {
            Errno::ENOPROTOOPT
        } else {
            Errno::EOPNOTSUPP
        })
    }

    fn set_option(&self, level: i32, _name: i32, _value: &[u8]) -> Result<()> {
        Err(if level == SOL_SOCKET {
            Errno::ENOPROTOOPT
        } else {
            Errno::EOPNOTSUPP
        })
    }

    fn is_listening(&self) -> bool {
        matches!(&*self.link.lock(), Link::Listening { .. })
    }

    fn events(&self) -> Events {
        let mut e = match self.ends.get() {
            Some(ends) => ends.events(),
            None => self.letter_events(),
        };
        if self.is_write_shut.load(Ordering::Relaxed) && e.contains(Events::RDHUP) {
            e |= Events::HUP;
        }
        if self.common.has_error() {
            e |= Events::ERR;
        }
        e
    }

    fn readable_bytes(&self) -> usize {
        match self.ends.get() {
            Some(ends) => ends.rx.len(),
            None => self.mailbox.peek(|n| n.data.len()).unwrap_or(0),
        }
    }

    fn unsent_bytes(&self) -> usize {
        self.ends.get().map_or(0, |ends| ends.tx.len())
    }

    fn close(&self) {
        names::forget(self);
        let link = core::mem::replace(&mut *self.link.lock(), Link::Closed);
        if let Some(ends) = self.ends.get() {
            ends.close();
        }
        let had_mail = !self.mailbox.is_empty();
        self.mailbox.close(true);
        match link {
            Link::Listening { pending, .. } => {
                // Connections that nobody accepted are reset.
                for s in pending {
                    s.refuse();
                }
                self.common.queue.wake_all(Events::WRITE | Events::ERR | Events::HUP);
            }
            Link::Peer(p) => {
                if let Some(p) = p.upgrade()
                    && self.common.kind == Kind::SeqPacket
                {
                    if had_mail {
                        p.common.fail(Errno::ECONNRESET);
                    }
                    p.mailbox.close(false);
                }
            }
            Link::Target(t) => drop(t),
            Link::None | Link::Closed => {}
        }
        self.wake_full_senders();
    }
}
