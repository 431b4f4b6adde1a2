//! A disk: its queues, the thread that minds them, and what happens when it does not answer.
//!
//! Whoever submits gives the device as much as it takes; what is left waits for completions, which wake the disk's
//! thread. A timer looks for requests that take too long, while there are any.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sis_hal::{BlockCompletion, BlockDevice, BlockError, BlockLimits, BlockOp, SECTOR_BYTES};
use sis_machine::cpu;
use sis_machine::mm::scatter::{FramePiece, SegmentCounter};
use sis_machine::sync::{IrqLock, Rank};

use super::io::Tracked;
use super::queue::{Queue, Request};
use crate::poll::Events;
use crate::time::{self, Deadline, Expire, Timer};
use crate::wait::{Sleep, WaitQueue};
use crate::{Result, sched};

/// How long a request may take.
const PATIENCE_NS: u64 = 30_000_000_000;
/// How often requests are looked at.
const LOOK_NS: u64 = 5_000_000_000;
/// When the device has no room though nothing is under way.
const AGAIN_NS: u64 = 1_000_000;
/// Failures that are logged in a second.
const TOLD_MAX: u64 = 5;
/// Bits of a tag below the queue's number, which has 8.
const QUEUE_SHIFT: u32 = 24;

/// A disk.
pub struct Disk {
    pub(super) name: String,
    device: &'static dyn BlockDevice,
    limits: BlockLimits,
    queues: Vec<IrqLock<Queue>>,
    wake: WaitQueue,
    is_kicked: AtomicBool,
    is_watched: AtomicBool,
    is_look_due: AtomicBool,
    told: AtomicU64,
    told_second: AtomicU64,
    is_gone: AtomicBool,
    timer: IrqLock<Option<Timer>>,
}

