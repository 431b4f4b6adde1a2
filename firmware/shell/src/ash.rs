//! The BusyBox `ash` that runs what is typed.
//!
//! One `ash -m` lives as long as the shell. It reads its commands from a pipe; each line is wrapped in `command eval`,
//! so that an unfinished quote is an error and not a wait for more, and an error ends the line and not `ash`. After it
//! comes a function that writes `$?` and `$PWD` to a second pipe: that is how the shell learns that the line has ended.
//! A trap makes ^C throw the rest of the line away. (An interactive `ash` would do that by itself, but it ignores
//! SIGTERM, and so do its children for a moment after the fork: `sleep 10 & kill %1` would sometimes kill nothing.)
//!
//! The terminal belongs to whoever is at work: to `ash` (and by it to its foreground job) while a line runs, to the
//! shell while a person types.
//!
//! A kernel on which `/proc/self/fd` cannot be opened gets each line run by an `ash -c` of its own ([`Ash::Single`]).

use std::fs::File;
use std::io::{BufRead, BufReader, Write, stdin};
use std::os::fd::AsRawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant};

use nix::sys::signal::SigSet;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpgrp, kill_process_group, waitpid};
use rustix::termios::tcsetpgrp;

use crate::commands;

const BUSYBOX: &str = "/bin/busybox";
/// How long `ash` may take to say that it is there.
const START_LIMIT: Duration = Duration::from_secs(10);
/// Redirections of `ash` know descriptors of one digit.
const LAST_DESCRIPTOR: i32 = 9;

/// How a line ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ran {
    /// With this status (`$?`).
    Status(u8),
    /// The shell itself was asked to exit.
    Exit(u8),
}

/// Runs lines.
#[derive(Debug)]
pub(crate) enum Ash {
    /// One process for all lines.
    Lasting(Box<Lasting>),
    /// One process a line; the status of the last.
    Single(u8),
}

/// The process that lives as long as the shell.
#[derive(Debug)]
pub(crate) struct Lasting {
    child: Child,
    script: File,
    status: BufReader<File>,
    /// Closes both pipes for what a line starts.
    closing: String,
    directory: PathBuf,
    has_terminal: bool,
}

impl Ash {
    /// Starts one; with a terminal on standard input it does job control.
    pub(crate) fn start(has_terminal: bool) -> Self {
        match Lasting::start(has_terminal) {
            Ok(lasting) => Self::Lasting(Box::new(lasting)),
            Err(error) => {
                eprintln!("sis-shell: each line runs by itself, without jobs and variables of its own: {error}");
                Self::Single(0)
            }
        }
    }

    /// Where relative paths begin.
    pub(crate) fn directory(&self) -> &Path {
        match self {
            Self::Lasting(lasting) => &lasting.directory,
            Self::Single(_) => Path::new("/"),
        }
    }

    /// Runs one line to its end.
    pub(crate) fn run(&mut self, line: &str, has_terminal: bool) -> Ran {
        match self {
            Self::Lasting(lasting) => {
                if let Some(status) = lasting.run(line) {
                    return Ran::Status(status);
                }
                let status = lasting.ended();
                if line.contains("exit") || line.contains("exec") {
                    return Ran::Exit(status);
                }
                // Not asked to end: a new one, so that the console stays usable.
                eprintln!("sis-shell: ash ended with status {status}; its variables and jobs are gone");
                *self = Self::start(has_terminal);
                Ran::Status(status)
            }
            Self::Single(last) => {
                if let Some(rest) = line
                    .trim()
                    .strip_prefix("exit")
                    .filter(|r| r.is_empty() || r.starts_with(' '))
                {
                    return Ran::Exit(rest.trim().parse().unwrap_or(*last));
                }
                *last = run_alone(line, *last, has_terminal);
                Ran::Status(*last)
            }
        }
    }
}

