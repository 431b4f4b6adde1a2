//! Memory: page frames, the kernel heap, the kernel's and users' address spaces.
//!
//! Kernel virtual addresses (48 bits, TTBR1):
//!
//! | from | what |
//! |---|---|
//! | `0xffff_0000_0000_0000` | linear map: physical address + [`LINEAR_BASE`] |
//! | `0xffff_8000_0000_0000` | the kernel image |
//! | `0xffff_9000_0000_0000` | device registers |
//! | `0xffff_a000_0000_0000` | kernel stacks, a guard page under each |
//! | `0xffff_b000_0000_0000` | the device tree, read-only |
//! | `0xffff_c000_0000_0000` | heap blocks made of scattered frames |
//!
//! No page is both writable and executable, from the first instruction after the MMU is on.

pub mod dma;
pub mod frames;
pub(crate) mod heap;
pub(crate) mod kspace;
pub mod scatter;
pub(crate) mod stack;
pub mod usercopy;
pub mod uspace;

pub use kspace::{Mappings, kernel_mappings};
pub use stack::stack_frames;

/// Bytes of a page and of a frame.
pub const PAGE_SIZE: usize = 4096;
/// log2 of [`PAGE_SIZE`].
pub const PAGE_SHIFT: usize = 12;
/// First address of the linear map.
pub const LINEAR_BASE: usize = 0xffff_0000_0000_0000;
/// First address that users cannot have (48-bit TTBR0).
pub const USER_END: usize = 0x0001_0000_0000_0000;

/// Kernel address of a physical address, through the linear map.
#[inline(always)]
pub(crate) fn linear(pa: usize) -> *mut u8 {
    (pa + LINEAR_BASE) as *mut u8
}
