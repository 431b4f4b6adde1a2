//! What callers see of files.

/// Number of an inode; 1 based.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ino(pub u32);

impl Ino {
    /// The root directory.
    pub const ROOT: Self = Self(2);
}

/// A moment, in the time of 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Whole seconds since 1970, rounded down.
    pub seconds: i64,
    /// Nanoseconds since then, below 1,000,000,000.
    pub nanoseconds: u32,
}

impl Timestamp {
    /// Of nanoseconds since 1970.
    #[must_use]
    pub const fn from_ns(ns: u64) -> Self {
        Self {
            seconds: (ns / 1_000_000_000) as i64,
            nanoseconds: (ns % 1_000_000_000) as u32,
        }
    }
}

/// What an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file with content.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A socket's name.
    Socket,
}

impl Kind {
    /// Of the upper bits of `st_mode`.
    #[must_use]
    pub const fn from_mode(mode: u16) -> Option<Self> {
        Some(match mode >> 12 {
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

    /// The upper bits of `st_mode`.
    #[must_use]
    pub const fn mode_bits(self) -> u16 {
        match self {
            Self::Fifo => 0x1000,
            Self::CharDevice => 0x2000,
            Self::Directory => 0x4000,
            Self::BlockDevice => 0x6000,
            Self::Regular => 0x8000,
            Self::Symlink => 0xa000,
            Self::Socket => 0xc000,
        }
    }

    /// As directory entries name it.
    pub(crate) const fn entry_type(self) -> u8 {
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

    pub(crate) const fn from_entry_type(value: u8) -> Option<Self> {
        Some(match value {
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

/// A device's numbers, as Linux's `dev_t` has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Major number, 12 bits.
    pub major: u32,
    /// Minor number, 20 bits.
    pub minor: u32,
}

/// What an inode says about its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inode {
    /// Its number.
    pub ino: Ino,
    /// What it is.
    pub kind: Kind,
    /// `st_mode`: kind and permissions.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of content.
    pub size: u64,
    /// Space used, in units of 512 bytes, tables included.
    pub sectors: u64,
    /// Names it has.
    pub links: u32,
    /// Last read.
    pub atime: Timestamp,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Last change of the inode.
    pub ctime: Timestamp,
    /// When it was made; inodes of 128 bytes have none.
    pub btime: Option<Timestamp>,
    /// `FS_*_FL` flags, as `FS_IOC_GETFLAGS` answers them.
    pub flags: u32,
    /// Changes when the number is used anew.
    pub generation: u32,
    /// Of a device node.
    pub device: Device,
    /// Whether `allocate` may leave blocks unwritten and `fallocate` works (a file of extents).
    pub has_extents: bool,
}

/// What to change of an inode; `None` leaves as it is. The change time is set to the time given, unless `ctime` says
/// another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Permissions: the low 12 bits of `st_mode`.
    pub permissions: Option<u16>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Last read.
    pub atime: Option<Timestamp>,
    /// Last change of the content.
    pub mtime: Option<Timestamp>,
    /// Last change of the inode.
    pub ctime: Option<Timestamp>,
    /// `FS_*_FL` flags that a user may set: append, immutable, nodump, noatime, sync, dirsync, topdir.
    pub flags: Option<u32>,
}

/// What a new file is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewFile {
    /// What it is. Symbolic links are made by `symlink`.
    pub kind: Kind,
    /// Permissions: the low 12 bits of `st_mode`.
    pub permissions: u16,
    /// Owner.
    pub uid: u32,
    /// Group. The caller has applied the directory's set-group-id rule.
    pub gid: u32,
    /// Of a device node.
    pub device: Device,
}

/// A name in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The name, without a zero byte or a slash.
    pub name: &'a [u8],
    /// What it names.
    pub ino: Ino,
    /// What that is, where the directory says.
    pub kind: Option<Kind>,
    /// Where to go on after this entry.
    pub next: u64,
}

/// What is at a place of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing; reads as zeros.
    Hole,
    /// Blocks that read as zeros until `mark_written`.
    Unwritten,
    /// Blocks with content.
    Written,
}

/// A run of a file's blocks that are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The first block of the file.
    pub first: u64,
    /// Blocks; never 0.
    pub len: u64,
    /// The first block of the disk; 0 for a hole.
    pub physical: u64,
    /// What is there.
    pub state: State,
}

/// What `rename` does about a name that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenameMode {
    /// It is replaced.
    Replace,
    /// The rename fails with `Exists`.
    NoReplace,
    /// The two swap; both must exist.
    Exchange,
}

/// A name is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unlinked {
    /// What it named.
    pub ino: Ino,
    /// It was the last: the inode is on the list of orphans, and `evict` is due once nobody uses it.
    pub was_last: bool,
}

/// How to mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MountOptions {
    /// Nothing is written, except that the journal is replayed.
    pub read_only: bool,
    /// Blocks of metadata that may stay in memory.
    pub cache_blocks: usize,
}

impl Default for MountOptions {
    fn default() -> Self {
        Self {
            read_only: false,
            cache_blocks: 4096,
        }
    }
}

/// What mounting found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MountReport {
    /// Mounted read-only, asked for or not.
    pub is_read_only: bool,
    /// The feature that forbade writing.
    pub forbidden_by: Option<&'static str>,
    /// Transactions of the journal that were replayed.
    pub replayed: u32,
    /// It was not unmounted.
    pub was_unclean: bool,
    /// Errors were recorded on it before: `e2fsck` is due.
    pub had_errors: bool,
    /// Files without a name that were deleted.
    pub orphans_deleted: u32,
    /// Files whose truncation was finished.
    pub orphans_truncated: u32,
}

/// Space, as `statfs` answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes of a block.
    pub block_bytes: u32,
    /// Blocks for content.
    pub blocks: u64,
    /// Free ones.
    pub free: u64,
    /// Free ones for who is not privileged.
    pub available: u64,
    /// Inodes.
    pub inodes: u64,
    /// Free ones.
    pub free_inodes: u64,
}
