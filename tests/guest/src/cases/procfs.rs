//! /proc: the files that ps, top, free, mount and uptime read, in the form they expect.

use super::Case;
use crate::sys::{Ended, Outcome, What, child, open, sleep_ms, wait};

pub(super) static CASES: &[Case] = &[
    ("procfs/self", own),
    ("procfs/stat", stat),
    ("procfs/status", status),
    ("procfs/cmdline-and-exe", cmdline_and_exe),
    ("procfs/descriptors", descriptors),
    ("procfs/maps", maps),
    ("procfs/meminfo", meminfo),
    ("procfs/system-stat", system_stat),
    ("procfs/uptime-and-load", uptime_and_load),
    ("procfs/cpuinfo", cpuinfo),
    ("procfs/mounts-and-filesystems", mounts_and_filesystems),
    ("procfs/version-and-cmdline", version_and_cmdline),
    ("procfs/processes-come-and-go", processes_come_and_go),
    ("procfs/states", states),
    ("procfs/environ-and-cwd", environ_and_cwd),
    ("procfs/net", net),
    ("procfs/hostname", hostname),
    ("procfs/read-only", read_only),
];

fn text(path: &str) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))
}

fn link(path: &str) -> Result<String, String> {
    let to = std::fs::read_link(path).map_err(|e| format!("{path}: {e}"))?;
    Ok(to.to_string_lossy().into_owned())
}

fn own() -> Outcome {
    let pid = std::process::id().to_string();
    same!(link("/proc/self")?, pid, "/proc/self");
    same!(
        link("/proc/thread-self")?,
        format!("{pid}/task/{pid}"),
        "/proc/thread-self"
    );
    check!(
        std::fs::metadata(format!("/proc/{pid}/task/{pid}/stat")).is_ok(),
        "the thread's folder"
    );
    Ok(())
}

/// The fields of /proc/PID/stat after the name, which may hold blanks: number 3 on.
fn stat_fields(pid: u32) -> Result<Vec<String>, String> {
    let line = text(&format!("/proc/{pid}/stat"))?;
    let (_, rest) = line.rsplit_once(") ").ok_or("no name in brackets")?;
    Ok(rest.split_whitespace().map(str::to_owned).collect())
}

fn stat() -> Outcome {
    let pid = std::process::id();
    let line = text("/proc/self/stat")?;
    check!(
        line.starts_with(&format!("{pid} (sis-guest) R ")),
        "/proc/self/stat: {line}"
    );
    let fields = stat_fields(pid)?;
    same!(fields.len(), 50, "fields after the name");
    let parent = sys!(SYS_getppid).what("getppid")?;
    let group = sys!(SYS_getpgid, 0).what("getpgid")?;
    let session = sys!(SYS_getsid, 0).what("getsid")?;
    same!(
        fields[1..4],
        [parent, group, session].map(|n| n.to_string()),
        "parent, group, session"
    );
    let number = |at: usize| fields[at].parse::<u64>().map_err(|e| format!("field {}: {e}", at + 3));
    // Field 20 is the number of threads, 23 the size in bytes, 24 the resident pages.
    same!(number(17)?, 1, "threads");
    check!(
        number(20)? > 100_000 && number(21)? > 10,
        "{} bytes, {} pages resident",
        number(20)?,
        number(21)?
    );
    let statm = text("/proc/self/statm")?;
    same!(statm.split_whitespace().count(), 7, "fields of statm");
    Ok(())
}

fn status() -> Outcome {
    let status = text("/proc/self/status")?;
    let of = |name: &str| {
        status
            .lines()
            .find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))
            .map(|v| v.trim().to_owned())
            .ok_or(format!("no {name}"))
    };
    same!(
        (of("Name")?, of("Pid")?, of("Threads")?),
        ("sis-guest".to_owned(), std::process::id().to_string(), "1".to_owned()),
        "name, pid, threads"
    );
    same!(of("Uid")?.split_whitespace().collect::<Vec<_>>(), ["0"; 4], "Uid");
    check!(
        of("VmRSS")?.ends_with(" kB") && of("State")?.starts_with("R"),
        "VmRSS {}, State {}",
        of("VmRSS")?,
        of("State")?
    );
    for mask in ["SigBlk", "SigIgn", "SigCgt"] {
        same!(of(mask)?.len(), 16, mask);
    }
    Ok(())
}

