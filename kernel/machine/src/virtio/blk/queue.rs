//! One request queue of a virtio block device (virtio 1.2, section 5.2.6).

use alloc::boxed::Box;
use alloc::vec::Vec;

use sis_hal::{BlockError, BlockOp, BlockRequest, SECTOR_BYTES, ScatterList, Segment};
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::mmio::MmioTransport;

use super::super::ProbeError;
use super::super::dma::{Buffers, KernelMemory};
use crate::mm::{frames, linear};

/// Descriptors of a queue, and requests that it holds where descriptors lie in tables of their own. The crate keeps its
/// notes of them by value: twice as many overflow a stack.
pub(super) const DEPTH: usize = 128;
/// Segments of a request: with header and status no more descriptors than the queue has.
pub(super) const SEGMENTS_MAX: u32 = DEPTH as u32 - 2;

const TYPE_IN: u32 = 0;
const TYPE_OUT: u32 = 1;
const TYPE_FLUSH: u32 = 4;
const TYPE_GET_ID: u32 = 8;
const TYPE_DISCARD: u32 = 11;
const TYPE_WRITE_ZEROES: u32 = 13;

const STATUS_OK: u8 = 0;
const STATUS_IOERR: u8 = 1;
const STATUS_UNSUPP: u8 = 2;
/// What the status byte holds until the device writes it.
const STATUS_NONE: u8 = 0xff;

/// Bytes of a request's header.
const HEADER: usize = 16;
/// Bytes of the range of a discard or write-zeroes request, which follows the header in its buffer.
const RANGE: usize = 16;
/// Bytes of the buffer for both.
const HEADER_BUFFER: usize = HEADER + RANGE;
/// Bytes of the buffer for a status byte.
const STATUS_BUFFER: usize = 16;
/// Bytes of the device's identification.
pub(super) const ID_BYTES: usize = 20;
/// Frames that must be free for a table of descriptors to be made: the crate cannot do without.
const FRAMES_LEFT: usize = 64;

/// Why the queue cannot be used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken(pub(super) &'static str);

/// A request that the device has.
struct Flight {
    /// `None`: the request for the device's identification.
    request: Option<BlockRequest>,
    /// Number of its header and status buffers.
    slot: u16,
}

/// A request that has ended.
pub(super) struct Ended {
    /// The request; `None` for the one for the identification.
    pub(super) request: Option<BlockRequest>,
    /// How.
    pub(super) result: Result<(), BlockError>,
}

/// The rings of one queue with what is needed around them.
pub(super) struct Queue {
    rings: Box<VirtQueue<KernelMemory, DEPTH>>,
    headers: Buffers,
    statuses: Buffers,
    id: Buffers,
    free: Vec<u16>,
    flights: Vec<Option<Flight>>,
}

impl Queue {
    #[inline(never)]
    pub(super) fn new(
        transport: &mut MmioTransport<'static>,
        index: u16,
        is_indirect: bool,
    ) -> Result<Self, ProbeError> {
        let rings = Box::new(VirtQueue::new(transport, index, is_indirect, false)?);
        let buffers = |count, each| Buffers::new(count, each).ok_or(ProbeError::NoMemory);
        Ok(Self {
            rings,
            headers: buffers(DEPTH, HEADER_BUFFER)?,
            statuses: buffers(DEPTH, STATUS_BUFFER)?,
            id: buffers(1, 32)?,
            free: (0..DEPTH as u16).rev().collect(),
            flights: (0..DEPTH).map(|_| None).collect(),
        })
    }

    /// Replaces the rings after a reset of the device. What was under way must have been taken out.
    #[inline(never)]
    pub(super) fn renew(
        &mut self,
        transport: &mut MmioTransport<'static>,
        index: u16,
        is_indirect: bool,
    ) -> Result<(), ProbeError> {
        *self.rings = VirtQueue::new(transport, index, is_indirect, false)?;
        Ok(())
    }

    /// Whether the device should be told of new requests.
    pub(super) fn should_notify(&self) -> bool {
        core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
        self.rings.should_notify()
    }

    /// Whether the device has a request with this tag.
    pub(super) fn has(&self, tag: u64) -> bool {
        let is_it = |f: &Flight| f.request.as_ref().is_some_and(|r| r.tag == tag);
        self.flights.iter().flatten().any(is_it)
    }

    /// Takes every request out; only after the device has been reset, when it does not touch them any more.
    pub(super) fn take_all(&mut self, out: &mut Vec<BlockRequest>) {
        for flight in self.flights.iter_mut().filter_map(Option::take) {
            self.free.push(flight.slot);
            out.extend(flight.request);
        }
    }

