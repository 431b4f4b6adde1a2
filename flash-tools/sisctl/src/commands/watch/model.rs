//! What the view knows, and how it changes.

use super::series::Series;
use crate::commands::approvals::Verdict;
use crate::commands::memory::effect_line;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use sis_client::{Delivery, LinkState};
use sis_protocol::control::{EventKind, Level, MemStatus, Metrics, OutcomeStatus, Proposal};
use sis_protocol::wire::Sample;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Lines kept.
const LOG_LINES: usize = 2000;
/// How long the answer to a key is shown.
const MESSAGE_TIME: Duration = Duration::from_secs(6);
/// Lines that a page key moves the log by.
const PAGE: usize = 10;

/// What a change asks the loop to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    None,
    Quit,
    /// Ask the board for its queue and its memory state.
    Refresh,
    /// Try the connection now.
    Reconnect,
    Decide(Verdict, u64),
}

/// What a line in the log pane is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Good,
    Warning,
    Bad,
    Asks,
    Quiet,
}

/// A line in the log pane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Nanoseconds since the board's boot.
    pub(super) ts_ns: Option<u64>,
    pub(super) text: String,
    pub(super) tone: Tone,
}

/// A chart's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chart {
    Cpu,
    Memory,
    Load,
    Faults,
    Switches,
    Interrupts,
    Received,
    Sent,
}

/// In the order in which they are shown.
pub(super) const CHARTS: [Chart; 8] = [
    Chart::Cpu,
    Chart::Memory,
    Chart::Load,
    Chart::Faults,
    Chart::Switches,
    Chart::Interrupts,
    Chart::Received,
    Chart::Sent,
];

/// The connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Connection {
    Connecting { attempt: u32 },
    Online { role: String, agent: String },
    Waiting { until: Instant, reason: String },
    Refused { reason: String },
}

/// Everything that is shown.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) board: String,
    pub(super) connection: Connection,
    pub(super) newest: Option<Metrics>,
    /// Busy share of each CPU, 0..=100.
    pub(super) cpus: Vec<f64>,
    pub(super) lost_samples: u64,
    pub(super) log: VecDeque<Line>,
    /// How many lines the log is scrolled back.
    pub(super) scroll: usize,
    pub(super) proposals: Vec<Proposal>,
    pub(super) selected: usize,
    pub(super) memory: Option<MemStatus>,
    pub(super) is_helping: bool,
    message: Option<(Result<String, String>, Instant)>,
    series: [Series; CHARTS.len()],
    previous: Option<(u64, Metrics)>,
}

impl Model {
    pub(super) fn new(board: &str) -> Self {
        Self {
            board: board.to_owned(),
            connection: Connection::Connecting { attempt: 1 },
            newest: None,
            cpus: Vec::new(),
            lost_samples: 0,
            log: VecDeque::new(),
            scroll: 0,
            proposals: Vec::new(),
            selected: 0,
            memory: None,
            is_helping: false,
            message: None,
            series: std::array::from_fn(|_| Series::default()),
            previous: None,
        }
    }

    pub(super) const fn is_online(&self) -> bool {
        matches!(self.connection, Connection::Online { .. })
    }

    pub(super) fn series(&self, chart: Chart) -> &Series {
        &self.series[chart as usize]
    }

    /// The answer to the last key, while it is new.
    pub(super) fn message(&self, now: Instant) -> Option<&Result<String, String>> {
        self.message
            .as_ref()
            .filter(|(_, since)| now.duration_since(*since) < MESSAGE_TIME)
            .map(|(message, _)| message)
    }

    pub(super) fn link_changed(&mut self, state: &LinkState, now: Instant) -> Effect {
        let was_online = self.is_online();
        self.connection = match state {
            LinkState::Connecting { attempt } => Connection::Connecting { attempt: *attempt },
            LinkState::Online(welcome) => Connection::Online {
                role: welcome.role.to_string(),
                agent: welcome.hello.software.clone(),
            },
            LinkState::Waiting { retry_in_ms, reason } => {
                let until = now + Duration::from_millis(*retry_in_ms);
                Connection::Waiting {
                    until,
                    reason: reason.clone(),
                }
            }
            LinkState::Refused { reason } => Connection::Refused { reason: reason.clone() },
        };
        match (was_online, self.is_online()) {
            (false, true) => Effect::Refresh,
            (true, false) => {
                // What was true of the old connection's counters says nothing of the next one's.
                self.previous = None;
                Effect::None
            }
            _ => Effect::None,
        }
    }