impl Lasting {
    fn start(has_terminal: bool) -> Result<Self, StartError> {
        let (script_reader, script) = pipe_with(PipeFlags::CLOEXEC)?;
        let (status, status_writer) = pipe_with(PipeFlags::CLOEXEC)?;
        let (from, to) = (script_reader.as_raw_fd(), status_writer.as_raw_fd());
        if from > LAST_DESCRIPTOR || to > LAST_DESCRIPTOR {
            return Err(StartError::Descriptors);
        }
        fcntl_setfd(&script_reader, FdFlags::empty())?;
        fcntl_setfd(&status_writer, FdFlags::empty())?;
        let mut command = released();
        command
            .arg("ash")
            .arg(if has_terminal { "-m" } else { "+m" })
            .arg(format!("/proc/self/fd/{from}"));
        command.env_remove("ENV");
        let child = command.spawn()?;
        drop((script_reader, status_writer));
        let mut lasting = Self {
            child,
            script: File::from(script),
            status: BufReader::new(File::from(status)),
            closing: format!("{from}>&- {to}>&-"),
            directory: PathBuf::from("/"),
            has_terminal,
        };
        let prelude = format!(
            "{}; sis_back() {{ return $sis_line; }}; sis_done() {{ sis_line=; set -- $1 $sis_int; sis_int=; \
             echo \"${{2:-$1}} ${{2:-0}} $PWD\" >&{to}; return ${{2:-$1}}; }}; \
             trap 'sis_int=130; [ -z \"$sis_line\" ] || {{ : ${{sis_interrupt?}}; }} 2>/dev/null' INT; trap : QUIT; \
             sis_done 0\n",
            commands::as_functions()
        );
        let started = lasting.script.write_all(prelude.as_bytes()).is_ok()
            && lasting.has_answer_within(START_LIMIT)
            && lasting.read_status().is_some();
        lasting.take_terminal();
        if !started {
            let _ = lasting.child.kill();
            let _ = lasting.child.wait();
            return Err(StartError::Silent);
        }
        Ok(lasting)
    }

    fn has_answer_within(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).ok();
            match poll(
                &mut [PollFd::new(self.status.get_ref(), PollFlags::IN)],
                timeout.as_ref(),
            ) {
                Ok(ready) => return ready > 0,
                Err(Errno::INTR) if !left.is_zero() => {}
                Err(_) => return false,
            }
        }
    }

    /// The next `$?`, whether ^C ended the line, and `$PWD`; nothing when `ash` has ended.
    fn read_status(&mut self) -> Option<u8> {
        let mut bytes = Vec::new();
        self.status.read_until(b'\n', &mut bytes).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let mut fields = text.trim_end_matches('\n').splitn(3, ' ');
        let (status, interrupted, directory) = (fields.next()?, fields.next()?, fields.next()?);
        self.directory = PathBuf::from(directory);
        if interrupted != "0" {
            // The terminal has shown ^C and stands behind it.
            println!();
        }
        status.parse().ok()
    }

    fn run(&mut self, line: &str) -> Option<u8> {
        // The line sees `$?` of the line before, which an assignment alone would set to 0: the function passes it on.
        let quoted = line.replace('\'', r"'\''");
        let wrapped = format!(
            "sis_line=$?; command eval 'sis_back\n{quoted}' {}\nsis_done $?\n",
            self.closing
        );
        self.give_terminal();
        let status = self
            .script
            .write_all(wrapped.as_bytes())
            .ok()
            .and_then(|()| self.read_status());
        self.take_terminal();
        status
    }

    /// The exit status after the pipe has ended.
    fn ended(&mut self) -> u8 {
        let status = self.child.wait().unwrap_or_default();
        let code = status.code().or_else(|| status.signal().map(|s| 128 + s));
        code.and_then(|code| u8::try_from(code).ok()).unwrap_or(255)
    }

    fn give_terminal(&self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let (true, Some(pid)) = (self.has_terminal, pid) {
            // Refused only when ash is gone, which the pipe tells next.
            let _ = tcsetpgrp(stdin(), pid);
        }
    }

    fn take_terminal(&self) {
        if self.has_terminal {
            let _ = tcsetpgrp(stdin(), getpgrp());
        }
    }
}

