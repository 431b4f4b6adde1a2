//! What a process is doing: stat, status, statm, limits and their like (proc_pid_stat(5), proc_pid_status(5)).

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Write;
use core::sync::atomic::Ordering;

use super::process::Subject;
use super::system::{TICK_NS, text};
use crate::process::limits::{INFINITY, Resource};
use crate::process::thread::Thread;
use crate::process::{Process, State};
use crate::{Errno, Result, sched};

const PAGE: usize = 4096;
const PAGE_KIB: usize = PAGE / 1024;

/// The letter and the word of a state.
fn state(process: &Process, thread: Option<&Thread>) -> (char, &'static str) {
    if process.state() != State::Alive {
        return ('Z', "zombie");
    }
    if process.is_stopped() {
        return ('T', "stopped");
    }
    match thread.and_then(|t| t.task()) {
        Some(task) if !task.is_parked() => ('R', "running"),
        Some(_) => ('S', "sleeping"),
        // Its last thread is on its way out.
        None => ('Z', "zombie"),
    }
}

/// The process and, unless it is a zombie, the thread that stands for it.
fn both(subject: &Subject) -> Result<(Arc<Process>, Option<Arc<Thread>>)> {
    let process = subject.process()?;
    let thread = subject.thread().ok();
    if thread.is_none() && subject.tid.is_some() {
        return Err(Errno::ESRCH);
    }
    Ok((process, thread))
}

fn name(process: &Process, thread: Option<&Thread>) -> String {
    match thread {
        Some(t) => t.name(),
        // A zombie's thread is gone; the program's file still tells.
        None => process.exe().map_or_else(String::new, |p| {
            let name = p.dentry.name();
            String::from_utf8_lossy(name.get(..name.len().min(15)).unwrap_or_default()).into_owned()
        }),
    }
}

pub(super) fn stat(subject: &Subject) -> Result<Vec<u8>> {
    let (process, thread) = both(subject)?;
    let thread = thread.as_deref();
    let whole = subject.tid.is_none();
    let usage = match thread {
        Some(t) if !whole => t.usage(),
        _ => process.usage(),
    };
    let children = process.children_usage();
    let vm = process.vm();
    let (size, _) = vm.as_ref().map_or((0, 0), |v| v.size_pages());
    let resident = vm.as_ref().map_or(0, |v| v.resident_pages());
    let arguments = process.arguments();
    let (letter, _) = state(&process, thread);
    let (tty, foreground) = super::terminal_of(&process);
    let (pending, blocked) = thread.map_or((0, 0), |t| (process.pending_signals(t).0, t.blocked().0));
    let (ignored, caught) = process.action_sets();
    let heap = vm.as_ref().map_or((0, 0), |v| v.heap());
    let nice = process.nice();
    let last_cpu = thread.and_then(|t| t.task()).map_or(0, |t| t.last_cpu());
    let id = thread.filter(|_| !whole).map_or(process.pid, Thread::tid);
    let start_ns = thread.filter(|_| !whole).map_or(process.start_ns, |t| t.start_ns);
    let out = text(|out| {
        write!(out, "{id} ({}) {letter} ", name(&process, thread))?;
        write!(
            out,
            "{} {} {} {tty} {foreground} 0 ",
            process.ppid(),
            process.pgid(),
            process.sid()
        )?;
        write!(out, "{} {} ", usage.minor_faults, children.minor_faults)?;
        write!(out, "{} {} ", usage.major_faults, children.major_faults)?;
        write!(out, "{} {} ", usage.user_ns / TICK_NS, usage.system_ns / TICK_NS)?;
        write!(out, "{} {} ", children.user_ns / TICK_NS, children.system_ns / TICK_NS)?;
        write!(
            out,
            "{} {nice} {} 0 {} ",
            20 + nice,
            process.threads().len(),
            start_ns / TICK_NS
        )?;
        write!(
            out,
            "{} {resident} {} ",
            size * PAGE,
            process.limit(Resource::Resident).soft
        )?;
        // startcode endcode startstack kstkesp kstkeip
        write!(out, "0 0 {} 0 0 ", arguments.stack)?;
        // Only the 31 old signals, as on Linux.
        let old = |set: u64| set & 0x7fff_ffff;
        write!(
            out,
            "{} {} {} {} ",
            old(pending),
            old(blocked),
            old(ignored.0),
            old(caught.0)
        )?;
        // wchan nswap cnswap exit_signal processor rt_priority policy delays guest cguest
        write!(
            out,
            "0 0 0 {} {last_cpu} 0 0 0 0 0 ",
            process.exit_signal.load(Ordering::Relaxed)
        )?;
        // start_data end_data start_brk arg_start arg_end env_start env_end exit_code
        write!(out, "0 0 {} {} {} ", heap.0, arguments.args.0, arguments.args.1)?;
        writeln!(out, "{} {} 0", arguments.env.0, arguments.env.1)
    });
    Ok(out.into_bytes())
}

