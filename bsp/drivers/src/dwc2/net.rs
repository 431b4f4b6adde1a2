//! Frames over a CDC Ethernet device, as a network interface.

use core::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use sis_hal::{Clock, DmaBuffer, MacAddr, NetCounters, NetDevice, NetStats, Registers, TxError};

use super::{Dwc2, Ended, GAHB_CFG, GAHBCFG, GINT_MSK, GINTSTS, HAINT_MSK, HCTSIZ, Transfer, begin, bus_addr, end};
use crate::busy::Busy;
use crate::usb::{CdcEther, Endpoint, Speed, UsbError};

const OUT_CHANNEL: usize = 1;
const IN_CHANNEL: usize = 2;
/// The highest channel in use.
pub(super) const LAST_CHANNEL: usize = IN_CHANNEL;

/// Payload of a frame.
const MTU: usize = 1500;
/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;
/// Bytes of a buffer: a frame, and more than any frame has, so that a longer one is seen as such. A multiple of every
/// bulk packet size; QEMU hands transfers of at most this size to its network packet by packet, the larger ones late.
const SLOT: usize = 1536;
/// Frames that wait in each direction.
const SLOTS: usize = 16;
/// Failures in a row after which the device is taken for gone.
const FAILURES_MAX: u32 = 16;

/// Bytes of the buffer for frames.
pub const NET_BUFFER_BYTES: usize = 2 * SLOTS * SLOT;

/// A ring of slots: `taken..filled` hold frames, counted without wrapping.
#[derive(Default)]
struct Ring {
    lens: [AtomicU16; SLOTS],
    filled: AtomicUsize,
    taken: AtomicUsize,
}

// Only ever used by whoever is inside `UsbNet::busy`, whose entering and leaving order the accesses.
impl Ring {
    fn len(&self) -> usize {
        self.filled
            .load(Ordering::Relaxed)
            .wrapping_sub(self.taken.load(Ordering::Relaxed))
    }

    fn is_full(&self) -> bool {
        self.len() >= SLOTS
    }

    /// The slot that is filled next.
    fn next(&self) -> usize {
        self.filled.load(Ordering::Relaxed) % SLOTS
    }

    fn fill(&self, len: usize) {
        if let Some(slot) = self.lens.get(self.next()) {
            slot.store(len as u16, Ordering::Relaxed);
        }
        self.filled.fetch_add(1, Ordering::Relaxed);
    }

    /// The oldest frame: its slot and bytes.
    fn first(&self) -> Option<(usize, usize)> {
        if self.len() == 0 {
            return None;
        }
        let slot = self.taken.load(Ordering::Relaxed) % SLOTS;
        Some((slot, usize::from(self.lens.get(slot)?.load(Ordering::Relaxed))))
    }

    fn take(&self) {
        self.taken.fetch_add(1, Ordering::Relaxed);
    }
}

/// A network interface over USB.
///
/// One transfer a direction is under way at any time; the next begins when the end of the last is seen, in
/// [`receive`](NetDevice::receive) or [`transmit`](NetDevice::transmit): after an interrupt both must be looked at, as
/// [`receive`](NetDevice::receive) does.
pub struct UsbNet<R, B, K> {
    host: Dwc2<R, B, K>,
    cdc: CdcEther,
    frames: B,
    bus: u32,
    busy: Busy,
    rx: Ring,
    tx: Ring,
    rx_pid: AtomicU32,
    tx_pid: AtomicU32,
    is_receiving: AtomicBool,
    is_sending: AtomicBool,
    /// The frame under way is all sent but the empty packet that says so.
    owes_end: AtomicBool,
    failures: AtomicU32,
    counters: NetCounters,
}

