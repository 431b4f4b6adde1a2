//! Transfers that leave the page cache out.

use crate::sys::{Errno, Outcome, Scratch, What, map, open, peek, poke, refused};

/// Transfers that leave the cache out see what went through it, and the other way round (open(2), O_DIRECT).
pub(super) fn direct() -> Outcome {
    const PAGES: usize = 24;
    const LEN: usize = PAGES * 4096;
    let scratch = Scratch::new()?;
    let path = scratch.path("f");
    let want: Vec<u8> = (0..LEN).map(|n| (n / 7 % 251) as u8).collect();
    std::fs::write(&path, &want).map_err(|e| e.to_string())?;
    let direct = match open(&path, libc::O_RDWR | libc::O_TRUNC | libc::O_DIRECT, 0) {
        // tmpfs has none before Linux 6.6. What is refused is not truncated, and the flag is refused later too.
        Err(Errno(libc::EINVAL)) => {
            check!(
                std::fs::read(&path).map_err(|e| e.to_string())? == want,
                "it was truncated"
            );
            let plain = open(&path, libc::O_RDWR, 0).what("open")?;
            return refused(
                "later",
                sys!(SYS_fcntl, &plain, libc::F_SETFL, libc::O_DIRECT),
                libc::EINVAL,
            );
        }
        other => other.what("O_DIRECT")?,
    };
    std::fs::write(&path, &want).map_err(|e| e.to_string())?;
    let at = map(PAGES, libc::PROT_READ | libc::PROT_WRITE).what("mmap")?;
    let seen = |len: usize| (0..len).map(|n| peek(at + n)).collect::<Vec<u8>>();
    let pread = |len: usize, offset: usize| sys!(SYS_pread64, &direct, at, len, offset);
    let pwrite = |from: usize, len: usize, offset: usize| sys!(SYS_pwrite64, &direct, from, len, offset);

    // What is only in the cache yet.
    same!(pread(LEN, 0).what("read")?, LEN as i64, "read");
    check!(seen(LEN) == want, "a direct read sees others than were written");
    refused("an offset that is no sector", pread(4096, 100), libc::EINVAL)?;
    refused("a length that is no sector", pread(100, 0), libc::EINVAL)?;
    refused("a write of that length", pwrite(at, 100, 0), libc::EINVAL)?;

    // Over what the file has: seen by a plain read and by a mapping.
    let plain = open(&path, libc::O_RDWR, 0).what("open")?;
    let mapping = sys!(SYS_mmap, 0, LEN, libc::PROT_READ, libc::MAP_SHARED, &plain, 0).what("mmap")? as usize;
    same!(peek(mapping + 2 * 4096), want[2 * 4096], "mapped");
    for n in 0..8 * 4096 {
        poke(at + n, (n % 13) as u8 + 1);
    }
    same!(pwrite(at, 8 * 4096, 2 * 4096).what("write")?, 8 * 4096, "written");
    let text = std::fs::read(&path).map_err(|e| e.to_string())?;
    let mut want = want;
    for (n, byte) in want[2 * 4096..10 * 4096].iter_mut().enumerate() {
        *byte = (n % 13) as u8 + 1;
    }
    check!(text == want, "a plain read sees others than were written directly");
    check!(
        (0..LEN).all(|n| peek(mapping + n) == want[n]),
        "a mapping sees others than were written directly"
    );

    // Half a page, and behind the end: a sector and more.
    same!(pwrite(at, 512, 512).what("a sector")?, 512, "written");
    want.splice(512..1024, seen(512));
    same!(pwrite(at, 8192, LEN + 4096).what("behind the end")?, 8192, "written");
    want.resize(LEN + 4096, 0);
    want.extend(seen(8192));
    check!(
        std::fs::read(&path).map_err(|e| e.to_string())? == want,
        "the file is another"
    );
    for n in 0..LEN {
        poke(at + n, 0);
    }
    // The last page is read in part.
    let size = want.len() - 100;
    sys!(SYS_ftruncate, &plain, size).what("ftruncate")?;
    same!(pread(8192, LEN + 8192).what("the end")?, 4096 - 100, "read");
    check!(seen(4096 - 100) == want[LEN + 8192..size], "the end is another");
    same!(pread(4096, LEN + 8192 + 4096).what("behind the end")?, 0, "read");

    // A hole reads as zeros, and is filled.
    sys!(SYS_ftruncate, &plain, 1 << 20).what("ftruncate")?;
    same!(pread(4096, 512 * 1024).what("a hole")?, 4096, "read");
    check!(seen(4096).iter().all(|byte| *byte == 0), "a hole has something in it");
    poke(at, 9);
    same!(pwrite(at, 4096, 512 * 1024).what("into a hole")?, 4096, "written");
    let text = std::fs::read(&path).map_err(|e| e.to_string())?;
    same!((text[512 * 1024], text.len()), (9, 1 << 20), "the hole");
    sys!(SYS_fsync, &direct).what("fsync")?;
    sys!(SYS_munmap, mapping, LEN).what("munmap")?;
    Ok(())
}
