//! Deliveries of every order: repeats, reconnects, missing events, new lives.

use proptest::prelude::*;
use sis_protocol::control::{EventKind, ResponseBody, Strategy as MemoryStrategy, Verdict};

use super::samples::{bootstrap, decided, event, outcome, proposal, started};
use super::*;

fn kind() -> impl Strategy<Value = EventKind> {
    let id = 1..12_u64;
    let verdict = (1..6_u32).prop_map(Verdict::from_number);
    prop_oneof![
        4 => id.clone().prop_map(|id| EventKind::Proposal(proposal(id))),
        4 => (id.clone(), verdict).prop_map(|(id, verdict)| decided(id, verdict)),
        4 => id.prop_map(|id| EventKind::Outcome(outcome(id, None))),
        1 => Just(EventKind::Unknown),
        1 => Just(EventKind::Lost { count: 3 }),
        1 => (1..9_u32).prop_map(|pid| EventKind::OomKill { pid, name: "a\u{7}".into(), rss_bytes: None }),
        1 => Just(EventKind::StrategyChanged { from: MemoryStrategy::Balanced, to: MemoryStrategy::Aggressive }),
        1 => Just(EventKind::Paired { name: "phone".into(), role: 1 }),
    ]
}

/// What happens between a board and its reader.
#[derive(Debug, Clone)]
enum Step {
    Happen(EventKind),
    /// The reader comes back at its cursor.
    Resume,
    /// So many events are no longer kept.
    Lose(u64),
    /// The log begins a new life.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => kind().prop_map(Step::Happen),
        2 => Just(Step::Resume),
        1 => (1..20_u64).prop_map(Step::Lose),
        1 => Just(Step::Restart),
    ]
}

/// The deliveries of a client that lets no gap through.
fn deliveries(steps: Vec<Step>) -> Vec<Delivery> {
    let (mut epoch, mut seq) = (1, 0);
    let mut all = vec![started(1, 0, 0)];
    for step in steps {
        match step {
            Step::Happen(kind) => {
                seq += 1;
                all.push(event(epoch, seq, kind));
            }
            Step::Resume => all.push(started(epoch, seq, seq)),
            Step::Lose(count) => {
                seq += count;
                all.extend([bootstrap(epoch, seq), started(epoch, seq, seq)]);
            }
            Step::Restart => {
                (epoch, seq) = (epoch + 1, 0);
                all.extend([bootstrap(epoch, 0), started(epoch, 0, 0)]);
            }
        }
    }
    all
}

/// What the state is, without the counts of what was passed over.
fn state(events: &Events) -> (Vec<Entry>, Approvals, Option<sis_protocol::wire::Cursor>, u64) {
    let timeline = events.timeline().all().into_iter().cloned().collect();
    (
        timeline,
        events.approvals().clone(),
        events.feed().cursor(),
        events.feed().behind(),
    )
}

proptest! {
    #[test]
    fn repeats_and_reconnects_change_nothing(
        steps in prop::collection::vec(step(), 0..60),
        repeats in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..12),
    ) {
        let all = deliveries(steps);
        let mut once = Events::default();
        all.iter().for_each(|delivery| once.apply(delivery.clone()));

        // After some deliveries, a stretch of what came before them comes again.
        let mut again = Events::default();
        for (at, delivery) in all.iter().enumerate() {
            again.apply(delivery.clone());
            for (after, from) in &repeats {
                if after.index(all.len()) == at {
                    all[from.index(at + 1)..=at].iter().for_each(|delivery| again.apply(delivery.clone()));
                }
            }
        }
        prop_assert_eq!(state(&again), state(&once));
    }

    #[test]
    fn no_event_is_in_the_timeline_twice(
        steps in prop::collection::vec(step(), 0..80),
        shuffled in prop::collection::vec(any::<prop::sample::Index>(), 0..200),
    ) {
        let all = deliveries(steps);
        let mut events = Events::default();
        shuffled.iter().for_each(|index| events.apply(index.get(&all).clone()));
        let cursors: Vec<_> = events.timeline().all().iter().map(|entry| (entry.cursor.epoch, entry.cursor.seq)).collect();
        let mut distinct = cursors.clone();
        distinct.sort_unstable();
        distinct.dedup();
        prop_assert_eq!(distinct.len(), cursors.len());
    }
}

