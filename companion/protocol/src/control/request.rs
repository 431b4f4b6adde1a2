//! What the kernel can be asked.

use alloc::string::String;
use alloc::vec::Vec;
use minicbor::{Decode, Encode};

use super::Strategy;
use crate::codec;
use crate::hello::Hello;

/// One question or command.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "camelCase")
)]
#[cbor(map)]
pub struct Request {
    /// Chosen by the asker; comes back in the response.
    #[n(0)]
    pub id: u32,
    /// What is asked.
    #[n(1)]
    #[cbor(decode_with = "codec::lenient")]
    pub body: RequestBody,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "camelCase")
)]
#[cbor(map)]
#[non_exhaustive]
pub enum RequestBody {
    /// A request of a newer version; answered with [`super::ErrorCode::Unsupported`].
    #[n(0)]
    Unknown,
    /// Greets; answered with the kernel's [`Hello`].
    #[n(1)]
    Hello(#[n(0)] Hello),
    /// A [`super::Metrics`] snapshot.
    #[n(2)]
    Metrics,
    /// Events from now on, and those still kept with a sequence number above `after_seq` (0: all that are kept).
    ///
    /// Where events after `after_seq` are not kept any more, [`super::ResponseBody::Subscribed`] says from where they are, and a
    /// [`super::Message::Lost`] counts what is missing before the first event. A cursor above the newest event is of another boot and
    /// refused with [`super::ErrorCode::NotFound`].
    #[n(3)]
    Subscribe {
        /// The last sequence number that the asker has seen.
        #[n(0)]
        after_seq: u64,
    },
    /// The newest `max` lines of the kernel log, oldest first.
    #[n(4)]
    LogTail {
        /// At most this many.
        #[n(0)]
        max: u32,
    },
    /// [`super::MemStatus`].
    #[n(5)]
    MemStatus,
    /// The proposals that wait for a decision, oldest first.
    #[n(6)]
    MemApprovals,
    /// Whether proposals wait for a person (`Some`: set it); answered with the state.
    #[n(7)]
    MemApprovalMode {
        /// `None` only asks.
        #[n(0)]
        on: Option<bool>,
    },
    /// Approves; each proposal is checked for freshness before it is carried out.
    #[n(8)]
    MemApprove {
        /// Which.
        #[n(0)]
        #[cbor(decode_with = "codec::lenient")]
        which: Selection,
        /// Who decides, for the record. The agent writes the paired name here; never taken from the network.
        #[n(1)]
        by: Option<String>,
    },
    /// Rejects.
    #[n(9)]
    MemReject {
        /// Which.
        #[n(0)]
        #[cbor(decode_with = "codec::lenient")]
        which: Selection,
        /// Who decides, for the record.
        #[n(1)]
        by: Option<String>,
    },
    /// Query mode: predict, never execute (`Some`: set it); answered with the state.
    #[n(10)]
    MemQueryMode {
        /// `None` only asks.
        #[n(0)]
        on: Option<bool>,
    },
    /// The newest `max` outcomes, newest first.
    #[n(11)]
    MemHistory {
        /// At most this many.
        #[n(0)]
        max: u32,
    },
    /// Every kernel subsystem checks itself; answered with a list of [`super::CheckResult`].
    #[n(12)]
    SelfCheck,
    /// [`super::AutonomyStatus`].
    #[n(13)]
    AutonomyStatus,
    /// Sets the memory strategy by hand (a person's own act: no proposal is made); answered with [`super::MemStatus`].
    #[n(14)]
    MemSetStrategy {
        /// The strategy to use from now on.
        #[n(0)]
        strategy: Strategy,
    },
    /// No more events on this open file.
    #[n(15)]
    Unsubscribe,
    /// Hands the argument of the next restart to the firmware, as reboot(2) with `LINUX_REBOOT_CMD_RESTART2` does; answered with
    /// [`super::ErrorCode::Unavailable`] where the board's firmware takes none, or does not know this one.
    #[n(16)]
    RestartArgument {
        /// At most 255 bytes.
        #[n(0)]
        argument: String,
    },
}

impl codec::Unknown for RequestBody {
    fn unknown() -> Self {
        Self::Unknown
    }
}

/// Which of the waiting proposals.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "camelCase")
)]
#[cbor(map)]
#[non_exhaustive]
pub enum Selection {
    /// A selection of a newer version: selects nothing.
    #[n(0)]
    Unknown,
    /// These, at most 100 (the queue holds no more).
    #[n(1)]
    Ids(
        #[n(0)]
        #[cbor(decode_with = "codec::list::<_, _, 100>")]
        Vec<u64>,
    ),
    /// So many, oldest first.
    #[n(2)]
    Oldest(#[n(0)] u32),
    /// All that wait.
    #[n(3)]
    All,
}

impl codec::Unknown for Selection {
    fn unknown() -> Self {
        Self::Unknown
    }
}
