//! Less travelled ways through the file system: record locks, unnamed files, openat2, magic links, memfd, signalfd,
//! copies inside the kernel, trees deeper than a stack.

use super::Case;
use crate::sys::{
    Fd, Outcome, Scratch, What, c, checked_child, child, fd, open, pipe, read, refused, sleep_ms, wait, write,
};

pub(super) static CASES: &[Case] = &[
    ("vfs/record-locks", record_locks),
    ("vfs/record-locks-end-with-close", record_locks_end_with_close),
    ("vfs/record-lock-waits", record_lock_waits),
    ("vfs/description-locks", description_locks),
    ("vfs/unnamed-file", unnamed_file),
    ("vfs/openat2", openat2),
    ("vfs/reopen-through-proc", reopen_through_proc),
    ("vfs/memfd", memfd),
    ("vfs/signalfd", signalfd),
    ("vfs/copy-file-range", copy_file_range),
    ("vfs/splice", splice),
    ("vfs/deep-tree", deep_tree),
    ("vfs/removed-from-inside", removed_from_inside),
    ("vfs/umask-and-set-group-id", umask_and_set_group_id),
    ("vfs/file-size-limit", file_size_limit),
    ("vfs/kernel-log", kernel_log),
];

const RWC: i32 = libc::O_RDWR | libc::O_CREAT;

fn file(s: &Scratch, bytes: &[u8]) -> Result<Fd, String> {
    let f = open(&s.path("f"), RWC, 0o644).what("open")?;
    write(&f, bytes).what("write")?;
    Ok(f)
}

fn lock(kind: i32, start: i64, len: i64) -> libc::flock {
    // SAFETY: plain data for which all zeros is a value.
    let mut l: libc::flock = unsafe { std::mem::zeroed() };
    l.l_type = kind as i16;
    l.l_start = start;
    l.l_len = len;
    l
}

fn record_locks() -> Outcome {
    let s = Scratch::new()?;
    let f = file(&s, b"0123456789")?;
    let mut mine = lock(libc::F_WRLCK, 2, 4);
    sys!(SYS_fcntl, &f, libc::F_SETLK, &raw mut mine).what("F_SETLK")?;
    // The middle is given back: two pieces are left.
    let mut hole = lock(libc::F_UNLCK, 3, 1);
    sys!(SYS_fcntl, &f, libc::F_SETLK, &raw mut hole).what("unlock")?;
    let me = std::process::id() as i32;
    let path = s.path("f");
    checked_child(move || {
        let f = open(&path, libc::O_RDWR, 0).what("open")?;
        let mut probe = lock(libc::F_RDLCK, 0, 0);
        sys!(SYS_fcntl, &f, libc::F_GETLK, &raw mut probe).what("F_GETLK")?;
        same!(
            (i32::from(probe.l_type), probe.l_start, probe.l_len, probe.l_pid),
            (libc::F_WRLCK, 2, 1, me),
            "the first lock in the way"
        );
        let mut free = lock(libc::F_WRLCK, 3, 1);
        same!(sys!(SYS_fcntl, &f, libc::F_SETLK, &raw mut free), Ok(0), "the hole");
        let mut taken = lock(libc::F_RDLCK, 5, 1);
        refused(
            "a locked byte",
            sys!(SYS_fcntl, &f, libc::F_SETLK, &raw mut taken),
            libc::EAGAIN,
        )
    })?;
    let mut bad = lock(7, 0, 0);
    refused(
        "an unknown kind",
        sys!(SYS_fcntl, &f, libc::F_SETLK, &raw mut bad),
        libc::EINVAL,
    )?;
    let mut negative = lock(libc::F_RDLCK, -1, 1);
    refused(
        "before the start",
        sys!(SYS_fcntl, &f, libc::F_SETLK, &raw mut negative),
        libc::EINVAL,
    )?;
    let reader = open(&s.path("f"), libc::O_RDONLY, 0).what("open")?;
    let mut write_lock = lock(libc::F_WRLCK, 0, 1);
    refused(
        "a write lock on a read-only file",
        sys!(SYS_fcntl, &reader, libc::F_SETLK, &raw mut write_lock),
        libc::EBADF,
    )
}

