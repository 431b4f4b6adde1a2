//! Renaming.

use crate::dir::check_name;
use crate::inode::Raw;
use crate::transaction::NAMES_CREDITS;
use crate::types::{Ino, Kind, RenameMode, Timestamp, Unlinked};
use crate::volume::Volume;
use crate::{Disk, Error};

/// Directories above one another: more than a path can name.
const DEPTH_MAX: u32 = 65536;

impl<D: Disk> Volume<D> {
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
