//! Linux aarch64 numbers and layouts: what programs and the kernel agree on, and nothing else.
#![no_std]
#![forbid(unsafe_code)]

pub mod errno;
pub mod signal;

pub use errno::Errno;
