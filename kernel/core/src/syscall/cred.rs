//! Credentials: user and group ids, supplementary groups, capabilities.

use alloc::sync::Arc;

use sis_abi::process::{CapData, CapHeader};

use super::{Call, Row, built, partial};
use crate::process::cred::{CAP_ALL, Capability, Cred, GROUPS_MAX};
use crate::process::table;
use crate::user::{UserPtr, UserSlice};
use crate::{Errno, Result};

/// This family's rows.
pub(super) const CALLS: &[Row] = &[
    built(90, "capget", capget),
    partial(91, "capset", capset, "the bounding and the ambient set"),
    built(143, "setregid", setregid),
    built(144, "setgid", setgid),
    built(145, "setreuid", setreuid),
    built(146, "setuid", setuid),
    built(147, "setresuid", setresuid),
    built(148, "getresuid", getresuid),
    built(149, "setresgid", setresgid),
    built(150, "getresgid", getresgid),
    built(151, "setfsuid", setfsuid),
    built(152, "setfsgid", setfsgid),
    built(158, "getgroups", getgroups),
    built(159, "setgroups", setgroups),
    built(174, "getuid", getuid),
    built(175, "geteuid", geteuid),
    built(176, "getgid", getgid),
    built(177, "getegid", getegid),
];

/// "Leave it as it is".
const KEEP: u32 = u32::MAX;

fn getuid(call: &mut Call<'_>) -> Result<usize> {
    Ok(call.thread.cred().uid as usize)
}

fn geteuid(call: &mut Call<'_>) -> Result<usize> {
    Ok(call.thread.cred().euid as usize)
}

fn getgid(call: &mut Call<'_>) -> Result<usize> {
    Ok(call.thread.cred().gid as usize)
}

fn getegid(call: &mut Call<'_>) -> Result<usize> {
    Ok(call.thread.cred().egid as usize)
}

/// Makes new credentials from the caller's and installs them.
fn change(call: &Call<'_>, f: impl FnOnce(&mut Cred, &Cred) -> Result<()>) -> Result<usize> {
    let old = call.thread.cred();
    let mut new = (*old).clone();
    f(&mut new, &old)?;
    let new = new.after_uid_change(&old).after_fsuid_change(&old);
    call.thread.set_cred(Arc::new(new));
    Ok(0)
}

fn setuid(call: &mut Call<'_>) -> Result<usize> {
    let uid = valid(call.uint(0))?;
    change(call, |new, old| {
        if old.has(Capability::Setuid) {
            new.uid = uid;
            new.suid = uid;
        } else if uid != old.uid && uid != old.suid {
            return Err(Errno::EPERM);
        }
        new.euid = uid;
        new.fsuid = uid;
        Ok(())
    })
}

fn setgid(call: &mut Call<'_>) -> Result<usize> {
    let gid = valid(call.uint(0))?;
    change(call, |new, old| {
        if old.has(Capability::Setgid) {
            new.gid = gid;
            new.sgid = gid;
        } else if gid != old.gid && gid != old.sgid {
            return Err(Errno::EPERM);
        }
        new.egid = gid;
        new.fsgid = gid;
        Ok(())
    })
}

fn valid(id: u32) -> Result<u32> {
    if id == KEEP { Err(Errno::EINVAL) } else { Ok(id) }
}

fn setreuid(call: &mut Call<'_>) -> Result<usize> {
    let (r, e) = (call.uint(0), call.uint(1));
    change(call, |new, old| {
        let is_free = old.has(Capability::Setuid);
        if r != KEEP {
            if !is_free && r != old.uid && r != old.euid {
                return Err(Errno::EPERM);
            }
            new.uid = r;
        }
        if e != KEEP {
            if !is_free && e != old.uid && e != old.euid && e != old.suid {
                return Err(Errno::EPERM);
            }
            new.euid = e;
        }
        if r != KEEP || e != KEEP && e != old.uid {
            new.suid = new.euid;
        }
        new.fsuid = new.euid;
        Ok(())
    })
}

