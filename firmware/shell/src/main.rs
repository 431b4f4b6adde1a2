//! The sis> serial shell.

fn main() {}
