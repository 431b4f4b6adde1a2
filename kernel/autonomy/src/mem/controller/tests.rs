//! Stories of a machine's memory, and properties of all stories.

use std::{string::ToString, vec, vec::Vec};

use proptest::{prelude::*, strategy::Strategy as _};

use super::{
    super::{
        ApplyFailed, Approvals, Audit, Change, ConfidenceReason, Counts, Event, Latency, Observation, Outcome,
        OutcomeStatus, Policy, Proposal, QUEUE_MAX, Reason, Selection, Strategy, Summary, Verdict,
    },
    CHANGES_PER_MINUTE, Controller,
};

const SECOND: u64 = 1_000_000_000;
const TICK: u64 = SECOND / 2;
const FRAMES: u64 = 131_072;

/// What the machine does between two observations.
#[derive(Clone, Copy, Debug)]
struct Load {
    used_permille: u64,
    faults_per_s: u64,
    miss_permille: u64,
}

const CALM: Load = Load {
    used_permille: 300,
    faults_per_s: 50,
    miss_permille: 0,
};
const FULL: Load = Load {
    used_permille: 950,
    faults_per_s: 50,
    miss_permille: 0,
};
const BUSY: Load = Load {
    used_permille: 300,
    faults_per_s: 5000,
    miss_permille: 800,
};

/// A machine whose faults are faster the larger the pool is.
struct Machine {
    controller: Controller,
    now: u64,
    events: Vec<Event>,
    applied: Vec<Change>,
    does_apply: bool,
}

impl Machine {
    fn new(policy: Policy) -> Self {
        Self {
            controller: Controller::new(policy),
            now: 0,
            events: vec![],
            applied: vec![],
            does_apply: true,
        }
    }

    fn with_history(policy: Policy) -> Self {
        let mut machine = Self::new(policy);
        machine.run(CALM, 60);
        assert_eq!(machine.events, []);
        machine
    }

    fn observation(&self, load: Load) -> Observation {
        let pool = self.controller.strategy().knobs(FRAMES).zero_pool_frames;
        let count = load.faults_per_s * TICK / SECOND;
        let misses = count * load.miss_permille / 1000;
        let misses = if self.controller.strategy() == Strategy::Aggressive {
            misses / 10
        } else {
            misses
        };
        let mut faults = Latency::new();
        (0..count).for_each(|at| faults.record(if at < misses { 4000 } else { 1000 }));
        let free = FRAMES - FRAMES * load.used_permille / 1000;
        Observation {
            now_ns: self.now,
            total_frames: FRAMES,
            free_frames: free.saturating_sub(pool),
            zero_pool_frames: pool.min(free),
            faults,
            zero_hits: count - misses,
            zero_misses: misses,
        }
    }

    /// Observes so many times; returns what happened.
    fn run(&mut self, load: Load, ticks: u32) -> Vec<Event> {
        let before = self.events.len();
        for _ in 0..ticks {
            self.now += TICK;
            let observation = self.observation(load);
            let (applied, does_apply) = (&mut self.applied, self.does_apply);
            let events = self
                .controller
                .observe(&observation, |change| apply(applied, does_apply, change));
            self.events.extend(events);
        }
        self.events[before..].to_vec()
    }

    fn approve(&mut self, selection: Selection<'_>, load: Load) -> (Counts, Vec<Event>) {
        self.now += 1000;
        let observation = Observation {
            faults: Latency::new(),
            zero_hits: 0,
            zero_misses: 0,
            ..self.observation(load)
        };
        let (applied, does_apply) = (&mut self.applied, self.does_apply);
        let decided = self
            .controller
            .approve(selection, Some("owner"), &observation, |change| {
                apply(applied, does_apply, change)
            });
        self.events.extend(decided.events.clone());
        (decided.counts, decided.events)
    }

    fn only_proposal(&self) -> Proposal {
        let waiting: Vec<_> = self.controller.approvals().iter().collect();
        assert_eq!(waiting.len(), 1);
        waiting[0].clone()
    }

