//! Disks: sizes, buffered and direct I/O, exclusive opens, ioctls. They write on `/dev/vda`, which must be there, at
//! least 8 MiB, in blocks of 512 bytes, with a cache to flush and nothing on it; so they run only when named.

use super::Case;
use crate::sys::{Errno, Fd, Outcome, PAGE, What, checked_child, map, open, peek, poke, read, refused, write};

pub(super) static CASES: &[Case] = &[
    ("disk/sizes", sizes),
    ("disk/stat", stat),
    ("disk/seek", seek),
    ("disk/buffered", buffered),
    ("disk/end", end),
    ("disk/direct-alignment", direct_alignment),
    ("disk/direct-and-buffered-agree", direct_and_buffered_agree),
    ("disk/direct-vectors", direct_vectors),
    ("disk/direct-bad-memory", direct_bad_memory),
    ("disk/sync", sync),
    ("disk/exclusive", exclusive),
    ("disk/zero-and-discard", zero_and_discard),
    ("disk/read-table-anew", read_table_anew),
    ("disk/unknown-ioctl", unknown_ioctl),
    ("disk/parallel", parallel),
];

const DISK: &str = "/dev/vda";
const MIB: usize = 1 << 20;

const BLKROGET: usize = 0x125e;
const BLKRRPART: usize = 0x125f;
const BLKGETSIZE: usize = 0x1260;
const BLKFLSBUF: usize = 0x1261;
const BLKRASET: usize = 0x1262;
const BLKRAGET: usize = 0x1263;
const BLKSSZGET: usize = 0x1268;
const BLKDISCARD: usize = 0x1277;
const BLKPBSZGET: usize = 0x127b;
const BLKZEROOUT: usize = 0x127f;
const BLKBSZGET: usize = 0x8008_1270;
const BLKGETSIZE64: usize = 0x8008_1272;
const HDIO_GETGEO: usize = 0x301;

fn disk(flags: i32) -> Result<Fd, String> {
    open(DISK, flags, 0).what("open /dev/vda")
}

fn get_u64(fd: &Fd, command: usize) -> Result<u64, Errno> {
    let mut value = 0_u64;
    sys!(SYS_ioctl, fd, command, &raw mut value).map(|_| value)
}

fn get_i32(fd: &Fd, command: usize) -> Result<i32, Errno> {
    let mut value = 0_i32;
    sys!(SYS_ioctl, fd, command, &raw mut value).map(|_| value)
}

fn pread(fd: &Fd, at: usize, len: usize, offset: u64) -> Result<usize, Errno> {
    sys!(SYS_pread64, fd, at, len, offset as usize).map(|n| n as usize)
}

fn pwrite(fd: &Fd, at: usize, len: usize, offset: u64) -> Result<usize, Errno> {
    sys!(SYS_pwrite64, fd, at, len, offset as usize).map(|n| n as usize)
}

fn bytes_at(fd: &Fd, len: usize, offset: u64) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0; len];
    let n = pread(fd, bytes.as_mut_ptr() as usize, len, offset).what("pread")?;
    bytes.truncate(n);
    Ok(bytes)
}

fn put_at(fd: &Fd, bytes: &[u8], offset: u64) -> Result<usize, String> {
    pwrite(fd, bytes.as_ptr() as usize, bytes.len(), offset).what("pwrite")
}

/// Bytes that say where they belong.
fn pattern(len: usize, salt: u8) -> Vec<u8> {
    (0..len).map(|n| (n as u8) ^ ((n >> 8) as u8) ^ salt).collect()
}

fn memory(pages: usize) -> Result<usize, String> {
    map(pages, libc::PROT_READ | libc::PROT_WRITE).what("mmap")
}

