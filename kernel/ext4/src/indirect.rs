//! Block maps of ext2 and ext3: twelve blocks, then one, two and three levels of blocks of numbers.

use alloc::vec;
use alloc::vec::Vec;

use crate::inode::Raw;
use crate::le::{put32, u32_at};
use crate::volume::{Blocks, Volume};
use crate::{Disk, Error};

const DIRECT: u64 = 12;

/// Where a block's number stands: the slot in the inode, then one in each block on the way.
pub(crate) fn path(block: u64, block_bytes: usize) -> Result<Vec<usize>, Error> {
    let per = block_bytes as u64 / 4;
    if block < DIRECT {
        return Ok(vec![block as usize]);
    }
    let mut at = block - DIRECT;
    let mut span = per;
    for level in 1..=3usize {
        if at < span {
            let mut out = vec![11 + level];
            let mut unit = span / per;
            for _ in 0..level {
                out.push((at / unit) as usize);
                at %= unit;
                unit = (unit / per).max(1);
            }
            return Ok(out);
        }
        at -= span;
        span *= per;
    }
    Err(Error::TooLarge)
}

impl<D: Disk> Volume<D> {
    fn check_number(&self, number: u32) -> Result<u64, Error> {
        let n = u64::from(number);
        if n != 0 && (n <= self.sb.first_data_block || n >= self.sb.blocks) {
            return Err(Error::Corrupt("a block map points outside the file system"));
        }
        Ok(n)
    }

    /// Where `block` is (0: nowhere), and how many blocks from there on are in a row or in the same hole, at most `most`.
    pub(crate) fn find_mapped(&mut self, raw: &Raw, block: u64, most: u32) -> Result<(u64, u32), Error> {
        let Ok(path) = path(block, self.sb.block_bytes) else {
            return Ok((0, most));
        };
        let per = self.sb.block_bytes as u64 / 4;
        let (&slot, rest) = path.split_first().ok_or(Error::Invalid)?;
        let mut number = self.check_number(u32_at(raw.map()?, 4 * slot)?)?;
        if rest.is_empty() {
            let mut n = 1;
            while n < most
                && slot as u64 + u64::from(n) < DIRECT
                && goes_on(number, u32_at(raw.map()?, 4 * (slot + n as usize))?, n)
            {
                n += 1;
            }
            return Ok((number, n));
        }
        for (level, &index) in rest.iter().enumerate() {
            let below = rest.len() - level;
            if number == 0 {
                // A hole as far as this block would reach.
                let span = per.pow(below as u32);
                let inside = rest.iter().skip(level).fold(0u64, |n, i| n * per + *i as u64);
                return Ok((0, (span - inside).min(u64::from(most)) as u32));
            }
            let content = self.block(number)?;
            let found = self.check_number(u32_at(&content, 4 * index)?)?;
            if below == 1 {
                let mut n = 1;
                while n < most
                    && index as u64 + u64::from(n) < per
                    && goes_on(found, u32_at(&content, 4 * (index + n as usize))?, n)
                {
                    n += 1;
                }
                return Ok((found, n));
            }
            number = found;
        }
        Err(Error::Corrupt("a block map"))
    }

    /// Puts `number` in the map for `block`, with the blocks of numbers that are missing on the way.
    pub(crate) fn put_mapped(&mut self, raw: &mut Raw, block: u64, number: u64) -> Result<(), Error> {
        let number = u32::try_from(number).map_err(|_| Error::TooLarge)?;
        let path = path(block, self.sb.block_bytes)?;
        let (&slot, rest) = path.split_first().ok_or(Error::Invalid)?;
        if rest.is_empty() {
            return put32(&mut raw.bytes, 0x28 + 4 * slot, number);
        }
        let mut at = self.check_number(u32_at(raw.map()?, 4 * slot)?)?;
        if at == 0 {
            at = self.take_numbers(raw, u64::from(number))?;
            put32(&mut raw.bytes, 0x28 + 4 * slot, at as u32)?;
        }
        for (level, &index) in rest.iter().enumerate() {
            if level + 1 == rest.len() {
                return self.modify(at, |b| put32(b, 4 * index, number));
            }
            let content = self.block(at)?;
            let mut next = self.check_number(u32_at(&content, 4 * index)?)?;
            if next == 0 {
                next = self.take_numbers(raw, u64::from(number))?;
                self.modify(at, |b| put32(b, 4 * index, next as u32))?;
            }
            at = next;
        }
        Ok(())
    }

