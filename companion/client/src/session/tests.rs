use sis_protocol::control::{ErrorCode, Event, EventKind, Failure, Metrics};
use sis_protocol::pairing::Role;
use sis_protocol::wire::{AgentBody, AgentRequest, Cursor, EventFrame, split};

use super::*;

pub(super) fn welcome(epoch: u64) -> Welcome {
    Welcome {
        hello: Hello::new("agent"),
        role: Role::Viewer,
        client_name: "me".into(),
        epoch,
        has_control: true,
    }
}

fn outputs(session: &mut Session) -> Vec<Output> {
    std::iter::from_fn(|| session.poll()).collect()
}

/// The stream that was opened with this frame.
fn opened(outputs: &[Output]) -> Vec<(StreamId, Open)> {
    let open = |output: &Output| match output {
        Output::OpenStream { stream, bytes, .. } => {
            let mut reader = frame::Reader::new(1 << 16);
            reader.feed(bytes);
            Some((*stream, reader.next_open().unwrap().unwrap()))
        }
        _ => None,
    };
    outputs.iter().filter_map(open).collect()
}

fn session() -> Session {
    Session::new(Hello::new("client"), 42)
}

fn online() -> Session {
    let mut session = session();
    session.start();
    session.on_connected(0);
    let [(stream, Open::Hello(_))] = opened(&outputs(&mut session))[..] else {
        panic!("no greeting")
    };
    session.on_stream_bytes(0, stream, &frame::encode(&Opened::Welcome(welcome(1))));
    let [Output::State(LinkState::Online(_))] = outputs(&mut session)[..] else {
        panic!("not online")
    };
    session
}

fn lost(reason: &str) -> Disconnect {
    Disconnect {
        code: None,
        reason: reason.to_owned(),
    }
}

fn event(seq: u64) -> EventFrame {
    EventFrame::Event(Event {
        seq,
        ts_ns: 0,
        wall_ms: None,
        kind: EventKind::Lost { count: seq },
        kernel_seq: None,
    })
}

fn started(seq: u64) -> Vec<u8> {
    let mut bytes = frame::encode(&Opened::Ready);
    frame::push(
        &mut bytes,
        &EventFrame::Started {
            after: Cursor { epoch: 1, seq },
            head_seq: seq,
        },
    );
    bytes
}

/// An online session with one subscription that has begun after `seq`.
fn subscribed(seq: u64) -> (Session, SubscriptionId, StreamId) {
    let mut session = online();
    let id = session.subscribe(Topic::Events, Start::Newest(0));
    let [(stream, Open::Subscribe { .. })] = opened(&outputs(&mut session))[..] else {
        panic!("not opened")
    };
    session.on_stream_bytes(0, stream, &started(seq));
    let [Output::Started { .. }] = outputs(&mut session)[..] else {
        panic!("not started")
    };
    (session, id, stream)
}

#[test]
fn waits_grow_jitter_and_are_bounded() {
    let mut session = session();
    session.start();
    outputs(&mut session);
    let mut now_ms = 0;
    let mut waits = Vec::new();
    for _ in 0..12 {
        session.on_disconnected(now_ms, &lost("gone"));
        let at = session.next_timeout_ms().unwrap();
        waits.push(at - now_ms);
        session.on_timeout(at - 1);
        assert!(!outputs(&mut session).contains(&Output::Connect), "too early");
        session.on_timeout(at);
        assert!(outputs(&mut session).contains(&Output::Connect));
        now_ms = at;
    }
    assert!((100..=200).contains(&waits[0]), "{waits:?}");
    assert!(
        waits[11] >= 5000 && waits.iter().all(|wait| *wait <= 10_000),
        "{waits:?}"
    );
    let mut other = Session::new(Hello::new("client"), 43);
    other.start();
    other.on_disconnected(0, &lost("gone"));
    assert_ne!(other.next_timeout_ms(), Some(waits[0]), "no jitter");
}

#[test]
fn what_a_person_must_change_is_not_tried_again() {
    for code in [
        CloseCode::NotPaired,
        CloseCode::VersionMismatch,
        CloseCode::NoCertificate,
    ] {
        let mut session = session();
        session.start();
        session.on_connected(0);
        let why = Disconnect {
            code: Some(u64::from(code.code())),
            reason: "no".into(),
        };
        session.on_disconnected(0, &why);
        assert_eq!(session.next_timeout_ms(), None);
        assert!(outputs(&mut session).contains(&Output::State(LinkState::Refused { reason: "no".into() })));
        session.retry();
        assert!(outputs(&mut session).contains(&Output::Connect));
    }
}

#[test]
fn a_board_of_another_major_version_is_refused_with_a_sentence() {
    let mut session = session();
    session.start();
    session.on_connected(0);
    let [(stream, _)] = opened(&outputs(&mut session))[..] else {
        panic!("no greeting")
    };
    let mut other = welcome(1);
    other.hello.protocol_major += 1;
    session.on_stream_bytes(0, stream, &frame::encode(&Opened::Welcome(other)));
    let outputs = outputs(&mut session);
    assert!(matches!(&outputs[0], Output::Disconnect(CloseCode::Done)));
    assert!(matches!(&outputs[1], Output::State(LinkState::Refused { reason }) if reason.contains("update")));
}

#[test]
fn a_board_that_does_not_greet_is_given_up_in_time() {
    let mut session = session();
    session.start();
    session.on_connected(1000);
    outputs(&mut session);
    let at = session.next_timeout_ms().unwrap();
    assert_eq!(at, 11_000);
    session.on_timeout(at);
    assert!(outputs(&mut session).contains(&Output::Disconnect(CloseCode::ProtocolError)));
    assert!(session.next_timeout_ms().is_some());
}

