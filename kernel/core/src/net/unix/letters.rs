//! Datagrams and sequenced packets.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use sis_netstack::sockaddr::{SockAddr, UnixName};

use super::super::mailbox::{Letter, Refused};
use super::super::message::{Incoming, MsgFlags, Outgoing};
use super::super::pipe::Extra;
use super::super::socket::Kind;
use super::{Link, UnixSocket, names};
use crate::poll::Events;
use crate::{Errno, Result};

/// A message.
pub(super) struct Note {
    pub(super) data: Vec<u8>,
    pub(super) from: UnixName,
    pub(super) extra: Option<Extra>,
}

impl Letter for Note {
    fn bytes(&self) -> usize {
        self.data.len()
    }
}

impl UnixSocket {
    fn target(&self, message: &Outgoing<'_, '_>) -> Result<Arc<UnixSocket>> {
        match &message.to {
            Some(SockAddr::Unix(name)) if self.common.kind == Kind::Datagram => {
                let t = names::find(name)?;
                if t.common.kind != Kind::Datagram {
                    return Err(Errno::EPROTOTYPE);
                }
                t.accepts_from(self)?;
                Ok(t)
            }
            Some(SockAddr::Unix(_)) => Err(Errno::EISCONN),
            Some(_) => Err(Errno::EINVAL),
            None => match &*self.link.lock() {
                Link::Target(t) => Ok(t.clone()),
                Link::Peer(p) => p.upgrade().ok_or(Errno::EPIPE),
                _ => Err(Errno::ENOTCONN),
            },
        }
    }

    /// A connected datagram socket takes messages of its peer only.
    pub(super) fn accepts_from(&self, sender: &UnixSocket) -> Result<()> {
        match &*self.link.lock() {
            Link::Target(t) if !core::ptr::eq(Arc::as_ptr(t), sender) => Err(Errno::EPERM),
            _ => Ok(()),
        }
    }

    pub(super) fn send_letter(&self, message: &mut Outgoing<'_, '_>) -> Result<usize> {
        if message.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        if self.is_write_shut.load(Ordering::Relaxed) {
            return Err(Errno::EPIPE);
        }
        let target = self.target(message)?;
        let most = self.common.send_bytes.load(Ordering::Relaxed);
        let len = message.data.remaining();
        if len > most {
            return Err(Errno::EMSGSIZE);
        }
        let data = message.data.take_vec(len)?;
        if data.len() < len {
            return Err(Errno::EFAULT);
        }
        let extra = self.extra(message, Some(&target))?.map(|e| *e);
        let mut note = Some(Note {
            data,
            from: self.bound_name(),
            extra,
        });
        let sent = self.common.wait_send(message.nonblock, || {
            let one = note.take()?;
            match target.mailbox.put(one, most) {
                Ok(()) => Some(Ok(len)),
                Err((Refused::Closed, _)) => Some(Err(match self.common.kind {
                    Kind::Datagram => Errno::ECONNREFUSED,
                    _ => Errno::EPIPE,
                })),
                Err((Refused::Full, back)) => {
                    note = Some(back);
                    target.tell_of_room(self);
                    // Room may have come before the owner knew of us.
                    let again = note.take()?;
                    match target.mailbox.put(again, most) {
                        Ok(()) => Some(Ok(len)),
                        Err((_, back)) => {
                            note = Some(back);
                            None
                        }
                    }
                }
            }
        });
        if sent == Err(Errno::ECONNREFUSED) && message.to.is_none() {
            let gone = {
                let mut link = self.link.lock();
                match &*link {
                    Link::Target(t) if Arc::ptr_eq(t, &target) => Some(core::mem::replace(&mut *link, Link::None)),
                    _ => None,
                }
            };
            drop(gone);
        }
        sent
    }

    pub(super) fn receive_letter(&self, message: &mut Incoming<'_, '_>) -> Result<usize> {
        if message.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        if self.common.kind == Kind::SeqPacket && self.peer.lock().is_none() {
            return Err(Errno::ENOTCONN);
        }
        let is_peek = message.is_peek();
        let got = self.common.wait_receive(message.nonblock, || {
            if let Some(e) = self.common.take_error() {
                return Some(Err(e));
            }
            let note = if is_peek {
                self.mailbox.peek(copy_of)
            } else {
                self.mailbox.take()
            };
            match note {
                Some(n) => Some(Ok(Some(n))),
                None if self.mailbox.is_closed() => Some(Ok(None)),
                None => None,
            }
        })?;
        let Some(note) = got else { return Ok(0) };
        if !is_peek {
            self.wake_full_senders();
        }
        let n = message.data.put(&note.data);
        let n = if note.data.is_empty() { Ok(0) } else { n };
        if self.common.kind == Kind::Datagram {
            message.from = match note.from {
                UnixName::Unnamed => None,
                name => Some(SockAddr::Unix(name)),
            };
        }
        self.give_extra(note.extra, message);
        let n = n?;
        if self.common.kind == Kind::SeqPacket {
            message.out_flags |= MsgFlags::EOR;
        }
        if n < note.data.len() {
            message.out_flags |= MsgFlags::TRUNC;
            if message.flags.contains(MsgFlags::TRUNC) {
                return Ok(note.data.len());
            }
        }
        Ok(n)
    }

    /// Remembers a sender that found no room.
    fn tell_of_room(&self, sender: &UnixSocket) {
        let mut list = self.full_for.lock();
        if !list.iter().any(|q| Arc::ptr_eq(q, &sender.common.queue)) {
            list.push(sender.common.queue.clone());
        }
    }

    pub(super) fn wake_full_senders(&self) {
        let list = {
            let mut list = self.full_for.lock();
            if list.is_empty() {
                return;
            }
            core::mem::take(&mut *list)
        };
        for q in list {
            q.wake_all(Events::WRITE);
        }
    }

    pub(super) fn letter_events(&self) -> Events {
        let mut e = Events::empty();
        let target = match &*self.link.lock() {
            Link::Listening { pending, .. } => {
                return if pending.is_empty() { e } else { Events::READ };
            }
            Link::Target(t) => Some(t.clone()),
            Link::Peer(p) => match p.upgrade() {
                Some(p) => Some(p),
                None => return Events::READ | Events::WRITE | Events::HUP | Events::RDHUP,
            },
            Link::None if self.common.kind != Kind::Datagram => {
                return Events::WRITE | Events::HUP;
            }
            _ => None,
        };
        let is_closed = self.mailbox.is_closed();
        if !self.mailbox.is_empty() || is_closed {
            e |= Events::READ;
        }
        if is_closed {
            e |= Events::RDHUP;
        }
        let most = self.common.send_bytes.load(Ordering::Relaxed);
        let is_free = target.is_none_or(|t| {
            t.mailbox.has_room(most) || {
                t.tell_of_room(self);
                t.mailbox.has_room(most)
            }
        });
        if is_free {
            e |= Events::WRITE;
        }
        e
    }
}

fn copy_of(n: &Note) -> Note {
    let extra = n.extra.as_ref().map(|e| Extra {
        files: e.files.copy(),
        cred: e.cred,
    });
    Note {
        data: n.data.clone(),
        from: n.from.clone(),
        extra,
    }
}
