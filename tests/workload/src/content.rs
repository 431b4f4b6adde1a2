//! What is in a file: each byte a function of who wrote it, when, and where.

use crate::random::mix;

/// What a write's bytes are a function of, next to their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Author {
    /// The run's seed.
    pub seed: u64,
    /// The worker.
    pub worker: u32,
    /// The file's number, which is never used twice by a worker.
    pub file: u32,
}

/// Fills `out` with what operation `version` writes at `offset` of the file.
pub fn fill(author: Author, version: u64, offset: u64, out: &mut [u8]) {
    let who = (u64::from(author.worker) << 32) | u64::from(author.file);
    let key = mix(mix(author.seed ^ mix(who)) ^ version);
    let mut at = offset;
    let mut rest = out;
    while !rest.is_empty() {
        let word = mix(key.wrapping_add((at / 8).wrapping_mul(0x9e37_79b9_7f4a_7c15))).to_le_bytes();
        let skip = (at % 8) as usize;
        let count = rest.len().min(8 - skip);
        let (now, later) = rest.split_at_mut(count);
        now.copy_from_slice(&word[skip..skip + count]);
        rest = later;
        at += count as u64;
    }
}

/// A range of bytes by one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extent {
    start: u64,
    end: u64,
    version: u64,
}

/// The whole of a file, as its history makes it: a size, who wrote which range, zeros everywhere else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    size: u64,
    /// Disjoint, in order.
    extents: Vec<Extent>,
}

impl Content {
    /// Bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// After a write of `length` bytes at `offset` by operation `version`.
    #[must_use]
    pub fn written(&self, offset: u64, length: u64, version: u64) -> Self {
        let end = offset + length;
        let mut extents = self.without(offset, end);
        extents.push(Extent {
            start: offset,
            end,
            version,
        });
        extents.sort_by_key(|extent| extent.start);
        Self {
            size: self.size.max(end),
            extents,
        }
    }

    /// After truncate(2) to `size`.
    #[must_use]
    pub fn truncated(&self, size: u64) -> Self {
        Self {
            size,
            extents: self.without(size, u64::MAX),
        }
    }

    fn without(&self, start: u64, end: u64) -> Vec<Extent> {
        let mut kept = Vec::with_capacity(self.extents.len() + 2);
        for extent in &self.extents {
            let before = Extent {
                end: extent.end.min(start),
                ..*extent
            };
            let after = Extent {
                start: extent.start.max(end),
                ..*extent
            };
            kept.extend([before, after].into_iter().filter(|part| part.start < part.end));
        }
        kept
    }

    /// The first `length` bytes, with zeros behind the end.
    #[must_use]
    pub fn bytes(&self, author: Author, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        for extent in &self.extents {
            let end = (extent.end as usize).min(length);
            let start = (extent.start as usize).min(end);
            fill(author, extent.version, extent.start, &mut bytes[start..end]);
        }
        bytes
    }
}

#[cfg(test)]
mod tests;
