//! epoll(7): level, edge, one-shot, nesting, wake-ups.

use super::Case;
use crate::sys::{Errno, Fd, Outcome, What, child, fd, now_ns, pipe, read, refused, sleep_ms, wait, write};

pub(super) static CASES: &[Case] = &[
    ("epoll/level", level),
    ("epoll/edge", edge),
    ("epoll/one-shot", one_shot),
    ("epoll/modify-and-delete", modify_and_delete),
    ("epoll/errors", errors),
    ("epoll/hang-up", hang_up),
    ("epoll/time-out", time_out),
    ("epoll/wakes", wakes),
    ("epoll/closed-leaves", closed_leaves),
    ("epoll/duplicate-stays", duplicate_stays),
    ("epoll/many", many),
    ("epoll/nested", nested),
    ("epoll/regular-file-refused", regular_file_refused),
    ("epoll/edge-eventfd", edge_eventfd),
    ("epoll/pwait-mask", pwait_mask),
];

const IN: u32 = libc::EPOLLIN as u32;
const OUT: u32 = libc::EPOLLOUT as u32;
const ET: u32 = libc::EPOLLET as u32;
const HUP: u32 = libc::EPOLLHUP as u32;

fn new() -> Result<Fd, String> {
    fd(sys!(SYS_epoll_create1, libc::EPOLL_CLOEXEC), "epoll_create1")
}

fn control(epoll: &Fd, operation: i32, of: &Fd, events: u32, data: u64) -> Result<i64, Errno> {
    let event = libc::epoll_event { events, u64: data };
    sys!(SYS_epoll_ctl, epoll, operation, of, &raw const event)
}

fn add(epoll: &Fd, of: &Fd, events: u32, data: u64) -> Result<i64, Errno> {
    control(epoll, libc::EPOLL_CTL_ADD, of, events, data)
}

fn waited(epoll: &Fd, limit: usize, timeout_ms: i32) -> Result<Vec<(u64, u32)>, Errno> {
    let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; limit];
    let count = sys!(SYS_epoll_pwait, epoll, events.as_mut_ptr(), limit, timeout_ms, 0, 8)?;
    Ok(events[..count as usize].iter().map(|e| (e.u64, e.events)).collect())
}

fn now(epoll: &Fd) -> Result<Vec<(u64, u32)>, String> {
    waited(epoll, 16, 0).what("epoll_pwait")
}

fn level() -> Outcome {
    let (epoll, (reader, writer)) = (new()?, pipe(0)?);
    add(&epoll, &reader, IN, 7).what("add")?;
    same!(now(&epoll)?, [], "before a write");
    write(&writer, b"ab").what("write")?;
    same!(now(&epoll)?, [(7, IN)], "after it");
    read(&reader, 1).what("read")?;
    same!(now(&epoll)?, [(7, IN)], "while something is left");
    read(&reader, 1).what("read")?;
    same!(now(&epoll)?, [], "when nothing is left");
    Ok(())
}

fn edge() -> Outcome {
    let (epoll, (reader, writer)) = (new()?, pipe(0)?);
    add(&epoll, &reader, IN | ET, 7).what("add")?;
    write(&writer, b"ab").what("write")?;
    same!(now(&epoll)?, [(7, IN)], "after a write");
    same!(now(&epoll)?, [], "not again");
    write(&writer, b"c").what("write")?;
    same!(now(&epoll)?, [(7, IN)], "after another write, though nothing was read");
    let (late, (reader, writer)) = (new()?, pipe(0)?);
    write(&writer, b"x").what("write")?;
    add(&late, &reader, IN | ET, 1).what("add")?;
    same!(now(&late)?, [(1, IN)], "added when it is ready already");
    control(&late, libc::EPOLL_CTL_MOD, &reader, IN | ET, 2).what("mod")?;
    same!(now(&late)?, [(2, IN)], "modified when it is ready");
    Ok(())
}

