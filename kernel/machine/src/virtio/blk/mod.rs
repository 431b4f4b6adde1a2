//! Virtio block device (virtio 1.2, section 5.2).
//!
//! The crate's own driver takes one contiguous buffer a request; this one hands scattered memory to the device, and uses
//! as many queues as there are CPUs.

mod config;
mod queue;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use sis_hal::{BlockCompletion, BlockDevice, BlockError, BlockLimits, BlockOp, BlockRequest, Registers, SECTOR_BYTES};
use spin::Once;
use virtio_drivers::transport::mmio::MmioTransport;
use virtio_drivers::transport::{DeviceStatus, Transport};

use super::{ProbeError, acknowledge, transport};
use crate::io::Mmio;
use crate::sync::{IrqGuard, IrqLock, Rank};
use crate::{cpu, timer};
use config::Features;
use queue::Queue;

/// Offset of QueueNotify.
const QUEUE_NOTIFY: usize = 0x050;
/// Offset of Status.
const STATUS: usize = 0x070;
/// The most queues that are used.
const QUEUES_MAX: usize = 8;
/// How long a device may take to reset, or to name itself.
const PATIENCE_NS: u64 = 1_000_000_000;
/// Resets after which a device is left alone: each leaves the tables of unfinished requests behind.
const RESETS_MAX: u32 = 8;

/// A virtio block device.
pub struct VirtioBlk {
    registers: Mmio,
    features: Features,
    limits: BlockLimits,
    serial: String,
    completion: Once<&'static dyn BlockCompletion>,
    /// The device broke the protocol: it is left alone from then on.
    is_broken: AtomicBool,
    resets: AtomicU32,
    /// Taken before the queues' locks.
    transport: IrqLock<MmioTransport<'static>>,
    queues: Vec<IrqLock<Queue>>,
}

/// Resets the device and agrees on the features; the queues come next.
fn begin(registers: &Mmio, transport: &mut MmioTransport<'static>) -> Result<Features, ProbeError> {
    reset(registers)?;
    let features = transport.begin_init(Features::all());
    if features.contains(Features::VERSION_1) && !transport.get_status().contains(DeviceStatus::FEATURES_OK) {
        return Err(ProbeError::Device(virtio_drivers::Error::Unsupported));
    }
    Ok(features)
}

/// Resets the device: when the status reads 0 it touches no memory any more.
fn reset(registers: &Mmio) -> Result<(), ProbeError> {
    registers.write32(STATUS, 0);
    let end = timer::now_ns().saturating_add(PATIENCE_NS);
    while registers.read32(STATUS) != 0 {
        if timer::now_ns() > end {
            return Err(ProbeError::Device(virtio_drivers::Error::NotReady));
        }
        core::hint::spin_loop();
    }
    Ok(())
}

