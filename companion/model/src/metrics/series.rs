//! One series: every point of the last minutes, and what is shown of the last hour.

use std::collections::VecDeque;

use super::bucket::{BUCKET_MS, Bucket};
use super::{Limits, Point, Summary, Unit};

/// What became of a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It is the newest.
    Appended,
    /// It was sorted in among others.
    Inserted,
    /// Older than anything that is kept: it is not.
    TooOld,
}

/// Points in order of time, in two rings: every single one (*fine*), and the extremes of two seconds each (*coarse*). When a ring is full its
/// oldest goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    unit: Unit,
    limits: Limits,
    fine: VecDeque<Point>,
    coarse: VecDeque<Bucket>,
    /// Points that the fine ring had no room for any more.
    evicted: u64,
}

impl Series {
    pub(crate) const fn new(unit: Unit, limits: Limits) -> Self {
        Self {
            unit,
            limits,
            fine: VecDeque::new(),
            coarse: VecDeque::new(),
            evicted: 0,
        }
    }

    /// What its values are.
    #[must_use]
    pub const fn unit(&self) -> Unit {
        self.unit
    }

    /// How many single points are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fine.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fine.is_empty()
    }

    /// Points that made room for newer ones; they live on in what the coarse ring says of their two seconds.
    #[must_use]
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// The newest point.
    #[must_use]
    pub fn last(&self) -> Option<Point> {
        self.fine.back().copied()
    }

    /// Adds a point, wherever in time it belongs. The value must be finite.
    pub(crate) fn record(&mut self, point: Point) -> Recorded {
        let is_in_coarse = self.record_coarse(point);
        let at = self.fine.partition_point(|other| other.at_ms <= point.at_ms);
        let is_newest = at == self.fine.len();
        if self.fine.len() >= self.limits.points_per_series.max(1) {
            if at == 0 {
                self.evicted += u64::from(is_in_coarse);
                return if is_in_coarse {
                    Recorded::Inserted
                } else {
                    Recorded::TooOld
                };
            }
            self.fine.pop_front();
            self.evicted += 1;
            self.fine.insert(at - 1, point);
        } else {
            self.fine.insert(at, point);
        }
        if is_newest {
            Recorded::Appended
        } else {
            Recorded::Inserted
        }
    }

    /// Whether there is room for the point's two seconds.
    fn record_coarse(&mut self, point: Point) -> bool {
        let start_ms = Bucket::start_of(point.at_ms);
        let mut at = self.coarse.partition_point(|bucket| bucket.start_ms < start_ms);
        if let Some(bucket) = self.coarse.get_mut(at).filter(|bucket| bucket.start_ms == start_ms) {
            bucket.add(point);
            return true;
        }
        if self.coarse.len() >= self.limits.buckets_per_series.max(1) {
            if at == 0 {
                return false;
            }
            self.coarse.pop_front();
            at -= 1;
        }
        self.coarse.insert(at, Bucket::new(point));
        true
    }

    /// What is known of the time from `from_ms` to `to_ms`, both included, with gaps where nothing was measured: every point as far as
    /// they are kept, before that the extremes of two seconds each.
    #[must_use]
    pub fn points(&self, from_ms: u64, to_ms: u64) -> Vec<Point> {
        let is_within = |point: &Point| (from_ms..=to_ms).contains(&point.at_ms);
        // Two extremes may lie nearly two buckets apart without anything missing between them.
        let coarse_gap_ms = self.limits.gap_ms.saturating_add(2 * BUCKET_MS);
        let mut points = Vec::new();
        for point in self.extremes_before_points().filter(is_within) {
            push_with_gap(&mut points, point, coarse_gap_ms);
        }
        let start = self.fine.partition_point(|point| point.at_ms < from_ms);
        let mut gap_ms = coarse_gap_ms;
        for point in self.fine.range(start..).take_while(|point| is_within(point)) {
            push_with_gap(&mut points, *point, gap_ms);
            gap_ms = self.limits.gap_ms;
        }
        points
    }

    /// The extremes of the time from which no single points are kept any more, in order.
    fn extremes_before_points(&self) -> impl Iterator<Item = Point> {
        let fine_from = self.fine.front().map_or(0, |first| first.at_ms);
        let buckets = self.coarse.iter().take_while(move |bucket| bucket.start_ms < fine_from);
        let extremes = buckets.flat_map(|bucket| {
            let [first, second] = bucket.extremes();
            [Some(first), Some(second).filter(|second| *second != first)]
        });
        extremes.flatten().filter(move |point| point.at_ms < fine_from)
    }

    /// What the values from `from_ms` to `to_ms` come to. Where single points are no longer kept for all of it, whole buckets of two
    /// seconds count that begin within it.
    #[must_use]
    pub fn summary(&self, from_ms: u64, to_ms: u64) -> Option<Summary> {
        let fine_from = self.fine.front()?.at_ms;
        if self.evicted == 0 || from_ms >= fine_from {
            let start = self.fine.partition_point(|point| point.at_ms < from_ms);
            let within = self.fine.range(start..).take_while(|point| point.at_ms <= to_ms);
            return Summary::of(within.copied());
        }
        let start = self.coarse.partition_point(|bucket| bucket.start_ms < from_ms);
        let within = self.coarse.range(start..).take_while(|bucket| bucket.start_ms <= to_ms);
        Bucket::summary(within)
    }
}

/// Appends a point, and a gap before it when the one before is more than `gap_ms` away.
fn push_with_gap(points: &mut Vec<Point>, point: Point, gap_ms: u64) {
    if let Some(before_ms) = points.last().map(|before| before.at_ms)
        && point.at_ms.saturating_sub(before_ms) > gap_ms
    {
        points.push(Point::gap(before_ms + 1));
    }
    points.push(point);
}

#[cfg(test)]
mod tests;
