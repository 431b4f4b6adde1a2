//! Inodes: where they are, and what callers see of them.

use crate::bytes::{put, slice};
use crate::cache::Role;
use crate::transaction::NAMES_CREDITS;
use crate::types::{Attributes, Ino, Inode, Timestamp};
use crate::volume::Volume;
use crate::{Disk, Error};

mod raw;

pub(crate) use raw::{BLOCK_BYTES, Raw, flag};

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
