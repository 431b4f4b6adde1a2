//! epoll.

use sis_abi::poll::{EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, EpollEvent};

use super::args;
use super::poll::temporary_mask;
use super::{Call, Row, built, partial};
use crate::fs::epoll::{EPOLLET, EPOLLEXCLUSIVE, EPOLLWAKEUP, Epoll};
use crate::fs::file::OpenFile;
use crate::fs::flags::{O_CLOEXEC, O_RDWR};
use crate::poll::Events;
use crate::time::Deadline;
use crate::user::UserPtr;
use crate::{Errno, Result};

pub(super) const CALLS: &[Row] = &[
    built(20, "epoll_create1", epoll_create1),
    partial(
        21,
        "epoll_ctl",
        epoll_ctl,
        "EPOLLEXCLUSIVE wakes every instance, which it may",
    ),
    built(22, "epoll_pwait", epoll_pwait),
    built(441, "epoll_pwait2", epoll_pwait2),
];

fn epoll_create1(call: &mut Call<'_>) -> Result<usize> {
    let flags = call.uint(0);
    if flags & !O_CLOEXEC != 0 {
        return Err(Errno::EINVAL);
    }
    let file = OpenFile::new(Epoll::new(), O_RDWR, None);
    let limit = call.thread.process.nofile_limit();
    Ok(call.thread.files().insert(file, flags & O_CLOEXEC != 0, 0, limit)? as usize)
}

fn epoll_ctl(call: &mut Call<'_>) -> Result<usize> {
    let (operation, fd) = (call.uint(1), call.int(2));
    let mut event = EpollEvent::default();
    if operation != EPOLL_CTL_DEL {
        event = UserPtr::<EpollEvent>::new(call.usize(3)).read()?;
    }
    let instance = args::file(call, 0)?;
    let file = args::file(call, 2)?;
    let epoll = Epoll::of(&instance)?;
    if call.int(0) == fd {
        return Err(Errno::EINVAL);
    }
    if event.events & EPOLLEXCLUSIVE != 0 {
        let may = (Events::IN | Events::OUT | Events::ERR | Events::HUP).bits();
        if operation == EPOLL_CTL_MOD || event.events & !(may | EPOLLEXCLUSIVE | EPOLLET | EPOLLWAKEUP) != 0 {
            return Err(Errno::EINVAL);
        }
    }
    match operation {
        EPOLL_CTL_ADD | EPOLL_CTL_MOD => {
            // Errors and hang-ups are reported whether asked for or not.
            event.events |= (Events::ERR | Events::HUP).bits();
            if operation == EPOLL_CTL_ADD {
                epoll.add(fd, &file, &event)?
            } else {
                epoll.modify(fd, &file, &event)?
            }
        }
        EPOLL_CTL_DEL => epoll.remove(fd, &file)?,
        _ => return Err(Errno::EINVAL),
    }
    Ok(0)
}

/// Most events of one call (EP_MAX_EVENTS).
const EVENTS_MAX: usize = i32::MAX as usize / 16;

fn wait(call: &Call<'_>, deadline: Deadline) -> Result<usize> {
    let most = usize::try_from(call.int(2))
        .ok()
        .filter(|n| (1..=EVENTS_MAX).contains(n))
        .ok_or(Errno::EINVAL)?;
    let instance = args::file(call, 0)?;
    let epoll = Epoll::of(&instance)?;
    temporary_mask(call, call.usize(4), call.usize(5))?;
    let out = UserPtr::<EpollEvent>::new(call.usize(1));
    epoll.wait(most, deadline, &mut |n, event| out.nth(n)?.write(event))
}

fn epoll_pwait(call: &mut Call<'_>) -> Result<usize> {
    let deadline = match call.int(3) {
        0 => Deadline::at_ns(0),
        ms => u64::try_from(ms).map_or(Deadline::NEVER, |ms| Deadline::after_ns(ms * 1_000_000)),
    };
    wait(call, deadline)
}

fn epoll_pwait2(call: &mut Call<'_>) -> Result<usize> {
    wait(call, args::timeout(call.usize(3))?)
}