pub(super) fn statm(subject: &Subject) -> Result<Vec<u8>> {
    let vm = subject.process()?.vm();
    let (size, data) = vm.as_ref().map_or((0, 0), |v| v.size_pages());
    let resident = vm.as_ref().map_or(0, |v| v.resident_pages());
    Ok(alloc::format!("{size} {resident} 0 0 0 {data} 0\n").into_bytes())
}

pub(super) fn status(subject: &Subject) -> Result<Vec<u8>> {
    let (process, thread) = both(subject)?;
    let thread = thread.as_deref();
    let (letter, word) = state(&process, thread);
    let vm = process.vm();
    let files = thread.map_or(0, |t| t.files().capacity());
    let out = text(|out| {
        writeln!(out, "Name:\t{}", name(&process, thread))?;
        if let Some(t) = thread {
            writeln!(out, "Umask:\t{:04o}", t.fs().umask())?;
        }
        writeln!(out, "State:\t{letter} ({word})")?;
        writeln!(out, "Tgid:\t{}\nNgid:\t0", process.pid)?;
        writeln!(out, "Pid:\t{}", thread.map_or(process.pid, Thread::tid))?;
        writeln!(out, "PPid:\t{}\nTracerPid:\t0", process.ppid())?;
        if let Some(t) = thread {
            let c = t.cred();
            writeln!(out, "Uid:\t{}\t{}\t{}\t{}", c.uid, c.euid, c.suid, c.fsuid)?;
            writeln!(out, "Gid:\t{}\t{}\t{}\t{}", c.gid, c.egid, c.sgid, c.fsgid)?;
            writeln!(out, "FDSize:\t{files}")?;
            write!(out, "Groups:\t")?;
            for g in c.groups.iter() {
                write!(out, "{g} ")?;
            }
            writeln!(out)?;
        } else {
            writeln!(out, "Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nFDSize:\t0\nGroups:\t")?;
        }
        writeln!(out, "NStgid:\t{0}\nNSpid:\t{0}", process.pid)?;
        writeln!(out, "NSpgid:\t{}\nNSsid:\t{}", process.pgid(), process.sid())?;
        if let Some(v) = &vm {
            memory(out, v)?;
        }
        writeln!(out, "CoreDumping:\t0\nTHP_enabled:\t0")?;
        writeln!(out, "Threads:\t{}", process.threads().len())?;
        signals(out, &process, thread)?;
        if let Some(t) = thread {
            let c = t.cred();
            writeln!(
                out,
                "CapInh:\t{:016x}\nCapPrm:\t{:016x}",
                c.cap_inheritable, c.cap_permitted
            )?;
            writeln!(
                out,
                "CapEff:\t{:016x}\nCapBnd:\t{:016x}",
                c.cap_effective,
                crate::process::cred::CAP_ALL
            )?;
            writeln!(out, "CapAmb:\t{:016x}", 0)?;
            writeln!(out, "NoNewPrivs:\t{}", u8::from(t.no_new_privs.load(Ordering::Relaxed)))?;
            writeln!(out, "Seccomp:\t0\nSeccomp_filters:\t0")?;
            if let Some(task) = t.task() {
                let mask = sched::ext(&task).affinity() & online_mask();
                writeln!(out, "Cpus_allowed:\t{mask:x}\nCpus_allowed_list:\t{}", list(mask))?;
            }
            let u = t.usage();
            writeln!(out, "voluntary_ctxt_switches:\t{}", u.voluntary_switches)?;
            writeln!(out, "nonvoluntary_ctxt_switches:\t{}", u.involuntary_switches)?;
        }
        Ok(())
    });
    Ok(out.into_bytes())
}

