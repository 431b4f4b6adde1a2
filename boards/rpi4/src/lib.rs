//! Raspberry Pi 4: what the board has and where, and how its drivers are put together.
#![no_std]
#![deny(unsafe_code)]

extern crate alloc;

mod cards;
mod ethernet;
mod map;
mod usb;
mod wiring;

pub use wiring::main;