fn cmdline_and_exe() -> Outcome {
    let line = std::fs::read("/proc/self/cmdline").map_err(|e| e.to_string())?;
    check!(
        line.ends_with(b"\0") && line.windows(9).any(|w| w == b"sis-guest"),
        "cmdline {:?}",
        String::from_utf8_lossy(&line)
    );
    check!(
        link("/proc/self/exe")?.ends_with("/sis-guest"),
        "exe is {}",
        link("/proc/self/exe")?
    );
    same!(text("/proc/self/comm")?, "sis-guest\n", "comm");
    Ok(())
}

fn descriptors() -> Outcome {
    let scratch = crate::sys::Scratch::new()?;
    let path = scratch.path("named");
    let file = open(&path, libc::O_CREAT | libc::O_RDWR, 0o600).what("open")?;
    let entry = format!("/proc/self/fd/{}", file.0);
    same!(link(&entry)?, path, "the link of a file");
    let (reader, writer) = crate::sys::pipe(0)?;
    let of_pipe = link(&format!("/proc/self/fd/{}", reader.0))?;
    check!(
        of_pipe.starts_with("pipe:[") && of_pipe.ends_with(']'),
        "the link of a pipe is {of_pipe}"
    );
    // Opening through the link: the file anew, the pipe itself.
    crate::sys::write(&file, b"text").what("write")?;
    same!(text(&entry)?, "text", "opened through the link, from its start");
    let again = open(&format!("/proc/self/fd/{}", reader.0), libc::O_RDONLY, 0).what("open a pipe through its link")?;
    crate::sys::write(&writer, b"x").what("write")?;
    same!(
        crate::sys::read(&again, 5).what("read")?,
        b"x".to_vec(),
        "the same pipe"
    );
    let listed = std::fs::read_dir("/proc/self/fd").map_err(|e| e.to_string())?.count();
    check!(listed >= 7, "{listed} descriptors are listed");
    std::fs::remove_file(&path).map_err(|e| e.to_string())?;
    same!(link(&entry)?, format!("{path} (deleted)"), "the link of a removed file");
    Ok(())
}

fn maps() -> Outcome {
    let at = crate::sys::map(3, libc::PROT_READ).what("mmap")?;
    let maps = text("/proc/self/maps")?;
    let mut last = 0;
    for line in maps.lines() {
        let mut fields = line.split_whitespace();
        let range = fields
            .next()
            .and_then(|r| r.split_once('-'))
            .ok_or(format!("line {line}"))?;
        let hex = |text: &str| u64::from_str_radix(text, 16).map_err(|e| format!("{line}: {e}"));
        let (from, to) = (hex(range.0)?, hex(range.1)?);
        check!(from >= last && from < to, "out of order: {line}");
        last = to;
        let modes = fields.next().unwrap_or("");
        check!(modes.len() == 4 && modes.ends_with(['p', 's']), "modes in {line}");
        check!(
            !(modes.contains('w') && modes.contains('x')),
            "writable and executable: {line}"
        );
        same!(
            fields.clone().count() >= 3,
            true,
            format!("offset, device, inode in {line}")
        );
    }
    for name in ["[stack]", "[heap]", "[vdso]", "/sis-guest"] {
        check!(maps.contains(name), "no {name}");
    }
    let is_inside = |line: &str| {
        let (from, to) = line.split(' ').next()?.split_once('-')?;
        let range = usize::from_str_radix(from, 16).ok()?..usize::from_str_radix(to, 16).ok()?;
        range.contains(&at).then(|| line.contains(" r--p "))
    };
    same!(maps.lines().find_map(is_inside), Some(true), "the mapping just made");
    Ok(())
}

