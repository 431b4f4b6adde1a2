//! fork(2), wait4(2), waitid(2), process groups, sessions, identities.

use super::Case;
use crate::sys::{
    Ended, Outcome, PAGE, What, child, ended, in_child, map, peek, pipe, poke, read, refused, sleep_ms, wait, write,
};

pub(super) static CASES: &[Case] = &[
    ("process/exit-status", exit_status),
    ("process/fork-copies-memory", fork_copies_memory),
    ("process/fork-shares-offsets", fork_shares_offsets),
    ("process/wait-nohang", wait_nohang),
    ("process/wait-no-child", wait_no_child),
    ("process/wait-any-order", wait_any_order),
    ("process/wait-group", wait_group),
    ("process/waitid-info", waitid_info),
    ("process/waitid-nowait", waitid_nowait),
    ("process/wait-rusage", wait_rusage),
    ("process/stop-continue", stop_continue),
    ("process/orphan-gets-init", orphan_gets_init),
    ("process/vfork-suspends-parent", vfork_suspends_parent),
    ("process/groups", groups),
    ("process/sessions", sessions),
    ("process/kill-errors", kill_errors),
    ("process/kill-group", kill_group),
    ("process/zombie-keeps-pid", zombie_keeps_pid),
    ("process/many-children", many_children),
    ("process/deep-fork", deep_fork),
    ("process/credentials-drop", credentials_drop),
    ("process/credentials-res", credentials_res),
    ("process/kill-needs-permission", kill_needs_permission),
    ("process/groups-list", groups_list),
    ("process/umask", umask),
    ("process/rlimit", rlimit),
    ("process/prctl-name", prctl_name),
    ("process/uname", uname),
    ("process/unknown-call", unknown_call),
    ("process/priority", priority),
];

fn exit_status() -> Outcome {
    for status in [0, 1, 42, 255] {
        same!(in_child(|| status)?, Ended::Exit(status), "exit status");
    }
    same!(in_child(|| 256 + 7)?, Ended::Exit(7), "only the low byte of a status");
    let killed = in_child(|| {
        let _ = sys!(SYS_kill, std::process::id(), libc::SIGKILL);
        0
    })?;
    same!(killed, Ended::Signal(libc::SIGKILL), "a child that kills itself");
    Ok(())
}

fn fork_copies_memory() -> Outcome {
    let at = map(16, libc::PROT_READ | libc::PROT_WRITE).what("mmap")?;
    (0..16).for_each(|n| poke(at + n * PAGE, 1));
    let how = in_child(|| {
        let right = (0..16).all(|n| peek(at + n * PAGE) == 1);
        (0..16).for_each(|n| poke(at + n * PAGE, 2));
        i32::from(!(right && (0..16).all(|n| peek(at + n * PAGE) == 2)))
    })?;
    same!(how, Ended::Exit(0), "the child's copy");
    check!(
        (0..16).all(|n| peek(at + n * PAGE) == 1),
        "the child's writes are seen by the parent"
    );
    Ok(())
}

fn fork_shares_offsets() -> Outcome {
    let scratch = crate::sys::Scratch::new()?;
    let file = crate::sys::open(&scratch.path("f"), libc::O_RDWR | libc::O_CREAT, 0o600).what("open")?;
    write(&file, b"abc").what("write")?;
    same!(
        in_child(|| write(&file, b"def").map_or(1, |_| 0))?,
        Ended::Exit(0),
        "write in the child"
    );
    same!(
        sys!(SYS_lseek, &file, 0, libc::SEEK_CUR).what("lseek")?,
        6,
        "the offset that both share"
    );
    Ok(())
}

fn wait_nohang() -> Outcome {
    let (reader, writer) = pipe(0)?;
    let pid = child(|| read(&reader, 1).map_or(1, |_| 3))?;
    same!(
        sys!(SYS_wait4, pid, 0, libc::WNOHANG, 0),
        Ok(0),
        "WNOHANG while it runs"
    );
    write(&writer, b"x").what("write")?;
    same!(wait(pid, 0).what("wait4")?, Ended::Exit(3), "status");
    Ok(())
}

