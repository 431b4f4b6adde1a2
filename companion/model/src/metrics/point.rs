//! One value at one time, and what a set of them comes to.

use serde::{Serialize, Serializer};

/// A value of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// When: Unix milliseconds of the host.
    pub at_ms: u64,
    /// What, in the series' unit. Not a number in a point that stands for a gap.
    pub value: f64,
}

impl Point {
    /// A value.
    #[must_use]
    pub const fn new(at_ms: u64, value: f64) -> Self {
        Self { at_ms, value }
    }

    /// A place where a line is to be interrupted.
    #[must_use]
    pub const fn gap(at_ms: u64) -> Self {
        Self { at_ms, value: f64::NAN }
    }

    /// Whether this is no value but a place where a line is to be interrupted.
    #[must_use]
    pub const fn is_gap(&self) -> bool {
        self.value.is_nan()
    }
}

/// `{"ts": 1700000000000, "value": 1.5}`; a gap's value is null.
impl Serialize for Point {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown {
            ts: u64,
            value: Option<f64>,
        }
        let value = Some(self.value).filter(|value| value.is_finite());
        Shown { ts: self.at_ms, value }.serialize(serializer)
    }
}

/// What a set of values comes to, in the series' unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// How many there are; at least one.
    pub count: u64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// The arithmetic mean.
    pub mean: f64,
    /// The newest.
    pub last: f64,
}

impl Summary {
    /// Of points in order of time; gaps do not count. `None` without a value.
    #[must_use]
    pub fn of(points: impl IntoIterator<Item = Point>) -> Option<Self> {
        let mut summary: Option<Self> = None;
        for Point { value, .. } in points.into_iter().filter(|point| !point.is_gap()) {
            let so_far = summary.get_or_insert(Self {
                count: 0,
                min: value,
                max: value,
                mean: 0.0,
                last: value,
            });
            so_far.count += 1;
            so_far.min = so_far.min.min(value);
            so_far.max = so_far.max.max(value);
            so_far.last = value;
            // A running mean: a sum of large values could overflow.
            so_far.mean += value / so_far.count as f64 - so_far.mean / so_far.count as f64;
        }
        summary
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_summary_passes_over_gaps() {
        let points = [
            Point::new(1, 4.0),
            Point::gap(2),
            Point::new(3, -2.0),
            Point::new(4, 1.0),
        ];
        let expected = Summary {
            count: 3,
            min: -2.0,
            max: 4.0,
            mean: 1.0,
            last: 1.0,
        };
        assert_eq!(Summary::of(points), Some(expected));
        assert_eq!(Summary::of([Point::gap(1)]), None);
    }

    #[test]
    fn a_gap_is_null_in_json() {
        let shown = serde_json::to_string(&[Point::new(5, 1.5), Point::gap(6)]).unwrap();
        assert_eq!(shown, r#"[{"ts":5,"value":1.5},{"ts":6,"value":null}]"#);
    }

    proptest! {
        #[test]
        fn the_mean_lies_between_the_least_and_the_greatest(values in prop::collection::vec(-1e300..1e300, 1..50)) {
            let summary = Summary::of(values.iter().map(|value| Point::new(0, *value))).unwrap();
            prop_assert_eq!(summary.count, values.len() as u64);
            let slack = (summary.max.abs() + summary.min.abs()) * 1e-9;
            prop_assert!(summary.min - slack <= summary.mean && summary.mean <= summary.max + slack);
        }
    }
}
