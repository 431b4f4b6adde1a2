//! Open files: flags, offsets, vectors, holes, truncation, duplicates, fcntl(2), directories.

mod direct;

use super::Case;
use crate::sys::{Errno, Fd, Outcome, PAGE, Scratch, What, c, fd, open, read, refused, write};

pub(super) static CASES: &[Case] = &[
    ("files/open-flags", open_flags),
    ("files/open-errors", open_errors),
    ("files/read-write-modes", read_write_modes),
    ("files/append", append),
    ("files/positional", positional),
    ("files/vectors", vectors),
    ("files/seek", seek),
    ("files/holes", holes),
    ("files/truncate", truncate),
    ("files/unlinked-lives-on", unlinked_lives_on),
    ("files/dup", dup),
    ("files/fcntl", fcntl),
    ("files/bad-descriptors", bad_descriptors),
    ("files/getdents", getdents),
    ("files/stat-fields", stat_fields),
    ("files/statx", statx),
    ("files/times", times),
    ("files/sendfile", sendfile),
    ("files/copy-large", copy_large),
    ("files/directories-are-not-files", directories_are_not_files),
    ("files/lowest-descriptor", lowest_descriptor),
    ("files/close-range", close_range),
    ("files/statfs", statfs),
    ("files/fallocate", fallocate),
    ("files/flock", flock),
    ("files/path-descriptor", path_descriptor),
    ("files/devices", devices),
    ("files/descriptor-limit", descriptor_limit),
    ("files/direct", direct::direct),
];

const RWC: i32 = libc::O_RDWR | libc::O_CREAT;

fn new_file(scratch: &Scratch, bytes: &[u8]) -> Result<Fd, String> {
    let file = open(&scratch.path("file"), RWC | libc::O_TRUNC, 0o644).what("open")?;
    if !bytes.is_empty() {
        write(&file, bytes).what("write")?;
    }
    Ok(file)
}

fn pread(file: &Fd, limit: usize, at: i64) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; limit];
    let length = sys!(SYS_pread64, file, bytes.as_mut_ptr(), limit, at)?;
    bytes.truncate(length as usize);
    Ok(bytes)
}

fn stat(file: &Fd) -> Result<libc::stat, String> {
    // SAFETY: plain data for which all zeros is a value.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    sys!(SYS_fstat, file, &raw mut stat).what("fstat")?;
    Ok(stat)
}

fn open_flags() -> Outcome {
    let scratch = Scratch::new()?;
    let path = scratch.path("f");
    let exclusive = RWC | libc::O_EXCL;
    write(&open(&path, exclusive, 0o600).what("O_EXCL on a new name")?, b"content").what("write")?;
    refused(
        "O_EXCL on an old name",
        open(&path, exclusive, 0o600).map(|_| ()),
        libc::EEXIST,
    )?;
    let file = open(&path, libc::O_RDWR, 0).what("open")?;
    same!(read(&file, 20).what("read")?, b"content".to_vec(), "content");
    open(&path, libc::O_WRONLY | libc::O_TRUNC, 0).what("O_TRUNC")?;
    same!(stat(&file)?.st_size, 0, "size after O_TRUNC");
    same!(
        sys!(SYS_fcntl, &file, libc::F_GETFL).what("F_GETFL")? as i32 & libc::O_ACCMODE,
        libc::O_RDWR,
        "access mode"
    );
    let folder = open(&scratch.0, libc::O_RDONLY | libc::O_DIRECTORY, 0).what("O_DIRECTORY")?;
    let name = c("g");
    let inner = fd(
        sys!(SYS_openat, &folder, name.as_ptr(), RWC, 0o600),
        "openat below a folder",
    )?;
    check!(std::fs::metadata(scratch.path("g")).is_ok(), "the file made by openat");
    refused(
        "openat below a file",
        sys!(SYS_openat, &inner, name.as_ptr(), 0, 0),
        libc::ENOTDIR,
    )
}