impl<R: Registers, B: DmaBuffer, K: Clock> UsbNet<R, B, K> {
    /// Begins to receive. `frames` has at least [`NET_BUFFER_BYTES`], as [`Dwc2::new`] wants its memory.
    ///
    /// # Errors
    /// [`UsbError::BadBuffer`].
    pub fn new(host: Dwc2<R, B, K>, cdc: CdcEther, frames: B) -> Result<Self, UsbError> {
        let bus = bus_addr(&frames, NET_BUFFER_BYTES)?;
        let fits = |e: Endpoint| SLOT.is_multiple_of(usize::from(e.packet_bytes.max(1)));
        if !fits(cdc.bulk_in) || !fits(cdc.bulk_out) {
            return Err(UsbError::BadDescriptor);
        }
        let data0 = HCTSIZ::PID::Data0.value >> 29;
        let net = Self {
            host,
            cdc,
            frames,
            bus,
            busy: Busy::new(),
            rx: Ring::default(),
            tx: Ring::default(),
            rx_pid: AtomicU32::new(data0),
            tx_pid: AtomicU32::new(data0),
            is_receiving: AtomicBool::new(false),
            is_sending: AtomicBool::new(false),
            owes_end: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            counters: NetCounters::default(),
        };
        let r = &net.host.registers;
        HAINT_MSK.set(r, 1 << OUT_CHANNEL | 1 << IN_CHANNEL);
        GAHB_CFG.modify(r, GAHBCFG::INTERRUPTS::SET);
        net.busy.with(|| net.start_receiving());
        net.set_interrupts(true);
        Ok(net)
    }

    /// By the mask: QEMU's model does not look at the line when interrupts as a whole are switched off.
    fn set_interrupts(&self, are_on: bool) {
        let value = if are_on { GINTSTS::CHANNEL::SET.value } else { 0 };
        GINT_MSK.set(&self.host.registers, value);
    }

    fn is_gone(&self) -> bool {
        self.failures.load(Ordering::Relaxed) >= FAILURES_MAX
    }

    fn transfer(&self, endpoint: Endpoint, is_in: bool, pid: &AtomicU32, at: usize, len: usize) -> Transfer {
        Transfer {
            address: self.cdc.device.address,
            is_low_speed: self.cdc.device.speed == Speed::Low,
            endpoint: endpoint.number,
            is_in,
            is_bulk: true,
            packet_bytes: endpoint.packet_bytes,
            pid: pid.load(Ordering::Relaxed),
            bus_addr: self.bus + at as u32,
            len: len as u32,
        }
    }

    fn start_receiving(&self) {
        if self.is_gone() || self.rx.is_full() || self.is_receiving.swap(true, Ordering::Relaxed) {
            return;
        }
        let at = self.rx.next() * SLOT;
        self.frames.sync_for_device(at..at + SLOT);
        let transfer = self.transfer(self.cdc.bulk_in, true, &self.rx_pid, at, SLOT);
        begin(&self.host.registers, IN_CHANNEL, &transfer);
    }

    fn start_sending(&self) {
        if self.is_gone() || self.is_sending.load(Ordering::Relaxed) {
            return;
        }
        let Some((slot, len)) = self.tx.first() else { return };
        let len = if self.owes_end.load(Ordering::Relaxed) { 0 } else { len };
        self.is_sending.store(true, Ordering::Relaxed);
        let at = (SLOTS + slot) * SLOT;
        let transfer = self.transfer(self.cdc.bulk_out, false, &self.tx_pid, at, len);
        begin(&self.host.registers, OUT_CHANNEL, &transfer);
    }

    /// Counts how a transfer went; whether it did.
    fn note(&self, ended: &Ended, pid: &AtomicU32, errors: &AtomicU64) -> bool {
        pid.store(ended.pid, Ordering::Relaxed);
        if ended.result.is_ok() {
            self.failures.store(0, Ordering::Relaxed);
            return true;
        }
        self.failures.fetch_add(1, Ordering::Relaxed);
        NetCounters::add(errors, 1);
        false
    }

