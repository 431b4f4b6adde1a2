//! QEMU virt: the bootable image.
#![no_std]
