//! The controller: from observations to proposals, decisions, changes and outcomes.

use alloc::{borrow::ToOwned, collections::VecDeque, string::String, vec::Vec};

use super::{
    latency::Latency,
    policy::{Policy, Summary},
    queue::Approvals,
    types::{
        AUDIT_MAX, ApplyFailed, Audit, AuditEntry, Change, Counts, Decided, Event, FaultStats, Knobs, Observation,
        Outcome, OutcomeStatus, Proposal, Reason, Selection, Strategy, Totals, Verdict,
    },
};

/// How many strategy changes there may be in any 60 seconds (those that a person sets by hand do not count).
pub const CHANGES_PER_MINUTE: usize = 10;

/// How many outcomes are kept.
pub const HISTORY_MAX: usize = 200;

const SECOND: u64 = 1_000_000_000;

/// Measurements are smoothed over observations at least this far apart.
const WINDOW_MIN_NS: u64 = SECOND / 20;

/// The latencies that count as "before" are those of the last one to two of these.
const EPOCH_NS: u64 = 5 * SECOND;

/// How many observations the swing of memory use is taken over.
const SWING_LEN: usize = 16;

/// An executed change whose effect is being measured.
#[derive(Clone, Debug)]
struct Measuring {
    outcome: Outcome,
    since_ns: u64,
    faults: Latency,
}

/// The controller of the memory strategy.
#[derive(Clone, Debug)]
pub struct Controller {
    policy: Policy,
    strategy: Strategy,
    has_approval_mode: bool,
    has_query_mode: bool,
    approvals: Approvals,
    next_id: u64,
    // What was measured.
    total_frames: u64,
    last_ns: Option<u64>,
    window: Window,
    state: Summary,
    pressures: VecDeque<u32>,
    epochs: [Latency; 2],
    epoch_since_ns: u64,
    // What was decided.
    fitting: Option<(Strategy, u32)>,
    /// What kept the fitting strategy from being proposed, when that is in the audit already.
    noted: Option<core::mem::Discriminant<Audit>>,
    paused_until_ns: u64,
    refused: Vec<(Strategy, Strategy, u64)>,
    changes: VecDeque<u64>,
    measuring: Option<Measuring>,
    /// The mean latency that was measured after a change to each strategy.
    learned: [Option<u64>; 3],
    calibration: u32,
    totals: Totals,
    history: VecDeque<Outcome>,
    audit: VecDeque<AuditEntry>,
    audited: u64,
}

/// What was measured since the last smoothing.
#[derive(Clone, Debug, Default)]
struct Window {
    ns: u64,
    faults: u64,
    sum_ns: u64,
    hits: u64,
    misses: u64,
}

