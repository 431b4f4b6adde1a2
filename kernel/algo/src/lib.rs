//! Pure kernel algorithms, host-tested.
#![no_std]
#![forbid(unsafe_code)]
