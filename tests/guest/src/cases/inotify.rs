//! inotify(7): which events there are and in which order, the queue, and watches.

use super::Case;
use crate::sys::{Errno, Fd, Outcome, Scratch, What, c, checked_child, fd, open, refused, write};

pub(super) static CASES: &[Case] = &[
    ("inotify/file-life", file_life),
    ("inotify/self-and-parent", self_and_parent),
    ("inotify/attributes", attributes),
    ("inotify/directories", directories),
    ("inotify/links", links),
    ("inotify/unlink-while-open", unlink_while_open),
    ("inotify/rename", rename),
    ("inotify/rename-replaces", rename_replaces),
    ("inotify/rename-exchange", rename_exchange),
    ("inotify/coalesce", coalesce),
    ("inotify/overflow", overflow),
    ("inotify/one-shot", one_shot),
    ("inotify/masks", masks),
    ("inotify/excl-unlink", excl_unlink),
    ("inotify/remove", remove),
    ("inotify/unmount", unmount),
    ("inotify/reads", reads),
    ("inotify/errors", errors),
    ("inotify/fork-shares", fork_shares),
    ("inotify/many-watches", many_watches),
    ("inotify/two-writers", two_writers),
];

const ALL: u32 = libc::IN_ALL_EVENTS;

const NAMES: &[(u32, &str)] = &[
    (libc::IN_ACCESS, "access"),
    (libc::IN_MODIFY, "modify"),
    (libc::IN_ATTRIB, "attrib"),
    (libc::IN_CLOSE_WRITE, "close-write"),
    (libc::IN_CLOSE_NOWRITE, "close"),
    (libc::IN_OPEN, "open"),
    (libc::IN_MOVED_FROM, "from"),
    (libc::IN_MOVED_TO, "to"),
    (libc::IN_CREATE, "create"),
    (libc::IN_DELETE, "delete"),
    (libc::IN_DELETE_SELF, "delete-self"),
    (libc::IN_MOVE_SELF, "move-self"),
    (libc::IN_UNMOUNT, "unmount"),
    (libc::IN_Q_OVERFLOW, "overflow"),
    (libc::IN_IGNORED, "ignored"),
    (libc::IN_ISDIR, "dir"),
];

struct Event {
    wd: i32,
    mask: u32,
    cookie: u32,
    name: String,
}

fn new() -> Result<Fd, String> {
    fd(sys!(SYS_inotify_init1, libc::IN_NONBLOCK), "inotify_init1")
}

fn add(on: &Fd, path: &str, mask: u32) -> Result<i64, Errno> {
    let path = c(path);
    sys!(SYS_inotify_add_watch, on, path.as_ptr(), mask)
}

fn read_some(on: &Fd, limit: usize) -> Result<Vec<Event>, Errno> {
    let bytes = crate::sys::read(on, limit)?;
    let mut events = Vec::new();
    let mut rest = bytes.as_slice();
    while let Some((head, tail)) = rest.split_at_checked(16) {
        let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().unwrap_or_default());
        let (name, next) = tail.split_at(word(12) as usize);
        let text = name.split(|b| *b == 0).next().unwrap_or_default();
        events.push(Event {
            wd: word(0) as i32,
            mask: word(4),
            cookie: word(8),
            name: String::from_utf8_lossy(text).into_owned(),
        });
        rest = next;
    }
    Ok(events)
}

fn drain(on: &Fd) -> Result<Vec<Event>, String> {
    let mut all = Vec::new();
    loop {
        match read_some(on, 65536) {
            Ok(events) => all.extend(events),
            Err(Errno(libc::EAGAIN)) => return Ok(all),
            Err(e) => return Err(e.into()),
        }
    }
}

/// Events as text: `wd kind+kind name`.
fn told(on: &Fd) -> Result<Vec<String>, String> {
    let text = |e: &Event| {
        let kinds: Vec<_> = NAMES.iter().filter(|n| e.mask & n.0 != 0).map(|n| n.1).collect();
        format!("{} {} {}", e.wd, kinds.join("+"), e.name).trim_end().to_owned()
    };
    Ok(drain(on)?.iter().map(text).collect())
}

fn make(path: &str) -> Outcome {
    std::fs::write(path, b"0123456789").map_err(|e| e.to_string())
}

