//! Indirect maps, of ext2 and ext3: twelve pointers in the inode, then one block of pointers, one of blocks of them, and
//! one of those.

use alloc::vec::Vec;

use crate::bytes::{low32, put_u32, u32_at};
use crate::cache::Role;
use crate::inode::Raw;
use crate::types::{Mapping, State};
use crate::volume::Volume;
use crate::{Disk, Error};

pub(crate) mod change;

pub(crate) const DIRECT: u64 = 12;

/// The way to a file block: the slot in the inode, then in each block of pointers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    slots: [u64; 4],
    /// Blocks of pointers on the way.
    pub(crate) levels: usize,
}

impl Way {
    pub(crate) fn slot(&self, level: usize) -> usize {
        self.slots.get(level).copied().unwrap_or_default() as usize
    }
}

/// The way to file block `at`, where blocks hold `per` pointers.
pub(crate) fn way(at: u64, per: u64) -> Result<Way, Error> {
    if at < DIRECT {
        return Ok(Way {
            slots: [at, 0, 0, 0],
            levels: 0,
        });
    }
    let at = at - DIRECT;
    if at < per {
        return Ok(Way {
            slots: [12, at, 0, 0],
            levels: 1,
        });
    }
    let at = at - per;
    if at < per * per {
        return Ok(Way {
            slots: [13, at / per, at % per, 0],
            levels: 2,
        });
    }
    let at = at - per * per;
    if at < per * per * per {
        return Ok(Way {
            slots: [14, at / (per * per), at / per % per, at % per],
            levels: 3,
        });
    }
    Err(Error::TooLarge)
}

impl<D: Disk> Volume<D> {
    pub(crate) fn pointers(&self) -> u64 {
        (self.layout.block_bytes / 4) as u64
    }

    /// A pointer that was read: 0, or a block that may be a file's.
    pub(crate) fn pointer(&self, b: &[u8], slot: usize) -> Result<u64, Error> {
        let block = u64::from(u32_at(b, slot * 4)?);
        if block != 0 && !self.is_data_run(block, 1) {
            return Err(Error::Corrupt("a block pointer is not where files may be"));
        }
        Ok(block)
    }

    pub(crate) fn map_indirect(&mut self, raw: &Raw, first: u64, count: u64) -> Result<Mapping, Error> {
        let per = self.pointers();
        let Ok(way) = way(first, per) else {
            return Ok(hole(first, count));
        };
        let mut block = self.pointer(raw.map(), way.slot(0))?;
        let mut content = None;
        for level in 1..=way.levels {
            // Blocks below one pointer of the level above.
            let below = per.pow((way.levels + 1 - level) as u32);
            if block == 0 {
                let start = below_start(first, per, &way, level);
                return Ok(hole(first, count.min(start + below - first)));
            }
            let b = self.block(block, Role::Plain)?;
            block = self.pointer(&b, way.slot(level))?;
            content = Some(b);
        }
        let last: &[u8] = match &content {
            Some(c) => c,
            None => raw.map(),
        };
        let slots = if way.levels == 0 { DIRECT } else { per };
        let slot = way.slot(way.levels) as u64;
        let mut len = 1;
        while len < count && slot + len < slots {
            let next = self.pointer(last, (slot + len) as usize)?;
            let is_same = if block == 0 { next == 0 } else { next == block + len };
            if !is_same {
                break;
            }
            len += 1;
        }
        Ok(Mapping {
            first,
            len,
            physical: block,
            state: if block == 0 { State::Hole } else { State::Written },
        })
    }
}

fn hole(first: u64, len: u64) -> Mapping {
    Mapping {
        first,
        len: len.max(1),
        physical: 0,
        state: State::Hole,
    }
}

/// The first file block below the pointer at `level - 1` on the way to `at`.
fn below_start(at: u64, per: u64, way: &Way, level: usize) -> u64 {
    let mut offset = 0;
    for l in level..=way.levels {
        offset = offset * per + way.slot(l) as u64;
    }
    at - offset
}

/// The pointers of a block or of the inode that are not 0, in reverse.
pub(crate) fn has_any(b: &[u8]) -> bool {
    b.iter().any(|byte| *byte != 0)
}

/// Writes a pointer.
pub(crate) fn put_pointer(b: &mut [u8], slot: usize, block: u64) -> Result<(), Error> {
    put_u32(b, slot * 4, low32(block))
}

/// Runs of the disk to be freed, joined where they touch.
#[derive(Debug, Default)]
pub(crate) struct Runs(pub(crate) Vec<(u64, u64)>);

impl Runs {
    pub(crate) fn add(&mut self, block: u64) {
        if let Some((start, len)) = self.0.last_mut() {
            if *start + *len == block {
                *len += 1;
                return;
            }
            if block + 1 == *start {
                *start = block;
                *len += 1;
                return;
            }
        }
        self.0.push((block, 1));
    }
}
