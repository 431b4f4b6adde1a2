//! Block devices: requests go in, completions come back by interrupt.
//!
//! A driver queues; it never waits for the medium. The block layer above owns merging, ordering, time-outs and waiting.

use alloc::sync::Arc;
use core::fmt;

use crate::addr::PhysAddr;

/// Bytes of a sector: the unit of every block number here, whatever the device's own block size.
pub const SECTOR_BYTES: u64 = 512;

/// A contiguous piece of memory of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it starts, as the CPU's memory map counts; a multiple of 4.
    pub addr: PhysAddr,
    /// Bytes: a multiple of [`SECTOR_BYTES`], never 0.
    pub len: u32,
}

/// Memory that a request reads into or writes from. Whoever implements it owns the memory, so that a driver that holds
/// the request holds the memory: nothing is freed under a device.
pub trait ScatterList: Send + Sync {
    /// Its pieces, in order.
    fn segments(&self) -> &[Segment];

    /// Makes the CPU's writes visible to a device that does not look into the caches (clean, then barrier).
    fn sync_for_device(&self);

    /// Makes such a device's writes visible to the CPU (barrier, then invalidate).
    fn sync_for_cpu(&self);

    /// Copies `out.len()` bytes from `offset` on, counted over all pieces: for devices without DMA, and for tests.
    ///
    /// # Errors
    /// [`crate::OutOfRange`] unless the whole range is in the list.
    fn read(&self, offset: usize, out: &mut [u8]) -> Result<(), crate::OutOfRange>;

    /// Copies `data` in from `offset` on.
    ///
    /// # Errors
    /// [`crate::OutOfRange`] unless the whole range is in the list.
    fn write(&self, offset: usize, data: &[u8]) -> Result<(), crate::OutOfRange>;
}

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockOp {
    /// From the medium to memory.
    Read,
    /// From memory to the medium; it may stay in the device's cache until a [`Flush`](Self::Flush).
    Write,
    /// As [`Write`](Self::Write), but complete only when it is on stable storage. Only for devices that say
    /// [`has_fua`](BlockLimits::has_fua).
    WriteThrough,
    /// Puts every write that completed before this was submitted on stable storage. No memory, no sectors.
    Flush,
    /// The content of the sectors is not needed any more. No memory.
    Discard,
    /// The sectors become zeros. No memory.
    WriteZeroes,
}

/// One request.
pub struct BlockRequest {
    /// What to do.
    pub op: BlockOp,
    /// The first sector; 0 for a flush.
    pub first_sector: u64,
    /// Sectors; 0 for a flush.
    pub sector_count: u32,
    /// Memory of exactly `sector_count` sectors, for the operations that have any.
    pub memory: Option<Arc<dyn ScatterList>>,
    /// The submitter's number, given back with the completion.
    pub tag: u64,
}

/// What a device can do; fixed while it is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockLimits {
    /// Sectors of the medium.
    pub sector_count: u64,
    /// Bytes of a logical block: a power of two, at least [`SECTOR_BYTES`]. Requests are multiples of it.
    pub logical_block_bytes: u32,
    /// Bytes of a physical block: what is written without reading around it.
    pub physical_block_bytes: u32,
    /// The medium refuses writes.
    pub is_read_only: bool,
    /// There is a cache that [`BlockOp::Flush`] empties.
    pub has_write_cache: bool,
    /// [`BlockOp::WriteThrough`] works.
    pub has_fua: bool,
    /// [`BlockOp::Discard`] works; the most sectors of one request, 0: not at all.
    pub discard_sectors_max: u32,
    /// [`BlockOp::WriteZeroes`] works; the most sectors of one request, 0: not at all.
    pub write_zeroes_sectors_max: u32,
    /// The most pieces of one request.
    pub segments_max: u32,
    /// The most bytes of one piece.
    pub segment_bytes_max: u32,
    /// The most sectors of one request.
    pub request_sectors_max: u32,
    /// Queues that can be submitted to independently.
    pub queue_count: u32,
    /// Requests that one queue holds.
    pub queue_depth: u32,
}

/// Told of each request that ends.
pub trait BlockCompletion: Send + Sync {
    /// The request with this tag has ended; its memory is the submitter's again. Called in interrupt context or inside
    /// [`BlockDevice::poll`]: no sleeping, no submitting.
    fn complete(&self, tag: u64, result: Result<(), BlockError>);

    /// The medium is gone; every request that was under way has been completed with [`BlockError::Gone`].
    fn removed(&self);
}

/// A disk.
pub trait BlockDevice: Send + Sync {
    /// What it can do.
    fn limits(&self) -> BlockLimits;

    /// The device's own identification (virtio's ID, a card's CID), for /sys and logs; may be empty.
    fn serial(&self) -> &str {
        ""
    }

    /// Who is told of completions; called once, before anything is submitted.
    fn set_completion(&self, completion: &'static dyn BlockCompletion);

    /// Puts a request on a queue (below [`queue_count`](BlockLimits::queue_count)) and starts it. Requests of one queue
    /// may complete in any order.
    ///
    /// # Errors
    /// The request comes back when the queue is full ([`BlockError::Busy`]: try again after a completion), or when it
    /// can never be done.
    fn submit(&self, queue: usize, request: BlockRequest) -> Result<(), (BlockRequest, BlockError)>;

    /// Looks for completions; the interrupt handler's work, also done where interrupts are not to be relied on (a crash,
    /// a request that takes too long).
    fn poll(&self);

    /// Gives up a request that takes too long: afterwards the device does not touch its memory any more, and the request
    /// completes with [`BlockError::Timeout`] if it had not completed. May reset the device, which fails others too.
    fn abort(&self, tag: u64);
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockError {
    /// The sectors are not all on the device; nothing was transferred.
    OutOfRange,
    /// The request breaks the device's limits (alignment, pieces, size); nothing was transferred.
    Invalid,
    /// The medium refuses writes.
    ReadOnly,
    /// The device cannot do this operation.
    Unsupported,
    /// The queue is full.
    Busy,
    /// The device reported a failure of the medium; part of the transfer may have happened.
    Medium,
    /// The device or the bus failed; part of the transfer may have happened.
    Device,
    /// The device did not finish in time; part of the transfer may have happened.
    Timeout,
    /// The medium has been removed.
    Gone,
}

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfRange => "the sectors are not on the device",
            Self::Invalid => "the request breaks the device's limits",
            Self::ReadOnly => "the medium is read-only",
            Self::Unsupported => "the device cannot do this",
            Self::Busy => "the device's queue is full",
            Self::Medium => "the medium is damaged there",
            Self::Device => "the device reported an error",
            Self::Timeout => "the device did not finish in time",
            Self::Gone => "the medium has been removed",
        })
    }
}

impl core::error::Error for BlockError {}
