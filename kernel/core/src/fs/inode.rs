//! What a file system shows of its files.
//!
//! An [`Inode`] is one file whatever its names are. The VFS holds the lock of a directory (see [`super::dentry`]) around
//! every call that changes or looks up names in it, so a file system sees those one at a time; all other methods may be
//! called from any task at any time.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;

use sis_machine::sync::{Rank, SpinLock};

use super::file::File;
use super::path::Path;
use super::text::TextUse;
use crate::{Errno, Result, time};

/// Kinds of files. The numbers are those of `d_type` (readdir(3)); shifted by 12 they are the type bits of `st_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FileType {
    /// A FIFO.
    Fifo = 1,
    /// A character device.
    CharDevice = 2,
    /// A directory.
    Directory = 4,
    /// A block device.
    BlockDevice = 6,
    /// A regular file.
    Regular = 8,
    /// A symbolic link.
    Symlink = 10,
    /// A socket.
    Socket = 12,
}

impl FileType {
    /// From the type bits of a mode; none for a meaningless value.
    pub const fn from_mode(mode: u32) -> Option<Self> {
        Some(match (mode >> 12) & 0xf {
            1 => Self::Fifo,
            2 => Self::CharDevice,
            4 => Self::Directory,
            6 => Self::BlockDevice,
            8 => Self::Regular,
            10 => Self::Symlink,
            12 => Self::Socket,
            _ => return None,
        })
    }

    /// The type bits of a mode.
    pub const fn mode_bits(self) -> u32 {
        (self as u32) << 12
    }
}

/// A device number as stat(2) shows it (glibc's `makedev`).
pub const fn make_dev(major: u32, minor: u32) -> u64 {
    let (major, minor) = (major as u64, minor as u64);
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & !0xff) << 12) | ((major & !0xfff) << 32)
}

/// Major and minor number of a device number.
pub const fn split_dev(dev: u64) -> (u32, u32) {
    let major = ((dev >> 8) & 0xfff) | ((dev >> 32) & !0xfff);
    let minor = (dev & 0xff) | ((dev >> 12) & 0xffff_ff00);
    (major as u32, minor as u32)
}

/// What permission checks look at.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    /// Type and permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// What stat(2) answers. Times are nanoseconds since 1970.
#[derive(Clone, Copy, Debug, Default)]
pub struct Metadata {
    /// Device of the file system.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Type and permissions.
    pub mode: u32,
    /// Names.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// For device nodes: the device.
    pub rdev: u64,
    /// Bytes.
    pub size: u64,
    /// Preferred I/O size in bytes.
    pub block_size: u32,
    /// Space used, in units of 512 bytes.
    pub blocks: u64,
    /// Last access.
    pub atime_ns: i64,
    /// Last change of the data.
    pub mtime_ns: i64,
    /// Last change of the inode.
    pub ctime_ns: i64,
    /// Creation.
    pub btime_ns: i64,
}

/// Attributes to change; `None` leaves one alone. Permissions were checked by the VFS.
#[derive(Clone, Copy, Debug, Default)]
pub struct AttributeChange {
    /// Permission bits (07777).
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Access time, in nanoseconds since 1970.
    pub atime_ns: Option<i64>,
    /// Modification time, in nanoseconds since 1970.
    pub mtime_ns: Option<i64>,
}

/// A name in a directory, as getdents64(2) lists it.
pub struct DirEntry<'a> {
    /// The name.
    pub name: &'a [u8],
    /// Inode number.
    pub ino: u64,
    /// Kind.
    pub kind: FileType,
    /// The position after this entry.
    pub next: u64,
}

/// A file to create.
pub struct NewInode<'a> {
    /// What it is.
    pub kind: NewKind<'a>,
    /// Permission bits, umask applied.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Kinds of files to create.
pub enum NewKind<'a> {
    /// An empty regular file.
    File,
    /// An empty directory.
    Directory,
    /// A symbolic link to this text.
    Symlink(&'a [u8]),
    /// A device, FIFO or socket; the number is the device's.
    Node(FileType, u64),
}

