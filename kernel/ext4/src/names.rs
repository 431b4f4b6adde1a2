//! Creating, removing and moving names.

use alloc::vec;
use alloc::vec::Vec;

use crate::inode::{Kind, Owner, Raw};
use crate::le::{part, put};
use crate::map::State;
use crate::superblock::ro_compat;
use crate::volume::Volume;
use crate::{Disk, Error};

/// Bytes of a target that the inode itself holds.
const FAST_SYMLINK: usize = 60;

/// What to create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewFile<'a> {
    /// An empty regular file.
    Regular,
    /// An empty directory.
    Directory,
    /// A symbolic link to this text, shorter than a block.
    Symlink(&'a [u8]),
    /// A FIFO.
    Fifo,
    /// A socket.
    Socket,
    /// A character device: major and minor number.
    CharDevice(u32, u32),
    /// A block device: major and minor number.
    BlockDevice(u32, u32),
}

impl NewFile<'_> {
    fn kind(&self) -> Kind {
        match self {
            Self::Regular => Kind::Regular,
            Self::Directory => Kind::Directory,
            Self::Symlink(_) => Kind::Symlink,
            Self::Fifo => Kind::Fifo,
            Self::Socket => Kind::Socket,
            Self::CharDevice(..) => Kind::CharDevice,
            Self::BlockDevice(..) => Kind::BlockDevice,
        }
    }
}

/// What happens to a name that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rename {
    /// It is replaced.
    Replace,
    /// The two swap their files.
    Exchange,
}

impl<D: Disk> Volume<D> {
    /// Makes a file under a name that is free; its inode.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::NoSpace`], [`Error::NameTooLong`], [`Error::TooManyLinks`] and as every change.
    pub fn create(
        &mut self,
        dir: u32,
        name: &[u8],
        new: &NewFile<'_>,
        owner: Owner,
        now_ns: i64,
    ) -> Result<u32, Error> {
        self.operation(now_ns, |v| {
            let mut parent = v.live_directory(dir)?;
            if v.find(&parent, name)?.is_some() {
                return Err(Error::Exists);
            }
            let kind = new.kind();
            if kind == Kind::Directory && v.dir_is_full(&parent)? {
                return Err(Error::TooManyLinks);
            }
            let mut raw = v.new_inode(dir, kind, owner, now_ns)?;
            match new {
                NewFile::Symlink(text) => v.write_symlink(&mut raw, text)?,
                NewFile::CharDevice(major, minor) | NewFile::BlockDevice(major, minor) => {
                    raw.set_device((*major, *minor))?;
                }
                NewFile::Directory => {
                    v.make_dir_block(&mut raw, dir)?;
                    raw.set_links(2)?;
                    v.add_subdirectory(&mut parent)?;
                }
                NewFile::Regular | NewFile::Fifo | NewFile::Socket => {}
            }
            v.store(&mut raw)?;
            v.add_name(&mut parent, name, raw.ino, kind)?;
            parent.touch(now_ns)?;
            v.store(&mut parent)?;
            Ok(raw.ino)
        })
    }

    /// Makes a regular file without a name (O_TMPFILE). It is gone with [`evict`](Self::evict), or with the next mount,
    /// unless it gets a name by [`link`](Self::link).
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_unnamed(&mut self, dir: u32, owner: Owner, now_ns: i64) -> Result<u32, Error> {
        self.operation(now_ns, |v| {
            v.live_directory(dir)?;
            let mut raw = v.new_inode(dir, Kind::Regular, owner, now_ns)?;
            raw.set_links(0)?;
            v.add_orphan(&mut raw)?;
            v.store(&mut raw)?;
            Ok(raw.ino)
        })
    }

    fn live_directory(&mut self, ino: u32) -> Result<Raw, Error> {
        let raw = self.raw(ino)?;
        if raw.kind()? != Kind::Directory {
            return Err(Error::NotDirectory);
        }
        if raw.links()? == 0 {
            return Err(Error::NotFound);
        }
        Ok(raw)
    }

    fn dir_is_full(&self, parent: &Raw) -> Result<bool, Error> {
        let has_dir_nlink = self.sb.ro_compat & ro_compat::DIR_NLINK != 0;
        Ok(!has_dir_nlink && parent.links()? >= self.link_count_max())
    }