    fn outcomes(&self) -> Vec<Outcome> {
        let outcome = |event: &Event| match event {
            Event::Outcome(outcome) => Some(outcome.clone()),
            _ => None,
        };
        self.events.iter().filter_map(outcome).collect()
    }
}

fn apply(applied: &mut Vec<Change>, does_apply: bool, change: &Change) -> Result<(), ApplyFailed> {
    if !does_apply {
        return Err(ApplyFailed {
            reason: "the pool cannot be filled".to_string(),
        });
    }
    applied.push(*change);
    Ok(())
}

#[test]
fn a_calm_machine_is_left_alone() {
    let mut machine = Machine::with_history(Policy::default());
    assert_eq!(machine.run(CALM, 500), []);
    assert_eq!(machine.controller.strategy(), Strategy::Balanced);
    assert_eq!(machine.controller.predict(), None);
    assert_eq!(machine.controller.audit().count(), 0);
}

#[test]
fn a_proposal_waits_is_approved_and_its_effect_is_measured() {
    let mut machine = Machine::with_history(Policy::default());
    let events = machine.run(BUSY, 20);
    let proposal = machine.only_proposal();
    assert_eq!(events, [Event::Proposed(proposal.clone())]);
    assert_eq!(
        (proposal.id, proposal.from, proposal.to),
        (1, Strategy::Balanced, Strategy::Aggressive)
    );
    assert!(
        matches!(proposal.reason, Reason::FaultRate { faults_per_s, miss_permille } if faults_per_s > 1000 && miss_permille > 200)
    );
    assert!(proposal.confidence >= 600 && proposal.confidence_reason == ConfidenceReason::Normal);
    assert_eq!(proposal.risk, 20);
    assert!(proposal.predicted_approve_ns < proposal.predicted_reject_ns);
    assert_eq!(machine.applied, []);

    let (counts, events) = machine.approve(Selection::Ids(&[1]), BUSY);
    assert_eq!(
        counts,
        Counts {
            executed: 1,
            ..Counts::default()
        }
    );
    let knobs = Strategy::Aggressive.knobs(FRAMES);
    assert_eq!(
        machine.applied,
        [Change {
            proposal: Some(1),
            from: Strategy::Balanced,
            to: Strategy::Aggressive,
            knobs
        }]
    );
    assert_eq!(
        events,
        [
            Event::Decided {
                id: 1,
                by: Some("owner".to_string()),
                verdict: Verdict::Approved
            },
            Event::StrategyChanged {
                from: Strategy::Balanced,
                to: Strategy::Aggressive,
                proposal: Some(1)
            },
        ]
    );
    assert_eq!(machine.controller.strategy(), Strategy::Aggressive);
    machine.run(BUSY, 10);
    let outcomes = machine.outcomes();
    assert_eq!(outcomes.len(), 1);
    let outcome = &outcomes[0];
    assert_eq!(
        (outcome.status, outcome.decided_by.as_deref()),
        (OutcomeStatus::Executed, Some("owner"))
    );
    let (before, after) = (outcome.before.unwrap(), outcome.after.unwrap());
    assert!(
        before.mean_ns > 2000 && after.mean_ns < 1500 && after.samples >= 200,
        "{before:?} {after:?}"
    );
    assert!(after.p99_ns > after.mean_ns);
    assert_eq!(machine.controller.history().next(), Some(outcome));
    // It stays while the faults go on, and goes back when they are over.
    machine.run(BUSY, 100);
    assert_eq!(machine.controller.strategy(), Strategy::Aggressive);
    assert!(machine.controller.approvals().is_empty());
    machine.run(CALM, 60);
    assert_eq!(machine.only_proposal().to, Strategy::Balanced);
}