/// Where a symbolic link leads.
pub enum LinkTarget {
    /// A text to walk.
    Text(Vec<u8>),
    /// Straight to a place (/proc/PID/fd, exe, cwd, root), with the text that readlink(2) shows.
    Place(Path, Vec<u8>),
}

/// How two names are exchanged (renameat2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rename {
    /// The new name may exist and is replaced.
    Replace,
    /// The two names swap their files.
    Exchange,
}

/// Something of another subsystem that lives as long as the inode: a FIFO's pipe, a socket's address.
pub type Attachment = SpinLock<Option<Arc<dyn Any + Send + Sync>>>;

/// An empty attachment.
pub const fn new_attachment() -> Attachment {
    SpinLock::new(Rank::Leaf, None)
}

/// One file. The defaults are what Linux answers where a file system has no such operation.
pub trait Inode: Any + Send + Sync {
    /// What it is; never changes.
    fn kind(&self) -> FileType;

    /// For permission checks.
    fn owner(&self) -> Owner;

    /// For stat(2).
    fn metadata(&self) -> Metadata;

    /// Changes attributes, and the change time.
    fn set_attributes(&self, change: &AttributeChange) -> Result<()> {
        let _ = change;
        Err(Errno::EPERM)
    }

    /// Truncates or extends a regular file.
    fn set_size(&self, size: u64) -> Result<()> {
        let _ = size;
        Err(Errno::EINVAL)
    }

    /// fallocate(2): makes sure that a range has space, or frees it; `mode` is fallocate's.
    fn allocate(&self, mode: u32, offset: u64, len: u64) -> Result<()> {
        let _ = (mode, offset, len);
        Err(Errno::EOPNOTSUPP)
    }

    /// The name under which the directory has what is called `name`, where it may be written in more than one way (FAT
    /// does not tell small letters from capital ones). None where it may not, or is not there.
    fn stored_name(&self, name: &[u8]) -> Option<Vec<u8>> {
        let _ = name;
        None
    }

    /// The file behind a name; `ENOENT`.
    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let _ = name;
        Err(Errno::ENOTDIR)
    }

    /// Makes a file under a name that is free.
    fn create(&self, name: &[u8], new: &NewInode<'_>) -> Result<Arc<dyn Inode>> {
        let _ = (name, new);
        Err(Errno::EACCES)
    }

    /// Makes a regular file without a name (O_TMPFILE).
    fn create_unnamed(&self, new: &NewInode<'_>) -> Result<Arc<dyn Inode>> {
        let _ = new;
        Err(Errno::EOPNOTSUPP)
    }

    /// Gives a file of the same file system another name, which is free.
    fn link(&self, name: &[u8], target: &Arc<dyn Inode>) -> Result<()> {
        let _ = (name, target);
        Err(Errno::EPERM)
    }

    /// Removes a name of a file that is no directory.
    fn unlink(&self, name: &[u8], target: &Arc<dyn Inode>) -> Result<()> {
        let _ = (name, target);
        Err(Errno::EPERM)
    }

    /// Removes an empty directory; `ENOTEMPTY`.
    fn rmdir(&self, name: &[u8], target: &Arc<dyn Inode>) -> Result<()> {
        let _ = (name, target);
        Err(Errno::EPERM)
    }

    /// Moves `name` to `new_name` of `new_dir`, a directory of the same file system. The VFS has checked kinds,
    /// permissions and loops; `ENOTEMPTY` is the file system's to find.
    fn rename(&self, name: &[u8], new_dir: &Arc<dyn Inode>, new_name: &[u8], how: Rename) -> Result<()> {
        let _ = (name, new_dir, new_name, how);
        Err(Errno::EPERM)
    }

    /// Lists names from `position` (0: the start; else a `next` that was given out) until `emit` says false. Without
    /// `.` and `..`, which the VFS adds; positions 0 and 1 are theirs.
    fn read_dir(&self, position: u64, emit: &mut dyn FnMut(&DirEntry<'_>) -> bool) -> Result<()> {
        let _ = (position, emit);
        Err(Errno::ENOTDIR)
    }

    /// Where a symbolic link leads.
    fn read_link(&self) -> Result<LinkTarget> {
        Err(Errno::EINVAL)
    }

    /// What an open file of it can do. Not called for directories, devices, FIFOs and sockets.
    fn open(self: Arc<Self>, flags: u32) -> Result<Arc<dyn File>> {
        let _ = flags;
        Err(Errno::ENXIO)
    }

    /// The place for something of another subsystem; FIFOs and sockets have one.
    fn attachment(&self) -> Option<&Attachment> {
        None
    }

    /// The value of an extended attribute. The VFS has checked its name and permissions (see [`super::xattr`]).
    fn xattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        let _ = name;
        Err(Errno::EOPNOTSUPP)
    }

    /// Sets an extended attribute, or removes it; `must_exist` demands that it is there already (`ENODATA`), or that it
    /// is not (`EEXIST`).
    fn set_xattr(&self, name: &[u8], value: Option<&[u8]>, must_exist: Option<bool>) -> Result<()> {
        let _ = (name, value, must_exist);
        Err(Errno::EOPNOTSUPP)
    }

    /// The names of its extended attributes.
    fn xattr_names(&self) -> Result<Vec<Vec<u8>>> {
        Ok(Vec::new())
    }

    /// Whether it is written or run; none where nothing can be run, or written.
    fn text(&self) -> Option<&TextUse> {
        None
    }

    /// For downcasts.
    fn as_any(&self) -> &dyn Any;
}

