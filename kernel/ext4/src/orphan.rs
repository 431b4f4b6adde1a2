//! Inodes that are to be freed or truncated should the system be cut (kernel documentation,
//! `filesystems/ext4/orphan.rst`).
//!
//! They are linked: the superblock names the first, each one's deletion time the next. A file system with an orphan file
//! may have some there too, from Linux; we add none to it.

use alloc::vec::Vec;

use crate::inode::Raw;
use crate::le::{part, put32, u32_at};
use crate::map::State;
use crate::superblock::{compat, ro_compat};
use crate::volume::Volume;
use crate::{Disk, Error};

/// Orphans that a mount takes care of at most: more are no list but a loop.
const MOST: u32 = 1 << 20;
const FILE_MAGIC: u32 = 0x0b10_ca04;

impl<D: Disk> Volume<D> {
    /// Puts an inode at the front of the list. The caller stores it.
    pub(crate) fn add_orphan(&mut self, raw: &mut Raw) -> Result<(), Error> {
        let first = self.sb.last_orphan()?;
        if first == raw.ino || self.is_on_list(raw.ino)? {
            return Ok(());
        }
        raw.set_dtime(first)?;
        let ino = raw.ino;
        self.change_super(|sb| sb.set_last_orphan(ino))
    }

    fn is_on_list(&mut self, ino: u32) -> Result<bool, Error> {
        let mut at = self.sb.last_orphan()?;
        let mut left = MOST;
        while at != 0 && left > 0 {
            if at == ino {
                return Ok(true);
            }
            at = self.raw_any(at)?.dtime()?;
            left -= 1;
        }
        Ok(false)
    }

    /// Takes an inode off the list, if it is there. The caller stores it.
    pub(crate) fn remove_orphan(&mut self, raw: &mut Raw) -> Result<(), Error> {
        let next = raw.dtime()?;
        let ino = raw.ino;
        let mut at = self.sb.last_orphan()?;
        if at == ino {
            raw.set_dtime(0)?;
            return self.change_super(|sb| sb.set_last_orphan(next));
        }
        let mut left = MOST;
        while at != 0 && left > 0 {
            let mut before = self.raw_any(at)?;
            let follower = before.dtime()?;
            if follower == ino {
                before.set_dtime(next)?;
                self.store(&mut before)?;
                return raw.set_dtime(0);
            }
            at = follower;
            left -= 1;
        }
        Ok(())
    }

    /// Frees and truncates what a cut left half done; how many.
    pub(crate) fn clean_orphans(&mut self, now_ns: i64) -> Result<u32, Error> {
        let mut n = 0;
        while self.sb.last_orphan()? != 0 {
            let ino = self.sb.last_orphan()?;
            if n >= MOST || ino < self.sb.first_inode || ino > self.sb.inodes || !self.is_inode_taken(ino)? {
                return Err(Error::Corrupt("the list of orphans"));
            }
            self.clean_orphan(ino, now_ns)?;
            if self.sb.last_orphan()? == ino {
                return Err(Error::Corrupt("the list of orphans"));
            }
            n += 1;
        }
        if self.sb.compat & compat::ORPHAN_FILE != 0 && self.sb.ro_compat & ro_compat::ORPHAN_PRESENT != 0 {
            n += self.clean_orphan_file(now_ns)?;
        }
        Ok(n)
    }

    fn clean_orphan(&mut self, ino: u32, now_ns: i64) -> Result<(), Error> {
        let raw = self.raw(ino)?;
        if raw.links()? == 0 {
            return self.evict(ino, now_ns);
        }
        let size = raw.size()?;
        self.free_from(ino, size, now_ns)?;
        self.operation(now_ns, |v| {
            let mut raw = v.raw(ino)?;
            v.remove_orphan(&mut raw)?;
            v.store(&mut raw)
        })
    }

    fn clean_orphan_file(&mut self, now_ns: i64) -> Result<u32, Error> {
        let file = u32_at(&self.sb.raw, 0x280)?;
        let raw = self.raw(file)?;
        let blocks = u32::try_from(raw.size()? / self.sb.block_bytes as u64)
            .unwrap_or(0)
            .min(512);
        let mut found = Vec::new();
        for number in 0..blocks {
            let m = self.map_of(&raw, number, 1)?;
            if m.state != State::Written {
                continue;
            }
            let block = self.block(m.start)?;
            let end = block.len() - 8;
            if u32_at(&block, end)? != FILE_MAGIC {
                return Err(Error::Corrupt("the orphan file"));
            }
            for word in part(&block, 0, end)?.as_chunks::<4>().0 {
                let ino = u32::from_le_bytes(*word);
                if ino != 0 {
                    found.push(ino);
                }
            }
            self.operation(now_ns, |v| {
                let seed = raw.seed(v.sb.seed)?;
                let has_csum = v.sb.has_csum();
                v.modify(m.start, |b| {
                    b.iter_mut().take(end).for_each(|x| *x = 0);
                    if has_csum {
                        let crc = crate::le::crc32c(seed, &m.start.to_le_bytes());
                        let crc = crate::le::crc32c(crc, part(b, 0, end)?);
                        put32(b, end + 4, crc)?;
                    }
                    Ok(())
                })
            })?;
        }
        let n = found.len() as u32;
        for ino in found {
            if ino >= self.sb.first_inode && ino <= self.sb.inodes && self.is_inode_taken(ino)? {
                self.clean_orphan(ino, now_ns)?;
            }
        }
        self.operation(now_ns, |v| {
            v.change_super(|sb| {
                let bits = sb.ro_compat & !ro_compat::ORPHAN_PRESENT;
                sb.set_ro_compat(bits)
            })
        })?;
        Ok(n)
    }
}
