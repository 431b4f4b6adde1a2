//! Virtio network interface (virtio 1.2, section 5.1), one receive and one transmit queue.
//!
//! Each side tells the other as little as it can. The device interrupts for received frames only while nobody takes them (as NAPI does), and
//! for sent ones only while somebody waits for room; it is told of frames to send once a burst, in [`NetDevice::flush`]. That is done with the
//! rings' flags: of `VIRTIO_F_EVENT_IDX`, which could do the same, the queue of the `virtio-drivers` crate has only a comparison that is nearly
//! always true, so that each frame would cost an exit to the device.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicBool, Ordering, fence};

use sis_hal::{MacAddr, NetCounters, NetDevice, NetStats, Registers, TxError};
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::Transport;
use virtio_drivers::transport::mmio::MmioTransport;

use super::dma::{Buffers, KernelMemory};
use super::{CONFIG, ProbeError, acknowledge, transport};
use crate::io::Mmio;
use crate::sync::{Rank, SpinLock};

/// Descriptors of each queue. The shadows of their tables pass over the boot stack.
const QUEUE: usize = 128;
/// Bytes of a buffer: the virtio header (12) and a frame of at most 1514.
const BUFFER: usize = 2048;
/// Payload of a frame.
const MTU: usize = 1500;
/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;
/// `status` in the configuration space; bit 0: the link is up.
const CONFIG_STATUS: usize = CONFIG + 6;
/// Numbers of the queues.
const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;
/// Bytes of `struct virtio_net_hdr` (5.1.6): all zero says that the frame is complete and has its checksums.
const HEADER: usize = 12;
/// The same on a legacy transport, where `num_buffers` is missing.
const HEADER_LEGACY: usize = 10;

bitflags::bitflags! {
    /// What is asked for (5.1.3, 6).
    #[derive(Clone, Copy, Debug)]
    struct Features: u64 {
        const MAC = 1 << 5;
        const STATUS = 1 << 16;
        const VERSION_1 = 1 << 32;
    }
}

type Queue = VirtQueue<KernelMemory, QUEUE>;

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
    transport: MmioTransport<'static>,
    header_bytes: usize,
    receive: Queue,
    rx: Buffers,
    rx_slots: Slots,
    /// The device interrupts for received frames.
    rx_interrupts: bool,
    transmit: Queue,
    tx: Buffers,
    tx_slots: Slots,
    tx_free: [u16; QUEUE],
    tx_free_len: usize,
    /// The device interrupts for sent frames: somebody waits for room.
    tx_interrupts: bool,
    /// Frames were queued that the device was not told of.
    is_unflushed: bool,
}

/// A virtio network interface.
pub struct VirtioNet {
    registers: Mmio,
    mac: MacAddr,
    /// The device broke the protocol: it is left alone from then on.
    is_broken: AtomicBool,
    counters: NetCounters,
    inner: SpinLock<Inner>,
}