fn wait_no_child() -> Outcome {
    refused("wait4 without children", sys!(SYS_wait4, -1, 0, 0, 0), libc::ECHILD)?;
    refused("wait4 for process 1", sys!(SYS_wait4, 1, 0, 0, 0), libc::ECHILD)?;
    let pid = child(|| 0)?;
    wait(pid, 0).what("wait4")?;
    refused("wait4 twice", sys!(SYS_wait4, pid, 0, 0, 0), libc::ECHILD)?;
    refused("unknown options", sys!(SYS_wait4, -1, 0, 0x1000_0000, 0), libc::EINVAL)
}

fn wait_any_order() -> Outcome {
    let pids = [child(|| 1)?, child(|| 2)?, child(|| 3)?];
    let mut seen = Vec::new();
    for _ in pids {
        let mut status = 0_i32;
        let pid = sys!(SYS_wait4, -1, &raw mut status, 0, 0).what("wait4")?;
        let place = pids
            .iter()
            .position(|&p| i64::from(p) == pid)
            .ok_or("an unknown child")?;
        same!(
            ended(status),
            Ended::Exit(place as i32 + 1),
            "the status belongs to the pid"
        );
        seen.push(place);
    }
    seen.sort_unstable();
    same!(seen, [0, 1, 2], "each child once");
    Ok(())
}

fn wait_group() -> Outcome {
    let other = child(|| {
        let _ = sys!(SYS_setpgid, 0, 0);
        5
    })?;
    let _ = sys!(SYS_setpgid, other, other);
    let same_group = child(|| 6)?;
    same!(
        sys!(SYS_wait4, 0, 0, 0, 0).what("wait4(0)")?,
        i64::from(same_group),
        "wait for the own group"
    );
    same!(
        sys!(SYS_wait4, -other, 0, 0, 0).what("wait4(-group)")?,
        i64::from(other),
        "wait for another group"
    );
    Ok(())
}

fn siginfo() -> libc::siginfo_t {
    // SAFETY: plain data for which all zeros is a value.
    unsafe { std::mem::zeroed() }
}

fn waitid_info() -> Outcome {
    let pid = child(|| 42)?;
    let mut info = siginfo();
    sys!(SYS_waitid, libc::P_PID, pid, &raw mut info, libc::WEXITED, 0).what("waitid")?;
    // SAFETY: waitid filled in the fields of a child's end.
    let (of, status) = unsafe { (info.si_pid(), info.si_status()) };
    same!(
        (info.si_signo, info.si_code, of, status),
        (libc::SIGCHLD, libc::CLD_EXITED, pid, 42),
        "siginfo"
    );
    refused(
        "waitid without what",
        sys!(SYS_waitid, libc::P_ALL, 0, 0, 0, 0),
        libc::EINVAL,
    )?;
    refused(
        "waitid without children",
        sys!(SYS_waitid, libc::P_ALL, 0, 0, libc::WEXITED, 0),
        libc::ECHILD,
    )
}

fn waitid_nowait() -> Outcome {
    let pid = child(|| 9)?;
    let mut info = siginfo();
    let options = libc::WEXITED | libc::WNOWAIT;
    for _ in 0..2 {
        sys!(SYS_waitid, libc::P_PID, pid, &raw mut info, options, 0).what("waitid WNOWAIT")?;
    }
    same!(
        wait(pid, 0).what("wait4")?,
        Ended::Exit(9),
        "the child is still to be collected"
    );
    Ok(())
}

