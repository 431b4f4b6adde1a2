//! Virtio network interface (virtio 1.2, section 5.1), one receive and one transmit queue.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sis_hal::{MacAddr, NetDevice, NetStats, Registers, TxError};
use virtio_drivers::device::net::VirtIONetRaw;
use virtio_drivers::transport::mmio::MmioTransport;

use super::dma::{Buffers, KernelMemory};
use super::{CONFIG, ProbeError, acknowledge, transport};
use crate::io::Mmio;
use crate::sync::{Rank, SpinLock};

/// Descriptors of each queue.
const QUEUE: usize = 128;
/// Bytes of a buffer: the virtio header (12) and a frame of at most 1514.
const BUFFER: usize = 2048;
/// Payload of a frame.
const MTU: usize = 1500;
/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;
/// `status` in the configuration space; bit 0: the link is up.
const CONFIG_STATUS: usize = CONFIG + 6;

type Raw = VirtIONetRaw<KernelMemory, MmioTransport<'static>, QUEUE>;

/// Which buffer a descriptor has.
#[derive(Clone, Copy)]
struct Slots {
    buffer_of: [Option<u16>; QUEUE],
}

impl Slots {
    const fn new() -> Self {
        Self {
            buffer_of: [None; QUEUE],
        }
    }

    /// Takes the buffer of a token that the device named; `None` when the device has no such buffer.
    fn take(&mut self, token: u16) -> Option<usize> {
        self.buffer_of.get_mut(usize::from(token))?.take().map(usize::from)
    }

    fn put(&mut self, token: u16, buffer: usize) {
        if let Some(slot) = self.buffer_of.get_mut(usize::from(token)) {
            *slot = Some(buffer as u16);
        }
    }
}

struct Inner {
    raw: Raw,
    rx: Buffers,
    rx_slots: Slots,
    tx: Buffers,
    tx_slots: Slots,
    tx_free: [u16; QUEUE],
    tx_free_len: usize,
}

#[derive(Default)]
struct Counters {
    rx_packets: AtomicU64,
    rx_bytes: AtomicU64,
    rx_dropped: AtomicU64,
    rx_errors: AtomicU64,
    tx_packets: AtomicU64,
    tx_bytes: AtomicU64,
    tx_dropped: AtomicU64,
    tx_errors: AtomicU64,
}

/// A virtio network interface.
pub struct VirtioNet {
    registers: Mmio,
    mac: MacAddr,
    /// The device broke the protocol: it is left alone from then on.
    is_broken: AtomicBool,
    counters: Counters,
    inner: SpinLock<Inner>,
}

fn add(counter: &AtomicU64, n: usize) {
    counter.fetch_add(n as u64, Ordering::Relaxed);
}

impl VirtioNet {
    /// On the heap, for good: too large to be handed about on a stack.
    #[inline(never)]
    pub(super) fn new(registers: Mmio) -> Result<&'static Self, ProbeError> {
        let mut raw = Raw::new(transport(registers)?)?;
        let mut rx = Buffers::new(QUEUE, BUFFER).ok_or(ProbeError::NoMemory)?;
        let tx = Buffers::new(QUEUE, BUFFER).ok_or(ProbeError::NoMemory)?;
        let mut rx_slots = Slots::new();
        for i in 0..QUEUE {
            // SAFETY: (1) i is below the count; (2), (3) the buffer is new; the slice is not looked at again before
            // the device gives the token back.
            let token = unsafe { raw.receive_begin(rx.slice(i)) }?;
            rx_slots.put(token, i);
        }
        let mut tx_free = [0; QUEUE];
        for (i, f) in tx_free.iter_mut().enumerate() {
            *f = i as u16;
        }
        let device = Self {
            registers,
            mac: MacAddr(raw.mac_address()),
            is_broken: AtomicBool::new(false),
            counters: Counters::default(),
            inner: SpinLock::new(
                Rank::NetDevice,
                Inner {
                    raw,
                    rx,
                    rx_slots,
                    tx,
                    tx_slots: Slots::new(),
                    tx_free,
                    tx_free_len: QUEUE,
                },
            ),
        };
        Ok(Box::leak(Box::new(device)))
    }

    fn give_up(&self, why: &str) {
        if !self.is_broken.swap(true, Ordering::Relaxed) {
            crate::error!("virtio-net: the device breaks the protocol ({why}); it is not used any more");
        }
    }

    /// Takes back the buffers that the device has sent.
    fn reclaim(&self, inner: &mut Inner) {
        // Bounded: a device that makes up completions runs out of tokens.
        while let Some(token) = inner.raw.poll_transmit() {
            let Some(index) = inner.tx_slots.take(token) else {
                self.give_up("it completed a frame that was not sent");
                return;
            };
            // SAFETY: (1) `index` came from the free list; (2) the device has just given it back, and (3) it was in
            // flight, so nobody else has a slice. It is the buffer that was passed with this token.
            if unsafe { inner.raw.transmit_complete(token, inner.tx.slice(index)) }.is_err() {
                self.give_up("its completions changed while they were read");
                return;
            }
            if let Some(slot) = inner.tx_free.get_mut(inner.tx_free_len) {
                *slot = index as u16;
                inner.tx_free_len += 1;
            }
        }
    }
}

