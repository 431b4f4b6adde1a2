//! The cases, a file a group.

mod epoll;
mod exec;
mod files;
mod futex;
mod memory;
mod paths;
mod pipes;
mod process;
mod procfs;
mod shm;
mod signals;
mod sockets;
mod threads;
mod time;
mod tty;
mod unix;
mod vfs;

use std::process::ExitCode;

use crate::sys::Outcome;

/// A case: `group/name`, and what runs in the child.
pub(crate) type Case = (&'static str, fn() -> Outcome);

/// All cases.
pub(crate) static CASES: &[&[Case]] = &[
    process::CASES,
    exec::CASES,
    threads::CASES,
    signals::CASES,
    memory::CASES,
    files::CASES,
    paths::CASES,
    vfs::CASES,
    pipes::CASES,
    epoll::CASES,
    futex::CASES,
    time::CASES,
    tty::CASES,
    sockets::CASES,
    unix::CASES,
    procfs::CASES,
    shm::CASES,
];

/// `sis-guest helper ...`: the program that cases execute.
pub(crate) fn helper(words: &[&str]) -> ExitCode {
    exec::helper(words)
}