fn one_shot() -> Outcome {
    let (epoll, (reader, writer)) = (new()?, pipe(0)?);
    let events = IN | libc::EPOLLONESHOT as u32;
    add(&epoll, &reader, events, 1).what("add")?;
    write(&writer, b"a").what("write")?;
    same!(now(&epoll)?, [(1, IN)], "once");
    write(&writer, b"b").what("write")?;
    same!(now(&epoll)?, [], "and not again");
    control(&epoll, libc::EPOLL_CTL_MOD, &reader, events, 2).what("mod")?;
    same!(now(&epoll)?, [(2, IN)], "armed again");
    Ok(())
}

fn modify_and_delete() -> Outcome {
    let (epoll, (reader, writer)) = (new()?, pipe(0)?);
    add(&epoll, &writer, OUT, 1).what("add")?;
    add(&epoll, &reader, IN, 2).what("add")?;
    same!(now(&epoll)?, [(1, OUT)], "room to write");
    control(&epoll, libc::EPOLL_CTL_MOD, &writer, 0, 1).what("mod")?;
    same!(now(&epoll)?, [], "asked for nothing");
    write(&writer, b"x").what("write")?;
    control(&epoll, libc::EPOLL_CTL_DEL, &reader, 0, 0).what("del")?;
    same!(now(&epoll)?, [], "deleted");
    Ok(())
}

fn errors() -> Outcome {
    let (epoll, (reader, _writer)) = (new()?, pipe(0)?);
    add(&epoll, &reader, IN, 1).what("add")?;
    refused("add twice", add(&epoll, &reader, IN, 1), libc::EEXIST)?;
    let other = pipe(0)?.0;
    refused(
        "mod of what is not there",
        control(&epoll, libc::EPOLL_CTL_MOD, &other, IN, 1),
        libc::ENOENT,
    )?;
    refused(
        "del of what is not there",
        control(&epoll, libc::EPOLL_CTL_DEL, &other, 0, 0),
        libc::ENOENT,
    )?;
    refused("itself", add(&epoll, &epoll, IN, 1), libc::EINVAL)?;
    refused("an unknown operation", control(&epoll, 9, &reader, IN, 1), libc::EINVAL)?;
    refused(
        "a descriptor that is no epoll",
        add(&reader, &epoll, IN, 1),
        libc::EINVAL,
    )?;
    refused("no room for events", waited(&epoll, 0, 0), libc::EINVAL)?;
    refused(
        "a bad descriptor",
        add(&epoll, &std::mem::ManuallyDrop::new(Fd(999)), IN, 1),
        libc::EBADF,
    )?;
    refused("unknown flags", sys!(SYS_epoll_create1, 1), libc::EINVAL)
}

fn hang_up() -> Outcome {
    let (epoll, (reader, writer)) = (new()?, pipe(0)?);
    add(&epoll, &reader, IN, 3).what("add")?;
    write(&writer, b"x").what("write")?;
    drop(writer);
    same!(now(&epoll)?, [(3, IN | HUP)], "data and hang-up");
    read(&reader, 1).what("read")?;
    same!(now(&epoll)?, [(3, HUP)], "hang-up, which needs not be asked for");
    Ok(())
}

fn time_out() -> Outcome {
    let epoll = new()?;
    let start = now_ns(libc::CLOCK_MONOTONIC);
    same!(waited(&epoll, 1, 40), Ok(vec![]), "nothing");
    let took_ms = (now_ns(libc::CLOCK_MONOTONIC) - start) / 1_000_000;
    check!((40..2000).contains(&took_ms), "40 ms took {took_ms} ms");
    Ok(())
}

fn wakes() -> Outcome {
    let (epoll, (reader, writer)) = (new()?, pipe(0)?);
    add(&epoll, &reader, IN | ET, 5).what("add")?;
    let pid = child(|| {
        (0..20).for_each(|_| {
            sleep_ms(3);
            let _ = write(&writer, b"x");
        });
        0
    })?;
    let mut bytes = 0;
    while bytes < 20 {
        same!(waited(&epoll, 4, 10_000), Ok(vec![(5, IN)]), "a wake-up");
        bytes += read(&reader, 100).what("read")?.len();
    }
    wait(pid, 0).what("wait4").map(|_| ())
}

