//! Frames: a big-endian `u32` length and so many bytes of one CBOR item.

use alloc::vec::Vec;
use minicbor::{Decode, Encode};

use crate::codec::{self, DecodeError};

/// Bytes of the length.
pub const HEADER_BYTES: usize = 4;

/// Appends `value` as one frame to `out`.
pub fn push<T: Encode<()>>(out: &mut Vec<u8>, value: &T) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    // Writing to a `Vec` cannot fail, and no type of this crate refuses to be encoded.
    let encoded = minicbor::encode(value, &mut *out);
    debug_assert!(encoded.is_ok());
    let len = (out.len() - start).saturating_sub(HEADER_BYTES);
    let header = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
    if let Some(slot) = out.get_mut(start..start + HEADER_BYTES) {
        slot.copy_from_slice(&header);
    }
}

/// `value` as one frame.
#[must_use]
pub fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    push(&mut out, value);
    out
}

/// Cuts a stream of bytes, in any chunking, into frames; never holds more than one frame of the declared maximum plus the last chunk.
#[derive(Debug)]
pub struct Reader {
    buffer: Vec<u8>,
    taken: usize,
    max: usize,
}

impl Reader {
    /// A reader that refuses frames longer than `max` bytes.
    #[must_use]
    pub const fn new(max: usize) -> Self {
        Self {
            buffer: Vec::new(),
            taken: 0,
            max,
        }
    }

    /// Adds bytes as they came from the stream.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The body of the next whole frame, `None` until more bytes are fed.
    ///
    /// # Errors
    /// [`DecodeError::TooLong`] for a frame over the maximum; the stream is of no more use then.
    pub fn next_body(&mut self) -> Result<Option<&[u8]>, DecodeError> {
        let rest = self.buffer.get(self.taken..).unwrap_or_default();
        let Some((header, rest)) = rest.split_first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let len = usize::try_from(u32::from_be_bytes(*header)).unwrap_or(usize::MAX);
        if len > self.max {
            return Err(DecodeError::TooLong { len, max: self.max });
        }
        let body = rest.get(..len);
        if body.is_some() {
            self.taken += HEADER_BYTES + len;
        }
        Ok(body)
    }

    /// The next whole frame as a value, `None` until more bytes are fed.
    ///
    /// # Errors
    /// [`DecodeError`] when the frame is too long or not a `T`.
    pub fn next_item<T: for<'b> Decode<'b, ()>>(&mut self) -> Result<Option<T>, DecodeError> {
        let max = self.max;
        match self.next_body()? {
            Some(body) => codec::from_slice(body, max).map(Some),
            None => Ok(None),
        }
    }

    /// As [`Self::next_item`], and an enum's variant of a newer version becomes `Unknown`.
    ///
    /// # Errors
    /// [`DecodeError`] when the frame is too long or not a `T`.
    pub fn next_open<T: for<'b> Decode<'b, ()> + codec::Unknown>(&mut self) -> Result<Option<T>, DecodeError> {
        self.next_item::<codec::Lenient<T>>()
            .map(|item| item.map(|item| item.0))
    }

    /// Whether the stream may end here: no frame has begun.
    #[must_use]
    pub fn is_at_boundary(&self) -> bool {
        self.taken == self.buffer.len()
    }
}
