//! The loop of process 1: signals in, children reaped, services started again.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::process::{WaitOptions, WaitStatus, wait};

use crate::log;
use crate::service::{Service, State};
use crate::shutdown::{self, Ending};
use crate::trial::Trial;

const SHELL: &str = "/sbin/sis-shell";
const AGENT: &str = "/sbin/sis-agent";
/// Where the agent keeps its things when there is a data partition.
const AGENT_DATA: &str = "/data/sis";
const CONSOLE: &str = "/dev/console";
/// How often to look for dead children on a kernel without signalfd(2).
const POLL_WITHOUT_SIGNALS: Duration = Duration::from_millis(200);

/// Process 1's view of the system.
pub(crate) struct Supervisor {
    signals: Option<SignalFd>,
    services: Vec<Service>,
    has_data: bool,
    trial: Option<Trial>,
}

impl Supervisor {
    /// Blocks the signals that are to be read from now on; call it first, so that none is lost.
    pub(crate) fn new() -> Self {
        let mut set = SigSet::empty();
        for signal in [
            Signal::SIGCHLD,
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGUSR1,
            Signal::SIGUSR2,
            Signal::SIGHUP,
            Signal::SIGPWR,
        ] {
            set.add(signal);
        }
        let signals = set
            .thread_block()
            .and_then(|()| SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK))
            .map_err(|error| eprintln!("init: no signals from this kernel ({error}); poweroff by signal will not work"))
            .ok();
        Self {
            signals,
            services: Vec::new(),
            has_data: false,
            trial: None,
        }
    }

    /// What must outlive the system that runs goes onto the data partition, and an update that is on trial there is watched.
    pub(crate) fn keep_on_data(&mut self) {
        self.has_data = true;
        self.trial = Trial::find(Path::new(AGENT_DATA));
    }

    /// Starts the services and keeps them; ends only by ending the machine.
    pub(crate) fn run(mut self) -> ! {
        let own = own_program();
        let mut network = Service::new("network", &[&own, "--network"]);
        network.is_kept = false;
        self.services.push(network);
        if Path::new(AGENT).exists() {
            let mut command = vec![own.as_str(), "--run", AGENT];
            if self.has_data {
                command.extend(["--state-dir", AGENT_DATA]);
            }
            self.services.push(Service::new("agent", &command));
        } else {
            log::info(&format!(
                "{AGENT} is not in this image: no telemetry and no remote control"
            ));
        }
        let shell = if Path::new(SHELL).exists() { SHELL } else { "/bin/sh" };
        let mut console = Service::new("shell", &[&own, "--session", CONSOLE, shell]);
        console.is_on_console = true;
        self.services.push(console);
        loop {
            self.start_due();
            self.sleep();
            while let Some(signal) = self.next_signal() {
                if let Some(ending) = Ending::from_signal(signal) {
                    shutdown::run(ending);
                }
            }
            self.reap();
            if let Some(trial) = self.trial.take_if(|trial| trial.left().is_zero())
                && trial.has_failed()
            {
                shutdown::run(Ending::Restart);
            }
        }
    }

    fn start_due(&mut self) {
        let now = Instant::now();
        for service in &mut self.services {
            if !matches!(service.state, State::Due(at) if at <= now) {
                continue;
            }
            match start(service) {
                Ok(pid) => {
                    log::debug(&format!("{} is process {pid}", service.name));
                    service.state = State::Running { pid, since: now };
                }
                Err(error) => {
                    let delay = service.ended(now, false);
                    let program = service.command.first().map_or("", String::as_str);
                    log::warn(&format!(
                        "cannot start {program}: {error}; next try in {} ms",
                        delay.as_millis()
                    ));
                }
            }
        }
    }

    /// Until a signal arrives or a service is due.
    fn sleep(&self) {
        let now = Instant::now();
        let due = self.services.iter().filter_map(|s| match s.state {
            State::Due(at) => Some(at.saturating_duration_since(now)),
            State::Running { .. } | State::Off => None,
        });
        let wait = due.chain(self.trial.as_ref().map(Trial::left)).min();
        let Some(signals) = &self.signals else {
            std::thread::sleep(wait.unwrap_or(POLL_WITHOUT_SIGNALS).min(POLL_WITHOUT_SIGNALS));
            return;
        };
        // Rounded up, so that a service is due when we wake and not a fraction of a millisecond later.
        let timeout = wait.map_or(PollTimeout::NONE, |d| {
            let ms = d.as_millis().saturating_add(1);
            PollTimeout::try_from(u32::try_from(ms).unwrap_or(u32::MAX)).unwrap_or(PollTimeout::MAX)
        });
        if let Err(error) = poll(&mut [PollFd::new(signals.as_fd(), PollFlags::POLLIN)], timeout)
            && error != nix::errno::Errno::EINTR
        {
            log::warn(&format!("poll: {error}"));
            std::thread::sleep(POLL_WITHOUT_SIGNALS);
        }
    }

    fn next_signal(&self) -> Option<Signal> {
        let info = self.signals.as_ref()?.read_signal().ok()??;
        Signal::try_from(i32::try_from(info.ssi_signo).ok()?).ok()
    }

    /// Collects every dead child: services and the orphans that were handed to process 1.
    fn reap(&mut self) {
        // ECHILD and every other refusal mean the same here: nothing more to collect.
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            self.collect(pid.as_raw_nonzero().get(), status);
        }
    }

    fn collect(&mut self, pid: i32, status: WaitStatus) {
        let Some(service) = self.services.iter_mut().find(|s| s.pid() == Some(pid)) else {
            return;
        };
        let is_success = status.exit_status() == Some(0);
        let how = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => format!("ended with status {code}"),
            (_, Some(signal)) => format!("was killed by signal {signal}"),
            _ => "ended".to_owned(),
        };
        let delay = service.ended(Instant::now(), is_success);
        let text = match service.state {
            State::Off => format!("{} is done", service.name),
            _ => format!("{} {how}; again in {} ms", service.name, delay.as_millis()),
        };
        if is_success || service.is_on_console || service.has_been_failing() {
            log::debug(&text);
        } else {
            log::notice(&text);
        }
    }
}

/// Path of the running program, for the helpers that are modes of it.
fn own_program() -> String {
    let path = std::env::current_exe().ok().and_then(|p| p.to_str().map(str::to_owned));
    path.filter(|p| Path::new(p).exists())
        .unwrap_or_else(|| "/init".to_owned())
}

fn start(service: &Service) -> std::io::Result<i32> {
    let Some((program, arguments)) = service.command.split_first() else {
        return Err(std::io::ErrorKind::InvalidInput.into());
    };
    let mut command = Command::new(program);
    command.args(arguments).current_dir("/");
    command
        .env("PATH", "/sbin:/bin:/usr/sbin:/usr/bin")
        .env("HOME", "/root")
        .env("USER", "root");
    if service.is_on_console {
        // The kernel says TERM=linux, which is a graphics console; behind a serial line is mostly something like this.
        if std::env::var_os("TERM").is_none_or(|t| t == "linux") {
            command.env("TERM", "vt102");
        }
    } else {
        command.stdin(Stdio::null()).stdout(log_target()).stderr(log_target());
    }
    // The handle is dropped on purpose: process 1 collects all children in one place.
    command
        .spawn()
        .and_then(|child| i32::try_from(child.id()).map_err(std::io::Error::other))
}

/// The kernel log, so that what a service prints is kept and streamed.
fn log_target() -> Stdio {
    File::options()
        .write(true)
        .open("/dev/kmsg")
        .map_or_else(|_| Stdio::null(), Stdio::from)
}
