//! Changing indirect maps.

use super::{DIRECT, Runs, has_any, put_pointer, way};
use crate::cache::Role;
use crate::extents::remove::Budget;
use crate::inode::Raw;
use crate::volume::Volume;
use crate::{Disk, Error};

impl<D: Disk> Volume<D> {
    /// A block of pointers, all of them 0.
    fn new_pointers(&mut self, raw: &mut Raw, goal: u64) -> Result<u64, Error> {
        let block = self.take_block(goal)?;
        if block > u64::from(u32::MAX) {
            return Err(Error::NoSpace);
        }
        raw.add_blocks(&self.layout, 1)?;
        self.fresh(block, Role::Plain)?;
        Ok(block)
    }

    /// Puts a run of the disk where the file has a hole.
    pub(crate) fn insert_pointers(&mut self, raw: &mut Raw, first: u64, physical: u64, len: u32) -> Result<(), Error> {
        let per = self.pointers();
        let (mut at, end) = (first, first + u64::from(len));
        while at < end {
            let way = way(at, per)?;
            let start = physical + (at - first);
            if way.levels == 0 {
                put_pointer(raw.map_mut(), way.slot(0), start)?;
                at += 1;
                continue;
            }
            let mut block = self.pointer(raw.map(), way.slot(0))?;
            if block == 0 {
                block = self.new_pointers(raw, physical)?;
                put_pointer(raw.map_mut(), way.slot(0), block)?;
            }
            for level in 1..way.levels {
                let slot = way.slot(level);
                let content = self.block(block, Role::Plain)?;
                let mut next = self.pointer(&content, slot)?;
                if next == 0 {
                    next = self.new_pointers(raw, physical)?;
                    self.modify(block, Role::Plain, |b| put_pointer(b, slot, next))?;
                }
                block = next;
            }
            let slot = way.slot(way.levels);
            let count = (end - at).min(per - slot as u64);
            self.modify(block, Role::Plain, |b| {
                for k in 0..count {
                    let slot = slot + k as usize;
                    if crate::bytes::u32_at(b, slot * 4)? != 0 {
                        return Err(Error::Corrupt("a block pointer is in use"));
                    }
                    put_pointer(b, slot, start + k)?;
                }
                Ok(())
            })?;
            at += count;
        }
        Ok(())
    }

    fn free_runs(&mut self, raw: &mut Raw, runs: Runs, budget: &mut Budget) -> Result<(), Error> {
        let metadata = !raw.is_regular();
        for (start, len) in runs.0 {
            self.free_run(start, len, metadata)?;
            raw.add_blocks(&self.layout, -i64::try_from(len).unwrap_or(i64::MAX))?;
            budget.spend((len / u64::from(self.layout.blocks_per_group)) as u32 + 1);
        }
        Ok(())
    }

    /// As `remove_extents`, of an indirect map.
    pub(crate) fn remove_pointers(
        &mut self,
        raw: &mut Raw,
        from: u64,
        to: u64,
        budget: &mut Budget,
    ) -> Result<u64, Error> {
        let per = self.pointers();
        let ends = [
            DIRECT + per,
            DIRECT + per + per * per,
            DIRECT + per + per * per + per * per * per,
        ];
        let limit = ends.last().copied().unwrap_or(DIRECT);
        let to = to.min(limit);
        let mut stop = to.max(from);
        for (k, end) in ends.iter().enumerate().rev() {
            let start = if k == 0 {
                DIRECT
            } else {
                ends.get(k - 1).copied().unwrap_or(DIRECT)
            };
            if to <= start || from >= *end {
                continue;
            }
            let slot = 12 + k;
            let block = self.pointer(raw.map(), slot)?;
            if block != 0 {
                let (a, b) = (from.max(start) - start, to.min(*end) - start);
                let (reached, is_empty) = self.remove_below(raw, block, k as u32, a, b, budget)?;
                if is_empty {
                    put_pointer(raw.map_mut(), slot, 0)?;
                }
                if reached > a {
                    return Ok(start + reached);
                }
            }
            stop = from.max(start);
        }
        if from < DIRECT {
            let mut runs = Runs::default();
            for slot in (from..to.min(DIRECT)).rev() {
                let block = self.pointer(raw.map(), slot as usize)?;
                if block != 0 {
                    runs.add(block);
                    put_pointer(raw.map_mut(), slot as usize, 0)?;
                }
            }
            self.free_runs(raw, runs, budget)?;
            stop = from;
        }
        Ok(stop.min(to).max(from))
    }

    /// Frees what is below a block of pointers in `from..to`, counted from its first file block, from the end on. Answers
    /// where it stopped, and whether the block had nothing left and is free as well. `level` 0 points to content.
    fn remove_below(
        &mut self,
        raw: &mut Raw,
        block: u64,
        level: u32,
        from: u64,
        to: u64,
        budget: &mut Budget,
    ) -> Result<(u64, bool), Error> {
        let per = self.pointers();
        let span = per.pow(level);
        let mut reached = to;
        let mut runs = Runs::default();
        let content = self.block(block, Role::Plain)?;
        let mut slot = to.div_ceil(span);
        while slot > 0 && slot * span > from {
            slot -= 1;
            let below = self.pointer(&content, slot as usize)?;
            let start = slot * span;
            if below != 0 {
                if budget.is_spent() || runs.0.len() as u32 >= budget.groups {
                    break;
                }
                if level == 0 {
                    runs.add(below);
                    self.modify(block, Role::Plain, |b| put_pointer(b, slot as usize, 0))?;
                } else {
                    let (a, b) = (from.max(start) - start, to.min(start + span) - start);
                    let (stopped, is_empty) = self.remove_below(raw, below, level - 1, a, b, budget)?;
                    if is_empty {
                        self.modify(block, Role::Plain, |b| put_pointer(b, slot as usize, 0))?;
                    }
                    if stopped > a {
                        return Ok((start + stopped, false));
                    }
                }
            }
            reached = start.max(from);
        }
        drop(content);
        self.free_runs(raw, runs, budget)?;
        let is_empty = !has_any(&self.block(block, Role::Plain)?);
        if is_empty {
            self.free_run(block, 1, true)?;
            raw.add_blocks(&self.layout, -1)?;
            budget.spend(1);
        }
        Ok((reached, is_empty))
    }
}
