//! The agent and its clients over loopback: one program, so that it links once.

mod aioquic;
mod delivery;
mod hostile;
mod network;
mod pairing;
mod program;
mod support;