fn sizes() -> Outcome {
    let fd = disk(libc::O_RDONLY)?;
    let size = get_u64(&fd, BLKGETSIZE64).what("BLKGETSIZE64")?;
    check!(size >= 8 << 20, "a disk of {size} bytes is too small for the cases");
    same!(get_u64(&fd, BLKGETSIZE).what("BLKGETSIZE")? * 512, size, "BLKGETSIZE");
    same!(
        sys!(SYS_lseek, &fd, 0, libc::SEEK_END).what("lseek")? as u64,
        size,
        "SEEK_END"
    );
    same!(get_i32(&fd, BLKSSZGET).what("BLKSSZGET")?, 512, "BLKSSZGET");
    same!(get_i32(&fd, BLKPBSZGET).what("BLKPBSZGET")?, 512, "BLKPBSZGET");
    same!(get_i32(&fd, BLKBSZGET).what("BLKBSZGET")?, 4096, "BLKBSZGET");
    same!(get_i32(&fd, BLKROGET).what("BLKROGET")?, 0, "BLKROGET");
    let before = get_u64(&fd, BLKRAGET).what("BLKRAGET")?;
    sys!(SYS_ioctl, &fd, BLKRASET, 512).what("BLKRASET")?;
    same!(get_u64(&fd, BLKRAGET).what("BLKRAGET")?, 512, "BLKRAGET");
    sys!(SYS_ioctl, &fd, BLKRASET, before as usize).what("BLKRASET")?;
    let mut geometry = [0xff_u8; 16];
    sys!(SYS_ioctl, &fd, HDIO_GETGEO, geometry.as_mut_ptr()).what("HDIO_GETGEO")?;
    same!(geometry[8..], [0; 8], "the start of a whole disk");
    check!(
        geometry[0] != 0 && geometry[1] != 0,
        "no heads or sectors: {geometry:?}"
    );
    refused(
        "BLKGETSIZE64 to nowhere",
        sys!(SYS_ioctl, &fd, BLKGETSIZE64, 8),
        libc::EFAULT,
    )
}

fn stat() -> Outcome {
    let fd = disk(libc::O_RDONLY)?;
    // SAFETY: plain data for which all zeros is a value.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    sys!(SYS_fstat, &fd, &raw mut stat).what("fstat")?;
    same!(stat.st_mode & libc::S_IFMT, libc::S_IFBLK, "type");
    same!(stat.st_size, 0, "size");
    same!(libc::minor(stat.st_rdev), 0, "minor");
    let name = format!("/sys/dev/block/{}:0/dev", libc::major(stat.st_rdev));
    if std::path::Path::new("/sys/block").exists() {
        let text = std::fs::read_to_string(&name).map_err(|e| format!("{name}: {e}"))?;
        same!(text, format!("{}:0\n", libc::major(stat.st_rdev)), name);
    }
    Ok(())
}

fn seek() -> Outcome {
    let fd = disk(libc::O_RDONLY)?;
    let size = get_u64(&fd, BLKGETSIZE64).what("BLKGETSIZE64")? as i64;
    same!(
        sys!(SYS_lseek, &fd, size, libc::SEEK_SET).what("lseek")?,
        size,
        "to the end"
    );
    refused(
        "beyond the end",
        sys!(SYS_lseek, &fd, size + 1, libc::SEEK_SET),
        libc::EINVAL,
    )?;
    refused(
        "before the start",
        sys!(SYS_lseek, &fd, -1_i64, libc::SEEK_SET),
        libc::EINVAL,
    )?;
    same!(
        sys!(SYS_lseek, &fd, -512_i64, libc::SEEK_CUR).what("lseek")?,
        size - 512,
        "back"
    );
    same!(read(&fd, 4096).what("read")?.len(), 512, "bytes before the end");
    same!(read(&fd, 4096).what("read")?.len(), 0, "bytes at the end");
    Ok(())
}

