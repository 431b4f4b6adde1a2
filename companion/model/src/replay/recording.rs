//! Reading a recording: bytes from anywhere, checked once.

use sis_protocol::codec::{self, DecodeError};
use sis_protocol::wire::frame;

use super::format::{FORMAT_VERSION, Header, MAGIC, RECORD_BYTES_MAX, Record};
use crate::input::Input;
use crate::text::{NAME_BYTES, clean, clean_option};

/// The longest recording, bytes.
pub const RECORDING_BYTES_MAX: usize = 64 << 20;
/// The most records of one.
pub const RECORDS_MAX: usize = 1 << 20;
/// The longest time from the start to the last input: a year.
pub const DURATION_MAX_MS: u64 = 366 * 24 * 3600 * 1000;

/// Why bytes are no recording.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// They do not begin as one.
    #[error("it is no recording")]
    Magic,
    /// It is too long.
    #[error("it is longer than the {RECORDING_BYTES_MAX} bytes and {RECORDS_MAX} records that a recording may have")]
    TooLong,
    /// It is of a version that this program cannot play.
    #[error(
        "it is of version {version}, and this program plays version {FORMAT_VERSION}: use another version of one of them"
    )]
    Version {
        /// Its version.
        version: u32,
    },
    /// The header cannot be read.
    #[error("its header cannot be read: {0}")]
    Header(#[source] DecodeError),
    /// There is no whole header.
    #[error("it ends before its header does")]
    NoHeader,
    /// A record cannot be read.
    #[error("its record {number} cannot be read: {source}")]
    Record {
        /// Which, from 1.
        number: usize,
        /// Why.
        source: DecodeError,
    },
    /// A record lies before the one before it, or later than [`DURATION_MAX_MS`].
    #[error("its record {number} is of an earlier time than the one before, or of a year later than the first")]
    Time {
        /// Which, from 1.
        number: usize,
    },
}

/// An input and its time.
#[derive(Debug, Clone, PartialEq)]
pub struct TimedInput {
    /// When it came, Unix milliseconds of the host that recorded.
    pub at_ms: u64,
    /// What came.
    pub input: Input,
}

/// Where a record's CBOR item lies.
#[derive(Debug, Clone, Copy)]
struct Place {
    offset_ms: u64,
    start: usize,
    end: usize,
}

/// A recording whose every record can be read.
#[derive(Debug, Clone)]
pub struct Recording {
    header: Header,
    bytes: Vec<u8>,
    places: Vec<Place>,
    torn_bytes: usize,
}

impl Recording {
    /// Checks the bytes of a recording. They are kept as they are, with some 32 bytes for each record.
    ///
    /// # Errors
    /// [`RecordingError`]. A last frame that is torn is none: it is left out, see [`Self::torn_bytes`].
    pub fn parse(bytes: Vec<u8>) -> Result<Self, RecordingError> {
        if bytes.len() > RECORDING_BYTES_MAX {
            return Err(RecordingError::TooLong);
        }
        if !bytes.starts_with(&MAGIC) {
            return Err(RecordingError::Magic);
        }
        let mut frames = Frames {
            bytes: &bytes,
            at: MAGIC.len(),
        };
        let (start, end) = frames
            .next_frame()
            .map_err(RecordingError::Header)?
            .ok_or(RecordingError::NoHeader)?;
        let header = read_header(bytes.get(start..end).unwrap_or_default())?;
        let mut places: Vec<Place> = Vec::new();
        loop {
            let number = places.len() + 1;
            let of_record = |source| RecordingError::Record { number, source };
            let Some((start, end)) = frames.next_frame().map_err(of_record)? else {
                break;
            };
            let record = read_record(bytes.get(start..end).unwrap_or_default()).map_err(of_record)?;
            let offset_ms = record.offset_ms;
            let earliest_ms = places.last().map_or(0, |before| before.offset_ms);
            if !(earliest_ms..=DURATION_MAX_MS).contains(&offset_ms) {
                return Err(RecordingError::Time { number });
            }
            if places.len() == RECORDS_MAX {
                return Err(RecordingError::TooLong);
            }
            places.push(Place { offset_ms, start, end });
        }
        let torn_bytes = bytes.len() - frames.at;
        Ok(Self {
            header,
            bytes,
            places,
            torn_bytes,
        })
    }

    /// Where it comes from.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// How many inputs it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// From its start to its last input, milliseconds.
    #[must_use]
    pub fn duration_ms(&self) -> u64 {
        self.places.last().map_or(0, |place| place.offset_ms)
    }

    /// Bytes at the end that are no whole frame: the recorder was cut off.
    #[must_use]
    pub const fn torn_bytes(&self) -> usize {
        self.torn_bytes
    }

    /// The input at `index`, from 0.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<TimedInput> {
        let place = self.places.get(index)?;
        let record = read_record(self.bytes.get(place.start..place.end)?).ok()?;
        Some(TimedInput {
            at_ms: self.header.started_ms.saturating_add(record.offset_ms),
            input: record.input,
        })
    }

    /// When the input at `index` came, milliseconds since the start.
    pub(super) fn offset_ms(&self, index: usize) -> Option<u64> {
        self.places.get(index).map(|place| place.offset_ms)
    }

    /// How many inputs came up to so many milliseconds after the start.
    pub(super) fn count_until(&self, offset_ms: u64) -> usize {
        self.places.partition_point(|place| place.offset_ms <= offset_ms)
    }
}

fn read_header(bytes: &[u8]) -> Result<Header, RecordingError> {
    let header: Header = codec::from_slice(bytes, RECORD_BYTES_MAX).map_err(RecordingError::Header)?;
    if header.version != FORMAT_VERSION {
        return Err(RecordingError::Version {
            version: header.version,
        });
    }
    Ok(Header {
        producer: clean(header.producer, NAME_BYTES),
        board: clean_option(header.board, NAME_BYTES),
        ..header
    })
}

fn read_record(bytes: &[u8]) -> Result<Record, DecodeError> {
    codec::from_slice(bytes, RECORD_BYTES_MAX)
}

/// Cuts bytes into frames without copying them.
struct Frames<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Frames<'_> {
    /// Where the next whole frame's item begins and ends; `None` at the end, or where a torn frame begins.
    fn next_frame(&mut self) -> Result<Option<(usize, usize)>, DecodeError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let Some((length, rest)) = rest.split_first_chunk::<{ frame::HEADER_BYTES }>() else {
            return Ok(None);
        };
        let len = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if len > RECORD_BYTES_MAX {
            return Err(DecodeError::TooLong {
                len,
                max: RECORD_BYTES_MAX,
            });
        }
        if len > rest.len() {
            return Ok(None);
        }
        let start = self.at + frame::HEADER_BYTES;
        self.at = start + len;
        Ok(Some((start, self.at)))
    }
}
