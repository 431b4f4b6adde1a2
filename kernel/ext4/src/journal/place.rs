//! Where the log is on the disk, and transfers as large as that allows.

use alloc::vec;
use alloc::vec::Vec;

use super::Run;
use super::fields::index;
use crate::{Disk, Error};

/// Bytes of a transfer at most, and of the buffer that gathers it.
const TRANSFER_BYTES: usize = 256 * 1024;

/// Where the log's blocks are.
#[derive(Clone, Debug)]
pub(super) struct Place {
    runs: Vec<Run>,
    pub(super) block_bytes: usize,
    pub(super) disk_blocks: u64,
    pub(super) log_blocks: u32,
}

impl Place {
    /// Checks runs: in order, without gaps, on the disk, and no block twice. Thus a log is not longer than its disk.
    pub(super) fn new_checked(runs: Vec<Run>, block_bytes: usize, disk_bytes: u64) -> Result<Self, Error> {
        const WRONG: Error = Error::Corrupt("the journal's blocks");
        let disk_blocks = disk_bytes / block_bytes as u64;
        let mut next = 0u32;
        let mut places: Vec<(u64, u64)> = Vec::with_capacity(runs.len());
        for run in &runs {
            let end = run.physical.checked_add(u64::from(run.len)).ok_or(WRONG)?;
            if run.logical != next || run.len == 0 || end > disk_blocks {
                return Err(WRONG);
            }
            next = next.checked_add(run.len).ok_or(WRONG)?;
            places.push((run.physical, end));
        }
        places.sort_unstable();
        let mut end_before = 0;
        for (start, end) in places {
            if start < end_before {
                return Err(WRONG);
            }
            end_before = end;
        }
        Ok(Self {
            runs,
            block_bytes,
            disk_blocks,
            log_blocks: next,
        })
    }

    /// Where a block of the log is, and how many of the log follow it there, itself included.
    pub(super) fn find(&self, logical: u32) -> Result<(u64, u32), Error> {
        let after = self.runs.partition_point(|run| run.logical <= logical);
        let run = after.checked_sub(1).and_then(|i| self.runs.get(i));
        let run = run.ok_or(Error::Corrupt("the journal's blocks"))?;
        let skip = logical - run.logical;
        if skip >= run.len {
            return Err(Error::Corrupt("the journal's blocks"));
        }
        Ok((run.physical.saturating_add(u64::from(skip)), run.len - skip))
    }

    /// Whether a block of the disk belongs to the log.
    pub(super) fn contains(&self, physical: u64) -> bool {
        self.runs
            .iter()
            .any(|run| physical >= run.physical && physical - run.physical < u64::from(run.len))
    }

    pub(super) fn offset(&self, physical: u64) -> u64 {
        physical.saturating_mul(self.block_bytes as u64)
    }
}

/// Reads the log, some blocks ahead.
pub(super) struct Reader<'a, D> {
    disk: &'a D,
    place: &'a Place,
    first: u32,
    blocks: u32,
    buffer: Vec<u8>,
}

impl<'a, D: Disk> Reader<'a, D> {
    pub(super) fn new(disk: &'a D, place: &'a Place) -> Self {
        Self {
            disk,
            place,
            first: 0,
            blocks: 0,
            buffer: Vec::new(),
        }
    }

    pub(super) fn block(&mut self, logical: u32) -> Result<&[u8], Error> {
        let block_bytes = self.place.block_bytes;
        if logical < self.first || logical - self.first >= self.blocks {
            let (physical, follow) = self.place.find(logical)?;
            let blocks = u32::try_from(TRANSFER_BYTES / block_bytes)
                .unwrap_or(1)
                .clamp(1, follow);
            self.blocks = 0;
            self.buffer.resize(index(blocks) * block_bytes, 0);
            self.disk.read(self.place.offset(physical), &mut self.buffer)?;
            self.first = logical;
            self.blocks = blocks;
        }
        let at = index(logical - self.first) * block_bytes;
        self.buffer
            .get(at..at + block_bytes)
            .ok_or(Error::Corrupt("the journal's blocks"))
    }
}

/// Gathers writes of neighbouring blocks into few large ones.
pub(super) struct Gather<'a, D> {
    disk: &'a D,
    place: &'a Place,
    first: u64,
    buffer: Vec<u8>,
}

impl<'a, D: Disk> Gather<'a, D> {
    pub(super) fn new(disk: &'a D, place: &'a Place) -> Self {
        Self {
            disk,
            place,
            first: 0,
            buffer: vec![],
        }
    }

    /// Adds one block; its number is on the disk.
    pub(super) fn push(&mut self, physical: u64, content: &[u8]) -> Result<(), Error> {
        let gathered = (self.buffer.len() / self.place.block_bytes) as u64;
        if self.first.checked_add(gathered) != Some(physical)
            || self.buffer.len().saturating_add(content.len()) > TRANSFER_BYTES
        {
            self.finish()?;
            self.first = physical;
        }
        self.buffer.extend_from_slice(content);
        Ok(())
    }

    /// Writes what is left.
    pub(super) fn finish(&mut self) -> Result<(), Error> {
        if !self.buffer.is_empty() {
            self.disk.write(self.place.offset(self.first), &self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }
}
