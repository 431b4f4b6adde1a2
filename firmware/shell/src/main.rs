//! The sis> serial shell.
#![forbid(unsafe_code)]

fn main() {}
