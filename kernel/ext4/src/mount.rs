//! Mounting and unmounting.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;

use crate::alloc_state::{Claims, Shadow};
use crate::bytes::{low32, put, put_u16, put_u32, slice, u16_at, u32_at};
use crate::cache::Cache;
use crate::features::{incompat, unknown_ro_compat};
use crate::journal::{Journal, Run};
use crate::layout::{Layout, SUPERBLOCK_BYTES, SUPERBLOCK_OFFSET, field, state};
use crate::log::Log;
use crate::types::{MountOptions, MountReport, Space, State, Timestamp};
use crate::volume::{Counts, Volume, seal_superblock};
use crate::{Disk, Error};

pub(crate) fn put_counts(sb: &mut [u8], counts: Counts) -> Result<(), Error> {
    put_u32(sb, field::FREE_BLOCKS, low32(counts.blocks))?;
    put_u32(sb, field::FREE_BLOCKS_HIGH, low32(counts.blocks >> 32))?;
    put_u32(sb, field::FREE_INODES, low32(counts.inodes))
}

fn read_superblock<D: Disk>(disk: &D) -> Result<Vec<u8>, Error> {
    if disk.len_bytes() < SUPERBLOCK_OFFSET + SUPERBLOCK_BYTES as u64 {
        return Err(Error::NotExt4);
    }
    let mut sb = vec![0; SUPERBLOCK_BYTES];
    disk.read(SUPERBLOCK_OFFSET, &mut sb)?;
    Ok(sb)
}

impl<D: Disk> Volume<D> {
    /// Mounts what is on `disk`: replays the journal, finishes orphans, and marks the file system as in use. With
    /// `read_only`, or where something forbids writing, only the journal is replayed.
    ///
    /// # Errors
    /// [`Error::NotExt4`], [`Error::Feature`] with the name of what is not supported, [`Error::Corrupt`], or the disk's.
    pub fn mount(disk: D, options: &MountOptions, now: Timestamp) -> Result<(Self, MountReport), Error> {
        let mut sb = read_superblock(&disk)?;
        let mut layout = Layout::parse(&sb, disk.len_bytes())?;
        let mut report = MountReport {
            forbidden_by: unknown_ro_compat(layout.ro_compat),
            ..MountReport::default()
        };
        let is_frozen = report.forbidden_by.is_some() || disk.is_read_only();
        let needs_recovery = layout.incompat & incompat::RECOVER != 0;
        report.was_unclean = needs_recovery || u16_at(&sb, field::STATE)? & state::VALID == 0;
        let mut volume = Self::assemble(disk, layout.clone(), options, now);
        volume.system_zone()?;
        if layout.has_journal() {
            // What was recorded before the cut must not be undone by an older superblock in the log.
            let errors = slice(&sb, field::ERROR_COUNT, field::ERROR_END - field::ERROR_COUNT)?.to_vec();
            let state_before = u16_at(&sb, field::STATE)?;
            report.replayed = volume.open_journal(needs_recovery)?;
            if needs_recovery {
                sb = read_superblock(&volume.disk)?;
                layout = Layout::parse(&sb, volume.disk.len_bytes())?;
                if u32_at(&errors, 0)? > u32_at(&sb, field::ERROR_COUNT)? {
                    put(&mut sb, field::ERROR_COUNT, &errors)?;
                    let state = u16_at(&sb, field::STATE)?;
                    put_u16(&mut sb, field::STATE, state | state_before & state::ERRORS)?;
                }
                volume.layout = layout.clone();
                volume.cache = Cache::new(options.cache_blocks);
                volume.system.clear();
                volume.system_zone()?;
                for (start, len) in core::mem::take(&mut volume.journal_places) {
                    volume.add_system(start, len);
                }
            }
        }
        if let Log::Journal(journal) = &volume.log
            && journal.errno().is_some()
        {
            let state = u16_at(&sb, field::STATE)?;
            put_u16(&mut sb, field::STATE, state | state::ERRORS)?;
        }
        report.had_errors = u16_at(&sb, field::STATE)? & state::ERRORS != 0;
        volume.count_free()?;
        volume.is_frozen = is_frozen;
        volume.is_read_only = true;
        if !options.read_only && !is_frozen {
            volume.start_writing(sb, &mut report)?;
        }
        report.is_read_only = volume.is_read_only;
        Ok((volume, report))
    }

    fn assemble(disk: D, layout: Layout, options: &MountOptions, now: Timestamp) -> Self {
        Self {
            disk,
            layout,
            cache: Cache::new(options.cache_blocks),
            log: Log::None,
            is_read_only: true,
            is_frozen: false,
            now,
            counts: Counts::default(),
            freed: Shadow::default(),
            claims: Claims::default(),
            reserved: 0,
            revokes: BTreeSet::new(),
            undo: None,
            orphans: BTreeMap::new(),
            system: BTreeMap::new(),
            longest: BTreeMap::new(),
            journal_places: Vec::new(),
            last_directory_group: 0,
        }
    }

