//! Process 1 of the SIS image.
//!
//! What it does, in order: mounts the kernel's file systems and the data partition, names the host, starts the network in the background,
//! keeps the agent running, and keeps the `sis>` shell on the console in a session of its own. From then on it reaps
//! orphans and waits for the signals that BusyBox's `poweroff`, `reboot` and `halt` send to process 1
//! (SIGUSR2, SIGTERM, SIGUSR1), and for SIGINT, which the kernel sends for ctrl-alt-del.
//!
//! Nothing here may end process 1: the kernel would panic. Every failure is a line in the log and the next step.
#![forbid(unsafe_code)]

mod data;
mod log;
mod mounts;
mod network;
mod service;
mod session;
mod shutdown;
mod supervisor;
mod trial;

use std::process::ExitCode;

use rustix::system::{RebootCommand, reboot, sethostname};

const HELP: &str = "\
usage: init                                 as process 1: run the system
       init --session TTY PROGRAM [ARG...]  run PROGRAM in a new session whose controlling terminal is TTY
       init --run PROGRAM [ARG...]          run PROGRAM with no signal blocked
       init --network                       bring the loopback and eth0 up and keep the lease
       init --help | --version
Words of the kernel command line that reach process 1 are accepted and noted in the log.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    if rustix::process::getpid().is_init() {
        run(&arguments);
    }
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--help" | "-h"] => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        ["--version"] => {
            println!("sis-init {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        ["--session", tty, program, rest @ ..] => {
            let error = session::enter(tty, program, rest);
            eprintln!("init: {error}");
            ExitCode::from(126)
        }
        ["--run", program, rest @ ..] => {
            let error = session::become_program(program, rest);
            eprintln!("init: {error}");
            ExitCode::from(126)
        }
        ["--network"] => network::run(),
        _ => {
            eprint!("init: not process 1, so there is no system to run here\n{HELP}");
            ExitCode::from(2)
        }
    }
}

/// Process 1. Never returns: when everything else has failed it still reaps.
fn run(arguments: &[String]) -> ! {
    let mut supervisor = supervisor::Supervisor::new();
    let made = mounts::mount_all();
    log::open();
    for line in made {
        log::info(&line);
    }
    match data::mount_data() {
        Some(Ok(line)) => {
            log::info(&line);
            supervisor.keep_on_data();
        }
        Some(Err(line)) => log::warn(&line),
        None => {}
    }
    if !arguments.is_empty() {
        log::info(&format!("words from the kernel command line: {}", arguments.join(" ")));
    }
    name_host();
    // Ctrl-alt-del becomes a SIGINT to us instead of an immediate restart. A kernel without it loses nothing.
    if let Err(error) = reboot(RebootCommand::CadOff) {
        log::info(&format!("ctrl-alt-del stays with the kernel: {error}"));
    }
    quieten_console();
    supervisor.run()
}

/// From here on a person types on the console: only warnings and worse interrupt them. Everything is in `dmesg`. A log
/// level that was asked for on the kernel's command line stays.
fn quieten_console() {
    let line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    if asks_for_a_log_level(&line) {
        return;
    }
    let set = std::process::Command::new("/bin/busybox")
        .args(["dmesg", "-n", "5"])
        .output();
    if let Err(error) = set {
        log::debug(&format!("cannot set the console's log level: {error}"));
    }
}

fn asks_for_a_log_level(command_line: &str) -> bool {
    command_line
        .split_whitespace()
        .any(|word| word.starts_with("loglevel=") || matches!(word, "quiet" | "debug" | "ignore_loglevel"))
}

/// The data partition's name for this board comes before the system's.
fn name_host() {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let (own, of_system) = (read("/data/etc/hostname"), read("/etc/hostname"));
    let first = |text: &'_ str| text.split_whitespace().next().map(str::to_owned);
    let name = first(&own)
        .or_else(|| first(&of_system))
        .unwrap_or_else(|| "sis".into());
    if let Err(error) = sethostname(name.as_bytes()) {
        log::warn(&format!("cannot set the host name to {name}: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use super::asks_for_a_log_level;

    #[test]
    fn a_log_level_on_the_command_line_is_seen() {
        assert!(asks_for_a_log_level("console=ttyAMA0 loglevel=8\n"));
        assert!(asks_for_a_log_level("quiet"));
        assert!(!asks_for_a_log_level("console=ttyAMA0 init=/quiet x.loglevel=1\n"));
    }
}
