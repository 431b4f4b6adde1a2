//! Inputs of every kind.

use proptest::prelude::*;
use sis_protocol::control::{
    CpuTimes, ErrorCode, Event, EventKind, Facility, Failure, Level, LogRecord, Metrics, Observation, Outcome,
    OutcomeStatus, Proposal, ProposalKind, ResponseBody, Verdict,
};
use sis_protocol::hello::Hello;
use sis_protocol::pairing::Role;
use sis_protocol::wire::{Cursor, Info, Welcome};

use crate::input::{Delivery, Input, Link};

pub(super) const NOW: u64 = 1_700_000_000_000;

fn proposal(id: u64) -> Proposal {
    Proposal {
        id,
        kind: ProposalKind::Compaction,
        from: None,
        to: None,
        reason: "why\n".into(),
        risk: 500,
        confidence: 700,
        created_ns: 1,
        expires_ns: 2,
        observation: Observation::default(),
    }
}

fn outcome(id: u64) -> Outcome {
    Outcome {
        id,
        status: OutcomeStatus::Skipped,
        kind: ProposalKind::Compaction,
        from: None,
        to: None,
        decided_by: Some("laptop".into()),
        reason: String::new(),
        before: None,
        after: None,
        ts_ns: 3,
    }
}

fn kind() -> impl Strategy<Value = EventKind> {
    let id = 1..6_u64;
    prop_oneof![
        Just(EventKind::Unknown),
        id.clone().prop_map(|id| EventKind::Proposal(proposal(id))),
        (id.clone(), 0..6_u32).prop_map(|(id, verdict)| EventKind::ApprovalDecided {
            id,
            by: None,
            verdict: Verdict::from_number(verdict),
        }),
        id.prop_map(|id| EventKind::Outcome(outcome(id))),
        (0..9_u32, "\\PC{0,8}").prop_map(|(level, text)| {
            EventKind::LogLine(LogRecord {
                ts_ns: 7,
                level: Level::from_number(level),
                facility: Facility::from_number(level),
                text,
            })
        }),
    ]
}

fn delivery() -> impl Strategy<Value = Delivery> {
    let cursor = || (1..4_u64, 0..20_u64).prop_map(|(epoch, seq)| Cursor { epoch, seq });
    let event = (cursor(), kind()).prop_map(|(Cursor { epoch, seq }, kind)| {
        let event = Event {
            seq,
            ts_ns: seq,
            wall_ms: Some(seq),
            kind,
            kernel_seq: None,
        };
        Delivery::Event {
            epoch,
            event: Box::new(event),
        }
    });
    let failure = Failure {
        code: ErrorCode::Busy,
        message: "later".into(),
    };
    prop_oneof![
        1 => Just(Delivery::Unknown),
        2 => (cursor(), 0..30_u64).prop_map(|(after, head_seq)| Delivery::Started { after, head_seq }),
        8 => event,
        1 => cursor().prop_map(|cursor| Delivery::Bootstrap { cursor, missed: Some(cursor.seq) }),
        1 => Just(Delivery::Refused(failure)),
    ]
}

fn link() -> impl Strategy<Value = Link> {
    let online = (1..3_u64, 0..3_u16).prop_map(|(epoch, minor)| {
        let mut hello = Hello::new("sis-agent");
        hello.protocol_minor = minor;
        Link::Online(Box::new(Welcome {
            hello,
            role: Role::Owner,
            client_name: "laptop".into(),
            epoch,
            has_control: minor == 0,
        }))
    });
    prop_oneof![
        Just(Link::Unknown),
        (0..9_u32).prop_map(|attempt| Link::Connecting { attempt }),
        online,
        (0..9_u64).prop_map(|retry_in_ms| Link::Waiting {
            retry_in_ms,
            reason: "cut".into()
        }),
        Just(Link::Refused { reason: "no".into() }),
    ]
}

/// An input, with times of the board within an hour of its boot.
pub(super) fn input() -> impl Strategy<Value = Input> {
    let board_ns = 0..3_600_000_000_000_u64;
    let sample = (1..40_u64, board_ns.clone(), any::<u64>()).prop_map(|(seq, ts_ns, value)| Input::Sample {
        seq,
        ts_ns,
        metrics: Box::new(Metrics {
            mem_free_bytes: Some(value),
            interrupts: Some(value),
            cpus: vec![CpuTimes {
                user_ns: value % 1000,
                idle_ns: ts_ns,
                ..CpuTimes::default()
            }],
            ..Metrics::default()
        }),
    });
    let answer = prop_oneof![
        prop::collection::vec((1..6_u64).prop_map(proposal), 0..4).prop_map(ResponseBody::Approvals),
        prop::collection::vec((1..6_u64).prop_map(outcome), 0..4).prop_map(ResponseBody::History),
        Just(ResponseBody::Unknown),
        Just(ResponseBody::Done),
    ];
    let info = "\\PC{0,8}".prop_map(|name| {
        Input::Info(Box::new(Info {
            name,
            ..Info::default()
        }))
    });
    let round_trip = (0..10_000_u64, 0..50_u64, board_ns).prop_map(|(at, took_ms, board_ns)| Input::RoundTrip {
        sent_ms: NOW + at,
        received_ms: NOW + at + took_ms,
        board_ns,
    });
    prop_oneof![
        1 => Just(Input::Unknown),
        2 => link().prop_map(Input::Link),
        6 => delivery().prop_map(Input::Events),
        4 => delivery().prop_map(Input::Logs),
        6 => sample,
        2 => answer.prop_map(Input::Answer),
        1 => info,
        1 => round_trip,
    ]
}

/// Inputs and their times, which now and then run back a little.
pub(super) fn inputs() -> impl Strategy<Value = Vec<(u64, Input)>> {
    let steps = prop::collection::vec((0..400_u64, input()), 0..60);
    steps.prop_map(|steps| {
        let mut at_ms = NOW;
        let timed = steps.into_iter().map(|(step, input)| {
            at_ms = (at_ms + step).saturating_sub(50).max(NOW);
            (at_ms, input)
        });
        timed.collect()
    })
}
