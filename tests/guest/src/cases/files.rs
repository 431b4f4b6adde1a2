//! Open files: flags, offsets, vectors, holes, truncation, duplicates, fcntl(2), directories.

mod descriptors;
mod direct;
mod status;

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
    ("files/dup", descriptors::dup),
    ("files/fcntl", descriptors::fcntl),
    ("files/bad-descriptors", descriptors::bad_descriptors),
    ("files/getdents", getdents),
    ("files/stat-fields", status::stat_fields),
    ("files/statx", status::statx),
    ("files/times", status::times),
    ("files/sendfile", sendfile),
    ("files/copy-large", copy_large),
    ("files/directories-are-not-files", directories_are_not_files),
    ("files/lowest-descriptor", descriptors::lowest_descriptor),
    ("files/close-range", descriptors::close_range),
    ("files/statfs", status::statfs),
    ("files/fallocate", fallocate),
    ("files/flock", flock),
    ("files/path-descriptor", descriptors::path_descriptor),
    ("files/devices", devices),
    ("files/descriptor-limit", descriptors::descriptor_limit),
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
