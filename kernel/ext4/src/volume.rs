//! A mounted file system: its cache of metadata blocks and the running transaction.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use crate::journal::{Content, Journal, Tid};
use crate::le::{put, put16};
use crate::superblock::{self, STATE_ERROR, Super};
use crate::{Disk, Error};

/// Clean metadata blocks that are kept, in bytes.
const CACHE_BYTES: usize = 8 << 20;

struct Cached {
    content: Content,
    is_dirty: bool,
    /// When it was last used, as a count.
    used: u64,
}

/// What one operation has changed, to take it back.
#[derive(Default)]
struct Undo {
    blocks: BTreeMap<u64, Option<(Content, bool)>>,
    freed: usize,
    revoked: Vec<u64>,
    superblock: Option<Super>,
}

/// A run of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// The first.
    pub start: u64,
    /// How many.
    pub len: u32,
}

/// A mounted file system over a disk.
///
/// One user at a time: the caller holds a lock around every call, and waits inside for the disk.
pub struct Volume<D> {
    pub(crate) disk: D,
    pub(crate) sb: Super,
    pub(crate) journal: Option<Journal>,
    cache: BTreeMap<u64, Cached>,
    clock: u64,
    /// Blocks freed in the running transaction: they stay taken until it commits.
    pub(crate) freed: Vec<(Blocks, bool)>,
    /// Metadata blocks freed in the running transaction.
    revoked: BTreeSet<u64>,
    dirty_blocks: usize,
    undo: Option<Undo>,
    is_super_dirty: bool,
    pub(crate) is_read_only: bool,
    /// The superblock, as it is on the disk, says that the file system is in use.
    pub(crate) is_marked: bool,
    pub(crate) has_failed: bool,
    /// Blocks promised to data that has no place yet.
    pub(crate) reserved: u64,
    pub(crate) last_group: u32,
    pub(crate) last_block: u64,
}

impl<D: Disk> Volume<D> {
    pub(crate) fn over(disk: D, sb: Super) -> Self {
        Self {
            disk,
            sb,
            journal: None,
            cache: BTreeMap::new(),
            clock: 0,
            freed: Vec::new(),
            revoked: BTreeSet::new(),
            dirty_blocks: 0,
            undo: None,
            is_super_dirty: false,
            is_read_only: true,
            is_marked: false,
            has_failed: false,
            reserved: 0,
            last_group: 0,
            last_block: 0,
        }
    }

    /// The disk.
    pub fn disk(&self) -> &D {
        &self.disk
    }

    /// Bytes of a block: 1024, 2048 or 4096.
    pub fn block_bytes(&self) -> usize {
        self.sb.block_bytes
    }

    /// Whether nothing may be changed: mounted so, or after an error.
    pub fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    /// Whether an error has been found.
    pub fn has_failed(&self) -> bool {
        self.has_failed
    }

    fn check_block(&self, block: u64) -> Result<(), Error> {
        if block == 0 && self.sb.first_data_block != 0 || block >= self.sb.blocks {
            return Err(Error::Corrupt("a block's number is not on the file system"));
        }
        Ok(())
    }

    /// A metadata block.
    pub(crate) fn block(&mut self, block: u64) -> Result<Content, Error> {
        self.clock += 1;
        if let Some(c) = self.cache.get_mut(&block) {
            c.used = self.clock;
            return Ok(c.content.clone());
        }
        self.check_block(block)?;
        let pending = self.journal.as_ref().and_then(|j| j.lookup_pending(block));
        let content = match pending {
            Some(c) => c,
            None => {
                let mut bytes = vec![0; self.sb.block_bytes];
                self.disk.read(block * self.sb.block_bytes as u64, &mut bytes)?;
                Arc::new(bytes)
            }
        };
        self.make_room();
        self.cache.insert(
            block,
            Cached {
                content: content.clone(),
                is_dirty: false,
                used: self.clock,
            },
        );
        Ok(content)
    }

    fn make_room(&mut self) {
        let most = CACHE_BYTES / self.sb.block_bytes;
        if self.cache.len() - self.dirty_blocks < most {
            return;
        }
        // The older half of the clean ones goes.
        let mut ages: Vec<u64> = self.cache.values().filter(|c| !c.is_dirty).map(|c| c.used).collect();
        let middle = ages.len() / 2;
        let (_, middle, _) = ages.select_nth_unstable(middle);
        let middle = *middle;
        self.cache.retain(|_, c| c.is_dirty || c.used > middle);
    }

