//! Memory of block requests: pieces of frames, and bounce buffers.

use alloc::vec::Vec;
use core::fmt;

use sis_hal::{DmaBuffer, OutOfRange, PhysAddr, SECTOR_BYTES, ScatterList, Segment};

use super::dma::{DmaMemory, clean_and_invalidate};
use super::frames::Frame;
use super::{PAGE_SIZE, linear};

/// A piece of a frame.
#[derive(Clone, Debug)]
pub struct FramePiece {
    /// The frame; the piece keeps it.
    pub frame: Frame,
    /// Where the piece starts in the frame, in bytes: a multiple of 4.
    pub offset: u32,
    /// Bytes: a multiple of [`SECTOR_BYTES`], never 0, inside the frame.
    pub len: u32,
}

impl FramePiece {
    /// The whole of a frame.
    pub fn whole(frame: Frame) -> Self {
        Self {
            frame,
            offset: 0,
            len: PAGE_SIZE as u32,
        }
    }

    /// Where it starts in memory.
    pub fn addr(&self) -> PhysAddr {
        PhysAddr(self.frame.addr().0 + u64::from(self.offset))
    }

    fn is_valid(&self) -> bool {
        self.len != 0
            && u64::from(self.len).is_multiple_of(SECTOR_BYTES)
            && self.offset.is_multiple_of(4)
            && u64::from(self.offset) + u64::from(self.len) <= PAGE_SIZE as u64
    }

    fn ptr(&self) -> *mut u8 {
        linear(self.addr().0 as usize)
    }
}

/// Why a list cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScatterError {
    /// There are no pieces.
    Empty,
    /// A piece is empty, not a multiple of sectors, not aligned, or not inside its frame.
    BadPiece,
    /// It is longer than a request can be.
    TooLong,
    /// There is no memory for the list.
    NoMemory,
}

impl fmt::Display for ScatterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "a list without pieces",
            Self::BadPiece => "a piece that no device can transfer",
            Self::TooLong => "more than a request can hold",
            Self::NoMemory => "no memory for the list",
        })
    }
}

impl core::error::Error for ScatterError {}

/// Counts the segments that pieces make when they are added one after the other.
#[derive(Clone, Copy, Debug)]
pub struct SegmentCounter {
    segment_bytes_max: u32,
    end: u64,
    len: u32,
    count: u32,
}

impl SegmentCounter {
    /// No pieces yet; a segment has at most `segment_bytes_max` bytes.
    pub const fn new(segment_bytes_max: u32) -> Self {
        Self {
            segment_bytes_max,
            end: 0,
            len: 0,
            count: 0,
        }
    }

    /// Segments so far.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Adds a piece. Answers whether it starts a segment of its own.
    pub fn add(&mut self, piece: &FramePiece) -> bool {
        let start = piece.addr().0;
        let joined = self.len.checked_add(piece.len).filter(|n| *n <= self.segment_bytes_max);
        let (len, is_new) = match joined {
            Some(n) if self.count > 0 && start == self.end => (n, false),
            _ => (piece.len, true),
        };
        self.len = len;
        self.count = self.count.saturating_add(u32::from(is_new));
        self.end = start + u64::from(piece.len);
        is_new
    }
}

/// Pieces of frames, in order, as one memory. Contiguous ones are one segment.
pub struct FrameScatter {
    pieces: Vec<FramePiece>,
    segments: Vec<Segment>,
    len: usize,
}

impl FrameScatter {
    /// Of these pieces; a segment has at most `segment_bytes_max` bytes (single pieces are never cut).
    ///
    /// # Errors
    /// See [`ScatterError`].
    pub fn new(pieces: Vec<FramePiece>, segment_bytes_max: u32) -> Result<Self, ScatterError> {
        if pieces.is_empty() {
            return Err(ScatterError::Empty);
        }
        let mut counter = SegmentCounter::new(segment_bytes_max);
        let mut len = 0usize;
        for p in &pieces {
            if !p.is_valid() {
                return Err(ScatterError::BadPiece);
            }
            counter.add(p);
            len = len.saturating_add(p.len as usize);
        }
        if len as u64 / SECTOR_BYTES > u64::from(u32::MAX) {
            return Err(ScatterError::TooLong);
        }
        let mut segments: Vec<Segment> = Vec::new();
        segments
            .try_reserve_exact(counter.count() as usize)
            .map_err(|_| ScatterError::NoMemory)?;
        let mut counter = SegmentCounter::new(segment_bytes_max);
        for p in &pieces {
            let is_new = counter.add(p);
            match segments.last_mut() {
                Some(last) if !is_new => last.len += p.len,
                _ => segments.push(Segment {
                    addr: p.addr(),
                    len: p.len,
                }),
            }
        }
        Ok(Self { pieces, segments, len })
    }

