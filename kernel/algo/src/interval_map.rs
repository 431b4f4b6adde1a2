//! Ranges of addresses with a value each, never overlapping: what an address space keeps its mappings in.
//!
//! Ranges are half-open and never empty. Neighbours that [`Value::can_merge`] are one entry at all times, so that a map has exactly one
//! form for what it says about each address; and a change to a part of an entry splits it. All operations on a range take
//! O(log n + entries touched); the searches for a gap walk the entries from the end that they prefer.

use alloc::{collections::BTreeMap, vec::Vec};
use core::ops::Range;

use thiserror::Error;

/// A value that may belong to a part of a range.
pub trait Value: Sized {
    /// Cuts the value in two: it keeps the first `offset` addresses, the result is for the rest. `offset` is neither 0 nor the length.
    #[must_use = "the rest of the range needs its value"]
    fn split_at(&mut self, offset: usize) -> Self;

    /// Whether this value, of a range of `len` addresses, can also stand for a range that follows it directly and has the value `next`.
    ///
    /// It must be true of what [`split_at`](Self::split_at) made.
    fn can_merge(&self, len: usize, next: &Self) -> bool;
}

/// A range is empty, or overlaps an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InsertError {
    /// The end is not after the start.
    #[error("the range is empty")]
    Empty,
    /// An entry lies there.
    #[error("the range overlaps an entry at {at:#x}")]
    Overlap {
        /// The first address of the range that is taken.
        at: usize,
    },
}

/// The end of an entry and its value; the start is the key.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry<V> {
    end: usize,
    value: V,
}

/// Ranges with values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntervalMap<V> {
    entries: BTreeMap<usize, Entry<V>>,
    /// The sum of all lengths.
    covered: usize,
}

impl<V> Default for IntervalMap<V> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            covered: 0,
        }
    }
}

impl<V> IntervalMap<V> {
    /// A map without entries.
    pub const fn new() -> Self {
        Self {
            entries: BTreeMap::new(),
            covered: 0,
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many addresses have a value.
    pub fn covered(&self) -> usize {
        self.covered
    }

    /// The entry at an address.
    pub fn get(&self, at: usize) -> Option<(Range<usize>, &V)> {
        let (start, entry) = self.entries.range(..=at).next_back()?;
        (at < entry.end).then_some((*start..entry.end, &entry.value))
    }

    /// The entry at an address, to change what does not matter to [`Value::can_merge`].
    pub fn get_mut(&mut self, at: usize) -> Option<(Range<usize>, &mut V)> {
        let (start, entry) = self.entries.range_mut(..=at).next_back()?;
        (at < entry.end).then_some((*start..entry.end, &mut entry.value))
    }

    /// All entries, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (Range<usize>, &V)> {
        self.entries
            .iter()
            .map(|(start, entry)| (*start..entry.end, &entry.value))
    }

    /// The entries that have an address in the range, whole, ascending.
    pub fn overlapping(&self, range: Range<usize>) -> impl DoubleEndedIterator<Item = (Range<usize>, &V)> {
        // The one that reaches into the range begins before it; no other does.
        let first = self.get(range.start).map_or(range.start, |(found, _)| found.start);
        let end = if range.is_empty() { first } else { range.end };
        self.entries
            .range(first..end)
            .map(|(start, entry)| (*start..entry.end, &entry.value))
    }

    /// The first entry that ends after an address: the one at it, or else the next.
    pub fn at_or_after(&self, at: usize) -> Option<(Range<usize>, &V)> {
        self.get(at).or_else(|| {
            self.entries
                .range(at..)
                .next()
                .map(|(start, entry)| (*start..entry.end, &entry.value))
        })
    }

    /// The last entry that begins before an address.
    pub fn before(&self, at: usize) -> Option<(Range<usize>, &V)> {
        self.entries
            .range(..at)
            .next_back()
            .map(|(start, entry)| (*start..entry.end, &entry.value))
    }

    /// Whether every address of a range has a value.
    pub fn is_covered(&self, range: Range<usize>) -> bool {
        let mut at = range.start;
        for (found, _) in self.overlapping(range.clone()) {
            if found.start > at {
                return false;
            }
            at = found.end;
        }
        at >= range.end
    }

    /// Whether no address of a range has a value.
    pub fn is_free(&self, range: Range<usize>) -> bool {
        self.overlapping(range).next().is_none()
    }

    /// The lowest free range of `len` addresses in the window whose start is a multiple of `align` (a power of two, or 0 for none).
    pub fn find_gap_up(&self, len: usize, align: usize, window: Range<usize>) -> Option<usize> {
        let align = checked_align(len, align)?;
        let mut start = window.start.checked_next_multiple_of(align)?;
        for (taken, _) in self.overlapping(window.clone()) {
            if taken.start > start && taken.start - start >= len {
                break;
            }
            start = start.max(taken.end.checked_next_multiple_of(align)?);
        }
        (start.checked_add(len)? <= window.end).then_some(start)
    }

    /// The highest free range of `len` addresses in the window whose start is a multiple of `align` (a power of two, or 0 for none).
    pub fn find_gap_down(&self, len: usize, align: usize, window: Range<usize>) -> Option<usize> {
        let align = checked_align(len, align)?;
        let fit = |end: usize| Some(end.checked_sub(len)? & !(align - 1));
        let mut start = fit(window.end)?;
        for (taken, _) in self.overlapping(window.clone()).rev() {
            if taken.end <= start {
                break;
            }
            start = start.min(fit(taken.start)?);
        }
        (start >= window.start).then_some(start)
    }
}

/// No alignment is an alignment of one. `None` when nothing can be found.
fn checked_align(len: usize, align: usize) -> Option<usize> {
    let align = align.max(1);
    (len > 0 && align.is_power_of_two()).then_some(align)
}

impl<V: Value> IntervalMap<V> {
    /// Gives a free range a value.
    ///
    /// # Errors
    /// [`InsertError`] when the range is empty or not free; nothing is changed then.
    pub fn insert(&mut self, range: Range<usize>, value: V) -> Result<(), InsertError> {
        if range.is_empty() {
            return Err(InsertError::Empty);
        }
        if let Some((found, _)) = self.overlapping(range.clone()).next() {
            return Err(InsertError::Overlap {
                at: found.start.max(range.start),
            });
        }
        self.covered += range.len();
        self.entries.insert(range.start, Entry { end: range.end, value });
        self.join_at(range.end);
        self.join_at(range.start);
        Ok(())
    }

