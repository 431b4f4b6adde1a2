//! The QUIC application protocol, ALPN [`ALPN`].
//!
//! Both sides authenticate with a self-signed certificate; who they are is the SHA-256 of its public key
//! ([`crate::pairing::KeyHash`]). Every stream is bidirectional and opened by the client; it carries *frames*: a big-endian `u32`
//! length and so many bytes of one CBOR item ([`frame`]). The first frame of the client is an [`Open`] and says what the stream is for;
//! the first frame of the agent is an [`Opened`] and says whether it may be. What follows depends on the stream:
//!
//! | [`Open`] | client then sends | agent then sends |
//! |---|---|---|
//! | `Hello` | nothing | nothing: the [`Welcome`] is in `Opened` |
//! | `Requests` | [`AgentRequest`]s, finishes | one [`AgentResponse`] each, in order |
//! | `Subscribe` | nothing; resets to end | [`EventFrame`]s for ever |
//! | `Exec` | [`ExecInput`]s, finishes (end of input) | [`ExecOutput`]s, `Exit` last |
//! | `Metrics` | nothing; resets to end | nothing: samples come as datagrams ([`MetricsDatagram`]) |
//! | `Update` | [`UpdateInput`]s, finishes (end of the bundle) | [`UpdateOutput`]s, `Restarting` or `Failed` last |
//! | `Pair` | nothing | nothing: the [`Welcome`] is in `Opened` |
//!
//! A client whose key is not paired may open one `Pair` stream and nothing else. A connection ends with a [`CloseCode`] and a sentence.

mod agent;
mod datagram;
mod exec;
pub mod frame;
mod open;
mod subscribe;
mod update;

#[cfg(test)]
mod tests;

pub use agent::{AgentBody, AgentRequest, AgentResponse, AgentResponseBody, Info, PairedClient, PowerAction};
pub use datagram::{Assembler, MAX_PARTS, MetricsDatagram, Sample, split};
pub use exec::{ExecInput, ExecOutput};
pub use open::{ExecCommand, Open, Opened, Welcome};
pub use subscribe::{Cursor, EventFrame, Start, Topic};
pub use update::{PendingUpdate, UpdateInput, UpdateOutcome, UpdateOutput, UpdateStatus, UpdateStep};

/// Application protocol name in the TLS handshake (RFC 7301).
pub const ALPN: &[u8] = b"sis/1";
/// The UDP port the agent listens on unless told otherwise.
pub const DEFAULT_PORT: u16 = 8870;
/// The longest frame that the agent sends.
pub const MAX_FRAME_BYTES: usize = 1 << 20;
/// The longest frame that the agent takes.
pub const MAX_CLIENT_FRAME_BYTES: usize = 64 * 1024;
/// Metrics samples a second.
pub const METRICS_HZ: u32 = 10;

/// Why a connection was closed: the application error code (RFC 9000 section 20.2). The reason phrase is a sentence for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseCode {
    /// Nothing more to say.
    Done,
    /// The client's key is not paired with this board (or no longer).
    NotPaired,
    /// The client showed no certificate.
    NoCertificate,
    /// The pairing token was wrong, used or expired.
    PairingRefused,
    /// Too many connections, or too many attempts at pairing.
    Busy,
    /// The peer did not keep to the protocol.
    ProtocolError,
    /// The peer speaks another major version.
    VersionMismatch,
    /// The agent is going away.
    ShuttingDown,
}

impl CloseCode {
    const TABLE: [(Self, u32); 8] = [
        (Self::Done, 0),
        (Self::NotPaired, 1),
        (Self::NoCertificate, 2),
        (Self::PairingRefused, 3),
        (Self::Busy, 4),
        (Self::ProtocolError, 5),
        (Self::VersionMismatch, 6),
        (Self::ShuttingDown, 7),
    ];

    /// The application error code.
    #[must_use]
    pub const fn code(self) -> u32 {
        match self {
            Self::Done => 0,
            Self::NotPaired => 1,
            Self::NoCertificate => 2,
            Self::PairingRefused => 3,
            Self::Busy => 4,
            Self::ProtocolError => 5,
            Self::VersionMismatch => 6,
            Self::ShuttingDown => 7,
        }
    }

    /// The meaning of an application error code, `None` for one of a newer version.
    #[must_use]
    pub fn from_code(code: u64) -> Option<Self> {
        Self::TABLE
            .iter()
            .find(|(_, number)| u64::from(*number) == code)
            .map(|(close, _)| *close)
    }

    /// Whether connecting again with the same key cannot succeed until a person has done something.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::NotPaired | Self::NoCertificate | Self::PairingRefused | Self::VersionMismatch
        )
    }
}
