//! Runs cases, each in a process group of its own under a time limit.

use std::io::{Write, stdout};
use std::process::ExitCode;

use crate::cases::{CASES, Case, NEEDS_DISK};
use crate::sys::{DONE, Ended, Errno, Outcome, child, ended, now_ns, pipe, read, sleep_ms, write};

/// How long a case may take.
const LIMIT_NS: u64 = 30_000_000_000;

/// Prints the names.
pub(crate) fn list() {
    for case in cases() {
        println!("{}", case.0);
    }
}

fn cases() -> impl Iterator<Item = &'static Case> {
    CASES.iter().flat_map(|group| group.iter())
}

/// Runs those that are named: `all`, a group, or a case.
pub(crate) fn run(names: &[&str]) -> ExitCode {
    let is_wanted = |case: &str| {
        names
            .iter()
            .any(|&n| (n == "all" && !case.starts_with(NEEDS_DISK)) || n == case || case.split('/').next() == Some(n))
    };
    let wanted: Vec<_> = cases().filter(|case| is_wanted(case.0)).collect();
    if wanted.is_empty() {
        eprintln!("sis-guest: no such case; sis-guest list names them");
        return ExitCode::from(2);
    }
    let mut failed = 0;
    for (name, work) in &wanted {
        match one(*work) {
            Ok(()) => println!("[PASS] {name}"),
            Err(why) => {
                failed += 1;
                println!("[FAIL] {name}: {}", why.replace('\n', " "));
            }
        }
        let _ = stdout().flush();
    }
    println!("sis-guest: {} passed, {failed} failed", wanted.len() - failed);
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn one(work: fn() -> Outcome) -> Outcome {
    let (reader, writer) = pipe(libc::O_CLOEXEC)?;
    let pid = child(|| {
        let _ = sys!(SYS_setpgid, 0, 0);
        // Rust's runtime ignores SIGPIPE; a case begins with what a program begins with.
        // SAFETY: no handler is installed.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        match work() {
            Ok(()) => {
                let _ = write(&writer, DONE);
                0
            }
            Err(why) => {
                let _ = write(&writer, why.as_bytes());
                1
            }
        }
    })?;
    drop(writer);
    let _ = sys!(SYS_setpgid, pid, pid);
    let end = now_ns(libc::CLOCK_MONOTONIC) + LIMIT_NS;
    let mut pause_ms = 1;
    let how = loop {
        let mut status = 0_i32;
        match sys!(SYS_wait4, pid, &raw mut status, libc::WNOHANG, 0) {
            Ok(0) if now_ns(libc::CLOCK_MONOTONIC) > end => break None,
            Ok(0) | Err(Errno(libc::EINTR)) => sleep_ms(pause_ms),
            Ok(_) => break Some(ended(status)),
            Err(e) => return Err(format!("wait4: {e}")),
        }
        pause_ms = (pause_ms + 1).min(20);
    };
    // What the case has left behind ends with it.
    let _ = sys!(SYS_kill, -pid, libc::SIGKILL);
    match how {
        None => {
            let _ = sys!(SYS_wait4, pid, 0, 0, 0);
            Err(format!("no end within {} s", LIMIT_NS / 1_000_000_000))
        }
        Some(how @ Ended::Exit(status @ (0 | 1))) => {
            // Whoever the case left behind may still hold the pipe: what is there now is what there is.
            let _ = sys!(SYS_fcntl, &reader, libc::F_SETFL, libc::O_NONBLOCK);
            let told = read(&reader, 4096).map_err(|e| e.to_string())?;
            match status {
                0 if told == DONE => Ok(()),
                0 => Err(format!(
                    "the case ended with {how:?} before it was done: another program took its place?"
                )),
                _ => Err(String::from_utf8_lossy(&told).into_owned()),
            }
        }
        Some(other) => Err(format!("the case ended with {other:?}")),
    }
}
