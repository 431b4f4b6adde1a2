//! The system: names, limits, memory and load, the log, randomness, reboot, prctl.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use sis_abi::process::{Sysinfo, Utsname, uts_string};
use sis_abi::system::syslog as actions;
use sis_abi::system::{
    GetrandomFlags, LINUX_REBOOT_CMD_CAD_OFF, LINUX_REBOOT_CMD_CAD_ON, LINUX_REBOOT_CMD_HALT,
    LINUX_REBOOT_CMD_POWER_OFF, LINUX_REBOOT_CMD_RESTART, LINUX_REBOOT_CMD_RESTART2, LINUX_REBOOT_MAGIC1,
    LINUX_REBOOT_MAGIC2, LINUX_REBOOT_MAGIC2A, LINUX_REBOOT_MAGIC2B, LINUX_REBOOT_MAGIC2C,
};
use sis_machine::mm::frames;
use sis_machine::{cpu, firmware, log};

use super::{Call, Row, built, partial};
use crate::process::cred::Capability;
use crate::process::limits::{NR_OPEN, Resource, Rlimit};
use crate::process::table;
use crate::user::{UserPtr, UserSlice, read_cstr};
use crate::{Errno, Result, random, sched, uts};

/// This family's rows.
pub(super) const CALLS: &[Row] = &[
    built(92, "personality", personality),
    partial(
        116,
        "syslog",
        syslog,
        "actions::READ and SIZE_UNREAD answer what is there without waiting",
    ),
    partial(142, "reboot", reboot, "kexec and suspend"),
    built(160, "uname", uname),
    built(161, "sethostname", sethostname),
    built(162, "setdomainname", setdomainname),
    built(163, "getrlimit", getrlimit),
    built(164, "setrlimit", setrlimit),
    built(179, "sysinfo", sysinfo),
    built(261, "prlimit64", prlimit64),
    built(278, "getrandom", getrandom),
    partial(
        283,
        "membarrier",
        membarrier,
        "MEMBARRIER_CMD_FLAG_CPU and rseq commands",
    ),
];

fn uname(call: &mut Call<'_>) -> Result<usize> {
    let out = Utsname {
        sysname: uts_string(uts::SYSNAME.as_bytes()),
        nodename: uts_string(&uts::hostname()),
        release: uts_string(uts::RELEASE.as_bytes()),
        version: uts_string(uts::VERSION.as_bytes()),
        machine: uts_string(uts::MACHINE.as_bytes()),
        domainname: uts_string(&uts::domainname()),
    };
    UserPtr::<Utsname>::new(call.usize(0)).write(&out)?;
    Ok(0)
}

/// Reads a name of at most 64 bytes; `EINVAL` for a longer one.
fn read_name(call: &Call<'_>) -> Result<Vec<u8>> {
    if !call.thread.cred().has(Capability::SysAdmin) {
        return Err(Errno::EPERM);
    }
    let len = usize::try_from(call.int(1)).map_err(|_| Errno::EINVAL)?;
    UserSlice::new(call.usize(0), len).read_to_vec(uts::NAME_MAX)
}

fn sethostname(call: &mut Call<'_>) -> Result<usize> {
    let name = read_name(call)?;
    uts::set_hostname(&name);
    Ok(0)
}

fn setdomainname(call: &mut Call<'_>) -> Result<usize> {
    let name = read_name(call)?;
    uts::set_domainname(&name);
    Ok(0)
}

fn sysinfo(call: &mut Call<'_>) -> Result<usize> {
    let out = Sysinfo {
        uptime: (crate::time::now_ns() / 1_000_000_000) as i64,
        loads: sched::load::averages_sysinfo(),
        totalram: frames::total_frames() as u64 * 4096,
        freeram: frames::free_frames() as u64 * 4096,
        sharedram: crate::fs::tmpfs::pages_in_use() as u64 * 4096,
        bufferram: crate::fs::cache::usage().disks as u64 * 4096,
        totalswap: 0,
        freeswap: 0,
        procs: u16::try_from(table::thread_count()).unwrap_or(u16::MAX),
        totalhigh: 0,
        freehigh: 0,
        mem_unit: 1,
    };
    UserPtr::<Sysinfo>::new(call.usize(0)).write(&out)?;
    Ok(0)
}