fn meminfo() -> Outcome {
    let info = text("/proc/meminfo")?;
    let of = |name: &str| {
        let line = info
            .lines()
            .find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))
            .ok_or(format!("no {name}"))?;
        let (number, unit) = line.trim().split_once(' ').ok_or(format!("{name} has no unit"))?;
        same!(unit, "kB", "unit");
        number.parse::<u64>().map_err(|e| e.to_string())
    };
    let (total, free, available) = (of("MemTotal")?, of("MemFree")?, of("MemAvailable")?);
    check!(
        total > 50_000 && free < total && available <= total,
        "{total} {free} {available}"
    );
    for name in ["Buffers", "Cached", "Shmem", "SwapTotal", "SwapFree", "Slab"] {
        of(name)?;
    }
    let before = of("MemFree")?;
    let at = crate::sys::map(4096, libc::PROT_READ | libc::PROT_WRITE).what("mmap")?;
    (0..4096).for_each(|n| crate::sys::poke(at + n * 4096, 1));
    let line = text("/proc/meminfo")?;
    let after = line
        .lines()
        .find_map(|l| {
            l.strip_prefix("MemFree:")?
                .split_whitespace()
                .next()?
                .parse::<u64>()
                .ok()
        })
        .unwrap_or(0);
    check!(
        after + 8000 < before,
        "16 MiB were taken and MemFree went from {before} to {after}"
    );
    Ok(())
}

fn system_stat() -> Outcome {
    let first = text("/proc/stat")?;
    let total = first.lines().next().ok_or("empty")?;
    check!(
        total.starts_with("cpu  ") && total.split_whitespace().count() >= 8,
        "first line: {total}"
    );
    check!(first.contains("\ncpu0 "), "no line for CPU 0");
    for name in [
        "intr ",
        "ctxt ",
        "btime ",
        "processes ",
        "procs_running ",
        "procs_blocked ",
    ] {
        check!(first.lines().any(|l| l.starts_with(name)), "no {name}");
    }
    let number = |text: &str, name: &str| {
        text.lines()
            .find_map(|l| l.strip_prefix(name))
            .and_then(|v| v.split(' ').next()?.parse::<u64>().ok())
            .unwrap_or(0)
    };
    wait(child(|| 0)?, 0).what("wait4")?;
    let second = text("/proc/stat")?;
    check!(
        number(&second, "ctxt ") > number(&first, "ctxt "),
        "no context switch was counted"
    );
    check!(
        number(&second, "processes ") > number(&first, "processes "),
        "no fork was counted"
    );
    Ok(())
}

fn uptime_and_load() -> Outcome {
    let uptime = text("/proc/uptime")?;
    let numbers: Vec<f64> = uptime.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    same!(numbers.len(), 2, "numbers in /proc/uptime");
    let by_clock = crate::sys::now_ns(libc::CLOCK_BOOTTIME) as f64 / 1e9;
    check!(
        (numbers[0] - by_clock).abs() < 1.0,
        "{} and by the clock {by_clock}",
        numbers[0]
    );
    let load = text("/proc/loadavg")?;
    let fields: Vec<&str> = load.split_whitespace().collect();
    check!(
        fields.len() == 5 && fields[3].contains('/') && fields[..3].iter().all(|f| f.parse::<f64>().is_ok()),
        "{load}"
    );
    Ok(())
}

fn cpuinfo() -> Outcome {
    let info = text("/proc/cpuinfo")?;
    let cpus = info.lines().filter(|l| l.starts_with("processor\t")).count();
    let mut mask = [0_u64; 16];
    sys!(SYS_sched_getaffinity, 1, 128, mask.as_mut_ptr()).what("sched_getaffinity")?;
    same!(cpus as u32, mask.iter().map(|w| w.count_ones()).sum::<u32>(), "CPUs");
    check!(
        !cfg!(target_arch = "aarch64") || info.contains("Features\t: ") && info.contains(" asimd"),
        "no features"
    );
    Ok(())
}

fn mounts_and_filesystems() -> Outcome {
    let mounts = text("/proc/mounts")?;
    check!(
        mounts.lines().all(|l| l.split(' ').count() == 6),
        "/proc/mounts: {mounts}"
    );
    check!(mounts.lines().any(|l| l.split(' ').nth(1) == Some("/")), "no root");
    same!(text("/proc/self/mounts")?, mounts, "/proc/self/mounts");
    let kinds = text("/proc/filesystems")?;
    for kind in ["tmpfs", "proc"] {
        check!(
            kinds.lines().any(|l| l == format!("nodev\t{kind}")),
            "/proc/filesystems has no {kind}"
        );
    }
    Ok(())
}

fn version_and_cmdline() -> Outcome {
    check!(
        text("/proc/version")?.starts_with("Linux version "),
        "/proc/version: {}",
        text("/proc/version")?
    );
    check!(text("/proc/cmdline")?.ends_with('\n'), "/proc/cmdline has no line end");
    Ok(())
}

