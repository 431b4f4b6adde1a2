//! The control device, `/dev/sis`: `sis-guest control device | approve | reject | expire | auto | query | oom`.
//!
//! Unlike the cases these need our kernel, and one board each: the memory manager goes on from what it has seen.

mod client;
mod device;
mod memory;

use std::io::{Write, stdout};
use std::process::ExitCode;

use crate::sys::{Outcome, c};

/// A check: its name and what it does.
type Check = (&'static str, fn() -> Outcome);

const DEVICE: &[Check] = &[
    ("hello", device::hello),
    ("metrics", device::metrics),
    ("malformed", device::malformed),
    ("noise", device::noise),
    ("sizes", device::sizes),
    ("answers-are-bounded", device::answers_are_bounded),
    ("poll", device::poll),
    ("log-events", device::log_events),
    ("two-readers", device::two_readers),
    ("crash-event", device::crash_event),
    ("slow-reader", device::slow_reader),
    ("stale-cursor", device::stale_cursor),
    ("log-tail", device::log_tail),
    ("selfcheck", device::selfcheck),
];

/// The command.
pub(crate) fn command(words: &[&str]) -> ExitCode {
    let checks: &[Check] = match words {
        ["device"] => DEVICE,
        ["approve"] => &[("approve", memory::approve)],
        ["reject"] => &[("reject", memory::reject)],
        ["expire"] => &[("expire", memory::expire)],
        ["auto"] => &[("auto", memory::without_approval)],
        ["query"] => &[("query", memory::query_mode)],
        ["idle"] => &[("idle", memory::idle)],
        ["load"] => &[("load", memory::load)],
        ["oom"] => &[("oom", memory::out_of_memory)],
        _ => {
            eprintln!("usage: sis-guest control device | approve | reject | expire | auto | query | idle | load | oom");
            return ExitCode::from(2);
        }
    };
    let is_init = std::process::id() == 1;
    if is_init && let Err(why) = mount() {
        println!("{why}");
    }
    let mut failed = 0;
    for (name, check) in checks {
        match check() {
            Ok(()) => println!("[PASS] control/{name}"),
            Err(why) => {
                failed += 1;
                println!("[FAIL] control/{name}: {}", why.replace('\n', " "));
            }
        }
        let _ = stdout().flush();
    }
    println!("sis-guest: {} passed, {failed} failed", checks.len() - failed);
    let _ = stdout().flush();
    if is_init {
        let _ = sys!(
            SYS_reboot,
            libc::LINUX_REBOOT_MAGIC1,
            libc::LINUX_REBOOT_MAGIC2,
            libc::LINUX_REBOOT_CMD_POWER_OFF
        );
    }
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// What init does.
fn mount() -> Outcome {
    for (kind, at) in [("devtmpfs", "/dev"), ("proc", "/proc"), ("tmpfs", "/tmp")] {
        let _ = std::fs::create_dir_all(at);
        let (kind, place) = (c(kind), c(at));
        sys!(SYS_mount, kind.as_ptr(), place.as_ptr(), kind.as_ptr(), 0, 0).map_err(|e| format!("{at}: {e}"))?;
    }
    Ok(())
}
