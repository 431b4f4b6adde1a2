//! All of the kernel's unsafe code: boot, exceptions, page tables, frames, device mappings, per-CPU data, locks, context
//! switch. It knows nothing of Linux; what it offers is safe to use from `kernel/core`, which forbids unsafe.
#![no_std]

extern crate alloc;

mod boot;
pub mod cpu;
pub mod firmware;
pub mod io;
pub mod irq;
pub mod log;
mod mem;
pub mod mm;
pub mod panic;
pub mod percpu;
pub mod smp;
mod start;
pub mod symbols;
pub mod sync;
pub mod task;
pub mod timer;
pub mod tree;
pub mod user;
pub mod vdso;
mod vectors;
pub mod virtio;

pub use start::{BootInfo, Initrd};
