//! prctl(2).

use core::sync::atomic::Ordering;

use sis_abi::process::{
    COMM_BYTES, PR_CAPBSET_READ, PR_GET_CHILD_SUBREAPER, PR_GET_DUMPABLE, PR_GET_KEEPCAPS, PR_GET_NAME,
    PR_GET_NO_NEW_PRIVS, PR_GET_PDEATHSIG, PR_GET_TID_ADDRESS, PR_GET_TIMERSLACK, PR_SET_CHILD_SUBREAPER,
    PR_SET_DUMPABLE, PR_SET_KEEPCAPS, PR_SET_NAME, PR_SET_NO_NEW_PRIVS, PR_SET_PDEATHSIG, PR_SET_TIMERSLACK,
};
use sis_abi::signal::Signal;

use super::{Call, Row, partial};
use crate::process::cred::CAP_LAST;
use crate::user::{UserPtr, read_cstr};
use crate::{Errno, Result};

/// This family's rows.
pub(super) const CALLS: &[Row] = &[partial(
    167,
    "prctl",
    prctl,
    "PDEATHSIG, DUMPABLE, KEEPCAPS, NAME, CAPBSET_READ, TIMERSLACK, CHILD_SUBREAPER, NO_NEW_PRIVS and GET_TID_ADDRESS only",
)];

/// The slack that timers have; they are always exact here, but programs may set and read it.
const SLACK_NS: u64 = 50_000;

fn prctl(call: &mut Call<'_>) -> Result<usize> {
    let thread = call.thread;
    let process = &thread.process;
    let value = call.arg(1);
    let has_rest = (2..=4).any(|n| call.arg(n) != 0);
    let put = |v: i32| UserPtr::<i32>::new(value as usize).write(&v).map(|()| 0);
    match call.uint(0) {
        PR_SET_PDEATHSIG => {
            let number = i32::try_from(value).map_err(|_| Errno::EINVAL)?;
            if number != 0 && Signal::new(number).is_none() {
                return Err(Errno::EINVAL);
            }
            thread.parent_death_signal.store(number, Ordering::Relaxed);
            Ok(0)
        }
        PR_GET_PDEATHSIG => put(thread.parent_death_signal.load(Ordering::Relaxed)),
        PR_GET_DUMPABLE => Ok(process.is_dumpable.load(Ordering::Relaxed) as usize),
        PR_SET_DUMPABLE if value <= 1 => {
            process.is_dumpable.store(value as u32, Ordering::Relaxed);
            Ok(0)
        }
        PR_GET_KEEPCAPS => Ok(usize::from(thread.cred().keep_caps)),
        PR_SET_KEEPCAPS if value <= 1 => {
            let mut cred = (*thread.cred()).clone();
            cred.keep_caps = value == 1;
            thread.set_cred(alloc::sync::Arc::new(cred));
            Ok(0)
        }
        PR_SET_NAME => {
            let name = match read_cstr(value as usize, COMM_BYTES - 1) {
                // Longer names are cut.
                Err(Errno::ENAMETOOLONG) => UserPtr::<[u8; COMM_BYTES]>::new(value as usize)
                    .read()
                    .map(|n| n.to_vec())?,
                other => other?,
            };
            thread.set_name(&name);
            Ok(0)
        }
        PR_GET_NAME => UserPtr::<[u8; COMM_BYTES]>::new(value as usize)
            .write(&thread.name_bytes())
            .map(|()| 0),
        PR_CAPBSET_READ if value <= u64::from(CAP_LAST) => Ok(1),
        PR_SET_TIMERSLACK => {
            let slack = if value == 0 { SLACK_NS } else { value };
            thread.timer_slack_ns.store(slack, Ordering::Relaxed);
            Ok(0)
        }
        PR_GET_TIMERSLACK => Ok(thread.timer_slack_ns.load(Ordering::Relaxed) as usize),
        PR_SET_CHILD_SUBREAPER => {
            process.is_subreaper.store(value != 0, Ordering::Relaxed);
            Ok(0)
        }
        PR_GET_CHILD_SUBREAPER => put(i32::from(process.is_subreaper.load(Ordering::Relaxed))),
        PR_SET_NO_NEW_PRIVS if value == 1 && !has_rest => {
            thread.no_new_privs.store(true, Ordering::Relaxed);
            Ok(0)
        }
        PR_GET_NO_NEW_PRIVS if value == 0 && !has_rest => Ok(usize::from(thread.no_new_privs.load(Ordering::Relaxed))),
        PR_GET_TID_ADDRESS => {
            let address = thread.clear_tid.load(Ordering::Relaxed) as u64;
            UserPtr::<u64>::new(value as usize).write(&address).map(|()| 0)
        }
        _ => Err(Errno::EINVAL),
    }
}
