//! Files: flags, modes, and the structures that describe them.

mod layouts;

pub use layouts::{
    DIRENT64_HEADER_BYTES, Flock, Iovec, OpenHow, Stat, Statfs, Statx, StatxTimestamp, dirent64_bytes, write_dirent64,
};

use crate::macros::{constants, flags};

flags! {
    /// `open(2)`, `fcntl(F_SETFL)`; the access mode is in the lowest two bits ([`OpenFlags::access`]).
    ///
    /// `open` and `openat` ignore bits they do not know, `openat2` refuses them. Directory, nofollow, direct and largefile have numbers of
    /// their own on AArch64.
    pub struct OpenFlags: u32, "O_" {
        WRONLY = 0o1;
        RDWR = 0o2;
        CREAT = 0o100;
        EXCL = 0o200;
        NOCTTY = 0o400;
        TRUNC = 0o1000;
        APPEND = 0o2000;
        NONBLOCK = 0o4000;
        DSYNC = 0o10000;
        FASYNC = 0o20000;
        DIRECTORY = 0o40000;
        NOFOLLOW = 0o100_000;
        DIRECT = 0o200_000;
        LARGEFILE = 0o400_000;
        NOATIME = 0o1_000_000;
        CLOEXEC = 0o2_000_000;
        // O_SYNC is this and DSYNC.
        _SYNC = 0o4_000_000;
        PATH = 0o10_000_000;
        // O_TMPFILE is this and DIRECTORY.
        _TMPFILE = 0o20_000_000;
    }
}

/// How an open file may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// `O_RDONLY`.
    Read,
    /// `O_WRONLY`.
    Write,
    /// `O_RDWR`.
    ReadWrite,
    /// 3: neither, for ioctl(2) alone.
    None,
}

impl OpenFlags {
    /// `O_ACCMODE`: the bits of the access mode.
    pub const ACCMODE: Self = Self::WRONLY.union(Self::RDWR);
    /// `O_SYNC`.
    pub const SYNC: Self = Self::_SYNC.union(Self::DSYNC);
    /// `O_TMPFILE`.
    pub const TMPFILE: Self = Self::_TMPFILE.union(Self::DIRECTORY);
    /// What `fcntl(F_SETFL)` can change; it ignores all else.
    pub const SETTABLE: Self = Self::APPEND
        .union(Self::NONBLOCK)
        .union(Self::FASYNC)
        .union(Self::DIRECT)
        .union(Self::NOATIME);

    /// The access mode.
    pub const fn access(self) -> Access {
        match self.bits() & Self::ACCMODE.bits() {
            0 => Access::Read,
            1 => Access::Write,
            2 => Access::ReadWrite,
            _ => Access::None,
        }
    }

    /// Whether the access mode allows reading.
    pub const fn is_readable(self) -> bool {
        matches!(self.access(), Access::Read | Access::ReadWrite)
    }

    /// Whether the access mode allows writing.
    pub const fn is_writable(self) -> bool {
        matches!(self.access(), Access::Write | Access::ReadWrite)
    }
}

flags! {
    /// The flags of the `*at` calls. Each call knows only some; the rest is EINVAL.
    pub struct AtFlags: u32, "AT_" {
        SYMLINK_NOFOLLOW = 0x100;
        // The same bit as AT_EACCESS (faccessat2) and AT_REMOVEDIR (unlinkat) have.
        REMOVEDIR = 0x200;
        SYMLINK_FOLLOW = 0x400;
        NO_AUTOMOUNT = 0x800;
        EMPTY_PATH = 0x1000;
        STATX_FORCE_SYNC = 0x2000;
        STATX_DONT_SYNC = 0x4000;
        RECURSIVE = 0x8000;
    }
}

impl AtFlags {
    /// `AT_EACCESS` of faccessat2(2): the same bit as `AT_REMOVEDIR`.
    pub const EACCESS: Self = Self::REMOVEDIR;
}

constants! { AT_LIST, i32, "openat(2)";
    AT_FDCWD = -100;
}

flags! {
    /// `fcntl(F_SETFD)`.
    pub struct FdFlags: u32, "FD_" {
        CLOEXEC = 1;
    }
}

flags! {
    /// access(2); no bit is `F_OK`.
    pub struct AccessMode: u32, "" {
        X_OK = 1;
        W_OK = 2;
        R_OK = 4;
    }
}

constants! { SEEK_LIST, u32, "lseek(2)";
    SEEK_SET = 0;
    SEEK_CUR = 1;
    SEEK_END = 2;
    SEEK_DATA = 3;
    SEEK_HOLE = 4;
}

