//! Programs for EL0 that the suites run.

fn main() {}
