//! Inodes on the disk, and what callers see of them.

use alloc::vec::Vec;

use crate::bytes::{low16, low32, put, put_u16, put_u32, slice, u16_at, u32_at};
use crate::cache::Role;
use crate::crc::crc32c;
use crate::features::ro_compat;
use crate::layout::Layout;
use crate::transaction::NAMES_CREDITS;
use crate::types::{Attributes, Device, Ino, Inode, Kind, Timestamp};
use crate::volume::Volume;
use crate::{Disk, Error};

/// Bits of `i_flags`.
pub(crate) mod flag {
    pub(crate) const INDEX: u32 = 0x1000;
    pub(crate) const HUGE_FILE: u32 = 0x4_0000;
    pub(crate) const EXTENTS: u32 = 0x8_0000;
    /// Bits whose meaning is not known here: the content cannot be trusted to be blocks.
    pub(crate) const REFUSED: u32 = 0x1000_0000 | 0x20_0000;
    /// Bits a user may set: secrm, unrm, sync, immutable, append, nodump, noatime, dirsync, topdir.
    pub(crate) const USER: u32 = 0x1 | 0x2 | 0x8 | 0x10 | 0x20 | 0x40 | 0x80 | 0x1_0000 | 0x2_0000;
    /// Bits a new file takes from its directory: as `USER`, without immutable, append and topdir.
    pub(crate) const INHERITED: u32 = 0x1 | 0x2 | 0x8 | 0x40 | 0x80 | 0x1_0000;
}

/// Where `i_block` is, and its length.
pub(crate) const BLOCK: usize = 0x28;
pub(crate) const BLOCK_BYTES: usize = 60;
const SUM_LOW: usize = 0x7c;
const SUM_HIGH: usize = 0x82;
const CTIME_EXTRA: usize = 0x84;
const MTIME_EXTRA: usize = 0x88;
const ATIME_EXTRA: usize = 0x8c;
const BTIME: usize = 0x90;
const BTIME_EXTRA: usize = 0x94;

/// An inode's bytes. They are at least 128, so that the fields below that are always there.
#[derive(Clone, Debug)]
pub(crate) struct Raw {
    pub(crate) ino: u32,
    pub(crate) bytes: Vec<u8>,
}

impl Raw {
    fn u16(&self, at: usize) -> u16 {
        u16_at(&self.bytes, at).unwrap_or_default()
    }

    fn u32(&self, at: usize) -> u32 {
        u32_at(&self.bytes, at).unwrap_or_default()
    }

    /// Fields beyond the inode's end are not written: what they hold the inode does without.
    fn set16(&mut self, at: usize, value: u16) {
        let _ = put_u16(&mut self.bytes, at, value);
    }

    fn set32(&mut self, at: usize, value: u32) {
        let _ = put_u32(&mut self.bytes, at, value);
    }

    /// Bytes of the fields after the first 128.
    pub(crate) fn extra(&self) -> usize {
        if self.bytes.len() > 128 {
            usize::from(self.u16(0x80))
        } else {
            0
        }
    }

    fn has(&self, at: usize) -> bool {
        at + 4 <= 128 + self.extra()
    }

    pub(crate) fn mode(&self) -> u16 {
        self.u16(0)
    }

    pub(crate) fn set_mode(&mut self, mode: u16) {
        self.set16(0, mode);
    }

    pub(crate) fn kind(&self) -> Result<Kind, Error> {
        Kind::from_mode(self.mode()).ok_or(Error::Corrupt("mode of an inode"))
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.mode() >> 12 == 4
    }

    /// Whether its blocks are content that does not pass through the journal.
    pub(crate) fn is_regular(&self) -> bool {
        self.mode() >> 12 == 8
    }

    /// Whether `i_block` maps blocks: it holds a device's numbers or a short link's target otherwise.
    pub(crate) fn has_map(&self) -> bool {
        match Kind::from_mode(self.mode()) {
            Some(Kind::Regular | Kind::Directory) => true,
            Some(Kind::Symlink) => self.size() >= BLOCK_BYTES as u64,
            _ => false,
        }
    }

    pub(crate) fn uid(&self) -> u32 {
        u32::from(self.u16(0x02)) | u32::from(self.u16(0x78)) << 16
    }

    pub(crate) fn gid(&self) -> u32 {
        u32::from(self.u16(0x18)) | u32::from(self.u16(0x7a)) << 16
    }