    /// One more `..` points here. With `dir_nlink` a directory that has too many counts as having 1: unknown.
    fn add_subdirectory(&mut self, raw: &mut Raw) -> Result<(), Error> {
        let n = raw.links()?;
        raw.set_links(if n == 1 || n >= self.link_count_max() { 1 } else { n + 1 })
    }

    fn drop_subdirectory(&mut self, raw: &mut Raw) -> Result<(), Error> {
        let n = raw.links()?;
        raw.set_links(if n > 2 { n - 1 } else { n })
    }

    fn write_symlink(&mut self, raw: &mut Raw, text: &[u8]) -> Result<(), Error> {
        if text.is_empty() {
            return Err(Error::Invalid);
        }
        if text.len() < FAST_SYMLINK {
            let flags = raw.flags()? & !crate::inode::FLAG_EXTENTS;
            raw.set_flags(flags)?;
            let mut map = [0; FAST_SYMLINK];
            put(&mut map, 0, text)?;
            raw.put_map(&map)?;
        } else {
            if text.len() >= self.sb.block_bytes {
                return Err(Error::NameTooLong);
            }
            let m = self.allocate_in(raw, 0, 1)?;
            self.mark_written_in(raw, 0, 1)?;
            let mut block = vec![0; self.sb.block_bytes];
            put(&mut block, 0, text)?;
            self.replace(m.start, block)?;
        }
        raw.set_size(text.len() as u64)
    }

    pub(crate) fn is_fast_symlink(&self, raw: &Raw) -> Result<bool, Error> {
        let xattr = if raw.xattr_block()? != 0 {
            self.sb.block_bytes as u64 / 512
        } else {
            0
        };
        Ok(raw.sectors(self.sb.block_bytes)? == xattr && raw.size()? < FAST_SYMLINK as u64)
    }

    /// The text of a symbolic link.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another kind of file; [`Error::Corrupt`], [`Error::Disk`].
    pub fn read_link(&mut self, ino: u32) -> Result<Vec<u8>, Error> {
        let result = self.try_read_link(ino);
        if let Err(error) = &result {
            self.note(error);
        }
        result
    }

    fn try_read_link(&mut self, ino: u32) -> Result<Vec<u8>, Error> {
        const BAD: Error = Error::Corrupt("a symbolic link");
        let raw = self.raw(ino)?;
        if raw.kind()? != Kind::Symlink {
            return Err(Error::Invalid);
        }
        let size = usize::try_from(raw.size()?).map_err(|_| BAD)?;
        if size == 0 || size >= self.sb.block_bytes {
            return Err(BAD);
        }
        if self.is_fast_symlink(&raw)? {
            return Ok(part(raw.map()?, 0, size)?.to_vec());
        }
        let m = self.map_of(&raw, 0, 1)?;
        if m.state != State::Written {
            return Err(BAD);
        }
        let block = self.block(m.start)?;
        Ok(part(&block, 0, size)?.to_vec())
    }

    /// Gives a file another name, which is free.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::TooManyLinks`], [`Error::IsDirectory`] and as every change.
    pub fn link(&mut self, dir: u32, name: &[u8], ino: u32, now_ns: i64) -> Result<(), Error> {
        self.operation(now_ns, |v| {
            let mut parent = v.live_directory(dir)?;
            let mut raw = v.raw(ino)?;
            if raw.kind()? == Kind::Directory {
                return Err(Error::IsDirectory);
            }
            if raw.links()? >= v.link_count_max() {
                return Err(Error::TooManyLinks);
            }
            if v.find(&parent, name)?.is_some() {
                return Err(Error::Exists);
            }
            if raw.links()? == 0 {
                v.remove_orphan(&mut raw)?;
            }
            let n = raw.links()? + 1;
            raw.set_links(n)?;
            raw.set_ctime(now_ns)?;
            v.store(&mut raw)?;
            v.add_name(&mut parent, name, ino, raw.kind()?)?;
            parent.touch(now_ns)?;
            v.store(&mut parent)
        })
    }