constants! { MODE_LIST, u32, "inode(7)";
    S_IFMT = 0o170_000;
    S_IFSOCK = 0o140_000;
    S_IFLNK = 0o120_000;
    S_IFREG = 0o100_000;
    S_IFBLK = 0o060_000;
    S_IFDIR = 0o040_000;
    S_IFCHR = 0o020_000;
    S_IFIFO = 0o010_000;
    S_ISUID = 0o4000;
    S_ISGID = 0o2000;
    S_ISVTX = 0o1000;
    S_IRWXU = 0o700;
    S_IRUSR = 0o400;
    S_IWUSR = 0o200;
    S_IXUSR = 0o100;
    S_IRWXG = 0o070;
    S_IRGRP = 0o040;
    S_IWGRP = 0o020;
    S_IXGRP = 0o010;
    S_IRWXO = 0o007;
    S_IROTH = 0o004;
    S_IWOTH = 0o002;
    S_IXOTH = 0o001;
}

constants! { FCNTL_LIST, u32, "fcntl(2)";
    F_DUPFD = 0;
    F_GETFD = 1;
    F_SETFD = 2;
    F_GETFL = 3;
    F_SETFL = 4;
    F_GETLK = 5;
    F_SETLK = 6;
    F_SETLKW = 7;
    F_SETOWN = 8;
    F_GETOWN = 9;
    F_SETSIG = 10;
    F_GETSIG = 11;
    F_SETOWN_EX = 15;
    F_GETOWN_EX = 16;
    F_OFD_GETLK = 36;
    F_OFD_SETLK = 37;
    F_OFD_SETLKW = 38;
    F_SETLEASE = 1024;
    F_GETLEASE = 1025;
    F_NOTIFY = 1026;
    F_DUPFD_CLOEXEC = 1030;
    F_SETPIPE_SZ = 1031;
    F_GETPIPE_SZ = 1032;
    F_ADD_SEALS = 1033;
    F_GET_SEALS = 1034;
}

constants! { LOCK_LIST, i16, "fcntl(2)";
    F_RDLCK = 0;
    F_WRLCK = 1;
    F_UNLCK = 2;
}

flags! {
    /// Seals of a memory file, memfd_create(2).
    pub struct Seals: u32, "F_SEAL_" {
        SEAL = 1;
        SHRINK = 2;
        GROW = 4;
        WRITE = 8;
        FUTURE_WRITE = 16;
    }
}

flags! {
    /// memfd_create(2).
    pub struct MemfdFlags: u32, "MFD_" {
        CLOEXEC = 1;
        ALLOW_SEALING = 2;
        HUGETLB = 4;
    }
}

constants! { FLOCK_LIST, u32, "flock(2)";
    LOCK_SH = 1;
    LOCK_EX = 2;
    LOCK_NB = 4;
    LOCK_UN = 8;
}

flags! {
    /// renameat2(2).
    pub struct RenameFlags: u32, "RENAME_" {
        NOREPLACE = 1;
        EXCHANGE = 2;
        WHITEOUT = 4;
    }
}

flags! {
    /// fallocate(2).
    pub struct FallocFlags: u32, "FALLOC_FL_" {
        KEEP_SIZE = 1;
        PUNCH_HOLE = 2;
        COLLAPSE_RANGE = 8;
        ZERO_RANGE = 16;
        INSERT_RANGE = 32;
        UNSHARE_RANGE = 64;
    }
}

flags! {
    /// mount(2).
    pub struct MountFlags: u64, "MS_" {
        RDONLY = 1;
        NOSUID = 2;
        NODEV = 4;
        NOEXEC = 8;
        SYNCHRONOUS = 16;
        REMOUNT = 32;
        MANDLOCK = 64;
        DIRSYNC = 128;
        NOSYMFOLLOW = 256;
        NOATIME = 1024;
        NODIRATIME = 2048;
        BIND = 4096;
        MOVE = 8192;
        REC = 16384;
        SILENT = 32768;
        POSIXACL = 1 << 16;
        UNBINDABLE = 1 << 17;
        PRIVATE = 1 << 18;
        SLAVE = 1 << 19;
        SHARED = 1 << 20;
        RELATIME = 1 << 21;
        KERNMOUNT = 1 << 22;
        I_VERSION = 1 << 23;
        STRICTATIME = 1 << 24;
        LAZYTIME = 1 << 25;
    }
}

flags! {
    /// umount2(2).
    pub struct UmountFlags: u32, "" {
        MNT_FORCE = 1;
        MNT_DETACH = 2;
        MNT_EXPIRE = 4;
        UMOUNT_NOFOLLOW = 8;
    }
}

