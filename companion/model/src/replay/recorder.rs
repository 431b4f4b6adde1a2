//! Writing a recording.

use sis_protocol::wire::frame;

use super::format::{Header, MAGIC, RECORD_BYTES_MAX, Record};
use super::recording::{DURATION_MAX_MS, RECORDING_BYTES_MAX, RECORDS_MAX};
use crate::input::Input;

/// Why an input was not recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The recording is as long as one may be.
    #[error("the recording is full")]
    Full,
    /// The input is longer than any that comes over the wire.
    #[error("an input of {bytes} bytes is too long to be recorded")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
}

/// Turns inputs into the bytes of a recording.
///
/// A board that is to be the same when it is played must be recorded from its first input on.
#[derive(Debug)]
pub struct Recorder {
    started_ms: u64,
    offset_ms: u64,
    bytes: usize,
    records: usize,
}

impl Recorder {
    /// A recorder, and the bytes that come first. `header.started_ms` must not lie after the first input's time.
    #[must_use]
    pub fn new(header: &Header) -> (Self, Vec<u8>) {
        let mut bytes = MAGIC.to_vec();
        frame::push(&mut bytes, header);
        let recorder = Self {
            started_ms: header.started_ms,
            offset_ms: 0,
            bytes: bytes.len(),
            records: 0,
        };
        (recorder, bytes)
    }

    /// The bytes of an input that came at `at_ms`, Unix milliseconds of the host. A time before the last one counts as the last one, as it does
    /// for a board.
    ///
    /// # Errors
    /// [`RecordError`]; the recording stays as it is, and good.
    pub fn record(&mut self, at_ms: u64, input: Input) -> Result<Vec<u8>, RecordError> {
        let offset_ms = at_ms.saturating_sub(self.started_ms).max(self.offset_ms);
        let bytes = frame::encode(&Record { offset_ms, input });
        if bytes.len() > RECORD_BYTES_MAX + frame::HEADER_BYTES {
            return Err(RecordError::TooLong { bytes: bytes.len() });
        }
        let is_full = self.records >= RECORDS_MAX || self.bytes + bytes.len() > RECORDING_BYTES_MAX;
        if is_full || offset_ms > DURATION_MAX_MS {
            return Err(RecordError::Full);
        }
        self.offset_ms = offset_ms;
        self.bytes += bytes.len();
        self.records += 1;
        Ok(bytes)
    }
}