    /// Gives a request to the device; the caller notifies it.
    pub(super) fn add(&mut self, request: BlockRequest) -> Result<(), (BlockRequest, BlockError)> {
        let is_bad = request
            .memory
            .as_ref()
            .is_some_and(|m| m.segments().len() > SEGMENTS_MAX as usize);
        if is_bad {
            return Err((request, BlockError::Invalid));
        }
        match self.put(Shape::of(request.op), header_of(&request), request.memory.as_deref()) {
            Ok((token, slot)) => {
                self.note(token, Some(request), slot);
                Ok(())
            }
            Err(e) => Err((request, e)),
        }
    }

    /// Asks for the device's identification; once.
    pub(super) fn ask_id(&mut self) -> Result<(), BlockError> {
        let mut header = [0; HEADER_BUFFER];
        write_at(&mut header, 0, &TYPE_GET_ID.to_le_bytes());
        let (token, slot) = self.put(Shape::Id, header, None)?;
        self.note(token, None, slot);
        Ok(())
    }

    fn note(&mut self, token: u16, request: Option<BlockRequest>, slot: u16) {
        if let Some(place) = self.flights.get_mut(usize::from(token)) {
            debug_assert!(place.is_none());
            *place = Some(Flight { request, slot });
        }
    }

    /// Puts a chain on the ring; answers its token and the slot that it uses.
    fn put(
        &mut self,
        shape: Shape,
        header: [u8; HEADER_BUFFER],
        memory: Option<&dyn ScatterList>,
    ) -> Result<(u16, u16), BlockError> {
        let Some(slot) = self.free.pop() else {
            return Err(BlockError::Busy);
        };
        let added = if frames::free_frames() < FRAMES_LEFT {
            Err(virtio_drivers::Error::QueueFull)
        } else {
            // SAFETY: (1) the slot is below the count, and there is one identification; (2) the slot was free, and the
            // identification is asked for once, so the device has none of them; (3) the slices end before the next are made.
            let (to, status, id) = unsafe {
                (
                    self.headers.slice(usize::from(slot)),
                    self.statuses.slice(usize::from(slot)),
                    self.id.slice(0),
                )
            };
            write_at(to, 0, &header);
            write_at(status, 0, &[STATUS_NONE]);
            let segments = memory.map(ScatterList::segments).unwrap_or_default();
            with_chain(shape, to, segments, status, id, |inputs, outputs| {
                // SAFETY: (1) header, status and identification belong to the queue, which lives for good; (2) the
                // segments are memory that the request keeps, which stays with the queue until `take_ended` or
                // `take_all`; (3) nobody looks at them through these slices.
                unsafe { self.rings.add(inputs, outputs) }
            })
        };
        added.map(|token| (token, slot)).map_err(|e| {
            self.free.push(slot);
            match e {
                virtio_drivers::Error::QueueFull => BlockError::Busy,
                _ => BlockError::Device,
            }
        })
    }

    /// The identification that was asked for, once the request for it has ended.
    pub(super) fn id(&mut self) -> [u8; ID_BYTES] {
        let mut out = [0; ID_BYTES];
        // SAFETY: (1) there is one buffer; (2) the request for it has ended; (3) no other slice of it is alive.
        let bytes = unsafe { self.id.slice(0) };
        write_at(&mut out, 0, bytes.get(..ID_BYTES).unwrap_or_default());
        out
    }

    /// Takes the next request back that the device says has ended.
    pub(super) fn take_ended(&mut self) -> Result<Option<Ended>, Broken> {
        let Some(token) = self.rings.peek_used() else {
            return Ok(None);
        };
        let place = self.flights.get_mut(usize::from(token));
        let Some(flight) = place.and_then(Option::take) else {
            return Err(Broken("it completed a request that it does not have"));
        };
        let slot = usize::from(flight.slot);
        // SAFETY: (1) the slot is one that `put` took; (2) the device has given it back; (3) the slices end before the
        // next are made.
        let (header, status, id) = unsafe { (self.headers.slice(slot), self.statuses.slice(slot), self.id.slice(0)) };
        let code = status.first().copied().unwrap_or(STATUS_NONE);
        let shape = flight.request.as_ref().map_or(Shape::Id, |r| Shape::of(r.op));
        let memory = flight.request.as_ref().and_then(|r| r.memory.as_deref());
        let segments = memory.map(ScatterList::segments).unwrap_or_default();
        let popped = with_chain(shape, header, segments, status, id, |inputs, outputs| {
            // SAFETY: (1) the same buffers as were added with this token; `pop_used` refuses another token.
            unsafe { self.rings.pop_used(token, inputs, outputs) }
        });
        let Ok(written) = popped else {
            // The memory stays with the queue until the device has been reset.
            if let Some(place) = self.flights.get_mut(usize::from(token)) {
                *place = Some(flight);
            }
            return Err(Broken("its completions changed while they were read"));
        };
        self.free.push(flight.slot);
        // What the device writes when it does all it was asked for.
        let whole = match shape {
            Shape::In => segments_len(flight.request.as_ref()).saturating_add(1),
            Shape::Id => ID_BYTES as u64 + 1,
            Shape::Out | Shape::Bare | Shape::Range => 1,
        };
        let written = u64::from(written);
        let result = match code {
            _ if written > whole => Err(BlockError::Device),
            // Nothing is known of bytes that the device does not say it wrote.
            STATUS_OK if shape == Shape::In && written < whole => Err(BlockError::Device),
            STATUS_OK => Ok(()),
            STATUS_IOERR => Err(BlockError::Medium),
            STATUS_UNSUPP => Err(BlockError::Unsupported),
            _ => Err(BlockError::Device),
        };
        Ok(Some(Ended {
            request: flight.request,
            result,
        }))
    }
}

