//! From a trace to what a disk may hold when its power goes.
//!
//! A disk with a volatile cache promises: a write that was completed before a flush came is durable once that flush has
//! completed (virtio 1.2, 5.2.6.2: "the device MUST ensure that data sent before the flush … is on persistent storage"; SATA
//! and SD alike). Every other write may be on the medium or not, whatever came after it, and a write is atomic only by
//! sectors of 512 bytes.
//!
//! One exception: ext4's superblock is two sectors under one checksum, with no second copy on a small disk, and neither Linux
//! nor e2fsck opens a disk where it is torn. The format promises nothing there, so those two sectors stay together.

use crate::disk::Disk;
use crate::trace::{Event, Id, Trace};
use sis_workload::{Kind, Random, WORKERS};
use std::collections::HashMap;

/// What the power leaves whole.
const SECTOR_BYTES: usize = 512;
/// How a block of the journal that commits begins: jbd2's magic, type 2 (Linux, Documentation/filesystems/ext4/journal.rst).
const COMMIT: [u8; 8] = [0xc0, 0x3b, 0x39, 0x98, 0, 0, 0, 2];
/// Where the superblock's second sector is.
const SUPERBLOCK_SECOND: u64 = 1024 + 512;

/// How honest the disk is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Honesty {
    /// A completed flush has flushed.
    #[default]
    Honest,
    /// Three of four completed flushes have done nothing.
    LiesAboutFlushes,
}

/// Of so many flushes a lying disk does one.
const DONE_OF: u64 = 4;

/// Whether a write that was under way can be there in part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tearing {
    /// Any of its sectors may be there.
    Sectors,
    /// The same, but of the block that commits a transaction of the journal all of them or none. It is one block under one
    /// checksum; where Linux's is torn over an older one e2fsck stops replaying there, as it should, and then repairs the list of
    /// orphans instead of following it. Ours is written over zeros, and so whole with its first sector.
    SectorsButCommits,
    /// It is there or not.
    Never,
}

/// How far a worker had come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Its folder is durable.
    pub has_begun: bool,
    /// The last acknowledged operation.
    pub acked: u64,
    /// The last operation that may have been begun.
    pub intended: u64,
}

/// A run, cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its seed.
    pub seed: u64,
    /// How far its workers had come.
    pub reached: [Reached; WORKERS as usize],
}

/// How the writes that no flush had covered are dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// None is there.
    Dropped,
    /// All are there.
    Kept,
    /// Each is there or not: so many of 100 are.
    Some(u64),
    /// The newest are there and the oldest are not.
    Newest,
    /// Each is there, not there, or torn at sectors.
    Torn,
}

/// What there is to know about a crash state.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// After how many events.
    pub after: usize,
    /// What became of the uncovered writes.
    pub fate: Fate,
    /// Chooses among them.
    pub seed: u64,
    /// So many writes were not covered.
    pub uncovered: usize,
    /// How far the workers had come.
    pub reached: [Reached; WORKERS as usize],
}

struct Pending<'a> {
    id: Id,
    offset: u64,
    data: &'a [u8],
    is_completed: bool,
    is_durable: bool,
}

/// Goes through a trace, forwards.
pub struct Walk<'a> {
    trace: &'a Trace,
    honesty: Honesty,
    at: usize,
    flushes: u64,
    /// What is certainly on the medium.
    durable: Disk,
    /// What may be, in the order in which it came.
    pending: Vec<Pending<'a>>,
    /// What each flush that has come covers.
    covered: HashMap<Id, Vec<Id>>,
    reached: [Reached; WORKERS as usize],
}

impl std::fmt::Debug for Walk<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Walk")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

impl<'a> Walk<'a> {
    /// At the beginning.
    #[must_use]
    pub fn new(trace: &'a Trace, honesty: Honesty) -> Self {
        Self {
            trace,
            honesty,
            at: 0,
            flushes: 0,
            durable: trace.start.clone(),
            pending: Vec::new(),
            covered: HashMap::new(),
            reached: [Reached::default(); WORKERS as usize],
        }
    }

    /// At the beginning of what happens to a disk whose workload has come so far already.
    #[must_use]
    pub fn recovery(trace: &'a Trace, reached: [Reached; WORKERS as usize]) -> Self {
        Self {
            reached,
            ..Self::new(trace, Honesty::Honest)
        }
    }

    /// Goes on until `after` events have happened.
    pub fn go(&mut self, after: usize) {
        let trace = self.trace;
        for event in trace.events.iter().take(after).skip(self.at) {
            self.step(event);
        }
        self.at = self.at.max(after);
    }

