//! Mappings of files against what calls do to the files: truncation, holes, writes, other processes.

use std::ops::Range;

use super::Case;
use crate::sys::{
    Ended, Fd, Outcome, PAGE, Scratch, What, checked_child, child, in_child, open, peek, poke, refused, wait,
};

pub(super) static CASES: &[Case] = &[
    ("mapped/truncate", truncate),
    ("mapped/truncate-private", truncate_private),
    ("mapped/truncate-elsewhere", truncate_elsewhere),
    ("mapped/hole", hole),
    ("mapped/msync", msync),
    ("mapped/copy-to-itself", copy_to_itself),
    ("mapped/many-writers", many_writers),
    ("mapped/truncate-race", truncate_race),
];

const RW: i32 = libc::PROT_READ | libc::PROT_WRITE;

struct File {
    fd: Fd,
    _scratch: Scratch,
}

fn file(bytes: usize) -> Result<File, String> {
    let scratch = Scratch::new()?;
    let fd = open(&scratch.path("data"), libc::O_RDWR | libc::O_CREAT, 0o600).what("open")?;
    let content: Vec<u8> = (0..bytes).map(|n| (n / PAGE) as u8 + 1).collect();
    put(&fd, &content, 0)?;
    Ok(File { fd, _scratch: scratch })
}

fn put(fd: &Fd, bytes: &[u8], offset: usize) -> Outcome {
    let n = sys!(SYS_pwrite64, fd, bytes.as_ptr(), bytes.len(), offset).what("pwrite64")?;
    same!(n as usize, bytes.len(), "bytes written");
    Ok(())
}

fn get(fd: &Fd, range: Range<usize>) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0; range.len()];
    let n = sys!(SYS_pread64, fd, bytes.as_mut_ptr(), bytes.len(), range.start).what("pread64")?;
    bytes.truncate(n as usize);
    Ok(bytes)
}

fn mapping(fd: &Fd, pages: usize, flags: i32) -> Result<usize, String> {
    sys!(SYS_mmap, 0, pages * PAGE, RW, flags, fd, 0)
        .what("mmap")
        .map(|at| at as usize)
}

fn resize(fd: &Fd, size: usize) -> Outcome {
    sys!(SYS_ftruncate, fd, size).what("ftruncate").map(|_| ())
}

/// How a child ends that loads from `at`.
fn load(at: usize) -> Result<Ended, String> {
    in_child(|| {
        let _ = peek(at);
        0
    })
}

const BUS: Ended = Ended::Signal(libc::SIGBUS);
const FINE: Ended = Ended::Exit(0);

fn truncate() -> Outcome {
    let file = file(4 * PAGE)?;
    let at = mapping(&file.fd, 4, libc::MAP_SHARED)?;
    for n in 0..4 {
        poke(at + n * PAGE + 100, 0x55);
    }
    resize(&file.fd, PAGE + 50)?;
    same!(load(at)?, FINE, "the first page");
    same!(
        (peek(at + PAGE + 49), peek(at + PAGE + 50), peek(at + PAGE + 100)),
        (2, 0, 0),
        "the page in which the file ends"
    );
    same!(load(at + 2 * PAGE)?, BUS, "the first page behind the end");
    same!(load(at + 3 * PAGE)?, BUS, "the last page behind the end");
    resize(&file.fd, 4 * PAGE)?;
    same!(
        (
            peek(at + 100),
            peek(at + PAGE + 100),
            peek(at + 2 * PAGE),
            peek(at + 3 * PAGE + 100)
        ),
        (0x55, 0, 0, 0),
        "after it has grown again"
    );
    poke(at + 3 * PAGE, 9);
    same!(get(&file.fd, 3 * PAGE..3 * PAGE + 1)?, [9], "a store to what has grown");
    Ok(())
}

