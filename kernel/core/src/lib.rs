//! The kernel above the machine: processes, files, sockets, system calls, policy. No unsafe, no board, no driver.
//!
//! | module | story |
//! |---|---|
//! | [`sched`] | which task runs where |
//! | [`time`] | clocks and timers |
//! | [`wait`] | sleeping until something is true |
//! | [`poll`] | readiness of files |
//! | [`user`] | the only way to user memory |
//! | [`uts`] | what the system calls itself |
//! | [`process`] | processes, threads, signals, exec |
//! | [`vm`] | users' address spaces |
//! | [`fs`] | open files, the VFS and its file systems |
//! | [`block`] | disks and their partitions |
//! | [`tty`] | terminals |
//! | [`net`] | sockets |
//! | [`control`] | `/dev/sis`: events, metrics, the memory manager and its approvals |
//! | [`syscall`] | the table and a file a family |
#![no_std]
#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::indexing_slicing)]

extern crate alloc;

pub mod block;
pub mod control;
pub mod fs;
pub mod init;
pub mod net;
pub mod poll;
pub mod process;
pub mod random;
pub mod sched;
pub mod shm;
pub mod syscall;
pub mod time;
pub mod tty;
pub mod user;
pub mod uts;
pub mod vm;
pub mod wait;

pub use sis_abi::Errno;

/// What most of the kernel answers: a value or an error number.
pub type Result<T> = core::result::Result<T, Errno>;

/// Name and version, as `uname -v` and the first log line have it.
pub const VERSION: &str = concat!("SIS ", env!("CARGO_PKG_VERSION"));
