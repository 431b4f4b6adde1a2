//! Which blocks of an image mean something.

use std::collections::BTreeMap;

/// Bytes of a block: what block maps and bundles count in, and the block of the ext4 file systems.
pub use sis_bundle::BLOCK_BYTES;

/// A set of blocks, kept as runs that neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blocks {
    /// First block of each run, and the block after its last.
    runs: BTreeMap<u64, u64>,
}

impl Blocks {
    /// Adds the blocks from `first` up to, not including, `end`.
    pub fn add(&mut self, first: u64, end: u64) {
        if first >= end {
            return;
        }
        let (mut first, mut end) = (first, end);
        if let Some((before, before_end)) = self.runs.range(..=first).next_back()
            && *before_end >= first
        {
            first = *before;
            end = end.max(*before_end);
        }
        while let Some((next, next_end)) = self.runs.range(first..=end).next().map(|(a, b)| (*a, *b)) {
            self.runs.remove(&next);
            end = end.max(next_end);
        }
        self.runs.insert(first, end);
    }

    /// Adds the blocks that `len` bytes at `offset` lie in.
    pub fn add_bytes(&mut self, offset: u64, len: u64) {
        self.add(offset / BLOCK_BYTES, offset.saturating_add(len).div_ceil(BLOCK_BYTES));
    }

    /// The runs in ascending order: the first block of each, and the block after its last.
    pub fn runs(&self) -> impl Iterator<Item = (u64, u64)> {
        self.runs.iter().map(|(first, end)| (*first, *end))
    }

    /// How many blocks there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.runs().map(|(first, end)| end - first).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_are_rounded_outwards() {
        let mut blocks = Blocks::default();
        blocks.add_bytes(4095, 2);
        blocks.add_bytes(3 * 4096, 1);
        blocks.add_bytes(9 * 4096, 0);
        assert_eq!(blocks.runs().collect::<Vec<_>>(), [(0, 2), (3, 4)]);
    }

    proptest! {
        #[test]
        fn it_is_the_set_that_a_list_of_flags_is(adds in proptest::collection::vec((0u64..64, 0u64..12), 0..40)) {
            let (mut blocks, mut flags) = (Blocks::default(), [false; 80]);
            for (first, len) in adds {
                blocks.add(first, first + len);
                flags[first as usize..(first + len) as usize].fill(true);
            }
            let mut seen = [false; 80];
            let mut last = None;
            for (first, end) in blocks.runs() {
                prop_assert!(first < end && last.is_none_or(|last| last < first));
                last = Some(end);
                seen[first as usize..end as usize].fill(true);
            }
            prop_assert_eq!(seen, flags);
            prop_assert_eq!(blocks.count(), flags.iter().filter(|flag| **flag).count() as u64);
        }
    }
}