/// What a chain of descriptors is made of besides header and status.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Memory that the device writes.
    In,
    /// Memory that the device reads.
    Out,
    /// Nothing.
    Bare,
    /// A range of sectors, behind the header.
    Range,
    /// The identification, which the device writes.
    Id,
}

impl Shape {
    fn of(op: BlockOp) -> Self {
        match op {
            BlockOp::Read => Self::In,
            BlockOp::Write | BlockOp::WriteThrough => Self::Out,
            BlockOp::Flush => Self::Bare,
            BlockOp::Discard | BlockOp::WriteZeroes => Self::Range,
        }
    }
}

fn segments_len(request: Option<&BlockRequest>) -> u64 {
    request.map_or(0, |r| u64::from(r.sector_count) * SECTOR_BYTES)
}

fn write_at(to: &mut [u8], offset: usize, bytes: &[u8]) {
    if let Some(part) = to.get_mut(offset..offset + bytes.len()) {
        part.copy_from_slice(bytes);
    }
}

/// The header of a request, and the range of those that have one: type (u32), reserved (u32), sector (u64); sector (u64),
/// sectors (u32), flags (u32), little-endian.
fn header_of(request: &BlockRequest) -> [u8; HEADER_BUFFER] {
    let mut out = [0; HEADER_BUFFER];
    let (kind, has_range) = match request.op {
        BlockOp::Read => (TYPE_IN, false),
        BlockOp::Write | BlockOp::WriteThrough => (TYPE_OUT, false),
        BlockOp::Flush => (TYPE_FLUSH, false),
        BlockOp::Discard => (TYPE_DISCARD, true),
        BlockOp::WriteZeroes => (TYPE_WRITE_ZEROES, true),
    };
    write_at(&mut out, 0, &kind.to_le_bytes());
    if has_range {
        write_at(&mut out, HEADER, &request.first_sector.to_le_bytes());
        write_at(&mut out, HEADER + 8, &request.sector_count.to_le_bytes());
    } else {
        write_at(&mut out, 8, &request.first_sector.to_le_bytes());
    }
    out
}

/// Calls `f` with a chain's buffers: those that the device reads, and those that it writes.
fn with_chain<R>(
    shape: Shape,
    header: &[u8],
    segments: &[Segment],
    status: &mut [u8],
    id: &mut [u8],
    f: impl for<'a> FnOnce(&'a [&'a [u8]], &'a mut [&'a mut [u8]]) -> R,
) -> R {
    let (head, range) = header.split_at(HEADER.min(header.len()));
    let (status, _) = status.split_at_mut(status.len().min(1));
    match shape {
        Shape::In => {
            let mut outputs: [&mut [u8]; SEGMENTS_MAX as usize + 1] = core::array::from_fn(|_| Default::default());
            let mut n = 0;
            for (to, s) in outputs.iter_mut().zip(segments) {
                *to = memory_of(s);
                n += 1;
            }
            if let Some(to) = outputs.get_mut(n) {
                *to = status;
            }
            f(&[head], outputs.get_mut(..=n).unwrap_or_default())
        }
        Shape::Out => {
            let mut inputs: [&[u8]; SEGMENTS_MAX as usize + 1] = [&[]; SEGMENTS_MAX as usize + 1];
            let mut n = 1;
            for (to, from) in inputs
                .iter_mut()
                .zip(core::iter::once(head).chain(segments.iter().map(|s| &*memory_of(s))))
            {
                *to = from;
                n += 1;
            }
            f(inputs.get(..n - 1).unwrap_or_default(), &mut [status])
        }
        Shape::Bare => f(&[head], &mut [status]),
        Shape::Range => f(&[head, range], &mut [status]),
        Shape::Id => {
            let (id, _) = id.split_at_mut(ID_BYTES.min(id.len()));
            f(&[head], &mut [id, status])
        }
    }
}

/// A segment's memory as the crate wants it: for its address and length alone.
fn memory_of(s: &Segment) -> &'static mut [u8] {
    // SAFETY: (1) RAM in the linear map that the request's scatter list keeps for longer than the slice is used; (2) the
    // crate hands the address to `KernelMemory::share`, which adds nothing to it, and reads and writes no byte.
    unsafe { core::slice::from_raw_parts_mut(linear(s.addr.0 as usize), s.len as usize) }
}