fn truncate_private() -> Outcome {
    let file = file(3 * PAGE)?;
    let at = mapping(&file.fd, 3, libc::MAP_PRIVATE)?;
    poke(at, 0x66);
    poke(at + 2 * PAGE, 0x66);
    same!(peek(at + PAGE), 2, "a page that is not copied");
    resize(&file.fd, PAGE)?;
    same!(peek(at), 0x66, "a copy before the end");
    same!(load(at + PAGE)?, BUS, "a page behind the end");
    same!(load(at + 2 * PAGE)?, BUS, "a copy behind the end");
    Ok(())
}

fn truncate_elsewhere() -> Outcome {
    let file = file(2 * PAGE)?;
    let at = mapping(&file.fd, 2, libc::MAP_SHARED)?;
    same!(peek(at + PAGE), 2, "the second page");
    let (reader, writer) = crate::sys::pipe(0)?;
    let pid = child(|| {
        // The child has the page, too, before it is gone.
        let before = peek(at + PAGE);
        let _ = crate::sys::read(&reader, 1);
        i32::from(before) + i32::from(peek(at + PAGE))
    })?;
    crate::sys::sleep_ms(20);
    resize(&file.fd, PAGE)?;
    crate::sys::write(&writer, b"x").what("write")?;
    same!(wait(pid, 0).what("wait4")?, BUS, "another process behind the end");
    Ok(())
}

fn hole() -> Outcome {
    let file = file(4 * PAGE)?;
    let at = mapping(&file.fd, 4, libc::MAP_SHARED)?;
    for n in 0..4 {
        same!(peek(at + n * PAGE), n as u8 + 1, "page {n}");
    }
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    sys!(SYS_fallocate, &file.fd, mode, PAGE - 10, 2 * PAGE + 20).what("fallocate")?;
    same!(
        (
            peek(at + PAGE - 11),
            peek(at + PAGE - 10),
            peek(at + PAGE),
            peek(at + 2 * PAGE + 5)
        ),
        (1, 0, 0, 0),
        "the hole's front"
    );
    same!(
        (peek(at + 3 * PAGE + 9), peek(at + 3 * PAGE + 10)),
        (0, 4),
        "the hole's end"
    );
    poke(at + PAGE, 0x44);
    same!(get(&file.fd, PAGE - 1..PAGE + 2)?, [0, 0x44, 0], "a store to the hole");
    Ok(())
}

fn msync() -> Outcome {
    let file = file(2 * PAGE)?;
    let at = mapping(&file.fd, 2, libc::MAP_SHARED)?;
    poke(at + 3, 7);
    for flags in [
        libc::MS_SYNC,
        libc::MS_ASYNC,
        0,
        libc::MS_INVALIDATE,
        libc::MS_SYNC | libc::MS_INVALIDATE,
    ] {
        sys!(SYS_msync, at, 2 * PAGE, flags).what("msync")?;
    }
    same!(get(&file.fd, 3..4)?, [7], "the stored byte");
    let both = libc::MS_SYNC | libc::MS_ASYNC;
    refused("both ways", sys!(SYS_msync, at, PAGE, both), libc::EINVAL)?;
    refused("unknown flags", sys!(SYS_msync, at, PAGE, 8), libc::EINVAL)?;
    refused(
        "no page's start",
        sys!(SYS_msync, at + 1, PAGE, libc::MS_SYNC),
        libc::EINVAL,
    )?;
    sys!(SYS_munmap, at + PAGE, PAGE).what("munmap")?;
    refused(
        "an unmapped page",
        sys!(SYS_msync, at, 2 * PAGE, libc::MS_SYNC),
        libc::ENOMEM,
    )
}