    /// Sectors of the whole.
    pub fn sector_count(&self) -> u32 {
        (self.len as u64 / SECTOR_BYTES) as u32
    }

    /// Its pieces.
    pub fn pieces(&self) -> &[FramePiece] {
        &self.pieces
    }

    /// Calls `each` with the address and length of every part of `offset..offset + len`, in order.
    fn parts(&self, offset: usize, len: usize, mut each: impl FnMut(*mut u8, usize)) -> Result<(), OutOfRange> {
        if offset.checked_add(len).is_none_or(|end| end > self.len) {
            return Err(OutOfRange);
        }
        let (mut skip, mut left) = (offset, len);
        for p in &self.pieces {
            let here = p.len as usize;
            if skip >= here {
                skip -= here;
                continue;
            }
            let n = (here - skip).min(left);
            if n == 0 {
                break;
            }
            // SAFETY: (1) `skip` is inside the piece, and the piece inside its frame, as `new` checked.
            each(unsafe { p.ptr().add(skip) }, n);
            left -= n;
            skip = 0;
        }
        Ok(())
    }

    fn maintain(&self) {
        for s in &self.segments {
            clean_and_invalidate(linear(s.addr.0 as usize) as usize, s.len as usize);
        }
        crate::cpu::barrier_device();
    }
}

impl ScatterList for FrameScatter {
    fn segments(&self) -> &[Segment] {
        &self.segments
    }

    fn sync_for_device(&self) {
        self.maintain();
    }

    fn sync_for_cpu(&self) {
        self.maintain();
    }

    fn read(&self, offset: usize, out: &mut [u8]) -> Result<(), OutOfRange> {
        let mut done = 0;
        self.parts(offset, out.len(), |from, n| {
            if let Some(to) = out.get_mut(done..done + n) {
                // SAFETY: (1) `n` bytes of a frame that the list keeps; users may write it meanwhile: any mix of old and
                // new bytes is a valid u8.
                unsafe { core::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), n) };
            }
            done += n;
        })
    }

    fn write(&self, offset: usize, data: &[u8]) -> Result<(), OutOfRange> {
        let mut done = 0;
        self.parts(offset, data.len(), |to, n| {
            if let Some(from) = data.get(done..done + n) {
                // SAFETY: (1) as for `read`.
                unsafe { core::ptr::copy_nonoverlapping(from.as_ptr(), to, n) };
            }
            done += n;
        })
    }
}

/// One contiguous buffer as the memory of requests, for devices that reach only part of the memory.
pub struct BounceBuffer {
    memory: DmaMemory,
    segment: Segment,
}

impl BounceBuffer {
    /// `sectors` sectors, below `limit` if there is one; `None` without memory, or when `sectors` is 0 or too many.
    pub fn new(sectors: u32, limit: Option<u64>) -> Option<Self> {
        let len = u32::try_from(u64::from(sectors) * SECTOR_BYTES)
            .ok()
            .filter(|n| *n > 0)?;
        let memory = match limit {
            Some(limit) => DmaMemory::new_below(len as usize, limit, 0)?,
            None => DmaMemory::new(len as usize, 0)?,
        };
        let segment = Segment {
            addr: PhysAddr(memory.bus_addr().0),
            len,
        };
        Some(Self { memory, segment })
    }
}

impl ScatterList for BounceBuffer {
    fn segments(&self) -> &[Segment] {
        core::slice::from_ref(&self.segment)
    }

    fn sync_for_device(&self) {
        self.memory.sync_for_device(0..self.segment.len as usize);
    }

    fn sync_for_cpu(&self) {
        self.memory.sync_for_cpu(0..self.segment.len as usize);
    }

    fn read(&self, offset: usize, out: &mut [u8]) -> Result<(), OutOfRange> {
        DmaBuffer::read(&self.memory, offset, out)
    }

    fn write(&self, offset: usize, data: &[u8]) -> Result<(), OutOfRange> {
        DmaBuffer::write(&self.memory, offset, data)
    }
}
