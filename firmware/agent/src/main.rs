//! The on-board agent: telemetry and control over QUIC.

fn main() {}