fn to_abi(limit: Rlimit) -> sis_abi::process::Rlimit {
    sis_abi::process::Rlimit {
        rlim_cur: limit.soft,
        rlim_max: limit.hard,
    }
}

type AbiLimit = UserPtr<sis_abi::process::Rlimit>;

fn getrlimit(call: &mut Call<'_>) -> Result<usize> {
    let resource = Resource::new(call.uint(0)).ok_or(Errno::EINVAL)?;
    AbiLimit::new(call.usize(1)).write(&to_abi(call.thread.process.limit(resource)))?;
    Ok(0)
}

fn setrlimit(call: &mut Call<'_>) -> Result<usize> {
    let resource = Resource::new(call.uint(0)).ok_or(Errno::EINVAL)?;
    let new = AbiLimit::new(call.usize(1)).read()?;
    set_limit(
        call,
        &call.thread.process,
        resource,
        Rlimit {
            soft: new.rlim_cur,
            hard: new.rlim_max,
        },
    )?;
    Ok(0)
}

fn set_limit(
    call: &Call<'_>,
    process: &alloc::sync::Arc<crate::process::Process>,
    resource: Resource,
    new: Rlimit,
) -> Result<()> {
    if new.soft > new.hard {
        return Err(Errno::EINVAL);
    }
    if resource == Resource::Files && new.hard > NR_OPEN {
        return Err(Errno::EPERM);
    }
    let old = process.limit(resource);
    if new.hard > old.hard && !call.thread.cred().has(Capability::SysResource) {
        return Err(Errno::EPERM);
    }
    process.set_limit(resource, new);
    if resource == Resource::Cpu {
        process.arm_cpu_limit();
    }
    Ok(())
}

fn prlimit64(call: &mut Call<'_>) -> Result<usize> {
    let resource = Resource::new(call.uint(1)).ok_or(Errno::EINVAL)?;
    let new = AbiLimit::new(call.usize(2)).read_opt()?;
    let process = match call.int(0) {
        0 => call.thread.process.clone(),
        pid => table::get(u32::try_from(pid).map_err(|_| Errno::ESRCH)?).ok_or(Errno::ESRCH)?,
    };
    if !alloc::sync::Arc::ptr_eq(&process, &call.thread.process) {
        let target = process.main_thread().ok_or(Errno::ESRCH)?.cred();
        let cred = call.thread.cred();
        let is_same = cred.uid == target.uid
            && cred.uid == target.euid
            && cred.uid == target.suid
            && cred.gid == target.gid
            && cred.gid == target.egid
            && cred.gid == target.sgid;
        if !is_same && !cred.has(Capability::SysResource) {
            return Err(Errno::EPERM);
        }
    }
    let old = process.limit(resource);
    if let Some(new) = new {
        set_limit(
            call,
            &process,
            resource,
            Rlimit {
                soft: new.rlim_cur,
                hard: new.rlim_max,
            },
        )?;
    }
    AbiLimit::new(call.usize(3)).write_opt(&to_abi(old))?;
    Ok(0)
}

fn personality(call: &mut Call<'_>) -> Result<usize> {
    let process = &call.thread.process;
    let old = process.personality();
    let new = call.uint(0);
    if new != u32::MAX {
        process.personality.store(new, Ordering::Relaxed);
    }
    Ok(old as usize)
}

fn getrandom(call: &mut Call<'_>) -> Result<usize> {
    let flags = GetrandomFlags::from_bits(call.uint(2)).ok_or(Errno::EINVAL)?;
    if flags.contains(GetrandomFlags::RANDOM | GetrandomFlags::INSECURE) {
        return Err(Errno::EINVAL);
    }
    let len = call.usize(1).min(i32::MAX as usize);
    let at = call.usize(0);
    let mut done = 0;
    let mut chunk = [0u8; 256];
    while done < len {
        let part = chunk.get_mut(..(len - done).min(256)).unwrap_or_default();
        random::fill(part);
        let to = UserSlice::new(at.wrapping_add(done), part.len());
        match to.write_prefix(part) {
            Ok(n) => done += n,
            Err(_) if done > 0 => break,
            Err(e) => return Err(e),
        }
        if done.is_multiple_of(65536) {
            sched::cond_resched();
            if call.thread.signal_pending() && done < len {
                break;
            }
        }
    }
    Ok(done)
}

