//! The bootable image for the Raspberry Pi 4.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use board_rpi4 as _;
