//! The lines that a filter lets through, kept up to date without looking at any line twice.

use std::collections::VecDeque;

use super::{LogFilter, LogLine, LogStore};

/// The numbers of the lines of one [`LogStore`] that pass a filter.
#[derive(Debug, Clone, Default)]
pub struct LogView {
    filter: LogFilter,
    /// Ascending.
    numbers: VecDeque<u64>,
    /// The first line that was not looked at yet.
    next: u64,
}

impl LogView {
    /// A view that has looked at nothing yet.
    #[must_use]
    pub fn new(filter: LogFilter) -> Self {
        Self {
            filter,
            ..Self::default()
        }
    }

    /// The filter.
    #[must_use]
    pub const fn filter(&self) -> &LogFilter {
        &self.filter
    }

    /// Another filter: all lines are to be looked at anew.
    pub fn set_filter(&mut self, filter: LogFilter) {
        *self = Self::new(filter);
    }

    /// Looks at the lines that came since the last call, and forgets those that the store no longer keeps. Returns how many lines were
    /// looked at.
    pub fn update(&mut self, store: &LogStore) -> u64 {
        let (first, end) = store.numbers();
        while self.numbers.front().is_some_and(|number| *number < first) {
            self.numbers.pop_front();
        }
        let from = self.next.max(first);
        for number in from..end {
            if store.get(number).is_some_and(|line| self.filter.accepts(line)) {
                self.numbers.push_back(number);
            }
        }
        self.next = end;
        end.saturating_sub(from)
    }

    /// How many lines are shown, as of the last [`Self::update`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// So many of the shown lines from the `start`th on, oldest first: what a list draws of a long one.
    pub fn lines<'a>(
        &'a self,
        store: &'a LogStore,
        start: usize,
        count: usize,
    ) -> impl Iterator<Item = &'a LogLine> + use<'a> {
        self.numbers
            .iter()
            .skip(start)
            .take(count)
            .filter_map(|number| store.get(*number))
    }
}
