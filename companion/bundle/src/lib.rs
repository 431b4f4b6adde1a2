//! Updates: bundles as files, and which of its two systems a board starts.
//!
//! A bundle is what `cargo sis image` makes, `cargo sis update` sends and a board installs.
//!
//! ```text
//! 0      8   magic, "SISUPD1\n"
//! 8      4   length of the manifest in bytes, big-endian, at most MANIFEST_BYTES_MAX
//! 12     64  Ed25519 signature (RFC 8032) over the manifest's bytes
//! 76     …   the manifest, JSON
//! then       the parts, in the manifest's order: what each partition's mapped blocks hold, one after the other,
//!            compressed (RFC 1950)
//! ```
//!
//! The signature covers the manifest alone; the manifest has the length and the SHA-256 of every part, both as it is stored
//! and as it is written. So a reader knows after the head who made the bundle, what it is and how long it must be, and after
//! the whole, before it writes anything, that it is as it was made.
#![forbid(unsafe_code)]

pub mod fat;
mod head;
mod manifest;
mod part;
pub mod selection;
pub mod sign;
mod write;

pub use head::{Head, HeadReader, MAGIC, MANIFEST_BYTES_MAX};
pub use manifest::{BLOCK_BYTES, KIND, Manifest, Part, Range, SCHEMA, Slot, Target};
pub use part::{Unpacker, sha256_hex};
pub use write::{Source, write};

/// Why a bundle is none, or not for this board.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// It does not begin as one.
    #[error("it is no update bundle")]
    Magic,
    /// It ends before its end.
    #[error("it is truncated: {got} bytes of {wanted}")]
    Truncated {
        /// What there is.
        got: u64,
        /// What there must be.
        wanted: u64,
    },
    /// It goes on after its end.
    #[error("it has {got} bytes where its manifest has {wanted}")]
    TooLong {
        /// What there is.
        got: u64,
        /// What there must be.
        wanted: u64,
    },
    /// The manifest is longer than any is.
    #[error("its manifest of {0} bytes is longer than the {MANIFEST_BYTES_MAX} that one may have")]
    ManifestLength(usize),
    /// The signature is not the key's.
    #[error("its signature is not valid for this board's key")]
    Signature(#[source] sign::KeyError),
    /// The manifest cannot be read, or contradicts itself.
    #[error("its manifest is not sound: {0}")]
    Manifest(String),
    /// A part is not what the manifest says.
    #[error("its part {part} is damaged: {what}")]
    Damaged {
        /// Which.
        part: String,
        /// What is wrong with it.
        what: String,
    },
    /// A file could not be read or written.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}
