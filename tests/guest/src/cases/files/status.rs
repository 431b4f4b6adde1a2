//! What there is to know of a file and its file system: stat(2), statx(2), statfs(2), times.

use super::{new_file, stat};
use crate::sys::{Outcome, Scratch, What, open, refused};

pub(super) fn stat_fields() -> Outcome {
    let scratch = Scratch::new()?;
    let file = new_file(&scratch, &[0; 5000])?;
    let seen = stat(&file)?;
    same!(
        (seen.st_size, seen.st_nlink, seen.st_uid, seen.st_mode),
        (5000, 1, 0, libc::S_IFREG | 0o644),
        "a file"
    );
    check!(
        seen.st_blocks >= 10 && seen.st_blksize >= 512,
        "{} blocks of {}",
        seen.st_blocks,
        seen.st_blksize
    );
    let folder = stat(&open("/tmp", libc::O_RDONLY, 0).what("open")?)?;
    check!(
        folder.st_mode & libc::S_IFMT == libc::S_IFDIR && folder.st_nlink >= 2,
        "a folder"
    );
    let null = stat(&open("/dev/null", libc::O_RDONLY, 0).what("open")?)?;
    same!(
        (null.st_mode & libc::S_IFMT, null.st_rdev),
        (libc::S_IFCHR, 0x103),
        "/dev/null is character device 1, 3"
    );
    let (reader, _writer) = crate::sys::pipe(0)?;
    same!(stat(&reader)?.st_mode & libc::S_IFMT, libc::S_IFIFO, "a pipe");
    // SAFETY: plain data for which all zeros is a value.
    let mut by_path: libc::stat = unsafe { std::mem::zeroed() };
    sys!(
        SYS_newfstatat,
        &file,
        c"".as_ptr(),
        &raw mut by_path,
        libc::AT_EMPTY_PATH
    )
    .what("AT_EMPTY_PATH")?;
    same!(
        (by_path.st_ino, by_path.st_dev),
        (seen.st_ino, seen.st_dev),
        "the same file"
    );
    refused(
        "unknown flags",
        sys!(SYS_newfstatat, &file, c"".as_ptr(), &raw mut by_path, 0x8000_0000_u32),
        libc::EINVAL,
    )?;
    refused(
        "the empty path",
        sys!(SYS_newfstatat, &file, c"".as_ptr(), &raw mut by_path, 0),
        libc::ENOENT,
    )
}

pub(super) fn statx() -> Outcome {
    let scratch = Scratch::new()?;
    let file = new_file(&scratch, &[0; 1234])?;
    let mut buffer = [0_u8; 256];
    sys!(
        SYS_statx,
        &file,
        c"".as_ptr(),
        libc::AT_EMPTY_PATH,
        libc::STATX_BASIC_STATS,
        buffer.as_mut_ptr()
    )
    .what("statx")?;
    let u32_at = |at: usize| u32::from_ne_bytes([buffer[at], buffer[at + 1], buffer[at + 2], buffer[at + 3]]);
    same!(u32_at(0) & libc::STATX_BASIC_STATS, libc::STATX_BASIC_STATS, "stx_mask");
    let mode = u16::from_ne_bytes([buffer[28], buffer[29]]);
    same!((mode, u32_at(40)), (0o100_644, 1234), "stx_mode, stx_size");
    refused(
        "unknown flags",
        sys!(SYS_statx, &file, c"".as_ptr(), 0x4000_0000, 0, buffer.as_mut_ptr()),
        libc::EINVAL,
    )
}

pub(super) fn times() -> Outcome {
    let scratch = Scratch::new()?;
    let file = new_file(&scratch, b"x")?;
    let set = [
        libc::timespec {
            tv_sec: 1000,
            tv_nsec: 5,
        },
        libc::timespec {
            tv_sec: 2000,
            tv_nsec: 7,
        },
    ];
    sys!(SYS_utimensat, &file, 0, set.as_ptr(), 0).what("utimensat")?;
    let seen = stat(&file)?;
    same!(
        (seen.st_atime, seen.st_mtime, seen.st_mtime_nsec),
        (1000, 2000, 7),
        "times that were set"
    );
    let omit = [
        libc::timespec {
            tv_sec: 0,
            tv_nsec: libc::UTIME_OMIT,
        },
        libc::timespec {
            tv_sec: 0,
            tv_nsec: libc::UTIME_NOW,
        },
    ];
    sys!(SYS_utimensat, &file, 0, omit.as_ptr(), 0).what("utimensat")?;
    let seen = stat(&file)?;
    check!(
        seen.st_atime == 1000 && seen.st_mtime != 2000,
        "omitted {} and now {}",
        seen.st_atime,
        seen.st_mtime
    );
    let bad = [
        libc::timespec {
            tv_sec: 0,
            tv_nsec: 2_000_000_000,
        },
        set[0],
    ];
    refused(
        "two thousand million nanoseconds",
        sys!(SYS_utimensat, &file, 0, bad.as_ptr(), 0),
        libc::EINVAL,
    )
}

pub(super) fn statfs() -> Outcome {
    // SAFETY: plain data for which all zeros is a value.
    let mut buffer: libc::statfs = unsafe { std::mem::zeroed() };
    sys!(SYS_statfs, c"/tmp".as_ptr(), &raw mut buffer).what("statfs")?;
    same!(buffer.f_type as u64 & 0xffff_ffff, 0x0102_1994, "/tmp is a tmpfs");
    check!(
        buffer.f_blocks > 0 && buffer.f_bfree <= buffer.f_blocks && buffer.f_namelen == 255,
        "its numbers"
    );
    sys!(SYS_statfs, c"/proc".as_ptr(), &raw mut buffer).what("statfs")?;
    same!(buffer.f_type as u64 & 0xffff_ffff, 0x9fa0, "/proc is a procfs");
    Ok(())
}