    pub(crate) fn set_owner(&mut self, uid: u32, gid: u32) {
        self.set16(0x02, low16(uid));
        self.set16(0x78, low16(uid >> 16));
        self.set16(0x18, low16(gid));
        self.set16(0x7a, low16(gid >> 16));
    }

    pub(crate) fn size(&self) -> u64 {
        u64::from(self.u32(0x04)) | u64::from(self.u32(0x6c)) << 32
    }

    pub(crate) fn set_size(&mut self, size: u64) {
        self.set32(0x04, low32(size));
        self.set32(0x6c, low32(size >> 32));
    }

    pub(crate) fn links(&self) -> u16 {
        self.u16(0x1a)
    }

    pub(crate) fn set_links(&mut self, links: u16) {
        self.set16(0x1a, links);
    }

    pub(crate) fn flags(&self) -> u32 {
        self.u32(0x20)
    }

    pub(crate) fn set_flags(&mut self, flags: u32) {
        self.set32(0x20, flags);
    }

    pub(crate) fn has_extents(&self) -> bool {
        self.flags() & flag::EXTENTS != 0
    }

    pub(crate) fn dtime(&self) -> u32 {
        self.u32(0x14)
    }

    pub(crate) fn set_dtime(&mut self, value: u32) {
        self.set32(0x14, value);
    }

    pub(crate) fn generation(&self) -> u32 {
        self.u32(0x64)
    }

    pub(crate) fn set_generation(&mut self, value: u32) {
        self.set32(0x64, value);
    }

    pub(crate) fn attribute_block(&self) -> u64 {
        u64::from(self.u32(0x68)) | u64::from(self.u16(0x76)) << 32
    }

    pub(crate) fn set_attribute_block(&mut self, block: u64) {
        self.set32(0x68, low32(block));
        self.set16(0x76, low16(low32(block >> 32)));
    }

    pub(crate) fn sectors(&self, layout: &Layout) -> u64 {
        let low = u64::from(self.u32(0x1c));
        if layout.ro_compat & ro_compat::HUGE_FILE == 0 {
            return low;
        }
        let all = low | u64::from(self.u16(0x74)) << 32;
        if self.flags() & flag::HUGE_FILE != 0 {
            all.saturating_mul(layout.sectors_per_block())
        } else {
            all
        }
    }

    /// Adds `blocks`, which may be negative, to the space used.
    pub(crate) fn add_blocks(&mut self, layout: &Layout, blocks: i64) -> Result<(), Error> {
        const BAD: Error = Error::Corrupt("count of an inode's blocks");
        let change = blocks
            .checked_mul(i64::try_from(layout.sectors_per_block()).map_err(|_| BAD)?)
            .ok_or(BAD)?;
        let sectors = self.sectors(layout).checked_add_signed(change).ok_or(BAD)?;
        let has_huge = layout.ro_compat & ro_compat::HUGE_FILE != 0;
        let (value, huge) = if has_huge && sectors >= 1 << 48 {
            (sectors / layout.sectors_per_block(), true)
        } else {
            (sectors, false)
        };
        if value >> 48 != 0 || (!has_huge && value >> 32 != 0) {
            return Err(Error::TooLarge);
        }
        self.set32(0x1c, low32(value));
        if has_huge {
            self.set16(0x74, low16(low32(value >> 32)));
            let flags = self.flags() & !flag::HUGE_FILE;
            self.set_flags(if huge { flags | flag::HUGE_FILE } else { flags });
        }
        Ok(())
    }

    pub(crate) fn map(&self) -> &[u8] {
        self.bytes.get(BLOCK..BLOCK + BLOCK_BYTES).unwrap_or_default()
    }