    pub(super) fn sample(&mut self, sample: &Sample) {
        self.lost_samples += sample.lost_before;
        let metrics = &sample.metrics;
        if let Some((before_ns, before)) = self.previous.take() {
            self.rates(sample.ts_ns.saturating_sub(before_ns), &before, metrics);
        }
        if let (Some(total), Some(free)) = (metrics.mem_total_bytes, metrics.mem_free_bytes)
            && total > 0
        {
            self.push(Chart::Memory, total.saturating_sub(free) as f64 * 100.0 / total as f64);
        }
        if let Some(load) = metrics.load1_milli {
            self.push(Chart::Load, f64::from(load) / 1000.0);
        }
        self.previous = Some((sample.ts_ns, metrics.clone()));
        self.newest = Some(metrics.clone());
    }

    fn push(&mut self, chart: Chart, value: f64) {
        self.series[chart as usize].push(value);
    }

    fn rates(&mut self, elapsed_ns: u64, before: &Metrics, now: &Metrics) {
        if elapsed_ns == 0 {
            return;
        }
        let seconds = elapsed_ns as f64 / 1e9;
        // A counter that went back is a board that started anew.
        let rate = |before: Option<u64>, now: Option<u64>| Some(now?.checked_sub(before?)? as f64 / seconds);
        self.cpus = before
            .cpus
            .iter()
            .zip(&now.cpus)
            .map(|(before, now)| {
                let busy = |cpu: &sis_protocol::control::CpuTimes| cpu.user_ns + cpu.system_ns + cpu.irq_ns;
                let busy_ns = busy(now).saturating_sub(busy(before)) as f64;
                let idle_ns = now.idle_ns.saturating_sub(before.idle_ns) as f64;
                if busy_ns + idle_ns > 0.0 {
                    busy_ns * 100.0 / (busy_ns + idle_ns)
                } else {
                    0.0
                }
            })
            .collect();
        if !self.cpus.is_empty() {
            let mean = self.cpus.iter().sum::<f64>() / self.cpus.len() as f64;
            self.push(Chart::Cpu, mean);
        }
        let net = |metrics: &Metrics| metrics.net.map(|net| (net.rx_bytes, net.tx_bytes));
        let faults = |metrics: &Metrics| Some(metrics.faults_minor? + metrics.faults_major.unwrap_or(0));
        for (chart, value) in [
            (Chart::Faults, rate(faults(before), faults(now))),
            (Chart::Switches, rate(before.context_switches, now.context_switches)),
            (Chart::Interrupts, rate(before.interrupts, now.interrupts)),
            (
                Chart::Received,
                rate(net(before).map(|net| net.0), net(now).map(|net| net.0)),
            ),
            (
                Chart::Sent,
                rate(net(before).map(|net| net.1), net(now).map(|net| net.1)),
            ),
        ] {
            if let Some(value) = value {
                self.push(chart, value);
            }
        }
    }

    pub(super) fn log(&mut self, delivery: &Delivery) {
        match delivery {
            Delivery::Event(event) => {
                if let EventKind::LogLine(record) = &event.kind {
                    let tone = match record.level {
                        Level::Emergency | Level::Alert | Level::Critical | Level::Error => Tone::Bad,
                        Level::Warning => Tone::Warning,
                        Level::Debug => Tone::Quiet,
                        _ => Tone::Plain,
                    };
                    self.line(Some(record.ts_ns), record.text.clone(), tone);
                }
            }
            Delivery::Bootstrap { missed: Some(count) } => {
                self.line(None, format!("({count} lines are no longer kept)"), Tone::Quiet);
            }
            Delivery::Bootstrap { missed: None } => self.line(None, "(the board started anew)".into(), Tone::Quiet),
            Delivery::Refused(failure) => self.line(None, format!("log: {failure}"), Tone::Bad),
            _ => {}
        }
    }