fn open_errors() -> Outcome {
    let scratch = Scratch::new()?;
    drop(new_file(&scratch, b"x")?);
    let path = scratch.path("file");
    let none = |path: &str, flags: i32| open(path, flags, 0o600).map(|_| ());
    refused("missing", none("/tmp/no/such", 0), libc::ENOENT)?;
    refused("empty", none("", 0), libc::ENOENT)?;
    refused("below a file", none(&format!("{path}/x"), 0), libc::ENOTDIR)?;
    refused("a file with a slash", none(&format!("{path}/"), 0), libc::ENOTDIR)?;
    refused("a file as a folder", none(&path, libc::O_DIRECTORY), libc::ENOTDIR)?;
    refused("a folder for writing", none(&scratch.0, libc::O_WRONLY), libc::EISDIR)?;
    refused("creating a folder's name", none(&scratch.0, RWC), libc::EISDIR)?;
    refused(
        "a name of 256 bytes",
        none(&scratch.path(&"x".repeat(256)), RWC),
        libc::ENAMETOOLONG,
    )?;
    refused(
        "a path of 4096 bytes",
        none(&format!("/{}", "x/".repeat(2048)), 0),
        libc::ENAMETOOLONG,
    )?;
    same!(
        none(&scratch.path(&"x".repeat(255)), RWC),
        Ok(()),
        "a name of 255 bytes"
    );
    refused(
        "a bad folder descriptor",
        sys!(SYS_openat, 999, c"x".as_ptr(), 0, 0),
        libc::EBADF,
    )
}

fn read_write_modes() -> Outcome {
    let scratch = Scratch::new()?;
    drop(new_file(&scratch, b"text")?);
    let reading = open(&scratch.path("file"), libc::O_RDONLY, 0).what("open")?;
    refused("write to a file open for reading", write(&reading, b"x"), libc::EBADF)?;
    refused("ftruncate of it", sys!(SYS_ftruncate, &reading, 0), libc::EINVAL)?;
    let writing = open(&scratch.path("file"), libc::O_WRONLY, 0).what("open")?;
    refused("read of a file open for writing", read(&writing, 1), libc::EBADF)?;
    same!(read(&reading, 100).what("read")?, b"text".to_vec(), "content");
    same!(read(&reading, 100).what("read")?, Vec::<u8>::new(), "at the end");
    same!(sys!(SYS_read, &reading, 0, 0), Ok(0), "a read of nothing");
    Ok(())
}

fn append() -> Outcome {
    let scratch = Scratch::new()?;
    let file = new_file(&scratch, b"one")?;
    let appending = open(&scratch.path("file"), libc::O_WRONLY | libc::O_APPEND, 0).what("open")?;
    sys!(SYS_lseek, &appending, 0, libc::SEEK_SET).what("lseek")?;
    write(&appending, b"two").what("write")?;
    write(&file, b"X").what("write")?;
    write(&appending, b"!").what("write")?;
    same!(pread(&file, 20, 0).what("pread")?, b"oneXwo!".to_vec(), "content");
    // Two processes that append lose nothing.
    let pids = [(); 4].map(|()| {
        crate::sys::child(|| {
            let Ok(file) = open(&scratch.path("file"), libc::O_WRONLY | libc::O_APPEND, 0) else {
                return 1;
            };
            i32::from((0..200).any(|_| write(&file, b"0123456789") != Ok(10)))
        })
    });
    for pid in pids {
        same!(
            crate::sys::wait(pid?, 0).what("wait4")?,
            crate::sys::Ended::Exit(0),
            "a writer"
        );
    }
    same!(stat(&file)?.st_size, 7 + 8000, "size after four writers");
    Ok(())
}