    fn serve_sending(&self) {
        if self.is_sending.load(Ordering::Relaxed)
            && let Some(ended) = end(&self.host.registers, OUT_CHANNEL)
        {
            self.is_sending.store(false, Ordering::Relaxed);
            let went = self.note(&ended, &self.tx_pid, &self.counters.tx_errors);
            let len = self.tx.first().map_or(0, |(_, len)| len);
            // A frame ends with a packet that is not full; where the last one is, an empty one follows (USB 2.0, 5.8.3).
            let was_end = self.owes_end.load(Ordering::Relaxed);
            let owes_end = went && !was_end && len.is_multiple_of(usize::from(self.cdc.bulk_out.packet_bytes));
            self.owes_end.store(owes_end, Ordering::Relaxed);
            if !owes_end {
                if went {
                    NetCounters::add(&self.counters.tx_packets, 1);
                    NetCounters::add(&self.counters.tx_bytes, len);
                }
                self.tx.take();
            }
        }
        self.start_sending();
    }

    fn serve_receiving(&self) {
        if self.is_receiving.load(Ordering::Relaxed)
            && let Some(ended) = end(&self.host.registers, IN_CHANNEL)
        {
            self.is_receiving.store(false, Ordering::Relaxed);
            if self.note(&ended, &self.rx_pid, &self.counters.rx_errors) {
                let len = SLOT.saturating_sub(ended.left as usize);
                if len > ETHERNET + MTU {
                    NetCounters::add(&self.counters.rx_errors, 1);
                } else if len >= ETHERNET {
                    let at = self.rx.next() * SLOT;
                    self.frames.sync_for_cpu(at..at + SLOT);
                    self.rx.fill(len);
                }
            }
        }
        self.start_receiving();
    }

    fn copy_out(&self, frame: &mut [u8]) -> Option<usize> {
        while let Some((slot, len)) = self.rx.first() {
            let copied = match frame.get_mut(..len) {
                Some(to) => self.frames.read(slot * SLOT, to).is_ok(),
                None => false,
            };
            self.rx.take();
            if copied {
                NetCounters::add(&self.counters.rx_packets, 1);
                NetCounters::add(&self.counters.rx_bytes, len);
                return Some(len);
            }
            NetCounters::add(&self.counters.rx_dropped, 1);
        }
        None
    }
}

impl<R: Registers, B: DmaBuffer, K: Clock> NetDevice for UsbNet<R, B, K> {
    fn mac(&self) -> MacAddr {
        self.cdc.mac
    }

    fn mtu_bytes(&self) -> usize {
        MTU
    }

    /// Whether the device answers; what its cable does is not asked.
    fn is_link_up(&self) -> bool {
        !self.is_gone()
    }

    fn transmit(&self, frame: &[u8]) -> Result<(), TxError> {
        if frame.len() < ETHERNET || frame.len() > ETHERNET + MTU {
            return Err(TxError::BadLength);
        }
        self.busy.with(|| {
            // Receiving is left to `receive`: its interrupt must still come.
            self.serve_sending();
            if self.is_gone() {
                NetCounters::add(&self.counters.tx_errors, 1);
                return Err(TxError::Device);
            }
            if self.tx.is_full() {
                NetCounters::add(&self.counters.tx_dropped, 1);
                return Err(TxError::Full);
            }
            let at = (SLOTS + self.tx.next()) * SLOT;
            self.frames.write(at, frame).map_err(|_| TxError::Device)?;
            self.frames.sync_for_device(at..at + frame.len());
            self.tx.fill(frame.len());
            self.start_sending();
            // Whoever sends may have found the interface down when the last interrupt came.
            self.set_interrupts(true);
            Ok(())
        })
    }

    fn receive(&self, frame: &mut [u8]) -> Option<usize> {
        self.busy.with(|| {
            self.serve_sending();
            self.serve_receiving();
            let got = self.copy_out(frame);
            if got.is_none() {
                // A transfer that ended since it was looked at raises the interrupt at once: it is by level.
                self.set_interrupts(true);
            } else {
                self.start_receiving();
            }
            got
        })
    }

    /// Silences the controller until [`receive`](Self::receive) has found everything; one register write, so that it may
    /// interrupt whoever is inside.
    fn acknowledge_interrupt(&self) {
        self.set_interrupts(false);
    }

    fn stats(&self) -> NetStats {
        self.counters.stats()
    }
}
