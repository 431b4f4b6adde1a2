//! What a virtio block device offers: features and configuration (virtio 1.2, sections 5.2.3 and 5.2.4).

use bitflags::bitflags;
use sis_hal::{BlockLimits, Registers, SECTOR_BYTES};

use super::super::CONFIG;
use super::queue::{DEPTH, SEGMENTS_MAX};
use crate::io::Mmio;

bitflags! {
    /// Feature bits that are understood here.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Features: u64 {
        /// A segment has a largest size.
        const SIZE_MAX = 1 << 1;
        /// A request has a largest number of segments.
        const SEG_MAX = 1 << 2;
        /// Writes are refused.
        const RO = 1 << 5;
        /// The block size is told.
        const BLK_SIZE = 1 << 6;
        /// There is a flush request.
        const FLUSH = 1 << 9;
        /// Physical block size and alignment are told.
        const TOPOLOGY = 1 << 10;
        /// The cache's mode is told and can be set.
        const CONFIG_WCE = 1 << 11;
        /// There are several queues.
        const MQ = 1 << 12;
        /// There is a discard request.
        const DISCARD = 1 << 13;
        /// There is a write-zeroes request.
        const WRITE_ZEROES = 1 << 14;
        /// Descriptors may lie in tables of their own.
        const INDIRECT_DESC = 1 << 28;
        /// Not a legacy device.
        const VERSION_1 = 1 << 32;
    }
}

/// Offset of ConfigGeneration.
const CONFIG_GENERATION: usize = 0x0fc;
const CAPACITY: usize = CONFIG;
const SIZE_MAX: usize = CONFIG + 8;
const SEG_MAX: usize = CONFIG + 12;
const BLK_SIZE: usize = CONFIG + 20;
const PHYSICAL_BLOCK_EXP: usize = CONFIG + 24;
const WRITEBACK: usize = CONFIG + 32;
const NUM_QUEUES: usize = CONFIG + 34;
const MAX_DISCARD_SECTORS: usize = CONFIG + 36;
const MAX_WRITE_ZEROES_SECTORS: usize = CONFIG + 48;

/// The most sectors of a request: 1280 KiB, as Linux takes for disks that say nothing.
const REQUEST_SECTORS_MAX: u32 = 2560;
/// How often the configuration is read until it holds still.
const TRIES: usize = 16;

/// The capacity in sectors, read so that both halves belong together.
fn capacity(registers: &Mmio) -> u64 {
    for _ in 0..TRIES {
        let before = registers.read32(CONFIG_GENERATION);
        let low = u64::from(registers.read32(CAPACITY));
        let high = u64::from(registers.read32(CAPACITY + 4));
        if registers.read32(CONFIG_GENERATION) == before {
            return high << 32 | low;
        }
    }
    // A device whose configuration never holds still has nothing that could be used.
    0
}

/// Queues that the device has.
pub(super) fn queues(registers: &Mmio, features: Features) -> usize {
    if features.contains(Features::MQ) {
        usize::from(registers.read16(NUM_QUEUES)).max(1)
    } else {
        1
    }
}

/// What the device can do, `queues` of its queues being in use. Values that make no sense count as not told.
pub(super) fn limits(registers: &Mmio, features: Features, queues: usize) -> BlockLimits {
    let told = |feature, offset| features.contains(feature).then(|| registers.read32(offset));
    let logical = told(Features::BLK_SIZE, BLK_SIZE)
        .filter(|n| n.is_power_of_two() && (512..=65_536).contains(n))
        .unwrap_or(512);
    let exponent = if features.contains(Features::TOPOLOGY) {
        u32::from(registers.read8(PHYSICAL_BLOCK_EXP))
    } else {
        0
    };
    let physical = logical
        .checked_shl(exponent)
        .filter(|n| (logical..=1 << 20).contains(n))
        .unwrap_or(logical);
    let segment_bytes = told(Features::SIZE_MAX, SIZE_MAX)
        .filter(|n| *n >= 4096)
        .unwrap_or(u32::MAX)
        .min(REQUEST_SECTORS_MAX * SECTOR_BYTES as u32)
        & !(logical - 1);
    let segments = told(Features::SEG_MAX, SEG_MAX).unwrap_or(1).clamp(1, SEGMENTS_MAX);
    let blocks = logical / SECTOR_BYTES as u32;
    let whole_blocks = |n: u32| n & !(blocks - 1);
    let has_cache = features.contains(Features::FLUSH)
        && (!features.contains(Features::CONFIG_WCE) || registers.read8(WRITEBACK) != 0);
    BlockLimits {
        sector_count: capacity(registers) & !u64::from(blocks - 1),
        logical_block_bytes: logical,
        physical_block_bytes: physical,
        is_read_only: features.contains(Features::RO),
        has_write_cache: has_cache,
        has_fua: false,
        discard_sectors_max: whole_blocks(told(Features::DISCARD, MAX_DISCARD_SECTORS).unwrap_or(0)),
        write_zeroes_sectors_max: whole_blocks(told(Features::WRITE_ZEROES, MAX_WRITE_ZEROES_SECTORS).unwrap_or(0)),
        segments_max: segments,
        segment_bytes_max: segment_bytes,
        request_sectors_max: REQUEST_SECTORS_MAX,
        queue_count: queues as u32,
        queue_depth: DEPTH as u32,
    }
}