fn setregid(call: &mut Call<'_>) -> Result<usize> {
    let (r, e) = (call.uint(0), call.uint(1));
    change(call, |new, old| {
        let is_free = old.has(Capability::Setgid);
        if r != KEEP {
            if !is_free && r != old.gid && r != old.egid {
                return Err(Errno::EPERM);
            }
            new.gid = r;
        }
        if e != KEEP {
            if !is_free && e != old.gid && e != old.egid && e != old.sgid {
                return Err(Errno::EPERM);
            }
            new.egid = e;
        }
        if r != KEEP || e != KEEP && e != old.gid {
            new.sgid = new.egid;
        }
        new.fsgid = new.egid;
        Ok(())
    })
}

fn setresuid(call: &mut Call<'_>) -> Result<usize> {
    let (r, e, s) = (call.uint(0), call.uint(1), call.uint(2));
    change(call, |new, old| {
        let is_free = old.has(Capability::Setuid);
        for id in [r, e, s] {
            if id != KEEP && !is_free && id != old.uid && id != old.euid && id != old.suid {
                return Err(Errno::EPERM);
            }
        }
        for (slot, id) in [(&mut new.uid, r), (&mut new.euid, e), (&mut new.suid, s)] {
            if id != KEEP {
                *slot = id;
            }
        }
        new.fsuid = new.euid;
        Ok(())
    })
}

fn setresgid(call: &mut Call<'_>) -> Result<usize> {
    let (r, e, s) = (call.uint(0), call.uint(1), call.uint(2));
    change(call, |new, old| {
        let is_free = old.has(Capability::Setgid);
        for id in [r, e, s] {
            if id != KEEP && !is_free && id != old.gid && id != old.egid && id != old.sgid {
                return Err(Errno::EPERM);
            }
        }
        for (slot, id) in [(&mut new.gid, r), (&mut new.egid, e), (&mut new.sgid, s)] {
            if id != KEEP {
                *slot = id;
            }
        }
        new.fsgid = new.egid;
        Ok(())
    })
}

fn put_three(call: &Call<'_>, ids: [u32; 3]) -> Result<usize> {
    for (n, id) in ids.iter().enumerate() {
        UserPtr::<u32>::new(call.usize(n)).write(id)?;
    }
    Ok(0)
}

fn getresuid(call: &mut Call<'_>) -> Result<usize> {
    let c = call.thread.cred();
    put_three(call, [c.uid, c.euid, c.suid])
}

fn getresgid(call: &mut Call<'_>) -> Result<usize> {
    let c = call.thread.cred();
    put_three(call, [c.gid, c.egid, c.sgid])
}

/// Answers the old id, whether it changed or not (setfsuid(2)).
fn setfsuid(call: &mut Call<'_>) -> Result<usize> {
    let id = call.uint(0);
    let before = call.thread.cred().fsuid;
    let _ = change(call, |new, old| {
        if id != KEEP && (old.has(Capability::Setuid) || [old.uid, old.euid, old.suid, old.fsuid].contains(&id)) {
            new.fsuid = id;
        }
        Ok(())
    });
    Ok(before as usize)
}

fn setfsgid(call: &mut Call<'_>) -> Result<usize> {
    let id = call.uint(0);
    let before = call.thread.cred().fsgid;
    let _ = change(call, |new, old| {
        if id != KEEP && (old.has(Capability::Setgid) || [old.gid, old.egid, old.sgid, old.fsgid].contains(&id)) {
            new.fsgid = id;
        }
        Ok(())
    });
    Ok(before as usize)
}

fn getgroups(call: &mut Call<'_>) -> Result<usize> {
    let room = usize::try_from(call.int(0)).map_err(|_| Errno::EINVAL)?;
    let cred = call.thread.cred();
    let n = cred.groups.len();
    if room != 0 {
        if room < n {
            return Err(Errno::EINVAL);
        }
        let bytes: alloc::vec::Vec<u8> = cred.groups.iter().flat_map(|g| g.to_le_bytes()).collect();
        UserSlice::new(call.usize(1), bytes.len()).write_prefix(&bytes)?;
    }
    Ok(n)
}

