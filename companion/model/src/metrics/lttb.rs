//! Down-sampling that keeps the look of a line: largest triangle three buckets.
//!
//! Sveinn Steinarsson, "Downsampling Time Series for Visual Representation", University of Iceland, 2013, section 4.2. The first and the
//! last point stay. Those between are cut into as many buckets as points are wanted, and each bucket keeps the one point that makes the
//! largest triangle with the point kept before it and the mean of the next bucket.

use super::Point;

/// At most `max_points` of `points` that show the same line, in their order.
///
/// Without gaps exactly `max_points` of them (all, where there are no more), the first and the last among them (from two on). With
/// gaps each piece of the line is down-sampled by itself, with the room that its length deserves, and one gap is kept between two
/// pieces; where there are more pieces than that leaves room for, the gaps go first.
#[must_use]
pub fn lttb(points: &[Point], max_points: usize) -> Vec<Point> {
    let pieces: Vec<&[Point]> = points.split(Point::is_gap).filter(|piece| !piece.is_empty()).collect();
    let gaps = pieces.len().saturating_sub(1);
    let count: usize = pieces.iter().map(|piece| piece.len()).sum();
    if gaps == 0 {
        return pieces
            .first()
            .map_or_else(Vec::new, |piece| down_sample(piece, max_points));
    }
    // Each piece gets its two ends, and its share of the rest.
    let Some(rest) = max_points.checked_sub(gaps + 2 * pieces.len()) else {
        return down_sample(&pieces.concat(), max_points);
    };
    let mut kept = Vec::with_capacity(max_points.min(count + gaps));
    for piece in pieces {
        if let Some(before) = kept.last().map(|point: &Point| point.at_ms) {
            kept.push(Point::gap(before));
        }
        kept.extend(down_sample(piece, 2 + share(rest, piece.len(), count)));
    }
    kept
}

/// The algorithm, on points without gaps.
fn down_sample(points: &[Point], max_points: usize) -> Vec<Point> {
    if points.len() <= max_points {
        return points.to_vec();
    }
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return Vec::new();
    };
    match max_points {
        0 => return Vec::new(),
        1 => return vec![*first],
        _ => {}
    }
    let buckets = max_points - 2;
    let inner = points.len() - 2;
    // Bucket `at` holds the inner points from `edge(at)` to before `edge(at + 1)`: at least one, as there are more points than buckets.
    let edge = |at: usize| 1 + share(inner, at, buckets.max(1));
    let mut kept = Vec::with_capacity(max_points);
    kept.push(*first);
    let mut before = *first;
    for at in 0..buckets {
        let bucket = points.get(edge(at)..edge(at + 1)).unwrap_or_default();
        let next = match points.get(edge(at + 1)..edge(at + 2)) {
            Some(next) if at + 1 < buckets => next,
            _ => std::slice::from_ref(last),
        };
        if let Some(chosen) = largest_triangle(before, bucket, mean(before, next)) {
            kept.push(chosen);
            before = chosen;
        }
    }
    kept.push(*last);
    kept
}

/// `whole * part / parts`, rounded down, without overflow.
fn share(whole: usize, part: usize, parts: usize) -> usize {
    let share = (whole as u128) * (part as u128) / (parts.max(1) as u128);
    usize::try_from(share).unwrap_or(usize::MAX)
}

/// The mean place of a bucket, its time counted from `origin` on.
fn mean(origin: Point, bucket: &[Point]) -> (f64, f64) {
    let count = bucket.len().max(1) as f64;
    bucket.iter().fold((0.0, 0.0), |(x, y), point| {
        (x + elapsed(origin, *point) / count, y + point.value / count)
    })
}

fn elapsed(from: Point, to: Point) -> f64 {
    to.at_ms.saturating_sub(from.at_ms) as f64
}

