//! Samples as series: what is kept, what is shown, what is exported.
//!
//! A [`MetricsStore`] turns the snapshots of a board into named [`Series`], of bounded length and number. A [`MetricsView`] shows some of
//! them over a [`Window`], down-sampled by [`lttb()`], live or frozen. Times are Unix milliseconds of the host.

mod bucket;
mod catalogue;
mod export;
mod lttb;
mod name;
mod point;
mod sequence;
mod series;
mod store;
mod view;

pub use lttb::lttb;
pub use name::{NameError, SeriesName, Unit};
pub use point::{Point, Summary};
pub use sequence::Counts;
pub use series::{Recorded, Series};
pub use store::{MetricsStore, RecordError, Refused, TimedSample};
pub use view::{Line, MetricsView, SELECTED_MAX, Window};

/// How much is kept of a board's samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Series in all.
    pub series: usize,
    /// Single points of a series: five minutes at ten a second, by default.
    pub points_per_series: usize,
    /// Buckets of two seconds a series: one hour, by default.
    pub buckets_per_series: usize,
    /// Points further apart than this, milliseconds, have a gap between them.
    pub gap_ms: u64,
    /// Points further in the future than this, milliseconds, are refused.
    pub future_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            series: 256,
            points_per_series: 3000,
            buckets_per_series: 1800,
            gap_ms: 1000,
            future_ms: 5000,
        }
    }
}
