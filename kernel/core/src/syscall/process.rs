//! Processes and threads: making, running, ending and waiting for them.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use sis_abi::process::{
    CLONE_ARGS_BYTES, CSIGNAL, CloneArgs, CloneFlags, P_ALL, P_PGID, P_PID, RUSAGE_CHILDREN, RUSAGE_SELF,
    RUSAGE_THREAD, Rusage, WaitOptions, WaitStatus,
};
use sis_abi::time::Timeval;

use super::{Call, Row, built, partial};
use crate::fs::flags::AT_EMPTY_PATH;
use crate::fs::walk::Base;
use crate::process::clone::{self, Request};
use crate::process::exec::{self, Program, Strings};
use crate::process::limits::Resource;
use crate::process::wait::{self, Report, Which};
use crate::process::{Process, State, Usage, exit, table};
use crate::user::{UserPtr, UserSlice, read_cstr};
use crate::{Errno, Result};

/// This family's rows.
pub(super) const CALLS: &[Row] = &[
    built(93, "exit", exit_thread),
    built(94, "exit_group", exit_group),
    partial(95, "waitid", waitid, "P_PIDFD"),
    built(96, "set_tid_address", set_tid_address),
    partial(
        97,
        "unshare",
        unshare,
        "namespaces, CLONE_VM, CLONE_SIGHAND, CLONE_THREAD",
    ),
    built(154, "setpgid", setpgid),
    built(155, "getpgid", getpgid),
    built(156, "getsid", getsid),
    built(157, "setsid", setsid),
    built(165, "getrusage", getrusage),
    built(172, "getpid", getpid),
    built(173, "getppid", getppid),
    built(178, "gettid", gettid),
    partial(220, "clone", clone_, "CLONE_PIDFD, namespaces"),
    built(221, "execve", execve),
    built(260, "wait4", wait4),
    built(281, "execveat", execveat),
    partial(
        435,
        "clone3",
        clone3,
        "CLONE_PIDFD, set_tid, CLONE_INTO_CGROUP, namespaces",
    ),
];

const PATH_MAX: usize = 4095;
const AT_SYMLINK_NOFOLLOW: u32 = 0x100;

fn exit_thread(call: &mut Call<'_>) -> Result<usize> {
    exit::begin_one(call.thread, WaitStatus::Exited(call.arg(0) as u8).to_raw());
    Ok(0)
}

fn exit_group(call: &mut Call<'_>) -> Result<usize> {
    exit::begin_group(&call.thread.process, WaitStatus::Exited(call.arg(0) as u8).to_raw());
    Ok(0)
}

fn getpid(call: &mut Call<'_>) -> Result<usize> {
    Ok(call.thread.process.pid as usize)
}

fn getppid(call: &mut Call<'_>) -> Result<usize> {
    Ok(call.thread.process.ppid() as usize)
}

fn gettid(call: &mut Call<'_>) -> Result<usize> {
    Ok(call.thread.tid() as usize)
}

fn set_tid_address(call: &mut Call<'_>) -> Result<usize> {
    call.thread.clear_tid.store(call.usize(0), Ordering::Relaxed);
    Ok(call.thread.tid() as usize)
}

fn clone_(call: &mut Call<'_>) -> Result<usize> {
    let bits = call.arg(0);
    let flags = CloneFlags::from_bits(bits & !CSIGNAL & 0xffff_ffff).ok_or(Errno::EINVAL)?;
    let request = Request {
        flags,
        exit_signal: (bits & CSIGNAL) as u32,
        stack: call.arg(1),
        parent_tid: call.usize(2),
        tls: call.arg(3),
        child_tid: call.usize(4),
    };
    clone::clone(call.thread, call.user, &request).map(|tid| tid as usize)
}

fn clone3(call: &mut Call<'_>) -> Result<usize> {
    let size = call.usize(1);
    let (Some(&least), Some(&known)) = (CLONE_ARGS_BYTES.first(), CLONE_ARGS_BYTES.last()) else {
        return Err(Errno::EINVAL);
    };
    if size < least {
        return Err(Errno::EINVAL);
    }
    if size > 4096 {
        return Err(Errno::E2BIG);
    }
    let bytes = UserSlice::new(call.usize(0), size).read_to_vec(4096)?;
    if bytes.iter().skip(known).any(|b| *b != 0) {
        return Err(Errno::E2BIG);
    }
    let mut fixed = [0; 88];
    for (to, from) in fixed.iter_mut().zip(&bytes) {
        *to = *from;
    }
    let args = CloneArgs::from_bytes(&fixed);
    let flags = CloneFlags::from_bits(args.flags).ok_or(Errno::EINVAL)?;
    let is_stack_odd = (args.stack == 0) != (args.stack_size == 0);
    if args.exit_signal > 64 || is_stack_odd || args.set_tid_size != 0 || args.set_tid != 0 {
        return Err(Errno::EINVAL);
    }
    if flags.intersects(CloneFlags::THREAD | CloneFlags::PARENT) && args.exit_signal != 0
        || flags.contains(CloneFlags::DETACHED)
    {
        return Err(Errno::EINVAL);
    }
    let stack = match args.stack {
        0 => 0,
        base => base.checked_add(args.stack_size).ok_or(Errno::EINVAL)?,
    };
    let request = Request {
        flags,
        exit_signal: args.exit_signal as u32,
        stack,
        tls: args.tls,
        parent_tid: args.parent_tid as usize,
        child_tid: args.child_tid as usize,
    };
    clone::clone(call.thread, call.user, &request).map(|tid| tid as usize)
}

