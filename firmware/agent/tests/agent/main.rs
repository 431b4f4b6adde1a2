//! The agent and its clients over loopback: one program, so that it links once.

mod delivery;
mod hostile;
mod pairing;
mod program;
mod support;
