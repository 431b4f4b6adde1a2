//! What the whole-system tests share. The tests themselves are in `tests/`, one file a behaviour.
#![forbid(unsafe_code)]

pub mod crates;
