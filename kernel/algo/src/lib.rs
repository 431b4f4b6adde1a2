//! Pure kernel algorithms: functions of their inputs, tested on the host.
//!
//! | module | what |
//! |---|---|
//! | [`buddy`] | page frames by the buddy system, bookkeeping outside of the frames |
//! | [`cmdline`] | the kernel command line, split as Linux splits it |
//! | [`cpio`] | initramfs images: newc archives, plain and gzip |
//! | [`elf`] | what `execve` needs of an ELF64 file |
//! | [`exec`] | the rest of what `execve` needs: `#!` lines, the first stack, the CPU's capabilities |
//! | [`fdt`] | flattened device trees |
//! | [`futex`] | the operation of `FUTEX_WAKE_OP` |
//! | [`interval_map`] | ranges of addresses with values: an address space's mappings |
//! | [`partition`] | partition tables: GPT and MBR |
//! | [`vdso`] | builds the vDSO's ELF image around given code |
//!
//! What comes from outside (a boot loader's tree, an archive, a program) is parsed without a panic and within bounds, whatever its bytes.
//!
//! Not here: anything that reads a clock, touches hardware, locks or sleeps; and nothing that knows Linux's numbers, because the machine
//! layer stands on this crate (the line discipline, which needs them, is `kernel/ldisc`).
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
pub mod partition;
pub mod screen;
pub mod vdso;
