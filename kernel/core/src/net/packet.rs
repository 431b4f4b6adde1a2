//! AF_PACKET sockets (packet(7)): whole frames (SOCK_RAW) or what follows the Ethernet header (SOCK_DGRAM).

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use sis_machine::sync::{Rank, SpinLock};
use sis_netstack::packet::{BROADCAST, ETHERNET, ETHERTYPE_IPV4, ETHERTYPE_IPV6, set_ethernet};
use sis_netstack::route::LOOPBACK;
use sis_netstack::sockaddr::{AF_PACKET, LinkAddr, SockAddr};

use super::interface::{ARPHRD_ETHER, ARPHRD_LOOPBACK, Interface};
use super::mailbox::{Letter, Mailbox};
use super::message::{Incoming, MsgFlags, Outgoing};
use super::socket::{Common, Kind, Protocol, Shutdown};
use super::stack;
use crate::poll::Events;
use crate::{Errno, Result};

/// ETH_P_ALL.
const ETH_P_ALL: u16 = 3;
/// PACKET_HOST.
const TO_US: u8 = 0;
/// PACKET_BROADCAST.
const TO_ALL: u8 = 1;
/// PACKET_MULTICAST.
const TO_GROUP: u8 = 2;
/// PACKET_OTHERHOST.
const TO_OTHERS: u8 = 3;
/// PACKET_OUTGOING.
const OUTGOING: u8 = 4;

static ALL: SpinLock<Vec<Weak<PacketSocket>>> = SpinLock::new(Rank::Leaf, Vec::new());
static COUNT: AtomicUsize = AtomicUsize::new(0);

#[derive(Clone)]
struct Frame {
    addr: LinkAddr,
    data: Vec<u8>,
}

impl Letter for Frame {
    fn bytes(&self) -> usize {
        self.data.len()
    }
}

#[derive(Clone, Copy)]
struct Place {
    /// EtherType; 0: receives nothing.
    protocol: u16,
    /// Interface; 0: all.
    index: u32,
}

/// An AF_PACKET socket.
pub(crate) struct PacketSocket {
    common: Common,
    place: SpinLock<Place>,
    mailbox: Mailbox<Frame>,
}

impl PacketSocket {
    /// `protocol` is the EtherType as socket(2) got it, in network order.
    pub(crate) fn new(kind: Kind, protocol: i32) -> Arc<Self> {
        let common = Common::new(AF_PACKET, kind, protocol);
        let queue = common.queue.clone();
        let place = Place {
            protocol: u16::from_be(protocol as u16),
            index: 0,
        };
        let new = Arc::new(Self {
            common,
            place: SpinLock::new(Rank::Leaf, place),
            mailbox: Mailbox::new(queue),
        });
        ALL.lock().push(Arc::downgrade(&new));
        COUNT.fetch_add(1, Ordering::Relaxed);
        new
    }
}

fn deliver(index: u32, hardware_type: u16, direction: u8, ethertype: u16, sender: [u8; 6], frame: &[u8]) {
    let all: Vec<_> = ALL.lock().iter().filter_map(Weak::upgrade).collect();
    for s in all {
        let place = *s.place.lock();
        let wanted = place.protocol == ETH_P_ALL || (place.protocol == ethertype && direction != OUTGOING);
        if !wanted || (place.index != 0 && place.index != index) {
            continue;
        }
        let skip = if s.common.kind == Kind::Raw { 0 } else { ETHERNET };
        let data = frame.get(skip..).unwrap_or_default().to_vec();
        let addr = LinkAddr {
            protocol: ethertype,
            index,
            hardware_type,
            packet_type: direction,
            address: sender,
        };
        let limit = s.common.receive_bytes.load(Ordering::Relaxed);
        let _ = s.mailbox.put(Frame { addr, data }, limit);
    }
}

fn six(frame: &[u8], at: usize) -> [u8; 6] {
    frame
        .get(at..at + 6)
        .and_then(|b| b.try_into().ok())
        .unwrap_or_default()
}

fn ethertype(frame: &[u8]) -> u16 {
    frame
        .get(12..14)
        .and_then(|b| b.try_into().ok())
        .map_or(0, u16::from_be_bytes)
}

/// A frame came in.
pub(crate) fn deliver_incoming(iface: &Interface, frame: &[u8]) {
    if COUNT.load(Ordering::Relaxed) == 0 {
        return;
    }
    let dst = six(frame, 0);
    let direction = match dst {
        BROADCAST => TO_ALL,
        [first, ..] if first & 1 != 0 => TO_GROUP,
        d if d == iface.mac => TO_US,
        _ => TO_OTHERS,
    };
    deliver(
        iface.index,
        ARPHRD_ETHER,
        direction,
        ethertype(frame),
        six(frame, 6),
        frame,
    );
}

/// A frame is going out.
pub(crate) fn deliver_outgoing(iface: &Interface, frame: &[u8]) {
    if COUNT.load(Ordering::Relaxed) == 0 {
        return;
    }
    deliver(
        iface.index,
        ARPHRD_ETHER,
        OUTGOING,
        ethertype(frame),
        six(frame, 6),
        frame,
    );
}