fn positional() -> Outcome {
    let scratch = Scratch::new()?;
    let file = new_file(&scratch, b"0123456789")?;
    sys!(SYS_pwrite64, &file, b"ab".as_ptr(), 2, 3).what("pwrite64")?;
    same!(pread(&file, 5, 2).what("pread64")?, b"2ab56".to_vec(), "content");
    same!(
        sys!(SYS_lseek, &file, 0, libc::SEEK_CUR),
        Ok(10),
        "the offset is left alone"
    );
    same!(
        pread(&file, 5, 100).what("pread64")?,
        Vec::<u8>::new(),
        "beyond the end"
    );
    refused(
        "a negative offset",
        sys!(SYS_pread64, &file, [0_u8].as_mut_ptr(), 1, -1),
        libc::EINVAL,
    )?;
    let (reader, _writer) = crate::sys::pipe(0)?;
    refused("pread of a pipe", pread(&reader, 1, 0), libc::ESPIPE)
}

fn vectors() -> Outcome {
    let scratch = Scratch::new()?;
    let file = new_file(&scratch, b"")?;
    let parts: [&[u8]; 4] = [b"one", b"", b"three", b"4"];
    let out = parts.map(|p| libc::iovec {
        iov_base: p.as_ptr() as *mut libc::c_void,
        iov_len: p.len(),
    });
    same!(sys!(SYS_writev, &file, out.as_ptr(), 4), Ok(9), "writev");
    sys!(SYS_lseek, &file, 0, libc::SEEK_SET).what("lseek")?;
    let (mut a, mut b) = ([0_u8; 4], [0_u8; 20]);
    let into = [
        libc::iovec {
            iov_base: a.as_mut_ptr().cast(),
            iov_len: 4,
        },
        libc::iovec {
            iov_base: b.as_mut_ptr().cast(),
            iov_len: 20,
        },
    ];
    same!(sys!(SYS_readv, &file, into.as_ptr(), 2), Ok(9), "readv");
    same!((&a, &b[..5]), (b"onet", &b"hree4"[..]), "content");
    same!(sys!(SYS_preadv, &file, into.as_ptr(), 1, 3, 0), Ok(4), "preadv");
    same!(&a, b"thre", "content at an offset");
    same!(sys!(SYS_writev, &file, out.as_ptr(), 0), Ok(0), "no parts");
    refused(
        "too many parts",
        sys!(SYS_writev, &file, out.as_ptr(), 1025),
        libc::EINVAL,
    )?;
    refused(
        "a negative count",
        sys!(SYS_writev, &file, out.as_ptr(), -1),
        libc::EINVAL,
    )?;
    refused("parts nowhere", sys!(SYS_writev, &file, 8, 1), libc::EFAULT)
}

fn seek() -> Outcome {
    let scratch = Scratch::new()?;
    let file = new_file(&scratch, b"0123456789")?;
    let to = |offset: i64, whence: i32| sys!(SYS_lseek, &file, offset, whence);
    same!(
        (to(3, libc::SEEK_SET), to(2, libc::SEEK_CUR), to(-1, libc::SEEK_END)),
        (Ok(3), Ok(5), Ok(9)),
        "lseek"
    );
    same!(to(100, libc::SEEK_SET), Ok(100), "beyond the end");
    refused("before the start", to(-1, libc::SEEK_SET), libc::EINVAL)?;
    refused("an unknown whence", to(0, 9), libc::EINVAL)?;
    same!(
        (to(0, libc::SEEK_DATA), to(0, libc::SEEK_HOLE)),
        (Ok(0), Ok(10)),
        "SEEK_DATA, SEEK_HOLE"
    );
    refused("data beyond the end", to(50, libc::SEEK_DATA), libc::ENXIO)?;
    let (reader, _writer) = crate::sys::pipe(0)?;
    refused(
        "lseek of a pipe",
        sys!(SYS_lseek, &reader, 0, libc::SEEK_CUR),
        libc::ESPIPE,
    )
}

fn holes() -> Outcome {
    let scratch = Scratch::new()?;
    let file = new_file(&scratch, b"")?;
    let far = 1_i64 << 30;
    sys!(SYS_pwrite64, &file, b"end".as_ptr(), 3, far).what("pwrite64")?;
    let stat = stat(&file)?;
    same!(stat.st_size, far + 3, "size");
    check!(stat.st_blocks < 2048, "a hole of 1 GiB takes {} blocks", stat.st_blocks);
    same!(
        pread(&file, PAGE, far / 2).what("pread64")?,
        vec![0; PAGE],
        "in the hole"
    );
    Ok(())
}