#[test]
fn what_is_no_longer_needed_is_skipped() {
    let mut machine = Machine::with_history(Policy::default());
    machine.run(BUSY, 20);
    machine.run(CALM, 40);
    let (counts, events) = machine.approve(Selection::Oldest(5), CALM);
    assert_eq!(
        counts,
        Counts {
            skipped: 1,
            ..Counts::default()
        }
    );
    assert!(matches!(&events[1], Event::Outcome(outcome) if outcome.status == OutcomeStatus::Skipped));
    assert_eq!(
        (machine.applied.len(), machine.controller.strategy()),
        (0, Strategy::Balanced)
    );
    assert_eq!(
        machine.approve(Selection::Ids(&[1, 7]), CALM).0,
        Counts {
            not_found: 2,
            ..Counts::default()
        }
    );
}

#[test]
fn a_rejection_holds_for_a_while() {
    let mut machine = Machine::with_history(Policy::default());
    machine.run(BUSY, 20);
    let decided = machine.controller.reject(Selection::All, Some("owner"), machine.now);
    assert_eq!(
        decided.counts,
        Counts {
            rejected: 1,
            ..Counts::default()
        }
    );
    assert_eq!(
        decided.events,
        [Event::Decided {
            id: 1,
            by: Some("owner".to_string()),
            verdict: Verdict::Rejected
        }]
    );
    let refused_ticks = (Policy::default().refused_pause_ns / TICK) as u32;
    assert_eq!(machine.run(BUSY, refused_ticks - 1), []);
    assert_eq!(machine.run(BUSY, 3).len(), 1);
    assert_eq!(machine.only_proposal().id, 2);
}

#[test]
fn silence_means_no() {
    let mut machine = Machine::with_history(Policy::default());
    machine.run(BUSY, 20);
    let expires = machine.only_proposal().expires_ns;
    while machine.now + TICK < expires {
        assert_eq!(machine.run(BUSY, 1), []);
    }
    let events = machine.run(BUSY, 1);
    assert_eq!(
        events[0],
        Event::Decided {
            id: 1,
            by: None,
            verdict: Verdict::Expired
        }
    );
    assert!(matches!(&events[1], Event::Outcome(outcome) if outcome.status == OutcomeStatus::Expired));
    assert_eq!(events.len(), 2);
    assert_eq!(machine.approve(Selection::Ids(&[1]), BUSY).0.not_found, 1);
}

#[test]
fn without_approval_mode_small_risks_are_taken() {
    let mut machine = Machine::with_history(Policy::default());
    machine.controller.set_approval_mode(false, machine.now);
    let events = machine.run(FULL, 20);
    assert!(matches!(events[0], Event::Proposed(_)));
    assert_eq!(
        events[1],
        Event::Decided {
            id: 1,
            by: None,
            verdict: Verdict::Approved
        }
    );
    assert_eq!(machine.controller.strategy(), Strategy::Conservative);
    // A large risk waits all the same.
    machine.run(CALM, 60);
    let tight = Load {
        used_permille: 680,
        ..BUSY
    };
    machine.run(tight, 40);
    assert_eq!(machine.controller.strategy(), Strategy::Balanced);
    let proposal = machine.only_proposal();
    assert_eq!((proposal.to, proposal.risk), (Strategy::Aggressive, 80));
}

#[test]
fn query_mode_only_predicts() {
    let mut machine = Machine::with_history(Policy::default());
    machine.run(BUSY, 20);
    machine.controller.set_query_mode(true, machine.now);
    let (counts, _) = machine.approve(Selection::All, BUSY);
    assert_eq!(
        counts,
        Counts {
            failed: 1,
            ..Counts::default()
        }
    );
    assert_eq!(machine.run(BUSY, 100), []);
    assert_eq!(
        machine.controller.predict().map(|(to, ..)| to),
        Some(Strategy::Aggressive)
    );
    let predicted = |audit: &&_| {
        matches!(
            audit,
            super::AuditEntry {
                what: Audit::OnlyPredicted { .. },
                ..
            }
        )
    };
    assert_eq!(machine.controller.audit().filter(predicted).count(), 1);
    assert_eq!(machine.applied, []);
}

