//! A disk that remembers its writes and flushes in order, and what a power cut may leave of them.

use std::cell::RefCell;

use sis_ext4::{Disk, DiskError};

use super::disk::SECTOR;
use super::{MemDisk, Random};

/// What was done to the disk.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Write {
        offset: u64,
        data: Vec<u8>,
        is_through: bool,
    },
    Flush,
}

/// A recording disk.
#[derive(Debug)]
pub(crate) struct Recorder {
    before: MemDisk,
    now: MemDisk,
    ops: RefCell<Vec<Op>>,
}

impl Recorder {
    /// Records from this state on, which is on stable storage.
    pub(crate) fn new(before: MemDisk) -> Self {
        Self {
            now: before.clone(),
            before,
            ops: RefCell::default(),
        }
    }

    /// Operations up to now: what is acknowledged at this point is there after a cut at it or later.
    pub(crate) fn position(&self) -> usize {
        self.ops.borrow().len()
    }

    /// The disk as a reader sees it now.
    pub(crate) fn current(&self) -> &MemDisk {
        &self.now
    }

    /// The position after the last flush that had returned at `cut`.
    pub(crate) fn flushed(&self, cut: usize) -> usize {
        let ops = self.ops.borrow();
        ops[..cut]
            .iter()
            .rposition(|op| matches!(op, Op::Flush))
            .map_or(0, |i| i + 1)
    }

    /// A state that a power cut may leave when `cut` operations had returned, and the next one was under way. What was
    /// flushed or written through is there. Of each other write there is all, nothing, or any of its sectors; of two
    /// writes to one sector the later one wins, if it is there.
    pub(crate) fn crash(&self, cut: usize, random: &mut Random) -> MemDisk {
        let ops = self.ops.borrow();
        let flushed = self.flushed(cut);
        let disk = self.before.clone();
        let mode = random.below(5);
        for (i, op) in ops.iter().enumerate().take(cut + 1) {
            let Op::Write {
                offset,
                data,
                is_through,
            } = op
            else {
                continue;
            };
            let is_stable = i < flushed || (*is_through && i < cut);
            let (is_whole, is_torn) = match mode {
                0 => (false, false),
                1 => (true, false),
                2 => (random.chance(50), false),
                3 => (random.chance(30), random.chance(60)),
                _ => (random.chance(85), random.chance(50)),
            };
            if is_stable || is_whole {
                disk.put(*offset, data);
            } else if is_torn {
                let percent = random.below(101);
                for (n, sector) in data.chunks(SECTOR).enumerate() {
                    if random.chance(percent) {
                        disk.put(offset + (n * SECTOR) as u64, sector);
                    }
                }
            }
        }
        disk
    }

    /// Shows each write, and the disk as it was before it when all before it were done.
    pub(crate) fn each_write(&self, mut show: impl FnMut(&MemDisk, u64, &[u8])) {
        let disk = self.before.clone();
        for op in self.ops.borrow().iter() {
            if let Op::Write { offset, data, .. } = op {
                show(&disk, *offset, data);
                disk.put(*offset, data);
            }
        }
    }

    fn record(&self, offset: u64, data: &[u8], is_through: bool) -> Result<(), DiskError> {
        self.now.write(offset, data)?;
        self.ops.borrow_mut().push(Op::Write {
            offset,
            data: data.to_vec(),
            is_through,
        });
        Ok(())
    }
}

impl Disk for Recorder {
    fn len_bytes(&self) -> u64 {
        self.now.len_bytes()
    }

    fn is_read_only(&self) -> bool {
        self.now.is_read_only
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), DiskError> {
        self.now.read(offset, out)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        self.record(offset, data, false)
    }

    fn write_through(&self, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        self.record(offset, data, true)
    }

    fn flush(&self) -> Result<(), DiskError> {
        self.ops.borrow_mut().push(Op::Flush);
        Ok(())
    }
}