fn truncate() -> Outcome {
    let scratch = Scratch::new()?;
    let file = new_file(&scratch, &[b'a'; 5000])?;
    sys!(SYS_ftruncate, &file, 10).what("ftruncate")?;
    sys!(SYS_ftruncate, &file, 6000).what("ftruncate")?;
    let back = pread(&file, 8000, 0).what("pread64")?;
    same!(back.len(), 6000, "size");
    check!(
        back[..10] == [b'a'; 10] && back[10..].iter().all(|&b| b == 0),
        "what was cut off came back"
    );
    let path = c(&scratch.path("file"));
    same!(sys!(SYS_truncate, path.as_ptr(), 3), Ok(0), "truncate");
    refused("a negative length", sys!(SYS_ftruncate, &file, -1), libc::EINVAL)?;
    refused("a folder", sys!(SYS_truncate, c"/tmp".as_ptr(), 0), libc::EISDIR)
}

fn unlinked_lives_on() -> Outcome {
    let scratch = Scratch::new()?;
    let file = new_file(&scratch, b"still here")?;
    std::fs::remove_file(scratch.path("file")).map_err(|e| e.to_string())?;
    same!(stat(&file)?.st_nlink, 0, "links");
    same!(pread(&file, 20, 0).what("pread64")?, b"still here".to_vec(), "content");
    let again = new_file(&scratch, b"new")?;
    check!(
        stat(&again)?.st_ino != stat(&file)?.st_ino,
        "a new file has the number of one that is open"
    );
    Ok(())
}

fn dup() -> Outcome {
    let scratch = Scratch::new()?;
    let file = new_file(&scratch, b"abcdef")?;
    let copy = fd(sys!(SYS_dup, &file), "dup")?;
    sys!(SYS_lseek, &file, 2, libc::SEEK_SET).what("lseek")?;
    same!(read(&copy, 2).what("read")?, b"cd".to_vec(), "the offset is shared");
    let at = sys!(SYS_dup3, &file, 70, libc::O_CLOEXEC).what("dup3")? as i32;
    same!(
        (at, sys!(SYS_fcntl, 70, libc::F_GETFD)),
        (70, Ok(1)),
        "dup3 with O_CLOEXEC"
    );
    same!(
        sys!(SYS_fcntl, &copy, libc::F_GETFD),
        Ok(0),
        "the flag is each descriptor's own"
    );
    refused("dup3 onto itself", sys!(SYS_dup3, &file, file.0, 0), libc::EINVAL)?;
    refused("dup3 with unknown flags", sys!(SYS_dup3, &file, 71, 1), libc::EINVAL)?;
    refused(
        "dup3 to a number too large",
        sys!(SYS_dup3, &file, 1 << 30, 0),
        libc::EBADF,
    )?;
    let high = fd(sys!(SYS_fcntl, &file, libc::F_DUPFD_CLOEXEC, 50), "F_DUPFD_CLOEXEC")?;
    same!(
        (high.0, sys!(SYS_fcntl, &high, libc::F_GETFD)),
        (50, Ok(1)),
        "the lowest from 50"
    );
    Ok(())
}

fn fcntl() -> Outcome {
    let scratch = Scratch::new()?;
    let file = new_file(&scratch, b"")?;
    same!(
        sys!(SYS_fcntl, &file, libc::F_SETFL, libc::O_APPEND | libc::O_NONBLOCK),
        Ok(0),
        "F_SETFL"
    );
    let flags = sys!(SYS_fcntl, &file, libc::F_GETFL).what("F_GETFL")? as i32;
    same!(
        flags & (libc::O_APPEND | libc::O_NONBLOCK | libc::O_ACCMODE),
        libc::O_APPEND | libc::O_NONBLOCK | libc::O_RDWR,
        "flags"
    );
    sys!(SYS_fcntl, &file, libc::F_SETFD, libc::FD_CLOEXEC).what("F_SETFD")?;
    same!(sys!(SYS_fcntl, &file, libc::F_GETFD), Ok(1), "F_GETFD");
    refused("an unknown command", sys!(SYS_fcntl, &file, 9999), libc::EINVAL)?;
    refused("a bad descriptor", sys!(SYS_fcntl, 999, libc::F_GETFD), libc::EBADF)
}

