//! Boards come, go, restart, and are of other versions.

use sis_protocol::control::{Event, EventKind, Metrics, Observation, Proposal, ProposalKind};
use sis_protocol::hello::Hello;
use sis_protocol::pairing::{Permission, Role};
use sis_protocol::wire::{Cursor, Info, Welcome};
use sis_protocol::{PROTOCOL_MAJOR, PROTOCOL_MINOR};

use super::*;
use crate::events::{DecideError, Decision};
use crate::input::{Delivery, Link};
use crate::metrics::SeriesName;

const NOW: u64 = 1_700_000_000_000;

fn welcome(epoch: u64, role: Role) -> Welcome {
    let mut hello = Hello::new("sis-agent 0.1.0");
    hello.name = Some("pi\x1b[2J".into());
    Welcome {
        hello,
        role,
        client_name: "laptop".into(),
        epoch,
        has_control: true,
    }
}

fn online(epoch: u64, role: Role) -> Input {
    Input::Link(Link::Online(Box::new(welcome(epoch, role))))
}

fn waiting() -> Input {
    Input::Link(Link::Waiting {
        retry_in_ms: 700,
        reason: "cut\n".into(),
    })
}

fn event(epoch: u64, seq: u64, kind: EventKind) -> Input {
    let event = Box::new(Event {
        seq,
        ts_ns: seq,
        wall_ms: None,
        kind,
        kernel_seq: None,
    });
    Input::Events(Delivery::Event { epoch, event })
}

fn sample(seq: u64, ts_ns: u64, free: u64) -> Input {
    Input::Sample {
        seq,
        ts_ns,
        metrics: Box::new(Metrics {
            mem_free_bytes: Some(free),
            ..Metrics::default()
        }),
    }
}

fn proposal(id: u64) -> EventKind {
    EventKind::Proposal(Proposal {
        id,
        kind: ProposalKind::Compaction,
        from: None,
        to: None,
        reason: String::new(),
        risk: 0,
        confidence: 0,
        created_ns: 0,
        expires_ns: 0,
        observation: Observation::default(),
    })
}

#[test]
fn boards_are_kept_apart_and_counted() {
    let mut boards = Boards::new(2, BoardLimits::default());
    let [a, b, c] = [1, 2, 3].map(|n| BoardId::Paired(KeyHash([n; 32])));
    assert!(boards.add(a).is_ok() && boards.add(b).is_ok() && boards.add(a).is_ok());
    assert_eq!(boards.add(c).err(), Some(BoardsError::TooMany { max: 2 }));
    assert_eq!(
        boards.apply(c, NOW, online(1, Role::Viewer)),
        Err(BoardsError::Unknown(c))
    );
    for (id, seq) in [(a, 1), (b, 1), (a, 2)] {
        boards.apply(id, NOW, event(1, seq, proposal(seq))).unwrap();
    }
    assert_eq!(boards.pending_approvals(), 3);
    assert_eq!(boards.get(a).unwrap().events().timeline().count(), 2);
    assert_eq!(boards.iter().map(|(id, _)| id).collect::<Vec<_>>(), [a, b]);
    assert!(boards.remove(a).is_some());
    assert_eq!(boards.pending_approvals(), 1);
    assert_eq!(BoardId::Replay(4).to_string(), "replay:4");
}

#[test]
fn a_link_says_how_it_is_and_when_the_board_was_last_seen() {
    let mut board = Board::default();
    assert_eq!((board.link(), board.last_seen_ms()), (None, None));
    board.apply(NOW, online(1, Role::Operator));
    board.apply(NOW + 10, sample(1, 5, 100));
    board.apply(NOW + 20, waiting());
    assert!(!board.is_online());
    assert_eq!(board.last_seen_ms(), Some(NOW + 10));
    let link = board.link().unwrap();
    assert_eq!((link.since_ms, link.retry_at_ms()), (NOW + 20, Some(NOW + 720)));
    assert!(matches!(&link.link, Link::Waiting { reason, .. } if reason == "cut\\n"));
    // What it is called and may be asked is still known.
    assert_eq!(board.name(), Some("pi\\u{1b}[2J"));
    assert!(board.has_control() && board.allows(Permission::Decide) && !board.allows(Permission::Administer));
}

#[test]
fn another_version_is_met_gracefully() {
    let mut board = Board::default();
    assert_eq!(board.compatibility(), None);
    let mut compatibility = |major, minor| {
        let mut welcome = welcome(1, Role::Viewer);
        welcome.hello.protocol_major = major;
        welcome.hello.protocol_minor = minor;
        board.apply(NOW, Input::Link(Link::Online(Box::new(welcome))));
        board.compatibility().unwrap()
    };
    assert_eq!(compatibility(PROTOCOL_MAJOR, PROTOCOL_MINOR), Compatibility::Same);
    assert_eq!(
        compatibility(PROTOCOL_MAJOR, PROTOCOL_MINOR + 1),
        Compatibility::NewerBoard
    );
    for major in [PROTOCOL_MAJOR + 1, PROTOCOL_MAJOR - 1] {
        assert!(matches!(compatibility(major, 0), Compatibility::Incompatible { .. }));
    }
    board.apply(NOW, event(1, 1, EventKind::Unknown));
    board.apply(NOW, Input::Unknown);
    board.apply(NOW, Input::Link(Link::Unknown));
    board.apply(NOW, Input::Events(Delivery::Unknown));
    assert_eq!((board.unknown(), board.events().unknown()), (2, 1));
    assert!(board.is_online());
}

