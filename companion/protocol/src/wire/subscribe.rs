//! Ordered delivery with a cursor.
//!
//! The agent keeps the newest events in a bounded log. A *cursor* names a log's life (`epoch`, chosen at random when the agent starts)
//! and the sequence number of the last event that the client has applied. From a cursor that is still covered, delivery resumes without a
//! gap and without a repeat; any other is *stale*, and the client bootstraps: it forgets its cursor, asks for the state, and starts
//! from the oldest event kept.

use minicbor::{Decode, Encode};

use crate::codec::{Unknown, open_enum};
use crate::control::Event;

open_enum! {
    /// What can be subscribed to.
    pub enum Topic {
        /// Proposals, decisions, outcomes, crashes: everything but log lines.
        Events = 1,
        /// Log lines.
        Logs = 2,
    }
}

/// A place in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "camelCase")
)]
#[cbor(map)]
pub struct Cursor {
    /// The log's life.
    #[n(0)]
    pub epoch: u64,
    /// The last sequence number applied, 0 for none.
    #[n(1)]
    pub seq: u64,
}

/// From where on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cbor(map)]
#[non_exhaustive]
pub enum Start {
    /// Something of a newer version; refused.
    #[n(0)]
    Unknown,
    /// The oldest that is kept.
    #[n(1)]
    Oldest,
    /// After a cursor.
    #[n(2)]
    After(#[n(0)] Cursor),
    /// The newest so many, and on from there; 0: only what is new.
    #[n(3)]
    Newest(#[n(0)] u32),
}

impl Unknown for Start {
    fn unknown() -> Self {
        Self::Unknown
    }
}

/// What the agent sends on a subscription.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cbor(map)]
#[non_exhaustive]
pub enum EventFrame {
    /// Something of a newer version: passed over.
    #[n(0)]
    Unknown,
    /// First: delivery starts after this cursor.
    #[n(1)]
    Started {
        /// The cursor before the first event to come.
        #[n(0)]
        after: Cursor,
        /// The newest sequence number.
        #[n(1)]
        head_seq: u64,
    },
    /// The next event.
    #[n(2)]
    Event(#[n(0)] Event),
    /// The cursor is older than what is kept (or of another life); the agent finishes the stream.
    #[n(3)]
    StaleCursor {
        /// The oldest cursor that would have been good: the first kept sequence number less one.
        #[n(0)]
        oldest: Cursor,
        /// The newest sequence number.
        #[n(1)]
        head_seq: u64,
    },
}

impl Unknown for EventFrame {
    fn unknown() -> Self {
        Self::Unknown
    }
}
