//! The cases, a file a group.

mod disk;
mod epoll;
mod exec;
mod files;
mod futex;
mod inotify;
mod mapped;
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
mod xattr;

use std::process::ExitCode;

use crate::sys::Outcome;

/// A case: `group/name`, and what runs in the child.
pub(crate) type Case = (&'static str, fn() -> Outcome);

/// Begins the names of cases that need a disk, and write on it: `all` leaves them out.
pub(crate) const NEEDS_DISK: &str = "disk/";

/// All cases.
pub(crate) static CASES: &[&[Case]] = &[
    process::CASES,
    exec::CASES,
    threads::CASES,
    signals::CASES,
    memory::CASES,
    mapped::CASES,
    files::CASES,
    paths::CASES,
    vfs::CASES,
    xattr::CASES,
    pipes::CASES,
    epoll::CASES,
    futex::CASES,
    inotify::CASES,
    time::CASES,
    tty::CASES,
    sockets::CASES,
    unix::CASES,
    procfs::CASES,
    shm::CASES,
    disk::CASES,
];

/// `sis-guest helper ...`: the program that cases execute.
pub(crate) fn helper(words: &[&str]) -> ExitCode {
    exec::helper(words)
}
