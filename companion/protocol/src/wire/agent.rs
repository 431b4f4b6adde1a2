//! What the agent can be asked: everything that the kernel can, and what is the agent's own.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use minicbor::{Decode, Encode};

use crate::codec::{self, Unknown, open_enum};
use crate::control::{Failure, RequestBody, ResponseBody};
use crate::pairing::{KeyHash, Role};
use crate::wire::UpdateStatus;

/// One question or command.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cbor(map)]
pub struct AgentRequest {
    /// Chosen by the client; comes back in the response.
    #[n(0)]
    pub id: u32,
    /// What is asked.
    #[n(1)]
    #[cbor(decode_with = "codec::lenient")]
    pub body: AgentBody,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cbor(map)]
#[non_exhaustive]
pub enum AgentBody {
    /// A request of a newer version.
    #[n(0)]
    Unknown,
    /// Passed on to the kernel's control device.
    #[n(1)]
    Control(
        #[n(0)]
        #[cbor(decode_with = "codec::lenient")]
        RequestBody,
    ),
    /// [`Info`].
    #[n(2)]
    Info,
    /// Ends or restarts the board.
    #[n(3)]
    Power(#[n(0)] PowerAction),
    /// The clients that are paired.
    #[n(4)]
    PairedClients,
    /// Forgets a client, by its key.
    #[n(5)]
    Unpair(#[n(0)] KeyHash),
    /// Makes a pairing link for another client.
    #[n(6)]
    NewPairing(#[n(0)] Role),
    /// [`UpdateStatus`].
    #[n(7)]
    UpdateStatus,
}

impl Unknown for AgentBody {
    fn unknown() -> Self {
        Self::Unknown
    }
}

open_enum! {
    /// How the board's run is to end.
    pub enum PowerAction {
        /// Off.
        PowerOff = 1,
        /// Again from the start.
        Reboot = 2,
    }
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cbor(map)]
pub struct AgentResponse {
    /// The request's id.
    #[n(0)]
    pub id: u32,
    /// The answer.
    #[n(1)]
    #[cbor(decode_with = "codec::lenient")]
    pub body: AgentResponseBody,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cbor(map)]
#[non_exhaustive]
pub enum AgentResponseBody {
    /// An answer of a newer version.
    #[n(0)]
    Unknown,
    /// It could not be done.
    #[n(1)]
    Error(#[n(0)] Failure),
    /// The kernel's answer.
    #[n(2)]
    Control(
        #[n(0)]
        #[cbor(decode_with = "codec::lenient")]
        ResponseBody,
    ),
    /// To [`AgentBody::Info`].
    #[n(3)]
    Info(#[n(0)] Box<Info>),
    /// Done, nothing to tell.
    #[n(4)]
    Done,
    /// To [`AgentBody::PairedClients`].
    #[n(5)]
    PairedClients(
        #[n(0)]
        #[cbor(decode_with = "codec::list::<_, _, 256>")]
        Vec<PairedClient>,
    ),
    /// To [`AgentBody::NewPairing`]: the text of a [`crate::pairing::PairLink`].
    #[n(6)]
    PairingLink(#[n(0)] String),
    /// To [`AgentBody::UpdateStatus`].
    #[n(7)]
    UpdateStatus(#[n(0)] Box<UpdateStatus>),
}

impl Unknown for AgentResponseBody {
    fn unknown() -> Self {
        Self::Unknown
    }
}

/// What the board and its software are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "camelCase", default)
)]
#[cbor(map)]
pub struct Info {
    /// The board's own name (its host name).
    #[n(0)]
    #[cbor(default)]
    pub name: String,
    /// The machine, as the device tree or firmware names it.
    #[n(1)]
    pub machine: Option<String>,
    /// uname(2): system.
    #[n(2)]
    #[cbor(default)]
    pub sysname: String,
    /// uname(2): release.
    #[n(3)]
    #[cbor(default)]
    pub release: String,
    /// uname(2): version.
    #[n(4)]
    #[cbor(default)]
    pub version: String,
    /// uname(2): hardware.
    #[n(5)]
    #[cbor(default)]
    pub arch: String,
    /// The agent's version.
    #[n(6)]
    #[cbor(default)]
    pub agent_version: String,
    /// Build identifier of the agent.
    #[n(7)]
    pub agent_build_id: Option<String>,
    /// Build identifier of the kernel.
    #[n(8)]
    pub kernel_build_id: Option<String>,
    /// CPUs online.
    #[n(9)]
    pub cpus: Option<u32>,
    /// All memory.
    #[n(10)]
    pub mem_total_bytes: Option<u64>,
    /// Where metrics and events come from: `control` (the kernel's device) or `proc` (a Linux host).
    #[n(11)]
    #[cbor(default)]
    pub source: String,
    /// Since the agent started.
    #[n(12)]
    pub agent_uptime_ns: Option<u64>,
    /// Clients connected now.
    #[n(13)]
    pub clients: Option<u32>,
    /// The board's clock, Unix milliseconds; absent when it does not know the time of day.
    #[n(14)]
    pub wall_ms: Option<u64>,
}

/// A client that may connect.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "camelCase")
)]
#[cbor(map)]
pub struct PairedClient {
    /// Its key.
    #[n(0)]
    pub key: KeyHash,
    /// Its name.
    #[n(1)]
    pub name: String,
    /// Its role.
    #[n(2)]
    pub role: Role,
    /// When it was paired, Unix milliseconds, where the board knew.
    #[n(3)]
    pub paired_ms: Option<u64>,
    /// Whether it is connected now.
    #[n(4)]
    #[cbor(default)]
    pub connected: bool,
}