fn wait_rusage() -> Outcome {
    let pid = child(|| {
        let end = crate::sys::now_ns(libc::CLOCK_MONOTONIC) + 60_000_000;
        while crate::sys::now_ns(libc::CLOCK_MONOTONIC) < end {}
        0
    })?;
    // SAFETY: plain data for which all zeros is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let mut status = 0_i32;
    sys!(SYS_wait4, pid, &raw mut status, 0, &raw mut usage).what("wait4")?;
    let used_us =
        usage.ru_utime.tv_usec + usage.ru_stime.tv_usec + 1_000_000 * (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec);
    check!(
        (5_000..5_000_000).contains(&used_us),
        "60 ms of work count as {used_us} us"
    );
    Ok(())
}

fn stop_continue() -> Outcome {
    let (reader, writer) = pipe(0)?;
    let pid = child(|| read(&reader, 1).map_or(1, |_| 4))?;
    sys!(SYS_kill, pid, libc::SIGSTOP).what("SIGSTOP")?;
    same!(
        wait(pid, libc::WUNTRACED).what("wait4")?,
        Ended::Stopped(libc::SIGSTOP),
        "stop"
    );
    write(&writer, b"x").what("write")?;
    sleep_ms(30);
    same!(
        sys!(SYS_wait4, pid, 0, libc::WNOHANG, 0),
        Ok(0),
        "a stopped child does not run"
    );
    sys!(SYS_kill, pid, libc::SIGCONT).what("SIGCONT")?;
    same!(wait(pid, libc::WCONTINUED).what("wait4")?, Ended::Continued, "continue");
    same!(wait(pid, 0).what("wait4")?, Ended::Exit(4), "end");
    Ok(())
}

fn orphan_gets_init() -> Outcome {
    let (reader, writer) = pipe(0)?;
    let pid = child(|| {
        let middle = std::process::id();
        let grandchild = child(|| {
            for _ in 0..2000 {
                let parent = sys!(SYS_getppid).unwrap_or(0);
                if parent != i64::from(middle) {
                    let _ = write(&writer, &parent.to_ne_bytes());
                    return 0;
                }
                sleep_ms(2);
            }
            1
        });
        grandchild.map_or(1, |_| 0)
    })?;
    wait(pid, 0).what("wait4")?;
    drop(writer);
    let bytes = read(&reader, 8).what("read")?;
    same!(bytes, 1_i64.to_ne_bytes(), "the parent of an orphan");
    Ok(())
}

fn vfork_suspends_parent() -> Outcome {
    let (reader, writer) = pipe(libc::O_NONBLOCK)?;
    let flags = libc::CLONE_VFORK | libc::SIGCHLD;
    // Without CLONE_VM, so that the child may use its stack as it likes.
    let pid = sys!(SYS_clone, flags, 0, 0, 0, 0).what("clone")?;
    if pid == 0 {
        sleep_ms(50);
        let _ = write(&writer, b"x");
        crate::sys::exit(0);
    }
    same!(
        read(&reader, 1),
        Ok(b"x".to_vec()),
        "what the child wrote before the parent went on"
    );
    same!(wait(pid as i32, 0).what("wait4")?, Ended::Exit(0), "end");
    Ok(())
}

fn groups() -> Outcome {
    let own = sys!(SYS_getpid).what("getpid")?;
    same!(sys!(SYS_getpgid, 0).what("getpgid")?, own, "a case leads its group");
    let pid = child(|| {
        sleep_ms(10_000);
        0
    })?;
    same!(sys!(SYS_getpgid, pid).what("getpgid")?, own, "a child is in the group");
    sys!(SYS_setpgid, pid, pid).what("setpgid")?;
    same!(sys!(SYS_getpgid, pid).what("getpgid")?, i64::from(pid), "the new group");
    refused(
        "setpgid to a group that is not there",
        sys!(SYS_setpgid, pid, 0x7fff_fff0),
        libc::EPERM,
    )?;
    refused("setpgid of a stranger", sys!(SYS_setpgid, 1, 0), libc::ESRCH)?;
    refused("setpgid with a negative group", sys!(SYS_setpgid, 0, -1), libc::EINVAL)?;
    refused("getpgid of nobody", sys!(SYS_getpgid, 0x7fff_fff0), libc::ESRCH)?;
    sys!(SYS_kill, pid, libc::SIGKILL).what("kill")?;
    wait(pid, 0).what("wait4").map(|_| ())
}

