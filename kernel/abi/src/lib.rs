//! Linux aarch64 numbers and layouts.
#![no_std]
#![forbid(unsafe_code)]