#[test]
fn samples_are_shown_in_host_time() {
    let mut board = Board::default();
    board.apply(NOW, online(1, Role::Viewer));
    for seq in 1..=3 {
        // The second one is 50 ms late.
        let late_ms = if seq == 2 { 50 } else { 0 };
        board.apply(NOW + seq * 100 + late_ms, sample(seq, seq * 100_000_000, seq));
    }
    let name: SeriesName = "memory.free".parse().unwrap();
    let times: Vec<u64> = board
        .metrics()
        .get(&name)
        .unwrap()
        .points(0, u64::MAX)
        .iter()
        .map(|point| point.at_ms)
        .collect();
    assert_eq!(times, [NOW + 100, NOW + 200, NOW + 300]);
    let cursor = |epoch| Cursor { epoch, seq: 1 };
    assert_eq!(board.shown_ms(cursor(1), 1_000_000_000, Some(5)), Some(NOW + 1000));
    assert_eq!(board.shown_ms(cursor(9), 1_000_000_000, Some(5)), Some(5));
    assert_eq!(board.shown_ms(cursor(9), 1_000_000_000, None), None);
}

#[test]
fn a_board_that_started_again_has_a_new_clock() {
    let mut board = Board::default();
    board.apply(NOW, online(1, Role::Viewer));
    board.apply(NOW, sample(1, 500_000_000_000, 1));
    board.apply(NOW + 10_000, online(2, Role::Viewer));
    assert_eq!(board.clock().skew(), None);
    board.apply(NOW + 10_000, sample(1, 1_000_000, 2));
    let cursor = Cursor { epoch: 2, seq: 1 };
    assert_eq!(board.shown_ms(cursor, 2_000_000, None), Some(NOW + 10_001));
    assert_eq!(board.metrics().counts().taken, 2);
}

#[test]
fn time_does_not_run_back() {
    let mut board = Board::default();
    board.apply(NOW, sample(1, 0, 1));
    board.apply(NOW - 5000, waiting());
    assert_eq!(board.link().unwrap().since_ms, NOW);
}

#[test]
fn deciding_takes_a_connection_and_a_role() {
    let mut board = Board::default();
    board.apply(NOW, event(1, 1, proposal(1)));
    let decide = |board: &mut Board| board.decide(1, Decision::Approve, NOW, 0);
    assert_eq!(decide(&mut board), Err(DecideError::Offline));
    board.apply(NOW, online(1, Role::Viewer));
    assert_eq!(decide(&mut board), Err(DecideError::Forbidden));
    board.apply(NOW, online(1, Role::Operator));
    assert_eq!(decide(&mut board), Ok(()));
    // What is held is not handed out, to be sent whenever, while the board is away.
    board.apply(NOW, waiting());
    assert_eq!((board.poll_request(NOW), board.next_request_ms()), (None, None));
    board.apply(NOW, online(1, Role::Operator));
    assert_eq!(board.next_request_ms(), Some(NOW));
    assert!(matches!(board.poll_request(NOW), Some((1, _))));
}

#[test]
fn a_decision_is_not_sent_to_a_board_that_started_again() {
    let mut board = Board::default();
    board.apply(NOW, online(1, Role::Operator));
    board.apply(NOW, event(1, 1, proposal(1)));
    board.decide(1, Decision::Approve, NOW, 0).unwrap();
    // Its proposal 1 is another one now.
    board.apply(NOW, online(2, Role::Operator));
    assert_eq!(board.poll_request(NOW), None);
    let again = board.decide(1, Decision::Approve, NOW, 0);
    assert_eq!(again, Err(DecideError::CatchingUp));
    let cursor = Cursor { epoch: 2, seq: 0 };
    board.apply(NOW, Input::Events(Delivery::Bootstrap { cursor, missed: None }));
    board.apply(NOW, event(2, 1, proposal(1)));
    assert_eq!(board.poll_request(NOW), None);
    assert_eq!(board.decide(1, Decision::Approve, NOW, 0), Ok(()));
}

#[test]
fn what_a_board_says_of_itself_is_bounded() {
    let mut board = Board::default();
    let info = Info {
        name: "x".repeat(1 << 20),
        machine: Some("\n".into()),
        cpus: Some(4),
        ..Info::default()
    };
    board.apply(NOW, Input::Info(Box::new(info)));
    let info = board.info().unwrap();
    assert!(info.name.len() <= 128);
    assert_eq!((info.machine.as_deref(), info.cpus), (Some("\\n"), Some(4)));
}
