//! Open files.
//!
//! A [`File`] is what a kind of file can do; an [`OpenFile`] is one open file description (open(2)): a `File` with its
//! offset and status flags, shared by descriptors after dup(2) and fork(2).

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use sis_machine::mm::frames::Frame;
use sis_machine::sync::{Mutex, Rank};

use super::flags::{O_ACCMODE, O_APPEND, O_NONBLOCK, O_PATH};
use super::inode::{FileType, Inode, Metadata};
use super::locks;
use super::notify;
use super::path::Path;
use super::text::{Running, Writing};
use crate::poll::{Events, PollTable};
use crate::user::{Sink, Source};
use crate::vm::{Mappers, PageSource};
use crate::wait::{Observer, Registration};
use crate::{Errno, Result};

pub use super::descriptors::FdTable;

/// What the caller of a read, write or ioctl asked for besides the bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct IoFlags {
    /// Answer `EAGAIN` instead of waiting (O_NONBLOCK, MSG_DONTWAIT, RWF_NOWAIT).
    pub nonblock: bool,
    /// Each write goes to the end (O_APPEND).
    pub append: bool,
}

/// Where seek counts from (lseek(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whence {
    /// SEEK_SET.
    Start,
    /// SEEK_CUR.
    Current,
    /// SEEK_END.
    End,
    /// SEEK_DATA.
    Data,
    /// SEEK_HOLE.
    Hole,
}

/// What a program says of how it will use a part of a file (posix_fadvise(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Nothing in particular.
    Normal,
    /// Here and there.
    Random,
    /// From front to back.
    Sequential,
    /// Soon.
    WillNeed,
    /// Not again soon.
    DontNeed,
    /// Once.
    NoReuse,
}

/// What a kind of file can do. The defaults are what Linux answers for a file that cannot.
pub trait File: Any + Send + Sync {
    /// Reads at `offset` (ignored by streams, which give what comes next). 0 is the end.
    fn read(&self, to: &mut Sink<'_>, offset: u64, flags: IoFlags) -> Result<usize> {
        let _ = (to, offset, flags);
        Err(Errno::EINVAL)
    }

    /// Writes at `offset` (ignored by streams). With `flags.append` the file's end is used, atomically; answers how much
    /// was written, and the offset after it.
    fn write(&self, from: &mut Source<'_>, offset: u64, flags: IoFlags) -> Result<(usize, u64)> {
        let _ = (from, offset, flags);
        Err(Errno::EINVAL)
    }

    /// Whether it has offsets (false: pread and lseek answer `ESPIPE`).
    fn is_seekable(&self) -> bool {
        false
    }

    /// The offset that a seek leads to, given the current one.
    fn seek(&self, current: u64, offset: i64, whence: Whence) -> Result<u64> {
        let _ = (current, offset, whence);
        Err(Errno::ESPIPE)
    }

    /// What it is ready for now; with `table`, the running task is put on its queues first.
    fn poll(&self, table: Option<&mut PollTable>) -> Events {
        let _ = table;
        Events::READ | Events::WRITE
    }

    /// Adds an observer (epoll) to its queues. `EPERM` for files that are always ready (regular files, directories).
    fn observe(&self, observer: alloc::sync::Weak<dyn Observer>) -> Result<Vec<Registration>> {
        let _ = observer;
        Err(Errno::EPERM)
    }

    /// ioctl(2). FIONBIO, FIOCLEX and FIONCLEX are handled before this.
    fn ioctl(&self, command: u32, argument: usize) -> Result<usize> {
        let _ = (command, argument);
        Err(Errno::ENOTTY)
    }

    /// Its pages, for mmap(2).
    fn mmap(&self) -> Result<Arc<dyn PageSource>> {
        Err(Errno::ENODEV)
    }

    /// fsync(2), and fdatasync(2) with `data_only`. `None`: it has nothing of its own to write; its file system has.
    fn sync(&self, data_only: bool) -> Option<Result<()>> {
        let _ = data_only;
        None
    }

    /// Whether transfers may leave the cache out (O_DIRECT); where not, the flag is refused (open(2), fcntl(2)).
    fn can_direct(&self) -> bool {
        false
    }

