//! Operations on names: making, linking, removing, renaming.

use crate::cache::Role;
use crate::dir::{Position, check_name};
use crate::features::ro_compat;
use crate::inode::{BLOCK_BYTES, Raw};
use crate::transaction::NAMES_CREDITS;
use crate::types::{Ino, Inode, Kind, NewFile, RenameMode, State, Timestamp, Unlinked};
use crate::volume::Volume;
use crate::{Disk, Error};
use alloc::vec::Vec;

/// Names a file may have, as Linux has it.
const LINKS_MAX: u16 = 65000;
/// Directories above one another: more than a path can name.
const DEPTH_MAX: u32 = 65536;

impl<D: Disk> Volume<D> {
    fn check_room(&self) -> Result<(), Error> {
        if self.available(true) == 0 {
            Err(Error::NoSpace)
        } else {
            Ok(())
        }
    }

    fn must_find(&mut self, dir: &Raw, name: &[u8]) -> Result<Position, Error> {
        self.find(dir, name)?.ok_or(Error::NotFound)
    }

    /// A directory gets a subdirectory.
    fn add_link_of_child(&mut self, dir: &mut Raw) -> Result<(), Error> {
        let links = dir.links();
        let may_overflow = self.layout.ro_compat & ro_compat::DIR_NLINK != 0 && self.is_indexed(dir);
        match links {
            // It has had too many to count already.
            1 if may_overflow => {}
            n if n < LINKS_MAX => dir.set_links(n + 1),
            _ if may_overflow => dir.set_links(1),
            _ => return Err(Error::TooManyLinks),
        }
        Ok(())
    }

    fn drop_link_of_child(dir: &mut Raw) {
        if dir.links() > 2 {
            dir.set_links(dir.links() - 1);
        }
    }

    fn create_in(&mut self, dir: Ino, name: &[u8], new: &NewFile, now: Timestamp) -> Result<(Raw, Raw), Error> {
        self.check_room()?;
        let mut parent = self.directory(dir)?;
        if parent.links() == 0 {
            return Err(Error::NotFound);
        }
        if self.find(&parent, name)?.is_some() {
            return Err(Error::Exists);
        }
        let mut raw = self.new_inode(&parent, new, now)?;
        raw.set_links(1);
        if new.kind == Kind::Directory {
            self.add_link_of_child(&mut parent)?;
            raw.set_links(2);
            self.init_directory(&mut raw, parent.ino)?;
        }
        self.add_entry(&mut parent, name, raw.ino, new.kind.entry_type())?;
        parent.touch(now);
        self.store(&mut parent)?;
        Ok((parent, raw))
    }

    /// Makes a file, a directory, a device node, a named pipe or a socket's name.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::NoSpace`], [`Error::TooManyLinks`]; [`Error::Invalid`] for a symbolic link.
    pub fn create(&mut self, dir: Ino, name: &[u8], new: &NewFile, now: Timestamp) -> Result<Inode, Error> {
        check_name(name)?;
        if new.kind == Kind::Symlink {
            return Err(Error::Invalid);
        }
        let ino = self.transact(NAMES_CREDITS, now, |v| {
            let (_, mut raw) = v.create_in(dir, name, new, now)?;
            v.store(&mut raw)?;
            Ok(Ino(raw.ino))
        })?;
        self.inode(ino)
    }