fn io<T>(what: std::io::Result<T>) -> Result<T, String> {
    what.map_err(|e| e.to_string())
}

fn file_life() -> Outcome {
    let (dir, on) = (Scratch::new()?, new()?);
    let f = dir.path("f");
    same!(add(&on, &dir.0, ALL).what("add")?, 1, "the first watch");
    let file = open(&f, libc::O_CREAT | libc::O_RDWR, 0o600).what("open")?;
    write(&file, b"abc").what("write")?;
    let mut byte = [0u8; 1];
    sys!(SYS_pread64, &file, byte.as_mut_ptr(), 1, 0).what("pread")?;
    sys!(SYS_pread64, &file, byte.as_mut_ptr(), 1, 100).what("pread at the end")?;
    sys!(SYS_ftruncate, &file, 1).what("ftruncate")?;
    drop(file);
    io(std::fs::read(&f))?;
    drop(open(&f, libc::O_WRONLY | libc::O_TRUNC, 0).what("open")?);
    let path = c(&f);
    sys!(SYS_truncate, path.as_ptr(), 5).what("truncate")?;
    io(std::fs::remove_file(&f))?;
    let want = [
        "1 create f",
        "1 open f",
        "1 modify f",
        "1 access f",
        "1 modify f",
        "1 close-write f",
        "1 open f",
        "1 access f",
        "1 close f",
        "1 modify f",
        "1 open f",
        "1 close-write f",
        "1 modify f",
        "1 delete f",
    ];
    same!(told(&on)?, want, "a file's life");
    Ok(())
}

fn self_and_parent() -> Outcome {
    let (dir, on) = (Scratch::new()?, new()?);
    let f = dir.path("f");
    make(&f)?;
    add(&on, &dir.0, ALL).what("add")?;
    add(&on, &f, ALL).what("add")?;
    let file = open(&f, libc::O_RDWR, 0).what("open")?;
    write(&file, b"abc").what("write")?;
    crate::sys::read(&file, 2).what("read")?;
    drop(file);
    io(std::fs::remove_file(&f))?;
    let want = [
        "1 open f",
        "2 open",
        "1 modify f",
        "2 modify",
        "1 access f",
        "2 access",
        "1 close-write f",
        "2 close-write",
        "2 attrib",
        "2 delete-self",
        "2 ignored",
        "1 delete f",
    ];
    same!(told(&on)?, want, "both watched");
    Ok(())
}

fn attributes() -> Outcome {
    let (dir, on) = (Scratch::new()?, new()?);
    let f = dir.path("f");
    make(&f)?;
    add(&on, &f, ALL).what("add")?;
    let path = c(&f);
    let omit = libc::timespec {
        tv_sec: 0,
        tv_nsec: libc::UTIME_OMIT,
    };
    let now = libc::timespec { tv_sec: 5, tv_nsec: 0 };
    let set = |times: [libc::timespec; 2]| sys!(SYS_utimensat, libc::AT_FDCWD, path.as_ptr(), times.as_ptr(), 0);
    sys!(SYS_fchmodat, libc::AT_FDCWD, path.as_ptr(), 0o640).what("chmod")?;
    same!(told(&on)?, ["1 attrib"], "chmod");
    sys!(SYS_fchownat, libc::AT_FDCWD, path.as_ptr(), 0, 0, 0).what("chown")?;
    same!(told(&on)?, ["1 attrib"], "chown");
    set([now, now]).what("utimes")?;
    same!(told(&on)?, ["1 attrib"], "utimes");
    set([now, omit]).what("utimes")?;
    same!(told(&on)?, ["1 access"], "the access time");
    set([omit, now]).what("utimes")?;
    same!(told(&on)?, ["1 modify"], "the modification time");
    Ok(())
}

