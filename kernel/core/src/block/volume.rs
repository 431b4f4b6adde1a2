//! A range of a disk that programs and file systems use: the whole of it, or a partition.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use sis_hal::{BlockError, BlockOp, SECTOR_BYTES};
use sis_machine::mm::PAGE_SIZE;
use sis_machine::mm::frames::Frame;
use sis_machine::mm::scatter::FramePiece;
use sis_machine::sync::{Mutex, MutexGuard, Rank};

use super::claim::Users;
use super::disk::Disk;
use super::io::{Io, IoWait, Tracked};
use super::partitions::PartitionInfo;
use super::stats::Stats;
use crate::{Errno, Result};

/// When a write is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// When the device has it; a flush puts it on stable storage.
    Cached,
    /// When it is on stable storage.
    Stable,
}

/// How far is read ahead: 128 KiB, as on Linux.
const READ_AHEAD_SECTORS: u64 = 256;
/// Sectors of zeros that are written at once where the device cannot do it by itself.
const ZEROS_AT_ONCE: u64 = 2048;

/// A disk or a partition.
pub struct Volume {
    disk: &'static Disk,
    /// 0: the whole disk.
    number: u32,
    first_sector: u64,
    sector_count: u64,
    name: String,
    device_number: u64,
    disk_number: u64,
    stats: Arc<Stats>,
    /// Of the disk, where this is a partition.
    whole: Option<Arc<Stats>>,
    info: Option<PartitionInfo>,
    users: Users,
    /// BLKRASET: what programs asked to be read ahead, in sectors.
    read_ahead_sectors: AtomicU64,
    /// Held while part of a block is changed.
    partial: Mutex<()>,
}

impl Volume {
    pub(super) fn whole(disk: &'static Disk, device_number: u64) -> Self {
        Self {
            disk,
            number: 0,
            first_sector: 0,
            sector_count: disk.limits().sector_count,
            name: disk.name.clone(),
            device_number,
            disk_number: device_number,
            stats: Arc::default(),
            whole: None,
            info: None,
            users: Users::default(),
            read_ahead_sectors: AtomicU64::new(READ_AHEAD_SECTORS),
            partial: Mutex::new(Rank::Device, ()),
        }
    }

    /// A part of this one; the range was checked.
    pub(super) fn part(
        &self,
        number: u32,
        (first_sector, sector_count): (u64, u64),
        name: String,
        device: u64,
        info: PartitionInfo,
    ) -> Self {
        Self {
            disk: self.disk,
            number,
            first_sector,
            sector_count,
            name,
            device_number: device,
            disk_number: self.disk_number,
            stats: Arc::default(),
            whole: Some(self.stats.clone()),
            info: Some(info),
            users: Users::default(),
            read_ahead_sectors: AtomicU64::new(READ_AHEAD_SECTORS),
            partial: Mutex::new(Rank::Device, ()),
        }
    }

    /// The device number of the disk that it is on.
    pub(super) fn disk_number(&self) -> u64 {
        self.disk_number
    }

