//! Against a kernel of paper: a `SOCK_SEQPACKET` pair keeps one message a read or write, as the device does.

use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::mpsc as sync;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use sis_protocol::control::{Event, EventKind, Metrics};

use super::*;

/// What the kernel does with each message of one opening, until it hangs up.
type Script = Box<dyn FnMut(Request) -> Vec<Message> + Send>;

/// In a script: hang up here.
const HANG_UP: Message = Message::Unknown;

/// A device each of whose openings is served by `script`.
fn device(script: Script) -> Arc<Opener> {
    let script = Arc::new(Mutex::new(script));
    Arc::new(move || {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        let script = Arc::clone(&script);
        std::thread::spawn(move || serve(&theirs, &script));
        Ok(File::from(ours))
    })
}

fn serve(socket: &OwnedFd, script: &Mutex<Script>) {
    let mut buffer = vec![0; MAX_MESSAGE_BYTES];
    while let Ok(len @ 1..) = rustix::io::read(socket, &mut buffer) {
        let messages = (script.lock().unwrap())(Request::from_cbor(&buffer[..len]).unwrap());
        for message in messages {
            if message == HANG_UP || rustix::io::write(socket, &message.to_cbor()).is_err() {
                return;
            }
        }
    }
}

fn event(seq: u64) -> Message {
    Message::Event(Event {
        seq,
        ts_ns: seq,
        wall_ms: None,
        kind: EventKind::Lost { count: seq },
        kernel_seq: None,
    })
}

fn subscribed(id: u32) -> Message {
    Message::Response {
        id,
        body: ResponseBody::Subscribed {
            oldest_cursor: 0,
            head_cursor: 0,
        },
    }
}

#[tokio::test]
async fn answers_are_matched_and_strange_messages_passed_over() {
    let source = control_with(device(Box::new(|request| {
        let body = match request.body {
            RequestBody::Metrics => ResponseBody::Metrics(Box::new(Metrics {
                uptime_ns: Some(7),
                ..Metrics::default()
            })),
            RequestBody::Subscribe { .. } => return vec![subscribed(request.id)],
            _ => ResponseBody::Mode { on: true },
        };
        let old = Message::Response {
            id: request.id.wrapping_sub(1),
            body: ResponseBody::Done,
        };
        vec![old, event(1), noise(), Message::Response { id: request.id, body }]
    })))
    .unwrap();
    for _ in 0..3 {
        let ResponseBody::Metrics(metrics) = source.ask(RequestBody::Metrics).await else {
            panic!("no metrics")
        };
        assert_eq!(metrics.uptime_ns, Some(7));
        let mode = source.ask(RequestBody::MemApprovalMode { on: None }).await;
        assert_eq!(mode, ResponseBody::Mode { on: true });
    }
}

#[tokio::test]
async fn a_device_that_fails_is_opened_again() {
    let source = control_with(device(Box::new(|request| match request.body {
        RequestBody::MemStatus => vec![HANG_UP],
        RequestBody::Subscribe { .. } => vec![subscribed(request.id)],
        _ => vec![Message::Response {
            id: request.id,
            body: ResponseBody::Done,
        }],
    })))
    .unwrap();
    for _ in 0..3 {
        assert!(matches!(
            source.ask(RequestBody::MemStatus).await,
            ResponseBody::Error(_)
        ));
        assert_eq!(source.ask(RequestBody::SelfCheck).await, ResponseBody::Done);
    }
}

#[tokio::test]
async fn events_go_on_where_they_were_after_a_failure() {
    let (asked, asked_from) = sync::channel();
    let mut source = control_with(device(Box::new(move |request| {
        let RequestBody::Subscribe { after_seq } = request.body else {
            panic!("{request:?}")
        };
        asked.send(after_seq).unwrap();
        match after_seq {
            0 => vec![
                subscribed(request.id),
                event(1),
                event(2),
                Message::Lost { count: 3 },
                event(6),
                noise(),
                event(8),
                HANG_UP,
            ],
            _ => vec![subscribed(request.id), event(9)],
        }
    })))
    .unwrap();
    let mut told = source.take_told().unwrap();
    let mut seen = Vec::new();
    for _ in 0..7 {
        let told = tokio::time::timeout(Duration::from_secs(10), told.recv())
            .await
            .expect("too slow");
        seen.push(match told.unwrap() {
            Told::Event(event) => event.seq,
            Told::Lost(count) => 1000 + count,
            Told::Unnumbered { .. } => panic!("not from this source"),
        });
    }
    assert_eq!(seen, [1, 2, 1003, 6, 1001, 8, 9]);
    assert_eq!(asked_from.try_iter().collect::<Vec<_>>(), [0, 8]);
}

/// A message whose bytes do not decode: longer lists than there may be.
fn noise() -> Message {
    let proposals = std::iter::repeat_with(|| sis_protocol::control::Proposal {
        id: 1,
        kind: sis_protocol::control::ProposalKind::Compaction,
        from: None,
        to: None,
        reason: String::new(),
        risk: 0,
        confidence: 0,
        created_ns: 0,
        expires_ns: 0,
        observation: sis_protocol::control::Observation::default(),
    });
    Message::Response {
        id: 0,
        body: ResponseBody::Approvals(proposals.take(101).collect()),
    }
}

#[test]
fn a_device_that_is_not_there_is_named() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let error = runtime.block_on(async { control(Path::new("/no/such/device")).err().unwrap() });
    assert!(error.to_string().contains("/no/such/device"));
}
