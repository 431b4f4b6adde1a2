//! A measured value over time.

use std::collections::VecDeque;

/// One minute at ten samples a second.
const KEPT: usize = 600;

/// The newest values, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Series(VecDeque<f64>);

impl Series {
    pub(super) fn push(&mut self, value: f64) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(value);
    }

    pub(super) fn last(&self) -> Option<f64> {
        self.0.back().copied()
    }

    /// The newest values for `columns` columns, each the largest of those that share it, so that a peak is never lost.
    pub(super) fn columns(&self, columns: usize) -> Vec<f64> {
        let columns = columns.max(1);
        let per_column = KEPT.div_ceil(columns.min(KEPT)).min(KEPT);
        // Grouped from the newest backwards, so that a full group stays what it is while the chart moves.
        let mut groups: Vec<f64> = self
            .0
            .iter()
            .rev()
            .copied()
            .collect::<Vec<f64>>()
            .chunks(per_column)
            .take(columns)
            .map(|chunk| chunk.iter().copied().fold(0.0, f64::max))
            .collect();
        groups.reverse();
        groups
    }

    /// The largest of all that is kept.
    pub(super) fn peak(&self) -> f64 {
        self.0.iter().copied().fold(0.0, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_survive_and_the_newest_is_last() {
        let mut series = Series::default();
        for value in 0..1000 {
            series.push(if value == 700 { 5000.0 } else { f64::from(value) });
        }
        let columns = series.columns(60);
        assert_eq!(columns.len(), 60);
        assert_eq!(columns.last(), Some(&999.0));
        assert!(columns.contains(&5000.0));
        assert_eq!(series.peak(), 5000.0);
        assert_eq!(series.last(), Some(999.0));
        assert_eq!(Series::default().columns(0), Vec::<f64>::new());
    }
}