    /// The disk that it is on.
    pub fn disk(&self) -> &'static Disk {
        self.disk
    }

    /// The partition's number; 0 for a whole disk.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Where it begins on the disk.
    pub fn first_sector(&self) -> u64 {
        self.first_sector
    }

    /// Sectors.
    pub fn sector_count(&self) -> u64 {
        self.sector_count
    }

    /// Bytes.
    pub fn size_bytes(&self) -> u64 {
        self.sector_count.saturating_mul(SECTOR_BYTES)
    }

    /// Its name in /dev.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its device number, as stat(2) shows it.
    pub fn device_number(&self) -> u64 {
        self.device_number
    }

    /// Bytes of a logical block: what I/O must be a multiple of.
    pub fn logical_block_bytes(&self) -> u32 {
        self.disk.limits().logical_block_bytes
    }

    /// Whether writes are refused.
    pub fn is_read_only(&self) -> bool {
        self.disk.limits().is_read_only
    }

    /// Its counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// What the partition table says of it; `None` for a whole disk.
    pub fn info(&self) -> Option<&PartitionInfo> {
        self.info.as_ref()
    }

    /// How far to read ahead, in sectors: 256, or what a program has set (BLKRASET).
    pub fn read_ahead_sectors(&self) -> u64 {
        self.read_ahead_sectors.load(Ordering::Relaxed)
    }

    /// Sets how far to read ahead.
    pub fn set_read_ahead_sectors(&self, sectors: u64) {
        self.read_ahead_sectors.store(sectors, Ordering::Relaxed);
    }

    pub(super) fn users(&self) -> &Users {
        &self.users
    }

    pub(super) fn lock_partial(&self) -> MutexGuard<'_, ()> {
        self.partial.lock()
    }

    /// Starts I/Os; each is told of by [`super::IoDone`], errors of the arguments included. Does not wait for the device,
    /// and takes no sleeping lock: may be called with any sleeping lock held, not with a spinning one.
    pub fn submit_all(&self, ios: impl IntoIterator<Item = Io>) {
        let block = u64::from(self.logical_block_bytes()) / SECTOR_BYTES;
        for io in ios {
            let stats = [Some(self.stats.clone()), self.whole.clone()];
            let tracked = Tracked::begin(io.op, io.sector_count, io.done, io.cookie, stats);
            let end = io.first_sector.checked_add(io.sector_count);
            let writes = !matches!(io.op, BlockOp::Read | BlockOp::Flush);
            let refused = if end.is_none_or(|e| e > self.sector_count) {
                Some(BlockError::OutOfRange)
            } else if writes && self.is_read_only() {
                Some(BlockError::ReadOnly)
            } else if !io.first_sector.is_multiple_of(block) || !io.sector_count.is_multiple_of(block) {
                Some(BlockError::Invalid)
            } else {
                None
            };
            match refused {
                Some(e) => tracked.end_part(Err(e)),
                None if io.op == BlockOp::Flush && !self.disk.limits().has_write_cache => tracked.end_part(Ok(())),
                None => {
                    let at = self.first_sector.saturating_add(io.first_sector);
                    self.disk.enqueue(io.op, at, io.sector_count, io.pieces, &tracked);
                }
            }
        }
        self.disk.dispatch();
    }

    /// Starts one I/O; see [`Self::submit_all`].
    pub fn submit(&self, io: Io) {
        self.submit_all([io]);
    }

    fn run(&self, op: BlockOp, first_sector: u64, sector_count: u64, pieces: Vec<FramePiece>) -> BlockResult {
        let wait = IoWait::new();
        wait.expect(1);
        self.submit(Io {
            op,
            first_sector,
            sector_count,
            pieces,
            done: wait.clone(),
            cookie: 0,
        });
        wait.wait()
    }

    /// Reads from a sector on into pieces of frames, and waits.
    ///
    /// # Errors
    /// See [`BlockError`].
    pub fn read(&self, first_sector: u64, pieces: Vec<FramePiece>) -> BlockResult {
        self.run(BlockOp::Read, first_sector, sectors_of(&pieces), pieces)
    }

    /// Writes pieces of frames from a sector on, and waits.
    ///
    /// # Errors
    /// See [`BlockError`].
    pub fn write(&self, first_sector: u64, pieces: Vec<FramePiece>, durability: Durability) -> BlockResult {
        let is_through = durability == Durability::Stable && self.disk.limits().has_fua;
        let op = if is_through {
            BlockOp::WriteThrough
        } else {
            BlockOp::Write
        };
        self.run(op, first_sector, sectors_of(&pieces), pieces)?;
        if durability == Durability::Stable && !is_through {
            self.flush()?;
        }
        Ok(())
    }

    /// Puts every write that has ended on stable storage, and waits.
    ///
    /// # Errors
    /// See [`BlockError`].
    pub fn flush(&self) -> BlockResult {
        self.run(BlockOp::Flush, 0, 0, Vec::new())
    }

    /// Says that the content of sectors is not needed, and waits.
    ///
    /// # Errors
    /// [`BlockError::Unsupported`] where the device cannot; others as for a write.
    pub fn discard(&self, first_sector: u64, sector_count: u64) -> BlockResult {
        self.run(BlockOp::Discard, first_sector, sector_count, Vec::new())
    }

    /// Makes sectors zeros, by writing them where the device cannot do it by itself, and waits.
    ///
    /// # Errors
    /// See [`BlockError`].
    pub fn write_zeroes(&self, first_sector: u64, sector_count: u64) -> BlockResult {
        match self.run(BlockOp::WriteZeroes, first_sector, sector_count, Vec::new()) {
            Err(BlockError::Unsupported) => {}
            other => return other,
        }
        let page = Frame::alloc_zeroed().ok_or(BlockError::Busy)?;
        let (mut at, mut left) = (first_sector, sector_count);
        while left > 0 {
            let n = left.min(ZEROS_AT_ONCE);
            self.write(at, repeat(&page, n), Durability::Cached)?;
            at += n;
            left -= n;
        }
        Ok(())
    }
}

/// How I/O ends; [`super::errno_of`] says what an error is to programs.
pub type BlockResult = core::result::Result<(), BlockError>;

fn sectors_of(pieces: &[FramePiece]) -> u64 {
    pieces.iter().map(|p| u64::from(p.len)).sum::<u64>() / SECTOR_BYTES
}

/// `sectors` sectors that are all the same frame.
fn repeat(frame: &Frame, sectors: u64) -> Vec<FramePiece> {
    let mut left = sectors * SECTOR_BYTES;
    let mut out = Vec::new();
    while left > 0 {
        let len = left.min(PAGE_SIZE as u64);
        out.push(FramePiece {
            frame: frame.clone(),
            offset: 0,
            len: len as u32,
        });
        left -= len;
    }
    out
}

/// New frames for `len` bytes (rounded up to pages), as pieces.
///
/// # Errors
/// `ENOMEM`.
pub fn new_pieces(len: usize) -> Result<Vec<FramePiece>> {
    let count = len.div_ceil(PAGE_SIZE);
    let mut out = Vec::new();
    out.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
    for _ in 0..count {
        out.push(FramePiece::whole(Frame::alloc_user().ok_or(Errno::ENOMEM)?));
    }
    Ok(out)
}
