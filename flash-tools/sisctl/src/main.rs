//! The SIS command line.

fn main() {}
