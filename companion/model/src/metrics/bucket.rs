//! What happened in a short span of a series: kept for longer than every single point is.

use super::{Point, Summary};

/// How long a bucket is, milliseconds.
pub(crate) const BUCKET_MS: u64 = 2000;

/// The points of one span, reduced to what a chart shows of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bucket {
    /// A multiple of [`BUCKET_MS`].
    pub(crate) start_ms: u64,
    least: Point,
    greatest: Point,
    newest: Point,
    count: u64,
    mean: f64,
}

impl Bucket {
    /// A bucket of one point.
    pub(crate) const fn new(point: Point) -> Self {
        Self {
            start_ms: Self::start_of(point.at_ms),
            least: point,
            greatest: point,
            newest: point,
            count: 1,
            mean: point.value,
        }
    }

    /// Where the bucket of a time begins.
    pub(crate) const fn start_of(at_ms: u64) -> u64 {
        at_ms - at_ms % BUCKET_MS
    }

    /// Adds a point of the same span.
    pub(crate) fn add(&mut self, point: Point) {
        if point.value < self.least.value {
            self.least = point;
        }
        if point.value > self.greatest.value {
            self.greatest = point;
        }
        if point.at_ms >= self.newest.at_ms {
            self.newest = point;
        }
        self.count += 1;
        self.mean += point.value / self.count as f64 - self.mean / self.count as f64;
    }

    /// The least and the greatest point in order of time; twice the same when there is but one.
    pub(crate) const fn extremes(&self) -> [Point; 2] {
        if self.least.at_ms <= self.greatest.at_ms {
            [self.least, self.greatest]
        } else {
            [self.greatest, self.least]
        }
    }

    /// Joins the buckets' values, in order of time; `None` without a bucket.
    pub(crate) fn summary<'a>(buckets: impl IntoIterator<Item = &'a Self>) -> Option<Summary> {
        let mut summary: Option<Summary> = None;
        for bucket in buckets {
            let so_far = summary.get_or_insert(Summary {
                count: 0,
                min: bucket.least.value,
                max: bucket.greatest.value,
                mean: 0.0,
                last: bucket.newest.value,
            });
            so_far.count += bucket.count;
            so_far.min = so_far.min.min(bucket.least.value);
            so_far.max = so_far.max.max(bucket.greatest.value);
            so_far.last = bucket.newest.value;
            let weight = bucket.count as f64 / so_far.count as f64;
            so_far.mean += bucket.mean * weight - so_far.mean * weight;
        }
        summary
    }
}