impl NetDevice for VirtioNet {
    fn mac(&self) -> MacAddr {
        self.mac
    }

    fn mtu_bytes(&self) -> usize {
        MTU
    }

    fn is_link_up(&self) -> bool {
        !self.is_broken.load(Ordering::Relaxed) && self.registers.read16(CONFIG_STATUS) & 1 != 0
    }

    fn transmit(&self, frame: &[u8]) -> Result<(), TxError> {
        if frame.len() < ETHERNET || frame.len() > ETHERNET + MTU {
            return Err(TxError::BadLength);
        }
        if self.is_broken.load(Ordering::Relaxed) {
            add(&self.counters.tx_errors, 1);
            return Err(TxError::Device);
        }
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        // Lazily: completions are asked about only when buffers run short, which also keeps their interrupts rare.
        if inner.tx_free_len < QUEUE / 4 {
            self.reclaim(inner);
        }
        let Some(index) = inner
            .tx_free_len
            .checked_sub(1)
            .and_then(|at| inner.tx_free.get(at).copied())
        else {
            return Err(TxError::Full);
        };
        let index = usize::from(index);
        // SAFETY: (1) `index` is below the count; (2) a free buffer is not with the device; (3) no other slice is alive.
        let buffer = unsafe { inner.tx.slice(index) };
        let Ok(header) = inner.raw.fill_buffer_header(buffer) else {
            return Err(TxError::Device);
        };
        let end = header + frame.len();
        let Some(body) = buffer.get_mut(header..end) else {
            return Err(TxError::BadLength);
        };
        body.copy_from_slice(frame);
        // The whole buffer is what `transmit_complete` is given back, so the length sent is trimmed here: the crate
        // keeps address and length of this slice and compares nothing on completion.
        let Some(whole) = buffer.get(..end) else {
            return Err(TxError::BadLength);
        };
        // SAFETY: (1) the buffer leaves the free list here and is not looked at until the token comes back.
        match unsafe { inner.raw.transmit_begin(whole) } {
            Ok(token) => {
                inner.tx_free_len -= 1;
                inner.tx_slots.put(token, index);
                add(&self.counters.tx_packets, 1);
                add(&self.counters.tx_bytes, frame.len());
                Ok(())
            }
            Err(virtio_drivers::Error::QueueFull) => Err(TxError::Full),
            Err(_) => {
                add(&self.counters.tx_errors, 1);
                Err(TxError::Device)
            }
        }
    }

    fn receive(&self, frame: &mut [u8]) -> Option<usize> {
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        loop {
            if self.is_broken.load(Ordering::Relaxed) {
                return None;
            }
            let token = inner.raw.poll_receive()?;
            let Some(index) = inner.rx_slots.take(token) else {
                self.give_up("it filled a buffer that it does not have");
                return None;
            };
            // SAFETY: (1) `index` was put with this token; (2) the device has just given it back; (3) it was in
            // flight, so nobody else has a slice.
            let done = unsafe { inner.raw.receive_complete(token, inner.rx.slice(index)) };
            let mut got = None;
            match done {
                Ok((header, len)) => {
                    // SAFETY: (1)-(3) as above: the buffer is ours until `receive_begin`.
                    let bytes = unsafe { inner.rx.slice(index) };
                    match (
                        header.checked_add(len).and_then(|end| bytes.get(header..end)),
                        frame.get_mut(..len),
                    ) {
                        (Some(from), Some(to)) => {
                            to.copy_from_slice(from);
                            add(&self.counters.rx_packets, 1);
                            add(&self.counters.rx_bytes, len);
                            got = Some(len);
                        }
                        (Some(_), None) => add(&self.counters.rx_dropped, 1),
                        (None, _) => add(&self.counters.rx_errors, 1),
                    }
                }
                // The length was shorter than a header: the buffer is back all the same.
                Err(virtio_drivers::Error::IoError) => add(&self.counters.rx_errors, 1),
                Err(_) => {
                    self.give_up("its completions changed while they were read");
                    return None;
                }
            }
            // SAFETY: (1)-(3) as above; the slice is not looked at again before the device gives the token back.
            match unsafe { inner.raw.receive_begin(inner.rx.slice(index)) } {
                Ok(token) => inner.rx_slots.put(token, index),
                Err(_) => self.give_up("it does not take its buffer back"),
            }
            if got.is_some() {
                return got;
            }
        }
    }

    fn acknowledge_interrupt(&self) {
        acknowledge(&self.registers);
    }

    fn stats(&self) -> NetStats {
        let read = |c: &AtomicU64| c.load(Ordering::Relaxed);
        let c = &self.counters;
        NetStats {
            rx_packets: read(&c.rx_packets),
            rx_bytes: read(&c.rx_bytes),
            rx_dropped: read(&c.rx_dropped),
            rx_errors: read(&c.rx_errors),
            tx_packets: read(&c.tx_packets),
            tx_bytes: read(&c.tx_bytes),
            tx_dropped: read(&c.tx_dropped),
            tx_errors: read(&c.tx_errors),
        }
    }
}