#[test]
fn each_category_has_room_of_its_own() {
    let mut events = Events::default();
    let crash = EventKind::ProcessCrash {
        pid: 1,
        name: "x".repeat(100_000),
        signal: 11,
        fault_address: None,
        pc: None,
    };
    events.apply(event(1, 1, crash));
    for seq in 2..=3000 {
        events.apply(event(1, seq, EventKind::Proposal(proposal(1))));
    }
    assert_eq!(events.timeline().of(Category::Incident).count(), 1);
    assert_eq!(events.timeline().of(Category::Decision).count(), 1000);
    assert_eq!(events.timeline().count(), 3000);
    let all = events.timeline().all();
    assert_eq!(all[0].cursor.seq, 1);
    assert!(matches!(&all[0].kind, EventKind::ProcessCrash { name, .. } if name.len() <= 128));
}

#[test]
fn what_an_agent_tells_again_after_it_started_anew_is_there_once() {
    let numbered = |epoch, seq, kernel_seq, kind| {
        let mut delivery = event(epoch, seq, kind);
        if let Delivery::Event { event, .. } = &mut delivery {
            (event.kernel_seq, event.ts_ns) = (Some(kernel_seq), kernel_seq * 1000);
        }
        delivery
    };
    let mut events = Events::default();
    events.apply(numbered(1, 1, 40, EventKind::Proposal(proposal(1))));
    events.apply(numbered(1, 2, 41, decided(1, Verdict::Approved)));
    events.apply(bootstrap(2, 0));
    events.apply(numbered(2, 1, 40, EventKind::Proposal(proposal(1))));
    events.apply(numbered(2, 2, 41, decided(1, Verdict::Approved)));
    // What is not numbered by the kernel is not known again.
    let agent = EventKind::AgentStarted { software: "a".into() };
    events.apply(event(2, 3, agent));
    // And what it says of approvals counts all the same.
    assert!(matches!(
        events.approvals().get(1).unwrap().phase(),
        Phase::Approved { .. }
    ));
    assert_eq!(events.timeline().all().len(), 3);
    // A board that started again numbers anew, at other times.
    events.apply(bootstrap(3, 0));
    let mut of_another_boot = numbered(3, 1, 40, EventKind::Proposal(proposal(1)));
    if let Delivery::Event { event, .. } = &mut of_another_boot {
        event.ts_ns += 1;
    }
    events.apply(of_another_boot);
    assert_eq!(events.timeline().all().len(), 4);
}

#[test]
fn an_audit_says_who_decided_and_changed_what() {
    let mut events = Events::default();
    let kinds = [
        EventKind::AgentStarted {
            software: "sis-agent 1".into(),
        },
        EventKind::Lost { count: 1 },
        EventKind::Paired {
            name: "phone".into(),
            role: 2,
        },
        decided(4, Verdict::Approved),
        EventKind::Unknown,
    ];
    for (seq, kind) in (1..).zip(kinds) {
        events.apply(event(1, seq, kind));
    }
    let audit: Vec<u64> = events.timeline().audit().iter().map(|entry| entry.cursor.seq).collect();
    assert_eq!(audit, [1, 3, 4]);
    assert_eq!(events.unknown(), 1);
    assert_eq!(events.timeline().all().len(), 5);
}

#[test]
fn the_state_is_asked_for_when_delivery_begins() {
    let mut events = Events::default();
    assert!(!events.needs_state());
    events.apply(started(1, 10, 10));
    assert!(events.needs_state());
    events.apply_answer(&ResponseBody::Approvals(vec![]));
    events.apply_answer(&ResponseBody::History(vec![]));
    events.apply(started(1, 10, 12));
    assert!(!events.needs_state());
}
