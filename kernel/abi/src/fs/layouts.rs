//! What the calls on files pass and answer.

use crate::{Layout, macros::layout};

layout! {
    /// stat(2), as AArch64 has it (asm-generic/stat.h).
    pub struct Stat = "struct stat", 128 {
        /// The device that the file is on.
        st_dev: u64 = 0,
        /// The inode number.
        st_ino: u64 = 8,
        /// Type and permissions.
        st_mode: u32 = 16,
        /// How many names it has.
        st_nlink: u32 = 20,
        /// The owner.
        st_uid: u32 = 24,
        /// The group.
        st_gid: u32 = 28,
        /// For devices: their number.
        st_rdev: u64 = 32,
        /// The size in bytes.
        st_size: i64 = 48,
        /// The preferred size of reads and writes.
        st_blksize: i32 = 56,
        /// The space it takes in units of 512 bytes.
        st_blocks: i64 = 64,
        /// Last access, seconds.
        st_atime: i64 = 72,
        /// Last access, nanoseconds.
        st_atime_nsec: u64 = 80,
        /// Last change of the content, seconds.
        st_mtime: i64 = 88,
        /// Last change of the content, nanoseconds.
        st_mtime_nsec: u64 = 96,
        /// Last change of the inode, seconds.
        st_ctime: i64 = 104,
        /// Last change of the inode, nanoseconds.
        st_ctime_nsec: u64 = 112,
    }
}

layout! {
    /// statfs(2).
    pub struct Statfs = "struct statfs", 120 {
        /// The kind of file system, one of the `_MAGIC` numbers.
        f_type: i64 = 0,
        /// The block size in bytes.
        f_bsize: i64 = 8,
        /// Blocks in total.
        f_blocks: u64 = 16,
        /// Blocks free.
        f_bfree: u64 = 24,
        /// Blocks free for users other than root.
        f_bavail: u64 = 32,
        /// Inodes in total.
        f_files: u64 = 40,
        /// Inodes free.
        f_ffree: u64 = 48,
        /// An id of the file system.
        f_fsid: [i32; 2] = 56,
        /// The longest name.
        f_namelen: i64 = 64,
        /// The unit of allocation in bytes.
        f_frsize: i64 = 72,
        /// How it is mounted (`ST_` flags).
        f_flags: i64 = 80,
    }
}

layout! {
    /// A time of statx(2).
    pub struct StatxTimestamp = "struct statx_timestamp", 16 {
        /// Seconds.
        tv_sec: i64 = 0,
        /// Nanoseconds.
        tv_nsec: u32 = 8,
    }
}

layout! {
    /// statx(2).
    pub struct Statx = "struct statx", 256 {
        /// What is answered: [`StatxMask`](super::StatxMask).
        stx_mask: u32 = 0,
        /// The preferred size of reads and writes.
        stx_blksize: u32 = 4,
        /// Attributes (`STATX_ATTR_`).
        stx_attributes: u64 = 8,
        /// How many names it has.
        stx_nlink: u32 = 16,
        /// The owner.
        stx_uid: u32 = 20,
        /// The group.
        stx_gid: u32 = 24,
        /// Type and permissions.
        stx_mode: u16 = 28,
        /// The inode number.
        stx_ino: u64 = 32,
        /// The size in bytes.
        stx_size: u64 = 40,
        /// The space it takes in units of 512 bytes.
        stx_blocks: u64 = 48,
        /// Which attributes the file system has.
        stx_attributes_mask: u64 = 56,
        /// Last access.
        stx_atime: StatxTimestamp = 64,
        /// Creation.
        stx_btime: StatxTimestamp = 80,
        /// Last change of the inode.
        stx_ctime: StatxTimestamp = 96,
        /// Last change of the content.
        stx_mtime: StatxTimestamp = 112,
        /// For devices: major number.
        stx_rdev_major: u32 = 128,
        /// For devices: minor number.
        stx_rdev_minor: u32 = 132,
        /// The device that the file is on: major number.
        stx_dev_major: u32 = 136,
        /// The device that the file is on: minor number.
        stx_dev_minor: u32 = 140,
        /// The mount.
        stx_mnt_id: u64 = 144,
    }
}

layout! {
    /// A lock of fcntl(2).
    pub struct Flock = "struct flock", 32 {
        /// `F_RDLCK`, `F_WRLCK`, `F_UNLCK`.
        l_type: i16 = 0,
        /// `SEEK_SET`, `SEEK_CUR`, `SEEK_END`.
        l_whence: i16 = 2,
        /// Where it begins.
        l_start: i64 = 8,
        /// How long it is; zero: to the end.
        l_len: i64 = 16,
        /// Who holds it.
        l_pid: i32 = 24,
    }
}

layout! {
    /// openat2(2).
    pub struct OpenHow = "struct open_how", 24 {
        /// As open(2).
        flags: u64 = 0,
        /// The mode of a new file.
        mode: u64 = 8,
        /// How paths are resolved (`RESOLVE_`).
        resolve: u64 = 16,
    }
}

layout! {
    /// A piece of memory, readv(2).
    pub struct Iovec = "struct iovec", 16 {
        /// The address.
        iov_base: u64 = 0,
        /// The length in bytes.
        iov_len: u64 = 8,
    }
}

/// The bytes of a directory entry before its name, getdents64(2).
pub const DIRENT64_HEADER_BYTES: usize = 19;

/// The bytes that a directory entry takes: header, name, NUL, padding to a multiple of eight.
pub const fn dirent64_bytes(name_bytes: usize) -> usize {
    (DIRENT64_HEADER_BYTES + name_bytes + 1).next_multiple_of(8)
}

/// Writes a directory entry for getdents64(2) and returns how many bytes it took; `None`, and nothing written, when there is no room.
///
/// `offset` is where reading goes on after this entry, `kind` a `DT_` number.
pub fn write_dirent64(buffer: &mut [u8], ino: u64, offset: i64, kind: u8, name: &[u8]) -> Option<usize> {
    let len = dirent64_bytes(name.len());
    let record = u16::try_from(len).ok()?;
    let buffer = buffer.get_mut(..len)?;
    buffer.fill(0);
    ino.write(buffer)?;
    offset.write(buffer.get_mut(8..)?)?;
    record.write(buffer.get_mut(16..)?)?;
    *buffer.get_mut(18)? = kind;
    buffer
        .get_mut(DIRENT64_HEADER_BYTES..)?
        .get_mut(..name.len())?
        .copy_from_slice(name);
    Some(len)
}