#[test]
fn a_change_that_fails_is_told() {
    let mut machine = Machine::with_history(Policy::default());
    machine.run(FULL, 20);
    machine.does_apply = false;
    assert_eq!(
        machine.approve(Selection::All, FULL).0,
        Counts {
            failed: 1,
            ..Counts::default()
        }
    );
    assert_eq!(machine.outcomes()[0].note, "the pool cannot be filled");
    assert_eq!(machine.controller.strategy(), Strategy::Balanced);
    assert!(
        machine
            .controller
            .set_strategy(Strategy::Aggressive, None, machine.now, |_| Err(ApplyFailed {
                reason: "no".to_string()
            }))
            .is_err()
    );
    assert_eq!(machine.controller.strategy(), Strategy::Balanced);
}

#[test]
fn a_person_may_set_the_strategy() {
    let mut machine = Machine::with_history(Policy::default());
    machine.run(BUSY, 20);
    let events = machine
        .controller
        .set_strategy(Strategy::Conservative, Some("owner"), machine.now, |_| Ok(()))
        .unwrap();
    assert_eq!(
        events,
        [
            Event::StrategyChanged {
                from: Strategy::Balanced,
                to: Strategy::Conservative,
                proposal: None
            },
            Event::Decided {
                id: 1,
                by: None,
                verdict: Verdict::Dropped
            },
        ]
    );
    assert_eq!(
        machine
            .controller
            .set_strategy(Strategy::Conservative, None, machine.now, |_| Ok(())),
        Ok(vec![])
    );
    // And is not contradicted at once.
    assert_eq!(machine.run(BUSY, 100), []);
}

#[test]
fn nothing_is_proposed_before_there_is_history() {
    let mut machine = Machine::new(Policy::default());
    assert_eq!(machine.run(FULL, 9), []);
    assert!(machine.controller.totals().deferred > 0);
    assert_eq!(machine.controller.audit().count(), 1, "told once");
    let state = Summary {
        pressure_permille: 950,
        ..Summary::default()
    };
    let confidence = |seen, swing| Policy::default().confidence(Strategy::Conservative, &state, 3, seen, swing);
    assert_eq!(confidence(9, 0), (162, ConfidenceReason::Initializing));
    assert_eq!(confidence(49, 0), (450, ConfidenceReason::InsufficientHistory));
    assert_eq!(confidence(50, 301), (400, ConfidenceReason::HighStateUncertainty));
    assert_eq!(confidence(50, 300), (650, ConfidenceReason::Normal));
}

#[test]
fn there_are_at_most_ten_changes_a_minute() {
    let policy = Policy {
        streak: 1,
        pause_ns: 0,
        confidence_threshold: 0,
        ..Policy::default()
    };
    let mut machine = Machine::with_history(policy);
    machine.controller.set_approval_mode(false, machine.now);
    for _ in 0..400 {
        machine.run(FULL, 2);
        machine.run(CALM, 6);
    }
    let times: Vec<u64> = machine
        .outcomes()
        .iter()
        .filter(|o| o.status == OutcomeStatus::Executed)
        .map(|o| o.ts_ns)
        .collect();
    assert!(times.len() > 100);
    for pair in times.windows(CHANGES_PER_MINUTE + 1) {
        assert!(pair[CHANGES_PER_MINUTE] - pair[0] >= 60 * SECOND);
    }
    assert!(
        machine
            .controller
            .audit()
            .any(|entry| matches!(entry.what, Audit::RateLimited { .. }))
    );
}