#[test]
fn nonsense_ends_the_connection_and_is_tried_again() {
    let greeting_nonsense = [&[0xff; 8][..], &[0, 0, 0, 1, 0xff], &frame::encode(&Opened::Ready)];
    for bytes in greeting_nonsense {
        let mut session = session();
        session.start();
        session.on_connected(0);
        let [(stream, _)] = opened(&outputs(&mut session))[..] else {
            panic!("no greeting")
        };
        session.on_stream_bytes(0, stream, bytes);
        assert!(outputs(&mut session).contains(&Output::Disconnect(CloseCode::ProtocolError)));
        assert!(session.next_timeout_ms().is_some());
    }
    let (mut session, _, stream) = subscribed(5);
    session.on_stream_bytes(
        0,
        stream,
        &frame::encode(&AgentRequest {
            id: 1,
            body: AgentBody::Info,
        }),
    );
    assert!(outputs(&mut session).contains(&Output::Disconnect(CloseCode::ProtocolError)));
}

#[test]
fn a_repeat_is_dropped_and_a_gap_is_asked_for() {
    let (mut session, id, stream) = subscribed(5);
    for seq in [6, 6, 5, 7] {
        session.on_stream_bytes(0, stream, &frame::encode(&event(seq)));
    }
    let seen: Vec<_> = outputs(&mut session)
        .into_iter()
        .map(|output| match output {
            Output::Event {
                subscription, cursor, ..
            } if subscription == id => cursor.seq,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(seen, [6, 7]);
    session.on_stream_bytes(0, stream, &frame::encode(&event(9)));
    let outputs = outputs(&mut session);
    assert!(outputs.contains(&Output::CloseStream(stream)));
    let [(_, Open::Subscribe { start, .. })] = opened(&outputs)[..] else {
        panic!("not asked for")
    };
    assert_eq!(start, Start::After(Cursor { epoch: 1, seq: 7 }));
}

#[test]
fn a_subscription_is_opened_again_at_its_cursor() {
    let (mut session, _, stream) = subscribed(5);
    session.on_stream_bytes(0, stream, &frame::encode(&event(6)));
    session.on_disconnected(0, &lost("gone"));
    // What was on its way from the old connection is not taken.
    session.on_stream_bytes(0, stream, &frame::encode(&event(7)));
    let at = session.next_timeout_ms().unwrap();
    session.on_timeout(at);
    session.on_connected(at);
    let greeting = opened(&outputs(&mut session)).pop().unwrap().0;
    session.on_stream_bytes(at, greeting, &frame::encode(&Opened::Welcome(welcome(1))));
    let [(_, Open::Subscribe { start, .. })] = opened(&outputs(&mut session))[..] else {
        panic!("not opened")
    };
    assert_eq!(start, Start::After(Cursor { epoch: 1, seq: 6 }));
}

#[test]
fn a_board_that_starts_elsewhere_is_not_believed() {
    let (mut session, _, stream) = subscribed(5);
    session.on_stream_end(0, stream);
    let [(stream, _)] = opened(&outputs(&mut session))[..] else {
        panic!("not opened again")
    };
    session.on_stream_bytes(0, stream, &started(9));
    assert!(outputs(&mut session).contains(&Output::Disconnect(CloseCode::ProtocolError)));
}

#[test]
fn a_stream_that_ends_again_and_again_ends_the_connection() {
    let (mut session, _, mut stream) = subscribed(5);
    let mut count = 0;
    loop {
        session.on_stream_end(0, stream);
        let outputs = outputs(&mut session);
        if outputs.contains(&Output::Disconnect(CloseCode::ProtocolError)) {
            break;
        }
        stream = opened(&outputs)[0].0;
        count += 1;
        assert!(count < 20, "it would go on for ever");
    }
}

#[test]
fn a_refused_subscription_is_over_and_the_rest_goes_on() {
    let mut session = online();
    let id = session.subscribe(Topic::Unknown(9), Start::Oldest);
    let [(stream, _)] = opened(&outputs(&mut session))[..] else {
        panic!("not opened")
    };
    let failure = Failure {
        code: ErrorCode::Unsupported,
        message: "no".into(),
    };
    session.on_stream_bytes(0, stream, &frame::encode(&Opened::Refused(failure.clone())));
    let refused = Output::SubscriptionRefused {
        subscription: id,
        failure,
    };
    assert_eq!(outputs(&mut session), [refused, Output::CloseStream(stream)]);
    session.subscribe(Topic::Events, Start::Oldest);
    assert_eq!(opened(&outputs(&mut session)).len(), 1);
}

#[test]
fn samples_are_asked_for_while_somebody_wants_them() {
    let mut session = online();
    session.set_metrics(true);
    let [(stream, Open::Metrics)] = opened(&outputs(&mut session))[..] else {
        panic!("not asked for")
    };
    session.on_stream_bytes(0, stream, &frame::encode(&Opened::Ready));
    for seq in [1, 4, 2] {
        for datagram in split(seq, 0, &Metrics::default(), 1200) {
            session.on_datagram(&datagram);
        }
    }
    session.on_datagram(b"noise");
    let lost: Vec<_> = outputs(&mut session)
        .into_iter()
        .map(|output| match output {
            Output::Sample(sample) => (sample.seq, sample.lost_before),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(lost, [(1, 0), (4, 2)]);
    session.set_metrics(false);
    assert_eq!(outputs(&mut session), [Output::CloseStream(stream)]);
}

#[test]
fn an_ended_subscription_is_closed() {
    let (mut session, id, stream) = subscribed(5);
    session.unsubscribe(id);
    assert_eq!(outputs(&mut session), [Output::CloseStream(stream)]);
    session.on_stream_bytes(0, stream, &frame::encode(&event(6)));
    assert_eq!(outputs(&mut session), []);
}
