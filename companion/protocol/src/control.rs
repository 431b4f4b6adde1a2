//! The kernel's control device, `/dev/sis`.
//!
//! Each `write(2)` is exactly one [`Request`], each `read(2)` returns exactly one [`Message`]; both are one CBOR item of at most
//! [`MAX_MESSAGE_BYTES`]. A request that changes something or asks for something is answered by one [`Message::Response`] with its id.
//! After [`RequestBody::Subscribe`] the same open file also yields [`Message::Event`]s in order of their sequence number; when a reader
//! is too slow the oldest are dropped and counted in one [`Message::Lost`].
//!
//! *Sequence numbers* start at 1 at boot and grow by one an event. A *cursor* is the number of the last event that was seen, 0 for none.
//! *Times* are nanoseconds of `CLOCK_MONOTONIC` unless the name says otherwise.

#[cfg(test)]
mod tests;

mod event;
mod memory;
mod metrics;
mod request;
mod response;

pub use event::{Event, EventKind, Facility, Level, LogRecord};
pub use memory::{
    FaultStats, MemStatus, Observation, Outcome, OutcomeStatus, Proposal, ProposalKind, Strategy, Verdict,
};
pub use metrics::{CpuTimes, DiskCounters, Metrics, NetCounters};
pub use request::{Request, RequestBody, Selection};
pub use response::{AutonomyStatus, CheckResult, Counts, ErrorCode, Failure, Message, ResponseBody};

use crate::codec::{self, DecodeError};

/// The longest request or message on the control device.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;

impl Request {
    /// The bytes of one `write(2)`.
    #[must_use]
    pub fn to_cbor(&self) -> alloc::vec::Vec<u8> {
        codec::to_vec(self)
    }

    /// Reads the bytes of one `write(2)`.
    ///
    /// # Errors
    /// [`DecodeError`]; an unknown request is not an error but [`RequestBody::Unknown`].
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::from_slice(bytes, MAX_MESSAGE_BYTES)
    }

    /// The id of a request that [`Self::from_cbor`] refuses, so that its asker can be told; `None` when not even that can
    /// be read.
    #[must_use]
    pub fn id_of_malformed(bytes: &[u8]) -> Option<u32> {
        let mut decoder = minicbor::Decoder::new(bytes);
        decoder.map().ok()?;
        // The id is the first field of what we encode; a request that begins otherwise is not ours.
        match (decoder.u32().ok()?, decoder.u32()) {
            (0, Ok(id)) => Some(id),
            _ => None,
        }
    }
}

impl Message {
    /// The bytes of one `read(2)`.
    #[must_use]
    pub fn to_cbor(&self) -> alloc::vec::Vec<u8> {
        codec::to_vec(self)
    }

    /// Reads the bytes of one `read(2)`.
    ///
    /// # Errors
    /// [`DecodeError`]; an unknown message is not an error but [`Message::Unknown`].
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::from_slice::<codec::Lenient<Self>>(bytes, MAX_MESSAGE_BYTES).map(|m| m.0)
    }
}
