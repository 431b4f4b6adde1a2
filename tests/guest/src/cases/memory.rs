//! mmap(2) and its kin, brk(2), copy on write, file mappings, protection.

use super::Case;
use crate::sys::{
    Ended, Errno, Outcome, PAGE, Scratch, What, in_child, map, open, peek, pipe, poke, read, refused, write,
};

pub(super) static CASES: &[Case] = &[
    ("memory/fresh-is-zero", fresh_is_zero),
    ("memory/mmap-errors", mmap_errors),
    ("memory/munmap-splits", munmap_splits),
    ("memory/mprotect-splits", mprotect_splits),
    ("memory/mprotect-errors", mprotect_errors),
    ("memory/fixed-replaces", fixed_replaces),
    ("memory/fixed-noreplace", fixed_noreplace),
    ("memory/hint", hint),
    ("memory/brk", brk),
    ("memory/brk-keeps-content", brk_keeps_content),
    ("memory/copy-on-write", copy_on_write),
    ("memory/copy-on-write-chain", copy_on_write_chain),
    ("memory/shared-anonymous", shared_anonymous),
    ("memory/private-file", private_file),
    ("memory/shared-file", shared_file),
    ("memory/file-access-rights", file_access_rights),
    ("memory/file-offset", file_offset),
    ("memory/overcommit", overcommit),
    ("memory/mremap-grows", mremap_grows),
    ("memory/mremap-moves", mremap_moves),
    ("memory/madvise-dontneed", madvise_dontneed),
    ("memory/madvise-errors", madvise_errors),
    ("memory/no-exec-without-prot-exec", no_exec),
    ("memory/exec-after-mprotect", exec_after_mprotect),
    ("memory/stack-grows", stack_grows),
    ("memory/bad-pointers-refused", bad_pointers_refused),
    ("memory/kernel-pointers-refused", kernel_pointers_refused),
    ("memory/partial-copy", partial_copy),
    ("memory/msync", msync),
    ("memory/mincore", mincore),
    ("memory/address-space-limit", address_space_limit),
    ("memory/fork-many-mappings", fork_many_mappings),
    ("memory/area-limit", area_limit),
    ("memory/mremap-sparse", mremap_sparse),
];

const RW: i32 = libc::PROT_READ | libc::PROT_WRITE;
const ANON: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;

/// Whether reading there works, by asking the kernel to read it.
fn is_readable(at: usize) -> bool {
    pipe(0).is_ok_and(|(_reader, writer)| sys!(SYS_write, &writer, at, 1) == Ok(1))
}

/// Whether writing there works, by asking the kernel to write it.
fn is_writable(at: usize) -> bool {
    open("/dev/zero", libc::O_RDONLY, 0).is_ok_and(|zero| sys!(SYS_read, &zero, at, 1) == Ok(1))
}

fn fresh_is_zero() -> Outcome {
    for round in 0..4 {
        let at = map(256, RW).what("mmap")?;
        for offset in (0..256 * PAGE).step_by(509) {
            check!(
                peek(at + offset) == 0,
                "byte {offset} of fresh memory is not zero in round {round}"
            );
        }
        (0..256 * PAGE).step_by(64).for_each(|offset| poke(at + offset, 0xa5));
        sys!(SYS_munmap, at, 256 * PAGE).what("munmap")?;
    }
    Ok(())
}

