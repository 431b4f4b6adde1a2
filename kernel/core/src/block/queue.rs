//! Requests of one queue of a disk: waiting, joined, under way.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use sis_hal::{BlockError, BlockLimits, BlockOp, BlockRequest, ScatterList};
use sis_machine::mm::scatter::{FramePiece, FrameScatter, ScatterError, SegmentCounter};

use super::io::Tracked;
use crate::time;

/// How often a request is given to the device: transport errors and time-outs may pass, damage of the medium does not.
const TRIES_MAX: u8 = 3;

/// Memory of a request.
enum Memory {
    /// It has none.
    None,
    /// Pieces that can still be joined with others.
    Pieces(Vec<FramePiece>),
    /// As the device gets it.
    List(Arc<dyn ScatterList>),
}

/// Something for the device to do.
pub(super) struct Request {
    op: BlockOp,
    first_sector: u64,
    sector_count: u32,
    memory: Memory,
    /// What it is part of, and how many segments its pieces make.
    owners: Vec<Arc<Tracked>>,
    segments: SegmentCounter,
    tries: u8,
}

impl Request {
    /// A part of an I/O; the owner has counted it.
    pub(super) fn new(
        op: BlockOp,
        first_sector: u64,
        sector_count: u32,
        pieces: Vec<FramePiece>,
        segments: SegmentCounter,
        owner: Arc<Tracked>,
    ) -> Self {
        Self {
            op,
            first_sector,
            sector_count,
            memory: if pieces.is_empty() {
                Memory::None
            } else {
                Memory::Pieces(pieces)
            },
            owners: alloc::vec![owner],
            segments,
            tries: 0,
        }
    }

    /// Tells the owners that it has ended.
    pub(super) fn end(self, result: Result<(), BlockError>) {
        let Self { owners, memory, .. } = self;
        // The frames are the submitter's again before it is told.
        drop(memory);
        for owner in owners {
            owner.end_part(result);
        }
    }

    /// For the log.
    pub(super) fn describe(&self) -> String {
        let what = match self.op {
            BlockOp::Read => "read",
            BlockOp::Write | BlockOp::WriteThrough => "write",
            BlockOp::Flush => "flush",
            BlockOp::Discard => "discard",
            BlockOp::WriteZeroes => "write of zeros",
        };
        match self.op {
            BlockOp::Flush => String::from(what),
            _ => format!("{what} of {} sectors at {}", self.sector_count, self.first_sector),
        }
    }

    /// Takes in the one behind it, if the two are neighbours and make one request that the device can do.
    fn join(&mut self, next: Self, limits: &BlockLimits) -> Result<(), Self> {
        let is_next = self.op == next.op
            && matches!(self.op, BlockOp::Read | BlockOp::Write)
            && self.first_sector.checked_add(u64::from(self.sector_count)) == Some(next.first_sector);
        let sum = self.sector_count.checked_add(next.sector_count);
        let Some(sum) = sum.filter(|n| is_next && *n <= limits.request_sectors_max) else {
            return Err(next);
        };
        let (Memory::Pieces(mine), Memory::Pieces(theirs)) = (&mut self.memory, &next.memory) else {
            return Err(next);
        };
        let mut counter = self.segments;
        for p in theirs {
            counter.add(p);
        }
        if counter.count() > limits.segments_max || mine.try_reserve(theirs.len()).is_err() {
            return Err(next);
        }
        self.segments = counter;
        self.sector_count = sum;
        if let Memory::Pieces(theirs) = next.memory {
            mine.extend(theirs);
        }
        for owner in next.owners {
            owner.merged();
            self.owners.push(owner);
        }
        Ok(())
    }

    /// The request for the device.
    fn for_device(&mut self, tag: u64, limits: &BlockLimits) -> Result<BlockRequest, BlockError> {
        if let Memory::Pieces(pieces) = &mut self.memory {
            let list = FrameScatter::new(core::mem::take(pieces), limits.segment_bytes_max);
            self.memory = Memory::List(Arc::new(list.map_err(|e| match e {
                // What is short now may be there later; who asked learns of it as of any device that is short.
                ScatterError::NoMemory => BlockError::Device,
                ScatterError::Empty | ScatterError::BadPiece | ScatterError::TooLong => BlockError::Invalid,
            })?));
        }
        Ok(BlockRequest {
            op: self.op,
            first_sector: self.first_sector,
            sector_count: self.sector_count,
            memory: match &self.memory {
                Memory::List(l) => Some(l.clone()),
                Memory::None | Memory::Pieces(_) => None,
            },
            tag,
        })
    }
}

