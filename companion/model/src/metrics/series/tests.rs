//! Rings that are full, points out of order, and gaps.

use proptest::prelude::*;

use super::*;

fn limits(points: usize, buckets: usize) -> Limits {
    Limits {
        points_per_series: points,
        buckets_per_series: buckets,
        ..Limits::default()
    }
}

fn series(limits: Limits, points: &[(u64, f64)]) -> Series {
    let mut series = Series::new(Unit::Count, limits);
    for (at_ms, value) in points {
        series.record(Point::new(*at_ms, *value));
    }
    series
}

fn values(points: &[Point]) -> Vec<f64> {
    points
        .iter()
        .filter(|point| !point.is_gap())
        .map(|point| point.value)
        .collect()
}

#[test]
fn a_point_out_of_order_is_sorted_in() {
    let mut series = series(Limits::default(), &[(100, 1.0), (300, 3.0)]);
    assert_eq!(series.record(Point::new(200, 2.0)), Recorded::Inserted);
    assert_eq!(series.record(Point::new(400, 4.0)), Recorded::Appended);
    assert_eq!(values(&series.points(0, 1000)), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(values(&series.points(200, 300)), [2.0, 3.0]);
}

#[test]
fn points_of_one_moment_stay_in_order_of_arrival() {
    let series = series(Limits::default(), &[(100, 1.0), (100, 2.0), (100, 1.5)]);
    assert_eq!(values(&series.points(0, 1000)), [1.0, 2.0, 1.5]);
}

#[test]
fn a_full_ring_lets_its_oldest_go() {
    let mut series = series(limits(3, 100), &[(1000, 1.0), (1100, 2.0), (1200, 3.0), (1300, 4.0)]);
    assert_eq!((series.len(), series.evicted()), (3, 1));
    // Older than every single point, of two seconds that are known.
    assert_eq!(series.record(Point::new(900, -1.0)), Recorded::Inserted);
    assert_eq!(series.len(), 3);
    assert_eq!(series.summary(0, 2000).unwrap().min, -1.0);
}

#[test]
fn what_is_older_than_everything_is_not_kept() {
    let mut series = series(limits(2, 2), &[(10_000, 1.0), (20_000, 2.0), (30_000, 3.0)]);
    assert_eq!(series.record(Point::new(5_000, 9.0)), Recorded::TooOld);
    assert_eq!(series.summary(0, 40_000).unwrap().max, 3.0);
}

#[test]
fn a_spike_outlives_its_point() {
    let minute: Vec<(u64, f64)> = (0..600).map(|n| (n * 100, if n == 123 { 99.0 } else { 1.0 })).collect();
    let series = series(limits(100, 1800), &minute);
    let points = series.points(0, 60_000);
    assert!(points.contains(&Point::new(12_300, 99.0)));
    assert!(points.windows(2).all(|pair| pair[0].at_ms <= pair[1].at_ms));
    assert!(!points.iter().any(Point::is_gap));
    assert_eq!(series.summary(0, 60_000).unwrap().count, 600);
}

#[test]
fn no_point_is_shown_as_its_own_and_as_an_extreme() {
    // The ring of points begins at 50.5 s, in the middle of two seconds whose greatest is at 51 s.
    let minute: Vec<(u64, f64)> = (0..600).map(|n| (n * 100, if n == 510 { 99.0 } else { 1.0 })).collect();
    let points = series(limits(95, 1800), &minute).points(0, 60_000);
    assert!(points.windows(2).all(|pair| pair[0].at_ms < pair[1].at_ms));
    assert_eq!(points.iter().filter(|point| point.value == 99.0).count(), 1);
}

#[test]
fn a_silence_is_a_gap_and_a_single_lost_sample_is_none() {
    let series = series(
        Limits::default(),
        &[(1000, 1.0), (1100, 1.0), (1300, 1.0), (9000, 1.0), (9100, 1.0)],
    );
    let points = series.points(0, 10_000);
    let gaps: Vec<u64> = points
        .iter()
        .filter(|point| point.is_gap())
        .map(|point| point.at_ms)
        .collect();
    assert_eq!(gaps, [1301]);
    assert_eq!(points.len(), 6);
}

#[test]
fn a_silence_is_a_gap_in_the_coarse_part_too() {
    let early = (0..20).map(|n| (n * 100, 1.0));
    let late = (0..20).map(|n| (60_000 + n * 100, 1.0));
    let all: Vec<_> = early.chain(late).collect();
    let series = series(limits(10, 1800), &all);
    assert_eq!(
        series.points(0, 100_000).iter().filter(|point| point.is_gap()).count(),
        1
    );
}

proptest! {
    #[test]
    fn order_of_arrival_does_not_matter(
        points in prop::collection::vec((0..20_000_u64, -5.0..5.0_f64), 0..80).prop_shuffle(),
    ) {
        let mut sorted = points.clone();
        sorted.sort_by_key(|point| point.0);
        sorted.dedup_by_key(|point| point.0);
        let mut shuffled = points;
        shuffled.retain(|point| sorted.contains(point));
        let (in_order, out_of_order) = (series(Limits::default(), &sorted), series(Limits::default(), &shuffled));
        prop_assert_eq!(in_order.points(0, 20_000).len(), out_of_order.points(0, 20_000).len());
        prop_assert_eq!(values(&in_order.points(0, 20_000)), values(&out_of_order.points(0, 20_000)));
    }

    #[test]
    fn a_summary_of_buckets_is_that_of_their_points(
        values in prop::collection::vec(-5.0..5.0_f64, 1..80),
        order in prop::collection::vec(any::<prop::sample::Index>(), 80),
    ) {
        let mut points: Vec<(u64, f64)> = (0..).map(|n| n * 700).zip(values).collect();
        let all: Vec<Point> = points.iter().map(|(at_ms, value)| Point::new(*at_ms, *value)).collect();
        for (at, other) in order.iter().enumerate().take(points.len()) {
            let other = other.index(points.len());
            points.swap(at, other);
        }
        let expected = Summary::of(all).unwrap();
        // Nearly all of it from buckets.
        let summary = series(limits(1, 1800), &points).summary(0, u64::MAX).unwrap();
        prop_assert!((summary.mean - expected.mean).abs() < 1e-9);
        prop_assert_eq!(Summary { mean: 0.0, ..summary }, Summary { mean: 0.0, ..expected });
    }

    #[test]
    fn memory_is_bounded_and_order_kept_whatever_comes(
        points in prop::collection::vec((any::<u64>(), -1e300..1e300_f64), 0..300),
        capacity in 0..20_usize,
        buckets in 0..20_usize,
    ) {
        let series = series(limits(capacity, buckets), &points);
        prop_assert!(series.len() <= capacity.max(1));
        prop_assert!(series.coarse.len() <= buckets.max(1));
        let shown = series.points(0, u64::MAX);
        prop_assert!(shown.windows(2).all(|pair| pair[0].at_ms <= pair[1].at_ms));
        let _ = series.summary(0, u64::MAX);
    }
}
