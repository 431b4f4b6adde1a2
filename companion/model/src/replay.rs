//! Recordings: what came from a board, written down and played again.
//!
//! # Format
//! ```text
//! 0   8   magic, "SISREC1\n"
//! 8       frames: a big-endian u32 length and so many bytes of one CBOR item, as on the wire
//!         the first is a Header, each other one a Record: milliseconds since the header's start, and an Input
//! ```
//! Fields are numbered and added freely, as in the protocol; what an older reader does not know it passes over. A change that it
//! could not live with takes another [`FORMAT_VERSION`]. The last frame may be torn: a recorder that was cut off leaves a recording all the same.
//!
//! - [`Recorder`] makes the bytes; whoever has a file writes them.
//! - [`Recording`] is bytes that were checked; hostile ones cost a small multiple of their length.
//! - [`Player`] says what is due: at any speed, paused, from any place. A board that is fed by it is the same as the one that was recorded.

mod format;
mod player;
mod recorder;
mod recording;

pub use format::{FORMAT_VERSION, Header, MAGIC, RECORD_BYTES_MAX};
pub use player::{Player, Speed, Step};
pub use recorder::{RecordError, Recorder};
pub use recording::{DURATION_MAX_MS, RECORDING_BYTES_MAX, RECORDS_MAX, Recording, RecordingError, TimedInput};

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