fn directories() -> Outcome {
    let (dir, on) = (Scratch::new()?, new()?);
    let sub = dir.path("d");
    add(&on, &dir.0, ALL).what("add")?;
    io(std::fs::create_dir(&sub))?;
    add(&on, &sub, ALL).what("add")?;
    same!(io(std::fs::read_dir(&sub))?.count(), 0, "entries");
    let want = [
        "1 create+dir d",
        "1 open+dir d",
        "2 open+dir",
        "1 access+dir d",
        "2 access+dir",
        "1 close+dir d",
        "2 close+dir",
    ];
    let mut got = told(&on)?;
    // readdir(3) reads until nothing comes: twice or once.
    got.dedup();
    let mut seen = Vec::new();
    got.retain(|e| {
        !seen.contains(e) && {
            seen.push(e.clone());
            true
        }
    });
    same!(got, want, "a directory that is read");
    io(std::os::unix::fs::symlink("x", dir.path("l")))?;
    io(std::fs::remove_dir(&sub))?;
    same!(
        told(&on)?,
        ["1 create l", "2 delete-self", "2 ignored", "1 delete+dir d"],
        "rmdir"
    );
    Ok(())
}

fn links() -> Outcome {
    let (dir, on) = (Scratch::new()?, new()?);
    let (f, g) = (dir.path("f"), dir.path("g"));
    make(&f)?;
    add(&on, &dir.0, ALL).what("add")?;
    add(&on, &f, ALL).what("add")?;
    io(std::fs::hard_link(&f, &g))?;
    io(std::fs::remove_file(&f))?;
    same!(
        told(&on)?,
        ["2 attrib", "1 create g", "2 attrib", "1 delete f"],
        "one of two names"
    );
    io(std::fs::remove_file(&g))?;
    same!(
        told(&on)?,
        ["2 attrib", "2 delete-self", "2 ignored", "1 delete g"],
        "the last name"
    );
    Ok(())
}

fn unlink_while_open() -> Outcome {
    let (dir, on) = (Scratch::new()?, new()?);
    let f = dir.path("f");
    make(&f)?;
    add(&on, &dir.0, ALL).what("add")?;
    add(&on, &f, ALL).what("add")?;
    let file = open(&f, libc::O_RDWR, 0).what("open")?;
    told(&on)?;
    io(std::fs::remove_file(&f))?;
    same!(told(&on)?, ["2 attrib", "1 delete f"], "removed");
    drop(file);
    same!(
        told(&on)?,
        ["1 close-write f", "2 close-write", "2 delete-self", "2 ignored"],
        "closed"
    );
    Ok(())
}

fn rename() -> Outcome {
    let (dir, on) = (Scratch::new()?, new()?);
    let (a, b) = (dir.path("a"), dir.path("b"));
    io(std::fs::create_dir(&a))?;
    io(std::fs::create_dir(&b))?;
    make(&dir.path("a/f"))?;
    add(&on, &a, ALL).what("add")?;
    add(&on, &b, ALL).what("add")?;
    add(&on, &dir.path("a/f"), ALL).what("add")?;
    io(std::fs::rename(dir.path("a/f"), dir.path("b/g")))?;
    let events = drain(&on)?;
    let kinds: Vec<_> = events.iter().map(|e| (e.wd, e.mask, e.name.as_str())).collect();
    let want = [
        (1, libc::IN_MOVED_FROM, "f"),
        (2, libc::IN_MOVED_TO, "g"),
        (3, libc::IN_MOVE_SELF, ""),
    ];
    same!(kinds, want, "a move");
    check!(
        events[0].cookie != 0 && events[0].cookie == events[1].cookie,
        "the halves have one cookie"
    );
    same!(events[2].cookie, 0, "the file's own cookie");
    io(std::fs::rename(dir.path("b/g"), dir.path("b/h")))?;
    let next = drain(&on)?;
    same!(next.len(), 3, "events of a second move");
    check!(
        next[0].cookie != events[0].cookie && next[0].cookie == next[1].cookie,
        "another cookie"
    );
    // The file is known under its new name.
    drop(open(&dir.path("b/h"), libc::O_RDONLY, 0).what("open")?);
    same!(told(&on)?, ["2 open h", "3 open", "2 close h", "3 close"], "afterwards");
    io(std::fs::create_dir(dir.path("a/d")))?;
    add(&on, &dir.path("a/d"), ALL).what("add")?;
    io(std::fs::rename(dir.path("a/d"), dir.path("b/d")))?;
    same!(
        told(&on)?,
        ["1 create+dir d", "1 from+dir d", "2 to+dir d", "4 move-self"],
        "a directory"
    );
    Ok(())
}