/// A request that the device has.
struct Flight {
    request: Request,
    since_ns: u64,
}

/// The state of a queue; see [`super::disk`] for who looks after it.
pub(super) struct Queue {
    waiting: VecDeque<Request>,
    /// By the low half of the tag; the high half tells uses of a place apart.
    flights: Vec<(u32, Option<Flight>)>,
    free: Vec<usize>,
    under_way: usize,
    /// The device took no more; cleared by a completion.
    is_full: bool,
}

impl Queue {
    pub(super) fn new(depth: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            flights: (0..depth).map(|_| (0, None)).collect(),
            free: (0..depth).rev().collect(),
            under_way: 0,
            is_full: false,
        }
    }

    /// Puts requests at the end; joins them with what waits there.
    pub(super) fn push(&mut self, request: Request) {
        self.waiting.push_back(request);
    }

    /// Whether something waits.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Requests that the device has.
    pub(super) fn under_way(&self) -> usize {
        self.under_way
    }

    /// Something waits, and no completion will come that starts it.
    pub(super) fn is_stalled(&self) -> bool {
        self.is_full && self.under_way == 0 && !self.waiting.is_empty()
    }

    /// Whether the device has the request of a tag.
    pub(super) fn has(&self, tag: u64) -> bool {
        let flight = self.flights.get((tag & 0xffff_ffff) as usize);
        flight.is_some_and(|(uses, f)| u64::from(*uses) == tag >> 32 && f.is_some())
    }

    /// The device may have room again.
    pub(super) fn try_again(&mut self) {
        self.is_full = false;
    }

    /// The next request for the device, with neighbours joined to it; `None` when there is none or no room. One that
    /// cannot be made comes with the error.
    pub(super) fn start(&mut self, limits: &BlockLimits) -> Option<Result<BlockRequest, (Request, BlockError)>> {
        if self.is_full {
            return None;
        }
        let place = *self.free.last()?;
        let mut request = self.waiting.pop_front()?;
        while let Some(next) = self.waiting.pop_front() {
            if let Err(next) = request.join(next, limits) {
                self.waiting.push_front(next);
                break;
            }
        }
        let (uses, flight) = self.flights.get_mut(place)?;
        *uses = uses.wrapping_add(1);
        let tag = u64::from(*uses) << 32 | place as u64;
        let out = match request.for_device(tag, limits) {
            Ok(out) => out,
            Err(e) => return Some(Err((request, e))),
        };
        request.tries += 1;
        *flight = Some(Flight {
            request,
            since_ns: time::now_ns(),
        });
        self.free.pop();
        self.under_way += 1;
        Some(Ok(out))
    }

    /// Takes the request of a tag; `None` when it has been taken already.
    pub(super) fn take(&mut self, tag: u64) -> Option<Request> {
        let place = (tag & 0xffff_ffff) as usize;
        let (uses, flight) = self.flights.get_mut(place)?;
        if u64::from(*uses) != tag >> 32 {
            return None;
        }
        let taken = flight.take()?;
        self.under_way -= 1;
        self.free.push(place);
        Some(taken.request)
    }

    /// The device had no room for a request: it is the next one again.
    pub(super) fn refused(&mut self, tag: u64) {
        if let Some(mut request) = self.take(tag) {
            request.tries -= 1;
            self.waiting.push_front(request);
        }
        self.is_full = true;
    }

    /// A request has ended. Answers it and how, if that is final; a failure that may pass goes back to the start.
    pub(super) fn ended(
        &mut self,
        tag: u64,
        result: Result<(), BlockError>,
        may_retry: bool,
    ) -> Option<(Request, Result<(), BlockError>)> {
        let request = self.take(tag)?;
        self.is_full = false;
        let passes = matches!(result, Err(BlockError::Device | BlockError::Timeout));
        if passes && may_retry && request.tries < TRIES_MAX {
            self.waiting.push_front(request);
            return None;
        }
        Some((request, result))
    }

    /// Tags of requests that the device has had since before `ns`.
    pub(super) fn overdue(&self, ns: u64) -> Vec<u64> {
        let tag = |(place, (uses, flight)): (usize, &(u32, Option<Flight>))| {
            let is_late = flight.as_ref().is_some_and(|f| f.since_ns <= ns);
            is_late.then_some(u64::from(*uses) << 32 | place as u64)
        };
        self.flights.iter().enumerate().filter_map(tag).collect()
    }

    /// Takes out what waits.
    pub(super) fn take_waiting(&mut self) -> Vec<Request> {
        self.waiting.drain(..).collect()
    }
}