/// The point of `bucket` that makes the largest triangle with `before` and the place `next`; the first of equals.
fn largest_triangle(before: Point, bucket: &[Point], next: (f64, f64)) -> Option<Point> {
    let area = |point: &Point| {
        let (x, y) = (elapsed(before, *point), point.value - before.value);
        (next.0 * y - x * (next.1 - before.value)).abs()
    };
    let mut best = *bucket.first()?;
    let mut best_area = area(&best);
    for point in bucket.iter().skip(1) {
        let area = area(point);
        // An area that overflowed compares as not larger: then the first stays.
        if area > best_area {
            (best, best_area) = (*point, area);
        }
    }
    Some(best)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(values: &[f64]) -> Vec<Point> {
        (0..)
            .zip(values)
            .map(|(n, value)| Point::new(n * 100, *value))
            .collect()
    }

    /// Whether `part` is what `whole` becomes when some of it is left out.
    fn is_subsequence(part: &[Point], whole: &[Point]) -> bool {
        let mut rest = whole.iter();
        part.iter().all(|point| rest.any(|other| other == point))
    }

    #[test]
    fn a_single_spike_survives() {
        let mut values = vec![1.0; 1000];
        values[577] = 50.0;
        let kept = lttb(&line(&values), 20);
        assert_eq!(kept.len(), 20);
        assert!(kept.contains(&Point::new(57_700, 50.0)));
    }

    #[test]
    fn the_chosen_points_are_those_of_the_paper() {
        // Worked by hand: buckets {1, 2} and {3, 4}, then the last point.
        let points = line(&[0.0, 1.0, 5.0, -5.0, 0.0, 0.0]);
        let kept: Vec<f64> = lttb(&points, 4).iter().map(|point| point.value).collect();
        assert_eq!(kept, [0.0, 5.0, -5.0, 0.0]);
    }

    #[test]
    fn a_bucket_looks_at_the_mean_of_the_next_and_not_at_the_end() {
        // With the mean of {3, 4}, at (350, 5): areas 550 and 400. With the last point, at (500, 0), they would be 1500 and 2000.
        let kept = lttb(&line(&[0.0, 3.0, 4.0, 5.0, 5.0, 0.0]), 4);
        let times: Vec<u64> = kept.iter().map(|point| point.at_ms).collect();
        assert_eq!(times, [0, 100, 400, 500]);
    }

    #[test]
    fn no_room_keeps_what_it_can() {
        let points = line(&[1.0, 2.0, 3.0]);
        assert_eq!(lttb(&points, 0), []);
        assert_eq!(lttb(&points, 1), line(&[1.0]));
        assert_eq!(lttb(&points, 2), [points[0], points[2]]);
        assert_eq!(lttb(&[], 5), []);
        assert_eq!(lttb(&[Point::gap(1), Point::gap(2)], 5), []);
    }

    #[test]
    fn a_gap_stays_a_gap() {
        let mut points = line(&[1.0; 100]);
        points[40] = Point::gap(4000);
        points[41] = Point::gap(4100);
        let kept = lttb(&points, 20);
        let gaps: Vec<usize> = (0..kept.len()).filter(|at| kept[*at].is_gap()).collect();
        assert_eq!(gaps.len(), 1);
        assert_eq!(kept[gaps[0] - 1], Point::new(3900, 1.0));
        assert_eq!(kept[gaps[0] + 1], Point::new(4200, 1.0));
    }

    #[test]
    fn gaps_go_before_points_do() {
        let points: Vec<Point> = (0..100)
            .map(|n| if n % 2 == 0 { Point::new(n, 1.0) } else { Point::gap(n) })
            .collect();
        let kept = lttb(&points, 10);
        assert_eq!(kept.len(), 10);
        assert!(!kept.iter().any(Point::is_gap));
    }

    proptest! {
        #[test]
        fn a_line_without_gaps_keeps_exactly_so_many_in_order_and_both_ends(
            values in prop::collection::vec(prop::num::f64::NORMAL | prop::num::f64::ZERO, 0..300),
            max_points in 0..320_usize,
        ) {
            let points = line(&values);
            let kept = lttb(&points, max_points);
            prop_assert_eq!(kept.len(), points.len().min(max_points));
            prop_assert!(is_subsequence(&kept, &points));
            if max_points >= 2 {
                prop_assert_eq!(kept.first(), points.first());
                prop_assert_eq!(kept.last(), points.last());
            }
        }

        #[test]
        fn a_line_with_gaps_stays_within_its_bound(
            values in prop::collection::vec(prop_oneof![4 => -10.0..10.0, 1 => Just(f64::NAN)], 0..300),
            max_points in 0..100_usize,
        ) {
            let points = line(&values);
            let kept = lttb(&points, max_points);
            prop_assert!(kept.len() <= max_points);
            let values: Vec<Point> = kept.iter().copied().filter(|point| !point.is_gap()).collect();
            prop_assert!(is_subsequence(&values, &points));
            prop_assert!(!kept.windows(2).any(|pair| pair[0].is_gap() && pair[1].is_gap()));
            prop_assert!(!kept.last().is_some_and(Point::is_gap) && !kept.first().is_some_and(Point::is_gap));
            if max_points >= 2 {
                let first = points.iter().find(|point| !point.is_gap());
                prop_assert_eq!(kept.first(), first);
            }
        }
    }
}
