//! Which events there are, of what, and in which order.

use super::{ALL, add, drain, io, make, new, told, watched};
use crate::sys::{Outcome, Scratch, What, c, open, refused, write};

pub(super) fn file_life() -> Outcome {
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

pub(super) fn self_and_parent() -> Outcome {
    let (dir, on) = watched(&["f"])?;
    let f = dir.path("f");
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

pub(super) fn attributes() -> Outcome {
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

pub(super) fn directories() -> Outcome {
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

pub(super) fn links() -> Outcome {
    let (dir, on) = watched(&["f"])?;
    let (f, g) = (dir.path("f"), dir.path("g"));
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

pub(super) fn unlink_while_open() -> Outcome {
    let (dir, on) = watched(&["f"])?;
    let f = dir.path("f");
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

pub(super) fn rename() -> Outcome {
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

pub(super) fn rename_replaces() -> Outcome {
    let (dir, on) = watched(&["f", "g"])?;
    let (f, g) = (dir.path("f"), dir.path("g"));
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

pub(super) fn rename_exchange() -> Outcome {
    let (dir, on) = watched(&["f", "g"])?;
    let (f, g) = (dir.path("f"), dir.path("g"));
    let (from, to) = (c(&f), c(&g));
    let at = libc::AT_FDCWD;
    sys!(SYS_renameat2, at, from.as_ptr(), at, to.as_ptr(), libc::RENAME_EXCHANGE).what("renameat2")?;
    let want = ["1 from f", "1 to g", "2 move-self", "1 from g", "1 to f", "3 move-self"];
    same!(told(&on)?, want, "an exchange");
    Ok(())
}

/// Setting and removing an extended attribute changes attributes; what is refused changes nothing.
pub(super) fn extended_attributes() -> Outcome {
    let scratch = Scratch::new()?;
    let f = scratch.path("f");
    make(&f)?;
    let on = new()?;
    add(&on, &f, ALL).what("the file")?;
    add(&on, &scratch.0, ALL).what("its folder")?;
    let (path, name) = (c(&f), c("trusted.sis"));
    let set = |flags: i32| sys!(SYS_setxattr, path.as_ptr(), name.as_ptr(), b"x".as_ptr(), 1, flags);
    refused("one that is not there", set(2), libc::ENODATA)?;
    same!(told(&on)?, Vec::<String>::new(), "a refusal");
    set(0).what("setxattr")?;
    same!(told(&on)?, ["2 attrib f", "1 attrib"], "setting");
    sys!(SYS_removexattr, path.as_ptr(), name.as_ptr()).what("removexattr")?;
    same!(told(&on)?, ["2 attrib f", "1 attrib"], "removing");
    Ok(())
}
