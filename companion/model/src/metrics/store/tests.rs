//! Samples become series.

use proptest::prelude::*;
use sis_protocol::control::NetCounters;

use super::*;

const NOW: u64 = 1_700_000_000_000;

fn name(text: &str) -> SeriesName {
    text.parse().unwrap()
}

fn metrics(free: u64, rx_bytes: u64) -> Metrics {
    Metrics {
        mem_total_bytes: Some(1000),
        mem_free_bytes: Some(free),
        net: Some(NetCounters {
            rx_bytes,
            ..NetCounters::default()
        }),
        ..Metrics::default()
    }
}

fn take(store: &mut MetricsStore, seq: u64, metrics: &Metrics) {
    let sample = TimedSample {
        seq,
        ts_ns: seq * 100_000_000,
        at_ms: NOW + seq * 100,
        metrics,
    };
    store.take(sample, NOW + seq * 100);
}

fn values(store: &MetricsStore, series: &str) -> Vec<f64> {
    store.get(&name(series)).map_or_else(Vec::new, |series| {
        series.points(0, u64::MAX).iter().map(|point| point.value).collect()
    })
}

#[test]
fn gauges_are_shown_and_counters_become_rates() {
    let mut store = MetricsStore::default();
    take(&mut store, 1, &metrics(400, 1000));
    take(&mut store, 2, &metrics(300, 1500));
    assert_eq!(values(&store, "memory.used"), [600.0, 700.0]);
    assert_eq!(values(&store, "net.rx"), [5000.0]);
    // What the board does not measure makes no series.
    assert!(store.get(&name("temperature")).is_none());
}

#[test]
fn cpus_are_shown_together_and_each() {
    let cpu = |user_ns, idle_ns| CpuTimes {
        user_ns,
        idle_ns,
        ..CpuTimes::default()
    };
    let of = |cpus: &[CpuTimes]| Metrics {
        cpus: cpus.to_vec(),
        ..Metrics::default()
    };
    let mut store = MetricsStore::default();
    take(&mut store, 1, &of(&[cpu(0, 0), cpu(0, 0)]));
    take(&mut store, 2, &of(&[cpu(100, 0), cpu(0, 100)]));
    assert_eq!(values(&store, "cpu.busy"), [50.0]);
    assert_eq!(values(&store, "cpu.0.busy"), [100.0]);
    assert_eq!(values(&store, "cpu.1.busy"), [0.0]);
    // As many as a snapshot may name do not make as many series.
    let mut store = MetricsStore::default();
    take(&mut store, 1, &of(&vec![cpu(0, 0); 1024]));
    take(&mut store, 2, &of(&vec![cpu(1, 1); 1024]));
    assert_eq!(store.series().count(), CPU_SERIES_MAX + 1);
}

#[test]
fn a_rate_spans_a_lost_sample() {
    let mut store = MetricsStore::default();
    take(&mut store, 1, &metrics(0, 0));
    take(&mut store, 4, &metrics(0, 3000));
    assert_eq!(values(&store, "net.rx"), [10_000.0]);
    assert_eq!(store.counts().lost, 2);
}

#[test]
fn a_sample_that_comes_twice_counts_once() {
    let mut store = MetricsStore::default();
    take(&mut store, 1, &metrics(400, 0));
    take(&mut store, 2, &metrics(300, 100));
    let once = store.clone();
    take(&mut store, 1, &metrics(400, 0));
    take(&mut store, 2, &metrics(300, 100));
    assert_eq!(values(&store, "memory.free"), values(&once, "memory.free"));
    assert_eq!(values(&store, "net.rx"), values(&once, "net.rx"));
    assert_eq!(store.counts().repeated, 2);
}

#[test]
fn a_late_sample_is_sorted_in() {
    let mut store = MetricsStore::default();
    for (seq, free) in [(1, 100), (3, 300), (2, 200)] {
        take(&mut store, seq, &metrics(free, 0));
    }
    assert_eq!(values(&store, "memory.free"), [100.0, 200.0, 300.0]);
    assert_eq!(store.counts().late, 1);
}

#[test]
fn counters_are_not_compared_across_connections() {
    let mut store = MetricsStore::default();
    take(&mut store, 1, &metrics(0, 1_000_000));
    store.restart();
    take(&mut store, 2, &metrics(0, 2_000_000));
    assert_eq!(values(&store, "net.rx"), [0.0; 0]);
}

#[test]
fn a_point_is_refused_for_a_reason_and_counted() {
    let limits = Limits {
        series: 1,
        ..Limits::default()
    };
    let mut store = MetricsStore::new(limits);
    let mut record = |of, point| store.record(&name(of), Unit::Count, point, NOW);
    assert_eq!(record("a", Point::new(NOW, 1.0)), Ok(Recorded::Appended));
    assert_eq!(record("b", Point::new(NOW, 1.0)), Err(RecordError::Cardinality));
    assert_eq!(record("a", Point::new(NOW + 5001, 1.0)), Err(RecordError::Future));
    assert_eq!(record("a", Point::new(NOW + 5000, 1.0)), Ok(Recorded::Appended));
    assert_eq!(record("a", Point::gap(NOW)), Err(RecordError::NotFinite));
    assert_eq!(record("a", Point::new(NOW, f64::INFINITY)), Err(RecordError::NotFinite));
    let refused = Refused {
        cardinality: 1,
        future: 1,
        not_finite: 2,
        too_old: 0,
    };
    assert_eq!(store.refused(), refused);
}

proptest! {
    #[test]
    fn repeats_and_any_values_do_no_harm(
        samples in prop::collection::vec((0..50_u64, any::<[u64; 4]>()), 0..60),
    ) {
        let mut store = MetricsStore::default();
        for (seq, [free, rx_bytes, ts_ns, at_ms]) in samples {
            let metrics = metrics(free, rx_bytes);
            store.take(TimedSample { seq, ts_ns, at_ms, metrics: &metrics }, NOW);
        }
        for (_, series) in store.series() {
            let points = series.points(0, u64::MAX);
            prop_assert!(points.iter().all(|point| point.at_ms <= NOW + 5000));
        }
    }
}
