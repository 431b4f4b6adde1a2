//! What an agent tells again after it was started anew.
//!
//! An agent that starts reads all that the kernel still keeps, and numbers it anew in a log of a new life. What the kernel itself has numbered
//! is known by that number and its time: it is the same event, not another one. After a restart of the board both begin anew, and no
//! two of them go together again but by chance of a nanosecond. What the kernel has not numbered cannot be told apart, and is taken as new.

use std::collections::BTreeSet;

/// The events of earlier lives that are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Resent(BTreeSet<(u64, u64)>);

impl Resent {
    /// Events that are kept when a new life begins, by the kernel's number and the time on the board.
    pub(crate) fn expect(kept: impl IntoIterator<Item = (Option<u64>, u64)>) -> Self {
        let numbered = kept.into_iter().filter_map(|(seq, ts_ns)| Some((seq?, ts_ns)));
        Self(numbered.collect())
    }

    /// Whether an event is one of those.
    pub(crate) fn contains(&self, kernel_seq: Option<u64>, ts_ns: u64) -> bool {
        kernel_seq.is_some_and(|seq| self.0.contains(&(seq, ts_ns)))
    }
}