impl Disk {
    /// Takes a device over: completions come here, and a thread is started. Disks stay for good.
    pub(super) fn start(name: String, device: &'static dyn BlockDevice) -> Result<&'static Self> {
        let limits = device.limits();
        let count = limits.queue_count.clamp(1, 255) as usize;
        let depth = limits.queue_depth.clamp(1, 1024) as usize;
        let disk: &'static Self = alloc::boxed::Box::leak(alloc::boxed::Box::new(Self {
            name,
            device,
            limits,
            queues: (0..count)
                .map(|_| IrqLock::new(Rank::Block, Queue::new(depth)))
                .collect(),
            wake: WaitQueue::new(),
            is_kicked: AtomicBool::new(false),
            is_watched: AtomicBool::new(false),
            is_look_due: AtomicBool::new(false),
            told: AtomicU64::new(0),
            told_second: AtomicU64::new(0),
            is_gone: AtomicBool::new(false),
            timer: IrqLock::new(Rank::Leaf, None),
        }));
        device.set_completion(disk);
        sched::spawn_kernel("block", move || disk.run())?;
        Ok(disk)
    }

    /// Its name in /dev.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it can do.
    pub fn limits(&self) -> &BlockLimits {
        &self.limits
    }

    /// Its own identification; may be empty.
    pub fn serial(&self) -> &str {
        self.device.serial()
    }

    /// Whether the medium has been removed.
    pub fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Acquire)
    }

    /// The interrupt handler's work.
    pub(super) fn interrupt(&self) {
        self.device.poll();
    }

    fn kick(&self) {
        if !self.is_kicked.swap(true, Ordering::AcqRel) {
            self.wake.wake_all(Events::READ);
        }
    }

    /// Cuts an I/O into requests that the device takes and puts them on this CPU's queue; [`Self::dispatch`] starts
    /// them. `first_sector` counts from the start of the disk, and the range was checked.
    pub(super) fn enqueue(
        &self,
        op: BlockOp,
        first_sector: u64,
        sector_count: u64,
        pieces: Vec<FramePiece>,
        tracked: &Arc<Tracked>,
    ) {
        let result = self.cut(op, first_sector, sector_count, pieces, tracked);
        // The part that `begin` counted: nothing ends before all parts are there.
        tracked.end_part(result);
    }

    fn cut(
        &self,
        op: BlockOp,
        first_sector: u64,
        sector_count: u64,
        pieces: Vec<FramePiece>,
        tracked: &Arc<Tracked>,
    ) -> core::result::Result<(), BlockError> {
        let l = &self.limits;
        if self.is_gone() {
            return Err(BlockError::Gone);
        }
        let most = match op {
            BlockOp::Read | BlockOp::Write | BlockOp::WriteThrough => {
                return self.cut_pieces(op, first_sector, sector_count, pieces, tracked);
            }
            BlockOp::Flush => {
                let none = SegmentCounter::new(l.segment_bytes_max);
                self.push(Request::new(op, 0, 0, Vec::new(), none, tracked.clone()), tracked);
                return Ok(());
            }
            BlockOp::Discard => l.discard_sectors_max,
            BlockOp::WriteZeroes => l.write_zeroes_sectors_max,
        };
        if most == 0 {
            return Err(BlockError::Unsupported);
        }
        let (mut at, mut left) = (first_sector, sector_count);
        while left > 0 {
            let n = u32::try_from(left).unwrap_or(u32::MAX).min(most);
            let none = SegmentCounter::new(l.segment_bytes_max);
            self.push(Request::new(op, at, n, Vec::new(), none, tracked.clone()), tracked);
            at = at.saturating_add(u64::from(n));
            left -= u64::from(n);
        }
        Ok(())
    }

    fn cut_pieces(
        &self,
        op: BlockOp,
        first_sector: u64,
        sector_count: u64,
        pieces: Vec<FramePiece>,
        tracked: &Arc<Tracked>,
    ) -> core::result::Result<(), BlockError> {
        let l = &self.limits;
        let bytes: u64 = pieces.iter().map(|p| u64::from(p.len)).sum();
        if sector_count.checked_mul(SECTOR_BYTES) != Some(bytes) || bytes == 0 {
            return Err(BlockError::Invalid);
        }
        let block = u64::from(l.logical_block_bytes);
        let mut at = first_sector;
        let mut rest = pieces;
        while !rest.is_empty() {
            // As many pieces as fit, and at the last of them that ends with a block.
            let mut counter = SegmentCounter::new(l.segment_bytes_max);
            let mut best = (0, 0, counter);
            let mut len = 0u64;
            for (n, p) in rest.iter().enumerate() {
                counter.add(p);
                len += u64::from(p.len);
                if counter.count() > l.segments_max || len / SECTOR_BYTES > u64::from(l.request_sectors_max) {
                    break;
                }
                if len.is_multiple_of(block) {
                    best = (n + 1, len, counter);
                }
            }
            let (count, len, counter) = best;
            if count == 0 {
                return Err(BlockError::Invalid);
            }
            let tail = rest.split_off(count);
            let sectors = (len / SECTOR_BYTES) as u32;
            self.push(Request::new(op, at, sectors, rest, counter, tracked.clone()), tracked);
            at = at.saturating_add(u64::from(sectors));
            rest = tail;
        }
        Ok(())
    }

    fn this_queue(&self) -> usize {
        (cpu::id().0 as usize) % self.queues.len().max(1)
    }

    fn push(&self, request: Request, tracked: &Tracked) {
        tracked.add_parts(1);
        match self.queues.get(self.this_queue()) {
            Some(q) => q.lock().push(request),
            None => request.end(Err(BlockError::Device)),
        }
    }

    /// Gives the device what it takes. Not in interrupt context.
    pub(super) fn dispatch(&'static self) {
        self.watch();
        for index in 0..self.queues.len() {
            self.dispatch_queue(index);
        }
    }

    fn dispatch_queue(&self, index: usize) {
        let Some(queue) = self.queues.get(index) else { return };
        loop {
            let next = queue.lock().start(&self.limits);
            let mut request = match next {
                None => return,
                Some(Err((request, e))) => {
                    request.end(Err(e));
                    continue;
                }
                Some(Ok(request)) => request,
            };
            let tag = request.tag;
            request.tag = tag | (index as u64) << QUEUE_SHIFT;
            match self.device.submit(index, request) {
                Ok(()) => {}
                Err((request, BlockError::Busy)) => {
                    drop(request);
                    let is_stalled = {
                        let mut queue = queue.lock();
                        queue.refused(tag);
                        queue.is_stalled()
                    };
                    // All completions may have come before it was noted that the device is full.
                    if is_stalled {
                        self.kick();
                    }
                    return;
                }
                Err((request, e)) => {
                    drop(request);
                    let taken = queue.lock().take(tag);
                    if let Some(r) = taken {
                        self.tell(&r, e);
                        r.end(Err(e));
                    }
                }
            }
        }
    }

    /// Sees to it that requests are looked at until there are none.
    fn watch(&'static self) {
        if !self.is_watched.load(Ordering::Relaxed) && !self.is_watched.swap(true, Ordering::AcqRel) {
            let timer = time::set_timer(Deadline::after_ns(LOOK_NS), Arc::new(Watch(self)));
            let old = core::mem::replace(&mut *self.timer.lock(), timer);
            drop(old);
        }
    }

    fn run(&'static self) {
        loop {
            let is_stalled = self.queues.iter().any(|q| q.lock().is_stalled());
            let deadline = if is_stalled {
                Deadline::after_ns(AGAIN_NS)
            } else {
                Deadline::NEVER
            };
            let kicked = self.wake.wait_for(Sleep::Uninterruptible, deadline, || {
                (self.is_kicked.swap(false, Ordering::AcqRel) && !is_stalled).then_some(())
            });
            if kicked.is_err() {
                for queue in &self.queues {
                    let mut queue = queue.lock();
                    if queue.is_stalled() {
                        queue.try_again();
                    }
                }
            }
            if self.is_gone() {
                self.fail_waiting();
            }
            if self.is_look_due.swap(false, Ordering::AcqRel) {
                self.look();
            }
            for index in 0..self.queues.len() {
                self.dispatch_queue(index);
            }
        }
    }

    /// Looks for requests that take too long.
    fn look(&'static self) {
        let since = time::now_ns().saturating_sub(PATIENCE_NS);
        let mut is_busy = false;
        // Perhaps only an interrupt was lost.
        self.device.poll();
        for (index, queue) in self.queues.iter().enumerate() {
            let overdue = queue.lock().overdue(since);
            for tag in overdue {
                if !queue.lock().has(tag) {
                    continue;
                }
                sis_machine::error!("{}: a request takes longer than 30 s and is given up", self.name);
                self.device.abort(tag | (index as u64) << QUEUE_SHIFT);
                let left = queue.lock().take(tag);
                if let Some(r) = left {
                    r.end(Err(BlockError::Timeout));
                }
            }
            let queue = queue.lock();
            is_busy |= queue.under_way() > 0 || queue.has_waiting();
        }
        if is_busy {
            self.watch();
        }
    }

    fn fail_waiting(&self) {
        for queue in &self.queues {
            let waiting = queue.lock().take_waiting();
            for request in waiting {
                request.end(Err(BlockError::Gone));
            }
        }
    }

    /// Logs a failure; a few a second.
    fn tell(&self, request: &Request, e: BlockError) {
        let second = time::now_ns() / 1_000_000_000;
        if self.told_second.swap(second, Ordering::Relaxed) != second {
            self.told.store(0, Ordering::Relaxed);
        }
        if self.told.fetch_add(1, Ordering::Relaxed) < TOLD_MAX {
            sis_machine::error!("{}: {}: {e}", self.name, request.describe());
        }
    }
}

impl BlockCompletion for Disk {
    fn complete(&self, tag: u64, result: core::result::Result<(), BlockError>) {
        let index = (tag >> QUEUE_SHIFT & 0xff) as usize;
        let Some(queue) = self.queues.get(index) else { return };
        let tag = tag & !(0xff << QUEUE_SHIFT);
        let (ended, has_waiting) = {
            let mut queue = queue.lock();
            let ended = queue.ended(tag, result, !self.is_gone());
            (ended, queue.has_waiting())
        };
        if has_waiting {
            self.kick();
        }
        if let Some((request, result)) = ended {
            if let Err(e) = result {
                self.tell(&request, e);
            }
            request.end(result);
        }
    }

    fn removed(&self) {
        if !self.is_gone.swap(true, Ordering::AcqRel) {
            sis_machine::warn!("{}: the medium has been removed", self.name);
        }
        self.kick();
    }
}

/// Looks after a disk's requests when its time has come.
struct Watch(&'static Disk);

impl Expire for Watch {
    fn expire(self: Arc<Self>) {
        self.0.is_watched.store(false, Ordering::Release);
        self.0.is_look_due.store(true, Ordering::Release);
        self.0.kick();
    }
}
