//! All of the kernel's unsafe code.
#![no_std]
