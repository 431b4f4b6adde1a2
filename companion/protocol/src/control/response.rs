//! What the kernel says.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use minicbor::{Decode, Encode};

use super::{Event, LogRecord, MemStatus, Metrics, Outcome, Proposal};
use crate::codec::{self, open_enum};
use crate::hello::Hello;

/// One message of the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "camelCase")
)]
#[cbor(map)]
#[non_exhaustive]
pub enum Message {
    /// A message of a newer version: to be passed over.
    #[n(0)]
    Unknown,
    /// The answer to a request.
    #[n(1)]
    Response {
        /// The request's id.
        #[n(0)]
        id: u32,
        /// The answer.
        #[n(1)]
        #[cbor(decode_with = "codec::lenient")]
        body: ResponseBody,
    },
    /// Something happened.
    #[n(2)]
    Event(#[n(0)] Event),
    /// The reader was too slow: so many events were dropped, the next event's number shows which.
    #[n(3)]
    Lost {
        /// How many.
        #[n(0)]
        count: u64,
    },
}

impl codec::Unknown for Message {
    fn unknown() -> Self {
        Self::Unknown
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "camelCase", rename_all_fields = "camelCase")
)]
#[cbor(map)]
#[non_exhaustive]
pub enum ResponseBody {
    /// An answer of a newer version.
    #[n(0)]
    Unknown,
    /// It could not be done.
    #[n(1)]
    Error(#[n(0)] Failure),
    /// To [`super::RequestBody::Hello`].
    #[n(2)]
    Hello(#[n(0)] Hello),
    /// To [`super::RequestBody::Metrics`].
    #[n(3)]
    Metrics(#[n(0)] Box<Metrics>),
    /// To [`super::RequestBody::Subscribe`].
    #[n(4)]
    Subscribed {
        /// The oldest cursor from which nothing is missing: the first kept sequence number less one.
        #[n(0)]
        oldest_cursor: u64,
        /// The newest sequence number.
        #[n(1)]
        head_cursor: u64,
    },
    /// To [`super::RequestBody::LogTail`]: oldest first.
    #[n(5)]
    LogTail(
        #[n(0)]
        #[cbor(decode_with = "codec::list::<_, _, 10_000>")]
        Vec<LogRecord>,
    ),
    /// To [`super::RequestBody::MemStatus`] and [`super::RequestBody::MemSetStrategy`].
    #[n(6)]
    MemStatus(#[n(0)] Box<MemStatus>),
    /// To [`super::RequestBody::MemApprovals`]: oldest first, at most 100.
    #[n(7)]
    Approvals(
        #[n(0)]
        #[cbor(decode_with = "codec::list::<_, _, 100>")]
        Vec<Proposal>,
    ),
    /// To [`super::RequestBody::MemApprovalMode`] and [`super::RequestBody::MemQueryMode`]: the state after the request.
    #[n(8)]
    Mode {
        /// On or off.
        #[n(0)]
        on: bool,
    },
    /// To [`super::RequestBody::MemApprove`] and [`super::RequestBody::MemReject`].
    #[n(9)]
    Decided(#[n(0)] Counts),
    /// To [`super::RequestBody::MemHistory`]: newest first.
    #[n(10)]
    History(
        #[n(0)]
        #[cbor(decode_with = "codec::list::<_, _, 1000>")]
        Vec<Outcome>,
    ),
    /// To [`super::RequestBody::SelfCheck`].
    #[n(11)]
    SelfCheck(
        #[n(0)]
        #[cbor(decode_with = "codec::list::<_, _, 256>")]
        Vec<CheckResult>,
    ),
    /// To [`super::RequestBody::AutonomyStatus`].
    #[n(12)]
    Autonomy(#[n(0)] AutonomyStatus),
    /// Done, nothing to tell.
    #[n(13)]
    Done,
}

impl codec::Unknown for ResponseBody {
    fn unknown() -> Self {
        Self::Unknown
    }
}

open_enum! {
    /// Why a request was refused.
    pub enum ErrorCode {
        /// This kernel or agent does not know the request.
        Unsupported = 1,
        /// The request is not well formed.
        InvalidRequest = 2,
        /// The asker's role does not reach.
        Forbidden = 3,
        /// What was named does not exist.
        NotFound = 4,
        /// Something else is being done, or a queue is full; later may work.
        Busy = 5,
        /// It was tried and failed.
        Internal = 6,
        /// This machine has no such thing (no control device, no sensor).
        Unavailable = 7,
        /// Asked too often.
        RateLimited = 8,
        /// It took too long.
        TimedOut = 9,
    }
}

/// A refusal or failure.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "camelCase")
)]
#[cbor(map)]
pub struct Failure {
    /// For programs.
    #[n(0)]
    pub code: ErrorCode,
    /// For people: what happened and what to do.
    #[n(1)]
    pub message: String,
}

impl core::fmt::Display for Failure {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.message)
    }
}

impl core::error::Error for Failure {}

/// What became of the proposals that were selected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "camelCase")
)]
#[cbor(map)]
pub struct Counts {
    /// Approved and carried out.
    #[n(0)]
    pub executed: u32,
    /// Approved and no longer needed.
    #[n(1)]
    pub skipped: u32,
    /// Approved and failed.
    #[n(2)]
    pub failed: u32,
    /// Rejected.
    #[n(3)]
    pub rejected: u32,
    /// Named and not waiting (any more): decided before, expired, or never there.
    #[n(4)]
    pub not_found: u32,
}

/// One subsystem's check of itself.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "camelCase")
)]
#[cbor(map)]
pub struct CheckResult {
    /// As printed after `[PASS]` or `[FAIL]`.
    #[n(0)]
    pub name: String,
    /// Absent when it passed; else why it did not.
    #[n(1)]
    pub failure: Option<String>,
    /// How long it took.
    #[n(2)]
    pub duration_ns: Option<u64>,
}

/// The controller's state (`autoctl status`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "camelCase", default)
)]
#[cbor(map)]
pub struct AutonomyStatus {
    /// Whether it runs.
    #[n(0)]
    #[cbor(default)]
    pub enabled: bool,
    /// Whether it has put itself in safe mode.
    #[n(1)]
    #[cbor(default)]
    pub safe_mode: bool,
    /// Whether learning is frozen.
    #[n(2)]
    #[cbor(default)]
    pub learning_frozen: bool,
    /// Whether it has seen enough to act.
    #[n(3)]
    #[cbor(default)]
    pub ready: bool,
    /// Between decisions, milliseconds.
    #[n(4)]
    pub interval_ms: Option<u32>,
    /// Confidence below which nothing is done, 0..=1000.
    #[n(5)]
    pub confidence_threshold: Option<u32>,
    /// `A` to `D`, as its number 0..=3.
    #[n(6)]
    pub phase: Option<u32>,
    /// Decisions since boot.
    #[n(7)]
    pub decisions: Option<u64>,
    /// Of those, acted upon.
    #[n(8)]
    pub accepted: Option<u64>,
    /// Of those, put off for lack of confidence.
    #[n(9)]
    pub deferred: Option<u64>,
}
