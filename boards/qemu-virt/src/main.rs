//! The bootable image for QEMU's virt machine.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use board_qemu_virt as _;
