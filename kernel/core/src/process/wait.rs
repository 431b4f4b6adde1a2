//! Waiting for children (wait4(2), waitid(2)).

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use sis_abi::process::{WaitOptions, WaitStatus};
use sis_abi::signal::{SIGCHLD, SIGCONT, code};

use super::exit::child_code;
use super::signal::Event;
use super::table::{self, Table};
use super::{Process, State, Usage};
use crate::{Errno, Result};

/// Which children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// All.
    Any,
    /// One.
    Process(u32),
    /// Those of a group.
    Group(u32),
}

/// What happened to a child.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// The child.
    pub(crate) pid: u32,
    /// Its real user.
    pub(crate) uid: u32,
    /// What wait4(2) stores.
    pub(crate) status: i32,
    /// `si_code`.
    pub(crate) code: i32,
    /// `si_status`.
    pub(crate) value: i32,
    /// Its times, and its children's.
    pub(crate) usage: Usage,
}

/// Waits; `None` with WNOHANG when nothing has happened.
///
/// # Errors
/// `ECHILD` when there is no such child, `ERESTARTSYS` when a signal came first.
pub(crate) fn wait(process: &Arc<Process>, which: Which, options: WaitOptions) -> Result<Option<Report>> {
    let attempt = || match scan(process, which, options) {
        Err(e) => Some(Err(e)),
        Ok(Some(report)) => Some(Ok(Some(report))),
        Ok(None) if options.contains(WaitOptions::WNOHANG) => Some(Ok(None)),
        Ok(None) => None,
    };
    process.child_wait.wait(attempt)?
}

fn scan(process: &Arc<Process>, which: Which, options: WaitOptions) -> Result<Option<Report>> {
    let mut table = table::lock();
    let mut has_candidates = false;
    let mut found = None;
    {
        let children = process.children.lock();
        for child in children.iter().filter(|c| matches(c, which, options)) {
            has_candidates = true;
            if look(child, options) {
                found = Some(child.clone());
                break;
            }
        }
    }
    let Some(child) = found else {
        return if has_candidates { Ok(None) } else { Err(Errno::ECHILD) };
    };
    let keeps = options.contains(WaitOptions::WNOWAIT);
    if child.state() == State::Zombie {
        let report = zombie_report(&child);
        let gone = if keeps { None } else { reap(&mut table, process, &child) };
        drop(table);
        drop(gone);
        return Ok(Some(report));
    }
    let event = {
        let mut state = child.signal.lock();
        let event = state.event;
        if !keeps {
            state.event = None;
        }
        event
    };
    let uid = child.uid();
    let usage = child.usage();
    let (status, code, value) = match event {
        Some(Event::Stopped(signal)) => {
            let number = signal.number();
            (
                WaitStatus::Stopped(u8::try_from(number).unwrap_or(0)).to_raw(),
                code::CLD_STOPPED,
                number,
            )
        }
        _ => (WaitStatus::Continued.to_raw(), code::CLD_CONTINUED, SIGCONT.number()),
    };
    Ok(Some(Report {
        pid: child.pid,
        uid,
        status,
        code,
        value,
        usage,
    }))
}

fn matches(child: &Process, which: Which, options: WaitOptions) -> bool {
    let is_one = match which {
        Which::Any => true,
        Which::Process(pid) => child.pid == pid,
        Which::Group(pgid) => child.pgid() == pgid,
    };
    let is_clone = child.exit_signal.load(Ordering::Relaxed) != SIGCHLD.number();
    let is_kind = options.contains(WaitOptions::__WALL) || is_clone == options.contains(WaitOptions::__WCLONE);
    is_one && is_kind
}

/// Whether the child has something to report.
fn look(child: &Process, options: WaitOptions) -> bool {
    if child.state() == State::Zombie {
        return options.contains(WaitOptions::WEXITED);
    }
    match child.signal.lock().event {
        Some(Event::Stopped(_)) => options.contains(WaitOptions::WUNTRACED),
        Some(Event::Continued) => options.contains(WaitOptions::WCONTINUED),
        None => false,
    }
}

fn zombie_report(child: &Process) -> Report {
    let status = child.exit_status.load(Ordering::Relaxed);
    let (code, value) = child_code(status);
    let mut usage = child.usage();
    usage.add(&child.children_usage());
    Report {
        pid: child.pid,
        uid: child.uid(),
        status,
        code,
        value,
        usage,
    }
}

fn reap(table: &mut Table, parent: &Process, child: &Arc<Process>) -> Option<Arc<Process>> {
    let mut usage = child.usage();
    usage.add(&child.children_usage());
    parent.inner.lock().reaped.add(&usage);
    table.remove(child)
}
