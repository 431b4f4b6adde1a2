//! The kernel's self-tuning, as a function of what it is told.
//!
//! Nothing here measures, acts, reads a clock or uses a floating-point number: observations with their time come in, proposals and
//! decisions go out, and the same history of calls gives the same answers bit by bit, on the board and on a host. The kernel's part is
//! to feed observations, to carry out changes, and to pass events on.
//!
//! Built is [`mem`], the memory manager's strategies with approvals. The learned controller over memory, scheduling and commands
//! (directives, phases, roll-out, checkpoints, circuit breaker) is not part of this crate yet.
#![no_std]
#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::indexing_slicing)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod mem;
