//! The first word of every conversation: which protocol a peer speaks.

use alloc::format;
use alloc::string::String;
use minicbor::{Decode, Encode};

use crate::{PROTOCOL_MAJOR, PROTOCOL_MINOR};

/// What a peer says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "camelCase")
)]
#[cbor(map)]
pub struct Hello {
    /// See [`PROTOCOL_MAJOR`].
    #[n(0)]
    pub protocol_major: u16,
    /// See [`PROTOCOL_MINOR`].
    #[n(1)]
    pub protocol_minor: u16,
    /// Program and version, for people: `sis-agent 0.1.0`.
    #[n(2)]
    pub software: String,
    /// What the peer is called, for people: a board's or a host's name.
    #[n(3)]
    pub name: Option<String>,
    /// Build identifier of the program.
    #[n(4)]
    pub build_id: Option<String>,
}

impl Hello {
    /// This version's greeting.
    #[must_use]
    pub fn new(software: &str) -> Self {
        Self {
            protocol_major: PROTOCOL_MAJOR,
            protocol_minor: PROTOCOL_MINOR,
            software: software.into(),
            name: None,
            build_id: None,
        }
    }
}

/// Refuses a peer of another major version with a sentence for the person; any minor version is fine.
///
/// # Errors
/// The sentence, which names both versions and what to update.
pub fn check(peer: &Hello) -> Result<(), String> {
    if peer.protocol_major == PROTOCOL_MAJOR {
        return Ok(());
    }
    let older = if peer.protocol_major < PROTOCOL_MAJOR {
        peer.software.as_str()
    } else {
        "this program"
    };
    Err(format!(
        "{} speaks protocol {}.{} and this program {PROTOCOL_MAJOR}.{PROTOCOL_MINOR}, which do not understand each other: update {older}.",
        peer.software, peer.protocol_major, peer.protocol_minor,
    ))
}