fn closed_leaves() -> Outcome {
    let (epoll, (reader, writer)) = (new()?, pipe(0)?);
    add(&epoll, &reader, IN, 1).what("add")?;
    write(&writer, b"x").what("write")?;
    drop(reader);
    same!(now(&epoll)?, [], "a closed file");
    Ok(())
}

fn duplicate_stays() -> Outcome {
    let (epoll, (reader, writer)) = (new()?, pipe(0)?);
    let copy = fd(sys!(SYS_dup, &reader), "dup")?;
    add(&epoll, &reader, IN, 1).what("add")?;
    add(&epoll, &copy, IN, 2).what("add the duplicate")?;
    write(&writer, b"x").what("write")?;
    let mut seen = now(&epoll)?;
    seen.sort_unstable();
    same!(seen, [(1, IN), (2, IN)], "both");
    Ok(())
}

fn many() -> Outcome {
    let epoll = new()?;
    let pipes = (0..100).map(|_| pipe(0)).collect::<Result<Vec<_>, _>>()?;
    for (n, (reader, _)) in pipes.iter().enumerate() {
        add(&epoll, reader, IN, n as u64).what("add")?;
    }
    for (_, writer) in pipes.iter().step_by(3) {
        write(writer, b"x").what("write")?;
    }
    // Eight at a time, and none is starved.
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..50 {
        let part = waited(&epoll, 8, 0).what("epoll_pwait")?;
        check!(part.len() <= 8, "{} events where 8 fit", part.len());
        seen.extend(part.iter().map(|(data, _)| *data));
    }
    same!(seen.len(), 34, "different descriptors that were reported");
    Ok(())
}

fn nested() -> Outcome {
    let (outer, inner, (reader, writer)) = (new()?, new()?, pipe(0)?);
    add(&inner, &reader, IN, 1).what("add")?;
    add(&outer, &inner, IN, 2).what("add an epoll to an epoll")?;
    same!(now(&outer)?, [], "nothing");
    write(&writer, b"x").what("write")?;
    same!(now(&outer)?, [(2, IN)], "the inner one has something");
    refused("a circle", add(&inner, &outer, IN, 3), libc::ELOOP)
}

fn regular_file_refused() -> Outcome {
    let file = crate::sys::open("/proc/self/exe", 0, 0).what("open")?;
    refused("a regular file", add(&new()?, &file, IN, 1), libc::EPERM)
}

fn edge_eventfd() -> Outcome {
    // How tokio wakes its threads: the eventfd is never read, each write is an edge.
    let epoll = new()?;
    let event = fd(sys!(SYS_eventfd2, 0, libc::O_NONBLOCK | libc::O_CLOEXEC), "eventfd2")?;
    add(&epoll, &event, IN | ET | libc::EPOLLRDHUP as u32, 9).what("add")?;
    for round in 0..5 {
        write(&event, &1_u64.to_ne_bytes()).what("write")?;
        same!(waited(&epoll, 4, 1000), Ok(vec![(9, IN)]), format!("write {round}"));
        same!(now(&epoll)?, [], "only once");
    }
    Ok(())
}

fn pwait_mask() -> Outcome {
    extern "C" fn nothing(_: i32) {}
    // SAFETY: the handler does nothing.
    unsafe { libc::signal(libc::SIGUSR1, nothing as extern "C" fn(i32) as usize) };
    let mask = 1_u64 << (libc::SIGUSR1 - 1);
    sys!(SYS_rt_sigprocmask, libc::SIG_BLOCK, &raw const mask, 0, 8).what("block")?;
    sys!(SYS_kill, std::process::id(), libc::SIGUSR1).what("kill")?;
    let epoll = new()?;
    let mut event = libc::epoll_event { events: 0, u64: 0 };
    same!(
        sys!(SYS_epoll_pwait, &epoll, &raw mut event, 1, 10, 0, 8),
        Ok(0),
        "while the signal is blocked"
    );
    let open = 0_u64;
    refused(
        "with a mask that lets it in",
        sys!(SYS_epoll_pwait, &epoll, &raw mut event, 1, 5000, &raw const open, 8),
        libc::EINTR,
    )
}
