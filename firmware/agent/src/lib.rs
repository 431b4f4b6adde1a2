//! The on-board agent: telemetry and control over QUIC.
//!
//! An ordinary Linux program. On a board it speaks to the kernel's control device; on a Linux host, for development, it takes what
//! `/proc` measures and says honestly that there is nothing to approve.
//!
//! ```text
//!  /dev/sis or /proc --source--> log (events, log lines) --subscriptions--> clients
//!                        |-----> sampler (10 Hz, only while somebody looks) --datagrams--> clients
//!                        <------ requests (each checked against the client's role) -------- clients
//! ```
//!
//! Everything that a peer can make grow is bounded: connections, streams, frames, logs, paired clients, tokens, commands. A slow client
//! slows nobody: it reads the log at its own pace, and when the log has moved on past it, it is told so.
#![forbid(unsafe_code)]

mod agent;
mod clock;
mod connection;
mod info;
mod local;
mod log;
mod paired;
mod power;
mod sampler;
pub mod source;
mod state;
mod stderr;
mod streams;
mod tokens;
mod update;

pub use agent::{Agent, Config, StartError};
pub use local::{LocalError, ask_local};
pub use sis_update::card::Places;
pub use stderr::set_quiet;