/// read(2) into a mapping of the same file, and write(2) from one.
fn copy_to_itself() -> Outcome {
    let file = file(8 * PAGE)?;
    let at = mapping(&file.fd, 8, libc::MAP_SHARED)?;
    let n = sys!(SYS_pread64, &file.fd, at + 4 * PAGE + 10, 2 * PAGE, 0).what("pread64")?;
    same!(n as usize, 2 * PAGE, "bytes read into the mapping");
    same!(
        get(&file.fd, 4 * PAGE + 9..4 * PAGE + 11)?,
        [5, 1],
        "the first page at its new place"
    );
    let n = sys!(SYS_pwrite64, &file.fd, at, 2 * PAGE, 6 * PAGE).what("pwrite64")?;
    same!(n as usize, 2 * PAGE, "bytes written from the mapping");
    same!((peek(at + 6 * PAGE), peek(at + 7 * PAGE)), (1, 2), "the copy");
    // A page onto itself.
    let n = sys!(SYS_pwrite64, &file.fd, at, PAGE, 0).what("pwrite64")?;
    same!(n as usize, PAGE, "a page written from itself");
    // Onto what is not in the file yet.
    let n = sys!(SYS_pwrite64, &file.fd, at, PAGE, 8 * PAGE).what("pwrite64")?;
    same!(
        (n as usize, get(&file.fd, 8 * PAGE..8 * PAGE + 1)?),
        (PAGE, vec![1]),
        "appended"
    );
    Ok(())
}

/// Four processes store into stripes of one file, two by mapping it and two by writing, while it is written back.
fn many_writers() -> Outcome {
    const PAGES: usize = 64;
    const ROUNDS: u8 = 12;
    let file = file(PAGES * PAGE)?;
    let mut children = Vec::new();
    for who in 0..4_usize {
        let fd = &file.fd;
        children.push(child(move || {
            let work = || -> Outcome {
                let at = mapping(fd, PAGES, libc::MAP_SHARED)?;
                for round in 1..=ROUNDS {
                    for page in 0..PAGES {
                        let byte = page * PAGE + who * 1024 + usize::from(round);
                        let value = round ^ (page as u8) ^ (who as u8);
                        if who < 2 {
                            poke(at + byte, value);
                        } else {
                            put(fd, &[value], byte)?;
                        }
                    }
                    match who {
                        0 => sys!(SYS_msync, at, PAGES * PAGE, libc::MS_SYNC)
                            .what("msync")
                            .map(|_| ())?,
                        2 => sys!(SYS_fdatasync, fd).what("fdatasync").map(|_| ())?,
                        _ => {}
                    }
                }
                Ok(())
            };
            i32::from(work().is_err())
        })?);
    }
    for pid in children {
        same!(wait(pid, 0).what("wait4")?, FINE, "a writer");
    }
    let all = get(&file.fd, 0..PAGES * PAGE)?;
    for page in 0..PAGES {
        for who in 0..4_usize {
            for round in 1..=ROUNDS {
                let byte = page * PAGE + who * 1024 + usize::from(round);
                let want = round ^ (page as u8) ^ (who as u8);
                same!(all[byte], want, "page {page}, writer {who}, round {round}");
            }
        }
    }
    Ok(())
}

/// One process stores through a mapping while another makes the file shorter and longer; what is behind the end never
/// comes back.
fn truncate_race() -> Outcome {
    let file = file(8 * PAGE)?;
    let at = mapping(&file.fd, 8, libc::MAP_SHARED)?;
    let storing = child(|| {
        let mut n = 0_usize;
        loop {
            // Ends with SIGBUS sooner or later, or is killed.
            poke(at + (n % 8) * PAGE + 8, 0x77);
            n += 1;
        }
    })?;
    let outcome = checked_child(|| {
        for _ in 0..200 {
            resize(&file.fd, PAGE)?;
            resize(&file.fd, 8 * PAGE)?;
        }
        resize(&file.fd, PAGE)
    });
    let _ = sys!(SYS_kill, storing, libc::SIGKILL);
    let how = wait(storing, 0).what("wait4")?;
    check!(
        how == BUS || how == Ended::Signal(libc::SIGKILL),
        "the storing process: {how:?}"
    );
    outcome?;
    resize(&file.fd, 8 * PAGE)?;
    let rest = get(&file.fd, PAGE..8 * PAGE)?;
    check!(rest.iter().all(|b| *b == 0), "bytes behind the end came back");
    Ok(())
}
