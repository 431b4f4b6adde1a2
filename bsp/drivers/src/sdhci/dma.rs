//! How a request's memory is moved (host controller, 1.13 and 1.14).

use sis_hal::{BlockError, DmaBuffer, PhysAddr, ScatterList};

use super::DmaSetup;
use super::host::DmaKind;

/// Bytes that one descriptor covers: half of the most, so that the length is never the 0 that stands for 65,536.
const DESCRIPTOR_BYTES: u32 = 32_768;
/// Where SDMA stops and asks for more.
pub(super) const SDMA_BOUNDARY: u32 = 512 * 1024;
/// Attributes of a descriptor (1.13.4): valid, end, and the action "transfer".
const VALID: u32 = 1;
const END: u32 = 1 << 1;
const TRANSFER: u32 = 0b10 << 4;
/// Bytes copied at a time to and from the bounce buffer.
const COPY_BYTES: usize = 512;

/// How the current request's data moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Descriptors at this address; parts of it may have been bounced.
    Adma(u64),
    /// One piece at this address.
    Sdma(u32),
    /// Through the buffer register.
    Pio,
}

/// Memory for DMA, checked.
pub(super) struct DmaArea<B> {
    kind: DmaKind,
    setup: DmaSetup<B>,
}

/// A piece as the controller sees it.
struct Piece {
    bus: u64,
    len: u32,
    /// Where it starts in the request, and in the bounce buffer when it is there.
    offset: usize,
    bounced_at: Option<usize>,
}

impl<B: DmaBuffer> DmaArea<B> {
    /// `None` when the controller does not reach the buffers, or the table is too small.
    pub(super) fn new(kind: DmaKind, setup: DmaSetup<B>) -> Option<Self> {
        let limit = match kind {
            DmaKind::Adma64 => u64::MAX,
            DmaKind::Adma32 | DmaKind::Sdma => 1 << 32,
        };
        let reaches = |b: &B| {
            let end = b.bus_addr().as_u64().checked_add(b.len() as u64);
            end.is_some_and(|end| end <= limit) && b.bus_addr().as_u64().is_multiple_of(8)
        };
        let is_good = setup.table.len() >= 4096 && reaches(&setup.table) && reaches(&setup.bounce);
        is_good.then_some(Self { kind, setup })
    }

    pub(super) fn kind(&self) -> DmaKind {
        self.kind
    }

    fn entry_bytes(&self) -> usize {
        match self.kind {
            DmaKind::Adma64 => 12,
            DmaKind::Adma32 | DmaKind::Sdma => 8,
        }
    }

    /// Where the controller sees `len` bytes at `addr`; `None` when it does not reach them all, or not there.
    fn bus_addr(&self, addr: PhysAddr, len: u32) -> Option<u64> {
        let bus = self.setup.window.bus_addr(addr, u64::from(len))?.as_u64();
        let (align, limit) = match self.kind {
            DmaKind::Adma64 => (8, u64::MAX),
            DmaKind::Adma32 | DmaKind::Sdma => (4, 1 << 32),
        };
        let end = bus.checked_add(u64::from(len))?;
        (bus.is_multiple_of(align) && end <= limit).then_some(bus)
    }

    /// Calls `each` with every piece; `false` when the bounce buffer is too small, or `each` refused.
    fn pieces(&self, memory: &dyn ScatterList, mut each: impl FnMut(&Piece) -> bool) -> bool {
        let (mut offset, mut bounced) = (0usize, 0usize);
        for segment in memory.segments() {
            let piece = match self.bus_addr(segment.addr, segment.len) {
                Some(bus) => Piece {
                    bus,
                    len: segment.len,
                    offset,
                    bounced_at: None,
                },
                None => {
                    let at = bounced;
                    bounced = bounced.saturating_add(segment.len as usize);
                    if bounced > self.setup.bounce.len() {
                        return false;
                    }
                    Piece {
                        bus: self.setup.bounce.bus_addr().as_u64() + at as u64,
                        len: segment.len,
                        offset,
                        bounced_at: Some(at),
                    }
                }
            };
            offset = offset.saturating_add(segment.len as usize);
            if !each(&piece) {
                return false;
            }
        }
        true
    }