impl Controller {
    /// A controller that has seen nothing, with strategy Balanced, approval mode on and query mode off.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            strategy: Strategy::Balanced,
            has_approval_mode: true,
            has_query_mode: false,
            approvals: Approvals::default(),
            next_id: 1,
            total_frames: 0,
            last_ns: None,
            window: Window::default(),
            state: Summary::default(),
            pressures: VecDeque::new(),
            epochs: [Latency::new(); 2],
            epoch_since_ns: 0,
            fitting: None,
            noted: None,
            paused_until_ns: 0,
            refused: Vec::new(),
            changes: VecDeque::new(),
            measuring: None,
            learned: [None; 3],
            calibration: 500,
            totals: Totals::default(),
            history: VecDeque::new(),
            audit: VecDeque::new(),
            audited: 0,
        }
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The strategy in force.
    pub fn strategy(&self) -> Strategy {
        self.strategy
    }

    /// What the strategy in force sets, for the memory of the last observation.
    pub fn knobs(&self) -> Knobs {
        self.strategy.knobs(self.total_frames)
    }

    /// Whether all proposals wait for a person.
    pub fn has_approval_mode(&self) -> bool {
        self.has_approval_mode
    }

    /// Whether nothing is proposed or executed, only predicted.
    pub fn has_query_mode(&self) -> bool {
        self.has_query_mode
    }

    /// The proposals that wait.
    pub fn approvals(&self) -> &Approvals {
        &self.approvals
    }

    /// The smoothed measurements.
    pub fn state(&self) -> &Summary {
        &self.state
    }

    /// The fault latency of the last five to ten seconds.
    pub fn recent_faults(&self) -> FaultStats {
        FaultStats::from(&self.recent())
    }

    /// Totals since boot.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// How well predictions of the effect have fitted so far, 0 to 1000 (500 before the first).
    pub fn calibration(&self) -> u32 {
        self.calibration
    }

    /// The last outcomes, newest first.
    pub fn history(&self) -> impl Iterator<Item = &Outcome> {
        self.history.iter().rev()
    }

    /// The last audit entries, oldest first.
    pub fn audit(&self) -> impl DoubleEndedIterator<Item = &AuditEntry> {
        self.audit.iter()
    }

    /// What would be proposed now, and how sure: (strategy, reason, confidence). `None` when the strategy in force fits.
    pub fn predict(&self) -> Option<(Strategy, Reason, u32)> {
        let (to, reason) = self.policy.fitting(self.strategy, &self.state);
        let streak = self
            .fitting
            .filter(|(fitting, _)| *fitting == to)
            .map_or(0, |(_, streak)| streak);
        let (confidence, _) = self
            .policy
            .confidence(to, &self.state, streak, self.totals.observed, self.swing());
        reason.map(|reason| (to, reason, confidence))
    }

    /// Takes an observation in. Ends what has lapsed, measures effects, and proposes a change when there is reason to; `apply` is called
    /// when a change needs no approval.
    pub fn observe(
        &mut self,
        observation: &Observation,
        apply: impl FnMut(&Change) -> Result<(), ApplyFailed>,
    ) -> Vec<Event> {
        let mut events = Vec::new();
        let now = self.measure(observation);
        self.totals.observed += 1;
        self.pressures.push_back(self.state.pressure_permille);
        if self.pressures.len() > SWING_LEN {
            self.pressures.pop_front();
        }
        self.expire(now, &mut events);
        self.finish_measuring(now, false, &mut events);
        self.consider(now, apply, &mut events);
        events
    }

    /// Approves: each proposal is checked again and carried out if it is still needed. `observation` is a fresh one.
    pub fn approve(
        &mut self,
        selection: Selection<'_>,
        by: Option<&str>,
        observation: &Observation,
        mut apply: impl FnMut(&Change) -> Result<(), ApplyFailed>,
    ) -> Decided {
        let mut events = Vec::new();
        let now = self.measure(observation);
        self.expire(now, &mut events);
        let (selected, not_found) = self.approvals.take(selection);
        let mut counts = Counts {
            not_found,
            ..Counts::default()
        };
        for proposal in selected {
            self.decide(now, proposal.id, Verdict::Approved, by, &mut events);
            match self.execute(now, proposal, by, &mut apply, &mut events) {
                OutcomeStatus::Executed => counts.executed += 1,
                OutcomeStatus::Skipped => counts.skipped += 1,
                OutcomeStatus::Failed | OutcomeStatus::Expired => counts.failed += 1,
            }
        }
        Decided { counts, events }
    }

    /// Rejects.
    pub fn reject(&mut self, selection: Selection<'_>, by: Option<&str>, now_ns: u64) -> Decided {
        let mut events = Vec::new();
        let now = self.now(now_ns);
        self.expire(now, &mut events);
        let (selected, not_found) = self.approvals.take(selection);
        let counts = Counts {
            not_found,
            rejected: selected.len() as u32,
            ..Counts::default()
        };
        for proposal in selected {
            self.totals.rejected += 1;
            self.refuse(now, &proposal);
            self.decide(now, proposal.id, Verdict::Rejected, by, &mut events);
        }
        Decided { counts, events }
    }

    /// A person sets the strategy. Proposals that start from another one are dropped.
    ///
    /// # Errors
    /// [`ApplyFailed`] as `apply` says; nothing is changed then.
    pub fn set_strategy(
        &mut self,
        to: Strategy,
        by: Option<&str>,
        now_ns: u64,
        apply: impl FnOnce(&Change) -> Result<(), ApplyFailed>,
    ) -> Result<Vec<Event>, ApplyFailed> {
        let mut events = Vec::new();
        let now = self.now(now_ns);
        let from = self.strategy;
        if from == to {
            return Ok(events);
        }
        apply(&Change {
            proposal: None,
            from,
            to,
            knobs: to.knobs(self.total_frames),
        })?;
        self.finish_measuring(now, true, &mut events);
        self.strategy = to;
        self.paused_until_ns = now.saturating_add(self.policy.refused_pause_ns);
        self.fitting = None;
        self.note(
            now,
            Audit::SetByHand {
                to,
                by: by.map(str::to_owned),
            },
        );
        events.push(Event::StrategyChanged {
            from,
            to,
            proposal: None,
        });
        self.drop_stale(now, &mut events);
        Ok(events)
    }

    /// Sets whether all proposals wait for a person. Those that wait go on waiting.
    pub fn set_approval_mode(&mut self, is_on: bool, now_ns: u64) {
        let now = self.now(now_ns);
        if self.has_approval_mode != is_on {
            self.has_approval_mode = is_on;
            self.note(now, Audit::ApprovalMode(is_on));
        }
    }

    /// Sets whether only predictions are made. Those that wait go on waiting, but cannot be carried out.
    pub fn set_query_mode(&mut self, is_on: bool, now_ns: u64) {
        let now = self.now(now_ns);
        if self.has_query_mode != is_on {
            self.has_query_mode = is_on;
            self.note(now, Audit::QueryMode(is_on));
        }
    }

    /// Time that never goes backwards.
    fn now(&mut self, now_ns: u64) -> u64 {
        let now = self.last_ns.map_or(now_ns, |last| last.max(now_ns));
        self.last_ns.get_or_insert(now);
        now
    }

    /// Takes measurements in: sums them up, and smooths them when enough time has passed.
    fn measure(&mut self, observation: &Observation) -> u64 {
        let is_first = self.last_ns.is_none();
        let before = self.last_ns.unwrap_or(observation.now_ns);
        let now = before.max(observation.now_ns);
        self.last_ns = Some(now);
        self.total_frames = observation.total_frames;
        self.state.free_frames = observation.free_frames;
        self.state.zero_pool_frames = observation.zero_pool_frames;
        if is_first {
            self.epoch_since_ns = now;
        }
        if now.saturating_sub(self.epoch_since_ns) >= EPOCH_NS {
            self.epochs = [Latency::new(), self.epochs.first().copied().unwrap_or_default()];
            self.epoch_since_ns = now;
        }
        if let Some(current) = self.epochs.first_mut() {
            current.merge(&observation.faults);
        }
        if let Some(measuring) = &mut self.measuring {
            measuring.faults.merge(&observation.faults);
        }
        let window = &mut self.window;
        window.ns += now - before;
        window.faults += observation.faults.count();
        window.sum_ns = window.sum_ns.saturating_add(observation.faults.sum_ns());
        window.hits += observation.zero_hits;
        window.misses += observation.zero_misses;

        let available = observation
            .free_frames
            .saturating_add(observation.zero_pool_frames)
            .min(observation.total_frames);
        let pressure = match observation.total_frames {
            0 => 0,
            total => 1000 - share(available, total),
        };
        // Pressure is what it is now when it rises, and falls smoothly: running out of memory does not wait.
        let smooth = &mut self.state.pressure_permille;
        *smooth = if is_first || pressure > *smooth {
            pressure
        } else {
            blend(*smooth, pressure)
        };
        if self.window.ns >= WINDOW_MIN_NS {
            let Window {
                ns,
                faults,
                sum_ns,
                hits,
                misses,
            } = core::mem::take(&mut self.window);
            let rate = u128::from(faults) * u128::from(SECOND) / u128::from(ns);
            let rate = rate.min(u128::from(u32::MAX)) as u32;
            self.state.faults_per_s = blend(self.state.faults_per_s, rate);
            let zeroed = hits + misses;
            if zeroed > 0 {
                self.state.miss_permille = blend(self.state.miss_permille, share(misses, zeroed));
            }
            if let Some(mean) = sum_ns.checked_div(faults) {
                let old = self.state.fault_mean_ns;
                self.state.fault_mean_ns = if old == 0 { mean } else { old - old / 4 + mean / 4 };
            }
        }
        now
    }

    /// The difference between the highest and the lowest use of memory of late.
    fn swing(&self) -> u32 {
        let highest = self.pressures.iter().max().copied().unwrap_or(0);
        highest - self.pressures.iter().min().copied().unwrap_or(0)
    }

    fn recent(&self) -> Latency {
        let mut recent = Latency::new();
        self.epochs.iter().for_each(|epoch| recent.merge(epoch));
        recent
    }

    /// Proposes a change when one has been called for long enough.
    fn consider(
        &mut self,
        now: u64,
        mut apply: impl FnMut(&Change) -> Result<(), ApplyFailed>,
        events: &mut Vec<Event>,
    ) {
        let (to, reason) = self.policy.fitting(self.strategy, &self.state);
        let Some(reason) = reason else {
            self.fitting = None;
            self.noted = None;
            return;
        };
        let streak = match self.fitting {
            Some((fitting, streak)) if fitting == to => streak.saturating_add(1),
            _ => {
                self.noted = None;
                1
            }
        };
        self.fitting = Some((to, streak));
        let from = self.strategy;
        self.refused.retain(|(.., until)| *until > now);
        let is_waiting = self
            .approvals
            .iter()
            .any(|proposal| (proposal.from, proposal.to) == (from, to));
        let is_refused = self.refused.iter().any(|refused| (refused.0, refused.1) == (from, to));
        if streak < self.policy.streak || is_waiting || is_refused || now < self.paused_until_ns {
            return;
        }
        let (confidence, confidence_reason) =
            self.policy
                .confidence(to, &self.state, streak, self.totals.observed, self.swing());
        if confidence < self.policy.confidence_threshold {
            self.totals.deferred += 1;
            self.note_once(now, Audit::Deferred { to, confidence });
            return;
        }
        if self.is_rate_limited(now) {
            self.note_once(now, Audit::RateLimited { to });
            return;
        }
        if self.has_query_mode {
            self.note_once(now, Audit::OnlyPredicted { to });
            return;
        }
        let proposal = Proposal {
            id: self.next_id,
            from,
            to,
            reason,
            confidence,
            confidence_reason,
            risk: self.policy.risk(to, &self.state),
            created_ns: now,
            expires_ns: now.saturating_add(self.policy.expiry_ns),
            predicted_approve_ns: self.predicted(to),
            predicted_reject_ns: self.state.fault_mean_ns,
            summary: self.state,
        };
        self.next_id += 1;
        self.totals.proposed += 1;
        self.noted = None;
        self.paused_until_ns = now.saturating_add(self.policy.pause_ns);
        self.note(now, Audit::Proposed { id: proposal.id, to });
        events.push(Event::Proposed(proposal.clone()));
        // A new view of things makes the old proposals moot.
        for old in self.approvals.take_if(|_| true) {
            self.drop_one(now, &old, events);
        }
        if self.has_approval_mode || proposal.risk > self.policy.risk_ceiling {
            if let Some(oldest) = self.approvals.push(proposal) {
                self.drop_one(now, &oldest, events);
            }
        } else {
            self.decide(now, proposal.id, Verdict::Approved, None, events);
            self.execute(now, proposal, None, &mut apply, events);
        }
    }

    /// The mean fault latency that a strategy is expected to bring: what was measured there, or else a guess from the share of faults that
    /// have to zero their page.
    fn predicted(&self, to: Strategy) -> u64 {
        let now = self.state.fault_mean_ns;
        if let Some(learned) = self.learned.get(to as usize).copied().flatten() {
            return learned;
        }
        let misses = u64::from(self.state.miss_permille);
        match to {
            Strategy::Aggressive => now - (u128::from(now) * u128::from(misses) / 2000) as u64,
            Strategy::Balanced => now,
            Strategy::Conservative => {
                now.saturating_add((u128::from(now) * u128::from(1000 - misses.min(1000)) / 2000) as u64)
            }
        }
    }

    /// Carries out an approved proposal if it is still needed.
    fn execute(
        &mut self,
        now: u64,
        proposal: Proposal,
        by: Option<&str>,
        apply: &mut impl FnMut(&Change) -> Result<(), ApplyFailed>,
        events: &mut Vec<Event>,
    ) -> OutcomeStatus {
        let Proposal { id, from, to, .. } = proposal;
        let mut outcome = Outcome {
            id,
            status: OutcomeStatus::Skipped,
            from,
            to,
            decided_by: by.map(str::to_owned),
            note: String::new(),
            before: measured(&self.recent()),
            after: None,
            predicted_ns: proposal.predicted_approve_ns,
            ts_ns: now,
        };
        if !self.policy.is_still_needed(self.strategy, from, to, &self.state) {
            outcome.note = "no longer needed".to_owned();
        } else if self.has_query_mode {
            outcome.status = OutcomeStatus::Failed;
            outcome.note = "query mode is on: nothing is carried out".to_owned();
        } else if self.is_rate_limited(now) {
            outcome.status = OutcomeStatus::Failed;
            outcome.note = "there were ten strategy changes in the last minute".to_owned();
        } else {
            let change = Change {
                proposal: Some(id),
                from,
                to,
                knobs: to.knobs(self.total_frames),
            };
            match apply(&change) {
                Ok(()) => outcome.status = OutcomeStatus::Executed,
                Err(ApplyFailed { reason }) => {
                    outcome.status = OutcomeStatus::Failed;
                    outcome.note = reason;
                }
            }
        }
        let status = outcome.status;
        if status != OutcomeStatus::Executed {
            self.end(now, outcome, events);
            return status;
        }
        self.finish_measuring(now, true, events);
        self.strategy = to;
        self.fitting = None;
        self.paused_until_ns = now.saturating_add(self.policy.pause_ns);
        self.changes.push_back(now);
        if self.changes.len() > CHANGES_PER_MINUTE {
            self.changes.pop_front();
        }
        events.push(Event::StrategyChanged {
            from,
            to,
            proposal: Some(id),
        });
        self.measuring = Some(Measuring {
            outcome,
            since_ns: now,
            faults: Latency::new(),
        });
        self.drop_stale(now, events);
        status
    }

    fn is_rate_limited(&self, now: u64) -> bool {
        let oldest = self
            .changes
            .len()
            .checked_sub(CHANGES_PER_MINUTE)
            .and_then(|at| self.changes.get(at));
        oldest.is_some_and(|oldest| now.saturating_sub(*oldest) < 60 * SECOND)
    }

    /// Ends the measurement of an effect when there is enough of it, or anyway.
    fn finish_measuring(&mut self, now: u64, is_forced: bool, events: &mut Vec<Event>) {
        let Some(measuring) = &self.measuring else { return };
        let elapsed = now.saturating_sub(measuring.since_ns);
        let is_enough = elapsed >= self.policy.measure_min_ns && measuring.faults.count() >= self.policy.measure_faults;
        if !is_forced && !is_enough && elapsed < self.policy.measure_max_ns {
            return;
        }
        let Some(Measuring {
            mut outcome, faults, ..
        }) = self.measuring.take()
        else {
            return;
        };
        outcome.after = measured(&faults);
        if let Some(after) = outcome.after {
            if let Some(learned) = self.learned.get_mut(outcome.to as usize) {
                let mean = learned.map_or(after.mean_ns, |old| old - old / 4 + after.mean_ns / 4);
                *learned = Some(mean);
            }
            if outcome.predicted_ns > 0 {
                let off = share(outcome.predicted_ns.abs_diff(after.mean_ns), after.mean_ns.max(1)).min(1000);
                self.calibration = blend(self.calibration, 1000 - off);
            }
        }
        self.end(now, outcome, events);
    }

    /// Ends the proposals that nobody decided about in time.
    fn expire(&mut self, now: u64, events: &mut Vec<Event>) {
        for proposal in self.approvals.take_if(|proposal| proposal.expires_ns <= now) {
            self.refuse(now, &proposal);
            self.decide(now, proposal.id, Verdict::Expired, None, events);
            let outcome = Outcome {
                id: proposal.id,
                status: OutcomeStatus::Expired,
                from: proposal.from,
                to: proposal.to,
                decided_by: None,
                note: "nobody decided in time".to_owned(),
                before: None,
                after: None,
                predicted_ns: proposal.predicted_approve_ns,
                ts_ns: now,
            };
            self.end(now, outcome, events);
        }
    }

    /// Drops the proposals that start from a strategy that is not in force.
    fn drop_stale(&mut self, now: u64, events: &mut Vec<Event>) {
        let strategy = self.strategy;
        for proposal in self.approvals.take_if(|proposal| proposal.from != strategy) {
            self.drop_one(now, &proposal, events);
        }
    }

    fn drop_one(&mut self, now: u64, proposal: &Proposal, events: &mut Vec<Event>) {
        self.totals.dropped += 1;
        self.decide(now, proposal.id, Verdict::Dropped, None, events);
    }

    /// Remembers not to propose the same again for a while.
    fn refuse(&mut self, now: u64, proposal: &Proposal) {
        let until = now.saturating_add(self.policy.refused_pause_ns);
        self.refused
            .retain(|refused| (refused.0, refused.1) != (proposal.from, proposal.to));
        self.refused.push((proposal.from, proposal.to, until));
    }

    fn decide(&mut self, now: u64, id: u64, verdict: Verdict, by: Option<&str>, events: &mut Vec<Event>) {
        let by = by.map(str::to_owned);
        self.note(
            now,
            Audit::Decided {
                id,
                verdict,
                by: by.clone(),
            },
        );
        events.push(Event::Decided { id, by, verdict });
    }

    /// Records how a proposal ended.
    fn end(&mut self, now: u64, outcome: Outcome, events: &mut Vec<Event>) {
        let total = match outcome.status {
            OutcomeStatus::Executed => &mut self.totals.executed,
            OutcomeStatus::Skipped => &mut self.totals.skipped,
            OutcomeStatus::Failed => &mut self.totals.failed,
            OutcomeStatus::Expired => &mut self.totals.expired,
        };
        *total += 1;
        self.note(
            now,
            Audit::Ended {
                id: outcome.id,
                status: outcome.status,
            },
        );
        self.history.push_back(outcome.clone());
        if self.history.len() > HISTORY_MAX {
            self.history.pop_front();
        }
        events.push(Event::Outcome(outcome));
    }

    /// Records what keeps a change from being proposed, once for a row of the same.
    fn note_once(&mut self, now: u64, what: Audit) {
        let kind = core::mem::discriminant(&what);
        if self.noted.replace(kind) != Some(kind) {
            self.note(now, what);
        }
    }

    fn note(&mut self, now: u64, what: Audit) {
        self.audited += 1;
        self.audit.push_back(AuditEntry {
            seq: self.audited,
            ts_ns: now,
            what,
        });
        if self.audit.len() > AUDIT_MAX {
            self.audit.pop_front();
        }
    }
}

/// A part, of 1000; 0 of nothing.
fn share(part: u64, of: u64) -> u32 {
    let permille = (u128::from(part) * 1000).checked_div(u128::from(of)).unwrap_or(0);
    permille.min(u128::from(u32::MAX)) as u32
}

/// Three quarters of the old, a quarter of the new; it arrives at a constant new value.
fn blend(old: u32, new: u32) -> u32 {
    let sum = u64::from(old) * 3 + u64::from(new);
    // Round towards the new value, so that it does not stop short of it.
    if new > old {
        sum.div_ceil(4) as u32
    } else {
        (sum / 4) as u32
    }
}

/// Nothing when no fault was measured.
fn measured(latency: &Latency) -> Option<FaultStats> {
    (latency.count() > 0).then(|| FaultStats::from(latency))
}

#[cfg(test)]
mod tests;
