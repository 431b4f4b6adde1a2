//! Virtio random number generator (virtio 1.2, section 5.4).

use alloc::boxed::Box;

use sis_hal::{Entropy, EntropyError};
use virtio_drivers::device::common::Feature;
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::Transport;
use virtio_drivers::transport::mmio::MmioTransport;

use super::dma::{Buffers, KernelMemory};
use super::{ProbeError, acknowledge, transport};
use crate::io::Mmio;
use crate::sync::{Rank, SpinLock};
use crate::timer;

/// The device's only queue.
const REQUESTS: u16 = 0;
/// Descriptors of the queue.
const QUEUE: usize = 8;
/// Bytes asked for at once.
const BUFFER: usize = 256;
/// How long a request is waited for.
const PATIENCE_NS: u64 = 20_000_000;

struct Inner {
    transport: MmioTransport<'static>,
    queue: VirtQueue<KernelMemory, QUEUE>,
    buffer: Buffers,
    /// The request that the device has, if any: one that was not answered in time is taken up by the next call.
    in_flight: Option<u16>,
}

impl Inner {
    /// The request that is with the device; made now if there is none.
    fn ask(&mut self) -> virtio_drivers::Result<u16> {
        if let Some(token) = self.in_flight {
            return Ok(token);
        }
        // SAFETY: (1) one buffer; (2), (3) no request is in flight, so it is ours; it is not looked at until the device
        // gives it back.
        let token = unsafe { self.queue.add(&[], &mut [self.buffer.slice(0)]) }?;
        self.in_flight = Some(token);
        if self.queue.should_notify() {
            self.transport.notify(REQUESTS);
        }
        Ok(token)
    }
}

/// A virtio random number generator.
pub struct VirtioRng {
    registers: Mmio,
    inner: SpinLock<Inner>,
}

impl VirtioRng {
    /// On the heap, for good.
    pub(super) fn new(registers: Mmio) -> Result<&'static Self, ProbeError> {
        let mut transport = transport(registers)?;
        let features = transport.begin_init(Feature::VERSION_1);
        debug_assert!(!features.contains(Feature::RING_EVENT_IDX));
        let queue = VirtQueue::new(&mut transport, REQUESTS, false, false)?;
        let buffer = Buffers::new(1, BUFFER).ok_or(ProbeError::NoMemory)?;
        transport.finish_init();
        let mut inner = Inner {
            transport,
            queue,
            buffer,
            in_flight: None,
        };
        // Asked now, so that the answer is there when the kernel comes for its first seed.
        inner.ask()?;
        Ok(Box::leak(Box::new(Self {
            registers,
            inner: SpinLock::new(Rank::NetDevice, inner),
        })))
    }

    /// Silences the device's interrupt.
    pub fn acknowledge_interrupt(&self) {
        acknowledge(&self.registers);
    }
}

impl Entropy for VirtioRng {
    fn fill(&self, out: &mut [u8]) -> Result<usize, EntropyError> {
        if out.is_empty() {
            return Ok(0);
        }
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        let token = inner.ask().map_err(|_| EntropyError::Timeout)?;
        let end = timer::now_ns() + PATIENCE_NS;
        while !inner.queue.can_pop() {
            if timer::now_ns() > end {
                return Err(EntropyError::Timeout);
            }
            core::hint::spin_loop();
        }
        // SAFETY: (1) the buffer that was added with this token; `pop_used` refuses another token.
        let len = unsafe { inner.queue.pop_used(token, &[], &mut [inner.buffer.slice(0)]) };
        let len = len.map_err(|_| EntropyError::Timeout)? as usize;
        inner.in_flight = None;
        // SAFETY: (1) one buffer; (2), (3) the device has given it back.
        let bytes = unsafe { inner.buffer.slice(0) };
        let n = len.min(bytes.len()).min(out.len());
        if n == 0 {
            return Err(EntropyError::Timeout);
        }
        for (to, from) in out.iter_mut().zip(bytes.iter_mut()).take(n) {
            *to = core::mem::take(from);
        }
        Ok(n)
    }
}
