//! Network devices: Ethernet frames in and out.

use core::fmt;

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