impl VirtioBlk {
    /// On the heap, for good.
    #[inline(never)]
    pub(super) fn new(registers: Mmio) -> Result<&'static Self, ProbeError> {
        let mut transport = transport(registers)?;
        let features = begin(&registers, &mut transport)?;
        let is_indirect = features.contains(Features::INDIRECT_DESC);
        let wanted = config::queues(&registers, features).min(QUEUES_MAX).min(cpu::MAX_CPUS);
        let mut queues = Vec::new();
        for index in 0..wanted {
            match Queue::new(&mut transport, index as u16, is_indirect) {
                Ok(queue) => queues.push(IrqLock::new(Rank::BlockDevice, queue)),
                Err(e) if index == 0 => return Err(e),
                Err(_) => break,
            }
        }
        let mut limits = config::limits(&registers, features, queues.len());
        if !is_indirect {
            // A request's descriptors share the ring with others'.
            limits.segments_max = limits.segments_max.min(queue::DEPTH as u32 / 4);
        }
        transport.finish_init();
        let mut device = Self {
            registers,
            features,
            limits,
            serial: String::new(),
            completion: Once::new(),
            is_broken: AtomicBool::new(false),
            resets: AtomicU32::new(0),
            transport: IrqLock::new(Rank::BlockDevice, transport),
            queues,
        };
        device.serial = device.ask_serial();
        // Its interrupt came before anybody listened; left alone, it would hide the next where the line is edge-triggered.
        acknowledge(&device.registers);
        Ok(Box::leak(Box::new(device)))
    }

    /// The identification; empty when the device has none or does not answer in time.
    fn ask_serial(&mut self) -> String {
        let Some(queue) = self.queues.first_mut().map(IrqLock::get_mut) else {
            return String::new();
        };
        if queue.ask_id().is_err() {
            return String::new();
        }
        self.registers.write32(QUEUE_NOTIFY, 0);
        let end = timer::now_ns().saturating_add(PATIENCE_NS);
        let result = loop {
            match queue.take_ended() {
                Ok(Some(ended)) => break ended.result,
                Ok(None) if timer::now_ns() < end => core::hint::spin_loop(),
                Ok(None) => {
                    self.give_up("it does not answer");
                    return String::new();
                }
                Err(e) => {
                    self.give_up(e.0);
                    return String::new();
                }
            }
        };
        if result.is_err() {
            return String::new();
        }
        let id = queue.id();
        let text = id.split(|b| *b == 0).next().unwrap_or_default();
        text.iter()
            .filter(|b| b.is_ascii_graphic())
            .map(|b| char::from(*b))
            .collect()
    }

    fn give_up(&self, why: &str) {
        if !self.is_broken.swap(true, Ordering::AcqRel) {
            crate::error!("virtio-blk: the device breaks the protocol ({why}); it is not used any more");
        }
    }

    fn complete(&self, request: BlockRequest, result: Result<(), BlockError>) {
        let tag = request.tag;
        // The memory goes first: whoever is told may look at its references.
        drop(request);
        if let Some(c) = self.completion.get() {
            c.complete(tag, result);
        }
    }

    /// Takes what has ended on one queue; `Err` when the device broke the protocol.
    fn drain(&self, queue: &IrqLock<Queue>) -> Result<(), queue::Broken> {
        // Bounded: a device that makes up completions runs out of requests.
        for _ in 0..=queue::DEPTH {
            let ended = queue.lock().take_ended()?;
            let Some(ended) = ended else { return Ok(()) };
            if let Some(request) = ended.request {
                self.complete(request, ended.result);
            }
        }
        Ok(())
    }

    /// Resets the device, sets it up again where that makes sense, and fails all that was under way: with `Timeout` for
    /// `tag`, with `Device` for the others.
    fn restart(&self, tag: Option<u64>) {
        let mut taken = Vec::new();
        {
            let mut transport = self.transport.lock();
            let mut guards: Vec<IrqGuard<'_, Queue>> = self.queues.iter().map(IrqLock::lock_nested).collect();
            if tag.is_some_and(|tag| !guards.iter().any(|q| q.has(tag))) {
                return;
            }
            let is_reset = reset(&self.registers).is_ok();
            if !is_reset {
                // It may still write into the memory of its requests: they are never given back.
                self.is_broken.store(true, Ordering::Release);
                crate::error!("virtio-blk: the device does not even reset; its requests' memory is lost");
            }
            for queue in &mut guards {
                queue.take_all(&mut taken);
            }
            if !is_reset {
                for request in &taken {
                    core::mem::forget(request.memory.clone());
                }
            } else if !self.is_broken.load(Ordering::Acquire) && !self.renew(&mut transport, &mut guards) {
                self.give_up("it cannot be set up again");
            }
        }
        for request in taken {
            let error = if tag == Some(request.tag) {
                BlockError::Timeout
            } else {
                BlockError::Device
            };
            self.complete(request, Err(error));
        }
    }

    fn renew(&self, transport: &mut MmioTransport<'static>, queues: &mut [IrqGuard<'_, Queue>]) -> bool {
        if self.resets.fetch_add(1, Ordering::Relaxed) >= RESETS_MAX {
            return false;
        }
        match begin(&self.registers, transport) {
            Ok(features) if features == self.features => {}
            _ => return false,
        }
        let is_indirect = self.features.contains(Features::INDIRECT_DESC);
        for (index, queue) in queues.iter_mut().enumerate() {
            if queue.renew(transport, index as u16, is_indirect).is_err() {
                return false;
            }
        }
        transport.finish_init();
        true
    }

    fn check(&self, request: &BlockRequest) -> Result<(), BlockError> {
        let l = &self.limits;
        let blocks = l.logical_block_bytes / SECTOR_BYTES as u32;
        let has_memory = request.memory.is_some();
        match request.op {
            BlockOp::Flush if !l.has_write_cache => return Err(BlockError::Unsupported),
            BlockOp::Flush if has_memory || request.sector_count != 0 => return Err(BlockError::Invalid),
            BlockOp::Flush => return Ok(()),
            BlockOp::WriteThrough if !l.has_fua => return Err(BlockError::Unsupported),
            BlockOp::Read => {}
            _ if l.is_read_only => return Err(BlockError::ReadOnly),
            _ => {}
        }
        let (most, wants_memory) = match request.op {
            BlockOp::Discard => (l.discard_sectors_max, false),
            BlockOp::WriteZeroes => (l.write_zeroes_sectors_max, false),
            _ => (l.request_sectors_max, true),
        };
        if most == 0 {
            return Err(BlockError::Unsupported);
        }
        let end = request.first_sector.checked_add(u64::from(request.sector_count));
        if end.is_none_or(|e| e > l.sector_count) {
            return Err(BlockError::OutOfRange);
        }
        let bytes: u64 = request
            .memory
            .iter()
            .flat_map(|m| m.segments())
            .fold(0, |n, s| n + u64::from(s.len));
        let is_good = request.sector_count != 0
            && request.sector_count <= most
            && request.sector_count.is_multiple_of(blocks)
            && request.first_sector.is_multiple_of(u64::from(blocks))
            && has_memory == wants_memory
            && (!wants_memory || bytes == u64::from(request.sector_count) * SECTOR_BYTES)
            && request.memory.as_ref().is_none_or(|m| {
                m.segments().len() <= l.segments_max as usize
                    && m.segments()
                        .iter()
                        .all(|s| s.len != 0 && s.len <= l.segment_bytes_max.max(4096))
            });
        if is_good { Ok(()) } else { Err(BlockError::Invalid) }
    }
}

