//! Network devices: Ethernet frames in and out.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

/// An Ethernet hardware address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MacAddr(pub [u8; 6]);

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// An Ethernet interface with its own receive and transmit queues.
///
/// Frames have no checksum at the end (the device adds and strips it). `transmit` and `receive` may be called on
/// different CPUs at once.
pub trait NetDevice: Send + Sync {
    /// The interface's hardware address.
    fn mac(&self) -> MacAddr;

    /// The largest payload of a frame in bytes, without the 14-byte Ethernet header.
    fn mtu_bytes(&self) -> usize;

    /// Whether the cable (or the emulator's back end) is connected.
    fn is_link_up(&self) -> bool;

    /// Queues a frame for sending; it has been copied when this returns. The device may learn of it only in
    /// [`flush`](Self::flush), so that a burst tells it once.
    fn transmit(&self, frame: &[u8]) -> Result<(), TxError>;

    /// Lets the device send what was queued. A device that needs no telling has nothing to do here.
    fn flush(&self) {}

    /// Takes one received frame into `frame` and returns its length, or `None` when none waits. A frame that is larger
    /// than `frame` is dropped and counted in [`NetStats::rx_dropped`].
    fn receive(&self, frame: &mut [u8]) -> Option<usize>;

    /// Silences the device's interrupt. Receive until `None` *after* this call.
    fn acknowledge_interrupt(&self);

    /// What the device and driver have counted since start.
    fn stats(&self) -> NetStats;
}

/// Counters of an interface, as `/proc/net/dev` shows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetStats {
    /// Frames received and handed up.
    pub rx_packets: u64,
    /// Bytes in them.
    pub rx_bytes: u64,
    /// Frames received and thrown away for want of room.
    pub rx_dropped: u64,
    /// Frames received damaged.
    pub rx_errors: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Bytes in them.
    pub tx_bytes: u64,
    /// Frames that were not sent for want of room.
    pub tx_dropped: u64,
    /// Frames that the device failed to send.
    pub tx_errors: u64,
}

/// What a driver counts with: every field is a [`NetStats`] field while it changes.
#[derive(Debug, Default)]
#[expect(missing_docs, reason = "the fields are those of NetStats")]
pub struct NetCounters {
    pub rx_packets: AtomicU64,
    pub rx_bytes: AtomicU64,
    pub rx_dropped: AtomicU64,
    pub rx_errors: AtomicU64,
    pub tx_packets: AtomicU64,
    pub tx_bytes: AtomicU64,
    pub tx_dropped: AtomicU64,
    pub tx_errors: AtomicU64,
}

impl NetCounters {
    /// The counters now; each by itself, not all at one instant.
    #[must_use]
    pub fn stats(&self) -> NetStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        NetStats {
            rx_packets: read(&self.rx_packets),
            rx_bytes: read(&self.rx_bytes),
            rx_dropped: read(&self.rx_dropped),
            rx_errors: read(&self.rx_errors),
            tx_packets: read(&self.tx_packets),
            tx_bytes: read(&self.tx_bytes),
            tx_dropped: read(&self.tx_dropped),
            tx_errors: read(&self.tx_errors),
        }
    }

    /// Adds `n` to one of the counters.
    pub fn add(counter: &AtomicU64, n: usize) {
        counter.fetch_add(n as u64, Ordering::Relaxed);
    }
}

/// Why a frame was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxError {
    /// The queue is full: try again after the next interrupt.
    Full,
    /// Longer than MTU and header together, or shorter than a header.
    BadLength,
    /// There is no link.
    LinkDown,
    /// The device failed.
    Device,
}

impl fmt::Display for TxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the transmit queue is full",
            Self::BadLength => "the frame's length does not fit the interface",
            Self::LinkDown => "the link is down",
            Self::Device => "the network device failed",
        })
    }
}

impl core::error::Error for TxError {}
