//! inotify(7): which events there are and in which order, the queue, and watches.

mod events;
mod instances;

use super::Case;
use crate::sys::{Errno, Fd, Outcome, Scratch, What, c, fd};

pub(super) static CASES: &[Case] = &[
    ("inotify/file-life", events::file_life),
    ("inotify/self-and-parent", events::self_and_parent),
    ("inotify/attributes", events::attributes),
    ("inotify/extended-attributes", events::extended_attributes),
    ("inotify/directories", events::directories),
    ("inotify/links", events::links),
    ("inotify/unlink-while-open", events::unlink_while_open),
    ("inotify/rename", events::rename),
    ("inotify/rename-replaces", events::rename_replaces),
    ("inotify/rename-exchange", events::rename_exchange),
    ("inotify/coalesce", instances::coalesce),
    ("inotify/overflow", instances::overflow),
    ("inotify/one-shot", instances::one_shot),
    ("inotify/masks", instances::masks),
    ("inotify/excl-unlink", instances::excl_unlink),
    ("inotify/remove", instances::remove),
    ("inotify/unmount", instances::unmount),
    ("inotify/reads", instances::reads),
    ("inotify/errors", instances::errors),
    ("inotify/fork-shares", instances::fork_shares),
    ("inotify/many-watches", instances::many_watches),
    ("inotify/two-writers", instances::two_writers),
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

/// Files of these names in a folder, and an instance that watches the folder (1) and each of them (2 and on).
fn watched(names: &[&str]) -> Result<(Scratch, Fd), String> {
    let (dir, on) = (Scratch::new()?, new()?);
    for name in names {
        make(&dir.path(name))?;
    }
    add(&on, &dir.0, ALL).what("add")?;
    for name in names {
        add(&on, &dir.path(name), ALL).what("add")?;
    }
    Ok((dir, on))
}
