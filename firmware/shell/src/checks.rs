//! `selfcheck`: each subsystem is used on the live system and must answer right.
//!
//! Every check runs in a thread of its own under a time limit, so that one that hangs is a failed check and not a hung
//! console. ^C ends the whole run. The line at the end is for programs: `[CHECK] ALL MARKERS SEEN`, or
//! `[CHECK] MISSING:` and the names of those that failed.

mod files;
mod memory;
mod network;
mod process;
mod system;
mod time;

use std::io::{Write, stdout};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};

/// Why a check failed: a sentence for people.
type Failed = String;

struct Check {
    name: &'static str,
    run: fn() -> Result<(), Failed>,
}

/// How long one check may take. All of them together stay under ten seconds unless something is badly wrong.
const CHECK_LIMIT: Duration = Duration::from_secs(4);

static CHECKS: [Check; 26] = [
    Check {
        name: "memory",
        run: memory::pattern,
    },
    Check {
        name: "memory-threads",
        run: memory::in_threads,
    },
    Check {
        name: "process-exit",
        run: process::exit_status,
    },
    Check {
        name: "process-signal",
        run: process::killed,
    },
    Check {
        name: "process-pipeline",
        run: process::pipeline,
    },
    Check {
        name: "pipe",
        run: process::pipe,
    },
    Check {
        name: "signal",
        run: process::signal,
    },
    Check {
        name: "threads",
        run: process::threads,
    },
    Check {
        name: "files",
        run: files::tmpfs,
    },
    Check {
        name: "directories",
        run: files::directories,
    },
    Check {
        name: "devices",
        run: files::devices,
    },
    Check {
        name: "procfs",
        run: system::procfs,
    },
    Check {
        name: "procfs-self",
        run: system::procfs_self,
    },
    Check {
        name: "mounts",
        run: system::mounts,
    },
    Check {
        name: "clock",
        run: time::clock,
    },
    Check {
        name: "sleep",
        run: time::sleep,
    },
    Check {
        name: "timerfd",
        run: time::timerfd,
    },
    Check {
        name: "epoll",
        run: time::epoll,
    },
    Check {
        name: "random",
        run: system::random,
    },
    Check {
        name: "udp",
        run: network::udp,
    },
    Check {
        name: "udp-ipv6",
        run: network::udp_v6,
    },
    Check {
        name: "tcp",
        run: network::tcp,
    },
    Check {
        name: "tcp-refused",
        run: network::tcp_refused,
    },
    Check {
        name: "unix-socket",
        run: network::unix,
    },
    Check {
        name: "agent",
        run: network::agent,
    },
    Check {
        name: "control-device",
        run: system::control_device,
    },
];

/// The command.
pub(crate) fn command(arguments: &[&str]) -> ExitCode {
    match arguments {
        [] => {}
        ["--list"] => {
            CHECKS.iter().for_each(|check| println!("{}", check.name));
            return ExitCode::SUCCESS;
        }
        // The other end of the process checks: ends with that status.
        ["--exit-with", status] => return ExitCode::from(status.parse().unwrap_or(255)),
        _ => {
            eprintln!("usage: selfcheck [--list]");
            return ExitCode::from(2);
        }
    }
    end_on_interrupt();
    let mut missing = Vec::new();
    for check in &CHECKS {
        report(check.name, limited(check), &mut missing);
    }
    // What the kernel checks of itself, where only it can look.
    match system::kernel_checks() {
        Ok(results) => {
            for result in results {
                report(
                    &format!("kernel-{}", result.name),
                    result.failure.map_or(Ok(()), Err),
                    &mut missing,
                );
            }
        }
        Err(error) => report("kernel", Err(error), &mut missing),
    }
    if missing.is_empty() {
        println!("[CHECK] ALL MARKERS SEEN");
        ExitCode::SUCCESS
    } else {
        println!("[CHECK] MISSING: {}", missing.join(", "));
        ExitCode::FAILURE
    }
}

fn report(name: &str, result: Result<(), Failed>, missing: &mut Vec<String>) {
    match result {
        Ok(()) => println!("[PASS] {name}"),
        Err(why) => {
            println!("[FAIL] {name}: {}", why.replace('\n', " "));
            missing.push(name.to_owned());
        }
    }
    // Seen as it happens, also through a pipe; a reader that went away ends the run by the next write.
    let _ = stdout().flush();
}

fn limited(check: &'static Check) -> Result<(), Failed> {
    let (tell, told) = mpsc::channel();
    let spawned = thread::Builder::new().name(check.name.to_owned()).spawn(move || {
        // Nobody listens any more after the limit.
        let _ = tell.send((check.run)());
    });
    spawned.map_err(|e| format!("no thread: {e}"))?;
    match told.recv_timeout(CHECK_LIMIT) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => Err(format!("no answer within {} s", CHECK_LIMIT.as_secs())),
        Err(mpsc::RecvTimeoutError::Disconnected) => Err("the check itself broke off".to_owned()),
    }
}

/// ^C says so and ends the run with the status of an interrupted program.
fn end_on_interrupt() {
    let mut set = SigSet::empty();
    set.add(Signal::SIGINT);
    // Before any other thread, which all inherit it.
    if set.thread_block().is_err() {
        return;
    }
    let waiter = thread::Builder::new().spawn(move || {
        if set.wait().is_ok() {
            println!("[CHECK] CANCELLED");
            std::process::exit(130);
        }
    });
    if waiter.is_err() {
        let _ = set.thread_unblock();
    }
}

/// A check's way to say what is wrong.
fn ensure(is_right: bool, why: impl FnOnce() -> String) -> Result<(), Failed> {
    if is_right { Ok(()) } else { Err(why()) }
}

/// Adds what was being done to an error.
fn during<T, E: std::fmt::Display>(what: &str, result: Result<T, E>) -> Result<T, Failed> {
    result.map_err(|error| format!("{what}: {error}"))
}
