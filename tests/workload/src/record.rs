//! The log of a run: one sector a record, on a disk of its own that the workload writes past every cache.
//!
//! The log needs no flush: whoever plays the disk sees each record in order among the writes to the other disk.

/// Bytes of a record: a sector.
pub const RECORD_BYTES: usize = 512;
/// Each worker has a part of the log disk.
pub const REGION_BYTES: u64 = 16 << 20;
/// As many workers at most.
pub const WORKERS: u32 = 4;
/// Bytes of the whole log disk; the last region is the driver's.
pub const LOG_BYTES: u64 = REGION_BYTES * (WORKERS as u64 + 1);

const MAGIC: [u8; 8] = *b"SISCRASH";
/// Where the text is, and how long it may be.
const TEXT: std::ops::Range<usize> = 48..RECORD_BYTES;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The worker's folder is there and durable; from now on it counts.
    Begin,
    /// Operations up to this number may have been begun.
    Intent,
    /// The synchronising operation with this number has returned.
    Ack,
    /// Something that must not fail has failed: the text says what. The run proves nothing.
    Failed,
    /// The worker has come to its end.
    End,
    /// The driver asks for crash state number N in place of the disk.
    Next,
    /// The driver has mounted and unmounted it, or the text says why not.
    Recovered,
}

const KINDS: [Kind; 7] = [
    Kind::Begin,
    Kind::Intent,
    Kind::Ack,
    Kind::Failed,
    Kind::End,
    Kind::Next,
    Kind::Recovered,
];

/// A record of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The run's seed: what an earlier run left on the disk does not count.
    pub seed: u64,
    /// Who.
    pub worker: u32,
    /// What.
    pub kind: Kind,
    /// Which operation.
    pub number: u64,
    /// What went wrong, at most some 450 bytes.
    pub text: String,
}

impl Record {
    /// The sector.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        let kind = KINDS.iter().position(|kind| *kind == self.kind).unwrap_or(0) as u32;
        let mut end = self.text.len().min(TEXT.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.seed.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.worker.to_le_bytes());
        bytes[20..24].copy_from_slice(&kind.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.number.to_le_bytes());
        bytes[32..40].copy_from_slice(&(end as u64).to_le_bytes());
        bytes[TEXT.start..TEXT.start + end].copy_from_slice(&self.text.as_bytes()[..end]);
        let sum = checksum(&bytes);
        bytes[40..48].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads a sector; `None` when it holds no record.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; RECORD_BYTES] = bytes.try_into().ok()?;
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap_or_default());
        let half = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap_or_default());
        if bytes[0..8] != MAGIC || number(40) != checksum(bytes) {
            return None;
        }
        let length = usize::try_from(number(32))
            .ok()
            .filter(|length| *length <= TEXT.len())?;
        let text = bytes.get(TEXT.start..TEXT.start + length)?;
        Some(Self {
            seed: number(8),
            worker: half(16),
            kind: *KINDS.get(half(20) as usize)?,
            number: number(24),
            text: String::from_utf8_lossy(text).into_owned(),
        })
    }
}

/// Over everything but the place of the sum itself.
fn checksum(bytes: &[u8; RECORD_BYTES]) -> u64 {
    bytes[..40]
        .iter()
        .chain(&bytes[TEXT])
        .fold(1, |sum: u64, byte| crate::random::mix(sum ^ u64::from(*byte)))
}

#[cfg(test)]
mod tests;