impl VirtioNet {
    /// On the heap, for good: too large to be handed about on a stack.
    #[inline(never)]
    pub(super) fn new(registers: Mmio) -> Result<&'static Self, ProbeError> {
        let mut transport = transport(registers)?;
        let features = transport.begin_init(Features::all());
        let mac = transport.read_consistent(|| transport.read_config_space::<[u8; 6]>(0))?;
        let mut receive = Queue::new(&mut transport, RECEIVE, false, false)?;
        let mut transmit = Queue::new(&mut transport, TRANSMIT, false, false)?;
        transport.finish_init();
        transmit.set_dev_notify(false);
        let mut rx = Buffers::new(QUEUE, BUFFER).ok_or(ProbeError::NoMemory)?;
        let tx = Buffers::new(QUEUE, BUFFER).ok_or(ProbeError::NoMemory)?;
        let mut rx_slots = Slots::new();
        for i in 0..QUEUE {
            // SAFETY: (1) i is below the count; (2), (3) the buffer is new; the slice is not looked at again before
            // the device gives the token back.
            let token = unsafe { receive.add(&[], &mut [rx.slice(i)]) }?;
            rx_slots.put(token, i);
        }
        transport.notify(RECEIVE);
        let mut tx_free = [0; QUEUE];
        for (i, f) in tx_free.iter_mut().enumerate() {
            *f = i as u16;
        }
        let is_modern = features.contains(Features::VERSION_1);
        let device = Self {
            registers,
            mac: MacAddr(mac),
            is_broken: AtomicBool::new(false),
            counters: NetCounters::default(),
            inner: SpinLock::new(
                Rank::NetDevice,
                Inner {
                    transport,
                    header_bytes: if is_modern { HEADER } else { HEADER_LEGACY },
                    receive,
                    rx,
                    rx_slots,
                    rx_interrupts: true,
                    transmit,
                    tx,
                    tx_slots: Slots::new(),
                    tx_free,
                    tx_free_len: QUEUE,
                    tx_interrupts: false,
                    is_unflushed: false,
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
        while let Some(token) = inner.transmit.peek_used() {
            let Some(index) = inner.tx_slots.take(token) else {
                self.give_up("it completed a frame that was not sent");
                return;
            };
            // SAFETY: (1) `index` came from the free list; (2) the device has just given it back, and (3) it was in
            // flight, so nobody else has a slice. It is the buffer that was passed with this token.
            if unsafe { inner.transmit.pop_used(token, &[inner.tx.slice(index)], &mut []) }.is_err() {
                self.give_up("its completions changed while they were read");
                return;
            }
            if let Some(slot) = inner.tx_free.get_mut(inner.tx_free_len) {
                *slot = index as u16;
                inner.tx_free_len += 1;
            }
        }
    }

    /// A free buffer. Without one the device is asked to interrupt when it has sent something.
    fn tx_buffer(&self, inner: &mut Inner) -> Option<usize> {
        // Lazily: completions are asked about only when buffers run short.
        if inner.tx_free_len < QUEUE / 4 {
            self.reclaim(inner);
        }
        if inner.tx_free_len == 0 {
            if !inner.tx_interrupts {
                inner.tx_interrupts = true;
                inner.transmit.set_dev_notify(true);
                // The flag before a last look: what is completed from now on interrupts.
                fence(Ordering::SeqCst);
            }
            flush(inner);
            self.reclaim(inner);
        }
        let at = inner.tx_free_len.checked_sub(1)?;
        if inner.tx_interrupts {
            inner.tx_interrupts = false;
            inner.transmit.set_dev_notify(false);
        }
        inner.tx_free.get(at).copied().map(usize::from)
    }
}

/// Tells the device of frames that it was not told of, unless it is at work on the queue anyway.
fn flush(inner: &mut Inner) {
    if !core::mem::take(&mut inner.is_unflushed) {
        return;
    }
    // The new index before the device's wish: it looks at the index again after it has made the wish.
    fence(Ordering::SeqCst);
    if inner.transmit.should_notify() {
        inner.transport.notify(TRANSMIT);
    }
}

/// The next filled buffer. Without one the device is asked to interrupt; with one it need not.
fn next_received(inner: &mut Inner) -> Option<u16> {
    let mut token = inner.receive.peek_used();
    if token.is_none() && !inner.rx_interrupts {
        inner.rx_interrupts = true;
        inner.receive.set_dev_notify(true);
        // The flag before a last look: what comes from now on interrupts.
        fence(Ordering::SeqCst);
        token = inner.receive.peek_used();
    }
    if token.is_some() && inner.rx_interrupts {
        inner.rx_interrupts = false;
        inner.receive.set_dev_notify(false);
    }
    token
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
            NetCounters::add(&self.counters.tx_errors, 1);
            return Err(TxError::Device);
        }
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        let Some(index) = self.tx_buffer(inner) else {
            return Err(TxError::Full);
        };
        let end = inner.header_bytes + frame.len();
        // SAFETY: (1) `index` is below the count; (2) a free buffer is not with the device; (3) no other slice is alive.
        let buffer = unsafe { inner.tx.slice(index) };
        // The header's bytes are zero from the beginning, and nobody writes them.
        let Some(body) = buffer.get_mut(inner.header_bytes..end) else {
            return Err(TxError::BadLength);
        };
        body.copy_from_slice(frame);
        // The whole buffer is what `pop_used` is given back, so the length sent is trimmed here: the crate keeps address
        // and length of this slice and compares nothing on completion.
        let Some(whole) = buffer.get(..end) else {
            return Err(TxError::BadLength);
        };
        // SAFETY: (1) the buffer leaves the free list here and is not looked at until the token comes back.
        match unsafe { inner.transmit.add(&[whole], &mut []) } {
            Ok(token) => {
                inner.tx_free_len -= 1;
                inner.tx_slots.put(token, index);
                inner.is_unflushed = true;
                NetCounters::add(&self.counters.tx_packets, 1);
                NetCounters::add(&self.counters.tx_bytes, frame.len());
                Ok(())
            }
            Err(virtio_drivers::Error::QueueFull) => Err(TxError::Full),
            Err(_) => {
                NetCounters::add(&self.counters.tx_errors, 1);
                Err(TxError::Device)
            }
        }
    }

    fn flush(&self) {
        flush(&mut self.inner.lock());
    }

    fn receive(&self, frame: &mut [u8]) -> Option<usize> {
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        loop {
            if self.is_broken.load(Ordering::Relaxed) {
                return None;
            }
            let token = next_received(inner)?;
            let Some(index) = inner.rx_slots.take(token) else {
                self.give_up("it filled a buffer that it does not have");
                return None;
            };
            // SAFETY: (1) `index` was put with this token; (2) the device has just given it back; (3) it was in
            // flight, so nobody else has a slice.
            let done = unsafe { inner.receive.pop_used(token, &[], &mut [inner.rx.slice(index)]) };
            let Ok(filled) = done else {
                self.give_up("its completions changed while they were read");
                return None;
            };
            let filled = filled as usize;
            let mut got = None;
            // SAFETY: (1)-(3) as above: the buffer is ours until `add`.
            let bytes = unsafe { inner.rx.slice(index) };
            let len = filled.saturating_sub(inner.header_bytes);
            // A length that is shorter than a header, or longer than the buffer: the buffer is back all the same.
            match (bytes.get(inner.header_bytes..filled), frame.get_mut(..len)) {
                (Some(from), Some(to)) => {
                    to.copy_from_slice(from);
                    NetCounters::add(&self.counters.rx_packets, 1);
                    NetCounters::add(&self.counters.rx_bytes, len);
                    got = Some(len);
                }
                (Some(_), None) => NetCounters::add(&self.counters.rx_dropped, 1),
                (None, _) => NetCounters::add(&self.counters.rx_errors, 1),
            }
            // SAFETY: (1)-(3) as above; the slice is not looked at again before the device gives the token back.
            match unsafe { inner.receive.add(&[], &mut [inner.rx.slice(index)]) } {
                Ok(token) => inner.rx_slots.put(token, index),
                Err(_) => self.give_up("it does not take its buffer back"),
            }
            fence(Ordering::SeqCst);
            // Only a device that had run out of buffers wants to know.
            if inner.receive.should_notify() {
                inner.transport.notify(RECEIVE);
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
        self.counters.stats()
    }
}
