//! Process 1 of the SIS image.

fn main() {}