/// Whether another process could lock the whole file.
fn is_free(path: &str) -> Result<bool, String> {
    let path = path.to_owned();
    let pid = child(move || {
        let Ok(f) = open(&path, libc::O_RDWR, 0) else { return 2 };
        let mut l = lock(libc::F_WRLCK, 0, 0);
        i32::from(sys!(SYS_fcntl, &f, libc::F_SETLK, &raw mut l).is_err())
    })?;
    Ok(wait(pid, 0).what("wait4")? == crate::sys::Ended::Exit(0))
}

fn record_locks_end_with_close() -> Outcome {
    let s = Scratch::new()?;
    let f = file(&s, b"x")?;
    let mut l = lock(libc::F_WRLCK, 0, 0);
    sys!(SYS_fcntl, &f, libc::F_SETLK, &raw mut l).what("F_SETLK")?;
    check!(!is_free(&s.path("f"))?, "a locked file is free");
    // Any descriptor of the file ends the process's locks, even one that had nothing to do with them.
    drop(open(&s.path("f"), libc::O_RDONLY, 0).what("open")?);
    check!(is_free(&s.path("f"))?, "the lock outlived a close");
    Ok(())
}

fn record_lock_waits() -> Outcome {
    let s = Scratch::new()?;
    let f = file(&s, b"x")?;
    let mut l = lock(libc::F_WRLCK, 0, 0);
    sys!(SYS_fcntl, &f, libc::F_SETLK, &raw mut l).what("F_SETLK")?;
    let path = s.path("f");
    let (reader, writer) = pipe(0)?;
    let pid = child(move || {
        let Ok(f) = open(&path, libc::O_RDWR, 0) else { return 2 };
        let _ = write(&writer, b"r");
        let mut l = lock(libc::F_RDLCK, 0, 0);
        i32::from(sys!(SYS_fcntl, &f, libc::F_SETLKW, &raw mut l).is_err())
    })?;
    read(&reader, 1).what("read")?;
    sleep_ms(30);
    check!(
        sys!(SYS_wait4, pid, 0, libc::WNOHANG, 0) == Ok(0),
        "F_SETLKW did not wait"
    );
    let mut l = lock(libc::F_UNLCK, 0, 0);
    sys!(SYS_fcntl, &f, libc::F_SETLK, &raw mut l).what("unlock")?;
    same!(wait(pid, 0).what("wait4")?, crate::sys::Ended::Exit(0), "who waited");
    Ok(())
}

fn description_locks() -> Outcome {
    let s = Scratch::new()?;
    let one = file(&s, b"x")?;
    let two = open(&s.path("f"), libc::O_RDWR, 0).what("open")?;
    let mut l = lock(libc::F_WRLCK, 0, 0);
    sys!(SYS_fcntl, &one, libc::F_OFD_SETLK, &raw mut l).what("F_OFD_SETLK")?;
    let mut other = lock(libc::F_WRLCK, 0, 0);
    refused(
        "another description",
        sys!(SYS_fcntl, &two, libc::F_OFD_SETLK, &raw mut other),
        libc::EAGAIN,
    )?;
    let copy = fd(sys!(SYS_dup, &one), "dup")?;
    drop(one);
    refused(
        "while a copy is open",
        sys!(SYS_fcntl, &two, libc::F_OFD_SETLK, &raw mut other),
        libc::EAGAIN,
    )?;
    drop(copy);
    same!(
        sys!(SYS_fcntl, &two, libc::F_OFD_SETLK, &raw mut other),
        Ok(0),
        "after the last close"
    );
    Ok(())
}

fn unnamed_file() -> Outcome {
    let s = Scratch::new()?;
    let f = open(&s.0, libc::O_TMPFILE | libc::O_RDWR, 0o600).what("O_TMPFILE")?;
    write(&f, b"hidden").what("write")?;
    let names = std::fs::read_dir(&s.0).map_err(|e| e.to_string())?.count();
    same!(names, 0, "names in the folder");
    let from = c(&format!("/proc/self/fd/{}", f.0));
    let to = c(&s.path("named"));
    sys!(
        SYS_linkat,
        libc::AT_FDCWD,
        from.as_ptr(),
        libc::AT_FDCWD,
        to.as_ptr(),
        libc::AT_SYMLINK_FOLLOW
    )
    .what("linkat")?;
    same!(
        std::fs::read(s.path("named")).map_err(|e| e.to_string())?,
        b"hidden",
        "its content"
    );
    refused("read only", open(&s.0, libc::O_TMPFILE, 0o600), libc::EINVAL)
}

