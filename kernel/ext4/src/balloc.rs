//! Blocks: finding, taking and freeing runs of them.

use alloc::vec::Vec;

use crate::cache::Role;
use crate::group::{flag, set_bits};
use crate::volume::Volume;
use crate::{Disk, Error};

/// Groups that are searched for a run as long as asked before the longest found will do.
const PATIENCE: u32 = 24;
/// Blocks kept for the tables of what is written already, so that a promise to content can be kept.
const POOL_MOST: u64 = 4096;

/// Free runs in a bitmap of words; set bits are in use.
pub(crate) struct Bits<'a>(pub(crate) &'a [u64]);

impl Bits<'_> {
    fn next(&self, from: u32, len: u32, flip: u64) -> u32 {
        let mut at = from;
        while at < len {
            let Some(word) = self.0.get((at / 64) as usize) else {
                break;
            };
            let rest = (word ^ flip) >> (at % 64);
            if rest != 0 {
                return (at + rest.trailing_zeros()).min(len);
            }
            at = (at / 64 + 1) * 64;
        }
        len
    }

    /// The first free bit from `from` on, or `len`.
    pub(crate) fn next_free(&self, from: u32, len: u32) -> u32 {
        self.next(from, len, u64::MAX)
    }

    /// The first bit in use from `from` on, or `len`.
    pub(crate) fn next_used(&self, from: u32, len: u32) -> u32 {
        self.next(from, len, 0)
    }

    /// The first run of at least `want` in `from..len`, or else the longest; its start and length.
    pub(crate) fn run(&self, from: u32, len: u32, want: u32) -> Option<(u32, u32)> {
        let mut best: Option<(u32, u32)> = None;
        let mut at = self.next_free(from, len);
        while at < len {
            let end = self.next_used(at, len);
            let run = end - at;
            if best.is_none_or(|(_, b)| run > b) {
                best = Some((at, run));
            }
            if run >= want {
                break;
            }
            at = self.next_free(end, len);
        }
        best
    }
}

impl<D: Disk> Volume<D> {
    /// Blocks that stay free for tables.
    fn pool(&self) -> u64 {
        (self.layout.blocks / 50).min(POOL_MOST)
    }

    /// Blocks that may be promised. Those that are not for everybody are only told to the privileged.
    pub(crate) fn available(&self, is_privileged: bool) -> u64 {
        let kept = if is_privileged { 0 } else { self.layout.reserved_blocks };
        self.counts
            .blocks
            .saturating_sub(self.claims.shadow.count())
            .saturating_sub(self.reserved)
            .saturating_sub(self.pool())
            .saturating_sub(kept)
    }

    fn words(&self) -> usize {
        self.layout.block_bytes / 8
    }

    /// A group's blocks: those in use, those freed a moment ago, and those promised.
    fn busy(&mut self, n: u32) -> Result<Vec<u64>, Error> {
        let bitmap = self.group(n)?.block_bitmap;
        let content = self.block(bitmap, Role::BlockBitmap(n))?;
        let (chunks, _) = content.as_chunks::<8>();
        let mut words: Vec<u64> = chunks.iter().map(|c| u64::from_le_bytes(*c)).collect();
        for shadow in [self.freed.bits(n), self.claims.shadow.bits(n)].into_iter().flatten() {
            for (word, more) in words.iter_mut().zip(shadow) {
                *word |= more;
            }
        }
        Ok(words)
    }

    /// A free run near `goal`, of up to `want` blocks, within one group. Not taken yet.
    pub(crate) fn find_run(&mut self, goal: u64, want: u32) -> Result<(u64, u32), Error> {
        let want = want.max(1);
        let goal = if goal < self.layout.first_data_block || goal >= self.layout.blocks {
            self.layout.first_data_block
        } else {
            goal
        };
        let (goal_group, goal_bit) = self.layout.place(goal);
        let groups = self.layout.groups;
        let mut best: Option<(u32, u32, u32)> = None;
        for k in 0..groups {
            if k > PATIENCE && best.is_some() {
                break;
            }
            let n = (goal_group + k) % groups;
            if self.group(n)?.free_blocks == 0 {
                continue;
            }
            let longest = self.longest.get(&n).copied().unwrap_or(u32::MAX);
            if longest == 0 || best.is_some_and(|(.., len)| longest <= len) {
                continue;
            }
            let len = self.layout.group_len(n);
            let words = self.busy(n)?;
            let bits = Bits(&words);
            if k == 0 {
                if bits.next_free(goal_bit, len) == goal_bit && goal_bit < len {
                    // Right where the last one ended is best, however short it is.
                    let run = bits.next_used(goal_bit, len) - goal_bit;
                    return Ok((goal, run.min(want)));
                }
                if let Some((bit, run)) = bits.run(goal_bit, len, want)
                    && run >= want
                {
                    return Ok((self.layout.group_start(n) + u64::from(bit), want));
                }
            }
            match bits.run(0, len, want) {
                Some((bit, run)) if run >= want => {
                    return Ok((self.layout.group_start(n) + u64::from(bit), want));
                }
                Some((bit, run)) => {
                    self.longest.insert(n, run);
                    if best.is_none_or(|(.., len)| run > len) {
                        best = Some((n, bit, run));
                    }
                }
                None => {
                    self.longest.insert(n, 0);
                }
            }
        }
        let (n, bit, run) = best.ok_or(Error::NoSpace)?;
        Ok((self.layout.group_start(n) + u64::from(bit), run.min(want)))
    }

