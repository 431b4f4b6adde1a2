//! The end of the system: processes first, then what they wrote, then the machine.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::fs::sync;
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{WaitOptions, wait};
use rustix::system::{RebootCommand, reboot};

use crate::log;

/// How long processes have to end after SIGTERM, and after SIGKILL.
const GRACE: Duration = Duration::from_secs(3);
const AFTER_KILL: Duration = Duration::from_secs(1);

/// What the machine does afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Power off.
    PowerOff,
    /// Start again.
    Restart,
    /// Stop with the power on.
    Halt,
}

impl Ending {
    /// What a signal to process 1 asks for, as BusyBox's init has it (init/init.c).
    pub(crate) fn from_signal(signal: Signal) -> Option<Self> {
        match signal {
            Signal::SIGUSR2 | Signal::SIGPWR => Some(Self::PowerOff),
            Signal::SIGTERM | Signal::SIGINT => Some(Self::Restart),
            Signal::SIGUSR1 => Some(Self::Halt),
            _ => None,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::PowerOff => "powering off",
            Self::Restart => "restarting",
            Self::Halt => "halting",
        }
    }

    fn command(self) -> RebootCommand {
        match self {
            Self::PowerOff => RebootCommand::PowerOff,
            Self::Restart => RebootCommand::Restart,
            Self::Halt => RebootCommand::Halt,
        }
    }
}

/// Ends every process, writes everything out, unmounts and ends the machine.
pub(crate) fn run(ending: Ending) -> ! {
    log::info(&format!("{}: asking all processes to end", ending.words()));
    everyone(Signal::SIGTERM);
    // A stopped process would sit on its SIGTERM.
    everyone(Signal::SIGCONT);
    if !are_all_gone_within(GRACE) {
        log::info("some processes did not end in time and are killed");
        everyone(Signal::SIGKILL);
        are_all_gone_within(AFTER_KILL);
    }
    sync();
    unmount_all();
    sync();
    log::info(ending.words());
    if let Err(error) = reboot(ending.command()) {
        log::warn(&format!(
            "the kernel refuses to end ({error}); it is safe to switch the power off now"
        ));
    }
    loop {
        let _ = wait(WaitOptions::NOHANG);
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// To all processes but this one (kill(2): -1 leaves process 1 out).
fn everyone(signal: Signal) {
    // ESRCH: there is nobody else.
    let _ = kill(Pid::from_raw(-1), signal);
}

fn are_all_gone_within(limit: Duration) -> bool {
    let end = Instant::now() + limit;
    while Instant::now() < end {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            Err(Errno::CHILD) => return true,
            Ok(None) | Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    false
}

fn unmount_all() {
    let table = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    for at in unmount_order(&table) {
        // Busy or not, the content was synced; a lazy unmount keeps the order for the mounts below.
        if unmount(at.as_str(), UnmountFlags::empty()).is_err() {
            let _ = unmount(at.as_str(), UnmountFlags::DETACH);
        }
    }
}

/// Mount points of a `/proc/mounts` text, last mounted first, without the root and without those that the end of the
/// system still needs.
fn unmount_order(table: &str) -> Vec<String> {
    let points = table.lines().filter_map(|line| line.split(' ').nth(1)).map(unescape);
    let mut order: Vec<_> = points
        .filter(|at| !matches!(at.as_str(), "/" | "/proc" | "/dev"))
        .collect();
    order.reverse();
    order
}

/// Undoes the octal escapes of `/proc/mounts` (proc(5), fstab(5)): space, tab, newline and backslash.
fn unescape(field: &str) -> String {
    field
        .replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::{Ending, Signal, unmount_order};

    #[test]
    fn signals_mean_what_busybox_sends() {
        assert_eq!(Ending::from_signal(Signal::SIGUSR1), Some(Ending::Halt));
        assert_eq!(Ending::from_signal(Signal::SIGUSR2), Some(Ending::PowerOff));
        assert_eq!(Ending::from_signal(Signal::SIGTERM), Some(Ending::Restart));
        assert_eq!(Ending::from_signal(Signal::SIGINT), Some(Ending::Restart));
        assert_eq!(Ending::from_signal(Signal::SIGCHLD), None);
        assert_eq!(Ending::from_signal(Signal::SIGHUP), None);
    }

    #[test]
    fn unmounts_last_first_and_leaves_what_is_needed() {
        let table = "rootfs / rootfs rw 0 0\nproc /proc proc rw 0 0\ndevtmpfs /dev devtmpfs rw 0 0\n\
                     tmpfs /tmp tmpfs rw 0 0\n/dev/vda /tmp/a\\040b ext4 rw 0 0\n\nnonsense\n";
        assert_eq!(unmount_order(table), ["/tmp/a b", "/tmp"]);
    }
}
