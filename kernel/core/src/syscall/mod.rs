//! System calls: the table, and a file a family.
//!
//! Each family file has `CALLS`, one row a call; [`table`] joins them. A handler decodes its arguments, refuses unknown
//! flags, and delegates. A number without a row answers `ENOSYS` and is counted.

mod args;
mod attributes;
mod cred;
mod dir;
mod epoll;
mod event;
mod fd;
mod file;
mod futex;
mod inotify;
mod io;
pub mod memory;
mod mount;
mod pipe;
mod poll;
mod prctl;
mod process;
mod sched;
mod shm;
mod signal;
mod socket;
mod stat;
pub mod system;
pub mod table;
mod time;
mod xattr;

use alloc::sync::Arc;

use sis_machine::user::UserContext;

use crate::Result;
use crate::process::thread::Thread;

/// One system call being made.
pub struct Call<'a> {
    /// The calling thread.
    pub thread: &'a Arc<Thread>,
    /// Its registers; x0..x5 are the arguments. A handler that replaces them all (exec, sigreturn) sets
    /// [`Self::registers_replaced`].
    pub user: &'a mut UserContext,
    /// x0 must not be written with the result.
    pub registers_replaced: bool,
}

impl Call<'_> {
    /// Argument `n` (0..=5) as a 64-bit value.
    pub fn arg(&self, n: usize) -> u64 {
        self.user.x.get(n).copied().unwrap_or(0)
    }

    /// Argument `n` as an address or size.
    pub fn usize(&self, n: usize) -> usize {
        self.arg(n) as usize
    }

    /// Argument `n` as an `int`.
    pub fn int(&self, n: usize) -> i32 {
        self.arg(n) as i32
    }

    /// Argument `n` as an `unsigned int`.
    pub fn uint(&self, n: usize) -> u32 {
        self.arg(n) as u32
    }
}

/// What answers a call.
pub type Handler = fn(&mut Call<'_>) -> Result<usize>;

/// How complete a call is, for `/proc/sis/syscalls` and docs/syscalls.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// As on Linux.
    Built,
    /// What is missing.
    Partial(&'static str),
}

/// A row of the table.
#[derive(Clone, Copy)]
pub struct Row {
    /// The number (aarch64 uses the generic table, `asm-generic/unistd.h`).
    pub number: u16,
    /// The name as in the manual.
    pub name: &'static str,
    /// What answers it.
    pub handler: Handler,
    /// How complete it is.
    pub coverage: Coverage,
}

/// A complete call.
pub const fn built(number: u16, name: &'static str, handler: Handler) -> Row {
    Row {
        number,
        name,
        handler,
        coverage: Coverage::Built,
    }
}

/// A call of which `missing` is not built.
pub const fn partial(number: u16, name: &'static str, handler: Handler, missing: &'static str) -> Row {
    Row {
        number,
        name,
        handler,
        coverage: Coverage::Partial(missing),
    }
}