    pub(crate) fn map_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(BLOCK..BLOCK + BLOCK_BYTES).unwrap_or_default()
    }

    fn time(&self, at: usize, extra: usize) -> Timestamp {
        let low = i64::from(self.u32(at).cast_signed());
        let extra = if self.has(extra) { self.u32(extra) } else { 0 };
        Timestamp {
            seconds: low + (i64::from(extra & 3) << 32),
            nanoseconds: (extra >> 2).min(999_999_999),
        }
    }

    /// Seconds beyond what the inode can hold are clamped, as Linux does.
    fn set_time(&mut self, at: usize, extra: usize, time: Timestamp) {
        const LOW: i64 = i32::MIN as i64;
        let has = self.has(extra);
        let most = if has {
            i64::from(i32::MAX) + (3 << 32)
        } else {
            i64::from(i32::MAX)
        };
        let seconds = time.seconds.clamp(LOW, most);
        let bits = low32(seconds.cast_unsigned());
        self.set32(at, bits);
        if has {
            let epoch = (seconds - i64::from(bits.cast_signed())) >> 32;
            let epoch = low32(epoch.cast_unsigned()) & 3;
            self.set32(extra, epoch | time.nanoseconds.min(999_999_999) << 2);
        }
    }

    pub(crate) fn set_atime(&mut self, time: Timestamp) {
        self.set_time(0x08, ATIME_EXTRA, time);
    }

    pub(crate) fn set_ctime(&mut self, time: Timestamp) {
        self.set_time(0x0c, CTIME_EXTRA, time);
    }

    pub(crate) fn set_mtime(&mut self, time: Timestamp) {
        self.set_time(0x10, MTIME_EXTRA, time);
    }

    pub(crate) fn set_btime(&mut self, time: Timestamp) {
        if self.has(BTIME) {
            self.set_time(BTIME, BTIME_EXTRA, time);
        }
    }

    /// The content and the inode change now.
    pub(crate) fn touch(&mut self, now: Timestamp) {
        self.set_mtime(now);
        self.set_ctime(now);
    }

    /// A device's numbers: the old form in the first word, or the new one in the second.
    pub(crate) fn device(&self) -> Device {
        let (old, new) = (self.u32(BLOCK), self.u32(BLOCK + 4));
        if old != 0 {
            return Device {
                major: (old >> 8) & 0xff,
                minor: old & 0xff,
            };
        }
        Device {
            major: (new >> 8) & 0xfff,
            minor: (new & 0xff) | (new >> 12) & 0xf_ff00,
        }
    }

    pub(crate) fn set_device(&mut self, device: Device) {
        let Device { major, minor } = device;
        if major < 256 && minor < 256 {
            self.set32(BLOCK, major << 8 | minor);
        } else {
            self.set32(
                BLOCK + 4,
                (minor & 0xff) | (major & 0xfff) << 8 | (minor & 0xf_ff00) << 12,
            );
        }
    }

    fn checksum(&self, layout: &Layout) -> Result<u32, Error> {
        let b = &self.bytes;
        let seed = layout.inode_seed(self.ino, self.generation());
        let sum = crc32c(crc32c(seed, slice(b, 0, SUM_LOW)?), &[0, 0]);
        let sum = crc32c(sum, slice(b, SUM_LOW + 2, 128 - SUM_LOW - 2)?);
        if b.len() == 128 {
            return Ok(sum);
        }
        let sum = crc32c(sum, slice(b, 128, 2)?);
        let (gap, rest): (&[u8], usize) = if self.has_high_sum() {
            (&[0, 0], SUM_HIGH + 2)
        } else {
            (&[], SUM_HIGH)
        };
        Ok(crc32c(crc32c(sum, gap), slice(b, rest, b.len() - rest)?))
    }

    fn has_high_sum(&self) -> bool {
        self.extra() >= 4
    }

    fn verify(&self, layout: &Layout) -> Result<(), Error> {
        if self.extra() > self.bytes.len() - 128 || !self.extra().is_multiple_of(4) {
            return Err(Error::Corrupt("extra size of an inode"));
        }
        if layout.has_checksums() {
            let sum = self.checksum(layout)?;
            let is_right =
                self.u16(SUM_LOW) == low16(sum) && (!self.has_high_sum() || self.u16(SUM_HIGH) == low16(sum >> 16));
            if !is_right {
                return Err(Error::Corrupt("checksum of an inode"));
            }
        }
        Ok(())
    }

    fn seal(&mut self, layout: &Layout) -> Result<(), Error> {
        if layout.has_checksums() {
            let sum = self.checksum(layout)?;
            self.set16(SUM_LOW, low16(sum));
            if self.has_high_sum() {
                self.set16(SUM_HIGH, low16(sum >> 16));
            }
        }
        Ok(())
    }

    /// The start of the checksums of this inode's blocks.
    pub(crate) fn seed(&self, layout: &Layout) -> u32 {
        if layout.has_checksums() {
            layout.inode_seed(self.ino, self.generation())
        } else {
            0
        }
    }

    fn attributes(&self, layout: &Layout) -> Result<Inode, Error> {
        let kind = self.kind()?;
        let is_device = matches!(kind, Kind::CharDevice | Kind::BlockDevice);
        Ok(Inode {
            ino: Ino(self.ino),
            kind,
            mode: self.mode(),
            uid: self.uid(),
            gid: self.gid(),
            size: self.size(),
            sectors: self.sectors(layout),
            links: u32::from(self.links()),
            atime: self.time(0x08, ATIME_EXTRA),
            mtime: self.time(0x10, MTIME_EXTRA),
            ctime: self.time(0x0c, CTIME_EXTRA),
            btime: self.has(BTIME).then(|| self.time(BTIME, BTIME_EXTRA)),
            flags: self.flags(),
            generation: self.generation(),
            device: if is_device { self.device() } else { Device::default() },
            has_extents: self.has_extents(),
        })
    }
}