    /// Takes the values of a range away; returns what was there, in parts that lie within the range, ascending.
    pub fn remove(&mut self, range: Range<usize>) -> Vec<(Range<usize>, V)> {
        let mut removed = Vec::new();
        if range.is_empty() {
            return removed;
        }
        self.split(range.start);
        self.split(range.end);
        while let Some((&start, _)) = self.entries.range(range.clone()).next() {
            let Some(entry) = self.entries.remove(&start) else {
                break;
            };
            self.covered -= entry.end - start;
            removed.push((start..entry.end, entry.value));
        }
        removed
    }

    /// Changes the values of a range, in parts that lie within the range, ascending. Afterwards neighbours are joined again.
    pub fn update(&mut self, range: Range<usize>, mut change: impl FnMut(Range<usize>, &mut V)) {
        if range.is_empty() {
            return;
        }
        self.split(range.start);
        self.split(range.end);
        let mut bounds = Vec::new();
        for (start, entry) in self.entries.range_mut(range.clone()) {
            change(*start..entry.end, &mut entry.value);
            bounds.push(*start);
        }
        self.join_at(range.end);
        while let Some(at) = bounds.pop() {
            self.join_at(at);
        }
    }

    /// Makes an entry end at `at`, where one spans it.
    fn split(&mut self, at: usize) {
        let Some((start, entry)) = self.entries.range_mut(..at).next_back() else {
            return;
        };
        if entry.end <= at {
            return;
        }
        let value = entry.value.split_at(at - start);
        let end = core::mem::replace(&mut entry.end, at);
        self.entries.insert(at, Entry { end, value });
    }

    /// Joins the entry that ends at `at` with the one that begins there, if they can be.
    fn join_at(&mut self, at: usize) {
        let Some(next) = self.entries.get(&at) else { return };
        let Some((start, before)) = self.entries.range(..at).next_back() else {
            return;
        };
        if before.end != at || !before.value.can_merge(at - start, &next.value) {
            return;
        }
        let Some(next) = self.entries.remove(&at) else { return };
        if let Some((_, before)) = self.entries.range_mut(..at).next_back() {
            before.end = next.end;
        }
    }
}

#[cfg(test)]
mod tests;
