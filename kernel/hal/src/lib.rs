//! Interfaces between the kernel, drivers and boards.
#![no_std]
#![forbid(unsafe_code)]
