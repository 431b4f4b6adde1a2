//! What a recording is made of.

use minicbor::{Decode, Encode};
use sis_protocol::codec;
use sis_protocol::pairing::KeyHash;
use sis_protocol::wire::MAX_FRAME_BYTES;

use crate::input::Input;

/// How a recording begins.
pub const MAGIC: [u8; 8] = *b"SISREC1\n";
/// Recordings of another version are refused.
pub const FORMAT_VERSION: u32 = 1;
/// The longest frame: a frame of the wire, and what a record adds to it.
pub const RECORD_BYTES_MAX: usize = MAX_FRAME_BYTES + 1024;

/// Where a recording comes from.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Header {
    /// See [`FORMAT_VERSION`].
    #[n(0)]
    pub version: u32,
    /// Program and version that recorded, for people.
    #[n(1)]
    pub producer: String,
    /// When the recording begins, Unix milliseconds of the host.
    #[n(2)]
    pub started_ms: u64,
    /// What the board was called.
    #[n(3)]
    pub board: Option<String>,
    /// The board's key.
    #[n(4)]
    pub key: Option<KeyHash>,
}

impl Header {
    /// A recording that begins at `started_ms`.
    #[must_use]
    pub fn new(producer: &str, started_ms: u64) -> Self {
        Self {
            version: FORMAT_VERSION,
            producer: producer.to_owned(),
            started_ms,
            board: None,
            key: None,
        }
    }
}

/// One input of a recording.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(map)]
pub(super) struct Record {
    /// Milliseconds since the start; never less than the record's before.
    #[n(0)]
    pub(super) offset_ms: u64,
    /// What came.
    #[n(1)]
    #[cbor(decode_with = "codec::lenient")]
    pub(super) input: Input,
}