flags! {
    /// The fields that statx(2) is asked for and answers.
    pub struct StatxMask: u32, "STATX_" {
        TYPE = 1;
        MODE = 2;
        NLINK = 4;
        UID = 8;
        GID = 0x10;
        ATIME = 0x20;
        MTIME = 0x40;
        CTIME = 0x80;
        INO = 0x100;
        SIZE = 0x200;
        BLOCKS = 0x400;
        BTIME = 0x800;
        MNT_ID = 0x1000;
        DIOALIGN = 0x2000;
    }
}

impl StatxMask {
    /// `STATX_BASIC_STATS`: what stat(2) answers.
    pub const BASIC_STATS: Self = Self::from_bits_retain(0x7ff);
}

flags! {
    /// pipe2(2); the numbers are those of open(2).
    pub struct PipeFlags: u32, "O_" {
        NONBLOCK = 0o4000;
        DIRECT = 0o200_000;
        CLOEXEC = 0o2_000_000;
    }
}

flags! {
    /// preadv2(2), pwritev2(2).
    pub struct RwFlags: u32, "RWF_" {
        HIPRI = 1;
        DSYNC = 2;
        SYNC = 4;
        NOWAIT = 8;
        APPEND = 16;
    }
}

flags! {
    /// splice(2).
    pub struct SpliceFlags: u32, "SPLICE_F_" {
        MOVE = 1;
        NONBLOCK = 2;
        MORE = 4;
        GIFT = 8;
    }
}

flags! {
    /// close_range(2).
    pub struct CloseRangeFlags: u32, "CLOSE_RANGE_" {
        UNSHARE = 2;
        CLOEXEC = 4;
    }
}

constants! { DIRENT_LIST, u8, "readdir(3)";
    DT_UNKNOWN = 0;
    DT_FIFO = 1;
    DT_CHR = 2;
    DT_DIR = 4;
    DT_BLK = 6;
    DT_REG = 8;
    DT_LNK = 10;
    DT_SOCK = 12;
}

constants! { UTIME_LIST, i64, "utimensat(2)";
    UTIME_NOW = 0x3fff_ffff;
    UTIME_OMIT = 0x3fff_fffe;
}

constants! { MAGIC_LIST, i64, "statfs(2)";
    TMPFS_MAGIC = 0x0102_1994;
    PROC_SUPER_MAGIC = 0x9fa0;
    SYSFS_MAGIC = 0x6265_6572;
    EXT4_SUPER_MAGIC = 0xef53;
    MSDOS_SUPER_MAGIC = 0x4d44;
    DEVPTS_SUPER_MAGIC = 0x1cd1;
    PIPEFS_MAGIC = 0x5049_5045;
    SOCKFS_MAGIC = 0x534f_434b;
    ANON_INODE_FS_MAGIC = 0x0904_1934;
    RAMFS_MAGIC = 0x8584_58f6;
}

/// The longest name of a directory entry in bytes, without its NUL.
pub const NAME_MAX: usize = 255;

/// The longest path in bytes, with its NUL.
pub const PATH_MAX: usize = 4096;

/// The most segments of readv(2), writev(2), sendmsg(2).
pub const IOV_MAX: usize = 1024;

/// A device number as a program sees it in `st_rdev` (makedev(3)).
pub const fn make_dev(major: u32, minor: u32) -> u64 {
    let (major, minor) = (major as u64, minor as u64);
    (minor & 0xff) | (major & 0xfff) << 8 | (minor & !0xff) << 12 | (major & !0xfff) << 32
}

/// The major and minor number of a device number.
pub const fn split_dev(dev: u64) -> (u32, u32) {
    let major = (dev >> 8 & 0xfff) | (dev >> 32 & !0xfff);
    let minor = (dev & 0xff) | (dev >> 12 & 0xffff_ff00);
    (major as u32, minor as u32)
}

/// The `d_type` of a mode.
pub const fn dirent_type(mode: u32) -> u8 {
    ((mode & S_IFMT) >> 12) as u8
}

flags! {
    /// How openat2(2) resolves paths.
    pub struct ResolveFlags: u64, "RESOLVE_" {
        NO_XDEV = 1;
        NO_MAGICLINKS = 2;
        NO_SYMLINKS = 4;
        BENEATH = 8;
        IN_ROOT = 16;
        CACHED = 32;
    }
}

flags! {
    /// How a file system is mounted, statfs(2).
    pub struct StatfsFlags: u64, "ST_" {
        RDONLY = 1;
        NOSUID = 2;
        NODEV = 4;
        NOEXEC = 8;
        SYNCHRONOUS = 16;
        NOATIME = 1024;
        NODIRATIME = 2048;
        RELATIME = 4096;
    }
}

impl StatfsFlags {
    /// `ST_VALID`, in every answer: the flags are filled in.
    pub const VALID: Self = Self::from_bits_retain(0x20);
}
