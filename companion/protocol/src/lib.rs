//! What a board can say and be asked: types, CBOR codec, versioning.
//!
//! There is no input or output here and no clock; the kernel (`no_std`), the agent, the client and the tools share these types.
//!
//! - [`control`]: the kernel's control device, `/dev/sis`: one CBOR item a `write(2)`, one a `read(2)`.
//! - [`wire`]: the QUIC application protocol between the agent and its clients.
//! - [`pairing`]: the code that a board shows, roles, and what each may do.
//!
//! # Evolution
//! Every struct is a CBOR map (RFC 8949) with numbered keys: a decoder skips the keys that it does not know and takes a missing
//! optional one as absent, so fields are added freely and numbers are never used again for something else. Enums that cross a
//! version border decode what they do not know to their `Unknown` variant, so a newer peer's word is kept out of harm's way instead of
//! ending the connection. What cannot be understood at all is another [`PROTOCOL_MAJOR`], and that is refused with a sentence
//! ([`hello::check`]).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod codec;
pub mod control;
#[cfg(test)]
mod golden;
pub mod hello;
pub mod pairing;
pub mod wire;

/// Peers with another major number cannot understand each other.
pub const PROTOCOL_MAJOR: u16 = 1;
/// Raised whenever something is added that the other side may use when it knows it.
pub const PROTOCOL_MINOR: u16 = 0;
