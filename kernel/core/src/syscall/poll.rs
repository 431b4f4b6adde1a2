//! ppoll and pselect6, to which C libraries map poll and select.

use alloc::vec::Vec;

use sis_abi::poll::PollFd;
use sis_abi::signal::SigSet;
use sis_abi::time::Timespec;

use super::args;
use super::{Call, Row, built};
use crate::fs::flags::O_PATH;
use crate::fs::ready::{self, Watched};
use crate::poll::Events;
use crate::time::{Deadline, now_ns};
use crate::user::{UserPtr, UserSlice};
use crate::{Errno, Result};

pub(super) const CALLS: &[Row] = &[built(72, "pselect6", pselect6), built(73, "ppoll", ppoll)];

/// Bytes of a signal set.
const SIGSET_BYTES: usize = 8;

/// Sets the mask of a call such as ppoll until it has been answered. NULL leaves it alone; `EINVAL` for a wrong size.
pub(super) fn temporary_mask(call: &Call<'_>, address: usize, size: usize) -> Result<()> {
    if address == 0 {
        return Ok(());
    }
    if size != SIGSET_BYTES {
        return Err(Errno::EINVAL);
    }
    let mask = UserPtr::<u64>::new(address).read()?;
    call.thread.set_temporary_mask(SigSet(mask));
    Ok(())
}

/// Writes back what is left of a relative timeout, as Linux does; a bad address is no error any more.
fn write_rest(address: usize, deadline: Deadline) {
    if address != 0 {
        let rest = Timespec::from_ns(deadline.ns().saturating_sub(now_ns()));
        let _ = UserPtr::new(address).write(&rest);
    }
}

/// The open file behind a descriptor, as poll and select see it.
fn watched(call: &Call<'_>, fd: i32, wanted: Events) -> Option<Watched> {
    let file = call.thread.files().get(fd).ok().filter(|f| f.flags() & O_PATH == 0)?;
    Some(Watched {
        file: Some(file),
        wanted,
        found: Events::empty(),
    })
}

fn ppoll(call: &mut Call<'_>) -> Result<usize> {
    let (address, count) = (call.usize(0), call.usize(1));
    if count > call.thread.process.nofile_limit() {
        return Err(Errno::EINVAL);
    }
    let deadline = args::timeout(call.usize(2))?;
    temporary_mask(call, call.usize(3), call.usize(4))?;
    let entries: Vec<PollFd> = UserPtr::new(address).read_array(count, count)?;
    let mut files: Vec<Watched> = entries
        .iter()
        .map(|e| {
            if e.fd < 0 {
                return Watched {
                    file: None,
                    wanted: Events::empty(),
                    found: Events::empty(),
                };
            }
            let wanted = Events::from_bits_truncate(u32::from(e.events));
            watched(call, e.fd, wanted).unwrap_or(Watched {
                file: None,
                wanted: Events::empty(),
                found: Events::NVAL,
            })
        })
        .collect();
    let ready = ready::wait(&mut files, deadline);
    write_rest(call.usize(2), deadline);
    let ready = ready?;
    for (n, w) in files.iter().enumerate() {
        // `revents` is the last two of eight bytes.
        let at = address.wrapping_add(n * 8 + 6);
        UserPtr::<u16>::new(at).write(&(w.found.bits() as u16))?;
    }
    Ok(ready)
}

/// Most descriptors that select looks at.
const SELECT_MAX: usize = 1 << 20;

/// What makes a descriptor count in the three sets (fs/select.c, POLLIN_SET and its like).
const SETS: [Events; 3] = [
    Events::IN
        .union(Events::RDNORM)
        .union(Events::RDBAND)
        .union(Events::HUP)
        .union(Events::ERR),
    Events::OUT
        .union(Events::WRNORM)
        .union(Events::WRBAND)
        .union(Events::ERR),
    Events::PRI,
];

/// The descriptors of a set; an absent one is empty.
fn read_set(address: usize, count: usize) -> Result<Vec<u8>> {
    let bytes = count.div_ceil(64) * 8;
    if address == 0 {
        Ok(alloc::vec![0; bytes])
    } else {
        UserSlice::new(address, bytes).read_to_vec(bytes)
    }
}

fn has(set: &[u8], fd: usize) -> bool {
    set.get(fd / 8).is_some_and(|b| b & (1 << (fd % 8)) != 0)
}

fn pselect6(call: &mut Call<'_>) -> Result<usize> {
    let count = usize::try_from(call.int(0)).map_err(|_| Errno::EINVAL)?;
    let count = count.min(call.thread.process.nofile_limit()).min(SELECT_MAX);
    let deadline = args::timeout(call.usize(4))?;
    if call.usize(5) != 0 {
        let pack = UserPtr::<u64>::new(call.usize(5));
        temporary_mask(call, pack.read()? as usize, pack.nth(1)?.read()? as usize)?;
    }
    let addresses = [call.usize(1), call.usize(2), call.usize(3)];
    let sets = [
        read_set(addresses[0], count)?,
        read_set(addresses[1], count)?,
        read_set(addresses[2], count)?,
    ];
    let mut files = Vec::new();
    let mut fds = Vec::new();
    for fd in 0..count {
        let mut wanted = Events::empty();
        for (set, events) in sets.iter().zip(SETS) {
            if has(set, fd) {
                wanted |= events;
            }
        }
        if !wanted.is_empty() {
            let fd_number = i32::try_from(fd).map_err(|_| Errno::EBADF)?;
            files.push(watched(call, fd_number, wanted).ok_or(Errno::EBADF)?);
            fds.push(fd);
        }
    }
    // An error or hang-up that no set asks for ends no select.
    let ready = ready::wait_for(&mut files, deadline, |w| w.wanted);
    write_rest(call.usize(4), deadline);
    ready?;
    let mut total = 0;
    for ((address, set), events) in addresses.iter().zip(&sets).zip(SETS) {
        if *address == 0 {
            continue;
        }
        let mut out = alloc::vec![0u8; set.len()];
        for (w, fd) in files.iter().zip(&fds) {
            if has(set, *fd) && w.found.intersects(events) {
                if let Some(b) = out.get_mut(fd / 8) {
                    *b |= 1 << (fd % 8);
                }
                total += 1;
            }
        }
        UserSlice::new(*address, out.len()).write_prefix(&out)?;
    }
    Ok(total)
}
