//! Linux aarch64 numbers and layouts: what programs and the kernel agree on, and nothing else.
#![no_std]
#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::indexing_slicing)]

#[cfg(test)]
extern crate std;

mod macros;

pub mod errno;
pub mod fs;
pub mod layout;
pub mod mm;
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