fn sessions() -> Outcome {
    refused("setsid of a group leader", sys!(SYS_setsid), libc::EPERM)?;
    let how = in_child(|| {
        let own = sys!(SYS_getpid).unwrap_or(-2);
        let all = [sys!(SYS_setsid), sys!(SYS_getsid, 0), sys!(SYS_getpgid, 0)];
        i32::from(all.iter().any(|r| *r != Ok(own)) || sys!(SYS_setpgid, 0, 0) != Err(crate::sys::Errno(libc::EPERM)))
    })?;
    same!(how, Ended::Exit(0), "a new session");
    Ok(())
}

fn kill_errors() -> Outcome {
    refused("kill of nobody", sys!(SYS_kill, 0x7fff_fff0, 0), libc::ESRCH)?;
    refused(
        "kill with a bad signal",
        sys!(SYS_kill, std::process::id(), 65),
        libc::EINVAL,
    )?;
    refused(
        "kill with a negative signal",
        sys!(SYS_kill, std::process::id(), -1),
        libc::EINVAL,
    )?;
    refused(
        "kill of an empty group",
        sys!(SYS_kill, -0x7fff_fff0_i32, 0),
        libc::ESRCH,
    )?;
    same!(sys!(SYS_kill, std::process::id(), 0), Ok(0), "signal 0 only asks");
    refused(
        "tgkill of another group's thread",
        sys!(SYS_tgkill, 1, std::process::id(), 0),
        libc::ESRCH,
    )
}

fn kill_group() -> Outcome {
    let pids = [(); 3].map(|()| {
        child(|| {
            sleep_ms(20_000);
            0
        })
    });
    let leader = pids[0].clone()?;
    for pid in &pids {
        sys!(SYS_setpgid, pid.clone()?, leader).what("setpgid")?;
    }
    sys!(SYS_kill, -leader, libc::SIGTERM).what("kill")?;
    for pid in pids {
        same!(
            wait(pid?, 0).what("wait4")?,
            Ended::Signal(libc::SIGTERM),
            "a member of the group"
        );
    }
    Ok(())
}

fn zombie_keeps_pid() -> Outcome {
    let pid = child(|| 0)?;
    sleep_ms(50);
    same!(sys!(SYS_kill, pid, 0), Ok(0), "kill of a zombie");
    same!(
        sys!(SYS_getpgid, pid).what("getpgid of a zombie")?,
        i64::from(std::process::id()),
        "its group"
    );
    wait(pid, 0).what("wait4")?;
    refused("kill after it was collected", sys!(SYS_kill, pid, 0), libc::ESRCH)
}

fn many_children() -> Outcome {
    let pids: Vec<i32> = (0..200).map(|n| child(|| n % 100)).collect::<Result<_, _>>()?;
    for (n, pid) in pids.into_iter().enumerate() {
        same!(wait(pid, 0).what("wait4")?, Ended::Exit(n as i32 % 100), "status");
    }
    Ok(())
}

fn deep_fork() -> Outcome {
    fn level(depth: i32) -> i32 {
        if depth == 0 {
            return 17;
        }
        match in_child(|| level(depth - 1)) {
            Ok(Ended::Exit(status)) => status,
            _ => 1,
        }
    }
    same!(in_child(|| level(30))?, Ended::Exit(17), "thirty generations");
    Ok(())
}

/// Runs in a child that is user and group 1000 without anything else.
fn as_user(work: impl FnOnce() -> Outcome) -> Outcome {
    crate::sys::checked_child(|| {
        sys!(SYS_setgroups, 0, 0).what("setgroups")?;
        sys!(SYS_setresgid, 1000, 1000, 1000).what("setresgid")?;
        sys!(SYS_setresuid, 1000, 1000, 1000).what("setresuid")?;
        work()
    })
}