/// The first record that `dmesg` shows, after it has been cleared.
static CLEARED_TO: AtomicU64 = AtomicU64::new(0);
/// The first record that actions::READ has not given.
static READ_TO: AtomicU64 = AtomicU64::new(0);
/// Bytes that actions::SIZE_BUFFER promises to suffice.
const LOG_BYTES: usize = 256 << 10;
const CONSOLE_LEVEL_LEAST: u8 = 1;
const CONSOLE_LEVEL_USUAL: u8 = 7;

fn line_of(r: &log::Record) -> Vec<u8> {
    let (s, us) = (r.time_ns / 1_000_000_000, r.time_ns / 1000 % 1_000_000);
    alloc::format!("<{}>[{s:5}.{us:06}] {}\n", r.level, r.text).into_bytes()
}

/// Records from `first` on as text: the newest that fit into `room` bytes, oldest first.
fn newest(first: u64, room: usize) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let mut total = 0;
    for line in log::read(first, usize::MAX).iter().rev().map(line_of) {
        total += line.len();
        if total > room {
            break;
        }
        lines.push(line);
    }
    lines.reverse();
    lines.concat()
}

/// Records from `first` on as text: the oldest that fit into `room` bytes; and the first one that is left.
fn oldest(first: u64, room: usize) -> (Vec<u8>, u64) {
    let mut text = Vec::new();
    let mut next = first;
    for r in log::read(first, usize::MAX) {
        let line = line_of(&r);
        if text.len() + line.len() > room {
            break;
        }
        text.extend_from_slice(&line);
        next = r.seq + 1;
    }
    (text, next)
}

fn syslog(call: &mut Call<'_>) -> Result<usize> {
    let action = call.uint(0);
    if !matches!(action, actions::READ_ALL | actions::SIZE_BUFFER)
        && !call.thread.cred().has(Capability::Syslog)
        && !call.thread.cred().has(Capability::SysAdmin)
    {
        return Err(Errno::EPERM);
    }
    let len = call.int(2);
    match action {
        actions::CLOSE | actions::OPEN => Ok(0),
        actions::READ | actions::READ_ALL | actions::READ_CLEAR => {
            let room = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
            if call.usize(1) == 0 {
                return Err(Errno::EINVAL);
            }
            let (text, next) = if action == actions::READ {
                oldest(READ_TO.load(Ordering::Relaxed), room)
            } else {
                let end = log::bounds().1;
                (newest(CLEARED_TO.load(Ordering::Relaxed), room), end)
            };
            let n = UserSlice::new(call.usize(1), room).write_prefix(&text)?;
            match action {
                actions::READ => READ_TO.store(next, Ordering::Relaxed),
                actions::READ_CLEAR => CLEARED_TO.store(next, Ordering::Relaxed),
                _ => {}
            }
            Ok(n)
        }
        actions::CLEAR => {
            CLEARED_TO.store(log::bounds().1, Ordering::Relaxed);
            Ok(0)
        }
        actions::CONSOLE_OFF => {
            log::set_console_level(CONSOLE_LEVEL_LEAST);
            Ok(0)
        }
        actions::CONSOLE_ON => {
            log::set_console_level(CONSOLE_LEVEL_USUAL);
            Ok(0)
        }
        actions::CONSOLE_LEVEL => match len {
            1..=8 => {
                log::set_console_level(len as u8);
                Ok(0)
            }
            _ => Err(Errno::EINVAL),
        },
        actions::SIZE_UNREAD => Ok(oldest(READ_TO.load(Ordering::Relaxed), usize::MAX).0.len()),
        actions::SIZE_BUFFER => Ok(LOG_BYTES),
        _ => Err(Errno::EINVAL),
    }
}

/// The most that a restart's argument may have.
const RESTART_ARGUMENT_BYTES: usize = 255;

