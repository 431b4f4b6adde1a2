//! Linux aarch64 numbers and layouts: what programs and the kernel agree on, and nothing else.
//!
//! | module | what |
//! |---|---|
//! | [`errno`] | error numbers |
//! | [`nr`] | system call numbers and their names |
//! | [`fs`], [`poll`] | files: flags, modes, `stat` and its kin; readiness |
//! | [`mm`], [`ipc`] | memory mappings; System V shared memory |
//! | [`process`], [`time`], [`system`] | processes, limits, futexes; clocks; the machine as a whole, auxiliary vector |
//! | [`signal`], [`sigframe`] | signals and their sets; the frame on the user's stack |
//! | [`net`] | sockets, addresses, messages, interfaces |
//! | [`tty`] | terminal settings and ioctls |
//! | [`layout`] | how a structure is read from and written to a program's memory, without unsafe code |
//!
//! Flags are types whose constants are the C names without their prefix: what a program passes goes through `from_bits`, and an unknown bit
//! is an error there, not a surprise later. Structures are read and written at explicit offsets, padding as zeros, so that no byte of the
//! kernel's leaves with them. The tests compile C programs for AArch64 against the kernel's and the C library's headers and compare every
//! constant, size and offset (they say so when there is no compiler).
//!
//! Not here: what calls do, and conversions to the kernel's own types.
#![no_std]
#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::indexing_slicing)]

#[cfg(test)]
extern crate std;

mod macros;

pub mod errno;
pub mod fs;
pub mod ipc;
pub mod layout;
pub mod mm;
pub mod net;
pub mod nr;
pub mod poll;
pub mod process;
pub mod sigframe;
pub mod signal;
pub mod system;
pub mod time;
pub mod tty;

pub use errno::Errno;
pub use layout::Layout;

#[cfg(test)]
mod tests;
