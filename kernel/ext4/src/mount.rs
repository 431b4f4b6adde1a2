//! Mounting and unmounting.

use alloc::vec;
use alloc::vec::Vec;

use crate::journal::{Journal, Recovered, Run};
use crate::le::u32_at;
use crate::map::State;
use crate::superblock::{self, STATE_CLEAN, STATE_ERROR, Super, compat, incompat, ro_compat};
use crate::volume::Volume;
use crate::{Disk, Error};

/// What a mount found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What was replayed from the journal.
    pub recovered: Option<Recovered>,
    /// Files whose removal or truncation a cut had interrupted.
    pub orphans: u32,
    /// It had not been unmounted, or has errors: e2fsck should look at it.
    pub wants_check: bool,
    /// A feature that may be read but not written: mounted read-only for it.
    pub read_only_for: Option<&'static str>,
}

/// Why a file system is not mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountError {
    /// It has a feature that is not supported.
    Feature(&'static str),
    /// Its journal must be replayed, and the disk refuses writes.
    NeedsRecovery,
    /// Another reason.
    Other(Error),
}

impl From<Error> for MountError {
    fn from(e: Error) -> Self {
        Self::Other(e)
    }
}

impl core::fmt::Display for MountError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Feature(name) => write!(f, "the feature {name} is not supported"),
            Self::NeedsRecovery => f.write_str("the journal has to be replayed, but the disk is read-only"),
            Self::Other(e) => e.fmt(f),
        }
    }
}

impl core::error::Error for MountError {}

/// What statfs(2) tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of a block.
    pub block_bytes: u32,
    /// Blocks for files.
    pub blocks: u64,
    /// Free ones.
    pub free_blocks: u64,
    /// Free ones that are not kept for root.
    pub available_blocks: u64,
    /// Inodes.
    pub inodes: u64,
    /// Free ones.
    pub free_inodes: u64,
    /// The first half of the UUID and the second.
    pub id: (u64, u64),
}

/// Whether a disk looks like ext2, ext3 or ext4; its kind's name then.
///
/// # Errors
/// [`Error::Disk`].
pub fn probe(disk: &impl Disk) -> Result<Option<&'static str>, Error> {
    let mut raw = vec![0; superblock::BYTES];
    if disk.len_bytes() < superblock::OFFSET + superblock::BYTES as u64 {
        return Ok(None);
    }
    disk.read(superblock::OFFSET, &mut raw)?;
    Ok(Super::parse(raw).ok().map(|sb| sb.kind()))
}

impl Super {
    /// `ext2`, `ext3` or `ext4`.
    pub(crate) fn kind(&self) -> &'static str {
        let newer = incompat::EXTENTS | incompat::BIT64 | incompat::FLEX_BG | incompat::CSUM_SEED;
        let newer_ro = ro_compat::HUGE_FILE | ro_compat::GDT_CSUM | ro_compat::METADATA_CSUM | ro_compat::EXTRA_ISIZE;
        if self.incompat & newer != 0 || self.ro_compat & newer_ro != 0 {
            "ext4"
        } else if self.compat & compat::HAS_JOURNAL != 0 {
            "ext3"
        } else {
            "ext2"
        }
    }
}

impl<D: Disk> Volume<D> {
    /// Mounts the file system on `disk`, replays its journal and finishes what a cut interrupted. `now_ns` is the time
    /// since 1970. A mount that is read-only still replays the journal, unless the disk refuses writes.
    ///
    /// # Errors
    /// [`MountError`].
    pub fn mount(disk: D, read_only: bool, now_ns: i64) -> Result<(Self, Report), MountError> {
        let mut report = Report::default();
        let sb = read_super(&disk)?;
        let unknown = sb.incompat & !incompat::KNOWN;
        if unknown != 0 {
            return Err(MountError::Feature(superblock::name(unknown, incompat::NAMES)));
        }
        if sb.block_bytes > 4096 {
            return Err(MountError::Feature("blocks larger than 4096 bytes"));
        }
        if disk.len_bytes() / (sb.block_bytes as u64) < sb.blocks {
            return Err(Error::Corrupt("the file system is longer than its disk").into());
        }
        let unknown = sb.ro_compat & !ro_compat::KNOWN;
        if unknown != 0 {
            report.read_only_for = Some(superblock::name(unknown, ro_compat::NAMES));
        }
        if sb.has_csum() && sb.has_gdt_csum() {
            return Err(Error::Corrupt("the superblock").into());
        }
        let is_disk_read_only = disk.is_read_only();
        let state = sb.state()?;
        report.wants_check = state & STATE_ERROR != 0;
        let mut v = Self::over(disk, sb);
        v.check_groups()?;
        if v.sb.compat & compat::HAS_JOURNAL != 0 {
            if v.sb.journal_inode()? == 0 {
                return Err(MountError::Feature("a journal on another device"));
            }
            let runs = v.journal_runs()?;
            let mut journal = Journal::open(&v.disk, v.sb.block_bytes, runs)?;
            if journal.needs_recovery() {
                if is_disk_read_only {
                    return Err(MountError::NeedsRecovery);
                }
                report.recovered = Some(journal.recover(&v.disk)?);
                // What was read before may be old now.
                let errno = journal.errno();
                let disk = v.disk;
                let sb = read_super(&disk)?;
                v = Self::over(disk, sb);
                report.wants_check |= errno != 0;
            }
            v.journal = Some(journal);
            if v.sb.incompat & incompat::RECOVER != 0 && !is_disk_read_only {
                let bits = v.sb.incompat & !incompat::RECOVER;
                v.sb.set_incompat(bits)?;
                v.write_super()?;
            }
        } else {
            report.wants_check |= state & STATE_CLEAN == 0;
        }
        let may_write = !is_disk_read_only && report.read_only_for.is_none();
        if may_write && (v.sb.last_orphan()? != 0 || v.sb.ro_compat & ro_compat::ORPHAN_PRESENT != 0) {
            v.open_for_writing()?;
            report.orphans = v.clean_orphans(now_ns)?;
            v.commit(now_ns)?;
        }
        if read_only || !may_write {
            v.close(now_ns)?;
            v.is_read_only = true;
        } else {
            v.open_for_writing()?;
        }
        Ok((v, report))
    }

