//! What a board can say and be asked: types, CBOR codec, versioning.
#![no_std]
#![forbid(unsafe_code)]
