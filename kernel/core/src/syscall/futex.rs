//! futex(2) and robust lists.

use core::sync::atomic::Ordering;

use sis_abi::process::{
    FUTEX_BITSET_MATCH_ANY, FUTEX_CLOCK_REALTIME, FUTEX_CMD_MASK, FUTEX_CMP_REQUEUE, FUTEX_PRIVATE_FLAG, FUTEX_REQUEUE,
    FUTEX_WAIT, FUTEX_WAIT_BITSET, FUTEX_WAKE, FUTEX_WAKE_BITSET, FUTEX_WAKE_OP,
};
use sis_abi::time::Timespec;

use super::{Call, Row, built, partial};
use crate::process::futex;
use crate::process::table;
use crate::time::{Deadline, now_ns, wall_ns};
use crate::user::UserPtr;
use crate::{Errno, Result};

/// This family's rows.
pub(super) const CALLS: &[Row] = &[
    partial(98, "futex", futex_, "FUTEX_FD, priority inheritance (FUTEX_*_PI)"),
    built(99, "set_robust_list", set_robust_list),
    built(100, "get_robust_list", get_robust_list),
];

/// Bytes of `struct robust_list_head`.
const ROBUST_HEAD_BYTES: usize = 24;

fn futex_(call: &mut Call<'_>) -> Result<usize> {
    let address = call.usize(0);
    let operation = call.uint(1);
    let value = call.uint(2);
    let command = operation & FUTEX_CMD_MASK;
    let is_private = operation & FUTEX_PRIVATE_FLAG != 0;
    let is_wall = operation & FUTEX_CLOCK_REALTIME != 0;
    if is_wall && !matches!(command, FUTEX_WAIT | FUTEX_WAIT_BITSET) {
        return Err(Errno::ENOSYS);
    }
    // FUTEX_WAKE's count is an int; below 1 it still wakes one, as Linux does.
    let most = |n: u32| usize::try_from(n as i32).unwrap_or(0).max(1);
    let count = |n: u64| usize::try_from(n as i32).map_err(|_| Errno::EINVAL);
    let thread = call.thread;
    match command {
        FUTEX_WAIT | FUTEX_WAIT_BITSET => {
            let is_absolute = command == FUTEX_WAIT_BITSET;
            let bitset = if is_absolute {
                call.uint(5)
            } else {
                FUTEX_BITSET_MATCH_ANY
            };
            let deadline = deadline(call.usize(3), is_absolute, is_wall)?;
            futex::wait(thread, address, value, bitset, is_private, deadline).map(|()| 0)
        }
        FUTEX_WAKE => futex::wake(&thread.vm(), address, most(value), FUTEX_BITSET_MATCH_ANY, is_private),
        FUTEX_WAKE_BITSET => futex::wake(&thread.vm(), address, most(value), call.uint(5), is_private),
        FUTEX_REQUEUE | FUTEX_CMP_REQUEUE => {
            let expected = (command == FUTEX_CMP_REQUEUE).then(|| call.uint(5));
            let (wakes, moves) = (count(u64::from(value))?, count(call.arg(3))?);
            let vm = thread.vm();
            let (woken, moved) = futex::requeue(&vm, address, call.usize(4), wakes, moves, expected, is_private)?;
            // FUTEX_REQUEUE answers the same since Linux 2.6.
            Ok(woken + moved)
        }
        FUTEX_WAKE_OP => {
            let second = most(call.uint(3));
            futex::wake_op(
                &thread.vm(),
                address,
                call.usize(4),
                most(value),
                second,
                call.uint(5),
                is_private,
            )
        }
        _ => Err(Errno::ENOSYS),
    }
}

/// The point of the monotonic clock at which a wait ends.
fn deadline(address: usize, is_absolute: bool, is_wall: bool) -> Result<Deadline> {
    let Some(t) = UserPtr::<Timespec>::new(address).read_opt()? else {
        return Ok(Deadline::NEVER);
    };
    let ns = t.to_ns().ok_or(Errno::EINVAL)?;
    let at = match (is_absolute, is_wall) {
        (false, _) => now_ns().saturating_add(ns),
        (true, false) => ns,
        (true, true) => now_ns().saturating_add(ns.saturating_sub(wall_ns())),
    };
    Ok(Deadline::at_ns(at.min(u64::MAX - 1)))
}

fn set_robust_list(call: &mut Call<'_>) -> Result<usize> {
    if call.usize(1) != ROBUST_HEAD_BYTES {
        return Err(Errno::EINVAL);
    }
    call.thread.robust_list.store(call.usize(0), Ordering::Relaxed);
    Ok(0)
}

fn get_robust_list(call: &mut Call<'_>) -> Result<usize> {
    let head = match call.int(0) {
        0 => call.thread.robust_list.load(Ordering::Relaxed),
        tid => {
            let tid = u32::try_from(tid).map_err(|_| Errno::ESRCH)?;
            let target = table::thread(tid).ok_or(Errno::ESRCH)?;
            if !call.thread.cred().may_inspect(&target.cred()) {
                return Err(Errno::EPERM);
            }
            target.robust_list.load(Ordering::Relaxed)
        }
    };
    UserPtr::<u64>::new(call.usize(2)).write(&(ROBUST_HEAD_BYTES as u64))?;
    UserPtr::<u64>::new(call.usize(1)).write(&(head as u64))?;
    Ok(0)
}