    fn add_system(&mut self, start: u64, len: u64) {
        if len == 0 {
            return;
        }
        let (mut start, mut end) = (start, start.saturating_add(len));
        if let Some((s, e)) = self.system.range(..=start).next_back()
            && *e >= start
        {
            start = *s;
            end = end.max(*e);
        }
        while let Some((s, e)) = self.system.range(start..=end).next().map(|(s, e)| (*s, *e)) {
            self.system.remove(&s);
            end = end.max(e);
        }
        self.system.insert(start, end);
    }

    /// Notes where the file system's own tables are.
    fn system_zone(&mut self) -> Result<(), Error> {
        for n in 0..self.layout.groups {
            let group = self.group(n)?;
            let start = self.layout.group_start(n);
            let base = self.layout.base_blocks(n).min(self.layout.group_len(n));
            self.add_system(start, u64::from(base));
            self.add_system(group.block_bitmap, 1);
            self.add_system(group.inode_bitmap, 1);
            self.add_system(group.inode_table, u64::from(self.layout.inode_table_blocks()));
        }
        Ok(())
    }

    fn count_free(&mut self) -> Result<(), Error> {
        let mut counts = Counts::default();
        for n in 0..self.layout.groups {
            let group = self.group(n)?;
            counts.blocks += u64::from(group.free_blocks);
            counts.inodes += u64::from(group.free_inodes);
        }
        self.counts = counts;
        Ok(())
    }

    /// Opens the journal, and replays it where that is due; answers the transactions replayed.
    fn open_journal(&mut self, needs_recovery: bool) -> Result<u32, Error> {
        let runs = self.journal_runs()?;
        let places: Vec<(u64, u32)> = runs.iter().map(|r| (r.physical, r.len)).collect();
        let mut journal = Journal::open(&self.disk, self.layout.block_bytes, runs)?;
        let mut replayed = 0;
        if needs_recovery {
            if self.disk.is_read_only() {
                return Err(Error::ReadOnly);
            }
            replayed = journal.recover(&self.disk)?.transactions;
        } else if journal.needs_recovery() {
            // Whether that is old or new cannot be told; e2fsck asks.
            return Err(Error::Corrupt("a journal in use, of a file system that is not"));
        }
        for (start, len) in places {
            self.journal_places.push((start, u64::from(len)));
            self.add_system(start, u64::from(len));
        }
        self.log = Log::Journal(journal);
        Ok(replayed)
    }

    /// Where the journal is.
    fn journal_runs(&mut self) -> Result<Vec<Run>, Error> {
        const BAD: Error = Error::Corrupt("inode of the journal");
        if self.layout.journal_ino == 0 {
            return Err(Error::Feature("a journal on another device"));
        }
        let raw = self.raw(self.layout.journal_ino)?;
        let count = raw.size() / self.layout.block_bytes as u64;
        let Ok(count) = u32::try_from(count) else {
            return Err(BAD);
        };
        if !raw.is_regular() || raw.links() == 0 {
            return Err(BAD);
        }
        let mut runs = Vec::new();
        let mut logical = 0;
        while logical < count {
            let mapping = self.map_raw(&raw, u64::from(logical), u64::from(count - logical))?;
            if mapping.state != State::Written {
                return Err(BAD);
            }
            let len = u32::try_from(mapping.len).map_err(|_| BAD)?;
            runs.push(Run {
                logical,
                physical: mapping.physical,
                len,
            });
            logical += len;
        }
        Ok(runs)
    }

    /// Writes the superblock to its home, past the journal: the log is empty.
    fn write_superblock(&mut self, sb: &mut [u8]) -> Result<(), Error> {
        seal_superblock(sb, self.layout.has_checksums())?;
        self.disk.write(SUPERBLOCK_OFFSET, sb)?;
        self.disk.flush()?;
        let (block, _) = self.layout.superblock();
        self.cache.remove(block);
        Ok(())
    }

