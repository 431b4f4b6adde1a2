//! A set of clusters.

use alloc::vec;
use alloc::vec::Vec;

pub(crate) struct Bitmap(Vec<u64>);

impl Bitmap {
    /// For numbers below `len`.
    pub(crate) fn new(len: usize) -> Self {
        Self(vec![0; len.div_ceil(64)])
    }

    /// Adds a number; whether it was new. One that is out of range is not.
    pub(crate) fn insert(&mut self, n: u32) -> bool {
        let Some(word) = self.0.get_mut(n as usize / 64) else {
            return false;
        };
        let bit = 1 << (n % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}