fn setgroups(call: &mut Call<'_>) -> Result<usize> {
    let n = usize::try_from(call.int(0)).map_err(|_| Errno::EINVAL)?;
    if !call.thread.cred().has(Capability::Setgid) {
        return Err(Errno::EPERM);
    }
    if n > GROUPS_MAX {
        return Err(Errno::EINVAL);
    }
    let bytes = UserSlice::new(call.usize(1), n * 4).read_to_vec(GROUPS_MAX * 4)?;
    let mut groups: alloc::vec::Vec<u32> = bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|c| u32::from_le_bytes(*c))
        .collect();
    groups.sort_unstable();
    change(call, |new, _| {
        new.groups = Arc::from(groups);
        Ok(())
    })
}

const CAP_V1: u32 = 0x1998_0330;
const CAP_V2: u32 = 0x2007_1026;
const CAP_V3: u32 = 0x2008_0522;

/// Reads the header; answers whose capabilities and how many words of them.
fn cap_header(call: &Call<'_>) -> Result<(i32, usize)> {
    let header = UserPtr::<CapHeader>::new(call.usize(0));
    let h = header.read()?;
    match h.version {
        CAP_V1 => Ok((h.pid, 1)),
        CAP_V2 | CAP_V3 => Ok((h.pid, 2)),
        _ => {
            header.write(&CapHeader {
                version: CAP_V3,
                pid: h.pid,
            })?;
            Err(Errno::EINVAL)
        }
    }
}

fn capget(call: &mut Call<'_>) -> Result<usize> {
    let (pid, words) = match cap_header(call) {
        // Asking for the version with no room for data succeeds.
        Err(Errno::EINVAL) if call.usize(1) == 0 => return Ok(0),
        other => other?,
    };
    let cred = match u32::try_from(pid).map_err(|_| Errno::EINVAL)? {
        0 => call.thread.cred(),
        tid => table::thread(tid).ok_or(Errno::ESRCH)?.cred(),
    };
    let out = UserPtr::<CapData>::new(call.usize(1));
    for n in 0..words {
        let word = |set: u64| (set >> (32 * n)) as u32;
        out.nth(n)?.write(&CapData {
            effective: word(cred.cap_effective),
            permitted: word(cred.cap_permitted),
            inheritable: word(cred.cap_inheritable),
        })?;
    }
    Ok(0)
}

fn capset(call: &mut Call<'_>) -> Result<usize> {
    let (pid, words) = cap_header(call)?;
    if pid != 0 && u32::try_from(pid) != Ok(call.thread.tid()) {
        return Err(Errno::EPERM);
    }
    let data = UserPtr::<CapData>::new(call.usize(1));
    let (mut effective, mut permitted, mut inheritable) = (0u64, 0u64, 0u64);
    for n in 0..words {
        let d = data.nth(n)?.read()?;
        effective |= u64::from(d.effective) << (32 * n);
        permitted |= u64::from(d.permitted) << (32 * n);
        inheritable |= u64::from(d.inheritable) << (32 * n);
    }
    let (effective, permitted, inheritable) = (effective & CAP_ALL, permitted & CAP_ALL, inheritable & CAP_ALL);
    let old = call.thread.cred();
    let adds = |new: u64, of: u64| new & !of != 0;
    if adds(permitted, old.cap_permitted)
        || adds(effective, permitted)
        || adds(inheritable, old.cap_inheritable | old.cap_permitted)
    {
        return Err(Errno::EPERM);
    }
    let new = Cred {
        cap_effective: effective,
        cap_permitted: permitted,
        cap_inheritable: inheritable,
        ..(*old).clone()
    };
    call.thread.set_cred(Arc::new(new));
    Ok(0)
}