#[test]
fn the_queue_drops_the_oldest() {
    let mut machine = Machine::with_history(Policy::default());
    machine.run(BUSY, 20);
    let proposal = machine.only_proposal();
    let mut queue = Approvals::default();
    for id in 1..=QUEUE_MAX as u64 {
        assert_eq!(queue.push(Proposal { id, ..proposal.clone() }), None);
    }
    assert_eq!(
        queue.push(Proposal { id: 101, ..proposal }).map(|dropped| dropped.id),
        Some(1)
    );
    assert_eq!(queue.len(), QUEUE_MAX);
    let (taken, not_found) = queue.take(Selection::Ids(&[50, 1, 50, 3]));
    assert_eq!(
        (taken.iter().map(|p| p.id).collect::<Vec<_>>(), not_found),
        (vec![50, 3], 2)
    );
    let (taken, _) = queue.take(Selection::Oldest(2));
    assert_eq!(taken.iter().map(|p| p.id).collect::<Vec<_>>(), [2, 4]);
    assert_eq!(queue.take(Selection::Oldest(usize::MAX)).0.len(), 96);
    assert!(queue.is_empty());
}

#[test]
fn reasons_are_sentences() {
    let reason = Reason::FaultRate {
        faults_per_s: 4210,
        miss_permille: 731,
    };
    assert_eq!(
        reason.to_string(),
        "4210 page faults a second, 73.1 % of them wait for a page to be zeroed"
    );
    assert_eq!(
        Reason::HighPressure { pressure_permille: 951 }.to_string(),
        "95.1 % of memory is used"
    );
    assert_eq!(Strategy::from_name("Aggressive"), Some(Strategy::Aggressive));
    assert_eq!(Strategy::from_name("bold"), None);
}

#[test]
fn knobs_fit_the_machine() {
    for frames in [0, 1, 32_768, 131_072, 1 << 20, u64::MAX] {
        let [small, middle, large] = Strategy::ALL.map(|strategy| strategy.knobs(frames));
        for knobs in [small, middle, large] {
            assert!(knobs.low_watermark_frames <= knobs.high_watermark_frames);
            assert!(knobs.zero_pool_frames <= frames / 32);
        }
        assert!(small.zero_pool_frames <= middle.zero_pool_frames && middle.zero_pool_frames <= large.zero_pool_frames);
    }
}

fn states() -> impl proptest::strategy::Strategy<Value = Summary> {
    (0..=1000u32, 0..20_000u32, 0..=1000u32, 0..100_000u64).prop_map(
        |(pressure_permille, faults_per_s, miss_permille, fault_mean_ns)| Summary {
            pressure_permille,
            faults_per_s,
            miss_permille,
            fault_mean_ns,
            ..Summary::default()
        },
    )
}

fn loads() -> impl proptest::strategy::Strategy<Value = (Load, u32)> {
    let load = (0..=1000u64, 0..8000u64, 0..=1000u64).prop_map(|(used_permille, faults_per_s, miss_permille)| Load {
        used_permille,
        faults_per_s,
        miss_permille,
    });
    (load, 1..40u32)
}

#[derive(Clone, Debug)]
enum Step {
    Run(Load, u32),
    Approve(Vec<u64>),
    ApproveAll,
    Reject,
    Modes(bool, bool),
    Set(u8),
    Break(bool),
}

fn steps() -> impl proptest::strategy::Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => loads().prop_map(|(load, ticks)| Step::Run(load, ticks)),
        1 => proptest::collection::vec(0..20u64, 0..4).prop_map(Step::Approve),
        2 => Just(Step::ApproveAll),
        1 => Just(Step::Reject),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(approval, query)| Step::Modes(approval, query)),
        1 => (0..3u8).prop_map(Step::Set),
        1 => any::<bool>().prop_map(Step::Break),
    ];
    proptest::collection::vec(step, 1..60)
}

