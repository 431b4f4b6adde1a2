//! Connecting AF_UNIX sockets.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use sis_netstack::sockaddr::{SockAddr, UnixName};

use super::super::message::Ucred;
use super::super::options::DEFAULT_BUFFER;
use super::super::pipe::Ends;
use super::super::socket::{Kind, Protocol};
use super::{Link, UnixSocket, names};
use crate::poll::Events;
use crate::{Errno, Result};

/// Most connections that wait for accept(2) (`net.core.somaxconn`).
const MAX_BACKLOG: usize = 4096;

impl UnixSocket {
    pub(super) fn connect_datagram(&self, name: &UnixName) -> Result<()> {
        let target = names::find(name)?;
        if target.common.kind != Kind::Datagram {
            return Err(Errno::EPROTOTYPE);
        }
        if !core::ptr::eq(Arc::as_ptr(&target), self) {
            target.accepts_from(self)?;
        }
        let owner = *target.owner.lock();
        *self.peer.lock() = Some((target.bound_name(), owner));
        let old = core::mem::replace(&mut *self.link.lock(), Link::Target(target));
        drop(old);
        Ok(())
    }

    pub(super) fn start_listening(&self, backlog: usize) -> Result<()> {
        if self.common.kind == Kind::Datagram {
            return Err(Errno::EOPNOTSUPP);
        }
        if self.name.lock().is_none() {
            return Err(Errno::EINVAL);
        }
        *self.owner.lock() = Ucred::current();
        let mut link = self.link.lock();
        match &mut *link {
            Link::None => {
                *link = Link::Listening {
                    pending: VecDeque::new(),
                    most: backlog.min(MAX_BACKLOG),
                }
            }
            Link::Listening { most, .. } => *most = backlog.min(MAX_BACKLOG),
            _ => return Err(Errno::EINVAL),
        }
        Ok(())
    }

    pub(super) fn connect_stream(&self, name: &UnixName, nonblock: bool) -> Result<()> {
        if self.is_connecting.swap(true, Ordering::Acquire) {
            return Err(Errno::EALREADY);
        }
        let out = self.connect_stream_once(name, nonblock);
        self.is_connecting.store(false, Ordering::Release);
        out
    }

    fn connect_stream_once(&self, name: &UnixName, nonblock: bool) -> Result<()> {
        match &*self.link.lock() {
            Link::None => {}
            Link::Peer(_) => return Err(Errno::EISCONN),
            _ => return Err(Errno::EINVAL),
        }
        let listener = names::find(name)?;
        if listener.common.kind != self.common.kind {
            return Err(Errno::EPROTOTYPE);
        }
        let mine = self.me.upgrade().ok_or(Errno::EINVAL)?;
        let theirs = Self::new(self.common.kind);
        *theirs.link.lock() = Link::Peer(self.me.clone());
        let name = listener.name.lock().clone();
        *theirs.name.lock() = name;
        *theirs.peer.lock() = Some((self.bound_name(), Ucred::current()));
        let mut my_ends = None;
        if self.common.kind == Kind::Stream {
            let (me, them) = Ends::pair(DEFAULT_BUFFER, &self.common.queue, &theirs.common.queue);
            theirs.ends.call_once(|| them);
            my_ends = Some(me);
        }
        // Who connects waits on the listener's queue, which accept(2) and close(2) wake.
        let mut knock = || match &mut *listener.link.lock() {
            Link::Listening { pending, most } if pending.len() <= *most => {
                // Under the listener's lock: who accepts the connection finds both ends ready.
                if let Some(ends) = my_ends.take() {
                    mine.ends.call_once(|| ends);
                }
                pending.push_back(theirs.clone());
                Some(Ok(()))
            }
            Link::Listening { .. } => None,
            _ => Some(Err(Errno::ECONNREFUSED)),
        };
        if nonblock {
            knock().unwrap_or(Err(Errno::EAGAIN))?;
        } else {
            let timeout = self.common.send_timeout_ns.load(Ordering::Relaxed);
            let deadline = match timeout {
                0 => crate::time::Deadline::NEVER,
                ns => crate::time::Deadline::after_ns(ns),
            };
            match listener.common.queue.wait_until(deadline, knock) {
                Ok(r) => r?,
                Err(Errno::ETIMEDOUT) => return Err(Errno::EAGAIN),
                Err(e) => return Err(e),
            }
        }
        let owner = *listener.owner.lock();
        *self.peer.lock() = Some((listener.bound_name(), owner));
        let mut link = self.link.lock();
        if matches!(&*link, Link::None) {
            *link = Link::Peer(Arc::downgrade(&theirs));
        }
        drop(link);
        listener.common.queue.wake_all(Events::READ);
        self.common.queue.wake_all(Events::WRITE);
        Ok(())
    }

    pub(super) fn accept_one(&self, nonblock: bool) -> Result<(Arc<dyn Protocol>, SockAddr)> {
        let got = self.common.wait_receive(nonblock, || match &mut *self.link.lock() {
            Link::Listening { pending, .. } => pending.pop_front().map(Ok),
            _ if self.common.kind == Kind::Datagram => Some(Err(Errno::EOPNOTSUPP)),
            _ => Some(Err(Errno::EINVAL)),
        })?;
        // Somebody may wait for the place that has become free.
        self.common.queue.wake_all(Events::WRITE);
        let addr = got.peer()?;
        Ok((got, addr))
    }

    /// A connection that nobody accepted ends: its other end sees a reset.
    pub(super) fn refuse(&self) {
        if let Some(ends) = self.ends.get() {
            ends.rx.deafen();
            ends.tx.reset();
        }
        let link = core::mem::replace(&mut *self.link.lock(), Link::Closed);
        if let Link::Peer(p) = link
            && let Some(p) = p.upgrade()
            && self.common.kind == Kind::SeqPacket
        {
            p.common.fail(Errno::ECONNRESET);
            p.mailbox.close(false);
        }
    }
}