    /// Status flags have changed by fcntl(F_SETFL).
    fn set_flags(&self, flags: u32) {
        let _ = flags;
    }

    /// Its inode, for files that have one but no place in the tree (memfd).
    fn inode(&self) -> Option<Arc<dyn Inode>> {
        None
    }

    /// What fstat(2) answers where there is no inode.
    fn metadata(&self) -> Option<Metadata> {
        None
    }

    /// What /proc/PID/fd shows where there is no place in the tree: `pipe:[1]`, `socket:[2]`, `anon_inode:[eventfd]`.
    fn describe(&self) -> String {
        String::from("anon_inode:[file]")
    }

    /// Lines that /proc/PID/fdinfo adds, each with its newline.
    fn fdinfo(&self) -> String {
        String::new()
    }

    /// Advice about bytes `offset..offset + len` (posix_fadvise(2)).
    fn advise(&self, offset: u64, len: u64, advice: Advice) {
        let _ = (offset, len, advice);
    }

    /// Writes dirty pages of bytes `offset..offset + len` back without metadata or flush (sync_file_range(2)); `None`
    /// where there are no pages.
    fn sync_range(&self, offset: u64, len: u64, wait: bool) -> Option<Result<()>> {
        let _ = (offset, len, wait);
        None
    }

    /// fcntl's F_ADD_SEALS (with `add` and the seals) and F_GET_SEALS.
    fn seals(&self, add: bool, seals: u32) -> Result<usize> {
        let _ = (add, seals);
        Err(Errno::EINVAL)
    }

    /// For downcasts.
    fn as_any(&self) -> &dyn Any;
}

/// One open file description.
pub struct OpenFile {
    /// What it can do.
    pub ops: Arc<dyn File>,
    /// Access mode and status flags (O_*).
    flags: AtomicU32,
    /// The offset.
    pub position: Mutex<u64>,
    /// Where it was opened, for /proc/PID/fd, fchdir and *at calls; none for pipes, sockets and their like.
    pub path: Option<Path>,
    /// Locks may be held in its name.
    has_locks: AtomicBool,
    /// Held while it is open: nobody runs what is written, or writes what is run.
    hold: Hold,
}

/// What an open file keeps others from.
#[derive(Default)]
pub enum Hold {
    /// Nothing.
    #[default]
    None,
    /// Running it.
    Writing(Writing),
    /// Writing it.
    Running(Running),
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        notify::closed(self);
        if *self.has_locks.get_mut() {
            locks::description_dropped(core::ptr::from_ref(self).addr());
        }
    }
}

impl OpenFile {
    /// A new description with offset 0.
    pub fn new(ops: Arc<dyn File>, flags: u32, path: Option<Path>) -> Arc<Self> {
        Self::holding(ops, flags, path, Hold::None)
    }

    /// As [`Self::new`], keeping others from something.
    pub fn holding(ops: Arc<dyn File>, flags: u32, path: Option<Path>, hold: Hold) -> Arc<Self> {
        Arc::new(Self {
            ops,
            flags: AtomicU32::new(flags),
            position: Mutex::new(Rank::FilePosition, 0),
            path,
            has_locks: AtomicBool::new(false),
            hold,
        })
    }

    /// What keeps a program that was opened to be run from being written.
    pub fn running(&self) -> Option<Running> {
        match &self.hold {
            Hold::Running(running) => Some(running.clone()),
            Hold::None | Hold::Writing(_) => None,
        }
    }

    /// Its inode, if it has one.
    pub fn inode(&self) -> Option<Arc<dyn Inode>> {
        match &self.path {
            Some(p) => Some(p.inode().clone()),
            None => self.ops.inode(),
        }
    }

    /// Its pages for mmap(2), with its name for /proc/PID/maps.
    pub fn mmap(&self) -> Result<Arc<dyn PageSource>> {
        let pages = self.ops.mmap()?;
        let name = match &self.path {
            Some(path) if path.dentry.kind() == FileType::Regular => MappedName::Path(path.clone()),
            Some(_) => return Ok(pages),
            None => MappedName::Text(self.ops.describe()),
        };
        Ok(Arc::new(Mapped {
            pages,
            name,
            _writing: match &self.hold {
                Hold::Writing(writing) => Some(writing.clone()),
                Hold::None | Hold::Running(_) => None,
            },
        }))
    }

