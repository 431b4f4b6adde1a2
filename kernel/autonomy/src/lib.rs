//! The self-tuning controller: pure, fixed point.
#![no_std]
#![forbid(unsafe_code)]
