//! What comes from a board, as a value: from a live connection or from a recording, the model cannot tell.
//!
//! These types travel as CBOR with numbered fields, in recordings: numbers are never used again for something else, and what a newer
//! version wrote is decoded to an `Unknown` variant.

use minicbor::{Decode, Encode};
use sis_protocol::codec::{self, Unknown};
use sis_protocol::control::{Event, Failure, Metrics, ResponseBody};
use sis_protocol::wire::{Cursor, Info, Sample, Welcome};

use crate::clock::RoundTrip;

/// One thing that came from a board.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub enum Input {
    /// Something of a newer version.
    #[n(0)]
    Unknown,
    /// The link changed.
    #[n(1)]
    Link(
        #[n(0)]
        #[cbor(decode_with = "codec::lenient")]
        Link,
    ),
    /// From the subscription to events.
    #[n(2)]
    Events(
        #[n(0)]
        #[cbor(decode_with = "codec::lenient")]
        Delivery,
    ),
    /// From the subscription to log lines.
    #[n(3)]
    Logs(
        #[n(0)]
        #[cbor(decode_with = "codec::lenient")]
        Delivery,
    ),
    /// A sample of the stream of metrics.
    #[n(4)]
    Sample {
        /// Its number, from 1 on for each stream.
        #[n(0)]
        seq: u64,
        /// When it was taken, `CLOCK_MONOTONIC` of the board.
        #[n(1)]
        ts_ns: u64,
        /// What was measured.
        #[n(2)]
        metrics: Box<Metrics>,
    },
    /// The kernel's answer to a request.
    #[n(5)]
    Answer(
        #[n(0)]
        #[cbor(decode_with = "codec::lenient")]
        ResponseBody,
    ),
    /// The agent's answer to the request for it.
    #[n(6)]
    Info(#[n(0)] Box<Info>),
    /// A measurement of the board's clock.
    #[n(7)]
    RoundTrip {
        /// See [`RoundTrip::sent_ms`].
        #[n(0)]
        sent_ms: u64,
        /// See [`RoundTrip::received_ms`].
        #[n(1)]
        received_ms: u64,
        /// See [`RoundTrip::board_ns`].
        #[n(2)]
        board_ns: u64,
    },
}

impl Unknown for Input {
    fn unknown() -> Self {
        Self::Unknown
    }
}

impl From<Sample> for Input {
    /// Which samples are missing is counted here again, from their numbers.
    fn from(sample: Sample) -> Self {
        Self::Sample {
            seq: sample.seq,
            ts_ns: sample.ts_ns,
            metrics: Box::new(sample.metrics),
        }
    }
}

impl From<RoundTrip> for Input {
    fn from(trip: RoundTrip) -> Self {
        let RoundTrip {
            sent_ms,
            received_ms,
            board_ns,
        } = trip;
        Self::RoundTrip {
            sent_ms,
            received_ms,
            board_ns,
        }
    }
}

/// What the link to the board is doing: the client's `LinkState`, in a form that can be kept.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub enum Link {
    /// Something of a newer version.
    #[n(0)]
    Unknown,
    /// On the way.
    #[n(1)]
    Connecting {
        /// From 1; counts since the board was last online.
        #[n(0)]
        attempt: u32,
    },
    /// Connected and greeted.
    #[n(2)]
    Online(#[n(0)] Box<Welcome>),
    /// Lost or not reached; tried again without a person.
    #[n(3)]
    Waiting {
        /// When, milliseconds from the change to this state.
        #[n(0)]
        retry_in_ms: u64,
        /// What happened.
        #[n(1)]
        reason: String,
    },
    /// The board does not want this client; not tried again.
    #[n(4)]
    Refused {
        /// The board's sentence.
        #[n(0)]
        reason: String,
    },
}

impl Unknown for Link {
    fn unknown() -> Self {
        Self::Unknown
    }
}

/// What a subscription delivers, with its place in the board's log.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub enum Delivery {
    /// Something of a newer version.
    #[n(0)]
    Unknown,
    /// Delivery has (again) begun.
    #[n(1)]
    Started {
        /// The cursor before the first event to come.
        #[n(0)]
        after: Cursor,
        /// The newest number on the board.
        #[n(1)]
        head_seq: u64,
    },
    /// The next event.
    #[n(2)]
    Event {
        /// The life of the log that it is of; its place in it is the event's number.
        #[n(0)]
        epoch: u64,
        /// The event.
        #[n(1)]
        event: Box<Event>,
    },
    /// Events are missing: the state is to be taken afresh.
    #[n(3)]
    Bootstrap {
        /// Where delivery goes on.
        #[n(0)]
        cursor: Cursor,
        /// How many are missing; absent when the log has begun a new life.
        #[n(1)]
        missed: Option<u64>,
    },
    /// The board refuses the subscription.
    #[n(4)]
    Refused(#[n(0)] Failure),
}

impl Unknown for Delivery {
    fn unknown() -> Self {
        Self::Unknown
    }
}