fn bad_descriptors() -> Outcome {
    for number in [-1, 999, i32::MAX, i32::MIN] {
        refused("read", sys!(SYS_read, number, 0, 0), libc::EBADF)?;
        refused("write", sys!(SYS_write, number, 0, 0), libc::EBADF)?;
        refused("close", sys!(SYS_close, number), libc::EBADF)?;
        refused("fstat", sys!(SYS_fstat, number, 8), libc::EBADF)?;
        refused("ioctl", sys!(SYS_ioctl, number, libc::TCGETS, 0), libc::EBADF)?;
    }
    let file = open("/dev/null", libc::O_RDONLY, 0).what("open")?;
    same!(sys!(SYS_close, &file), Ok(0), "close");
    refused("close twice", sys!(SYS_close, &file), libc::EBADF)
}

/// The names in a folder, by getdents64(2) with a small buffer.
fn names(folder: &Fd, buffer: usize) -> Result<Vec<(String, u8)>, String> {
    let (mut all, mut bytes) = (Vec::new(), vec![0_u8; buffer]);
    loop {
        let length = sys!(SYS_getdents64, folder, bytes.as_mut_ptr(), buffer).what("getdents64")? as usize;
        if length == 0 {
            return Ok(all);
        }
        let mut at = 0;
        while at < length {
            // ino 8, off 8, reclen 2, type 1, name.
            let size = usize::from(u16::from_ne_bytes([bytes[at + 16], bytes[at + 17]]));
            check!(
                size >= 20 && size % 8 == 0 && at + size <= length,
                "a record of {size} bytes at {at} of {length}"
            );
            let name: Vec<u8> = bytes[at + 19..at + size]
                .iter()
                .copied()
                .take_while(|&b| b != 0)
                .collect();
            all.push((String::from_utf8_lossy(&name).into_owned(), bytes[at + 18]));
            at += size;
        }
    }
}

fn getdents() -> Outcome {
    let scratch = Scratch::new()?;
    for n in 0..300 {
        open(&scratch.path(&format!("file-{n}")), RWC, 0o600).what("open")?;
    }
    std::fs::create_dir(scratch.path("folder")).map_err(|e| e.to_string())?;
    std::os::unix::fs::symlink("x", scratch.path("link")).map_err(|e| e.to_string())?;
    let folder = open(&scratch.0, libc::O_RDONLY | libc::O_DIRECTORY, 0).what("open")?;
    let mut found = names(&folder, 1024)?;
    same!(found.len(), 304, "entries, with . and ..");
    let kind = |name: &str| found.iter().find(|(n, _)| n == name).map(|(_, t)| *t);
    same!(
        (kind("."), kind("folder"), kind("link"), kind("file-0")),
        (Some(4), Some(4), Some(10), Some(8)),
        "types"
    );
    found.sort();
    found.dedup();
    same!(found.len(), 304, "no entry twice");
    sys!(SYS_lseek, &folder, 0, libc::SEEK_SET).what("lseek")?;
    same!(names(&folder, 4096)?.len(), 304, "from the start again");
    sys!(SYS_lseek, &folder, 0, libc::SEEK_SET).what("lseek")?;
    let mut bytes = [0_u8; 10];
    refused(
        "too small a buffer",
        sys!(SYS_getdents64, &folder, bytes.as_mut_ptr(), 10),
        libc::EINVAL,
    )?;
    let file = new_file(&scratch, b"")?;
    refused(
        "a file",
        sys!(SYS_getdents64, &file, bytes.as_mut_ptr(), 10),
        libc::ENOTDIR,
    )
}