fn credentials_drop() -> Outcome {
    same!(sys!(SYS_geteuid), Ok(0), "the cases are run by root");
    as_user(|| {
        let all = [sys!(SYS_getuid), sys!(SYS_geteuid), sys!(SYS_getgid), sys!(SYS_getegid)];
        same!(all, [Ok(1000); 4], "identities");
        refused("setuid back to root", sys!(SYS_setuid, 0), libc::EPERM)?;
        refused("setresgid back to root", sys!(SYS_setresgid, 0, 0, 0), libc::EPERM)?;
        refused("setgroups", sys!(SYS_setgroups, 0, 0), libc::EPERM)?;
        same!(sys!(SYS_setuid, 1000), Ok(0), "setuid to oneself");
        refused(
            "reboot",
            sys!(SYS_reboot, 0xfee1_dead_u32, 672_274_793, 0, 0),
            libc::EPERM,
        )?;
        refused("sethostname", sys!(SYS_sethostname, c"x".as_ptr(), 1), libc::EPERM)?;
        refused(
            "mount",
            sys!(SYS_mount, c"x".as_ptr(), c"/tmp".as_ptr(), c"tmpfs".as_ptr(), 0, 0),
            libc::EPERM,
        )
    })
}

fn credentials_res() -> Outcome {
    crate::sys::checked_child(|| {
        sys!(SYS_setresuid, 1000, 1001, 1002).what("setresuid")?;
        let mut ids = [0_u32; 3];
        sys!(SYS_getresuid, &raw mut ids[0], &raw mut ids[1], &raw mut ids[2]).what("getresuid")?;
        same!(ids, [1000, 1001, 1002], "real, effective, saved");
        sys!(SYS_setresuid, -1, 1002, -1).what("effective to saved")?;
        same!(sys!(SYS_geteuid), Ok(1002), "effective");
        refused(
            "to an identity it does not have",
            sys!(SYS_setresuid, -1, 7, -1),
            libc::EPERM,
        )
    })
}

fn kill_needs_permission() -> Outcome {
    let victim = child(|| {
        sleep_ms(20_000);
        0
    })?;
    as_user(|| {
        refused(
            "kill of root's process",
            sys!(SYS_kill, victim, libc::SIGKILL),
            libc::EPERM,
        )?;
        refused("signal 0 to root's process", sys!(SYS_kill, 1, 0), libc::EPERM)
    })?;
    sys!(SYS_kill, victim, libc::SIGKILL).what("kill")?;
    wait(victim, 0).what("wait4").map(|_| ())
}

fn groups_list() -> Outcome {
    crate::sys::checked_child(|| {
        let groups = [5_u32, 7, 9];
        sys!(SYS_setgroups, 3, groups.as_ptr()).what("setgroups")?;
        same!(sys!(SYS_getgroups, 0, 0), Ok(3), "how many");
        let mut got = [0_u32; 3];
        sys!(SYS_getgroups, 3, got.as_mut_ptr()).what("getgroups")?;
        same!(got, groups, "groups");
        refused(
            "getgroups into too little",
            sys!(SYS_getgroups, 2, got.as_mut_ptr()),
            libc::EINVAL,
        )
    })
}

fn umask() -> Outcome {
    let scratch = crate::sys::Scratch::new()?;
    sys!(SYS_umask, 0o027).what("umask")?;
    same!(sys!(SYS_umask, 0o027), Ok(0o027), "the mask before");
    crate::sys::open(&scratch.path("f"), libc::O_CREAT | libc::O_WRONLY, 0o666).what("open")?;
    let mode = std::fs::metadata(scratch.path("f")).map_err(|e| e.to_string())?;
    same!(
        std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777,
        0o640,
        "mode"
    );
    same!(
        in_child(|| sys!(SYS_umask, 0).map_or(1, |m| m as i32))?,
        Ended::Exit(0o027),
        "a child inherits it"
    );
    Ok(())
}

