//! The session against a model of the agent over a link that chops, delays, cuts and restarts: nothing is lost, nothing comes twice.

use std::collections::VecDeque;

use proptest::prelude::*;
use sis_protocol::control::{Event, EventKind};
use sis_protocol::wire::{Cursor, EventFrame};

use super::*;

/// So many events the model keeps.
const KEPT: u64 = 30;

#[derive(Debug, Clone)]
enum Step {
    /// Events happen on the board.
    Happen(u64),
    /// The agent fills its streams, so many events each.
    Serve(u64),
    /// So many bytes of each stream arrive.
    Arrive(usize),
    /// The connection is lost, with everything on its way.
    Cut,
    /// The agent is restarted: its log begins anew.
    Restart,
    /// Time passes.
    Pass(u64),
    /// A connection that is asked for comes about (or not).
    Connect(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..20u64).prop_map(Step::Happen),
        6 => (0..30u64).prop_map(Step::Serve),
        8 => (0..400usize).prop_map(Step::Arrive),
        1 => Just(Step::Cut),
        1 => Just(Step::Restart),
        3 => (0..3000u64).prop_map(Step::Pass),
        5 => prop::bool::weighted(0.8).prop_map(Step::Connect),
    ]
}

/// One stream, seen from the agent.
struct ServerStream {
    id: StreamId,
    purpose: Purpose,
    on_the_way: VecDeque<u8>,
    is_finished: bool,
}

enum Purpose {
    Greeting,
    Log { at: u64 },
}

struct Model {
    session: Session,
    now_ms: u64,
    wants_connection: bool,
    is_connected: bool,
    connected_at_ms: u64,
    epoch: u64,
    head: u64,
    streams: Vec<ServerStream>,
    cursor: Option<Cursor>,
    bootstraps: u64,
}

fn event(epoch: u64, seq: u64) -> Event {
    Event {
        seq,
        ts_ns: epoch,
        wall_ms: None,
        kind: EventKind::Lost {
            count: epoch * 1_000_000 + seq,
        },
        kernel_seq: None,
    }
}

impl Model {
    fn new(seed: u64, start: Start) -> Self {
        let mut session = Session::new(Hello::new("client"), seed);
        session.subscribe(Topic::Events, start);
        session.start();
        let mut model = Self {
            session,
            now_ms: 0,
            wants_connection: false,
            is_connected: false,
            connected_at_ms: 0,
            epoch: 1,
            head: 0,
            streams: Vec::new(),
            cursor: None,
            bootstraps: 0,
        };
        model.take_outputs();
        model
    }

    const fn oldest(&self) -> u64 {
        self.head.saturating_sub(KEPT)
    }

    fn take_outputs(&mut self) {
        while let Some(output) = self.session.poll() {
            match output {
                Output::Connect => self.wants_connection = true,
                // The one reason to give a connection up: its greeting stays unanswered for too long.
                Output::Disconnect(code) => {
                    let is_greeting = self.streams.iter().any(|s| matches!(s.purpose, Purpose::Greeting));
                    let is_overdue = self.now_ms >= self.connected_at_ms + 10_000;
                    assert!(is_greeting && is_overdue, "the session gives up: {code:?}");
                    self.streams.clear();
                    self.is_connected = false;
                }
                Output::OpenStream { stream, bytes, .. } => self.accept(stream, &bytes),
                Output::CloseStream(stream) => self.streams.retain(|other| other.id != stream),
                Output::State(LinkState::Refused { reason }) => panic!("{reason}"),
                Output::State(_) | Output::Sample(_) => {}
                Output::Started { cursor, .. } => match self.cursor {
                    Some(before) => assert_eq!(cursor, before, "started elsewhere"),
                    None => self.cursor = Some(cursor),
                },
                Output::Event {
                    cursor,
                    event: delivered,
                    ..
                } => {
                    let before = self.cursor.expect("an event before the start");
                    assert_eq!(
                        cursor,
                        Cursor {
                            epoch: before.epoch,
                            seq: before.seq + 1
                        },
                        "a gap or a repeat"
                    );
                    assert_eq!(*delivered, event(cursor.epoch, cursor.seq), "another event");
                    self.cursor = Some(cursor);
                }
                Output::Bootstrap { missed, cursor, .. } => {
                    let before = self.cursor.expect("a bootstrap before the start");
                    match missed {
                        Some(missed) => assert_eq!((before.epoch, before.seq + missed), (cursor.epoch, cursor.seq)),
                        None => assert_ne!(before.epoch, cursor.epoch, "a loss of unknown size in one life"),
                    }
                    self.cursor = Some(cursor);
                    self.bootstraps += 1;
                }
                Output::SubscriptionRefused { failure, .. } => panic!("{failure}"),
            }
        }
    }

