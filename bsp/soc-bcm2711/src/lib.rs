//! BCM2711: addresses, interrupt numbers, clocks.
#![no_std]
#![forbid(unsafe_code)]