fn rename_replaces() -> Outcome {
    let (dir, on) = (Scratch::new()?, new()?);
    let (f, g) = (dir.path("f"), dir.path("g"));
    make(&f)?;
    make(&g)?;
    add(&on, &dir.0, ALL).what("add")?;
    add(&on, &f, ALL).what("add")?;
    add(&on, &g, ALL).what("add")?;
    io(std::fs::rename(&f, &g))?;
    let want = [
        "1 from f",
        "1 to g",
        "3 attrib",
        "2 move-self",
        "3 delete-self",
        "3 ignored",
    ];
    same!(told(&on)?, want, "onto a watched file");
    Ok(())
}

fn rename_exchange() -> Outcome {
    let (dir, on) = (Scratch::new()?, new()?);
    let (f, g) = (dir.path("f"), dir.path("g"));
    make(&f)?;
    make(&g)?;
    add(&on, &dir.0, ALL).what("add")?;
    add(&on, &f, ALL).what("add")?;
    add(&on, &g, ALL).what("add")?;
    let (from, to) = (c(&f), c(&g));
    let at = libc::AT_FDCWD;
    sys!(SYS_renameat2, at, from.as_ptr(), at, to.as_ptr(), libc::RENAME_EXCHANGE).what("renameat2")?;
    let want = ["1 from f", "1 to g", "2 move-self", "1 from g", "1 to f", "3 move-self"];
    same!(told(&on)?, want, "an exchange");
    Ok(())
}

fn coalesce() -> Outcome {
    let (dir, on) = (Scratch::new()?, new()?);
    let f = dir.path("f");
    let file = open(&f, libc::O_CREAT | libc::O_RDWR, 0o600).what("open")?;
    add(&on, &f, libc::IN_MODIFY | libc::IN_ATTRIB).what("add")?;
    for _ in 0..5 {
        write(&file, b"x").what("write")?;
    }
    sys!(SYS_fchmod, &file, 0o644).what("fchmod")?;
    write(&file, b"x").what("write")?;
    let mut bytes = 0i32;
    sys!(SYS_ioctl, &on, libc::FIONREAD, &raw mut bytes).what("FIONREAD")?;
    same!(bytes, 48, "bytes that wait");
    same!(
        told(&on)?,
        ["1 modify", "1 attrib", "1 modify"],
        "equal neighbours are one"
    );
    Ok(())
}