    /// Takes a change of a block into the running transaction.
    pub(crate) fn modify(
        &mut self,
        block: u64,
        change: impl FnOnce(&mut Vec<u8>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.block(block)?;
        self.touch(block);
        let Some(c) = self.cache.get_mut(&block) else {
            return Err(Error::Corrupt("the cache"));
        };
        change(Arc::make_mut(&mut c.content))
    }

    /// A new metadata block: what it had before means nothing.
    pub(crate) fn replace(&mut self, block: u64, bytes: Vec<u8>) -> Result<(), Error> {
        self.check_block(block)?;
        if bytes.len() != self.sb.block_bytes {
            return Err(Error::Corrupt("a block's size"));
        }
        self.clock += 1;
        self.touch(block);
        let used = self.clock;
        let was_dirty = self.cache.get(&block).is_some_and(|c| c.is_dirty);
        if !was_dirty {
            self.dirty_blocks += 1;
        }
        self.cache.insert(
            block,
            Cached {
                content: Arc::new(bytes),
                is_dirty: true,
                used,
            },
        );
        Ok(())
    }

    /// Remembers a block as it is before its first change in this operation, and marks it changed.
    fn touch(&mut self, block: u64) {
        let before = self.cache.get(&block).map(|c| (c.content.clone(), c.is_dirty));
        if let Some(undo) = &mut self.undo {
            undo.blocks.entry(block).or_insert(before);
        }
        if let Some(c) = self.cache.get_mut(&block)
            && !c.is_dirty
        {
            c.is_dirty = true;
            self.dirty_blocks += 1;
        }
    }

    /// Changes the superblock in the running transaction.
    pub(crate) fn change_super(&mut self, change: impl FnOnce(&mut Super) -> Result<(), Error>) -> Result<(), Error> {
        let before = self.sb.clone();
        if let Some(undo) = &mut self.undo {
            undo.superblock.get_or_insert(before);
        }
        self.is_super_dirty = true;
        change(&mut self.sb)
    }

    /// Gives blocks back when the running transaction commits. Metadata is not to be replayed then.
    pub(crate) fn free_blocks(&mut self, blocks: Blocks, is_metadata: bool) -> Result<(), Error> {
        if blocks.len == 0 {
            return Ok(());
        }
        self.check_block(blocks.start)?;
        self.check_block(blocks.start + u64::from(blocks.len) - 1)?;
        self.freed.push((blocks, is_metadata));
        if is_metadata {
            for block in blocks.start..blocks.start + u64::from(blocks.len) {
                self.touch(block);
                if let Some(c) = self.cache.remove(&block)
                    && c.is_dirty
                {
                    self.dirty_blocks -= 1;
                }
                if self.revoked.insert(block)
                    && let Some(undo) = &mut self.undo
                {
                    undo.revoked.push(block);
                }
            }
        }
        Ok(())
    }

    /// Does an operation as a whole: what fails has changed nothing. One that finds no space is tried again after a
    /// commit, which frees what the transaction gave up.
    pub(crate) fn operation<T>(
        &mut self,
        now_ns: i64,
        mut body: impl FnMut(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if self.is_read_only {
            return Err(Error::ReadOnly);
        }
        self.mark_in_use(now_ns)?;
        let limit = self.journal.as_ref().map_or(4096, Journal::transaction_blocks_max);
        if self.dirty_blocks + self.revoked.len() / 64 + 64 > limit || self.freed.len() > 256 {
            self.commit(now_ns)?;
        }
        match self.attempt(&mut body) {
            Err(Error::NoSpace) if !self.freed.is_empty() => {
                self.commit(now_ns)?;
                self.attempt(&mut body)
            }
            other => other,
        }
    }

    fn attempt<T>(&mut self, body: &mut impl FnMut(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        self.undo = Some(Undo {
            freed: self.freed.len(),
            ..Undo::default()
        });
        let result = body(self);
        let undo = self.undo.take().unwrap_or_default();
        if let Err(error) = &result {
            self.roll_back(undo);
            self.note(error);
        }
        result
    }

    fn roll_back(&mut self, undo: Undo) {
        for (block, before) in undo.blocks {
            if let Some(c) = self.cache.remove(&block)
                && c.is_dirty
            {
                self.dirty_blocks -= 1;
            }
            if let Some((content, is_dirty)) = before {
                self.dirty_blocks += usize::from(is_dirty);
                self.clock += 1;
                let used = self.clock;
                self.cache.insert(
                    block,
                    Cached {
                        content,
                        is_dirty,
                        used,
                    },
                );
            }
        }
        self.freed.truncate(undo.freed);
        for block in undo.revoked {
            self.revoked.remove(&block);
        }
        if let Some(sb) = undo.superblock {
            self.sb = sb;
        }
    }

    /// After damage or a failed disk nothing is written any more (errors=remount-ro).
    pub(crate) fn note(&mut self, error: &Error) {
        if !matches!(error, Error::Corrupt(_) | Error::Disk(_)) || self.has_failed {
            return;
        }
        self.has_failed = true;
        if self.is_read_only {
            return;
        }
        self.is_read_only = true;
        if let Some(j) = &mut self.journal {
            // EIO, or EUCLEAN.
            let errno = if matches!(error, Error::Disk(_)) { -5 } else { -117 };
            j.abort(&self.disk, errno);
        }
        // The superblock tells e2fsck; where even that fails there is nobody to tell.
        if let Ok(state) = self.sb.state() {
            let _ = self.sb.set_state(state | STATE_ERROR);
            let _ = self.write_super();
        }
    }

    /// Writes the superblock itself, not through the journal.
    pub(crate) fn write_super(&mut self) -> Result<(), Error> {
        let raw = self.sb.sealed()?.to_vec();
        self.disk.write_through(superblock::OFFSET, &raw)?;
        let (block, offset) = self.super_at();
        if let Some(c) = self.cache.get_mut(&block) {
            put(Arc::make_mut(&mut c.content).as_mut_slice(), offset, &raw)?;
        }
        Ok(())
    }

    fn super_at(&self) -> (u64, usize) {
        if self.sb.block_bytes == 1024 { (1, 0) } else { (0, 1024) }
    }

    fn super_into_transaction(&mut self) -> Result<(), Error> {
        if !core::mem::take(&mut self.is_super_dirty) {
            return Ok(());
        }
        let raw = self.sb.sealed()?.to_vec();
        let (block, offset) = self.super_at();
        self.modify(block, |b| put(b, offset, &raw))
    }

    /// Makes everything done so far survive a cut, and answers the transaction's number if there was one.
    ///
    /// # Errors
    /// [`Error::Disk`] and [`Error::Corrupt`]: the volume is read-only from then on.
    pub fn commit(&mut self, now_ns: i64) -> Result<Option<Tid>, Error> {
        let result = self.try_commit(now_ns);
        if let Err(error) = &result {
            self.note(error);
        }
        result
    }

    fn try_commit(&mut self, now_ns: i64) -> Result<Option<Tid>, Error> {
        if self.dirty_blocks == 0 && self.freed.is_empty() && !self.is_super_dirty {
            return Ok(None);
        }
        if self.is_read_only {
            return Err(Error::ReadOnly);
        }
        let freed = core::mem::take(&mut self.freed);
        for (blocks, _) in &freed {
            self.release_blocks(*blocks)?;
        }
        self.super_into_transaction()?;
        let dirty: Vec<(u64, Content)> = self
            .cache
            .iter()
            .filter(|(_, c)| c.is_dirty)
            .map(|(b, c)| (*b, c.content.clone()))
            .collect();
        let revoked: Vec<u64> = core::mem::take(&mut self.revoked).into_iter().collect();
        let tid = match &mut self.journal {
            Some(journal) => {
                let tid = journal.commit(&self.disk, dirty, &revoked, now_ns)?;
                if journal.pending_blocks() > 4 * journal.transaction_blocks_max().min(1024) {
                    journal.checkpoint(&self.disk)?;
                }
                Some(tid)
            }
            None => {
                let bytes = self.sb.block_bytes as u64;
                for (block, content) in &dirty {
                    self.disk.write(block * bytes, content)?;
                }
                self.disk.flush()?;
                None
            }
        };
        for c in self.cache.values_mut() {
            c.is_dirty = false;
        }
        self.dirty_blocks = 0;
        for (blocks, _) in &freed {
            let bytes = self.sb.block_bytes as u64;
            self.disk.discard(blocks.start * bytes, u64::from(blocks.len) * bytes);
        }
        Ok(tid)
    }

    /// The number that the next commit will have, for a caller that wants to know whether its change is committed.
    pub fn running_tid(&self) -> Option<Tid> {
        self.journal.as_ref().map(Journal::next_tid)
    }

    /// Whether something waits for a commit.
    pub fn is_dirty(&self) -> bool {
        self.dirty_blocks > 0 || !self.freed.is_empty() || self.is_super_dirty
    }

    /// Says on the disk that the file system is in use, before its first change.
    pub(crate) fn mark_in_use(&mut self, now_ns: i64) -> Result<(), Error> {
        if self.is_marked {
            return Ok(());
        }
        self.is_marked = true;
        let result = self.try_mark(now_ns);
        if let Err(error) = &result {
            self.is_marked = false;
            self.note(error);
        }
        result
    }

    fn try_mark(&mut self, now_ns: i64) -> Result<(), Error> {
        if self.journal.is_some() {
            let bits = self.sb.incompat | superblock::incompat::RECOVER;
            self.sb.set_incompat(bits)?;
        } else {
            let state = self.sb.state()?;
            self.sb.set_state(state & !superblock::STATE_CLEAN)?;
        }
        self.sb.set_time(0x2c, 0x274, now_ns)?;
        let count = crate::le::u16_at(&self.sb.raw, 0x34)?;
        put16(&mut self.sb.raw, 0x34, count.saturating_add(1))?;
        self.write_super()
    }
}