/// An IP packet that we sent to ourselves.
pub(crate) fn deliver_loopback(packet: &[u8]) {
    if COUNT.load(Ordering::Relaxed) == 0 {
        return;
    }
    let kind = if packet.first().is_some_and(|b| b >> 4 == 6) {
        ETHERTYPE_IPV6
    } else {
        ETHERTYPE_IPV4
    };
    let mut frame = alloc::vec![0; ETHERNET];
    set_ethernet(&mut frame, [0; 6], [0; 6], kind);
    frame.extend_from_slice(packet);
    deliver(LOOPBACK, ARPHRD_LOOPBACK, TO_US, kind, [0; 6], &frame);
}

impl Protocol for PacketSocket {
    fn common(&self) -> &Common {
        &self.common
    }

    fn bind(&self, addr: SockAddr) -> Result<()> {
        let SockAddr::Packet(a) = addr else {
            return Err(Errno::EINVAL);
        };
        if a.index != 0 {
            stack::with(|s| s.interface(a.index).map(|_| ())).ok_or(Errno::ENODEV)?;
        }
        let mut place = self.place.lock();
        place.index = a.index;
        if a.protocol != 0 {
            place.protocol = a.protocol;
        }
        Ok(())
    }

    fn connect(&self, _addr: SockAddr, _nonblock: bool) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    fn send(&self, message: &mut Outgoing<'_, '_>) -> Result<usize> {
        let place = *self.place.lock();
        let to = match &message.to {
            Some(SockAddr::Packet(a)) => Some(*a),
            Some(_) => return Err(Errno::EINVAL),
            None => None,
        };
        let index = to.map_or(place.index, |a| a.index);
        let len = message.data.remaining();
        if len > 65_535 {
            return Err(Errno::EMSGSIZE);
        }
        let data = message.data.take_vec(len)?;
        if data.len() < len {
            return Err(Errno::EFAULT);
        }
        stack::with(|s| {
            let iface = s.interface(index).ok_or(Errno::ENXIO)?;
            if iface.is_loopback() {
                return Err(Errno::EOPNOTSUPP);
            }
            if !iface.is_up() {
                return Err(Errno::ENETDOWN);
            }
            let (mac, mtu) = (iface.mac, iface.mtu);
            let frame = if self.common.kind == Kind::Raw {
                data
            } else {
                let to = to.ok_or(Errno::EDESTADDRREQ)?;
                let kind = if to.protocol != 0 { to.protocol } else { place.protocol };
                let mut frame = alloc::vec![0; ETHERNET];
                set_ethernet(&mut frame, to.address, mac, kind);
                frame.extend_from_slice(&data);
                frame
            };
            if frame.len() < ETHERNET {
                return Err(Errno::EINVAL);
            }
            if frame.len() > ETHERNET + mtu {
                return Err(Errno::EMSGSIZE);
            }
            s.transmit(index, frame);
            Ok(len)
        })
    }

    fn receive(&self, message: &mut Incoming<'_, '_>) -> Result<usize> {
        let is_peek = message.is_peek();
        let f = self.common.wait_receive(message.nonblock, || {
            if let Some(e) = self.common.take_error() {
                return Some(Err(e));
            }
            if is_peek {
                self.mailbox.peek(Frame::clone)
            } else {
                self.mailbox.take()
            }
            .map(Ok)
        })?;
        let n = if f.data.is_empty() {
            0
        } else {
            message.data.put(&f.data)?
        };
        message.from = Some(SockAddr::Packet(f.addr));
        if n < f.data.len() {
            message.out_flags |= MsgFlags::TRUNC;
            if message.flags.contains(MsgFlags::TRUNC) {
                return Ok(f.data.len());
            }
        }
        Ok(n)
    }

    fn shutdown(&self, _how: Shutdown) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    fn local(&self) -> Result<SockAddr> {
        let place = *self.place.lock();
        let (hardware_type, address) = stack::with(|s| {
            s.interface(place.index)
                .map_or((0, [0; 6]), |i| (i.hardware_type(), i.mac))
        });
        Ok(SockAddr::Packet(LinkAddr {
            protocol: place.protocol,
            index: place.index,
            hardware_type,
            packet_type: 0,
            address,
        }))
    }

    fn peer(&self) -> Result<SockAddr> {
        Err(Errno::EOPNOTSUPP)
    }

    fn events(&self) -> Events {
        let mut e = Events::WRITE;
        if !self.mailbox.is_empty() {
            e |= Events::READ;
        }
        if self.common.has_error() {
            e |= Events::ERR;
        }
        e
    }

    fn readable_bytes(&self) -> usize {
        self.mailbox.peek(Letter::bytes).unwrap_or(0)
    }

    fn close(&self) {
        let me = core::ptr::from_ref(self);
        let mut all = ALL.lock();
        let before = all.len();
        all.retain(|w| !core::ptr::eq(w.as_ptr(), me));
        COUNT.fetch_sub(before - all.len(), Ordering::Relaxed);
        drop(all);
        self.mailbox.close(true);
    }
}
