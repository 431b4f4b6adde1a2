//! Pure kernel algorithms, host-tested.
#![no_std]
#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::indexing_slicing)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod buddy;
pub mod cmdline;
pub mod cpio;
pub mod elf;
pub mod exec;
pub mod fdt;
pub mod futex;
pub mod interval_map;
pub mod ldisc;
pub mod vdso;