    /// Removes a name of a file that is no directory; the inode, and whether it has no names left: then
    /// [`evict`](Self::evict) it when its last user is gone.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::IsDirectory`] and as every change.
    pub fn unlink(&mut self, dir: u32, name: &[u8], now_ns: i64) -> Result<(u32, bool), Error> {
        self.operation(now_ns, |v| {
            let mut parent = v.live_directory(dir)?;
            let (_, ino) = v.find(&parent, name)?.ok_or(Error::NotFound)?;
            let mut raw = v.raw(ino)?;
            if raw.kind()? == Kind::Directory {
                return Err(Error::IsDirectory);
            }
            v.remove_name(&parent, name)?;
            let is_last = v.drop_link(&mut raw, now_ns)?;
            parent.touch(now_ns)?;
            v.store(&mut parent)?;
            Ok((ino, is_last))
        })
    }

    /// One name less; with the last the inode becomes an orphan.
    fn drop_link(&mut self, raw: &mut Raw, now_ns: i64) -> Result<bool, Error> {
        let n = raw
            .links()?
            .checked_sub(1)
            .ok_or(Error::Corrupt("a file has more names than it counts"))?;
        raw.set_links(n)?;
        raw.set_ctime(now_ns)?;
        if n == 0 {
            self.add_orphan(raw)?;
        }
        self.store(raw)?;
        Ok(n == 0)
    }

    /// A directory that has lost its name.
    fn drop_directory(&mut self, raw: &mut Raw, now_ns: i64) -> Result<(), Error> {
        raw.set_links(0)?;
        raw.set_ctime(now_ns)?;
        self.add_orphan(raw)?;
        self.store(raw)
    }

    /// Removes an empty directory; its inode, to be evicted.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotDirectory`], [`Error::NotEmpty`] and as every change.
    pub fn rmdir(&mut self, dir: u32, name: &[u8], now_ns: i64) -> Result<u32, Error> {
        self.operation(now_ns, |v| {
            let mut parent = v.live_directory(dir)?;
            let (_, ino) = v.find(&parent, name)?.ok_or(Error::NotFound)?;
            let mut raw = v.raw(ino)?;
            if raw.kind()? != Kind::Directory {
                return Err(Error::NotDirectory);
            }
            if !v.is_dir_empty(&raw)? {
                return Err(Error::NotEmpty);
            }
            v.remove_name(&parent, name)?;
            v.drop_directory(&mut raw, now_ns)?;
            v.drop_subdirectory(&mut parent)?;
            parent.touch(now_ns)?;
            v.store(&mut parent)?;
            Ok(ino)
        })
    }

    /// Moves a name, in one transaction. The caller has seen that no directory gets into itself. The inode that lost its
    /// last name, if one did: to be evicted.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotEmpty`], [`Error::IsDirectory`], [`Error::NotDirectory`] and as every change.
    pub fn rename(
        &mut self,
        from: (u32, &[u8]),
        to: (u32, &[u8]),
        how: Rename,
        now_ns: i64,
    ) -> Result<Option<u32>, Error> {
        self.operation(now_ns, |v| match how {
            Rename::Replace => v.move_name(from, to, now_ns),
            Rename::Exchange => v.exchange_names(from, to, now_ns).map(|()| None),
        })
    }