    /// Takes a run that is free in its bitmap; all of one group.
    pub(crate) fn take_run(&mut self, start: u64, len: u32) -> Result<(), Error> {
        if !self.is_data_run(start, u64::from(len)) {
            return Err(Error::Corrupt("a bitmap has blocks of the file system's own free"));
        }
        let (n, bit) = self.layout.place(start);
        let mut group = self.group(n)?;
        self.modify(group.block_bitmap, Role::BlockBitmap(n), |bits| {
            for b in bit..bit + len {
                let byte = bits
                    .get((b / 8) as usize)
                    .ok_or(Error::Corrupt("a run of blocks leaves its group"))?;
                if byte & (1 << (b % 8)) != 0 {
                    return Err(Error::Corrupt("a block that was free is in use"));
                }
            }
            set_bits(bits, bit, bit + len);
            Ok(())
        })?;
        const BAD: Error = Error::Corrupt("count of a group's free blocks");
        group.free_blocks = group.free_blocks.checked_sub(len).ok_or(BAD)?;
        group.flags &= !flag::BLOCK_UNINIT;
        self.put_group(n, &group)?;
        self.counts.blocks = self.counts.blocks.checked_sub(u64::from(len)).ok_or(BAD)?;
        Ok(())
    }

    /// Takes one block for a table or a directory.
    pub(crate) fn take_block(&mut self, goal: u64) -> Result<u64, Error> {
        let (block, _) = self.find_run(goal, 1)?;
        self.take_run(block, 1)?;
        Ok(block)
    }

    /// Frees a run. It can be given away once the running transaction is committed.
    pub(crate) fn free_run(&mut self, start: u64, len: u64, is_metadata: bool) -> Result<(), Error> {
        if !self.is_data_run(start, len) {
            return Err(Error::Corrupt("freeing blocks that are not a file's"));
        }
        let (mut at, end) = (start, start + len);
        while at < end {
            let (n, bit) = self.layout.place(at);
            let rest = u64::from(self.layout.group_len(n))
                .saturating_sub(u64::from(bit))
                .max(1);
            let run = rest.min(end - at);
            let run32 = u32::try_from(run).map_err(|_| Error::Corrupt("length of a run"))?;
            let mut group = self.group(n)?;
            if group.flags & flag::BLOCK_UNINIT != 0 {
                return Err(Error::Corrupt("freeing blocks of a group that has none in use"));
            }
            self.modify(group.block_bitmap, Role::BlockBitmap(n), |bits| {
                for b in bit..bit + run32 {
                    let byte = bits
                        .get_mut((b / 8) as usize)
                        .ok_or(Error::Corrupt("a run of blocks leaves its group"))?;
                    if *byte & (1 << (b % 8)) == 0 {
                        return Err(Error::Corrupt("a block is freed twice"));
                    }
                    *byte &= !(1 << (b % 8));
                }
                Ok(())
            })?;
            group.free_blocks = group.free_blocks.saturating_add(run32);
            if group.free_blocks > self.layout.group_len(n) {
                return Err(Error::Corrupt("count of a group's free blocks"));
            }
            self.put_group(n, &group)?;
            self.counts.blocks += run;
            let words = self.words();
            self.freed.set(n, bit, run32, words);
            if let Some(undo) = self.undo.as_mut() {
                undo.freed.push((n, bit, run32));
            }
            self.longest.remove(&n);
            at += run;
        }
        if is_metadata {
            for block in start..end {
                self.forget(block)?;
            }
        }
        Ok(())
    }

    /// Promises a run to content; nothing on the disk changes.
    pub(crate) fn claim(&mut self, ino: u32, first: u64, start: u64, len: u32) {
        let (n, bit) = self.layout.place(start);
        let words = self.words();
        self.claims.shadow.set(n, bit, len, words);
        self.claims.add(ino, first, start, u64::from(len));
    }

    /// Takes promises back: nothing was written there that counts, or a map names it by now.
    pub(crate) fn release_claims(&mut self, ino: u32, first: u64, end: u64) {
        for (start, len) in self.claims.take(ino, first, end) {
            let (n, bit) = self.layout.place(start);
            self.claims.shadow.unset(n, bit, crate::bytes::low32(len));
            self.longest.remove(&n);
        }
    }
}