    pub(super) fn event(&mut self, delivery: &Delivery) -> Effect {
        let event = match delivery {
            Delivery::Event(event) => event,
            Delivery::Bootstrap { .. } => return Effect::Refresh,
            Delivery::Refused(failure) => {
                self.line(None, format!("events: {failure}"), Tone::Bad);
                return Effect::None;
            }
            _ => return Effect::None,
        };
        let (text, tone, effect) = match &event.kind {
            EventKind::Proposal(proposal) => (
                format!("proposal {}: {}", proposal.id, proposal.reason),
                Tone::Asks,
                true,
            ),
            EventKind::ApprovalDecided { id, by, verdict } => {
                let by = by.as_ref().map_or_else(String::new, |by| format!(" by {by}"));
                (format!("proposal {id}: {verdict:?}{by}"), Tone::Plain, true)
            }
            EventKind::Outcome(outcome) => {
                let tone = if outcome.status == OutcomeStatus::Executed {
                    Tone::Good
                } else {
                    Tone::Warning
                };
                (format!("outcome {}: {}", outcome.id, effect_line(outcome)), tone, true)
            }
            EventKind::OomKill { pid, name, .. } => {
                (format!("out of memory: {name} ({pid}) was ended"), Tone::Bad, false)
            }
            EventKind::ProcessCrash { pid, name, signal, .. } => {
                (format!("{name} ({pid}) crashed with signal {signal}"), Tone::Bad, false)
            }
            EventKind::StrategyChanged { from, to } => (format!("strategy {from:?} -> {to:?}"), Tone::Good, true),
            EventKind::Boot {
                release, board, cpus, ..
            } => (format!("{board} started {release} on {cpus} CPUs"), Tone::Plain, false),
            EventKind::Lost { count } => (format!("{count} events were lost"), Tone::Warning, true),
            EventKind::Paired { name, .. } => (format!("paired: {name}"), Tone::Plain, false),
            EventKind::Unpaired { name } => (format!("unpaired: {name}"), Tone::Plain, false),
            EventKind::AgentStarted { software } => (format!("{software} started"), Tone::Quiet, false),
            _ => return Effect::None,
        };
        self.line(Some(event.ts_ns), text, tone);
        if effect { Effect::Refresh } else { Effect::None }
    }

    fn line(&mut self, ts_ns: Option<u64>, text: String, tone: Tone) {
        if self.log.len() == LOG_LINES {
            self.log.pop_front();
        }
        // Log and events come on streams of their own: put together by time, as far back as time is told.
        let later = self
            .log
            .iter()
            .rev()
            .take_while(|line| ts_ns.is_some() && line.ts_ns > ts_ns)
            .count();
        self.log.insert(self.log.len() - later, Line { ts_ns, text, tone });
        // Who reads the past keeps their place.
        if self.scroll > 0 {
            self.scroll = (self.scroll + 1).min(self.log.len());
        }
    }

    pub(super) fn proposals(&mut self, proposals: Vec<Proposal>) {
        let selected = self.proposals.get(self.selected).map(|proposal| proposal.id);
        self.proposals = proposals;
        // The same proposal stays selected, so that a key never decides another than the one looked at.
        let at = selected.and_then(|id| self.proposals.iter().position(|proposal| proposal.id == id));
        self.selected = at.unwrap_or_else(|| self.selected.min(self.proposals.len().saturating_sub(1)));
    }

    pub(super) fn memory(&mut self, status: MemStatus) {
        self.memory = Some(status);
    }

    pub(super) fn said(&mut self, said: Result<String, String>, now: Instant) {
        self.message = Some((said, now));
    }

    pub(super) fn key(&mut self, key: KeyEvent) -> Effect {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return if key.code == KeyCode::Char('c') {
                Effect::Quit
            } else {
                Effect::None
            };
        }
        if self.is_helping {
            self.is_helping = false;
            return if key.code == KeyCode::Char('q') {
                Effect::Quit
            } else {
                Effect::None
            };
        }
        match key.code {
            KeyCode::Char('q') => return Effect::Quit,
            KeyCode::Char('?' | 'h') => self.is_helping = true,
            KeyCode::Char('a') => return self.decide(Verdict::Approve),
            KeyCode::Char('r') => return self.decide(Verdict::Reject),
            KeyCode::Char('c') => return Effect::Reconnect,
            KeyCode::Up | KeyCode::Char('k') => self.selected = self.selected.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => {
                self.selected = (self.selected + 1).min(self.proposals.len().saturating_sub(1));
            }
            KeyCode::PageUp => self.scroll = (self.scroll + PAGE).min(self.log.len()),
            KeyCode::PageDown => self.scroll = self.scroll.saturating_sub(PAGE),
            KeyCode::Home => self.scroll = self.log.len(),
            KeyCode::End | KeyCode::Esc => self.scroll = 0,
            _ => {}
        }
        Effect::None
    }

    fn decide(&mut self, verdict: Verdict) -> Effect {
        match self.proposals.get(self.selected) {
            Some(proposal) if self.is_online() => Effect::Decide(verdict, proposal.id),
            _ => Effect::None,
        }
    }
}

#[cfg(test)]
pub(in crate::commands::watch) mod tests;