fn rlimit() -> Outcome {
    let mut old = [0_u64; 2];
    sys!(SYS_prlimit64, 0, libc::RLIMIT_NOFILE, 0, old.as_mut_ptr()).what("prlimit64")?;
    check!(old[0] >= 256 && old[0] <= old[1], "open files are limited to {old:?}");
    let small = [20_u64, old[1]];
    sys!(SYS_prlimit64, 0, libc::RLIMIT_NOFILE, small.as_ptr(), 0).what("prlimit64")?;
    let mut opened = Vec::new();
    let stopped = loop {
        match crate::sys::open("/dev/null", libc::O_RDONLY, 0) {
            Ok(fd) => opened.push(fd),
            Err(e) => break e,
        }
    };
    same!(stopped.0, libc::EMFILE, "the error at the limit");
    check!(opened.iter().all(|fd| fd.0 < 20), "a descriptor over the limit");
    refused(
        "soft over hard",
        sys!(SYS_prlimit64, 0, libc::RLIMIT_NOFILE, [2_u64, 1].as_ptr(), 0),
        libc::EINVAL,
    )?;
    refused(
        "no such limit",
        sys!(SYS_prlimit64, 0, 99, 0, old.as_mut_ptr()),
        libc::EINVAL,
    )
}

fn prctl_name() -> Outcome {
    sys!(
        SYS_prctl,
        libc::PR_SET_NAME,
        c"a-long-name-of-a-thread".as_ptr(),
        0,
        0,
        0
    )
    .what("PR_SET_NAME")?;
    let mut name = [0_u8; 16];
    sys!(SYS_prctl, libc::PR_GET_NAME, name.as_mut_ptr(), 0, 0, 0).what("PR_GET_NAME")?;
    same!(&name, b"a-long-name-of-\0", "the name, cut at 15 bytes");
    let comm = std::fs::read_to_string("/proc/self/comm").map_err(|e| e.to_string())?;
    same!(comm, "a-long-name-of-\n", "/proc/self/comm");
    refused(
        "an unknown prctl",
        sys!(SYS_prctl, 0x7fff_0000, 0, 0, 0, 0),
        libc::EINVAL,
    )
}

fn uname() -> Outcome {
    // SAFETY: plain data for which all zeros is a value.
    let mut name: libc::utsname = unsafe { std::mem::zeroed() };
    sys!(SYS_uname, &raw mut name).what("uname")?;
    let text = |field: &[libc::c_char]| {
        field
            .iter()
            .take_while(|&&b| b != 0)
            .map(|&b| char::from(b))
            .collect::<String>()
    };
    same!(text(&name.sysname), "Linux", "sysname");
    same!(text(&name.machine), std::env::consts::ARCH, "machine");
    let release = text(&name.release);
    let version: Vec<u32> = release.split(['.', '-']).map_while(|n| n.parse().ok()).collect();
    check!(
        version.len() >= 2 && version >= vec![4, 18],
        "release {release} is older than programs expect"
    );
    refused("uname to nowhere", sys!(SYS_uname, 8), libc::EFAULT)
}

fn unknown_call() -> Outcome {
    // SAFETY: there is no such call, so nothing happens.
    refused(
        "system call 9999",
        unsafe { crate::sys::raw(9999, [0; 6]) },
        libc::ENOSYS,
    )
}

fn priority() -> Outcome {
    // The raw call answers 20 less the nice value.
    same!(sys!(SYS_getpriority, libc::PRIO_PROCESS, 0), Ok(20), "at the start");
    sys!(SYS_setpriority, libc::PRIO_PROCESS, 0, 7).what("setpriority")?;
    same!(sys!(SYS_getpriority, libc::PRIO_PROCESS, 0), Ok(13), "after nice 7");
    refused("an unknown kind", sys!(SYS_getpriority, 9, 0), libc::EINVAL)?;
    refused(
        "nobody",
        sys!(SYS_getpriority, libc::PRIO_PROCESS, 0x7fff_fff0),
        libc::ESRCH,
    )
}
