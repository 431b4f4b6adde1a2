//! The card as a disk.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;

use sis_hal::{
    BlockCompletion, BlockDevice, BlockError, BlockLimits, BlockOp, BlockRequest, Clock, DmaBuffer, Registers,
    SECTOR_BYTES,
};

use super::identify::CardInfo;
use super::{QUEUE_DEPTH, Sdhci};

/// Sectors of the longest request; half the 16-bit block count would do too, but a request holds the line for others.
const REQUEST_SECTORS_MAX: u32 = 2048;
/// Pieces of a request: with the cuts of the longest, fewer than the table has room for.
const SEGMENTS_MAX: u32 = 128;
/// An erase may take as long as this: below the controller's own time-out, which ends waiting for a busy card.
pub(super) const ERASE_MS: u32 = 2_000;

/// A card that was attached to a controller; after it has been removed every request completes with
/// [`BlockError::Gone`].
pub struct SdDisk<R, K, B> {
    controller: Arc<Sdhci<R, K, B>>,
    info: CardInfo,
    serial: String,
    generation: u32,
}

impl<R: Registers, K: Clock, B: DmaBuffer> SdDisk<R, K, B> {
    pub(super) fn new(controller: Arc<Sdhci<R, K, B>>, info: CardInfo, generation: u32) -> Self {
        Self {
            controller,
            info,
            serial: format!("{}", info.cid),
            generation,
        }
    }

    /// What is known of the card.
    pub fn info(&self) -> &CardInfo {
        &self.info
    }

    fn check(&self, request: &BlockRequest) -> Result<(), BlockError> {
        let limits = self.limits();
        let has_memory = matches!(request.op, BlockOp::Read | BlockOp::Write | BlockOp::WriteThrough);
        let sectors_max = match request.op {
            BlockOp::Flush => return Ok(()),
            BlockOp::Read | BlockOp::Write | BlockOp::WriteThrough => limits.request_sectors_max,
            BlockOp::Discard => limits.discard_sectors_max,
            BlockOp::WriteZeroes => 0,
        };
        if sectors_max == 0 {
            return Err(BlockError::Unsupported);
        }
        if request.op != BlockOp::Read && limits.is_read_only {
            return Err(BlockError::ReadOnly);
        }
        let end = request.first_sector.checked_add(u64::from(request.sector_count));
        if end.is_none_or(|end| end > limits.sector_count) {
            return Err(BlockError::OutOfRange);
        }
        if request.sector_count == 0 || request.sector_count > sectors_max {
            return Err(BlockError::Invalid);
        }
        if !has_memory {
            return Ok(());
        }
        let segments = request.memory.as_ref().ok_or(BlockError::Invalid)?.segments();
        let is_whole = |len: u32| len != 0 && u64::from(len).is_multiple_of(SECTOR_BYTES);
        let bytes: u64 = segments.iter().map(|s| u64::from(s.len)).sum();
        let is_good = segments.len() <= SEGMENTS_MAX as usize
            && segments.iter().all(|s| is_whole(s.len) && s.addr.is_aligned(4))
            && bytes == u64::from(request.sector_count) * SECTOR_BYTES;
        if is_good { Ok(()) } else { Err(BlockError::Invalid) }
    }
}

impl<R: Registers, K: Clock, B: DmaBuffer> BlockDevice for SdDisk<R, K, B> {
    fn limits(&self) -> BlockLimits {
        let erase_sectors = self.info.erase.sectors_within(ERASE_MS);
        BlockLimits {
            sector_count: self.info.csd.sector_count,
            logical_block_bytes: SECTOR_BYTES as u32,
            physical_block_bytes: SECTOR_BYTES as u32,
            is_read_only: self.info.is_read_only,
            has_write_cache: false,
            has_fua: true,
            discard_sectors_max: if self.info.csd.has_erase() { erase_sectors } else { 0 },
            write_zeroes_sectors_max: 0,
            segments_max: SEGMENTS_MAX,
            segment_bytes_max: REQUEST_SECTORS_MAX * SECTOR_BYTES as u32,
            request_sectors_max: REQUEST_SECTORS_MAX,
            queue_count: 1,
            queue_depth: QUEUE_DEPTH as u32,
        }
    }

    fn serial(&self) -> &str {
        &self.serial
    }

    fn set_completion(&self, completion: &'static dyn BlockCompletion) {
        let mut state = self.controller.enter();
        state.set_completion(self.generation, completion);
        self.controller.leave(state);
    }

    fn submit(&self, queue: usize, request: BlockRequest) -> Result<(), (BlockRequest, BlockError)> {
        if queue != 0 {
            return Err((request, BlockError::Invalid));
        }
        if let Err(error) = self.check(&request) {
            return Err((request, error));
        }
        self.controller.submit(self.generation, request)
    }

    fn poll(&self) {
        self.controller.poll();
    }

    fn abort(&self, tag: u64) {
        self.controller.abort(self.generation, tag);
    }
}