    fn accept(&mut self, id: StreamId, bytes: &[u8]) {
        let mut reader = frame::Reader::new(1 << 16);
        reader.feed(bytes);
        let mut out = Vec::new();
        let mut is_finished = false;
        let purpose = match reader.next_open::<Open>().unwrap().unwrap() {
            Open::Hello(_) => {
                frame::push(&mut out, &Opened::Welcome(super::tests::welcome(self.epoch)));
                is_finished = true;
                Purpose::Greeting
            }
            Open::Subscribe { start, .. } => {
                frame::push(&mut out, &Opened::Ready);
                let at = match start {
                    Start::Oldest => Some(self.oldest()),
                    Start::Newest(n) => Some(self.head.saturating_sub(u64::from(n)).max(self.oldest())),
                    Start::After(cursor)
                        if cursor.epoch == self.epoch && (self.oldest()..=self.head).contains(&cursor.seq) =>
                    {
                        Some(cursor.seq)
                    }
                    _ => None,
                };
                match at {
                    Some(at) => {
                        let after = Cursor {
                            epoch: self.epoch,
                            seq: at,
                        };
                        frame::push(
                            &mut out,
                            &EventFrame::Started {
                                after,
                                head_seq: self.head,
                            },
                        );
                    }
                    None => {
                        frame::push(&mut out, &self.stale());
                        is_finished = true;
                    }
                }
                Purpose::Log {
                    at: at.unwrap_or_default(),
                }
            }
            other => panic!("{other:?}"),
        };
        self.streams.push(ServerStream {
            id,
            purpose,
            on_the_way: out.into(),
            is_finished,
        });
    }

    const fn stale(&self) -> EventFrame {
        let oldest = Cursor {
            epoch: self.epoch,
            seq: self.oldest(),
        };
        EventFrame::StaleCursor {
            oldest,
            head_seq: self.head,
        }
    }

    fn serve(&mut self, batch: u64) {
        let (oldest, head, epoch, stale) = (self.oldest(), self.head, self.epoch, frame::encode(&self.stale()));
        for stream in self.streams.iter_mut().filter(|stream| !stream.is_finished) {
            let Purpose::Log { at } = &mut stream.purpose else {
                continue;
            };
            if *at < oldest {
                stream.on_the_way.extend(&stale);
                stream.is_finished = true;
                continue;
            }
            let last = head.min(*at + batch);
            for seq in *at + 1..=last {
                stream
                    .on_the_way
                    .extend(frame::encode(&EventFrame::Event(event(epoch, seq))));
            }
            *at = last;
        }
    }

    fn arrive(&mut self, count: usize) {
        let ids: Vec<_> = self.streams.iter().map(|stream| stream.id).collect();
        for id in ids {
            let Some(stream) = self.streams.iter_mut().find(|stream| stream.id == id) else {
                continue;
            };
            let count = count.min(stream.on_the_way.len());
            let bytes: Vec<u8> = stream.on_the_way.drain(..count).collect();
            let is_over = stream.is_finished && stream.on_the_way.is_empty();
            if !bytes.is_empty() {
                self.session.on_stream_bytes(self.now_ms, id, &bytes);
                self.take_outputs();
            }
            if is_over {
                self.streams.retain(|stream| stream.id != id);
                self.session.on_stream_end(self.now_ms, id);
                self.take_outputs();
            }
        }
    }

    fn cut(&mut self) {
        self.streams.clear();
        if std::mem::take(&mut self.is_connected) {
            let why = Disconnect {
                code: None,
                reason: "cut".into(),
            };
            self.session.on_disconnected(self.now_ms, &why);
            self.take_outputs();
        }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Happen(count) => self.head += count,
            Step::Serve(batch) => self.serve(batch),
            Step::Arrive(count) => self.arrive(count),
            Step::Cut => self.cut(),
            Step::Restart => {
                self.epoch += 1;
                self.head = 0;
                self.cut();
            }
            Step::Pass(ms) => {
                self.now_ms += ms;
                self.session.on_timeout(self.now_ms);
                self.take_outputs();
                // A greeting that took too long has ended the connection.
            }
            Step::Connect(comes_about) => {
                if !std::mem::take(&mut self.wants_connection) {
                    return;
                }
                if comes_about {
                    self.is_connected = true;
                    self.connected_at_ms = self.now_ms;
                    self.session.on_connected(self.now_ms);
                } else {
                    let why = Disconnect {
                        code: None,
                        reason: "no answer".into(),
                    };
                    self.session.on_disconnected(self.now_ms, &why);
                }
                self.take_outputs();
            }
        }
    }

    /// A good link for long enough.
    fn settle(&mut self) {
        for _ in 0..200 {
            if self
                .session
                .next_timeout_ms()
                .is_some_and(|at| !self.is_connected && at > self.now_ms)
            {
                self.take(&Step::Pass(10_000));
            }
            for step in [Step::Connect(true), Step::Serve(100), Step::Arrive(usize::MAX)] {
                self.take(&step);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn nothing_is_lost_and_nothing_comes_twice(
        seed: u64,
        start in prop_oneof![Just(Start::Oldest), Just(Start::Newest(0)), Just(Start::Newest(7))],
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let mut model = Model::new(seed, start);
        for step in &steps {
            model.take(step);
        }
        model.settle();
        prop_assert_eq!(model.cursor, Some(Cursor { epoch: model.epoch, seq: model.head }));
        let losses = steps.iter().filter(|step| matches!(step, Step::Restart)).count();
        let happened: u64 = steps.iter().map(|step| if let Step::Happen(count) = step { *count } else { 0 }).sum();
        if losses == 0 && happened <= KEPT {
            prop_assert_eq!(model.bootstraps, 0, "a bootstrap without a loss");
        }
    }
}