    fn open_for_writing(&mut self) -> Result<(), Error> {
        self.is_read_only = false;
        let (has_csum, is_64bit) = (self.sb.has_csum(), self.sb.is_64bit());
        if let Some(j) = &mut self.journal {
            j.require(&self.disk, has_csum, is_64bit)?;
        }
        Ok(())
    }

    /// Every group's descriptor is looked at once, so that damage there is found before anything is written.
    fn check_groups(&mut self) -> Result<(), Error> {
        for index in 0..self.sb.groups {
            self.group(index)?;
        }
        Ok(())
    }

    fn journal_runs(&mut self) -> Result<Vec<Run>, Error> {
        const BAD: Error = Error::Corrupt("the journal's inode");
        let ino = self.sb.journal_inode()?;
        let raw = self.raw(ino)?;
        let blocks = u32::try_from(raw.size()? / self.sb.block_bytes as u64).map_err(|_| BAD)?;
        let mut runs = Vec::new();
        let mut at = 0;
        while at < blocks {
            let m = self.map_of(&raw, at, blocks - at)?;
            if m.state != State::Written || runs.len() > 65536 {
                return Err(BAD);
            }
            runs.push(Run {
                logical: at,
                physical: m.start,
                len: m.len,
            });
            at += m.len;
        }
        Ok(runs)
    }

    /// Brings everything to its place and says on the disk that nothing is left to do.
    fn close(&mut self, now_ns: i64) -> Result<(), Error> {
        if self.is_read_only {
            return Ok(());
        }
        self.commit(now_ns)?;
        if let Some(j) = &mut self.journal {
            j.close(&self.disk)?;
        } else {
            self.disk.flush()?;
        }
        if self.is_marked {
            let bits = self.sb.incompat & !incompat::RECOVER;
            self.sb.set_incompat(bits)?;
            if self.journal.is_none() {
                let state = self.sb.state()? | STATE_CLEAN;
                self.sb.set_state(state)?;
            }
            self.sb.set_time(0x30, 0x275, now_ns)?;
            self.write_super()?;
            self.is_marked = false;
        }
        Ok(())
    }

    /// Unmounts: everything is at its place afterwards, and the file system clean. Gives the disk back.
    ///
    /// # Errors
    /// [`Error::Disk`]; then the journal is replayed by the next mount.
    pub fn unmount(mut self, now_ns: i64) -> Result<D, Error> {
        self.close(now_ns)?;
        Ok(self.disk)
    }

    /// As [`unmount`](Self::unmount), staying mounted read-only; or writable again.
    ///
    /// # Errors
    /// [`Error::Disk`]; [`Error::ReadOnly`] when it cannot be written: for a feature, the disk, or an earlier error.
    pub fn remount(&mut self, read_only: bool, now_ns: i64) -> Result<(), Error> {
        if read_only {
            self.close(now_ns)?;
            self.is_read_only = true;
            return Ok(());
        }
        let unknown = self.sb.ro_compat & !ro_compat::KNOWN;
        if self.has_failed || unknown != 0 || self.disk.is_read_only() {
            return Err(Error::ReadOnly);
        }
        self.open_for_writing()
    }

    /// Puts everything committed at its place, so that the log is empty.
    ///
    /// # Errors
    /// [`Error::Disk`].
    pub fn checkpoint(&mut self) -> Result<(), Error> {
        match &mut self.journal {
            Some(j) => j.checkpoint(&self.disk),
            None => Ok(()),
        }
    }

    /// What statfs(2) tells.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn usage(&self) -> Result<Usage, Error> {
        let pending: u64 = self.freed.iter().map(|(b, _)| u64::from(b.len)).sum();
        let free = (self.sb.free_blocks()? + pending).saturating_sub(self.reserved);
        let mut overhead = self.sb.first_data_block;
        let table = u64::from(self.sb.inodes_per_group) * self.sb.inode_bytes as u64 / self.sb.block_bytes as u64;
        for g in 0..self.sb.groups {
            overhead += u64::from(self.sb.base_meta_blocks(g)?) + 2 + table;
        }
        let word = |at| {
            Ok::<u64, Error>(u64::from(u32_at(&self.sb.raw, at)?) | u64::from(u32_at(&self.sb.raw, at + 4)?) << 32)
        };
        Ok(Usage {
            block_bytes: self.sb.block_bytes as u32,
            blocks: self.sb.blocks.saturating_sub(overhead),
            free_blocks: free,
            available_blocks: free.saturating_sub(self.sb.reserved_blocks()?),
            inodes: u64::from(self.sb.inodes),
            free_inodes: u64::from(self.sb.free_inodes()?),
            id: (word(0x68)?, word(0x70)?),
        })
    }

    /// `ext2`, `ext3` or `ext4`.
    pub fn kind(&self) -> &'static str {
        self.sb.kind()
    }
}

fn read_super(disk: &impl Disk) -> Result<Super, Error> {
    if disk.len_bytes() < superblock::OFFSET + superblock::BYTES as u64 {
        return Err(Error::Corrupt("the disk is too small for a file system"));
    }
    let mut raw = vec![0; superblock::BYTES];
    disk.read(superblock::OFFSET, &mut raw)?;
    Super::parse(raw)
}
