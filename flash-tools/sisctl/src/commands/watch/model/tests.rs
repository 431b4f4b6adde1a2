use super::*;
use sis_protocol::control::{CpuTimes, Event, NetCounters, Observation, ProposalKind, Strategy};
use sis_protocol::hello::Hello;
use sis_protocol::pairing::Role;
use sis_protocol::wire::Welcome;

pub(in crate::commands::watch) fn proposal(id: u64) -> Proposal {
    Proposal {
        id,
        kind: ProposalKind::StrategyChange,
        from: Some(Strategy::Balanced),
        to: Some(Strategy::Aggressive),
        reason: "faults are slow".into(),
        risk: 10,
        confidence: 900,
        created_ns: 1,
        expires_ns: 2,
        observation: Observation {
            faults_per_second: Some(5000),
            ..Observation::default()
        },
    }
}

pub(in crate::commands::watch) fn online() -> LinkState {
    LinkState::Online(Box::new(Welcome {
        hello: Hello::new("sis-agent 0.1.0"),
        role: Role::Owner,
        client_name: "test".into(),
        epoch: 1,
        has_control: true,
    }))
}

pub(in crate::commands::watch) fn sample(seq: u64) -> Sample {
    let ns = seq * 100_000_000;
    let cpu = |busy: u64| CpuTimes {
        user_ns: ns / 100 * busy,
        idle_ns: ns / 100 * (100 - busy),
        ..CpuTimes::default()
    };
    Sample {
        seq,
        ts_ns: ns,
        lost_before: 0,
        metrics: Metrics {
            uptime_ns: Some(ns),
            cpus: vec![cpu(20), cpu(40)],
            mem_total_bytes: Some(512 << 20),
            mem_free_bytes: Some(384 << 20),
            load1_milli: Some(1500),
            faults_minor: Some(seq * 500),
            context_switches: Some(seq * 1000),
            interrupts: Some(seq * 10),
            net: Some(NetCounters {
                rx_bytes: seq * 1024,
                tx_bytes: seq * 4096,
                ..NetCounters::default()
            }),
            ..Metrics::default()
        },
    }
}

fn press(model: &mut Model, code: KeyCode) -> Effect {
    model.key(KeyEvent::new(code, KeyModifiers::NONE))
}

#[test]
fn rates_come_from_two_samples() {
    let mut model = Model::new("b");
    model.sample(&sample(1));
    assert_eq!(model.series(Chart::Faults).last(), None, "one sample has no rate");
    assert_eq!(model.series(Chart::Memory).last(), Some(25.0));
    model.sample(&sample(2));
    let near = |chart, expected: f64| {
        let value = model.series(chart).last().expect("has a value");
        assert!((value - expected).abs() < 0.01, "{chart:?} is {value}");
    };
    near(Chart::Faults, 5000.0);
    near(Chart::Switches, 10_000.0);
    near(Chart::Received, 10_240.0);
    near(Chart::Cpu, 30.0);
    near(Chart::Load, 1.5);
}

#[test]
fn counters_that_go_back_give_no_rate() {
    let mut model = Model::new("b");
    model.sample(&sample(9));
    model.sample(&Sample {
        ts_ns: 1_000_000_000,
        ..sample(2)
    });
    assert_eq!(model.series(Chart::Faults).last(), None);
}

#[test]
fn a_key_decides_the_proposal_that_was_looked_at() {
    let mut model = Model::new("b");
    model.link_changed(&online(), Instant::now());
    model.proposals(vec![proposal(4), proposal(5), proposal(6)]);
    press(&mut model, KeyCode::Down);
    assert_eq!(
        press(&mut model, KeyCode::Char('a')),
        Effect::Decide(Verdict::Approve, 5)
    );
    // The first one goes: the selection stays with what it was on.
    model.proposals(vec![proposal(5), proposal(6)]);
    assert_eq!(
        press(&mut model, KeyCode::Char('r')),
        Effect::Decide(Verdict::Reject, 5)
    );
    model.proposals(Vec::new());
    assert_eq!(press(&mut model, KeyCode::Char('a')), Effect::None);
}

#[test]
fn nothing_is_decided_while_the_board_is_away() {
    let mut model = Model::new("b");
    model.proposals(vec![proposal(4)]);
    assert_eq!(press(&mut model, KeyCode::Char('a')), Effect::None);
    assert_eq!(model.link_changed(&online(), Instant::now()), Effect::Refresh);
    assert_ne!(press(&mut model, KeyCode::Char('a')), Effect::None);
}

#[test]
fn leaving_works_from_everywhere() {
    let mut model = Model::new("b");
    press(&mut model, KeyCode::Char('?'));
    assert!(model.is_helping);
    assert_eq!(
        press(&mut model, KeyCode::Char('x')),
        Effect::None,
        "any key closes the help"
    );
    assert!(!model.is_helping);
    assert_eq!(press(&mut model, KeyCode::Char('q')), Effect::Quit);
    assert_eq!(
        model.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)),
        Effect::Quit
    );
}

#[test]
fn events_become_lines_and_ask_for_the_queue() {
    let mut model = Model::new("b");
    let event = |kind| {
        Delivery::Event(Box::new(Event {
            seq: 1,
            ts_ns: 5,
            wall_ms: None,
            kind,
            kernel_seq: None,
        }))
    };
    assert_eq!(model.event(&event(EventKind::Proposal(proposal(4)))), Effect::Refresh);
    assert_eq!(
        model.event(&event(EventKind::OomKill {
            pid: 7,
            name: "x".into(),
            rss_bytes: None
        })),
        Effect::None
    );
    let tones: Vec<Tone> = model.log.iter().map(|line| line.tone).collect();
    assert_eq!(tones, [Tone::Asks, Tone::Bad]);
}

#[test]
fn the_log_is_bounded_and_a_reader_keeps_their_place() {
    let mut model = Model::new("b");
    for _ in 0..3 * LOG_LINES {
        model.line(None, "x".into(), Tone::Plain);
    }
    assert_eq!(model.log.len(), LOG_LINES);
    press(&mut model, KeyCode::PageUp);
    let before = model.scroll;
    model.line(None, "y".into(), Tone::Plain);
    assert_eq!(model.scroll, before + 1);
    press(&mut model, KeyCode::End);
    assert_eq!(model.scroll, 0);
}

#[test]
fn lines_of_both_streams_are_in_the_order_of_time() {
    let mut model = Model::new("b");
    for (ts_ns, text) in [
        (Some(10), "a"),
        (Some(30), "c"),
        (Some(20), "b"),
        (None, "anew"),
        (Some(5), "d"),
    ] {
        model.line(ts_ns, text.into(), Tone::Plain);
    }
    let texts: Vec<&str> = model.log.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts, ["a", "b", "c", "anew", "d"], "a start anew ends the comparison");
}
