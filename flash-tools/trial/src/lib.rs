//! Trials of a running board, by a client that is paired as owner. `sisctl` and the suites run the same ones.
//!
//! - [`fuzz`]: random system calls on the board, malformed datagrams at its agent, and what must still answer then.
//! - [`packets`]: those datagrams, the same for the same seed.
//! - [`soak`]: events made without a pause while the client dies and the link is cut: each must come once, in order.
//!
//! The programs that the trials run on a board are sent there through the agent, which needs an owner's role, and taken away again: an image
//! carries none of them. Building programs, booting boards and cutting links is the caller's.
#![forbid(unsafe_code)]

mod board;
pub mod fuzz;
pub mod packets;
pub mod soak;

pub use board::{Program, TrialError, agent_process, line};
