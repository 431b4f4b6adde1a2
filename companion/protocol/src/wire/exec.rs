//! A command's input and output.

use alloc::vec::Vec;
use minicbor::{Decode, Encode};

use crate::codec::Unknown;
use crate::control::Failure;

/// From the client.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cbor(map)]
#[non_exhaustive]
pub enum ExecInput {
    /// Something of a newer version: passed over.
    #[n(0)]
    Unknown,
    /// Bytes for standard input. The end of input is the end of the stream.
    #[n(1)]
    Stdin(
        #[n(0)]
        #[cbor(with = "minicbor::bytes")]
        Vec<u8>,
    ),
    /// A signal for the command's process group, signal(7).
    #[n(2)]
    Signal(#[n(0)] u32),
}

impl Unknown for ExecInput {
    fn unknown() -> Self {
        Self::Unknown
    }
}

/// To the client.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cbor(map)]
#[non_exhaustive]
pub enum ExecOutput {
    /// Something of a newer version: passed over.
    #[n(0)]
    Unknown,
    /// Bytes from standard output.
    #[n(1)]
    Stdout(
        #[n(0)]
        #[cbor(with = "minicbor::bytes")]
        Vec<u8>,
    ),
    /// Bytes from standard error.
    #[n(2)]
    Stderr(
        #[n(0)]
        #[cbor(with = "minicbor::bytes")]
        Vec<u8>,
    ),
    /// Last: it ended.
    #[n(3)]
    Exit {
        /// Its exit status, when it ended by itself.
        #[n(0)]
        code: Option<i32>,
        /// The signal that ended it.
        #[n(1)]
        signal: Option<i32>,
    },
    /// Last: it could not be run to its end.
    #[n(4)]
    Failed(#[n(0)] Failure),
}

impl Unknown for ExecOutput {
    fn unknown() -> Self {
        Self::Unknown
    }
}
