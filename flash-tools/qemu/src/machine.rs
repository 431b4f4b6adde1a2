//! A running QEMU: its process group, which ends with this value and with this process, however either ends.

use crate::command::QMP_SOCKET;
use crate::qmp::{Qmp, QmpError};
use crate::{socket, spawner};
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long QEMU may take to open its sockets.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long QEMU may take to go after SIGTERM.
const TERM_TIMEOUT: Duration = Duration::from_secs(3);
/// What QEMU itself says (not the guest).
const QEMU_LOG: &str = "qemu.log";

/// QEMU, running or ended.
#[derive(Debug)]
pub struct Machine {
    child: Child,
    run_folder: PathBuf,
    status: Option<ExitStatus>,
}

/// Why a machine did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// QEMU is not installed.
    #[error("{0} is not installed")]
    NoQemu(String),
    /// The run folder could not be made ready.
    #[error("{path}: {error}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// QEMU ended at once.
    #[error("QEMU ended at once ({status}): {log}")]
    Ended {
        /// How.
        status: ExitStatus,
        /// What it said.
        log: String,
    },
    /// Its sockets are not to be had.
    #[error("QEMU runs but does not answer: {0}")]
    Silent(#[from] QmpError),
    /// The process could not be started.
    #[error("QEMU could not be started: {0}")]
    Spawn(io::Error),
}

impl Machine {
    /// Starts `command` (from [`Board::command`](crate::Board::command)) with `run_folder` as its working directory,
    /// stopped at its first instruction: attach, then [`resume`](Qmp::resume).
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(command: &[String], run_folder: &Path) -> Result<Self, StartError> {
        let folder_error = |error| StartError::Folder {
            path: run_folder.into(),
            error,
        };
        std::fs::create_dir_all(run_folder).map_err(folder_error)?;
        let log = File::create(run_folder.join(QEMU_LOG)).map_err(folder_error)?;
        let Some((program, arguments)) = command.split_first() else {
            return Err(StartError::NoQemu("(an empty command)".into()));
        };
        let mut process = bound_to_us(program);
        process
            .args(arguments)
            .current_dir(run_folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(folder_error)?)
            .stderr(log)
            .process_group(0);
        if find_program(program).is_none() {
            return Err(StartError::NoQemu(program.clone()));
        }
        let child = spawner::spawn(process).map_err(StartError::Spawn)?;
        let mut machine = Self {
            child,
            run_folder: run_folder.into(),
            status: None,
        };
        let stream = socket::connect_within(run_folder, QMP_SOCKET, START_TIMEOUT, || !machine.has_ended());
        match stream {
            Ok(stream) => {
                Qmp::over(stream)?;
                Ok(machine)
            }
            Err(error) => Err(match machine.status {
                Some(status) => StartError::Ended {
                    status,
                    log: machine.log(),
                },
                None => StartError::Silent(error.into()),
            }),
        }
    }

    /// The folder with sockets and logs.
    #[must_use]
    pub fn run_folder(&self) -> &Path {
        &self.run_folder
    }

    /// QEMU's process id, which is also its process group's.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A monitor connection.
    ///
    /// # Errors
    /// [`QmpError`].
    pub fn qmp(&self) -> Result<Qmp, QmpError> {
        Qmp::connect(&self.run_folder)
    }

    /// Whether QEMU is gone.
    pub fn has_ended(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status.is_some()
    }

    /// How QEMU ended, waiting for it at most `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + timeout;
        while !self.has_ended() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.status
    }

    /// What QEMU itself said.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.run_folder.join(QEMU_LOG))
            .unwrap_or_default()
            .trim()
            .to_owned()
    }

    /// Ends QEMU: SIGTERM, then SIGKILL, to its whole group.
    pub fn stop(&mut self) {
        if !self.has_ended() {
            self.signal(Signal::TERM);
            if self.wait(TERM_TIMEOUT).is_none() {
                self.signal(Signal::KILL);
                self.wait(TERM_TIMEOUT);
            }
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // Gone in between is as good.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if !self.has_ended() {
            self.signal(Signal::KILL);
            self.wait(TERM_TIMEOUT);
        }
    }
}

/// `program`, killed by the kernel when this process dies: util-linux' `setpriv` sets the parent-death signal, which
/// survives its `exec`. Without `setpriv` the program is started plainly.
fn bound_to_us(program: &str) -> Command {
    match find_program("setpriv") {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL", "--", program]);
            command
        }
        None => Command::new(program),
    }
}

/// Where `PATH` has `program`.
#[must_use]
pub fn find_program(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| path.is_file());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests;