fn unshare(call: &mut Call<'_>) -> Result<usize> {
    let flags = CloneFlags::from_bits(call.arg(0) & 0xffff_ffff).ok_or(Errno::EINVAL)?;
    clone::unshare(call.thread, flags).map(|()| 0)
}

fn execve(call: &mut Call<'_>) -> Result<usize> {
    let name = read_cstr(call.usize(0), PATH_MAX)?;
    let base = Base::of(call.thread);
    let program = Program::Name {
        name: &name,
        follow: true,
    };
    run(call, &base, &program, call.usize(1), call.usize(2))
}

fn execveat(call: &mut Call<'_>) -> Result<usize> {
    let flags = call.uint(4);
    if flags & !(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) != 0 {
        return Err(Errno::EINVAL);
    }
    let (fd, argv, envp) = (call.int(0), call.usize(2), call.usize(3));
    let name = read_cstr(call.usize(1), PATH_MAX)?;
    if name.is_empty() && flags & AT_EMPTY_PATH != 0 {
        let base = Base::of(call.thread);
        let file = call.thread.files().get(fd)?.path.clone().ok_or(Errno::EACCES)?;
        let label = alloc::format!("/dev/fd/{fd}");
        let program = Program::Open {
            file,
            name: label.as_bytes(),
        };
        return run(call, &base, &program, argv, envp);
    }
    let base = Base::at(call.thread, fd, &name)?;
    let program = Program::Name {
        name: &name,
        follow: flags & AT_SYMLINK_NOFOLLOW == 0,
    };
    run(call, &base, &program, argv, envp)
}

fn run(call: &mut Call<'_>, base: &Base, program: &Program<'_>, argv: usize, envp: usize) -> Result<usize> {
    let args = Strings::from_user(argv)?;
    let env = Strings::from_user(envp)?;
    let process = &call.thread.process;
    let stack = process.limit(Resource::Stack).soft;
    let no_new_privs = call.thread.no_new_privs.load(Ordering::Relaxed);
    let prepared = exec::prepare(base, program, args, &env, process.personality(), no_new_privs, stack)?;
    exec::commit(call.thread, call.user, prepared)?;
    call.registers_replaced = true;
    Ok(0)
}

fn wait4(call: &mut Call<'_>) -> Result<usize> {
    let options = WaitOptions::from_bits(call.uint(2)).ok_or(Errno::EINVAL)?;
    if options.intersects(WaitOptions::WNOWAIT | WaitOptions::WEXITED) {
        return Err(Errno::EINVAL);
    }
    let process = &call.thread.process;
    let which = match call.int(0) {
        -1 => Which::Any,
        0 => Which::Group(process.pgid()),
        i32::MIN => return Err(Errno::ESRCH),
        pid if pid > 0 => Which::Process(pid as u32),
        pgid => Which::Group(pgid.unsigned_abs()),
    };
    let Some(report) = wait::wait(process, which, options | WaitOptions::WEXITED)? else {
        return Ok(0);
    };
    UserPtr::<i32>::new(call.usize(1)).write_opt(&report.status)?;
    UserPtr::<Rusage>::new(call.usize(3)).write_opt(&rusage(&report.usage))?;
    Ok(report.pid as usize)
}

