//! Inodes (kernel documentation, `filesystems/ext4/inodes.rst`).

use alloc::vec;
use alloc::vec::Vec;

use crate::le::{crc32c, part, put, put16, put32, u16_at, u32_at};
use crate::superblock::ro_compat;
use crate::volume::Volume;
use crate::{Disk, Error};

/// The root directory.
pub const ROOT: u32 = 2;

pub(crate) const FLAG_IMMUTABLE: u32 = 0x10;
pub(crate) const FLAG_APPEND: u32 = 0x20;
pub(crate) const FLAG_INDEX: u32 = 0x1000;
pub(crate) const FLAG_HUGE: u32 = 0x4_0000;
pub(crate) const FLAG_EXTENTS: u32 = 0x8_0000;
pub(crate) const FLAG_EA_INODE: u32 = 0x20_0000;
pub(crate) const FLAG_INLINE_DATA: u32 = 0x1000_0000;
/// Flags that a new file takes from its directory (`EXT4_FL_INHERITED` less what is not built).
const FLAGS_INHERITED: u32 = 0x1 | 0x2 | 0x8 | 0x40 | 0x80;

/// Kinds of files, as a mode's upper four bits have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    /// A FIFO.
    Fifo = 0o01_0000,
    /// A character device.
    CharDevice = 0o02_0000,
    /// A directory.
    Directory = 0o04_0000,
    /// A block device.
    BlockDevice = 0o06_0000,
    /// A regular file.
    Regular = 0o10_0000,
    /// A symbolic link.
    Symlink = 0o12_0000,
    /// A socket.
    Socket = 0o14_0000,
}

impl Kind {
    pub(crate) fn from_mode(mode: u16) -> Option<Self> {
        Some(match mode & 0o17_0000 {
            0o01_0000 => Self::Fifo,
            0o02_0000 => Self::CharDevice,
            0o04_0000 => Self::Directory,
            0o06_0000 => Self::BlockDevice,
            0o10_0000 => Self::Regular,
            0o12_0000 => Self::Symlink,
            0o14_0000 => Self::Socket,
            _ => return None,
        })
    }

    /// The byte of a directory entry.
    pub(crate) fn entry_byte(self) -> u8 {
        match self {
            Self::Regular => 1,
            Self::Directory => 2,
            Self::CharDevice => 3,
            Self::BlockDevice => 4,
            Self::Fifo => 5,
            Self::Socket => 6,
            Self::Symlink => 7,
        }
    }

    pub(crate) fn from_entry_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Regular,
            2 => Self::Directory,
            3 => Self::CharDevice,
            4 => Self::BlockDevice,
            5 => Self::Fifo,
            6 => Self::Socket,
            7 => Self::Symlink,
            _ => return None,
        })
    }
}

/// What an inode says of its file. Times are nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inode {
    /// Its number.
    pub ino: u32,
    /// What it is.
    pub kind: Kind,
    /// Permission bits (07777).
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes.
    pub size: u64,
    /// Space used, in units of 512 bytes.
    pub sectors: u64,
    /// Names.
    pub links: u32,
    /// Last access.
    pub atime_ns: i64,
    /// Last change of the data.
    pub mtime_ns: i64,
    /// Last change of the inode.
    pub ctime_ns: i64,
    /// Creation; that of the inode's change where the file system does not keep it.
    pub btime_ns: i64,
    /// For devices: major and minor number.
    pub device: (u32, u32),
    /// No changes at all (chattr +i).
    pub is_immutable: bool,
    /// Only appending (chattr +a).
    pub is_append_only: bool,
    /// Distinguishes files that had the same number.
    pub generation: u32,
}

/// What to change; `None` leaves one alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Permission bits (07777).
    pub mode: Option<u16>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Last access.
    pub atime_ns: Option<i64>,
    /// Last change of the data.
    pub mtime_ns: Option<i64>,
    /// Last change of the inode.
    pub ctime_ns: Option<i64>,
}

/// An inode's bytes.
#[derive(Clone, Debug)]
pub(crate) struct Raw {
    pub(crate) ino: u32,
    pub(crate) bytes: Vec<u8>,
}

const ATIME: (usize, usize) = (0x8, 0x8c);
const CTIME: (usize, usize) = (0xc, 0x84);
const MTIME: (usize, usize) = (0x10, 0x88);
const CRTIME: (usize, usize) = (0x90, 0x94);