    fn take_numbers(&mut self, raw: &mut Raw, goal: u64) -> Result<u64, Error> {
        let got = self.take_blocks(goal, 1)?;
        self.count_blocks(raw, 1)?;
        self.replace(got.start, vec![0; self.sb.block_bytes])?;
        Ok(got.start)
    }

    /// Takes the blocks from `from` up to `to` out of the map, from the end backwards, `most` of them; whether all are out.
    pub(crate) fn extract_mapped(
        &mut self,
        raw: &mut Raw,
        (from, to): (u64, u64),
        most: usize,
        taken: &mut Vec<u64>,
    ) -> Result<bool, Error> {
        let per = self.sb.block_bytes as u64 / 4;
        let spans = [per, per * per, per * per * per];
        let mut bases = [DIRECT, DIRECT + per, DIRECT + per + per * per];
        bases.reverse();
        for (i, base) in bases.into_iter().enumerate() {
            let level = 3 - i;
            let Some(span) = spans.get(level - 1).copied() else {
                continue;
            };
            let slot = 11 + level;
            let number = self.check_number(u32_at(raw.map()?, 4 * slot)?)?;
            if number == 0 || to <= base || from >= base + span {
                continue;
            }
            let range = (from.saturating_sub(base), (to - base).min(span));
            if self.extract_level(raw, number, level, range, most, taken)? {
                put32(&mut raw.bytes, 0x28 + 4 * slot, 0)?;
            }
            if taken.len() >= most {
                return Ok(false);
            }
        }
        for slot in (0..DIRECT).rev() {
            if slot >= from && slot < to {
                let number = self.check_number(u32_at(raw.map()?, 4 * slot as usize)?)?;
                if number != 0 {
                    if taken.len() >= most {
                        return Ok(false);
                    }
                    taken.push(number);
                    put32(&mut raw.bytes, 0x28 + 4 * slot as usize, 0)?;
                }
            }
        }
        Ok(true)
    }

    /// Whether the block of numbers is empty now, and freed.
    fn extract_level(
        &mut self,
        raw: &mut Raw,
        block: u64,
        level: usize,
        (from, to): (u64, u64),
        most: usize,
        taken: &mut Vec<u64>,
    ) -> Result<bool, Error> {
        let per = self.sb.block_bytes as u64 / 4;
        let unit = per.pow(level as u32 - 1);
        let mut bytes = self.block(block)?.to_vec();
        let mut has_changed = false;
        for index in (0..per).rev() {
            let base = index * unit;
            if base >= to || base + unit <= from {
                continue;
            }
            if taken.len() >= most {
                break;
            }
            let at = 4 * index as usize;
            let number = self.check_number(u32_at(&bytes, at)?)?;
            if number == 0 {
                continue;
            }
            let gone = if level == 1 {
                taken.push(number);
                true
            } else {
                let range = (from.saturating_sub(base), (to - base).min(unit));
                self.extract_level(raw, number, level - 1, range, most, taken)?
            };
            if gone {
                put32(&mut bytes, at, 0)?;
                has_changed = true;
            }
        }
        if bytes.iter().all(|b| *b == 0) {
            self.free_blocks(Blocks { start: block, len: 1 }, true)?;
            self.count_blocks(raw, -1)?;
            return Ok(true);
        }
        if has_changed {
            self.replace(block, bytes)?;
        }
        Ok(false)
    }
}

fn goes_on(first: u64, number: u32, by: u32) -> bool {
    if first == 0 {
        number == 0
    } else {
        u64::from(number) == first + u64::from(by)
    }
}