fn buffered() -> Outcome {
    let fd = disk(libc::O_RDWR)?;
    let base = MIB as u64;
    let whole = pattern(64 << 10, 1);
    same!(put_at(&fd, &whole, base)?, whole.len(), "written");
    // Parts of blocks, of one and of several, and across pages.
    let mut want = whole;
    for (offset, len, salt) in [
        (0, 1, 2),
        (511, 2, 3),
        (700, 100, 4),
        (4095, 4098, 5),
        (10_000, 30_000, 6),
    ] {
        let part = pattern(len, salt);
        same!(put_at(&fd, &part, base + offset as u64)?, len, "written");
        want[offset..offset + len].copy_from_slice(&part);
    }
    check!(bytes_at(&fd, want.len(), base)? == want, "the bytes are others");
    for (offset, len) in [(1, 1), (511, 3), (4000, 5000), (65_535, 1)] {
        let got = bytes_at(&fd, len, base + offset as u64)?;
        check!(got == want[offset..offset + len], "{len} bytes at {offset} are others");
    }
    sys!(SYS_fsync, &fd).what("fsync")?;
    sys!(SYS_ioctl, &fd, BLKFLSBUF, 0).what("BLKFLSBUF")?;
    drop(fd);
    let fd = disk(libc::O_RDONLY)?;
    check!(
        bytes_at(&fd, want.len(), base)? == want,
        "the bytes are others after a new open"
    );
    refused("writing what is open for reading", write(&fd, b"x"), libc::EBADF)
}

fn end() -> Outcome {
    let fd = disk(libc::O_RDWR)?;
    let size = get_u64(&fd, BLKGETSIZE64).what("BLKGETSIZE64")?;
    let two = pattern(1024, 7);
    same!(put_at(&fd, &two, size - 512)?, 512, "written across the end");
    same!(
        bytes_at(&fd, 1024, size - 512)?,
        two[..512].to_vec(),
        "read across the end"
    );
    same!(bytes_at(&fd, 512, size)?, Vec::new(), "read at the end");
    same!(bytes_at(&fd, 512, size + 4096)?, Vec::new(), "read behind the end");
    let at = two.as_ptr() as usize;
    refused("write at the end", pwrite(&fd, at, 512, size), libc::ENOSPC)?;
    refused("write behind the end", pwrite(&fd, at, 512, size + 4096), libc::ENOSPC)?;
    same!(pwrite(&fd, at, 0, size).what("an empty write")?, 0, "written");
    Ok(())
}

fn direct_alignment() -> Outcome {
    let fd = disk(libc::O_RDWR | libc::O_DIRECT)?;
    let at = memory(2)?;
    same!(pread(&fd, at, 4096, 0).what("aligned")?, 4096, "read");
    same!(pread(&fd, at + 512, 512, 512).what("a sector")?, 512, "read");
    same!(pread(&fd, at + 3584, 1024, 512).what("across pages")?, 1024, "read");
    refused("offset", pread(&fd, at, 512, 100), libc::EINVAL)?;
    refused("length", pread(&fd, at, 511, 0), libc::EINVAL)?;
    refused("memory", pread(&fd, at + 1, 512, 0), libc::EINVAL)?;
    refused("offset of a write", pwrite(&fd, at, 512, 100), libc::EINVAL)?;
    refused("length of a write", pwrite(&fd, at, 100, 0), libc::EINVAL)?;
    refused("memory of a write", pwrite(&fd, at + 2, 512, 0), libc::EINVAL)
}

fn direct_and_buffered_agree() -> Outcome {
    let direct = disk(libc::O_RDWR | libc::O_DIRECT)?;
    let base = 2 * MIB as u64;
    let pages = 1025;
    let at = memory(pages)?;
    // More than one request holds, not from a page's start on.
    let len = 4 * MIB - 512;
    let want = pattern(len, 8);
    for (n, byte) in want.iter().enumerate() {
        poke(at + 512 + n, *byte);
    }
    same!(
        pwrite(&direct, at + 512, len, base).what("direct write")?,
        len,
        "written"
    );
    let plain = disk(libc::O_RDWR)?;
    check!(bytes_at(&plain, len, base)? == want, "a buffered read sees others");
    same!(put_at(&plain, &pattern(1000, 9), base + 5000)?, 1000, "written");
    sys!(SYS_fsync, &plain).what("fsync")?;
    let back = memory(pages)?;
    same!(pread(&direct, back + 1024, len, base).what("direct read")?, len, "read");
    let mut want = want;
    want[5000..6000].copy_from_slice(&pattern(1000, 9));
    let wrong = want
        .iter()
        .enumerate()
        .find(|(n, byte)| peek(back + 1024 + n) != **byte);
    check!(wrong.is_none(), "a direct read sees others from byte {wrong:?} on");
    same!(peek(back + 1023), 0, "the byte before");
    same!(peek(back + 1024 + len), 0, "the byte behind");
    Ok(())
}