fn openat2() -> Outcome {
    let s = Scratch::new()?;
    drop(file(&s, b"x")?);
    std::os::unix::fs::symlink("f", s.path("link")).map_err(|e| e.to_string())?;
    std::os::unix::fs::symlink("/etc", s.path("out")).map_err(|e| e.to_string())?;
    let dir = open(&s.0, libc::O_DIRECTORY, 0).what("open")?;
    let go = |name: &str, flags: i32, resolve: u64| {
        let how = [flags as u64, 0, resolve];
        let name = c(name);
        sys!(SYS_openat2, &dir, name.as_ptr(), how.as_ptr(), 24).map(|n| drop(Fd(n as i32)))
    };
    same!(go("link", 0, 0), Ok(()), "plain");
    refused("RESOLVE_NO_SYMLINKS", go("link", 0, 4), libc::ELOOP)?;
    refused("RESOLVE_BENEATH and ..", go("..", 0, 8), libc::EXDEV)?;
    refused("RESOLVE_BENEATH and a link out", go("out", 0, 8), libc::EXDEV)?;
    same!(go("link", 0, 8), Ok(()), "RESOLVE_BENEATH inside");
    same!(go("/f", 0, 16), Ok(()), "RESOLVE_IN_ROOT");
    refused("RESOLVE_IN_ROOT and a link out", go("out", 0, 16), libc::ENOENT)?;
    refused("an unknown flag", go("f", 0x4000_0000, 0), libc::EINVAL)?;
    refused("an unknown resolve flag", go("f", 0, 1 << 40), libc::EINVAL)
}

fn reopen_through_proc() -> Outcome {
    let (reader, writer) = pipe(0)?;
    let again = open(&format!("/proc/self/fd/{}", writer.0), libc::O_WRONLY, 0).what("a pipe's end")?;
    drop(writer);
    write(&again, b"through").what("write")?;
    same!(read(&reader, 16).what("read")?, b"through", "what came");
    drop(again);
    same!(read(&reader, 16).what("read")?, b"", "the end");
    let s = Scratch::new()?;
    let f = file(&s, b"abc")?;
    std::fs::remove_file(s.path("f")).map_err(|e| e.to_string())?;
    let again = open(&format!("/proc/self/fd/{}", f.0), libc::O_RDONLY, 0).what("a removed file")?;
    same!(read(&again, 16).what("read")?, b"abc", "a removed file's content");
    Ok(())
}

fn memfd() -> Outcome {
    let f = fd(
        sys!(SYS_memfd_create, c"name".as_ptr(), libc::MFD_CLOEXEC),
        "memfd_create",
    )?;
    write(&f, b"bytes").what("write")?;
    let link = std::fs::read_link(format!("/proc/self/fd/{}", f.0)).map_err(|e| e.to_string())?;
    same!(link.to_str(), Some("/memfd:name (deleted)"), "its name");
    let again = open(&format!("/proc/self/fd/{}", f.0), libc::O_RDONLY, 0).what("open")?;
    same!(read(&again, 16).what("read")?, b"bytes", "another description of it");
    sys!(SYS_ftruncate, &f, 2).what("ftruncate")?;
    // SAFETY: plain data for which all zeros is a value.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    sys!(SYS_fstat, &f, &raw mut stat).what("fstat")?;
    same!(
        (stat.st_size, stat.st_mode & libc::S_IFMT, stat.st_nlink),
        (2, libc::S_IFREG, 0),
        "fstat"
    );
    refused(
        "an unknown flag",
        sys!(SYS_memfd_create, c"n".as_ptr(), 0x8000_0000_u32),
        libc::EINVAL,
    )
}

