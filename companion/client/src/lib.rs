//! The client of a board.
//!
//! - [`session`]: the protocol as a pure state machine. No socket, no clock.
//! - [`Client`]: that session over QUIC, on tokio: stays connected, resumes where it was, and hands out samples, events, answers and
//!   commands' output.
//! - [`pair()`]: makes a board of a pairing code. [`Store`]: where a host keeps its key and its boards.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use sis_client::{Client, Store};
//! use sis_protocol::control::RequestBody;
//!
//! let store = Store::open_default()?;
//! let board = store.board(None)?;
//! let client = Client::connect(&board, &store.identity()?)?;
//! client.wait_online(std::time::Duration::from_secs(10)).await?;
//! println!("{:?}", client.control(RequestBody::MemStatus).await?);
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod client;
mod endpoint;
mod exec;
mod pair;
mod request;
pub mod session;
mod shell;
mod store;
mod streams;
mod update;

pub use client::{Client, ConnectError, WaitError};
pub use exec::{Exec, ExecError, Exit, Output};
pub use pair::{PairError, pair};
pub use request::RequestError;
pub use session::LinkState;
pub use sis_identity::{Identity, IdentityError};
pub use store::{PairedBoard, Store, StoreError};
pub use streams::{Delivery, MetricsStream, Subscription};
pub use update::{Report as UpdateReport, Reports as UpdateReports, Sender as UpdateSender, UpdateError};