impl Raw {
    pub(crate) fn mode(&self) -> Result<u16, Error> {
        u16_at(&self.bytes, 0)
    }

    pub(crate) fn kind(&self) -> Result<Kind, Error> {
        Kind::from_mode(self.mode()?).ok_or(Error::Corrupt("an inode's mode"))
    }

    pub(crate) fn is_directory(&self) -> bool {
        matches!(self.kind(), Ok(Kind::Directory))
    }

    pub(crate) fn flags(&self) -> Result<u32, Error> {
        u32_at(&self.bytes, 0x20)
    }

    pub(crate) fn set_flags(&mut self, flags: u32) -> Result<(), Error> {
        put32(&mut self.bytes, 0x20, flags)
    }

    pub(crate) fn has_extents(&self) -> Result<bool, Error> {
        Ok(self.flags()? & FLAG_EXTENTS != 0)
    }

    pub(crate) fn links(&self) -> Result<u32, Error> {
        u16_at(&self.bytes, 0x1a).map(u32::from)
    }

    pub(crate) fn set_links(&mut self, n: u32) -> Result<(), Error> {
        put16(&mut self.bytes, 0x1a, n as u16)
    }

    pub(crate) fn dtime(&self) -> Result<u32, Error> {
        u32_at(&self.bytes, 0x14)
    }

    pub(crate) fn set_dtime(&mut self, value: u32) -> Result<(), Error> {
        put32(&mut self.bytes, 0x14, value)
    }

    pub(crate) fn size(&self) -> Result<u64, Error> {
        let low = u64::from(u32_at(&self.bytes, 0x4)?);
        let high = u64::from(u32_at(&self.bytes, 0x6c)?);
        Ok(low | high << 32)
    }

    pub(crate) fn set_size(&mut self, size: u64) -> Result<(), Error> {
        put32(&mut self.bytes, 0x4, size as u32)?;
        put32(&mut self.bytes, 0x6c, (size >> 32) as u32)
    }

    pub(crate) fn generation(&self) -> Result<u32, Error> {
        u32_at(&self.bytes, 0x64)
    }

    /// Block map or extent root: 60 bytes.
    pub(crate) fn map(&self) -> Result<&[u8], Error> {
        part(&self.bytes, 0x28, 0x64)
    }

    pub(crate) fn put_map(&mut self, map: &[u8]) -> Result<(), Error> {
        put(&mut self.bytes, 0x28, map.get(..60).unwrap_or(map))
    }

    pub(crate) fn xattr_block(&self) -> Result<u64, Error> {
        Ok(u64::from(u32_at(&self.bytes, 0x68)?) | u64::from(u16_at(&self.bytes, 0x76)?) << 32)
    }

    pub(crate) fn set_xattr_block(&mut self, block: u64) -> Result<(), Error> {
        put32(&mut self.bytes, 0x68, block as u32)?;
        put16(&mut self.bytes, 0x76, (block >> 32) as u16)
    }

    /// Space used, in units of 512 bytes.
    pub(crate) fn sectors(&self, block_bytes: usize) -> Result<u64, Error> {
        let n = u64::from(u32_at(&self.bytes, 0x1c)?) | u64::from(u16_at(&self.bytes, 0x74)?) << 32;
        let unit = if self.flags()? & FLAG_HUGE != 0 {
            block_bytes as u64 / 512
        } else {
            1
        };
        Ok(n.saturating_mul(unit))
    }

    fn set_sectors(&mut self, n: u64, has_huge: bool, block_bytes: usize) -> Result<(), Error> {
        let unit = block_bytes as u64 / 512;
        let mut flags = self.flags()? & !FLAG_HUGE;
        let mut value = n;
        if n >> 32 != 0 && has_huge && n >> 48 != 0 {
            flags |= FLAG_HUGE;
            value = n / unit;
        } else if n >> 32 != 0 && !has_huge {
            return Err(Error::TooLarge);
        }
        self.set_flags(flags)?;
        put32(&mut self.bytes, 0x1c, value as u32)?;
        if has_huge {
            put16(&mut self.bytes, 0x74, (value >> 32) as u16)?;
        }
        Ok(())
    }