fn overflow() -> Outcome {
    let (dir, on) = (Scratch::new()?, new()?);
    let limit = io(std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events"))?;
    let limit: usize = limit.trim().parse().map_err(|_| limit.clone())?;
    let f = dir.path("f");
    let file = open(&f, libc::O_CREAT | libc::O_RDWR, 0o600).what("open")?;
    add(&on, &f, libc::IN_MODIFY | libc::IN_ATTRIB).what("add")?;
    for _ in 0..limit / 2 + 10 {
        write(&file, b"x").what("write")?;
        sys!(SYS_fchmod, &file, 0o644).what("fchmod")?;
    }
    let events = drain(&on)?;
    same!(events.len(), limit + 1, "events");
    let last = events.last().map(|e| (e.wd, e.mask));
    same!(last, Some((-1, libc::IN_Q_OVERFLOW)), "the last one");
    write(&file, b"x").what("write")?;
    same!(told(&on)?, ["1 modify"], "afterwards");
    Ok(())
}

fn one_shot() -> Outcome {
    let (dir, on) = (Scratch::new()?, new()?);
    make(&dir.path("f"))?;
    add(&on, &dir.path("f"), ALL | libc::IN_ONESHOT).what("add")?;
    io(std::fs::read(dir.path("f")))?;
    same!(told(&on)?, ["1 open", "1 ignored"], "once");
    same!(add(&on, &dir.path("f"), ALL).what("add")?, 2, "a new number");
    Ok(())
}

fn masks() -> Outcome {
    let (dir, on) = (Scratch::new()?, new()?);
    let f = dir.path("f");
    make(&f)?;
    same!(add(&on, &f, libc::IN_OPEN).what("add")?, 1, "a watch");
    same!(
        add(&on, &f, libc::IN_ACCESS | libc::IN_MASK_ADD).what("add")?,
        1,
        "more of it"
    );
    io(std::fs::read(&f))?;
    same!(told(&on)?, ["1 open", "1 access"], "both");
    same!(add(&on, &f, libc::IN_CLOSE).what("add")?, 1, "another mask");
    io(std::fs::read(&f))?;
    same!(told(&on)?, ["1 close"], "only that");
    refused(
        "IN_MASK_CREATE",
        add(&on, &f, libc::IN_OPEN | libc::IN_MASK_CREATE),
        libc::EEXIST,
    )?;
    let both = libc::IN_OPEN | libc::IN_MASK_CREATE | libc::IN_MASK_ADD;
    refused("both", add(&on, &f, both), libc::EINVAL)?;
    io(std::os::unix::fs::symlink("f", dir.path("l")))?;
    same!(
        add(&on, &dir.path("l"), libc::IN_OPEN).what("add")?,
        1,
        "through a link"
    );
    same!(
        add(&on, &dir.path("l"), libc::IN_OPEN | libc::IN_DONT_FOLLOW).what("add")?,
        2,
        "the link"
    );
    Ok(())
}

fn excl_unlink() -> Outcome {
    let (dir, on) = (Scratch::new()?, new()?);
    let f = dir.path("f");
    make(&f)?;
    add(&on, &dir.0, ALL | libc::IN_EXCL_UNLINK).what("add")?;
    let file = open(&f, libc::O_RDWR, 0).what("open")?;
    io(std::fs::remove_file(&f))?;
    write(&file, b"abc").what("write")?;
    drop(file);
    same!(told(&on)?, ["1 open f", "1 delete f"], "nothing after the name went");
    Ok(())
}

fn remove() -> Outcome {
    let (dir, on) = (Scratch::new()?, new()?);
    let f = dir.path("f");
    make(&f)?;
    add(&on, &f, ALL).what("add")?;
    io(std::fs::read(&f))?;
    sys!(SYS_inotify_rm_watch, &on, 1).what("inotify_rm_watch")?;
    io(std::fs::read(&f))?;
    same!(
        told(&on)?,
        ["1 open", "1 access", "1 close", "1 ignored"],
        "what waited stays"
    );
    refused("no watch", sys!(SYS_inotify_rm_watch, &on, 1), libc::EINVAL)?;
    Ok(())
}

fn unmount() -> Outcome {
    let (dir, on) = (Scratch::new()?, new()?);
    let (at, kind) = (c(&dir.0), c("tmpfs"));
    sys!(SYS_mount, kind.as_ptr(), at.as_ptr(), kind.as_ptr(), 0, 0).what("mount")?;
    let f = dir.path("f");
    make(&f)?;
    add(&on, &f, ALL).what("add")?;
    sys!(SYS_umount2, at.as_ptr(), 0).what("umount2")?;
    same!(told(&on)?, ["1 unmount", "1 ignored"], "unmounted");
    Ok(())
}

fn reads() -> Outcome {
    let (dir, on) = (Scratch::new()?, new()?);
    refused("nothing yet", crate::sys::read(&on, 4096), libc::EAGAIN)?;
    add(&on, &dir.0, libc::IN_CREATE | libc::IN_DELETE).what("add")?;
    make(&dir.path("fifteen-letters"))?;
    make(&dir.path("sixteen--letters"))?;
    refused("too small", crate::sys::read(&on, 31), libc::EINVAL)?;
    same!(
        crate::sys::read(&on, 32 + 47).what("read")?.len(),
        32,
        "15 letters and a NUL"
    );
    let mut poll = libc::pollfd {
        fd: on.0,
        events: libc::POLLIN | libc::POLLOUT,
        revents: 0,
    };
    sys!(SYS_ppoll, &raw mut poll, 1, 0, 0, 8).what("ppoll")?;
    same!(poll.revents, libc::POLLIN, "one is left");
    same!(
        crate::sys::read(&on, 48).what("read")?.len(),
        48,
        "16 letters and 16 NULs"
    );
    refused("none left", crate::sys::read(&on, 4096), libc::EAGAIN)?;
    let link = io(std::fs::read_link(format!("/proc/self/fd/{}", on.0)))?;
    same!(link.to_string_lossy(), "anon_inode:inotify", "its name");
    let info = io(std::fs::read_to_string(format!("/proc/self/fdinfo/{}", on.0)))?;
    check!(
        info.contains("\ninotify wd:1 ino:") && info.contains(" mask:300 ignored_mask:0 "),
        "{info}"
    );
    Ok(())
}

fn errors() -> Outcome {
    let (dir, on) = (Scratch::new()?, new()?);
    let f = dir.path("f");
    make(&f)?;
    let file = open(&f, libc::O_RDONLY, 0).what("open")?;
    refused("an unknown flag", sys!(SYS_inotify_init1, 1), libc::EINVAL)?;
    refused("no events", add(&on, &f, 0), libc::EINVAL)?;
    refused("no inotify", add(&file, &f, ALL), libc::EINVAL)?;
    refused("no descriptor", add(&Fd(-1), &f, ALL), libc::EBADF)?;
    refused("no file", add(&on, &dir.path("none"), ALL), libc::ENOENT)?;
    refused("no directory", add(&on, &f, ALL | libc::IN_ONLYDIR), libc::ENOTDIR)?;
    refused("a bad name", sys!(SYS_inotify_add_watch, &on, 8, ALL), libc::EFAULT)?;
    refused(
        "removing from no inotify",
        sys!(SYS_inotify_rm_watch, &file, 1),
        libc::EINVAL,
    )?;
    refused("writing", write(&on, b"x"), libc::EBADF)?;
    checked_child(|| {
        let path = c(&f);
        sys!(SYS_fchmodat, libc::AT_FDCWD, path.as_ptr(), 0o200).what("chmod")?;
        sys!(SYS_setresuid, 1000, 1000, 1000).what("setresuid")?;
        refused("a file that may not be read", add(&on, &f, ALL), libc::EACCES)
    })
}

fn fork_shares() -> Outcome {
    let (dir, on) = (Scratch::new()?, new()?);
    checked_child(|| {
        same!(add(&on, &dir.0, libc::IN_CREATE).what("add")?, 1, "in the child");
        Ok(())
    })?;
    make(&dir.path("f"))?;
    same!(told(&on)?, ["1 create f"], "in the parent");
    Ok(())
}

fn many_watches() -> Outcome {
    const COUNT: usize = 2000;
    let (dir, on) = (Scratch::new()?, new()?);
    let name = |n: usize| dir.path(&format!("f{n}"));
    for n in 0..COUNT {
        make(&name(n))?;
        same!(
            add(&on, &name(n), libc::IN_OPEN).what("add")?,
            n as i64 + 1,
            "its number"
        );
    }
    for n in 0..COUNT {
        drop(open(&name(n), libc::O_RDONLY, 0).what("open")?);
    }
    let events = drain(&on)?;
    same!(events.len(), COUNT, "events");
    check!(events.iter().enumerate().all(|(n, e)| e.wd == n as i32 + 1), "in order");
    Ok(())
}

fn two_writers() -> Outcome {
    const COUNT: usize = 2000;
    let (dir, on) = (Scratch::new()?, new()?);
    add(&on, &dir.0, libc::IN_CREATE | libc::IN_DELETE).what("add")?;
    let writer = |letter: char| {
        let base = dir.path(&letter.to_string());
        std::thread::spawn(move || {
            for n in 0..COUNT {
                let path = format!("{base}{n}");
                std::fs::write(&path, b"").and_then(|()| std::fs::remove_file(&path))?;
            }
            Ok::<(), std::io::Error>(())
        })
    };
    let writers = [writer('a'), writer('b')];
    let mut events = Vec::new();
    while !writers.iter().all(std::thread::JoinHandle::is_finished) {
        events.extend(drain(&on)?);
    }
    for w in writers {
        io(w.join().map_err(|_| "a writer panicked".to_owned())?)?;
    }
    events.extend(drain(&on)?);
    for letter in ['a', 'b'] {
        let mine: Vec<_> = events.iter().filter(|e| e.name.starts_with(letter)).collect();
        same!(mine.len(), 2 * COUNT, "events of a writer");
        let is_right = |n: usize, e: &Event| {
            let kind = if n.is_multiple_of(2) {
                libc::IN_CREATE
            } else {
                libc::IN_DELETE
            };
            e.mask == kind && e.name == format!("{letter}{}", n / 2)
        };
        check!(mine.iter().enumerate().all(|(n, e)| is_right(n, e)), "in order");
    }
    Ok(())
}