fn mmap_errors() -> Outcome {
    refused("length 0", sys!(SYS_mmap, 0, 0, RW, ANON, -1, 0), libc::EINVAL)?;
    refused(
        "neither private nor shared",
        sys!(SYS_mmap, 0, PAGE, RW, libc::MAP_ANONYMOUS, -1, 0),
        libc::EINVAL,
    )?;
    refused("an odd offset", sys!(SYS_mmap, 0, PAGE, RW, ANON, -1, 12), libc::EINVAL)?;
    refused(
        "a bad descriptor",
        sys!(SYS_mmap, 0, PAGE, RW, libc::MAP_PRIVATE, 999, 0),
        libc::EBADF,
    )?;
    refused(
        "more than there is of addresses",
        sys!(SYS_mmap, 0, 1_usize << 60, RW, ANON, -1, 0),
        libc::ENOMEM,
    )?;
    let fixed = ANON | libc::MAP_FIXED;
    refused(
        "fixed at an odd address",
        sys!(SYS_mmap, 0x1000_0001, PAGE, RW, fixed, -1, 0),
        libc::EINVAL,
    )?;
    refused(
        "fixed in the kernel",
        sys!(SYS_mmap, 0xffff_8000_0000_0000_usize, PAGE, RW, fixed, -1, 0),
        libc::ENOMEM,
    )?;
    let (reader, _writer) = pipe(0)?;
    refused(
        "a pipe",
        sys!(SYS_mmap, 0, PAGE, RW, libc::MAP_PRIVATE, &reader, 0),
        libc::ENODEV,
    )?;
    refused("munmap of length 0", sys!(SYS_munmap, 0x1000, 0), libc::EINVAL)?;
    refused("munmap at an odd address", sys!(SYS_munmap, 0x1001, PAGE), libc::EINVAL)?;
    same!(sys!(SYS_munmap, map(2, RW).what("mmap")?, 2 * PAGE), Ok(0), "munmap");
    Ok(())
}

fn munmap_splits() -> Outcome {
    let at = map(5, RW).what("mmap")?;
    (0..5).for_each(|n| poke(at + n * PAGE, n as u8 + 1));
    sys!(SYS_munmap, at + 2 * PAGE, PAGE).what("munmap")?;
    let there: Vec<bool> = (0..5).map(|n| is_readable(at + n * PAGE)).collect();
    same!(there, [true, true, false, true, true], "which pages are left");
    same!((peek(at + PAGE), peek(at + 3 * PAGE)), (2, 4), "their content");
    same!(sys!(SYS_munmap, at, 5 * PAGE), Ok(0), "munmap over a hole");
    Ok(())
}

fn mprotect_splits() -> Outcome {
    let at = map(5, RW).what("mmap")?;
    (0..5).for_each(|n| poke(at + n * PAGE, n as u8 + 1));
    sys!(SYS_mprotect, at + 2 * PAGE, PAGE, libc::PROT_READ).what("mprotect")?;
    let writable: Vec<bool> = (0..5).map(|n| is_writable(at + n * PAGE + 1)).collect();
    same!(writable, [true, true, false, true, true], "which pages can be written");
    same!(peek(at + 2 * PAGE), 3, "content");
    sys!(SYS_mprotect, at, 5 * PAGE, libc::PROT_NONE).what("mprotect")?;
    check!(!is_readable(at), "PROT_NONE can be read");
    sys!(SYS_mprotect, at, 5 * PAGE, RW).what("mprotect")?;
    same!(
        (0..5).map(|n| peek(at + n * PAGE)).collect::<Vec<_>>(),
        [1, 2, 3, 4, 5],
        "content afterwards"
    );
    Ok(())
}

fn mprotect_errors() -> Outcome {
    let at = map(3, RW).what("mmap")?;
    sys!(SYS_munmap, at + PAGE, PAGE).what("munmap")?;
    refused("over a hole", sys!(SYS_mprotect, at, 3 * PAGE, RW), libc::ENOMEM)?;
    refused("an odd address", sys!(SYS_mprotect, at + 1, PAGE, RW), libc::EINVAL)?;
    refused(
        "an unknown protection",
        sys!(SYS_mprotect, at, PAGE, 0x80),
        libc::EINVAL,
    )?;
    same!(sys!(SYS_mprotect, at, 0, RW), Ok(0), "length 0");
    Ok(())
}

fn fixed_replaces() -> Outcome {
    let at = map(4, RW).what("mmap")?;
    (0..4).for_each(|n| poke(at + n * PAGE, 9));
    let again = sys!(
        SYS_mmap,
        at + PAGE,
        2 * PAGE,
        libc::PROT_READ,
        ANON | libc::MAP_FIXED,
        -1,
        0
    )
    .what("mmap")?;
    same!(again as usize, at + PAGE, "the address");
    same!(
        (0..4).map(|n| peek(at + n * PAGE)).collect::<Vec<_>>(),
        [9, 0, 0, 9],
        "content"
    );
    check!(!is_writable(at + PAGE) && is_writable(at), "protection");
    Ok(())
}