fn reboot(call: &mut Call<'_>) -> Result<usize> {
    if !call.thread.cred().has(Capability::SysBoot) {
        return Err(Errno::EPERM);
    }
    let is_magic = matches!(
        call.uint(1),
        LINUX_REBOOT_MAGIC2 | LINUX_REBOOT_MAGIC2A | LINUX_REBOOT_MAGIC2B | LINUX_REBOOT_MAGIC2C
    );
    if call.uint(0) != LINUX_REBOOT_MAGIC1 || !is_magic {
        return Err(Errno::EINVAL);
    }
    match call.uint(2) {
        // There is no Ctrl-Alt-Del.
        LINUX_REBOOT_CMD_CAD_ON | LINUX_REBOOT_CMD_CAD_OFF => Ok(0),
        command @ (LINUX_REBOOT_CMD_RESTART | LINUX_REBOOT_CMD_RESTART2) => {
            if command == LINUX_REBOOT_CMD_RESTART2 {
                let argument = match read_cstr(call.usize(3), RESTART_ARGUMENT_BYTES) {
                    // Linux cuts it off; no firmware knows so long a one.
                    Err(Errno::ENAMETOOLONG) => Vec::new(),
                    other => other?,
                };
                // What the firmware does not know is passed over.
                if let Ok(argument) = core::str::from_utf8(&argument) {
                    let _ = firmware::set_restart_argument(argument);
                }
            }
            crate::fs::mount::shut_down_all();
            crate::block::flush_all();
            sis_machine::notice!("reboot: Restarting system");
            firmware::reboot();
            Err(Errno::EIO)
        }
        LINUX_REBOOT_CMD_POWER_OFF => {
            crate::fs::mount::shut_down_all();
            crate::block::flush_all();
            sis_machine::notice!("reboot: Power down");
            firmware::power_off();
            Err(Errno::EIO)
        }
        LINUX_REBOOT_CMD_HALT => {
            crate::fs::mount::shut_down_all();
            crate::block::flush_all();
            sis_machine::notice!("reboot: System halted");
            cpu::park_forever()
        }
        _ => Err(Errno::EINVAL),
    }
}

const MEMBARRIER_QUERY: u32 = 0;

/// Commands are answered by a barrier on every CPU that runs user code.
fn membarrier(call: &mut Call<'_>) -> Result<usize> {
    use sis_abi::mm::MembarrierCommands as C;
    let known = C::GLOBAL
        | C::GLOBAL_EXPEDITED
        | C::REGISTER_GLOBAL_EXPEDITED
        | C::PRIVATE_EXPEDITED
        | C::REGISTER_PRIVATE_EXPEDITED;
    if call.uint(1) != 0 {
        return Err(Errno::EINVAL);
    }
    let command = call.uint(0);
    if command == MEMBARRIER_QUERY {
        return Ok(known.bits() as usize);
    }
    let process = &call.thread.process;
    match C::from_bits(command) {
        Some(c) if c == C::REGISTER_PRIVATE_EXPEDITED => {
            process.has_membarrier.store(true, Ordering::Relaxed);
            Ok(0)
        }
        Some(c) if c == C::REGISTER_GLOBAL_EXPEDITED => Ok(0),
        Some(c) if c == C::PRIVATE_EXPEDITED && !process.has_membarrier.load(Ordering::Relaxed) => Err(Errno::EPERM),
        Some(c) if c == C::GLOBAL || c == C::GLOBAL_EXPEDITED || c == C::PRIVATE_EXPEDITED => {
            barrier_everywhere();
            Ok(0)
        }
        _ => Err(Errno::EINVAL),
    }
}

/// Returns after every other CPU has gone through the kernel, or is seen to be in it: an exception entry orders memory.
fn barrier_everywhere() {
    core::sync::atomic::fence(Ordering::SeqCst);
    let me = cpu::id().0;
    let marks: Vec<_> = sis_machine::percpu::online()
        .filter(|c| c.id != me)
        .map(|c| (c, c.interrupts.load(Ordering::SeqCst)))
        .collect();
    for (c, _) in &marks {
        sis_machine::irq::send_reschedule(c.id);
    }
    for (c, before) in marks {
        while c.interrupts.load(Ordering::SeqCst) == before {
            core::hint::spin_loop();
        }
    }
    core::sync::atomic::fence(Ordering::SeqCst);
}