fn stat_fields() -> Outcome {
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

fn statx() -> Outcome {
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

fn times() -> Outcome {
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

fn sendfile() -> Outcome {
    let scratch = Scratch::new()?;
    let file = new_file(&scratch, b"0123456789")?;
    let (reader, writer) = crate::sys::pipe(0)?;
    let mut offset = 3_i64;
    same!(
        sys!(SYS_sendfile, &writer, &file, &raw mut offset, 4),
        Ok(4),
        "sendfile"
    );
    same!(
        (read(&reader, 10).what("read")?, offset),
        (b"3456".to_vec(), 7),
        "content and offset"
    );
    same!(
        sys!(SYS_lseek, &file, 0, libc::SEEK_CUR),
        Ok(10),
        "the file's own offset"
    );
    Ok(())
}

fn copy_large() -> Outcome {
    let scratch = Scratch::new()?;
    let file = new_file(&scratch, b"")?;
    let block: Vec<u8> = (0..70_001_u32).map(|n| (n % 251) as u8).collect();
    for _ in 0..60 {
        same!(write(&file, &block), Ok(block.len()), "write");
    }
    sys!(SYS_lseek, &file, 0, libc::SEEK_SET).what("lseek")?;
    for n in 0..60 {
        let back = read(&file, block.len()).what("read")?;
        check!(back == block, "block {n} differs");
    }
    Ok(())
}

fn directories_are_not_files() -> Outcome {
    let folder = open("/tmp", libc::O_RDONLY, 0).what("open")?;
    refused("read of a folder", read(&folder, 10), libc::EISDIR)?;
    refused("write to a folder", write(&folder, b"x"), libc::EBADF)?;
    refused(
        "mmap of a folder",
        sys!(SYS_mmap, 0, PAGE, libc::PROT_READ, libc::MAP_PRIVATE, &folder, 0),
        libc::ENODEV,
    )
}

fn lowest_descriptor() -> Outcome {
    let one = open("/dev/null", 0, 0).what("open")?;
    let two = open("/dev/null", 0, 0).what("open")?;
    let number = one.0;
    check!(two.0 > number, "descriptors {number} and {}", two.0);
    drop(one);
    same!(
        open("/dev/null", 0, 0).what("open")?.0,
        number,
        "the lowest free number"
    );
    Ok(())
}

fn close_range() -> Outcome {
    for at in [80, 81, 83, 90] {
        sys!(SYS_dup3, 0, at, 0).what("dup3")?;
    }
    sys!(SYS_close_range, 81, 85, 0).what("close_range")?;
    let is_open = |at: i32| sys!(SYS_fcntl, at, libc::F_GETFD).is_ok();
    same!(
        [80, 81, 83, 90].map(is_open),
        [true, false, false, true],
        "which are open"
    );
    refused("backwards", sys!(SYS_close_range, 90, 80, 0), libc::EINVAL)?;
    refused("unknown flags", sys!(SYS_close_range, 80, 90, 0x100), libc::EINVAL)
}

fn statfs() -> Outcome {
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

fn fallocate() -> Outcome {
    let scratch = Scratch::new()?;
    let file = new_file(&scratch, b"abc")?;
    sys!(SYS_fallocate, &file, 0, 0, 10_000).what("fallocate")?;
    same!(
        (stat(&file)?.st_size, pread(&file, 4, 0)),
        (10_000, Ok(b"abc\0".to_vec())),
        "size and content"
    );
    refused("length 0", sys!(SYS_fallocate, &file, 0, 0, 0), libc::EINVAL)?;
    refused(
        "unknown mode",
        sys!(SYS_fallocate, &file, 0x1000, 0, 10),
        libc::EOPNOTSUPP,
    )
}

fn flock() -> Outcome {
    let scratch = Scratch::new()?;
    let one = new_file(&scratch, b"")?;
    let two = open(&scratch.path("file"), libc::O_RDWR, 0).what("open")?;
    same!(sys!(SYS_flock, &one, libc::LOCK_EX), Ok(0), "LOCK_EX");
    refused(
        "a second lock",
        sys!(SYS_flock, &two, libc::LOCK_EX | libc::LOCK_NB),
        libc::EAGAIN,
    )?;
    sys!(SYS_flock, &one, libc::LOCK_UN).what("LOCK_UN")?;
    same!(
        sys!(SYS_flock, &two, libc::LOCK_SH | libc::LOCK_NB),
        Ok(0),
        "after it was given back"
    );
    same!(
        sys!(SYS_flock, &one, libc::LOCK_SH | libc::LOCK_NB),
        Ok(0),
        "shared by two"
    );
    refused("an unknown operation", sys!(SYS_flock, &one, 0x10), libc::EINVAL)
}

fn path_descriptor() -> Outcome {
    let scratch = Scratch::new()?;
    drop(new_file(&scratch, b"text")?);
    let handle = open(&scratch.path("file"), libc::O_PATH, 0).what("O_PATH")?;
    refused("read", read(&handle, 1), libc::EBADF)?;
    same!(stat(&handle)?.st_size, 4, "fstat");
    let link = std::fs::read_link(format!("/proc/self/fd/{}", handle.0)).map_err(|e| e.to_string())?;
    same!(link.to_str(), Some(scratch.path("file").as_str()), "/proc/self/fd");
    Ok(())
}

fn devices() -> Outcome {
    let null = open("/dev/null", libc::O_RDWR, 0).what("open")?;
    same!((write(&null, b"abc"), read(&null, 5)), (Ok(3), Ok(vec![])), "/dev/null");
    let zero = open("/dev/zero", libc::O_RDWR, 0).what("open")?;
    same!(read(&zero, 9).what("read")?, vec![0; 9], "/dev/zero");
    let full = open("/dev/full", libc::O_RDWR, 0).what("open")?;
    refused("/dev/full", write(&full, b"x"), libc::ENOSPC)?;
    let random = open("/dev/urandom", libc::O_RDONLY, 0).what("open")?;
    let (one, two) = (read(&random, 64).what("read")?, read(&random, 64).what("read")?);
    check!(one.len() == 64 && one != two, "/dev/urandom repeats itself");
    let mut bytes = [0_u8; 300];
    same!(sys!(SYS_getrandom, bytes.as_mut_ptr(), 300, 0), Ok(300), "getrandom");
    refused(
        "getrandom with unknown flags",
        sys!(SYS_getrandom, bytes.as_mut_ptr(), 1, 0x100),
        libc::EINVAL,
    )?;
    refused(
        "ioctl that a file does not know",
        sys!(SYS_ioctl, &null, libc::TCGETS, bytes.as_mut_ptr()),
        libc::ENOTTY,
    )
}

/// The highest descriptor that the hard limit allows, and a poll of as many: neither may cost more than the kernel has.
fn descriptor_limit() -> Outcome {
    let mut limit = [0_u64; 2];
    sys!(SYS_prlimit64, 0, libc::RLIMIT_NOFILE, 0, limit.as_mut_ptr()).what("prlimit64")?;
    let most = limit[1];
    let raised = [most, most];
    sys!(SYS_prlimit64, 0, libc::RLIMIT_NOFILE, raised.as_ptr(), 0).what("prlimit64 up to the hard limit")?;
    let null = open("/dev/null", libc::O_RDWR, 0).what("open")?;
    let top = fd(sys!(SYS_dup3, &null, most - 1, 0), "dup3 to the highest descriptor")?;
    same!(top.0 as u64, most - 1, "the descriptor");
    refused("one more", sys!(SYS_dup3, &null, most, 0), libc::EBADF)?;
    let count = most.min(1 << 20) as usize;
    let watched: Vec<[i32; 2]> = vec![[null.0, i32::from(libc::POLLOUT)]; count];
    same!(
        sys!(SYS_ppoll, watched.as_ptr(), count, 0, 0, 0),
        Ok(count as i64),
        "descriptors that poll says are ready"
    );
    Ok(())
}
