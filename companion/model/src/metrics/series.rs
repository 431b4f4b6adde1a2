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
        let in_range = |point: &Point| (from_ms..=to_ms).contains(&point.at_ms);
        let mut points = Vec::new();
        let fine_from = self.fine.front().map_or(u64::MAX, |first| first.at_ms);
        if self.evicted > 0 && from_ms < fine_from {
            let buckets = self.coarse.iter().take_while(|bucket| bucket.start_ms < fine_from);
            for bucket in buckets {
                let [first, second] = bucket.extremes();
                let is_single = first == second;
                let both = [Some(first), Some(second).filter(|_| !is_single)];
                for point in both.into_iter().flatten().filter(|point| point.at_ms < fine_from) {
                    // Two extremes may lie nearly two buckets apart without anything missing between them.
                    push_with_gap(
                        &mut points,
                        point,
                        self.limits.gap_ms.saturating_add(2 * BUCKET_MS),
                        in_range,
                    );
                }
            }
        }
        let gap_after_coarse = self.limits.gap_ms.saturating_add(2 * BUCKET_MS);
        let start = self.fine.partition_point(|point| point.at_ms < from_ms);
        for (n, point) in self
            .fine
            .range(start..)
            .take_while(|point| point.at_ms <= to_ms)
            .enumerate()
        {
            let gap_ms = if n == 0 { gap_after_coarse } else { self.limits.gap_ms };
            push_with_gap(&mut points, *point, gap_ms, in_range);
        }
        points
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
fn push_with_gap(points: &mut Vec<Point>, point: Point, gap_ms: u64, in_range: impl Fn(&Point) -> bool) {
    if !in_range(&point) {
        return;
    }
    if let Some(before) = points.last().map(|point| point.at_ms)
        && point.at_ms.saturating_sub(before) > gap_ms
    {
        points.push(Point::gap(before + 1));
    }
    points.push(point);
}

#[cfg(test)]
mod tests;