fn signalfd() -> Outcome {
    let mask: u64 = 1 << (libc::SIGUSR1 - 1);
    sys!(SYS_rt_sigprocmask, libc::SIG_BLOCK, &raw const mask, 0, 8).what("block")?;
    let f = fd(
        sys!(SYS_signalfd4, -1, &raw const mask, 8, libc::SFD_NONBLOCK),
        "signalfd4",
    )?;
    refused("before a signal", read(&f, 128), libc::EAGAIN)?;
    sys!(SYS_kill, std::process::id(), libc::SIGUSR1).what("kill")?;
    let info = read(&f, 256).what("read")?;
    same!(info.len(), 128, "one signal");
    same!(info.first(), Some(&(libc::SIGUSR1 as u8)), "its number");
    same!(
        info.get(12..16).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])),
        Some(std::process::id()),
        "its sender"
    );
    refused("after it", read(&f, 128), libc::EAGAIN)?;
    refused("too small a buffer", read(&f, 127), libc::EINVAL)
}

fn copy_file_range() -> Outcome {
    let s = Scratch::new()?;
    let from = file(&s, b"0123456789")?;
    let to = open(&s.path("to"), RWC, 0o644).what("open")?;
    let (mut at, mut put) = (2_i64, 1_i64);
    same!(
        sys!(SYS_copy_file_range, &from, &raw mut at, &to, &raw mut put, 5, 0),
        Ok(5),
        "copy_file_range"
    );
    same!((at, put), (7, 6), "the offsets after it");
    same!(
        std::fs::read(s.path("to")).map_err(|e| e.to_string())?,
        b"\x0023456",
        "what was copied"
    );
    same!(
        sys!(SYS_copy_file_range, &from, &raw mut at, &to, &raw mut put, 100, 0),
        Ok(3),
        "at the end"
    );
    refused(
        "an unknown flag",
        sys!(SYS_copy_file_range, &from, 0, &to, 0, 1, 1),
        libc::EINVAL,
    )
}

fn splice() -> Outcome {
    let s = Scratch::new()?;
    drop(file(&s, b"through a pipe")?);
    let from = open(&s.path("f"), libc::O_RDONLY, 0).what("open")?;
    let to = open(&s.path("to"), RWC, 0o644).what("open")?;
    let (reader, writer) = pipe(0)?;
    same!(sys!(SYS_splice, &from, 0, &writer, 0, 100, 0), Ok(14), "file to pipe");
    same!(sys!(SYS_splice, &reader, 0, &to, 0, 100, 0), Ok(14), "pipe to file");
    same!(
        std::fs::read(s.path("to")).map_err(|e| e.to_string())?,
        b"through a pipe",
        "what came"
    );
    refused(
        "an empty pipe",
        sys!(SYS_splice, &reader, 0, &to, 0, 1, libc::SPLICE_F_NONBLOCK),
        libc::EAGAIN,
    )?;
    refused("no pipe", sys!(SYS_splice, &from, 0, &to, 0, 1, 0), libc::EINVAL)
}

/// Deeper than any kernel stack could follow by recursion.
const DEPTH: usize = 5000;

fn deep_tree() -> Outcome {
    let s = Scratch::new()?;
    let top = c(&s.path("m"));
    sys!(SYS_mkdirat, libc::AT_FDCWD, top.as_ptr(), 0o755).what("mkdir")?;
    sys!(SYS_mount, c"none".as_ptr(), top.as_ptr(), c"tmpfs".as_ptr(), 0, 0).what("mount")?;
    checked_child(|| {
        sys!(SYS_chdir, top.as_ptr()).what("chdir")?;
        for n in 0..DEPTH {
            sys!(SYS_mkdirat, libc::AT_FDCWD, c"d".as_ptr(), 0o755).what(&format!("mkdir {n}"))?;
            sys!(SYS_chdir, c"d".as_ptr()).what(&format!("chdir {n}"))?;
        }
        Ok(())
    })?;
    sys!(SYS_umount2, top.as_ptr(), 0).what("umount2")?;
    Ok(())
}