fn memory(out: &mut String, vm: &crate::vm::Vm) -> core::fmt::Result {
    let (size, data) = vm.size_pages();
    let resident = vm.resident_pages();
    let line = |out: &mut String, name: &str, pages: usize| {
        let label = alloc::format!("{name}:");
        writeln!(out, "{label}\t{:>8} kB", pages * PAGE_KIB)
    };
    for (name, pages) in [
        ("VmPeak", size),
        ("VmSize", size),
        ("VmLck", 0),
        ("VmPin", 0),
        ("VmHWM", resident),
    ] {
        line(out, name, pages)?;
    }
    for (name, pages) in [
        ("VmRSS", resident),
        ("RssAnon", resident),
        ("RssFile", 0),
        ("RssShmem", 0),
    ] {
        line(out, name, pages)?;
    }
    for (name, pages) in [
        ("VmData", data),
        ("VmStk", 0),
        ("VmExe", 0),
        ("VmLib", 0),
        ("VmPTE", vm.table_pages()),
    ] {
        line(out, name, pages)?;
    }
    line(out, "VmSwap", 0)
}

fn signals(out: &mut String, process: &Process, thread: Option<&Thread>) -> core::fmt::Result {
    let (ignored, caught) = process.action_sets();
    let (pending, blocked) = thread.map_or((0, 0), |t| (process.pending_signals(t).0, t.blocked().0));
    writeln!(out, "SigQ:\t0/{}", process.limit(Resource::PendingSignals).soft)?;
    writeln!(out, "SigPnd:\t{:016x}\nShdPnd:\t{pending:016x}", 0)?;
    writeln!(
        out,
        "SigBlk:\t{blocked:016x}\nSigIgn:\t{:016x}\nSigCgt:\t{:016x}",
        ignored.0, caught.0
    )
}

fn online_mask() -> u64 {
    sis_machine::percpu::online().fold(0, |m, c| m | 1 << c.id)
}

/// CPUs of a mask as `0-2,4`.
fn list(mask: u64) -> String {
    let mut out = String::new();
    let mut cpu = 0;
    while cpu < 64 {
        if mask & (1 << cpu) == 0 {
            cpu += 1;
            continue;
        }
        let first = cpu;
        while cpu < 64 && mask & (1 << cpu) != 0 {
            cpu += 1;
        }
        if !out.is_empty() {
            out.push(',');
        }
        let _ = if cpu - 1 == first {
            write!(out, "{first}")
        } else {
            write!(out, "{first}-{}", cpu - 1)
        };
    }
    out
}

pub(super) fn comm(subject: &Subject) -> Result<Vec<u8>> {
    let (process, thread) = both(subject)?;
    Ok(alloc::format!("{}\n", name(&process, thread.as_deref())).into_bytes())
}

pub(super) fn set_comm(subject: &Subject, bytes: &[u8]) -> Result<()> {
    let thread = subject.open_thread()?;
    thread.set_name(bytes.strip_suffix(b"\n").unwrap_or(bytes));
    Ok(())
}

