//! All series of one board.

use std::collections::BTreeMap;

use sis_protocol::control::{CpuTimes, Metrics};

use super::catalogue::{self, AGENT_CPU, COUNTERS, CPU_BUSY, CPU_SERIES_MAX, GAUGES};
use super::sequence::{Arrival, Counts, Sequence};
use super::series::{Recorded, Series};
use super::{Limits, Point, SeriesName, Unit};

/// Points that were not taken, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refused {
    /// Of a series too many.
    pub cardinality: u64,
    /// Further in the future than [`Limits::future_ms`].
    pub future: u64,
    /// Not a finite number.
    pub not_finite: u64,
    /// Older than all that is kept.
    pub too_old: u64,
}

/// Why a point was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// There are as many series as there may be.
    #[error("there are as many series as there may be")]
    Cardinality,
    /// Too far in the future.
    #[error("the point lies in the future")]
    Future,
    /// Not a number, or an infinite one.
    #[error("the value is not a finite number")]
    NotFinite,
    /// Older than all that is kept.
    #[error("the point is older than all that is kept")]
    TooOld,
}

/// A snapshot of the stream of samples.
#[derive(Debug, Clone, Copy)]
pub struct TimedSample<'a> {
    /// Its number, from 1 on for each stream.
    pub seq: u64,
    /// When it was taken, by the board's monotonic clock.
    pub ts_ns: u64,
    /// The same moment by the host's clock, Unix milliseconds.
    pub at_ms: u64,
    /// What was measured.
    pub metrics: &'a Metrics,
}

/// See the module's documentation. At most [`Limits::series`] series; more are refused and counted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MetricsStore {
    limits: Limits,
    series: BTreeMap<SeriesName, Series>,
    sequence: Sequence,
    /// The newest sample, what counters are compared with.
    newest: Option<(u64, Box<Metrics>)>,
    refused: Refused,
}

impl MetricsStore {
    /// An empty store.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Every series, by name.
    pub fn series(&self) -> impl Iterator<Item = (&SeriesName, &Series)> {
        self.series.iter()
    }

    /// The series of this name.
    #[must_use]
    pub fn get(&self, name: &SeriesName) -> Option<&Series> {
        self.series.get(name)
    }

    /// The newest snapshot.
    #[must_use]
    pub fn newest(&self) -> Option<&Metrics> {
        self.newest.as_ref().map(|(_, metrics)| metrics.as_ref())
    }

    /// Samples that came, and that did not.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.sequence.counts()
    }

    /// Points that were not taken.
    #[must_use]
    pub const fn refused(&self) -> Refused {
        self.refused
    }

    /// Adds a point to a series, which is made when there is none; its unit is that of its first point.
    ///
    /// # Errors
    /// [`RecordError`]; what is refused is counted, see [`Self::refused`].
    pub fn record(
        &mut self,
        name: &SeriesName,
        unit: Unit,
        point: Point,
        now_ms: u64,
    ) -> Result<Recorded, RecordError> {
        if !point.value.is_finite() {
            self.refused.not_finite += 1;
            return Err(RecordError::NotFinite);
        }
        if point.at_ms > now_ms.saturating_add(self.limits.future_ms) {
            self.refused.future += 1;
            return Err(RecordError::Future);
        }
        if !self.series.contains_key(name) && self.series.len() >= self.limits.series {
            self.refused.cardinality += 1;
            return Err(RecordError::Cardinality);
        }
        let limits = self.limits;
        let series = self
            .series
            .entry(name.clone())
            .or_insert_with(|| Series::new(unit, limits));
        match series.record(point) {
            Recorded::TooOld => {
                self.refused.too_old += 1;
                Err(RecordError::TooOld)
            }
            recorded => Ok(recorded),
        }
    }

    /// A new connection: samples are numbered anew, and counters are not compared across it.
    pub fn restart(&mut self) {
        self.sequence.restart();
        self.newest = None;
    }

    /// Takes a sample of the stream. Gauges of a late one are sorted in; its counters make no rates, which the newer one has spanned.
    pub fn take(&mut self, sample: TimedSample<'_>, now_ms: u64) {
        match self.sequence.observe(sample.seq, sample.ts_ns) {
            Arrival::Repeated => {}
            Arrival::Late => self.record_gauges(&sample, now_ms),
            Arrival::Next { .. } | Arrival::Restarted { .. } => {
                self.record_gauges(&sample, now_ms);
                if let Some((before_ns, before)) = self.newest.take() {
                    self.record_rates(&sample, before_ns, &before, now_ms);
                }
                self.newest = Some((sample.ts_ns, Box::new(sample.metrics.clone())));
            }
        }
    }

    fn record_gauges(&mut self, sample: &TimedSample<'_>, now_ms: u64) {
        for (name, unit, value) in GAUGES {
            self.record_known(name, *unit, sample, value(sample.metrics), now_ms);
        }
    }

    fn record_rates(&mut self, sample: &TimedSample<'_>, before_ns: u64, before: &Metrics, now_ms: u64) {
        let elapsed_ns = sample.ts_ns.saturating_sub(before_ns);
        for (name, unit, value) in COUNTERS {
            let rate = value(before)
                .zip(value(sample.metrics))
                .and_then(|(before, now)| catalogue::rate(before, now, elapsed_ns));
            self.record_known(name, *unit, sample, rate, now_ms);
        }
        let agent_percent = before
            .agent_cpu_ns
            .zip(sample.metrics.agent_cpu_ns)
            .and_then(|(before, now)| catalogue::rate(before, now, elapsed_ns))
            .map(|ns_a_second| ns_a_second / 1e7);
        self.record_known(AGENT_CPU, Unit::Percent, sample, agent_percent, now_ms);
        let pairs = || before.cpus.iter().zip(&sample.metrics.cpus);
        self.record_known(
            CPU_BUSY,
            Unit::Percent,
            sample,
            catalogue::busy_percent(pairs()),
            now_ms,
        );
        for (cpu, pair) in pairs().enumerate().take(CPU_SERIES_MAX) {
            let pair: (&CpuTimes, &CpuTimes) = pair;
            let percent = catalogue::busy_percent([pair]);
            self.record_known(&format!("cpu.{cpu}.busy"), Unit::Percent, sample, percent, now_ms);
        }
    }

    /// Records a value of a series whose name is ours.
    fn record_known(&mut self, name: &str, unit: Unit, sample: &TimedSample<'_>, value: Option<f64>, now_ms: u64) {
        if let Some(value) = value
            && let Ok(name) = name.parse()
        {
            // What is refused is counted.
            let _ = self.record(&name, unit, Point::new(sample.at_ms, value), now_ms);
        }
    }
}

#[cfg(test)]
mod tests;