impl BlockDevice for VirtioBlk {
    fn limits(&self) -> BlockLimits {
        self.limits
    }

    fn serial(&self) -> &str {
        &self.serial
    }

    fn set_completion(&self, completion: &'static dyn BlockCompletion) {
        self.completion.call_once(|| completion);
    }

    fn submit(&self, queue: usize, request: BlockRequest) -> Result<(), (BlockRequest, BlockError)> {
        if self.is_broken.load(Ordering::Acquire) {
            return Err((request, BlockError::Gone));
        }
        if let Err(e) = self.check(&request) {
            return Err((request, e));
        }
        let Some(rings) = self.queues.get(queue) else {
            return Err((request, BlockError::Invalid));
        };
        let should_notify = {
            let mut rings = rings.lock();
            // Looked at again with the lock held: whoever fails all requests of a broken device takes it after the mark.
            if self.is_broken.load(Ordering::Acquire) {
                return Err((request, BlockError::Gone));
            }
            rings.add(request)?;
            rings.should_notify()
        };
        if should_notify {
            self.registers.write32(QUEUE_NOTIFY, queue as u32);
        }
        Ok(())
    }

    fn poll(&self) {
        acknowledge(&self.registers);
        for queue in &self.queues {
            if let Err(e) = self.drain(queue) {
                self.give_up(e.0);
                self.restart(None);
                return;
            }
        }
    }

    fn abort(&self, tag: u64) {
        self.restart(Some(tag));
    }
}