    /// Marks the file system as in use, and finishes orphans.
    fn start_writing(&mut self, mut sb: Vec<u8>, report: &mut MountReport) -> Result<(), Error> {
        let now = self.now;
        let seconds = low32(now.seconds.unsigned_abs());
        put_u32(&mut sb, field::MOUNT_TIME, seconds)?;
        put_u32(&mut sb, field::WRITE_TIME, seconds)?;
        let count = u16_at(&sb, field::MOUNT_COUNT)?;
        put_u16(&mut sb, field::MOUNT_COUNT, count.saturating_add(1))?;
        put_counts(&mut sb, self.counts)?;
        let features = u32_at(&sb, field::INCOMPAT)?;
        if self.log.is_journal() {
            put_u32(&mut sb, field::INCOMPAT, features | incompat::RECOVER)?;
        } else {
            let state = u16_at(&sb, field::STATE)?;
            put_u16(&mut sb, field::STATE, state & !state::VALID)?;
        }
        let is_wide = self.layout.incompat & incompat::BITS64 != 0;
        let has_checksums = self.layout.has_checksums();
        if let Log::Journal(journal) = &mut self.log {
            journal.set_features(&self.disk, is_wide, has_checksums)?;
        }
        self.write_superblock(&mut sb)?;
        if let Log::Journal(journal) = &mut self.log
            && journal.errno().is_some()
        {
            journal.clear_errno(&self.disk)?;
        }
        self.is_read_only = false;
        self.finish_orphans(report, now)
    }

    /// Makes everything done so far permanent.
    ///
    /// # Errors
    /// The disk's; the file system is read-only afterwards.
    pub fn commit(&mut self, now: Timestamp) -> Result<(), Error> {
        self.now = now;
        if self.is_read_only {
            return if self.is_frozen && !self.cache.dirty.is_empty() {
                Err(Error::ReadOnly)
            } else {
                Ok(())
            };
        }
        self.commit_running()
    }

    /// Stops writing: commits, brings everything home, and marks the file system as clean.
    fn stop_writing(&mut self, now: Timestamp) -> Result<(), Error> {
        if self.is_read_only {
            return Ok(());
        }
        self.commit(now)?;
        self.log.finish(&self.disk)?;
        let mut sb = read_superblock(&self.disk)?;
        let features = u32_at(&sb, field::INCOMPAT)?;
        put_u32(&mut sb, field::INCOMPAT, features & !incompat::RECOVER)?;
        let state = u16_at(&sb, field::STATE)?;
        put_u16(&mut sb, field::STATE, state | state::VALID)?;
        put_u32(&mut sb, field::WRITE_TIME, low32(now.seconds.unsigned_abs()))?;
        put_counts(&mut sb, self.counts)?;
        self.write_superblock(&mut sb)?;
        self.is_read_only = true;
        Ok(())
    }

    /// Unmounts. Orphans that are still in use stay on the list, for the next mount.
    ///
    /// # Errors
    /// The disk's; the next mount recovers what was committed. The disk is answered in any case.
    pub fn unmount(mut self, now: Timestamp) -> (D, Result<(), Error>) {
        let result = self.stop_writing(now);
        (self.disk, result)
    }

    /// Makes the file system read-only, or writable.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] where writing is forbidden: a feature, the disk, or an error before.
    pub fn remount(&mut self, read_only: bool, now: Timestamp) -> Result<(), Error> {
        self.now = now;
        if read_only {
            return self.stop_writing(now);
        }
        if !self.is_read_only {
            return Ok(());
        }
        if self.is_frozen {
            return Err(Error::ReadOnly);
        }
        let sb = read_superblock(&self.disk)?;
        self.orphans.clear();
        self.start_writing(sb, &mut MountReport::default())
    }

    /// Whether nothing can be written, asked for or after an error.
    #[must_use]
    pub const fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    /// Whether something waits for a commit.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        !self.cache.dirty.is_empty() || !self.revokes.is_empty()
    }

    /// Space and inodes.
    #[must_use]
    pub fn statfs(&self) -> Space {
        let tables: u64 = self.system.iter().map(|(start, end)| end - start).sum();
        let taken = self.claims.shadow.count() + self.reserved;
        Space {
            block_bytes: low32(self.layout.block_bytes as u64),
            blocks: self.layout.blocks.saturating_sub(self.layout.first_data_block + tables),
            free: self.counts.blocks.saturating_sub(taken),
            available: self.available(false),
            inodes: u64::from(self.layout.inodes),
            free_inodes: self.counts.inodes,
        }
    }

    /// Bytes of a block.
    #[must_use]
    pub const fn block_bytes(&self) -> usize {
        self.layout.block_bytes
    }

    /// The volume's name.
    #[must_use]
    pub fn label(&self) -> &[u8] {
        let label = &self.layout.label;
        let len = label.iter().position(|b| *b == 0).unwrap_or(label.len());
        label.get(..len).unwrap_or_default()
    }

    /// The volume's UUID.
    #[must_use]
    pub const fn uuid(&self) -> [u8; 16] {
        self.layout.uuid
    }

    /// The largest size a file may have, in bytes.
    #[must_use]
    pub fn max_file_bytes(&self) -> u64 {
        self.layout.max_size(self.layout.has_extents())
    }

    /// The disk below.
    pub const fn disk(&self) -> &D {
        &self.disk
    }
}
