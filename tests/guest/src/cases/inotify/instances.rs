//! The queue of an instance, and its watches.

use super::{ALL, Event, add, drain, io, make, new, told};
use crate::sys::{Fd, Outcome, Scratch, What, c, checked_child, open, refused, write};

pub(super) fn coalesce() -> Outcome {
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

pub(super) fn overflow() -> Outcome {
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

pub(super) fn one_shot() -> Outcome {
    let (dir, on) = (Scratch::new()?, new()?);
    make(&dir.path("f"))?;
    add(&on, &dir.path("f"), ALL | libc::IN_ONESHOT).what("add")?;
    io(std::fs::read(dir.path("f")))?;
    same!(told(&on)?, ["1 open", "1 ignored"], "once");
    same!(add(&on, &dir.path("f"), ALL).what("add")?, 2, "a new number");
    Ok(())
}

pub(super) fn masks() -> Outcome {
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

pub(super) fn excl_unlink() -> Outcome {
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

pub(super) fn remove() -> Outcome {
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

pub(super) fn unmount() -> Outcome {
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

pub(super) fn reads() -> Outcome {
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

pub(super) fn errors() -> Outcome {
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

pub(super) fn fork_shares() -> Outcome {
    let (dir, on) = (Scratch::new()?, new()?);
    checked_child(|| {
        same!(add(&on, &dir.0, libc::IN_CREATE).what("add")?, 1, "in the child");
        Ok(())
    })?;
    make(&dir.path("f"))?;
    same!(told(&on)?, ["1 create f"], "in the parent");
    Ok(())
}

pub(super) fn many_watches() -> Outcome {
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

pub(super) fn two_writers() -> Outcome {
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
