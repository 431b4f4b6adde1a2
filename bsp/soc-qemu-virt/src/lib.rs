//! QEMU virt: addresses and interrupt numbers where the device tree does not give them.
#![no_std]
#![forbid(unsafe_code)]