fn direct_vectors() -> Outcome {
    let fd = disk(libc::O_RDWR | libc::O_DIRECT)?;
    let at = memory(8)?;
    for n in 0..4096 {
        poke(at + n, (n / 512) as u8 + 1);
        poke(at + 3 * PAGE + n, (n / 512) as u8 + 11);
    }
    let parts = [[at + 512, 1024], [at + 3 * PAGE, 512], [at, 512]];
    let n = sys!(SYS_pwritev, &fd, parts.as_ptr(), 3, 1 << 20, 0).what("pwritev")?;
    same!(n, 2048, "written");
    let got = bytes_at(&disk(libc::O_RDONLY)?, 2048, MIB as u64)?;
    same!(
        [got[0], got[512], got[1024], got[1536], got[2047]],
        [2, 3, 11, 1, 1],
        "bytes"
    );
    let parts = [[at + 5 * PAGE, 512], [at + 6 * PAGE + 512, 1536]];
    let n = sys!(SYS_preadv, &fd, parts.as_ptr(), 2, 1 << 20, 0).what("preadv")?;
    same!(n, 2048, "read");
    same!([peek(at + 5 * PAGE), peek(at + 6 * PAGE + 512 + 512)], [2, 11], "bytes");
    Ok(())
}

fn direct_bad_memory() -> Outcome {
    let fd = disk(libc::O_RDWR | libc::O_DIRECT)?;
    let read_only = map(1, libc::PROT_READ).what("mmap")?;
    refused(
        "a read into what may not be written",
        pread(&fd, read_only, 512, 0),
        libc::EFAULT,
    )?;
    same!(
        pwrite(&fd, read_only, 512, MIB as u64).what("a write of zeros")?,
        512,
        "written"
    );
    refused("a read to nowhere", pread(&fd, 0x1000, 512, 0), libc::EFAULT)?;
    refused(
        "a write from nowhere",
        pwrite(&fd, 0x1000, 512, MIB as u64),
        libc::EFAULT,
    )
}

fn sync() -> Outcome {
    let fd = disk(libc::O_RDWR | libc::O_DSYNC)?;
    same!(put_at(&fd, &pattern(8192, 3), MIB as u64)?, 8192, "written");
    sys!(SYS_fsync, &fd).what("fsync")?;
    sys!(SYS_fdatasync, &fd).what("fdatasync")?;
    sys!(SYS_syncfs, &fd).what("syncfs")?;
    let fd = disk(libc::O_RDONLY)?;
    sys!(SYS_fsync, &fd).what("fsync of what is open for reading")?;
    Ok(())
}

fn exclusive() -> Outcome {
    let plain = disk(libc::O_RDONLY)?;
    let one = disk(libc::O_RDONLY | libc::O_EXCL)?;
    refused("a second", open(DISK, libc::O_RDONLY | libc::O_EXCL, 0), libc::EBUSY)?;
    drop(disk(libc::O_RDWR)?);
    drop(one);
    drop(disk(libc::O_RDWR | libc::O_EXCL)?);
    drop(plain);
    Ok(())
}

