//! Network interfaces.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicU64, Ordering};

use sis_hal::{NetDevice, NetStats};
use sis_netstack::packet::Mac;
use sis_netstack::route::LOOPBACK;

use super::stack;

/// IFF_* (netdevice(7)).
pub(crate) mod flag {
    pub(crate) const UP: u32 = 0x1;
    pub(crate) const BROADCAST: u32 = 0x2;
    pub(crate) const LOOPBACK: u32 = 0x8;
    pub(crate) const RUNNING: u32 = 0x40;
    pub(crate) const NOARP: u32 = 0x80;
    pub(crate) const PROMISC: u32 = 0x100;
    pub(crate) const ALLMULTI: u32 = 0x200;
    pub(crate) const MULTICAST: u32 = 0x1000;
    pub(crate) const LOWER_UP: u32 = 0x1_0000;
}

/// ARPHRD_ETHER.
pub(crate) const ARPHRD_ETHER: u16 = 1;
/// ARPHRD_LOOPBACK.
pub(crate) const ARPHRD_LOOPBACK: u16 = 772;

const NAMES: [&str; 8] = ["lo", "eth0", "eth1", "eth2", "eth3", "eth4", "eth5", "eth6"];
/// Interfaces at most.
pub(crate) const MAX: usize = NAMES.len();

/// What sockets of this machine said to each other: it counts as the loopback's traffic, both ways.
pub(crate) struct LoopbackCounters {
    packets: AtomicU64,
    bytes: AtomicU64,
}

pub(crate) static LOOPBACK_COUNTERS: LoopbackCounters = LoopbackCounters {
    packets: AtomicU64::new(0),
    bytes: AtomicU64::new(0),
};

impl LoopbackCounters {
    pub(crate) fn add(&self, bytes: usize) {
        self.packets.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// An interface.
pub(crate) struct Interface {
    /// From 1.
    pub(crate) index: u32,
    pub(crate) name: &'static str,
    pub(crate) device: Option<&'static dyn NetDevice>,
    pub(crate) mac: Mac,
    /// Bytes of an IP packet.
    pub(crate) mtu: usize,
    /// Those of IFF_* that a person sets.
    pub(crate) flags: u32,
    /// Packets that the stack itself threw away on their way in.
    pub(crate) rx_ignored: u64,
    /// Where received frames are put.
    pub(crate) scratch: Option<Box<[u8; 2048]>>,
    /// The device has frames that it was not told of.
    pub(crate) is_unflushed: bool,
    /// IPv6 was set up (link-local address, router solicitation).
    pub(crate) is_v6_started: bool,
}

impl Interface {
    /// The loopback interface, which is up from the start.
    pub(crate) const fn loopback() -> Self {
        Self {
            index: LOOPBACK,
            name: "lo",
            device: None,
            mac: [0; 6],
            mtu: 65536,
            flags: flag::UP | flag::LOOPBACK,
            rx_ignored: 0,
            scratch: None,
            is_unflushed: false,
            is_v6_started: true,
        }
    }

    /// An Ethernet interface, down; `None` when there are enough.
    pub(crate) fn ethernet(index: u32, device: &'static dyn NetDevice) -> Option<Self> {
        let name = NAMES.get((index as usize).checked_sub(1)?)?;
        Some(Self {
            index,
            name,
            mac: device.mac().0,
            mtu: device.mtu_bytes(),
            device: Some(device),
            flags: flag::BROADCAST | flag::MULTICAST,
            rx_ignored: 0,
            scratch: Some(Box::new([0; 2048])),
            is_unflushed: false,
            is_v6_started: false,
        })
    }

    pub(crate) fn is_up(&self) -> bool {
        self.flags & flag::UP != 0
    }

    /// All of IFF_*.
    pub(crate) fn all_flags(&self) -> u32 {
        let carrier = self.device.is_none_or(|d| d.is_link_up());
        let live = if self.is_up() && carrier {
            flag::RUNNING | flag::LOWER_UP
        } else {
            0
        };
        self.flags | live
    }

    pub(crate) fn is_loopback(&self) -> bool {
        self.device.is_none()
    }

    pub(crate) fn hardware_type(&self) -> u16 {
        if self.is_loopback() {
            ARPHRD_LOOPBACK
        } else {
            ARPHRD_ETHER
        }
    }

    pub(crate) fn stats(&self) -> NetStats {
        match self.device {
            Some(d) => {
                let s = d.stats();
                NetStats {
                    rx_dropped: s.rx_dropped + self.rx_ignored,
                    ..s
                }
            }
            None => {
                let packets = LOOPBACK_COUNTERS.packets.load(Ordering::Relaxed);
                let bytes = LOOPBACK_COUNTERS.bytes.load(Ordering::Relaxed);
                NetStats {
                    rx_packets: packets,
                    rx_bytes: bytes,
                    tx_packets: packets,
                    tx_bytes: bytes,
                    ..NetStats::default()
                }
            }
        }
    }
}

/// What all interfaces but the loopback have counted, for metrics; `None` where there is no other.
pub fn totals() -> Option<NetStats> {
    stack::with(|s| {
        s.interfaces()
            .iter()
            .filter(|i| !i.is_loopback())
            .map(Interface::stats)
            .reduce(|a, b| NetStats {
                rx_packets: a.rx_packets + b.rx_packets,
                rx_bytes: a.rx_bytes + b.rx_bytes,
                rx_dropped: a.rx_dropped + b.rx_dropped,
                rx_errors: a.rx_errors + b.rx_errors,
                tx_packets: a.tx_packets + b.tx_packets,
                tx_bytes: a.tx_bytes + b.tx_bytes,
                tx_dropped: a.tx_dropped + b.tx_dropped,
                tx_errors: a.tx_errors + b.tx_errors,
            })
    })
}