fn fixed_noreplace() -> Outcome {
    let at = map(2, RW).what("mmap")?;
    let flags = ANON | libc::MAP_FIXED_NOREPLACE;
    refused(
        "where something is",
        sys!(SYS_mmap, at + PAGE, PAGE, RW, flags, -1, 0),
        libc::EEXIST,
    )?;
    sys!(SYS_munmap, at + PAGE, PAGE).what("munmap")?;
    same!(
        sys!(SYS_mmap, at + PAGE, PAGE, RW, flags, -1, 0),
        Ok((at + PAGE) as i64),
        "where nothing is"
    );
    Ok(())
}

fn hint() -> Outcome {
    let at = map(16, RW).what("mmap")?;
    sys!(SYS_munmap, at, 16 * PAGE).what("munmap")?;
    same!(
        sys!(SYS_mmap, at, PAGE, RW, ANON, -1, 0),
        Ok(at as i64),
        "a free place that is asked for"
    );
    let other = sys!(SYS_mmap, at, PAGE, RW, ANON, -1, 0).what("mmap")? as usize;
    check!(
        other != at && other.is_multiple_of(PAGE),
        "a taken place that is asked for: {other:x}"
    );
    Ok(())
}

fn brk() -> Outcome {
    let start = sys!(SYS_brk, 0).what("brk")? as usize;
    check!(start > 0, "the break is {start:x}");
    let end = (start + 3 * PAGE) & !(PAGE - 1);
    same!(sys!(SYS_brk, end), Ok(end as i64), "growing");
    poke(end - 1, 7);
    same!(peek(end - 1), 7, "the new memory");
    check!(!is_readable(end), "memory beyond the break");
    same!(sys!(SYS_brk, start), Ok(start as i64), "shrinking");
    check!(!is_readable(end - 1), "memory that was given back");
    same!(
        sys!(SYS_brk, 1_usize << 60),
        Ok(start as i64),
        "what cannot be: the break stays"
    );
    same!(
        sys!(SYS_brk, 0x1000),
        Ok(start as i64),
        "below its start: the break stays"
    );
    Ok(())
}

fn brk_keeps_content() -> Outcome {
    let start = sys!(SYS_brk, 0).what("brk")? as usize;
    sys!(SYS_brk, start + 100).what("brk")?;
    poke(start + 50, 5);
    sys!(SYS_brk, start + 10 * PAGE).what("brk")?;
    same!(peek(start + 50), 5, "content after growing");
    same!(peek(start + 5 * PAGE), 0, "new memory");
    Ok(())
}