impl<D: Disk> Volume<D> {
    fn inode_place(&mut self, ino: u32) -> Result<(u64, usize), Error> {
        if ino == 0 || ino > self.layout.inodes {
            return Err(Error::Corrupt("an inode number that does not exist"));
        }
        let (group, index) = (
            (ino - 1) / self.layout.inodes_per_group,
            (ino - 1) % self.layout.inodes_per_group,
        );
        let table = self.group(group)?.inode_table;
        let at = index as usize * self.layout.inode_bytes;
        let block = self.layout.block_bytes;
        Ok((table + (at / block) as u64, at % block))
    }

    /// An inode as it is on the disk, in use or not.
    pub(crate) fn raw(&mut self, ino: u32) -> Result<Raw, Error> {
        let (block, at) = self.inode_place(ino)?;
        let content = self.block(block, Role::InodeTable)?;
        let raw = Raw {
            ino,
            bytes: slice(&content, at, self.layout.inode_bytes)?.to_vec(),
        };
        raw.verify(&self.layout)?;
        Ok(raw)
    }

    /// An inode that is in use: it has names, or is an orphan.
    pub(crate) fn live(&mut self, ino: u32) -> Result<Raw, Error> {
        if ino != Ino::ROOT.0 && ino < self.layout.first_inode {
            return Err(Error::Corrupt("an entry names an inode of the file system's own"));
        }
        let raw = self.raw(ino)?;
        if raw.mode() == 0 || (raw.links() == 0 && !self.orphans.contains_key(&ino)) {
            return Err(Error::Corrupt("an entry names an inode that is free"));
        }
        if raw.flags() & flag::REFUSED != 0 {
            return Err(Error::Corrupt(
                "an inode has flags of a feature the file system has not",
            ));
        }
        if raw.has_extents() && !self.layout.has_extents() {
            return Err(Error::Corrupt("an inode has extents, the file system has not"));
        }
        raw.kind()?;
        Ok(raw)
    }

    pub(crate) fn directory(&mut self, ino: Ino) -> Result<Raw, Error> {
        let raw = self.live(ino.0)?;
        if raw.is_directory() {
            Ok(raw)
        } else {
            Err(Error::NotDirectory)
        }
    }

    /// Writes an inode within the running operation.
    pub(crate) fn store(&mut self, raw: &mut Raw) -> Result<(), Error> {
        raw.seal(&self.layout)?;
        let (block, at) = self.inode_place(raw.ino)?;
        self.modify(block, Role::InodeTable, |b| put(b, at, &raw.bytes))
    }

    /// What an inode says of its file.
    ///
    /// # Errors
    /// [`Error::Corrupt`] also for a number that is not in use.
    pub fn inode(&mut self, ino: Ino) -> Result<Inode, Error> {
        let raw = self.live(ino.0).and_then(|raw| raw.attributes(&self.layout));
        self.seen(raw)
    }

    /// Changes what `change` names, and the change time.
    ///
    /// # Errors
    /// As any operation that writes.
    pub fn set_attributes(&mut self, ino: Ino, change: &Attributes, now: Timestamp) -> Result<Inode, Error> {
        self.transact(NAMES_CREDITS, now, |v| {
            let mut raw = v.live(ino.0)?;
            if let Some(permissions) = change.permissions {
                raw.set_mode(raw.mode() & 0xf000 | permissions & 0x0fff);
            }
            raw.set_owner(change.uid.unwrap_or(raw.uid()), change.gid.unwrap_or(raw.gid()));
            if let Some(time) = change.atime {
                raw.set_atime(time);
            }
            if let Some(time) = change.mtime {
                raw.set_mtime(time);
            }
            raw.set_ctime(change.ctime.unwrap_or(now));
            if let Some(flags) = change.flags {
                raw.set_flags(raw.flags() & !flag::USER | flags & flag::USER);
            }
            v.store(&mut raw)?;
            raw.attributes(&v.layout)
        })
    }
}
