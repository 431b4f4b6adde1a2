//! Interfaces, and packets between them and the sockets.

mod config;
mod input;
mod output;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sis_hal::NetDevice;
use sis_machine::sync::{Rank, SpinLock};
use sis_netstack::neighbor::{Due, NeighborTable};
use sis_netstack::packet::ETHERNET;
use sis_netstack::reassembly::Reassembly;
use sis_netstack::route::{IfAddr, LOOPBACK, RouteTable};

use super::inet::connections::Connections;
use super::interface::{Interface, MAX, flag};
use super::{inet, packet, thread};
use crate::time;

pub(crate) use config::{Change, broadcast_of};
pub(crate) use output::Sending;

/// Frames that wait for room in their device's queue.
const BACKLOG: usize = 256;
/// Times that what was sent at the end of a burst is looked after.
const FINISH_ROUNDS: usize = 4;
/// Packets to ourselves handled in one go.
const LOOPBACK_BURST: usize = 256;

static STACK: SpinLock<Stack> = SpinLock::new(Rank::Net, Stack::new());

/// The network stack.
pub(crate) struct Stack {
    interfaces: Vec<Interface>,
    pub(crate) routes: RouteTable,
    pub(crate) neighbors: NeighborTable,
    reassembly: Reassembly,
    pub(crate) connections: Connections,
    /// Frames that found their device full: interface and frame.
    backlog: VecDeque<(u32, Vec<u8>)>,
    /// IP packets to ourselves, with room for an Ethernet header in front.
    loopback: VecDeque<Vec<u8>>,
    next_id: u16,
    /// When routers are solicited next, and how often still.
    solicit: Option<(u64, u8)>,
}

/// Works with the stack. `f` must not sleep and must not touch user memory.
pub(crate) fn with<R>(f: impl FnOnce(&mut Stack) -> R) -> R {
    let mut s = STACK.lock();
    let out = f(&mut s);
    s.finish();
    let next = s.next_ns();
    drop(s);
    thread::plan(next);
    out
}

impl Stack {
    const fn new() -> Self {
        Self {
            interfaces: Vec::new(),
            routes: RouteTable::new(),
            neighbors: NeighborTable::new(),
            reassembly: Reassembly::new(),
            connections: Connections::new(),
            backlog: VecDeque::new(),
            loopback: VecDeque::new(),
            next_id: 1,
            solicit: None,
        }
    }

    /// Makes the loopback interface.
    pub(super) fn start(&mut self) {
        if !self.interfaces.is_empty() {
            return;
        }
        self.interfaces.push(Interface::loopback());
        let v4 = IfAddr {
            iface: LOOPBACK,
            addr: Ipv4Addr::LOCALHOST.into(),
            prefix: 8,
            broadcast: None,
        };
        let v6 = IfAddr {
            iface: LOOPBACK,
            addr: Ipv6Addr::LOCALHOST.into(),
            prefix: 128,
            broadcast: None,
        };
        // The table is empty: neither can fail.
        let _ = self.routes.add_addr(v4);
        let _ = self.routes.add_addr(v6);
    }

    /// Adds an Ethernet interface; answers its name.
    pub(super) fn add_device(&mut self, device: &'static dyn NetDevice) -> Option<&'static str> {
        self.start();
        if self.interfaces.len() >= MAX {
            return None;
        }
        let new = Interface::ethernet(self.interfaces.len() as u32 + 1, device)?;
        let name = new.name;
        self.interfaces.push(new);
        Some(name)
    }

    pub(crate) fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    pub(crate) fn interface(&self, index: u32) -> Option<&Interface> {
        self.interfaces.get((index as usize).checked_sub(1)?)
    }

    fn interface_mut(&mut self, index: u32) -> Option<&mut Interface> {
        self.interfaces.get_mut((index as usize).checked_sub(1)?)
    }

    pub(crate) fn interface_named(&self, name: &[u8]) -> Option<&Interface> {
        self.interfaces.iter().find(|i| i.name.as_bytes() == name)
    }

    /// Whether `addr` may be bound: one of ours, or any.
    pub(crate) fn may_bind(&self, addr: IpAddr) -> bool {
        addr.is_unspecified() || addr.is_multicast() || self.routes.is_local(addr) || self.routes.is_broadcast(0, addr)
    }

    /// Takes up to `most` frames from the devices in; answers how many there were.
    pub(super) fn receive(&mut self, most: usize) -> usize {
        let now = time::now_ns();
        let mut taken = 0;
        for at in 0..self.interfaces.len() {
            let Some(i) = self.interfaces.get_mut(at) else { break };
            let (Some(device), index) = (i.device, i.index) else {
                continue;
            };
            let is_up = i.flags & flag::UP != 0;
            let Some(mut buffer) = i.scratch.take() else { continue };
            while taken < most {
                let Some(len) = device.receive(&mut buffer[..]) else {
                    break;
                };
                taken += 1;
                let frame = buffer.get(..len).unwrap_or_default();
                if is_up && len > ETHERNET {
                    self.input(now, index, frame);
                    self.drain_loopback();
                }
            }
            if let Some(i) = self.interfaces.get_mut(at) {
                i.scratch = Some(buffer);
            }
        }
        self.drain_backlog();
        taken
    }

    /// Handles the packets that we sent to ourselves.
    fn drain_loopback(&mut self) {
        for _ in 0..LOOPBACK_BURST {
            let Some(frame) = self.loopback.pop_front() else { return };
            let packet = frame.get(ETHERNET..).unwrap_or_default();
            packet::deliver_loopback(packet);
            self.input_ip(time::now_ns(), LOOPBACK, packet);
        }
        // Two ends of this machine that answer each other for ever do not get the CPU for ever.
        self.loopback.clear();
    }

    /// What a burst of work leaves for its end: connections that segments came for answer them all at once, and devices are told of
    /// the frames that they were given.
    fn finish(&mut self) {
        // Bounded: what we send ourselves may make us answer, but not for ever.
        for _ in 0..FINISH_ROUNDS {
            self.drain_loopback();
            if !inet::connections::settle_touched(self) && self.loopback.is_empty() {
                break;
            }
        }
        for i in &mut self.interfaces {
            if core::mem::take(&mut i.is_unflushed)
                && let Some(device) = i.device
            {
                device.flush();
            }
        }
    }

    /// When [`Self::tick`] is due; `u64::MAX` for never.
    pub(super) fn next_ns(&self) -> u64 {
        let a = self.neighbors.next_ns().unwrap_or(u64::MAX);
        let b = self.connections.next_ns();
        let c = self.solicit.map_or(u64::MAX, |s| s.0);
        a.min(b).min(c)
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, now: u64) {
        for due in self.neighbors.tick(now) {
            match due {
                Due::Ask(key) => self.ask(key),
                Due::Lost(key, frames) => {
                    for f in &frames {
                        inet::unreachable(self, key.1, f.get(ETHERNET..).unwrap_or_default());
                    }
                }
            }
        }
        if let Some((at, left)) = self.solicit
            && now >= at
        {
            self.solicit_routers();
            self.solicit = (left > 1).then_some((now + 4_000_000_000, left - 1));
        }
        inet::connections::tick(self, now);
        self.drain_backlog();
    }
}