fn copy_on_write() -> Outcome {
    const PAGES: usize = 64;
    let at = map(PAGES, RW).what("mmap")?;
    (0..PAGES).for_each(|n| poke(at + n * PAGE, 1));
    let pids = (2..=5_u8)
        .map(|value| {
            crate::sys::child(|| {
                let before = (0..PAGES).all(|n| peek(at + n * PAGE) == 1);
                (0..PAGES).step_by(2).for_each(|n| poke(at + n * PAGE, value));
                let after = (0..PAGES).all(|n| peek(at + n * PAGE) == if n % 2 == 0 { value } else { 1 });
                i32::from(!before || !after)
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    for pid in pids {
        same!(
            crate::sys::wait(pid, 0).what("wait4")?,
            Ended::Exit(0),
            "a child's view"
        );
    }
    check!((0..PAGES).all(|n| peek(at + n * PAGE) == 1), "the parent's view");
    // By the kernel's own hand: read(2) into a page that is shared must copy it first.
    let how = in_child(|| {
        let is_read = is_writable(at);
        i32::from(!is_read || peek(at) != 0)
    })?;
    same!(how, Ended::Exit(0), "read(2) into a shared page");
    same!(peek(at), 1, "the parent's page after the child's read(2)");
    Ok(())
}

fn copy_on_write_chain() -> Outcome {
    fn generation(at: usize, depth: u8) -> i32 {
        if peek(at) != depth {
            return 1;
        }
        poke(at, depth + 1);
        if depth < 20 && in_child(|| generation(at, depth + 1)) != Ok(Ended::Exit(0)) {
            return 2;
        }
        i32::from(peek(at) != depth + 1)
    }
    let at = map(1, RW).what("mmap")?;
    same!(in_child(|| generation(at, 0))?, Ended::Exit(0), "twenty generations");
    same!(peek(at), 0, "the first");
    Ok(())
}

fn shared_anonymous() -> Outcome {
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    let at = sys!(SYS_mmap, 0, 4 * PAGE, RW, flags, -1, 0).what("mmap")? as usize;
    let how = in_child(|| {
        (0..4).for_each(|n| poke(at + n * PAGE, 40 + n as u8));
        0
    })?;
    same!(how, Ended::Exit(0), "the child");
    same!(
        (0..4).map(|n| peek(at + n * PAGE)).collect::<Vec<_>>(),
        [40, 41, 42, 43],
        "what the child wrote"
    );
    Ok(())
}

fn data_file(scratch: &Scratch, bytes: &[u8]) -> Result<crate::sys::Fd, String> {
    let file = open(
        &scratch.path("data"),
        libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC,
        0o600,
    )
    .what("open")?;
    write(&file, bytes).what("write")?;
    Ok(file)
}

fn private_file() -> Outcome {
    let scratch = Scratch::new()?;
    let file = data_file(&scratch, &[b'a'; 3 * PAGE])?;
    let at = sys!(SYS_mmap, 0, 3 * PAGE, RW, libc::MAP_PRIVATE, &file, 0).what("mmap")? as usize;
    poke(at + PAGE, b'X');
    same!(
        (peek(at), peek(at + PAGE), peek(at + PAGE + 1)),
        (b'a', b'X', b'a'),
        "the mapping"
    );
    let back = std::fs::read(scratch.path("data")).map_err(|e| e.to_string())?;
    check!(back.iter().all(|&b| b == b'a'), "a private write reached the file");
    drop(file);
    same!(peek(at + 2 * PAGE), b'a', "the mapping after close");
    Ok(())
}

fn shared_file() -> Outcome {
    let scratch = Scratch::new()?;
    let file = data_file(&scratch, &[b'a'; 2 * PAGE])?;
    let at = sys!(SYS_mmap, 0, 2 * PAGE, RW, libc::MAP_SHARED, &file, 0).what("mmap")? as usize;
    poke(at + PAGE + 5, b'Z');
    let mut one = [0_u8];
    sys!(SYS_pread64, &file, one.as_mut_ptr(), 1, PAGE + 5).what("pread64")?;
    same!(one, [b'Z'], "a mapped write as read(2) sees it");
    sys!(SYS_pwrite64, &file, b"Q".as_ptr(), 1, 9).what("pwrite64")?;
    same!(peek(at + 9), b'Q', "write(2) as the mapping sees it");
    let how = in_child(|| {
        poke(at + 10, b'C');
        0
    })?;
    same!(
        (how, peek(at + 10)),
        (Ended::Exit(0), b'C'),
        "a child's write to the shared mapping"
    );
    Ok(())
}

fn file_access_rights() -> Outcome {
    let scratch = Scratch::new()?;
    drop(data_file(&scratch, &[1; PAGE])?);
    let path = scratch.path("data");
    let reading = open(&path, libc::O_RDONLY, 0).what("open")?;
    let writing = open(&path, libc::O_WRONLY, 0).what("open")?;
    refused(
        "shared writing of a file open for reading",
        sys!(SYS_mmap, 0, PAGE, RW, libc::MAP_SHARED, &reading, 0),
        libc::EACCES,
    )?;
    refused(
        "mapping a file open for writing",
        sys!(SYS_mmap, 0, PAGE, libc::PROT_READ, libc::MAP_SHARED, &writing, 0),
        libc::EACCES,
    )?;
    let at = sys!(SYS_mmap, 0, PAGE, libc::PROT_READ, libc::MAP_SHARED, &reading, 0).what("mmap")?;
    refused(
        "mprotect to what the file does not allow",
        sys!(SYS_mprotect, at, PAGE, RW),
        libc::EACCES,
    )?;
    same!(
        sys!(SYS_mmap, 0, PAGE, RW, libc::MAP_PRIVATE, &reading, 0).is_ok(),
        true,
        "private writing is allowed"
    );
    Ok(())
}

fn file_offset() -> Outcome {
    let scratch = Scratch::new()?;
    let bytes: Vec<u8> = (0..4).flat_map(|n| vec![b'0' + n; PAGE]).collect();
    let file = data_file(&scratch, &bytes)?;
    let at = sys!(
        SYS_mmap,
        0,
        2 * PAGE,
        libc::PROT_READ,
        libc::MAP_PRIVATE,
        &file,
        2 * PAGE
    )
    .what("mmap")? as usize;
    same!((peek(at), peek(at + PAGE)), (b'2', b'3'), "pages from an offset");
    Ok(())
}

fn overcommit() -> Outcome {
    // More than the machine has, untouched but for two pages, as allocators reserve it.
    let size = 8_usize << 30;
    let flags = ANON | libc::MAP_NORESERVE;
    let at = sys!(SYS_mmap, 0, size, RW, flags, -1, 0).what("mmap of 8 GiB")? as usize;
    poke(at, 1);
    poke(at + size - 1, 2);
    same!(
        (peek(at), peek(at + size / 2), peek(at + size - 1)),
        (1, 0, 2),
        "its ends and its middle"
    );
    sys!(SYS_munmap, at, size).what("munmap").map(|_| ())
}

fn mremap_grows() -> Outcome {
    let at = map(2, RW).what("mmap")?;
    poke(at, 1);
    poke(at + PAGE, 2);
    let new = sys!(SYS_mremap, at, 2 * PAGE, 64 * PAGE, libc::MREMAP_MAYMOVE, 0).what("mremap")? as usize;
    same!(
        (peek(new), peek(new + PAGE), peek(new + 63 * PAGE)),
        (1, 2, 0),
        "content"
    );
    let same_place = sys!(SYS_mremap, new, 64 * PAGE, PAGE, 0, 0).what("mremap")? as usize;
    same!(same_place, new, "shrinking stays");
    check!(!is_readable(new + PAGE), "what was cut off");
    Ok(())
}

fn mremap_moves() -> Outcome {
    let from = map(2, RW).what("mmap")?;
    poke(from + PAGE, 7);
    let to = map(4, RW).what("mmap")?;
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    same!(
        sys!(SYS_mremap, from, 2 * PAGE, 2 * PAGE, flags, to),
        Ok(to as i64),
        "to a fixed place"
    );
    same!(peek(to + PAGE), 7, "content");
    check!(!is_readable(from), "the old place");
    refused(
        "unknown flags",
        sys!(SYS_mremap, to, PAGE, PAGE, 0x100, 0),
        libc::EINVAL,
    )?;
    refused(
        "nothing there",
        sys!(SYS_mremap, from, PAGE, 2 * PAGE, libc::MREMAP_MAYMOVE, 0),
        libc::EFAULT,
    )
}

fn madvise_dontneed() -> Outcome {
    let at = map(4, RW).what("mmap")?;
    (0..4).for_each(|n| poke(at + n * PAGE, 5));
    sys!(SYS_madvise, at + PAGE, 2 * PAGE, libc::MADV_DONTNEED).what("madvise")?;
    same!(
        (0..4).map(|n| peek(at + n * PAGE)).collect::<Vec<_>>(),
        [5, 0, 0, 5],
        "content"
    );
    poke(at + PAGE, 6);
    same!(peek(at + PAGE), 6, "it can be used again");
    Ok(())
}

fn madvise_errors() -> Outcome {
    let at = map(1, RW).what("mmap")?;
    refused(
        "an odd address",
        sys!(SYS_madvise, at + 1, PAGE, libc::MADV_DONTNEED),
        libc::EINVAL,
    )?;
    refused("unknown advice", sys!(SYS_madvise, at, PAGE, 12345), libc::EINVAL)?;
    sys!(SYS_munmap, at, PAGE).what("munmap")?;
    refused(
        "nothing there",
        sys!(SYS_madvise, at, PAGE, libc::MADV_DONTNEED),
        libc::ENOMEM,
    )
}

/// Puts `return` at a place.
fn put_return(at: usize) {
    let code: &[u8] = if cfg!(target_arch = "aarch64") {
        &[0xc0, 0x03, 0x5f, 0xd6]
    } else {
        &[0xc3]
    };
    code.iter().enumerate().for_each(|(n, &byte)| poke(at + n, byte));
}

fn call(at: usize) {
    // SAFETY: a function that returns at once lies there, or the fault is what the case is about.
    let code: extern "C" fn() = unsafe { std::mem::transmute(at) };
    code();
}

fn no_exec() -> Outcome {
    let at = map(1, RW).what("mmap")?;
    put_return(at);
    let how = in_child(|| {
        call(at);
        0
    })?;
    same!(how, Ended::Signal(libc::SIGSEGV), "executing memory without PROT_EXEC");
    let how = in_child(|| {
        let mut code = [0xc0_u8, 0x03, 0x5f, 0xd6];
        call(code.as_mut_ptr() as usize);
        0
    })?;
    same!(how, Ended::Signal(libc::SIGSEGV), "executing the stack");
    Ok(())
}

fn exec_after_mprotect() -> Outcome {
    // Again and again at one place, each time another function: stale instructions would show.
    let at = map(1, RW).what("mmap")?;
    for value in 1..50_u32 {
        sys!(SYS_mprotect, at, PAGE, RW).what("mprotect")?;
        if cfg!(target_arch = "aarch64") {
            // MOV W0, #value; RET
            let code = (0x5280_0000_u32 | (value << 5)).to_le_bytes();
            code.iter().enumerate().for_each(|(n, &byte)| poke(at + n, byte));
            put_return(at + 4);
        } else {
            let code = [&[0xb8][..], &value.to_le_bytes(), &[0xc3]].concat();
            code.iter().enumerate().for_each(|(n, &byte)| poke(at + n, byte));
        }
        sys!(SYS_mprotect, at, PAGE, libc::PROT_READ | libc::PROT_EXEC).what("mprotect")?;
        clean_instructions(at);
        // SAFETY: the function that was just written there.
        let code: extern "C" fn() -> u32 = unsafe { std::mem::transmute(at) };
        same!(code(), value, "what the new code returns");
    }
    Ok(())
}

/// What a program that writes code has to do on arm64: clean the data cache, drop the instruction cache.
fn clean_instructions(at: usize) {
    #[cfg(target_arch = "aarch64")]
    // SAFETY: cache maintenance by address on memory that is mapped; EL0 may do it (SCTLR_EL1.UCI).
    unsafe {
        std::arch::asm!("dc cvau, {0}", "dsb ish", "ic ivau, {0}", "dsb ish", "isb", in(reg) at);
    }
    let _ = at;
}

fn stack_grows() -> Outcome {
    #[inline(never)]
    fn deep(level: usize) -> usize {
        let frame = [level as u8; 2048];
        let below = if level == 0 { 0 } else { deep(level - 1) };
        below + usize::from(std::hint::black_box(&frame)[level % 2048] == level as u8)
    }
    // 2 MiB of stack, page by page, of the 8 MiB that are usual.
    same!(
        in_child(|| i32::from(deep(1000) != 1001))?,
        Ended::Exit(0),
        "2 MiB of stack"
    );
    let how = in_child(|| i32::from(deep(1_000_000) == 0))?;
    same!(how, Ended::Signal(libc::SIGSEGV), "2 GiB of stack");
    Ok(())
}

fn bad_pointers_refused() -> Outcome {
    let (reader, writer) = pipe(0)?;
    write(&writer, b"data").what("write")?;
    refused("write from nowhere", sys!(SYS_write, &writer, 8, 4), libc::EFAULT)?;
    refused("read to nowhere", sys!(SYS_read, &reader, 8, 4), libc::EFAULT)?;
    let read_only = map(1, libc::PROT_READ).what("mmap")?;
    refused(
        "read into read-only memory",
        sys!(SYS_read, &reader, read_only, 4),
        libc::EFAULT,
    )?;
    refused(
        "a path nowhere",
        sys!(SYS_openat, libc::AT_FDCWD, 8, 0, 0),
        libc::EFAULT,
    )?;
    refused("pipe2 to nowhere", sys!(SYS_pipe2, 8, 0), libc::EFAULT)?;
    refused(
        "clock_gettime to nowhere",
        sys!(SYS_clock_gettime, libc::CLOCK_BOOTTIME, 8),
        libc::EFAULT,
    )?;
    refused(
        "wait4 to nowhere",
        {
            let pid = crate::sys::child(|| 0)?;
            sys!(SYS_wait4, pid, 8, 0, 0)
        },
        libc::EFAULT,
    )?;
    same!(
        read(&reader, 10).what("read")?,
        b"data".to_vec(),
        "what was in the pipe all the time"
    );
    Ok(())
}

fn kernel_pointers_refused() -> Outcome {
    let (_reader, writer) = pipe(0)?;
    let zero = open("/dev/zero", libc::O_RDONLY, 0).what("open")?;
    for at in [
        0xffff_0000_0000_0000_usize,
        0xffff_8000_0000_0000,
        0xffff_ffff_ffff_f000,
        usize::MAX - 7,
        1 << 52,
    ] {
        refused("write from the kernel", sys!(SYS_write, &writer, at, 4), libc::EFAULT)?;
        refused("read to the kernel", sys!(SYS_read, &zero, at, 4), libc::EFAULT)?;
        refused(
            "a path in the kernel",
            sys!(SYS_openat, libc::AT_FDCWD, at, 0, 0),
            libc::EFAULT,
        )?;
    }
    // A range that begins in user memory and runs into the kernel's.
    let at = map(1, RW).what("mmap")?;
    let result = sys!(SYS_write, &writer, at, usize::MAX >> 1);
    check!(
        result.is_err() || result.is_ok_and(|n| n <= 65536),
        "a write of half of all addresses: {result:?}"
    );
    Ok(())
}

fn partial_copy() -> Outcome {
    let at = map(2, RW).what("mmap")?;
    sys!(SYS_munmap, at + PAGE, PAGE).what("munmap")?;
    let zero = open("/dev/zero", libc::O_RDONLY, 0).what("open")?;
    let got = sys!(SYS_read, &zero, at, 2 * PAGE);
    check!(
        got == Ok(PAGE as i64) || got == Err(Errno(libc::EFAULT)),
        "read over the edge of a mapping: {got:?}"
    );
    let scratch = Scratch::new()?;
    let file = open(&scratch.path("f"), libc::O_RDWR | libc::O_CREAT, 0o600).what("open")?;
    let put = sys!(SYS_write, &file, at + PAGE - 10, 20);
    check!(
        put == Ok(10) || put == Err(Errno(libc::EFAULT)),
        "write over the edge of a mapping: {put:?}"
    );
    // A string that ends exactly at the edge is whole.
    b"/dev/null\0"
        .iter()
        .enumerate()
        .for_each(|(n, &b)| poke(at + PAGE - 10 + n, b));
    check!(
        sys!(SYS_openat, libc::AT_FDCWD, at + PAGE - 10, 0, 0).is_ok(),
        "a path at the edge of a mapping"
    );
    poke(at + PAGE - 1, b'x');
    refused(
        "a path that runs over the edge",
        sys!(SYS_openat, libc::AT_FDCWD, at + PAGE - 10, 0, 0),
        libc::EFAULT,
    )
}

fn msync() -> Outcome {
    let at = map(2, RW).what("mmap")?;
    same!(sys!(SYS_msync, at, 2 * PAGE, libc::MS_SYNC), Ok(0), "msync");
    refused(
        "both ways",
        sys!(SYS_msync, at, PAGE, libc::MS_SYNC | libc::MS_ASYNC),
        libc::EINVAL,
    )?;
    sys!(SYS_munmap, at, 2 * PAGE).what("munmap")?;
    refused("nothing there", sys!(SYS_msync, at, PAGE, libc::MS_SYNC), libc::ENOMEM)
}

fn mincore() -> Outcome {
    let at = map(4, RW).what("mmap")?;
    poke(at + PAGE, 1);
    let mut there = [0xff_u8; 4];
    sys!(SYS_mincore, at, 4 * PAGE, there.as_mut_ptr()).what("mincore")?;
    same!(there.map(|b| b & 1), [0, 1, 0, 0], "which pages are in memory");
    refused(
        "an odd address",
        sys!(SYS_mincore, at + 1, PAGE, there.as_mut_ptr()),
        libc::EINVAL,
    )
}

fn address_space_limit() -> Outcome {
    let limit = [64_u64 << 20, 64 << 20];
    sys!(SYS_prlimit64, 0, libc::RLIMIT_AS, limit.as_ptr(), 0).what("prlimit64")?;
    refused(
        "more than the limit",
        sys!(SYS_mmap, 0, 128 << 20, RW, ANON, -1, 0),
        libc::ENOMEM,
    )?;
    same!(
        sys!(SYS_mmap, 0, 1 << 20, RW, ANON, -1, 0).is_ok(),
        true,
        "less than the limit"
    );
    Ok(())
}

fn fork_many_mappings() -> Outcome {
    let at = map(600, RW).what("mmap")?;
    for n in (0..600).step_by(2) {
        poke(at + n * PAGE, n as u8);
        sys!(SYS_mprotect, at + n * PAGE, PAGE, libc::PROT_READ).what("mprotect")?;
    }
    let how = in_child(|| i32::from(!(0..600).step_by(2).all(|n| peek(at + n * PAGE) == n as u8)))?;
    same!(how, Ended::Exit(0), "600 mappings in a child");
    Ok(())
}

/// Cutting a mapping into pieces ends in ENOMEM (vm.max_map_count), not in a kernel out of memory; a list of them all
/// can be read, and all go at once.
fn area_limit() -> Outcome {
    let pages = 300_000;
    // Before the limit is reached: afterwards the program gets no memory either.
    let mut maps = vec![0_u8; 16 << 20];
    let at = sys!(SYS_mmap, 0, pages * PAGE, RW, ANON | libc::MAP_NORESERVE, -1, 0).what("mmap")? as usize;
    let mut cuts = 0;
    let refused = (1..pages).step_by(2).find_map(|n| {
        cuts += 1;
        sys!(SYS_mprotect, at + n * PAGE, PAGE, libc::PROT_READ).err()
    });
    same!(refused, Some(Errno(libc::ENOMEM)), "what ends the cutting");
    check!(cuts > 1000, "only {cuts} cuts were possible");
    let file = open("/proc/self/maps", libc::O_RDONLY, 0).what("open maps")?;
    let mut got = 0;
    loop {
        match sys!(SYS_read, &file, maps[got..].as_mut_ptr(), maps.len() - got).what("read maps")? {
            0 => break,
            n => got += n as usize,
        }
    }
    check!(
        maps[..got].iter().filter(|b| **b == b'\n').count() > cuts,
        "not every piece is listed"
    );
    sys!(SYS_munmap, at, pages * PAGE).what("munmap of all the pieces")?;
    Ok(())
}

/// Moving a huge mapping takes as long as the pages that are there, not as the addresses.
fn mremap_sparse() -> Outcome {
    let len = 1_usize << 38;
    let at = sys!(SYS_mmap, 0, len, RW, ANON | libc::MAP_NORESERVE, -1, 0).what("mmap")? as usize;
    poke(at + 5 * PAGE, 42);
    poke(at + len - PAGE, 43);
    let to = sys!(SYS_mmap, 0, len, libc::PROT_NONE, ANON | libc::MAP_NORESERVE, -1, 0).what("mmap")? as usize;
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    sys!(SYS_mremap, at, len, len, flags, to).what("mremap")?;
    same!((peek(to + 5 * PAGE), peek(to + len - PAGE)), (42, 43), "what was moved");
    check!(!is_readable(at + 5 * PAGE), "the old place is still mapped");
    Ok(())
}
