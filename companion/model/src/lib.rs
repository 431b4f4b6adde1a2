//! What a companion knows of its boards: the state behind a desktop, a phone, a browser, the hub and the bindings.
//!
//! There is no UI in here, no socket, no file, no thread and no clock: what comes from a board is passed in as a value, with the time at which
//! it came, and what is to be shown is asked for. It builds for `wasm32-unknown-unknown`.
#![forbid(unsafe_code)]

pub mod boards;
pub mod clock;
pub mod events;
pub mod feed;
pub mod input;
pub mod logs;
pub mod metrics;
mod text;
