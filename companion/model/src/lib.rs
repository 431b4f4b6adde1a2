//! What a companion knows of its boards: the state behind a desktop, a phone, a browser, the hub and the bindings.
//!
//! There is no UI in here, no socket, no file, no thread and no clock: what comes from a board is passed in as a value, with the time at which
//! it came, and what is to be shown is asked for. It builds for `wasm32-unknown-unknown`.
//!
//! ```text
//!  client ──┐                      ┌── clock     what time it is there
//!           ├─ Input ─▶ Board ─────┼── metrics   series, windows, down-sampling, export
//!  replay ──┘  at_ms    (boards)   ├── logs      lines, filters, export
//!     ▲                            └── events    timeline, approvals
//!     └── Recorder ◀── the same inputs
//! ```
//!
//! # Invariants
//! - The same inputs at the same times make the same [`boards::Board`], live or from a recording.
//! - What is delivered again changes nothing ([`feed`]): deliveries may be repeated, a connection may begin anew at any time.
//! - Everything from a board is hostile: whatever it sends, memory stays within fixed bounds and nothing panics. Texts are cut and made safe to
//!   show where they come in.
//! - Times are Unix milliseconds of the host, `_ms`, unless they are nanoseconds of the board's monotonic clock, `_ns`.
//!
//! # Example
//! ```
//! use sis_model::boards::{BoardId, Boards};
//! use sis_model::input::{Input, Link};
//! use sis_protocol::pairing::KeyHash;
//!
//! let mut boards = Boards::default();
//! let pi = BoardId::Paired(KeyHash([7; 32]));
//! boards.add(pi)?;
//! boards.apply(pi, 1_700_000_000_000, Input::Link(Link::Connecting { attempt: 1 }))?;
//! assert!(!boards.get(pi).is_some_and(|board| board.is_online()));
//! # Ok::<(), sis_model::boards::BoardsError>(())
//! ```
#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::indexing_slicing)]

pub mod boards;
pub mod clock;
pub mod events;
pub mod feed;
pub mod input;
pub mod logs;
pub mod metrics;
pub mod replay;
mod resent;
mod text;