    /// Locks are held in its name and end with it.
    pub(super) fn note_locks(&self) {
        self.has_locks.store(true, Ordering::Relaxed);
    }

    /// Access mode and status flags.
    pub fn flags(&self) -> u32 {
        self.flags.load(Ordering::Relaxed)
    }

    /// Replaces the flags in `mask`.
    pub fn set_flags(&self, mask: u32, value: u32) {
        let new = (self.flags() & !mask) | (value & mask);
        self.flags.store(new, Ordering::Relaxed);
        self.ops.set_flags(new);
    }

    /// Whether it may be read.
    pub fn readable(&self) -> bool {
        self.flags() & O_PATH == 0 && matches!(self.flags() & O_ACCMODE, 0 | 2)
    }

    /// Whether it may be written.
    pub fn writable(&self) -> bool {
        self.flags() & O_PATH == 0 && matches!(self.flags() & O_ACCMODE, 1 | 2)
    }

    /// O_NONBLOCK and O_APPEND.
    pub fn io_flags(&self) -> IoFlags {
        let f = self.flags();
        IoFlags {
            nonblock: f & O_NONBLOCK != 0,
            append: f & O_APPEND != 0,
        }
    }

    /// Reads at the offset and moves it.
    pub fn read(&self, to: &mut Sink<'_>) -> Result<usize> {
        self.read_with(to, self.io_flags())
    }

    /// As [`Self::read`], with flags of this call.
    pub fn read_with(&self, to: &mut Sink<'_>, flags: IoFlags) -> Result<usize> {
        if !self.readable() {
            return Err(Errno::EBADF);
        }
        if !self.ops.is_seekable() {
            let n = self.ops.read(to, 0, flags)?;
            notify::read(self, n);
            return Ok(n);
        }
        let mut position = self.position.lock();
        let n = self.ops.read(to, *position, flags)?;
        *position += n as u64;
        drop(position);
        notify::read(self, n);
        Ok(n)
    }

    /// Writes at the offset (or the end) and moves it.
    pub fn write(&self, from: &mut Source<'_>) -> Result<usize> {
        self.write_with(from, self.io_flags())
    }

    /// As [`Self::write`], with flags of this call.
    pub fn write_with(&self, from: &mut Source<'_>, flags: IoFlags) -> Result<usize> {
        if !self.writable() {
            return Err(Errno::EBADF);
        }
        if !self.ops.is_seekable() {
            let (n, _) = self.ops.write(from, 0, flags)?;
            notify::written(self, n);
            return Ok(n);
        }
        let mut position = self.position.lock();
        let (n, after) = self.ops.write(from, *position, flags)?;
        *position = after;
        drop(position);
        notify::written(self, n);
        Ok(n)
    }
}

enum MappedName {
    Path(Path),
    Text(String),
}

/// A file's pages with its name.
struct Mapped {
    pages: Arc<dyn PageSource>,
    name: MappedName,
    /// A mapping of a file that was open for writing counts as a writer.
    _writing: Option<Writing>,
}

impl PageSource for Mapped {
    fn page(&self, index: u64, write: bool) -> Result<Frame> {
        self.pages.page(index, write)
    }

    fn bring_in(&self, index: u64, write: bool) -> Result<Frame> {
        self.pages.bring_in(index, write)
    }

    fn mappers(&self) -> Option<&Mappers> {
        self.pages.mappers()
    }

    fn sync(&self, first: u64, last: u64, wait: bool) -> Result<()> {
        self.pages.sync(first, last, wait)
    }

    fn size(&self) -> u64 {
        self.pages.size()
    }

    fn name(&self) -> String {
        match &self.name {
            MappedName::Path(p) => String::from_utf8_lossy(&p.display(&super::root())).into_owned(),
            MappedName::Text(t) => t.clone(),
        }
    }

    fn identity(&self) -> (u64, u64) {
        self.pages.identity()
    }
}
