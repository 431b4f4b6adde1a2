//! What a chart shows: some series over a window of time, live or frozen.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::{MetricsStore, Point, Series, SeriesName, Summary, Unit, lttb};

/// How far back a chart goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Window {
    /// Five minutes, every sample.
    #[default]
    FiveMinutes,
    /// Half an hour.
    ThirtyMinutes,
    /// An hour.
    OneHour,
}

impl Window {
    /// Every window, shortest first.
    pub const ALL: [Self; 3] = [Self::FiveMinutes, Self::ThirtyMinutes, Self::OneHour];

    /// How long it is.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_secs(
            60 * match self {
                Self::FiveMinutes => 5,
                Self::ThirtyMinutes => 30,
                Self::OneHour => 60,
            },
        )
    }

    /// Where the window that ends at `now_ms` begins.
    #[must_use]
    pub const fn start_ms(self, now_ms: u64) -> u64 {
        // An hour of milliseconds fits.
        now_ms.saturating_sub(self.duration().as_millis() as u64)
    }
}

/// One line of a chart.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// Of which series.
    pub name: SeriesName,
    /// What its values are.
    pub unit: Unit,
    /// At most as many as the view shows, in order of time, with gaps.
    pub points: Vec<Point>,
    /// Of all values in the window, not only of those that are shown.
    pub summary: Option<Summary>,
}

/// A view of the series that are selected.
///
/// Paused, it shows the moment at which it was paused, whatever comes meanwhile; the window may be changed all the same.
#[derive(Debug, Clone)]
pub struct MetricsView {
    selected: Vec<SeriesName>,
    window: Window,
    max_points: usize,
    paused: Option<Frozen>,
}

/// The selected series as they were.
#[derive(Debug, Clone)]
struct Frozen {
    at_ms: u64,
    series: BTreeMap<SeriesName, Series>,
}

/// So many series one view shows.
pub const SELECTED_MAX: usize = 16;

impl MetricsView {
    /// A live view of the first [`SELECTED_MAX`] of `selected`, each with at most `max_points` points.
    #[must_use]
    pub fn new(selected: impl IntoIterator<Item = SeriesName>, window: Window, max_points: usize) -> Self {
        Self {
            selected: selected.into_iter().take(SELECTED_MAX).collect(),
            window,
            max_points,
            paused: None,
        }
    }

    /// The window.
    #[must_use]
    pub const fn window(&self) -> Window {
        self.window
    }

    /// Shows another window.
    pub const fn set_window(&mut self, window: Window) {
        self.window = window;
    }

    /// Since when it is paused.
    #[must_use]
    pub fn paused_at_ms(&self) -> Option<u64> {
        self.paused.as_ref().map(|frozen| frozen.at_ms)
    }

    /// Freezes the view. Paused already, it stays where it is.
    pub fn pause(&mut self, store: &MetricsStore, now_ms: u64) {
        if self.paused.is_none() {
            let of = |name: &SeriesName| Some((name.clone(), store.get(name)?.clone()));
            self.paused = Some(Frozen {
                at_ms: now_ms,
                series: self.selected.iter().filter_map(of).collect(),
            });
        }
    }

    /// Shows what is new again.
    pub fn resume(&mut self) {
        self.paused = None;
    }

    /// What is to be drawn, in the order of selection; a series without a point in the window is a line without points.
    #[must_use]
    pub fn lines(&self, store: &MetricsStore, now_ms: u64) -> Vec<Line> {
        let to_ms = self.paused_at_ms().unwrap_or(now_ms);
        let from_ms = self.window.start_ms(to_ms);
        let lines = self.selected.iter().filter_map(|name| {
            let series = match &self.paused {
                Some(frozen) => frozen.series.get(name)?,
                None => store.get(name)?,
            };
            Some(Line {
                name: name.clone(),
                unit: series.unit(),
                points: lttb(&series.points(from_ms, to_ms), self.max_points),
                summary: series.summary(from_ms, to_ms),
            })
        });
        lines.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> SeriesName {
        "a".parse().unwrap()
    }

    fn store(points: impl IntoIterator<Item = u64>) -> MetricsStore {
        let mut store = MetricsStore::default();
        add(&mut store, points);
        store
    }

    fn add(store: &mut MetricsStore, points: impl IntoIterator<Item = u64>) {
        for at_ms in points {
            let point = Point::new(at_ms, at_ms as f64);
            store.record(&name(), Unit::Count, point, at_ms).unwrap();
        }
    }

    #[test]
    fn a_window_shows_so_much_and_no_more() {
        let store = store((0..40_000).map(|n| n * 100));
        let now_ms = 40_000 * 100 - 100;
        for (window, minutes) in [
            (Window::FiveMinutes, 5),
            (Window::ThirtyMinutes, 30),
            (Window::OneHour, 60),
        ] {
            let view = MetricsView::new([name()], window, 500);
            let line = view.lines(&store, now_ms).remove(0);
            assert_eq!(line.points.len(), 500);
            let from_ms = now_ms - minutes * 60_000;
            assert!(line.points[0].at_ms.abs_diff(from_ms) <= 2000, "{window:?}");
            assert_eq!(line.points.last().unwrap().at_ms, now_ms);
            let expected = minutes * 600;
            assert!(line.summary.unwrap().count.abs_diff(expected) <= 20, "{window:?}");
        }
    }

    #[test]
    fn a_paused_view_stands_still_while_the_ring_goes_on() {
        let mut store = store((0..1000).map(|n| n * 100));
        let mut view = MetricsView::new([name()], Window::FiveMinutes, 100);
        let before = view.lines(&store, 100_000);
        view.pause(&store, 100_000);
        // So much comes that nothing of what is shown is left in the ring.
        add(&mut store, (1000..9000).map(|n| n * 100));
        view.pause(&store, 900_000);
        assert_eq!(view.paused_at_ms(), Some(100_000));
        assert_eq!(view.lines(&store, 900_000), before);
        view.set_window(Window::OneHour);
        assert_eq!(view.lines(&store, 900_000)[0].points.last(), before[0].points.last());
        view.set_window(Window::FiveMinutes);
        view.resume();
        assert_eq!(view.lines(&store, 900_000)[0].points.last().unwrap().at_ms, 899_900);
    }

    #[test]
    fn a_view_does_not_show_what_nobody_measures_nor_too_much() {
        let view = MetricsView::new(["b".parse().unwrap()], Window::FiveMinutes, 100);
        assert_eq!(view.lines(&store([1]), 10), []);
        let many = (0..100).map(|n| format!("s{n}").parse().unwrap());
        assert_eq!(MetricsView::new(many, Window::OneHour, 1).selected.len(), SELECTED_MAX);
    }
}
