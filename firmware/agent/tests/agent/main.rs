//! The agent and its clients over loopback: one program, so that it links once.

mod aioquic;
mod delivery;
mod hostile;
mod pairing;
mod program;
mod support;