fn play(steps: &[Step]) -> Machine {
    let mut machine = Machine::new(Policy {
        expiry_ns: 20 * SECOND,
        refused_pause_ns: 5 * SECOND,
        ..Policy::default()
    });
    let mut load = CALM;
    for step in steps {
        match step {
            Step::Run(next, ticks) => {
                load = *next;
                machine.run(load, *ticks);
            }
            Step::Approve(ids) => drop(machine.approve(Selection::Ids(ids), load)),
            Step::ApproveAll => drop(machine.approve(Selection::All, load)),
            Step::Reject => machine
                .events
                .extend(machine.controller.reject(Selection::All, None, machine.now).events),
            Step::Modes(approval, query) => {
                machine.controller.set_approval_mode(*approval, machine.now);
                machine.controller.set_query_mode(*query, machine.now);
            }
            Step::Set(which) => {
                let to = Strategy::ALL[usize::from(*which)];
                let events = machine
                    .controller
                    .set_strategy(to, None, machine.now, |_| Ok(()))
                    .unwrap();
                machine.events.extend(events);
            }
            Step::Break(does_apply) => machine.does_apply = *does_apply,
        }
    }
    machine
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Constant measurements lead to at most one change, and a change that has just been made is not called back.
    #[test]
    fn the_policy_does_not_flap(state in states(), from in 0..3usize) {
        let policy = Policy::default();
        let from = Strategy::ALL[from];
        let (to, reason) = policy.fitting(from, &state);
        prop_assert_eq!(reason.is_none(), to == from);
        prop_assert_eq!(policy.fitting(to, &state), (to, None));
        prop_assert_eq!(policy.is_still_needed(from, from, to, &state), to != from);
        prop_assert!(!policy.is_still_needed(to, from, to, &state));
        let (confidence, _) = policy.confidence(to, &state, 3, 100, 0);
        prop_assert!(confidence <= 1000 && policy.risk(to, &state) <= 100);
    }

    /// The same story twice is the same to the last bit.
    #[test]
    fn stories_can_be_replayed(steps in steps()) {
        let (once, again) = (play(&steps), play(&steps));
        prop_assert_eq!(once.events, again.events);
        prop_assert!(once.controller.audit().eq(again.controller.audit()));
    }

    /// Every proposal has exactly one end, events come in order, and what was applied is what was told.
    #[test]
    fn every_proposal_ends_once(steps in steps()) {
        let machine = play(&steps);
        let mut strategy = Strategy::Balanced;
        let mut proposed = 0;
        let mut decided = std::collections::BTreeMap::new();
        let mut ended = std::collections::BTreeSet::new();
        let mut executed = 0;
        for event in &machine.events {
            match event {
                Event::Proposed(proposal) => {
                    proposed += 1;
                    prop_assert_eq!(proposal.id, proposed);
                    prop_assert_eq!(proposal.from, strategy);
                    prop_assert!(proposal.confidence >= 600);
                }
                Event::Decided { id, verdict, .. } => {
                    prop_assert!(*id <= proposed);
                    prop_assert!(decided.insert(*id, *verdict).is_none(), "decided twice");
                }
                Event::StrategyChanged { from, to, proposal } => {
                    prop_assert_eq!(*from, strategy);
                    strategy = *to;
                    if let Some(id) = proposal {
                        prop_assert_eq!(decided.get(id), Some(&Verdict::Approved));
                        executed += 1;
                    }
                }
                Event::Outcome(outcome) => {
                    prop_assert!(ended.insert(outcome.id), "ended twice");
                    let want = if outcome.status == OutcomeStatus::Expired { Verdict::Expired } else { Verdict::Approved };
                    prop_assert_eq!(decided.get(&outcome.id), Some(&want));
                }
            }
        }
        prop_assert_eq!(machine.controller.strategy(), strategy);
        prop_assert_eq!(machine.applied.len(), executed);
        let totals = machine.controller.totals();
        let measuring = u64::from(machine.controller.measuring.is_some());
        let waiting = machine.controller.approvals().len() as u64;
        prop_assert_eq!(totals.proposed, proposed);
        prop_assert_eq!(totals.executed + measuring, executed as u64);
        let ends = totals.executed + totals.skipped + totals.failed + totals.rejected + totals.expired + totals.dropped;
        prop_assert_eq!(totals.proposed, ends + measuring + waiting);
    }
}