fn waitid(call: &mut Call<'_>) -> Result<usize> {
    let options = WaitOptions::from_bits(call.uint(3)).ok_or(Errno::EINVAL)?;
    let events = WaitOptions::WEXITED | WaitOptions::WUNTRACED | WaitOptions::WCONTINUED;
    if !options.intersects(events) {
        return Err(Errno::EINVAL);
    }
    let process = &call.thread.process;
    let id = call.int(1);
    let which = match call.uint(0) {
        P_ALL => Which::Any,
        P_PID if id > 0 => Which::Process(id as u32),
        P_PGID if id == 0 => Which::Group(process.pgid()),
        P_PGID if id > 0 => Which::Group(id as u32),
        _ => return Err(Errno::EINVAL),
    };
    let report = wait::wait(process, which, options)?;
    let info = UserSlice::new(call.usize(2), 128);
    if info.address != 0 {
        info.write_prefix(&siginfo(report.as_ref()))?;
    }
    if let Some(report) = &report {
        UserPtr::<Rusage>::new(call.usize(4)).write_opt(&rusage(&report.usage))?;
    }
    Ok(0)
}

/// `siginfo_t` as waitid(2) fills it; zeros when nothing has happened.
fn siginfo(report: Option<&Report>) -> [u8; 128] {
    use sis_abi::signal::{Detail, SIGCHLD, SigInfo};
    let Some(r) = report else { return [0; 128] };
    let detail = Detail::Child {
        pid: r.pid,
        uid: r.uid,
        status: r.value,
        utime: 0,
        stime: 0,
    };
    SigInfo {
        signal: SIGCHLD,
        errno: 0,
        code: r.code,
        detail,
    }
    .to_bytes()
}

fn rusage(usage: &Usage) -> Rusage {
    Rusage {
        ru_utime: Timeval::from_ns(usage.user_ns),
        ru_stime: Timeval::from_ns(usage.system_ns),
        ru_maxrss: usage.max_resident_kib as i64,
        ru_minflt: usage.minor_faults as i64,
        ru_majflt: usage.major_faults as i64,
        ru_inblock: 0,
        ru_oublock: 0,
        ru_nvcsw: usage.voluntary_switches as i64,
        ru_nivcsw: usage.involuntary_switches as i64,
    }
}

fn getrusage(call: &mut Call<'_>) -> Result<usize> {
    let process = &call.thread.process;
    let mut usage = match call.int(0) {
        RUSAGE_SELF => process.usage(),
        RUSAGE_CHILDREN => process.children_usage(),
        RUSAGE_THREAD => call.thread.usage(),
        _ => return Err(Errno::EINVAL),
    };
    if call.int(0) != RUSAGE_CHILDREN {
        usage.max_resident_kib = usage.max_resident_kib.max(call.thread.vm().resident_pages() as u64 * 4);
    }
    UserPtr::<Rusage>::new(call.usize(1)).write(&rusage(&usage))?;
    Ok(0)
}

/// The process of a number, or the caller's for 0.
fn process_or_self(call: &Call<'_>, pid: i32) -> Result<Arc<Process>> {
    match pid {
        0 => Ok(call.thread.process.clone()),
        pid if pid > 0 => table::get(pid as u32).ok_or(Errno::ESRCH),
        _ => Err(Errno::ESRCH),
    }
}

fn getpgid(call: &mut Call<'_>) -> Result<usize> {
    Ok(process_or_self(call, call.int(0))?.pgid() as usize)
}

fn getsid(call: &mut Call<'_>) -> Result<usize> {
    Ok(process_or_self(call, call.int(0))?.sid() as usize)
}

fn setpgid(call: &mut Call<'_>) -> Result<usize> {
    let caller = call.thread.process.clone();
    let (pid, pgid) = (call.int(0), call.int(1));
    if pgid < 0 {
        return Err(Errno::EINVAL);
    }
    let mut table = table::lock();
    let target = match pid {
        0 => caller.clone(),
        pid if pid > 0 => table.process(pid as u32).cloned().ok_or(Errno::ESRCH)?,
        _ => return Err(Errno::ESRCH),
    };
    let pgid = if pgid == 0 { target.pid } else { pgid as u32 };
    let is_child = target.ppid() == caller.pid;
    if !Arc::ptr_eq(&target, &caller) && !is_child || target.state() != State::Alive {
        return Err(Errno::ESRCH);
    }
    if is_child {
        if target.sid() != caller.sid() {
            return Err(Errno::EPERM);
        }
        if target.has_execed.load(Ordering::Relaxed) {
            return Err(Errno::EACCES);
        }
    }
    if target.sid() == target.pid {
        return Err(Errno::EPERM);
    }
    if pgid != target.pid && !table.members(pgid).iter().any(|p| p.sid() == caller.sid()) {
        return Err(Errno::EPERM);
    }
    table.set_group(&target, pgid);
    Ok(0)
}

fn setsid(call: &mut Call<'_>) -> Result<usize> {
    let process = &call.thread.process;
    let mut table = table::lock();
    if !table.members(process.pid).is_empty() {
        return Err(Errno::EPERM);
    }
    table.set_session(process);
    Ok(process.pid as usize)
}