fn zero_and_discard() -> Outcome {
    let fd = disk(libc::O_RDWR)?;
    let base = MIB as u64;
    let old = pattern(64 << 10, 9);
    put_at(&fd, &old, base)?;
    sys!(SYS_fsync, &fd).what("fsync")?;
    let range = [base + 4096, 8192_u64];
    sys!(SYS_ioctl, &fd, BLKZEROOUT, range.as_ptr()).what("BLKZEROOUT")?;
    let mut want = old;
    want[4096..12_288].fill(0);
    check!(
        bytes_at(&fd, want.len(), base)? == want,
        "not exactly the range is zeros"
    );
    let odd = [base + 1, 512_u64];
    refused(
        "an odd start",
        sys!(SYS_ioctl, &fd, BLKZEROOUT, odd.as_ptr()),
        libc::EINVAL,
    )?;
    refused(
        "an odd start",
        sys!(SYS_ioctl, &fd, BLKDISCARD, odd.as_ptr()),
        libc::EINVAL,
    )?;
    let beyond = [1_u64 << 50, 512];
    refused(
        "beyond the end",
        sys!(SYS_ioctl, &fd, BLKZEROOUT, beyond.as_ptr()),
        libc::EINVAL,
    )?;
    let discard = [base + 32_768, 4096_u64];
    sys!(SYS_ioctl, &fd, BLKDISCARD, discard.as_ptr()).what("BLKDISCARD")?;
    let got = bytes_at(&fd, want.len(), base)?;
    check!(
        got[..32_768] == want[..32_768],
        "what lies before the discarded range is other"
    );
    check!(
        got[36_864..] == want[36_864..],
        "what lies behind the discarded range is other"
    );
    let reader = disk(libc::O_RDONLY)?;
    refused(
        "by a reader",
        sys!(SYS_ioctl, &reader, BLKZEROOUT, range.as_ptr()),
        libc::EBADF,
    )?;
    refused(
        "by a reader",
        sys!(SYS_ioctl, &reader, BLKDISCARD, range.as_ptr()),
        libc::EBADF,
    )
}

fn read_table_anew() -> Outcome {
    let fd = disk(libc::O_RDWR)?;
    sys!(SYS_ioctl, &fd, BLKRRPART, 0).what("BLKRRPART")?;
    checked_child(|| {
        sys!(SYS_setresuid, 1000, 1000, 1000).what("setresuid")?;
        refused("by a user", sys!(SYS_ioctl, &fd, BLKRRPART, 0), libc::EACCES)?;
        refused("by a user", sys!(SYS_ioctl, &fd, BLKFLSBUF, 0), libc::EACCES)?;
        refused("by a user", open(DISK, libc::O_RDONLY, 0), libc::EACCES)
    })
}

fn unknown_ioctl() -> Outcome {
    let fd = disk(libc::O_RDONLY)?;
    refused("0x12ff", sys!(SYS_ioctl, &fd, 0x12ff, 0), libc::ENOTTY)?;
    refused("TCGETS", sys!(SYS_ioctl, &fd, libc::TCGETS as usize, 0), libc::ENOTTY)
}

/// Eight programs write and read parts of their own, directly, in pieces of all sizes.
fn parallel() -> Outcome {
    let mut children = Vec::new();
    for number in 0..8_u64 {
        children.push(crate::sys::child(move || match part_of_disk(number) {
            Ok(()) => 0,
            Err(why) => {
                eprintln!("{why}");
                1
            }
        })?);
    }
    for pid in children {
        same!(
            crate::sys::wait(pid, 0).what("wait")?,
            crate::sys::Ended::Exit(0),
            "a program"
        );
    }
    Ok(())
}

fn part_of_disk(number: u64) -> Outcome {
    let fd = disk(libc::O_RDWR | libc::O_DIRECT)?;
    let base = number << 20;
    let at = memory(256)?;
    let mut state = number + 1;
    let mut next = |most: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % most
    };
    let mut model = vec![0_u8; MIB];
    same!(pwrite(&fd, at, MIB, base).what("write")?, MIB, "written");
    for _ in 0..100 {
        let sectors = 1 + next(256);
        let first = next(2048 - sectors);
        let (offset, len) = ((first * 512) as usize, (sectors * 512) as usize);
        if next(2) == 0 {
            let value = next(256) as u8;
            for n in (0..len).step_by(512) {
                poke(at + n, value);
            }
            same!(pwrite(&fd, at, len, base + first * 512).what("write")?, len, "written");
            for n in (0..len).step_by(512) {
                model[offset + n] = value;
            }
        } else {
            same!(pread(&fd, at, len, base + first * 512).what("read")?, len, "read");
            for n in (0..len).step_by(512) {
                same!(
                    peek(at + n),
                    model[offset + n],
                    format!("sector {} of part {number}", first + n as u64 / 512)
                );
            }
        }
    }
    Ok(())
}