/// The attributes that every in-memory inode has.
#[derive(Clone, Copy, Debug)]
pub struct Attributes {
    /// Type and permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Names.
    pub nlink: u32,
    /// Last access, ns since 1970.
    pub atime_ns: i64,
    /// Last change of data, ns since 1970.
    pub mtime_ns: i64,
    /// Last change of the inode, ns since 1970.
    pub ctime_ns: i64,
    /// Creation, ns since 1970.
    pub btime_ns: i64,
}

/// How often file times move on: 4 ms, the tick of Debian's Linux. A program that writes and synchronises more often
/// than that need not have the inode written each time.
const TICK_NS: u64 = 4_000_000;

/// The wall clock as file times have it.
pub fn now() -> i64 {
    let ns = time::wall_ns();
    i64::try_from(ns - ns % TICK_NS).unwrap_or(i64::MAX)
}

impl Attributes {
    /// Attributes of a file that is made now.
    pub fn new(kind: FileType, permissions: u32, uid: u32, gid: u32) -> Self {
        let t = now();
        Self {
            mode: kind.mode_bits() | (permissions & 0o7777),
            uid,
            gid,
            nlink: if matches!(kind, FileType::Directory) { 2 } else { 1 },
            atime_ns: t,
            mtime_ns: t,
            ctime_ns: t,
            btime_ns: t,
        }
    }

    /// Makes the changes, and the change time now.
    pub fn apply(&mut self, change: &AttributeChange) {
        if let Some(m) = change.mode {
            self.mode = (self.mode & super::flags::S_IFMT) | (m & 0o7777);
        }
        self.uid = change.uid.unwrap_or(self.uid);
        self.gid = change.gid.unwrap_or(self.gid);
        self.atime_ns = change.atime_ns.unwrap_or(self.atime_ns);
        self.mtime_ns = change.mtime_ns.unwrap_or(self.mtime_ns);
        self.ctime_ns = now();
    }

    /// For permission checks.
    pub fn owner(&self) -> Owner {
        Owner {
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
        }
    }

    /// As stat(2) answers them; the rest is the caller's.
    pub fn metadata(&self, dev: u64, ino: u64) -> Metadata {
        Metadata {
            dev,
            ino,
            mode: self.mode,
            nlink: self.nlink,
            uid: self.uid,
            gid: self.gid,
            block_size: 4096,
            atime_ns: self.atime_ns,
            mtime_ns: self.mtime_ns,
            ctime_ns: self.ctime_ns,
            btime_ns: self.btime_ns,
            ..Metadata::default()
        }
    }
}
