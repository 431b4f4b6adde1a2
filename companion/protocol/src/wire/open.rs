//! The first frame of each direction of a stream.

use alloc::string::String;
use alloc::vec::Vec;
use minicbor::{Decode, Encode};

use super::{Start, Topic};
use crate::codec::{self, Unknown};
use crate::control::Failure;
use crate::hello::Hello;
use crate::pairing::Role;

/// What a stream is for.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cbor(map)]
#[non_exhaustive]
pub enum Open {
    /// Something of a newer version; refused with [`crate::control::ErrorCode::Unsupported`].
    #[n(0)]
    Unknown,
    /// The greeting; the first stream of a connection.
    #[n(1)]
    Hello(#[n(0)] Hello),
    /// Questions and commands.
    #[n(2)]
    Requests,
    /// Events or log lines, in order.
    #[n(3)]
    Subscribe {
        /// Which of the two.
        #[n(0)]
        topic: Topic,
        /// From where on.
        #[n(1)]
        #[cbor(decode_with = "codec::lenient")]
        start: Start,
    },
    /// A command on the board.
    #[n(4)]
    Exec(#[n(0)] ExecCommand),
    /// Metrics datagrams while the stream is open.
    #[n(5)]
    Metrics,
    /// Pairing: the client's key becomes one of the board's.
    #[n(6)]
    Pair {
        /// The one-time token from the board's code.
        #[n(0)]
        #[cbor(with = "minicbor::bytes")]
        token: Vec<u8>,
        /// What the client wants to be called, at most 64 bytes.
        #[n(1)]
        name: String,
        /// The greeting.
        #[n(2)]
        hello: Hello,
    },
    /// An update: a bundle for the system that does not run. The board starts it once it is written.
    #[n(7)]
    Update {
        /// Whether a version that is older than what runs is taken too.
        #[n(0)]
        #[cbor(default)]
        may_downgrade: bool,
    },
}

impl Unknown for Open {
    fn unknown() -> Self {
        Self::Unknown
    }
}

/// A command to run on the board, without a terminal.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cbor(map)]
pub struct ExecCommand {
    /// Program and arguments, at most 1024; the program is looked up in the agent's `PATH`.
    #[n(0)]
    #[cbor(decode_with = "codec::list::<_, _, 1024>")]
    pub argv: Vec<String>,
    /// Whether the client will send standard input; else it is empty.
    #[n(1)]
    #[cbor(default)]
    pub has_stdin: bool,
    /// Ended with SIGKILL after so many milliseconds; absent: never.
    #[n(2)]
    pub timeout_ms: Option<u64>,
}

/// Whether a stream may be what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cbor(map)]
#[non_exhaustive]
pub enum Opened {
    /// Something of a newer version.
    #[n(0)]
    Unknown,
    /// Yes.
    #[n(1)]
    Ready,
    /// No, and why; the agent finishes the stream.
    #[n(2)]
    Refused(#[n(0)] Failure),
    /// To [`Open::Hello`] and [`Open::Pair`].
    #[n(3)]
    Welcome(#[n(0)] Welcome),
}

impl Unknown for Opened {
    fn unknown() -> Self {
        Self::Unknown
    }
}

/// Who the client speaks to and what it may do.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "camelCase")
)]
#[cbor(map)]
pub struct Welcome {
    /// The agent's greeting; `name` is the board's.
    #[n(0)]
    pub hello: Hello,
    /// The client's role on this board.
    #[n(1)]
    pub role: Role,
    /// What the board calls the client.
    #[n(2)]
    pub client_name: String,
    /// Which life of the event log this is; cursors of another are stale.
    #[n(3)]
    pub epoch: u64,
    /// Whether the board has a control device: approvals, strategies, self-check.
    #[n(4)]
    #[cbor(default)]
    pub has_control: bool,
}
