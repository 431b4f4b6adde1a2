//! Sending an update, and what became of it.

use alloc::string::String;
use alloc::vec::Vec;
use minicbor::{Decode, Encode};

use crate::codec::{Unknown, open_enum};
use crate::control::Failure;

/// From the client.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cbor(map)]
#[non_exhaustive]
pub enum UpdateInput {
    /// Something of a newer version: passed over.
    #[n(0)]
    Unknown,
    /// The bundle's next bytes. Its end is the end of the stream.
    #[n(1)]
    Bytes(
        #[n(0)]
        #[cbor(with = "minicbor::bytes")]
        Vec<u8>,
    ),
}

impl Unknown for UpdateInput {
    fn unknown() -> Self {
        Self::Unknown
    }
}

open_enum! {
    /// What the board is doing with an update.
    pub enum UpdateStep {
        /// Taking the bundle in.
        Receive = 1,
        /// Checking itself, so that what fails already does not count against the update.
        Check = 2,
        /// Writing the other slot.
        Write = 3,
        /// Reading it back.
        Verify = 4,
        /// About to start it.
        Restart = 5,
        /// It runs, and must prove itself.
        Trial = 6,
    }
}

/// To the client.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cbor(map)]
#[non_exhaustive]
pub enum UpdateOutput {
    /// Something of a newer version: passed over.
    #[n(0)]
    Unknown,
    /// The signature is good, and the bundle is for this board: the rest may come.
    #[n(1)]
    Accepted {
        /// The bundle's version.
        #[n(0)]
        version: String,
        /// The version that runs.
        #[n(1)]
        from_version: String,
        /// The slot that it goes into, `a` or `b`.
        #[n(2)]
        slot: String,
    },
    /// How far it is.
    #[n(2)]
    Progress {
        /// What is being done.
        #[n(0)]
        step: UpdateStep,
        /// Bytes done.
        #[n(1)]
        done: u64,
        /// Bytes in all; 0 where there is nothing to count.
        #[n(2)]
        total: u64,
    },
    /// Last: it is on the card, was read back, and the board starts it now.
    #[n(3)]
    Restarting,
    /// Last: it is not done, and what runs goes on running.
    #[n(4)]
    Failed(#[n(0)] Failure),
}

impl Unknown for UpdateOutput {
    fn unknown() -> Self {
        Self::Unknown
    }
}

/// What system the board runs, and what became of updates.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "camelCase", default)
)]
#[cbor(map)]
pub struct UpdateStatus {
    /// The version that runs.
    #[n(0)]
    #[cbor(default)]
    pub version: String,
    /// Git revision that it was built from.
    #[n(1)]
    #[cbor(default)]
    pub revision: String,
    /// The slot that runs, `a` or `b`.
    #[n(2)]
    #[cbor(default)]
    pub running: String,
    /// The slot that starts next unless there is a trial.
    #[n(3)]
    #[cbor(default)]
    pub committed: String,
    /// The update that is under way.
    #[n(4)]
    pub pending: Option<PendingUpdate>,
    /// How the last one ended.
    #[n(5)]
    pub last: Option<UpdateOutcome>,
}

/// An update that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "camelCase")
)]
#[cbor(map)]
pub struct PendingUpdate {
    /// Its version.
    #[n(0)]
    pub version: String,
    /// The slot that it goes into.
    #[n(1)]
    pub slot: String,
    /// What is being done.
    #[n(2)]
    pub step: UpdateStep,
}

/// How an update ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "camelCase", default)
)]
#[cbor(map)]
pub struct UpdateOutcome {
    /// Its version.
    #[n(0)]
    #[cbor(default)]
    pub version: String,
    /// The version that it was to replace.
    #[n(1)]
    #[cbor(default)]
    pub from_version: String,
    /// The slot that it went into.
    #[n(2)]
    #[cbor(default)]
    pub slot: String,
    /// Whether it was kept.
    #[n(3)]
    #[cbor(default)]
    pub succeeded: bool,
    /// Why it was kept or not, a sentence.
    #[n(4)]
    #[cbor(default)]
    pub reason: String,
}