    fn move_name(&mut self, from: (u32, &[u8]), to: (u32, &[u8]), now_ns: i64) -> Result<Option<u32>, Error> {
        let source = self.live_directory(from.0)?;
        let (_, ino) = self.find(&source, from.1)?.ok_or(Error::NotFound)?;
        let mut raw = self.raw(ino)?;
        let kind = raw.kind()?;
        let is_directory = kind == Kind::Directory;
        let target = self.live_directory(to.0)?;
        let victim = self.find(&target, to.1)?.map(|(_, ino)| ino);
        if victim == Some(ino) {
            return Ok(None);
        }
        let mut lost = None;
        match victim {
            Some(old) => {
                let mut old = self.raw(old)?;
                match (is_directory, old.is_directory()) {
                    (true, false) => return Err(Error::NotDirectory),
                    (false, true) => return Err(Error::IsDirectory),
                    (true, true) if !self.is_dir_empty(&old)? => return Err(Error::NotEmpty),
                    _ => {}
                }
                self.replace_name(&target, to.1, ino, kind)?;
                if old.is_directory() {
                    self.drop_directory(&mut old, now_ns)?;
                    lost = Some(old.ino);
                } else if self.drop_link(&mut old, now_ns)? {
                    lost = Some(old.ino);
                }
            }
            None => {
                if is_directory && from.0 != to.0 && self.dir_is_full(&target)? {
                    return Err(Error::TooManyLinks);
                }
                let mut target = target;
                self.add_name(&mut target, to.1, ino, kind)?;
                self.store(&mut target)?;
            }
        }
        let source = self.raw(from.0)?;
        self.remove_name(&source, from.1)?;
        if is_directory && from.0 != to.0 {
            self.replace_name(&raw, b"..", to.0, Kind::Directory)?;
        }
        raw.set_ctime(now_ns)?;
        self.store(&mut raw)?;
        // The directories last, each once: they may be one.
        let mut target = self.raw(to.0)?;
        if is_directory && from.0 != to.0 && victim.is_none() {
            self.add_subdirectory(&mut target)?;
        }
        target.touch(now_ns)?;
        self.store(&mut target)?;
        let mut source = self.raw(from.0)?;
        if is_directory && (from.0 != to.0 || victim.is_some()) {
            self.drop_subdirectory(&mut source)?;
        }
        source.touch(now_ns)?;
        self.store(&mut source)?;
        Ok(lost)
    }

    fn exchange_names(&mut self, a: (u32, &[u8]), b: (u32, &[u8]), now_ns: i64) -> Result<(), Error> {
        let dir_a = self.live_directory(a.0)?;
        let dir_b = self.live_directory(b.0)?;
        let (_, ino_a) = self.find(&dir_a, a.1)?.ok_or(Error::NotFound)?;
        let (_, ino_b) = self.find(&dir_b, b.1)?.ok_or(Error::NotFound)?;
        if ino_a == ino_b {
            return Ok(());
        }
        let (mut raw_a, mut raw_b) = (self.raw(ino_a)?, self.raw(ino_b)?);
        self.replace_name(&dir_a, a.1, ino_b, raw_b.kind()?)?;
        self.replace_name(&dir_b, b.1, ino_a, raw_a.kind()?)?;
        let (is_a, is_b) = (raw_a.is_directory(), raw_b.is_directory());
        if a.0 != b.0 {
            if is_a {
                self.replace_name(&raw_a, b"..", b.0, Kind::Directory)?;
            }
            if is_b {
                self.replace_name(&raw_b, b"..", a.0, Kind::Directory)?;
            }
        }
        for raw in [&mut raw_a, &mut raw_b] {
            raw.set_ctime(now_ns)?;
            self.store(raw)?;
        }
        for (dir, gains, loses) in [(a.0, is_b, is_a), (b.0, is_a, is_b)] {
            let mut raw = self.raw(dir)?;
            if a.0 != b.0 && gains && !loses {
                self.add_subdirectory(&mut raw)?;
            }
            if a.0 != b.0 && loses && !gains {
                self.drop_subdirectory(&mut raw)?;
            }
            raw.touch(now_ns)?;
            self.store(&mut raw)?;
        }
        Ok(())
    }

    /// Frees an inode without names, and all that it has: when its last user is gone. One that has names is left alone.
    ///
    /// # Errors
    /// As every change. What is not freed is on the orphan list, and freed by the next mount.
    pub fn evict(&mut self, ino: u32, now_ns: i64) -> Result<(), Error> {
        if self.is_read_only || self.raw(ino)?.links()? > 0 {
            return Ok(());
        }
        self.free_from(ino, 0, now_ns)?;
        self.operation(now_ns, |v| {
            let mut raw = v.raw(ino)?;
            v.drop_xattr_block(&mut raw)?;
            v.remove_orphan(&mut raw)?;
            let is_directory = raw.is_directory();
            raw.set_size(0)?;
            raw.set_dtime((now_ns.div_euclid(1_000_000_000)).clamp(1, i64::from(u32::MAX)) as u32)?;
            // e2fsck takes an inode with a mode and without links for deleted; Linux leaves the mode too.
            v.store(&mut raw)?;
            v.release_inode(ino, is_directory)
        })
    }
}