    /// Bytes of the part behind the first 128 that are in use.
    pub(crate) fn extra_bytes(&self) -> usize {
        if self.bytes.len() <= 128 {
            return 0;
        }
        usize::from(u16_at(&self.bytes, 0x80).unwrap_or(0))
    }

    fn has_field(&self, at: usize, len: usize) -> bool {
        at + len <= 128 + self.extra_bytes() && at + len <= self.bytes.len()
    }

    fn time(&self, (at, extra): (usize, usize)) -> Result<i64, Error> {
        let seconds = i64::from(u32_at(&self.bytes, at)? as i32);
        if !self.has_field(extra, 4) {
            return Ok(seconds * 1_000_000_000);
        }
        let e = u32_at(&self.bytes, extra)?;
        let seconds = seconds + (i64::from(e & 3) << 32);
        Ok(seconds * 1_000_000_000 + i64::from((e >> 2).min(999_999_999)))
    }

    fn set_time(&mut self, (at, extra): (usize, usize), ns: i64) -> Result<(), Error> {
        let seconds = ns.div_euclid(1_000_000_000);
        if !self.has_field(extra, 4) {
            let held = seconds.clamp(i64::from(i32::MIN), i64::from(i32::MAX));
            return put32(&mut self.bytes, at, held as i32 as u32);
        }
        let seconds = seconds.clamp(i64::from(i32::MIN), (3 << 32) + i64::from(i32::MAX));
        put32(&mut self.bytes, at, seconds as u32)?;
        let epoch = (seconds - i64::from(seconds as i32)) >> 32;
        put32(
            &mut self.bytes,
            extra,
            (epoch as u32 & 3) | (ns.rem_euclid(1_000_000_000) as u32) << 2,
        )
    }

    pub(crate) fn set_mtime(&mut self, ns: i64) -> Result<(), Error> {
        self.set_time(MTIME, ns)
    }

    pub(crate) fn set_ctime(&mut self, ns: i64) -> Result<(), Error> {
        self.set_time(CTIME, ns)
    }

    pub(crate) fn touch(&mut self, ns: i64) -> Result<(), Error> {
        self.set_mtime(ns)?;
        self.set_ctime(ns)
    }

    fn id(&self, low: usize, high: usize) -> Result<u32, Error> {
        Ok(u32::from(u16_at(&self.bytes, low)?) | u32::from(u16_at(&self.bytes, high)?) << 16)
    }

    fn set_id(&mut self, low: usize, high: usize, id: u32) -> Result<(), Error> {
        put16(&mut self.bytes, low, id as u16)?;
        put16(&mut self.bytes, high, (id >> 16) as u16)
    }

    /// What checksums over the inode's own blocks begin with.
    pub(crate) fn seed(&self, fs_seed: u32) -> Result<u32, Error> {
        let crc = crc32c(fs_seed, &self.ino.to_le_bytes());
        Ok(crc32c(crc, &self.generation()?.to_le_bytes()))
    }

    fn checksum(&self, fs_seed: u32) -> Result<(u32, u32), Error> {
        let mut copy = self.bytes.clone();
        put16(&mut copy, 0x7c, 0)?;
        let has_high = self.has_field(0x82, 2);
        let mut have = u32::from(u16_at(&self.bytes, 0x7c)?);
        if has_high {
            put16(&mut copy, 0x82, 0)?;
            have |= u32::from(u16_at(&self.bytes, 0x82)?) << 16;
        }
        let want = crc32c(self.seed(fs_seed)?, &copy);
        Ok((have, if has_high { want } else { want & 0xffff }))
    }

    fn is_zero(&self) -> bool {
        self.bytes.iter().all(|b| *b == 0)
    }

    fn device(&self) -> Result<(u32, u32), Error> {
        let old = u32_at(&self.bytes, 0x28)?;
        if old != 0 {
            return Ok((old >> 8 & 0xff, old & 0xff));
        }
        let new = u32_at(&self.bytes, 0x2c)?;
        Ok((new >> 8 & 0xfff, new & 0xff | new >> 12 & 0xf_ff00))
    }

    pub(crate) fn set_device(&mut self, (major, minor): (u32, u32)) -> Result<(), Error> {
        if major < 256 && minor < 256 {
            return put32(&mut self.bytes, 0x28, major << 8 | minor);
        }
        put32(
            &mut self.bytes,
            0x2c,
            minor & 0xff | (major & 0xfff) << 8 | (minor & 0xf_ff00) << 12,
        )
    }