fn removed_from_inside() -> Outcome {
    let s = Scratch::new()?;
    checked_child(|| {
        std::env::set_current_dir(&s.0).map_err(|e| e.to_string())?;
        for _ in 0..DEPTH {
            sys!(SYS_mkdirat, libc::AT_FDCWD, c"d".as_ptr(), 0o755).what("mkdir")?;
            sys!(SYS_chdir, c"d".as_ptr()).what("chdir")?;
        }
        let inner = fd(
            sys!(SYS_openat, libc::AT_FDCWD, c".".as_ptr(), libc::O_DIRECTORY, 0),
            "open",
        )?;
        for _ in 0..DEPTH {
            sys!(SYS_chdir, c"..".as_ptr()).what("chdir ..")?;
            sys!(SYS_unlinkat, libc::AT_FDCWD, c"d".as_ptr(), libc::AT_REMOVEDIR).what("rmdir")?;
        }
        // The innermost, long gone, is the last hold on all of them.
        drop(inner);
        Ok(())
    })
}

fn umask_and_set_group_id() -> Outcome {
    let s = Scratch::new()?;
    let mode = |name: &str| -> Result<u32, String> {
        use std::os::unix::fs::MetadataExt;
        Ok(std::fs::metadata(s.path(name)).map_err(|e| e.to_string())?.mode() & 0o7777)
    };
    checked_child(|| {
        sys!(SYS_umask, 0o027).what("umask")?;
        drop(open(&s.path("a"), RWC, 0o666).what("open")?);
        same!(mode("a")?, 0o640, "a file's mode");
        let d = c(&s.path("d"));
        sys!(SYS_mkdirat, libc::AT_FDCWD, d.as_ptr(), 0o777).what("mkdir")?;
        same!(mode("d")?, 0o750, "a folder's mode");
        sys!(SYS_fchmodat, libc::AT_FDCWD, d.as_ptr(), 0o2777).what("chmod")?;
        let inner = c(&s.path("d/e"));
        sys!(SYS_mkdirat, libc::AT_FDCWD, inner.as_ptr(), 0o777).what("mkdir")?;
        same!(mode("d/e")?, 0o2750, "a folder in a set-group-id folder");
        Ok(())
    })
}

fn file_size_limit() -> Outcome {
    let s = Scratch::new()?;
    checked_child(|| {
        // SAFETY: sets a disposition.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
        let limit = [1000_u64, 1000];
        sys!(SYS_prlimit64, 0, libc::RLIMIT_FSIZE, limit.as_ptr(), 0).what("prlimit64")?;
        let f = open(&s.path("f"), RWC, 0o644).what("open")?;
        same!(write(&f, &[b'x'; 900]), Ok(900), "below the limit");
        same!(write(&f, &[b'x'; 900]), Ok(100), "up to the limit");
        refused("beyond it", write(&f, b"x"), libc::EFBIG)?;
        refused("ftruncate beyond it", sys!(SYS_ftruncate, &f, 2000), libc::EFBIG)
    })?;
    let ended = crate::sys::in_child(|| {
        let limit = [10_u64, 10];
        let _ = sys!(SYS_prlimit64, 0, libc::RLIMIT_FSIZE, limit.as_ptr(), 0);
        let Ok(f) = open(&s.path("g"), RWC, 0o644) else {
            return 2;
        };
        let _ = write(&f, &[b'x'; 10]);
        let _ = write(&f, b"x");
        0
    })?;
    same!(ended, crate::sys::Ended::Signal(libc::SIGXFSZ), "who is not prepared");
    Ok(())
}

fn kernel_log() -> Outcome {
    let f = open("/dev/kmsg", libc::O_RDWR | libc::O_NONBLOCK, 0).what("open")?;
    sys!(SYS_lseek, &f, 0, libc::SEEK_END).what("lseek")?;
    let mark = format!("guest {}", std::process::id());
    write(&f, format!("<14>{mark}\n").as_bytes()).what("write")?;
    for _ in 0..100 {
        let line = String::from_utf8_lossy(&read(&f, 8192).what("read")?).into_owned();
        let Some((head, text)) = line.split_once(';') else {
            return Err(format!("no semicolon in {line:?}"));
        };
        if text.trim_end() == mark {
            check!(head.starts_with("14,"), "the priority of {line:?}");
            return refused("after the last", read(&f, 8192), libc::EAGAIN);
        }
    }
    Err("the line did not come back".to_owned())
}
