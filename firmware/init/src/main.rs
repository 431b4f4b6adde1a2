//! Process 1 of the SIS image.
#![forbid(unsafe_code)]

fn main() {}