/// Names and units of limits, in the order of their numbers, as Linux lists them.
const LIMITS: &[(&str, Resource, &str)] = &[
    ("Max cpu time", Resource::Cpu, "seconds"),
    ("Max file size", Resource::FileSize, "bytes"),
    ("Max data size", Resource::Data, "bytes"),
    ("Max stack size", Resource::Stack, "bytes"),
    ("Max core file size", Resource::Core, "bytes"),
    ("Max resident set", Resource::Resident, "bytes"),
    ("Max processes", Resource::Processes, "processes"),
    ("Max open files", Resource::Files, "files"),
    ("Max locked memory", Resource::LockedMemory, "bytes"),
    ("Max address space", Resource::AddressSpace, "bytes"),
    ("Max file locks", Resource::Locks, "locks"),
    ("Max pending signals", Resource::PendingSignals, "signals"),
    ("Max msgqueue size", Resource::MessageQueue, "bytes"),
    ("Max nice priority", Resource::Nice, ""),
    ("Max realtime priority", Resource::RealtimePriority, ""),
    ("Max realtime timeout", Resource::RealtimeTime, "us"),
];

pub(super) fn limits(subject: &Subject) -> Result<Vec<u8>> {
    let process = subject.process()?;
    let show = |n: u64| {
        if n == INFINITY {
            String::from("unlimited")
        } else {
            alloc::format!("{n}")
        }
    };
    let out = text(|out| {
        writeln!(
            out,
            "{:<25} {:<20} {:<20} {:<10}",
            "Limit", "Soft Limit", "Hard Limit", "Units"
        )?;
        for (name, resource, unit) in LIMITS {
            let l = process.limit(*resource);
            writeln!(out, "{name:<25} {:<20} {:<20} {unit:<10}", show(l.soft), show(l.hard))?;
        }
        Ok(())
    });
    Ok(out.into_bytes())
}

pub(super) fn io(subject: &Subject) -> Result<Vec<u8>> {
    let process = subject.open_thread()?.process.clone();
    let (read, written) = (
        process.read_bytes.load(Ordering::Relaxed),
        process.written_bytes.load(Ordering::Relaxed),
    );
    let rest = "syscr: 0\nsyscw: 0\nread_bytes: 0\nwrite_bytes: 0\ncancelled_write_bytes: 0";
    Ok(alloc::format!("rchar: {read}\nwchar: {written}\n{rest}\n").into_bytes())
}

pub(super) fn oom_score(subject: &Subject) -> Result<Vec<u8>> {
    let process = subject.process()?;
    let total = sis_machine::mm::frames::total_frames().max(1);
    let resident = process.vm().map_or(0, |v| v.resident_pages());
    let share = (resident * 1000 / total) as i32 + process.oom_adjust.load(Ordering::Relaxed);
    Ok(alloc::format!("{}\n", share.max(0)).into_bytes())
}

pub(super) fn oom_score_adj(subject: &Subject) -> Result<Vec<u8>> {
    Ok(alloc::format!("{}\n", subject.process()?.oom_adjust.load(Ordering::Relaxed)).into_bytes())
}

pub(super) fn set_oom_score_adj(subject: &Subject, bytes: &[u8]) -> Result<()> {
    let text = core::str::from_utf8(bytes).map_err(|_| Errno::EINVAL)?;
    let value: i32 = text.trim().parse().map_err(|_| Errno::EINVAL)?;
    if !(-1000..=1000).contains(&value) {
        return Err(Errno::EINVAL);
    }
    let process = subject.open_thread()?.process.clone();
    let lowers = value < process.oom_adjust.load(Ordering::Relaxed);
    let me = crate::process::thread::current().cred();
    if lowers && !me.has(crate::process::cred::Capability::SysResource) {
        return Err(Errno::EACCES);
    }
    process.oom_adjust.store(value, Ordering::Relaxed);
    Ok(())
}

pub(super) fn schedstat(subject: &Subject) -> Result<Vec<u8>> {
    let thread = subject.thread()?;
    let (_, total) = thread.cpu_ns();
    let switches = thread.usage().voluntary_switches;
    Ok(alloc::format!("{total} 0 {switches}\n").into_bytes())
}

pub(super) fn personality(subject: &Subject) -> Result<Vec<u8>> {
    Ok(alloc::format!("{:08x}\n", subject.open_thread()?.process.personality()).into_bytes())
}