/// BusyBox, by way of this program, which first unblocks the signals that the shell holds back ([`release`]).
fn released() -> Command {
    let own = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/sbin/sis-shell"));
    let mut command = Command::new(own);
    command.args(["--released", BUSYBOX]);
    command
}

/// `sis-shell --released PROGRAM ARG...`: becomes the program, with no signal blocked.
pub(crate) fn release(program: &str, arguments: &[&str]) -> ExitCode {
    if let Err(error) = SigSet::all().thread_unblock() {
        eprintln!("sis-shell: cannot unblock signals: {error}");
    }
    let error = Command::new(program).args(arguments).exec();
    eprintln!("sis-shell: cannot run {program}: {error}");
    ExitCode::from(127)
}

/// Why there is no lasting `ash`.
#[derive(Debug)]
enum StartError {
    Os(std::io::Error),
    Descriptors,
    Silent,
}

impl From<Errno> for StartError {
    fn from(error: Errno) -> Self {
        Self::Os(error.into())
    }
}

impl From<std::io::Error> for StartError {
    fn from(error: std::io::Error) -> Self {
        Self::Os(error)
    }
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Os(error) => write!(f, "cannot start {BUSYBOX}: {error}"),
            Self::Descriptors => f.write_str("too many open files were inherited"),
            Self::Silent => f.write_str("ash cannot read its commands from /proc/self/fd"),
        }
    }
}

/// An `ash -c` that knows the shell's own commands and begins with `$?` as the line before left it.
fn alone(line: &str, last: u8) -> Command {
    let mut command = released();
    let status = if last == 0 {
        String::new()
    } else {
        format!("sis_status() {{ return {last}; }}; sis_status; ")
    };
    command.args([
        "ash",
        "-c",
        &format!("{}; {status}eval \"$1\"", commands::as_functions()),
        "sis",
        line,
    ]);
    command
}

/// `sis-shell -c LINE`: becomes the `ash` that runs it.
pub(crate) fn run_once(line: &str) -> ExitCode {
    let error = alone(line, 0).exec();
    eprintln!("sis-shell: cannot run {BUSYBOX}: {error}");
    ExitCode::from(127)
}

/// Runs a line in a process group of its own that has the terminal meanwhile.
fn run_alone(line: &str, last: u8, has_terminal: bool) -> u8 {
    let mut command = alone(line, last);
    if !has_terminal {
        return command.status().map_or(127, |status| {
            let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
            u8::try_from(code).unwrap_or(255)
        });
    }
    let child = match command.process_group(0).spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("sis-shell: cannot run {BUSYBOX}: {error}");
            return 127;
        }
    };
    let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else {
        return 127;
    };
    let _ = tcsetpgrp(stdin(), pid);
    let status = wait_for_group(pid);
    let _ = tcsetpgrp(stdin(), getpgrp());
    status
}

fn wait_for_group(pid: Pid) -> u8 {
    loop {
        match waitpid(Some(pid), WaitOptions::UNTRACED) {
            Ok(Some((_, status))) if status.stopped() => {
                // It read the terminal before it was given to it, or a person stopped what cannot be continued here.
                if status.stopping_signal() == Some(Signal::TSTP.as_raw()) {
                    eprintln!("\nsis-shell: ^Z needs a lasting ash; the job is ended");
                    let _ = kill_process_group(pid, Signal::HUP);
                }
                let _ = kill_process_group(pid, Signal::CONT);
            }
            Ok(Some((_, status))) => return code(status),
            Ok(None) | Err(Errno::INTR) => {}
            Err(_) => return 127,
        }
    }
}

fn code(status: WaitStatus) -> u8 {
    let code = status
        .exit_status()
        .or_else(|| status.terminating_signal().map(|s| 128 + s));
    code.and_then(|c| u8::try_from(c).ok()).unwrap_or(255)
}
