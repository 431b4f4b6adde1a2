//! A session of its own on a terminal, for a program that does job control.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::signal::SigSet;
use rustix::process::{ioctl_tiocsctty, setsid};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

/// Why [`enter`] came back.
#[derive(Debug)]
pub(crate) enum SessionError {
    /// setsid(2) refused: the caller leads a process group.
    Session(rustix::io::Errno),
    /// The terminal cannot be opened.
    Terminal(String, std::io::Error),
    /// Its descriptors cannot be put in place.
    Descriptors(rustix::io::Errno),
    /// The program cannot be executed.
    Program(String, std::io::Error),
}

impl std::fmt::Display for SessionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Session(e) => write!(
                f,
                "cannot start a session: {e}; run it from a process that leads no group"
            ),
            Self::Terminal(tty, e) => write!(f, "cannot open the terminal {tty}: {e}"),
            Self::Descriptors(e) => write!(f, "cannot put the terminal on descriptors 0 to 2: {e}"),
            Self::Program(program, e) => write!(f, "cannot execute {program}: {e}"),
        }
    }
}

/// Becomes the leader of a new session, takes `tty` as its controlling terminal and as descriptors 0 to 2, and
/// executes `program`. Comes back only with the reason why it could not.
///
/// A terminal that refuses to be a controlling one (TIOCSCTTY, tty_ioctl(2)) is used all the same, without job
/// control: a shell without ^C is better than none.
pub(crate) fn enter(tty: &str, program: &str, arguments: &[&str]) -> SessionError {
    if let Err(error) = setsid() {
        return SessionError::Session(error);
    }
    let terminal = match File::options().read(true).write(true).open(tty) {
        Ok(file) => file,
        Err(error) => return SessionError::Terminal(tty.to_owned(), error),
    };
    let controlling = ioctl_tiocsctty(&terminal);
    let placed = dup2_stdin(&terminal)
        .and_then(|()| dup2_stdout(&terminal))
        .and_then(|()| dup2_stderr(&terminal));
    if let Err(error) = placed {
        return SessionError::Descriptors(error);
    }
    drop(terminal);
    if let Err(error) = controlling {
        eprintln!("init: {tty} cannot be a controlling terminal ({error}): no job control");
    }
    become_program(program, arguments)
}

/// Executes `program` with no signal blocked: the mask of process 1 is inherited and would last for ever.
pub(crate) fn become_program(program: &str, arguments: &[&str]) -> SessionError {
    if let Err(error) = SigSet::all().thread_unblock() {
        eprintln!("init: cannot unblock signals: {error}");
    }
    let error = Command::new(program).args(arguments).exec();
    SessionError::Program(program.to_owned(), error)
}