    /// Makes a request's memory ready for the controller.
    ///
    /// # Errors
    /// The memory does not have what its segments promise.
    pub(super) fn prepare(&self, memory: &dyn ScatterList, is_write: bool) -> Result<Plan, BlockError> {
        let plan = match self.kind {
            DmaKind::Sdma => self.single(memory),
            DmaKind::Adma32 | DmaKind::Adma64 => self.describe(memory),
        };
        if plan == Plan::Pio {
            return Ok(plan);
        }
        if is_write {
            self.copy(memory, true)?;
        }
        memory.sync_for_device();
        self.setup.bounce.sync_for_device(0..self.setup.bounce.len());
        Ok(plan)
    }

    /// Makes what the controller wrote visible.
    ///
    /// # Errors
    /// As [`Self::prepare`].
    pub(super) fn finish(&self, memory: &dyn ScatterList, is_read: bool) -> Result<(), BlockError> {
        memory.sync_for_cpu();
        if is_read {
            self.setup.bounce.sync_for_cpu(0..self.setup.bounce.len());
            self.copy(memory, false)?;
        }
        Ok(())
    }

    /// One piece, or all of it in the bounce buffer.
    fn single(&self, memory: &dyn ScatterList) -> Plan {
        let [_] = memory.segments() else { return Plan::Pio };
        let mut plan = Plan::Pio;
        let _ = self.pieces(memory, |piece| {
            plan = u32::try_from(piece.bus).map_or(Plan::Pio, Plan::Sdma);
            true
        });
        plan
    }

    /// Writes the descriptors.
    fn describe(&self, memory: &dyn ScatterList) -> Plan {
        let table = &self.setup.table;
        let (mut at, mut last) = (0usize, None);
        let is_described = self.pieces(memory, |piece| {
            let (mut bus, mut left) = (piece.bus, piece.len);
            while left > 0 {
                let len = left.min(DESCRIPTOR_BYTES);
                let mut word = table.write_u32(at, len << 16 | TRANSFER | VALID);
                word = word.and_then(|()| table.write_u32(at + 4, bus as u32));
                if self.kind == DmaKind::Adma64 {
                    word = word.and_then(|()| table.write_u32(at + 8, (bus >> 32) as u32));
                }
                if word.is_err() {
                    return false;
                }
                last = Some((at, len));
                at += self.entry_bytes();
                bus += u64::from(len);
                left -= len;
            }
            true
        });
        let Some((end_at, len)) = last.filter(|_| is_described) else {
            return Plan::Pio;
        };
        if table.write_u32(end_at, len << 16 | TRANSFER | END | VALID).is_err() {
            return Plan::Pio;
        }
        table.sync_for_device(0..at);
        Plan::Adma(table.bus_addr().as_u64())
    }

    /// Copies what lies out of reach into the bounce buffer, or back.
    fn copy(&self, memory: &dyn ScatterList, to_device: bool) -> Result<(), BlockError> {
        let mut is_copied = true;
        let mut chunk = [0; COPY_BYTES];
        self.pieces(memory, |piece| {
            let Some(at) = piece.bounced_at else { return true };
            for done in (0..piece.len as usize).step_by(COPY_BYTES) {
                let (here, there) = (piece.offset + done, at + done);
                let moved = if to_device {
                    memory
                        .read(here, &mut chunk)
                        .and_then(|()| self.setup.bounce.write(there, &chunk))
                } else {
                    self.setup
                        .bounce
                        .read(there, &mut chunk)
                        .and_then(|()| memory.write(here, &chunk))
                };
                is_copied &= moved.is_ok();
            }
            is_copied
        });
        if is_copied { Ok(()) } else { Err(BlockError::Invalid) }
    }
}