    fn to_inode(&self, block_bytes: usize) -> Result<Inode, Error> {
        let flags = self.flags()?;
        let kind = self.kind()?;
        let has_birth = self.has_field(CRTIME.1, 4);
        Ok(Inode {
            ino: self.ino,
            kind,
            mode: self.mode()? & 0o7777,
            uid: self.id(0x2, 0x78)?,
            gid: self.id(0x18, 0x7a)?,
            size: self.size()?,
            sectors: self.sectors(block_bytes)?,
            links: self.links()?,
            atime_ns: self.time(ATIME)?,
            mtime_ns: self.time(MTIME)?,
            ctime_ns: self.time(CTIME)?,
            btime_ns: self.time(if has_birth { CRTIME } else { CTIME })?,
            device: match kind {
                Kind::CharDevice | Kind::BlockDevice => self.device()?,
                _ => (0, 0),
            },
            is_immutable: flags & FLAG_IMMUTABLE != 0,
            is_append_only: flags & FLAG_APPEND != 0,
            generation: self.generation()?,
        })
    }
}

/// Who owns a new file, and what is allowed with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Permission bits (07777).
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl<D: Disk> Volume<D> {
    fn inode_at(&mut self, ino: u32) -> Result<(u64, usize), Error> {
        if ino == 0 || ino > self.sb.inodes {
            return Err(Error::Corrupt("an inode's number"));
        }
        let per = self.sb.inodes_per_group;
        let table = self.group((ino - 1) / per)?.inode_table()?;
        let at = u64::from((ino - 1) % per) * self.sb.inode_bytes as u64;
        let block_bytes = self.sb.block_bytes as u64;
        Ok((table + at / block_bytes, (at % block_bytes) as usize))
    }

    /// An inode's bytes, whatever they mean.
    pub(crate) fn raw_any(&mut self, ino: u32) -> Result<Raw, Error> {
        let (block, offset) = self.inode_at(ino)?;
        let content = self.block(block)?;
        let bytes = part(&content, offset, offset + self.sb.inode_bytes)?.to_vec();
        let raw = Raw { ino, bytes };
        let extra = raw.extra_bytes();
        if self.sb.inode_bytes > 128 && (extra > self.sb.inode_bytes - 128 || !extra.is_multiple_of(4)) {
            return Err(Error::Corrupt("an inode's size"));
        }
        if self.sb.has_csum() && !raw.is_zero() {
            let (have, want) = raw.checksum(self.sb.seed)?;
            if have != want {
                return Err(Error::Corrupt("an inode's checksum"));
            }
        }
        Ok(raw)
    }

    /// The bytes of an inode that is in use.
    pub(crate) fn raw(&mut self, ino: u32) -> Result<Raw, Error> {
        let raw = self.raw_any(ino)?;
        let kind = raw.kind()?;
        let flags = raw.flags()?;
        if flags & (FLAG_INLINE_DATA | FLAG_EA_INODE) != 0 {
            return Err(Error::Unsupported);
        }
        if raw.size()? > i64::MAX as u64 || kind == Kind::Directory && raw.size()? > 1 << 40 {
            return Err(Error::Corrupt("a file's size"));
        }
        Ok(raw)
    }

    pub(crate) fn store(&mut self, raw: &mut Raw) -> Result<(), Error> {
        if self.sb.has_csum() {
            let (_, want) = raw.checksum(self.sb.seed)?;
            put16(&mut raw.bytes, 0x7c, want as u16)?;
            if raw.has_field(0x82, 2) {
                put16(&mut raw.bytes, 0x82, (want >> 16) as u16)?;
            }
        }
        let (block, offset) = self.inode_at(raw.ino)?;
        self.modify(block, |b| put(b, offset, &raw.bytes))
    }

    /// Adds to or takes from what a file uses, in blocks.
    pub(crate) fn count_blocks(&mut self, raw: &mut Raw, added: i64) -> Result<(), Error> {
        let block_bytes = self.sb.block_bytes;
        let unit = (block_bytes / 512) as i64;
        let now = raw.sectors(block_bytes)?;
        let new = now
            .checked_add_signed(added * unit)
            .ok_or(Error::Corrupt("a file's count of blocks"))?;
        raw.set_sectors(new, self.sb.ro_compat & ro_compat::HUGE_FILE != 0, block_bytes)
    }

    /// What an inode says. [`ROOT`] is the root directory.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Disk`]; [`Error::NotFound`] when the inode is not in use.
    pub fn inode(&mut self, ino: u32) -> Result<Inode, Error> {
        let result = self.try_inode(ino);
        if let Err(error) = &result {
            self.note(error);
        }
        result
    }

    fn try_inode(&mut self, ino: u32) -> Result<Inode, Error> {
        if ino == 0 || ino > self.sb.inodes || (ino < self.sb.first_inode && ino != ROOT) {
            return Err(Error::Corrupt("an inode's number"));
        }
        let raw = self.raw_any(ino)?;
        if raw.mode()? == 0 {
            return Err(Error::NotFound);
        }
        self.raw(ino)?.to_inode(self.sb.block_bytes)
    }

    /// Changes attributes.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], [`Error::Corrupt`], [`Error::Disk`].
    pub fn set_attributes(&mut self, ino: u32, change: &Change, now_ns: i64) -> Result<(), Error> {
        self.operation(now_ns, |v| {
            let mut raw = v.raw(ino)?;
            if let Some(mode) = change.mode {
                let kind = raw.mode()? & 0o17_0000;
                put16(&mut raw.bytes, 0, kind | mode & 0o7777)?;
            }
            if let Some(uid) = change.uid {
                raw.set_id(0x2, 0x78, uid)?;
            }
            if let Some(gid) = change.gid {
                raw.set_id(0x18, 0x7a, gid)?;
            }
            for (at, time) in [
                (ATIME, change.atime_ns),
                (MTIME, change.mtime_ns),
                (CTIME, change.ctime_ns),
            ] {
                if let Some(ns) = time {
                    raw.set_time(at, ns)?;
                }
            }
            v.store(&mut raw)
        })
    }

    /// A new inode with one name's worth of links, not stored yet.
    pub(crate) fn new_inode(&mut self, parent: u32, kind: Kind, owner: Owner, now_ns: i64) -> Result<Raw, Error> {
        let ino = self.take_inode(parent, kind == Kind::Directory)?;
        let old = self.raw_any(ino).and_then(|r| r.generation()).unwrap_or(0);
        let bytes = vec![0; self.sb.inode_bytes];
        let mut raw = Raw { ino, bytes };
        put16(&mut raw.bytes, 0, kind as u16 | owner.mode & 0o7777)?;
        if raw.bytes.len() > 128 {
            let extra = u16_at(&self.sb.raw, 0x15e)?.clamp(32, (raw.bytes.len() - 128) as u16);
            put16(&mut raw.bytes, 0x80, extra)?;
        }
        raw.set_id(0x2, 0x78, owner.uid)?;
        raw.set_id(0x18, 0x7a, owner.gid)?;
        raw.set_links(1)?;
        put32(&mut raw.bytes, 0x64, old.wrapping_add(1))?;
        for at in [ATIME, CTIME, MTIME] {
            raw.set_time(at, now_ns)?;
        }
        if raw.has_field(CRTIME.1, 4) {
            raw.set_time(CRTIME, now_ns)?;
        }
        let mut flags = self.raw(parent)?.flags()? & FLAGS_INHERITED;
        if !matches!(kind, Kind::Directory | Kind::Regular) {
            flags = 0;
        }
        if self.sb.has_extents() && matches!(kind, Kind::Directory | Kind::Regular | Kind::Symlink) {
            flags |= FLAG_EXTENTS;
            raw.put_map(&crate::extent::empty_root())?;
        }
        raw.set_flags(flags)?;
        Ok(raw)
    }

    /// Bytes of the longest file.
    pub fn file_bytes_max(&self, has_extents: bool) -> u64 {
        let block = self.sb.block_bytes as u64;
        if has_extents {
            return (block << 32) - block;
        }
        let per = block / 4;
        let blocks = 12 + per + per * per + per * per * per;
        // The count of 512-byte units has 32 bits, or 48 with huge_file.
        let counted = if self.sb.ro_compat & ro_compat::HUGE_FILE != 0 {
            1 << 48
        } else {
            (1u64 << 32) - 1
        };
        (blocks * block).min(counted * 512)
    }

    pub(crate) fn link_count_max(&self) -> u32 {
        65_000
    }
}