    fn step(&mut self, event: &'a Event) {
        match event {
            Event::Write {
                id,
                offset,
                data,
                is_durable,
            } => self.pending.push(Pending {
                id: *id,
                offset: *offset,
                data,
                is_completed: false,
                is_durable: *is_durable,
            }),
            Event::Flush(id) => {
                let completed = self.pending.iter().filter(|write| write.is_completed);
                self.flushes += 1;
                let is_lie = self.honesty == Honesty::LiesAboutFlushes && !self.flushes.is_multiple_of(DONE_OF);
                if !is_lie {
                    self.covered.insert(*id, completed.map(|write| write.id).collect());
                }
            }
            Event::Completed(ids) => {
                for id in ids {
                    self.complete(*id);
                }
            }
            Event::Log(record) => {
                let Some(reached) = self.reached.get_mut(record.worker as usize) else {
                    return;
                };
                match record.kind {
                    Kind::Begin => reached.has_begun = true,
                    Kind::Ack => reached.acked = reached.acked.max(record.number),
                    Kind::Intent => reached.intended = reached.intended.max(record.number),
                    Kind::Failed | Kind::End | Kind::Next | Kind::Recovered => {}
                }
            }
        }
    }

    fn complete(&mut self, id: Id) {
        if let Some(covered) = self.covered.remove(&id) {
            self.settle(|write| covered.binary_search(&write.id).is_ok());
        } else if let Some(write) = self.pending.iter_mut().find(|write| write.id == id) {
            write.is_completed = true;
            if write.is_durable {
                self.settle(|write| write.id == id);
            }
        }
    }

    /// These are on the medium now.
    fn settle(&mut self, is_settled: impl Fn(&Pending<'_>) -> bool) {
        let durable = &mut self.durable;
        self.pending.retain(|write| {
            let is_settled = is_settled(write);
            if is_settled {
                durable.write(write.offset, write.data);
            }
            !is_settled
        });
    }

    /// How far the workers have come.
    #[must_use]
    pub const fn reached(&self) -> &[Reached; WORKERS as usize] {
        &self.reached
    }

    /// What the disk holds if the power goes now.
    #[must_use]
    pub fn cut(&self, seed: u64) -> (Cut, Disk) {
        self.cut_with(seed, Tearing::Sectors)
    }

    /// As [`cut`](Self::cut), on a disk that tears as `tearing` says.
    #[must_use]
    pub fn cut_with(&self, seed: u64, tearing: Tearing) -> (Cut, Disk) {
        let mut random = Random::new(seed);
        let fate = match random.below(10) {
            0..2 => Fate::Dropped,
            2 => Fate::Kept,
            3..6 => Fate::Some(*random.pick(&[10, 30, 50, 70, 90]).unwrap_or(&50)),
            6 => Fate::Newest,
            _ if tearing == Tearing::Never => Fate::Some(50),
            _ => Fate::Torn,
        };
        let mut disk = self.durable.clone();
        let newest = random.below(self.pending.len() as u64 + 1) as usize;
        for (index, write) in self.pending.iter().enumerate() {
            let is_kept = match fate {
                Fate::Dropped => false,
                Fate::Kept => true,
                Fate::Some(percent) => random.chance(percent, 100),
                Fate::Newest => index >= newest,
                Fate::Torn if tearing == Tearing::SectorsButCommits && write.data.starts_with(&COMMIT) => {
                    random.chance(1, 2)
                }
                Fate::Torn => {
                    tear(&mut random, write, &mut disk);
                    false
                }
            };
            if is_kept {
                disk.write(write.offset, write.data);
            }
        }
        let cut = Cut {
            after: self.at,
            fate,
            seed,
            uncovered: self.pending.len(),
            reached: self.reached,
        };
        (cut, disk)
    }
}

/// Writes some of a write's sectors: none, all, those up to some sector or from there on, or any.
fn tear(random: &mut Random, write: &Pending<'_>, disk: &mut Disk) {
    let sectors = write.data.len() as u64 / SECTOR_BYTES as u64;
    let (kind, middle) = (random.below(5), random.below(sectors + 1));
    let mut was_kept = false;
    for (number, sector) in (0..).zip(write.data.chunks(SECTOR_BYTES)) {
        let offset = write.offset + number * SECTOR_BYTES as u64;
        let is_kept = match kind {
            0 => false,
            1 => true,
            2 => number < middle,
            3 => number >= middle,
            _ => random.chance(1, 2),
        };
        // The second half of the superblock goes with the first.
        was_kept = if offset == SUPERBLOCK_SECOND && number > 0 {
            was_kept
        } else {
            is_kept
        };
        if was_kept {
            disk.write(offset, sector);
        }
    }
}

#[cfg(test)]
mod tests;