fn processes_come_and_go() -> Outcome {
    let is_listed = |pid: i32| {
        std::fs::read_dir("/proc")
            .is_ok_and(|all| all.flatten().any(|e| e.file_name().to_str() == Some(&pid.to_string())))
    };
    let pid = child(|| {
        sleep_ms(10_000);
        0
    })?;
    check!(is_listed(pid), "a child is not listed");
    let path = format!("/proc/{pid}/stat");
    let held = open(&path, libc::O_RDONLY, 0).what("open")?;
    sys!(SYS_kill, pid, libc::SIGKILL).what("kill")?;
    wait(pid, 0).what("wait4")?;
    check!(
        !is_listed(pid) && std::fs::metadata(&path).is_err(),
        "a child that was collected is listed"
    );
    crate::sys::refused(
        "read of a file of a process that is gone",
        crate::sys::read(&held, 10),
        libc::ESRCH,
    )
}

fn states() -> Outcome {
    let pid = child(|| {
        sleep_ms(10_000);
        0
    })?;
    let state = || stat_fields(pid as u32).map(|f| f[0].clone());
    sleep_ms(30);
    same!(state()?, "S", "a child that sleeps");
    sys!(SYS_kill, pid, libc::SIGSTOP).what("kill")?;
    wait(pid, libc::WUNTRACED).what("wait4")?;
    same!(state()?, "T", "a child that is stopped");
    sys!(SYS_kill, pid, libc::SIGKILL).what("kill")?;
    sleep_ms(50);
    same!(state()?, "Z", "a child that is dead and not collected");
    let cmdline = std::fs::read(format!("/proc/{pid}/cmdline")).map_err(|e| e.to_string())?;
    same!(cmdline, b"", "the command line of a zombie");
    same!(wait(pid, 0).what("wait4")?, Ended::Signal(libc::SIGKILL), "its end");
    Ok(())
}

fn environ_and_cwd() -> Outcome {
    std::env::set_current_dir("/tmp").map_err(|e| e.to_string())?;
    same!(
        (link("/proc/self/cwd")?, link("/proc/self/root")?),
        ("/tmp".to_owned(), "/".to_owned()),
        "cwd and root"
    );
    let environ = std::fs::read("/proc/self/environ").map_err(|e| e.to_string())?;
    check!(environ.is_empty() || environ.ends_with(b"\0"), "environ");
    Ok(())
}

fn net() -> Outcome {
    let devices = text("/proc/net/dev")?;
    let lo = devices
        .lines()
        .find_map(|l| l.trim_start().strip_prefix("lo:"))
        .ok_or("no lo in /proc/net/dev")?;
    same!(lo.split_whitespace().count(), 16, "counters of lo");
    check!(
        text("/proc/net/route")?.starts_with("Iface\tDestination"),
        "/proc/net/route"
    );
    for table in ["tcp", "udp", "unix"] {
        text(&format!("/proc/net/{table}"))?;
    }
    Ok(())
}

fn hostname() -> Outcome {
    // SAFETY: plain data for which all zeros is a value.
    let mut name: libc::utsname = unsafe { std::mem::zeroed() };
    sys!(SYS_uname, &raw mut name).what("uname")?;
    let node: String = name
        .nodename
        .iter()
        .take_while(|&&b| b != 0)
        .map(|&b| char::from(b))
        .collect();
    same!(
        text("/proc/sys/kernel/hostname")?,
        format!("{node}\n"),
        "/proc/sys/kernel/hostname"
    );
    check!(text("/proc/sys/kernel/osrelease")?.ends_with('\n'), "osrelease");
    Ok(())
}

fn read_only() -> Outcome {
    let made = open("/proc/new", libc::O_CREAT | libc::O_WRONLY, 0o600).map(|_| ());
    check!(
        matches!(made, Err(crate::sys::Errno(libc::ENOENT | libc::EACCES | libc::EPERM))),
        "creating a file: {made:?}"
    );
    let written = open("/proc/meminfo", libc::O_WRONLY, 0).and_then(|f| crate::sys::write(&f, b"x"));
    check!(written.is_err(), "writing to /proc/meminfo: {written:?}");
    Ok(())
}