    /// Makes a file without a name (`O_TMPFILE`): it is on the list of orphans until `link` names it.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_unnamed(&mut self, dir: Ino, new: &NewFile, now: Timestamp) -> Result<Inode, Error> {
        if matches!(new.kind, Kind::Directory | Kind::Symlink) {
            return Err(Error::Invalid);
        }
        let ino = self.transact(NAMES_CREDITS, now, |v| {
            v.check_room()?;
            let parent = v.directory(dir)?;
            let mut raw = v.new_inode(&parent, new, now)?;
            v.add_orphan(&mut raw)?;
            v.store(&mut raw)?;
            Ok(Ino(raw.ino))
        })?;
        self.inode(ino)
    }

    /// Makes a symbolic link.
    ///
    /// # Errors
    /// [`Error::NameTooLong`] for a target that is not shorter than a block; [`Error::Invalid`] for an empty one.
    pub fn symlink(
        &mut self,
        dir: Ino,
        name: &[u8],
        target: &[u8],
        uid: u32,
        gid: u32,
        now: Timestamp,
    ) -> Result<Inode, Error> {
        check_name(name)?;
        if target.is_empty() || target.contains(&0) {
            return Err(Error::Invalid);
        }
        if target.len() >= self.layout.block_bytes {
            return Err(Error::NameTooLong);
        }
        let new = NewFile {
            kind: Kind::Symlink,
            permissions: 0o777,
            uid,
            gid,
            device: crate::types::Device::default(),
        };
        let ino = self.transact(NAMES_CREDITS, now, |v| {
            let (_, mut raw) = v.create_in(dir, name, &new, now)?;
            if target.len() < BLOCK_BYTES {
                raw.set_flags(raw.flags() & !crate::inode::flag::EXTENTS);
                raw.map_mut().fill(0);
                crate::bytes::put(raw.map_mut(), 0, target)?;
            } else {
                let goal = v.group_goal(raw.ino);
                let block = v.take_block(goal)?;
                if raw.has_extents() {
                    let extent = crate::extents::Extent {
                        first: 0,
                        len: 1,
                        physical: block,
                        is_written: true,
                    };
                    v.insert_extent(&mut raw, extent)?;
                } else {
                    if block > u64::from(u32::MAX) {
                        return Err(Error::NoSpace);
                    }
                    v.insert_pointers(&mut raw, 0, block, 1)?;
                }
                raw.add_blocks(&v.layout, 1)?;
                v.fresh(block, Role::Plain)?;
                v.modify(block, Role::Plain, |b| crate::bytes::put(b, 0, target))?;
            }
            raw.set_size(target.len() as u64);
            v.store(&mut raw)?;
            Ok(Ino(raw.ino))
        })?;
        self.inode(ino)
    }

    /// A symbolic link's target.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is no symbolic link.
    pub fn read_link(&mut self, ino: Ino) -> Result<Vec<u8>, Error> {
        let result = self.live(ino.0).and_then(|raw| {
            if raw.kind()? != Kind::Symlink {
                return Err(Error::Invalid);
            }
            let len = usize::try_from(raw.size()).unwrap_or(usize::MAX);
            if len == 0 || len >= self.layout.block_bytes {
                return Err(Error::Corrupt("length of a symbolic link"));
            }
            let target = if raw.has_map() {
                let mapping = self.map_raw(&raw, 0, 1)?;
                if mapping.state != State::Written {
                    return Err(Error::Corrupt("a symbolic link without its target"));
                }
                let b = self.block(mapping.physical, Role::Plain)?;
                crate::bytes::slice(&b, 0, len)?.to_vec()
            } else {
                crate::bytes::slice(raw.map(), 0, len)?.to_vec()
            };
            if target.contains(&0) {
                return Err(Error::Corrupt("target of a symbolic link"));
            }
            Ok(target)
        });
        self.seen(result)
    }

    /// Gives an inode another name; one made by [`create_unnamed`](Self::create_unnamed), its first.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::TooManyLinks`]; [`Error::IsDirectory`] for a directory.
    pub fn link(&mut self, ino: Ino, dir: Ino, name: &[u8], now: Timestamp) -> Result<Inode, Error> {
        check_name(name)?;
        self.transact(NAMES_CREDITS, now, |v| {
            v.check_room()?;
            let mut parent = v.directory(dir)?;
            if parent.links() == 0 {
                return Err(Error::NotFound);
            }
            if v.find(&parent, name)?.is_some() {
                return Err(Error::Exists);
            }
            let mut raw = v.live(ino.0)?;
            if raw.is_directory() {
                return Err(Error::IsDirectory);
            }
            if raw.links() >= LINKS_MAX {
                return Err(Error::TooManyLinks);
            }
            if raw.links() == 0 {
                v.remove_orphan(&mut raw)?;
            }
            raw.set_links(raw.links() + 1);
            raw.set_ctime(now);
            v.store(&mut raw)?;
            let kind = raw.kind()?.entry_type();
            v.add_entry(&mut parent, name, ino.0, kind)?;
            parent.touch(now);
            v.store(&mut parent)
        })?;
        self.inode(ino)
    }

    /// An inode loses a name; without any it becomes an orphan.
    fn drop_name(&mut self, raw: &mut Raw, now: Timestamp) -> Result<Unlinked, Error> {
        let links = if raw.is_directory() {
            0
        } else {
            raw.links().saturating_sub(1)
        };
        raw.set_links(links);
        raw.set_ctime(now);
        if links == 0 {
            self.add_orphan(raw)?;
        }
        self.store(raw)?;
        Ok(Unlinked {
            ino: Ino(raw.ino),
            was_last: links == 0,
        })
    }

    /// Removes a name of what is no directory.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::IsDirectory`].
    pub fn unlink(&mut self, dir: Ino, name: &[u8], now: Timestamp) -> Result<Unlinked, Error> {
        check_name(name)?;
        self.transact(NAMES_CREDITS, now, |v| {
            let mut parent = v.directory(dir)?;
            let p = v.must_find(&parent, name)?;
            let mut raw = v.live(p.slot.ino)?;
            if raw.is_directory() {
                return Err(Error::IsDirectory);
            }
            v.remove_entry(&parent, &p)?;
            parent.touch(now);
            v.store(&mut parent)?;
            v.drop_name(&mut raw, now)
        })
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotDirectory`], [`Error::NotEmpty`]; [`Error::Invalid`] for `.`.
    pub fn rmdir(&mut self, dir: Ino, name: &[u8], now: Timestamp) -> Result<Unlinked, Error> {
        check_name(name)?;
        match name {
            b"." => return Err(Error::Invalid),
            b".." => return Err(Error::NotEmpty),
            _ => {}
        }
        self.transact(NAMES_CREDITS, now, |v| {
            let mut parent = v.directory(dir)?;
            let p = v.must_find(&parent, name)?;
            let mut raw = v.directory(Ino(p.slot.ino))?;
            if raw.ino == parent.ino || raw.ino == Ino::ROOT.0 {
                return Err(Error::Corrupt("a directory within itself"));
            }
            if !v.is_empty_directory(&raw)? {
                return Err(Error::NotEmpty);
            }
            v.remove_entry(&parent, &p)?;
            Self::drop_link_of_child(&mut parent);
            parent.touch(now);
            v.store(&mut parent)?;
            v.drop_name(&mut raw, now)
        })
    }

    /// Whether `above` is `dir` or a directory on the way from it to the root.
    fn is_within(&mut self, dir: u32, above: u32) -> Result<bool, Error> {
        let mut ino = dir;
        for _ in 0..DEPTH_MAX {
            if ino == above {
                return Ok(true);
            }
            if ino == Ino::ROOT.0 {
                return Ok(false);
            }
            let raw = self.directory(Ino(ino))?;
            let parent = self.find(&raw, b"..")?;
            ino = parent.ok_or(Error::Corrupt("a directory without its parent"))?.slot.ino;
        }
        Err(Error::Corrupt("directories form a ring"))
    }

    /// Lets a directory's `..` name another parent.
    fn set_parent(&mut self, dir: &Raw, parent: u32) -> Result<(), Error> {
        let p = self
            .find(dir, b"..")?
            .ok_or(Error::Corrupt("a directory without its parent"))?;
        self.set_entry(dir, &p, parent, Kind::Directory.entry_type())
    }

    /// Moves a name. Answers what has lost its name by it.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Exists`], [`Error::IsDirectory`], [`Error::NotDirectory`], [`Error::NotEmpty`],
    /// [`Error::Loop`].
    pub fn rename(
        &mut self,
        from: (Ino, &[u8]),
        to: (Ino, &[u8]),
        mode: RenameMode,
        now: Timestamp,
    ) -> Result<Option<Unlinked>, Error> {
        for name in [from.1, to.1] {
            check_name(name)?;
            if name == b"." || name == b".." {
                return Err(Error::Invalid);
            }
        }
        self.transact(2 * NAMES_CREDITS, now, |v| {
            if mode == RenameMode::Exchange {
                v.exchange(from, to, now).map(|()| None)
            } else {
                v.move_name(from, to, mode, now)
            }
        })
    }

    fn move_name(
        &mut self,
        from: (Ino, &[u8]),
        to: (Ino, &[u8]),
        mode: RenameMode,
        now: Timestamp,
    ) -> Result<Option<Unlinked>, Error> {
        let is_across = from.0 != to.0;
        let source_dir = self.directory(from.0)?;
        let source = self.must_find(&source_dir, from.1)?;
        let mut raw = self.live(source.slot.ino)?;
        let mut target_dir = self.directory(to.0)?;
        if target_dir.links() == 0 {
            return Err(Error::NotFound);
        }
        let target = self.find(&target_dir, to.1)?;
        if target.is_some() && mode == RenameMode::NoReplace {
            return Err(Error::Exists);
        }
        if raw.is_directory() && is_across && self.is_within(to.0.0, raw.ino)? {
            return Err(Error::Loop);
        }
        let kind = raw.kind()?.entry_type();
        let mut unlinked = None;
        if let Some(target) = target {
            if target.slot.ino == raw.ino {
                return Ok(None);
            }
            let mut old = self.live(target.slot.ino)?;
            match (raw.is_directory(), old.is_directory()) {
                (true, false) => return Err(Error::NotDirectory),
                (false, true) => return Err(Error::IsDirectory),
                (true, true) if !self.is_empty_directory(&old)? => return Err(Error::NotEmpty),
                _ => {}
            }
            self.set_entry(&target_dir, &target, raw.ino, kind)?;
            if old.is_directory() {
                Self::drop_link_of_child(&mut target_dir);
            }
            unlinked = Some(self.drop_name(&mut old, now)?);
        } else {
            self.check_room()?;
            self.add_entry(&mut target_dir, to.1, raw.ino, kind)?;
        }
        if raw.is_directory() && is_across {
            self.add_link_of_child(&mut target_dir)?;
            self.set_parent(&raw, target_dir.ino)?;
        }
        target_dir.touch(now);
        self.store(&mut target_dir)?;
        // The directory is read anew: it may be the same one, and the new name may have moved the old one's block.
        let mut source_dir = self.directory(from.0)?;
        let source = self.must_find(&source_dir, from.1)?;
        self.remove_entry(&source_dir, &source)?;
        if raw.is_directory() && is_across {
            Self::drop_link_of_child(&mut source_dir);
        }
        source_dir.touch(now);
        self.store(&mut source_dir)?;
        // Its own inode may have been stored as the directory that lost the name: read it anew as well.
        raw = self.live(raw.ino)?;
        raw.set_ctime(now);
        self.store(&mut raw)?;
        Ok(unlinked)
    }

    fn exchange(&mut self, from: (Ino, &[u8]), to: (Ino, &[u8]), now: Timestamp) -> Result<(), Error> {
        let is_across = from.0 != to.0;
        let dirs = [self.directory(from.0)?, self.directory(to.0)?];
        let [a_dir, b_dir] = &dirs;
        let a = self.must_find(a_dir, from.1)?;
        let b = self.must_find(b_dir, to.1)?;
        if a.slot.ino == b.slot.ino {
            return Ok(());
        }
        let (mut a_raw, mut b_raw) = (self.live(a.slot.ino)?, self.live(b.slot.ino)?);
        if is_across
            && ((a_raw.is_directory() && self.is_within(to.0.0, a_raw.ino)?)
                || (b_raw.is_directory() && self.is_within(from.0.0, b_raw.ino)?))
        {
            return Err(Error::Loop);
        }
        self.set_entry(a_dir, &a, b_raw.ino, b_raw.kind()?.entry_type())?;
        self.set_entry(b_dir, &b, a_raw.ino, a_raw.kind()?.entry_type())?;
        for (raw, parent) in [(&mut a_raw, to.0), (&mut b_raw, from.0)] {
            raw.set_ctime(now);
            self.store(raw)?;
            if raw.is_directory() && is_across {
                self.set_parent(raw, parent.0)?;
            }
        }
        let is_unlike = a_raw.is_directory() != b_raw.is_directory();
        for (ino, gains) in [(from.0, b_raw.is_directory()), (to.0, a_raw.is_directory())] {
            let mut dir = self.directory(ino)?;
            if is_across && is_unlike {
                if gains {
                    self.add_link_of_child(&mut dir)?;
                } else {
                    Self::drop_link_of_child(&mut dir);
                }
            }
            dir.touch(now);
            self.store(&mut dir)?;
        }
        Ok(())
    }
}
