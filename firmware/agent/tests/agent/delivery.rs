//! What arrives: metrics, events without loss across every kind of interruption, commands.

use std::time::Duration;

use crate::support::{Board, numbered, within};
use sis_agent::source::Told;
use sis_client::{Client, Delivery, Identity, LinkState, Output, Subscription};
use sis_protocol::control::{Event, EventKind, Facility, Level, LogRecord};
use sis_protocol::pairing::Role;
use sis_protocol::wire::{ExecCommand, Start};

/// The next event; starts are passed over, a bootstrap fails the test.
async fn next_event(subscription: &mut Subscription) -> Event {
    loop {
        match within("an event", subscription.next())
            .await
            .expect("the client has ended")
        {
            Delivery::Event(event) => return *event,
            Delivery::Started { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

fn kernel_event(seq: u64, kind: EventKind) -> Told {
    Told::Event(Box::new(Event {
        seq,
        ts_ns: seq * 1000,
        wall_ms: None,
        kind,
        kernel_seq: None,
    }))
}

#[tokio::test]
async fn metrics_come_ten_a_second() {
    let board = Board::start();
    let client = board.client(Role::Viewer).await;
    let mut samples = client.metrics();
    let began = std::time::Instant::now();
    let mut last = 0;
    for _ in 0..20 {
        let sample = within("a sample", samples.next()).await.unwrap();
        assert!(sample.seq > last);
        assert_eq!(sample.metrics.cpus.len(), 4);
        assert_eq!(sample.metrics.agent_clients, Some(1));
        last = sample.seq;
    }
    let took = began.elapsed();
    assert!(
        took > Duration::from_millis(1500) && took < Duration::from_secs(6),
        "20 samples took {took:?}"
    );
}

#[tokio::test]
async fn events_and_log_lines_go_to_their_own_topics_in_order() {
    let board = Board::start();
    let client = board.client(Role::Viewer).await;
    let (mut events, mut lines) = (client.events(Start::Newest(0)), client.logs(Start::Oldest));
    assert!(matches!(
        within("the start", events.next()).await,
        Some(Delivery::Started { .. })
    ));
    for seq in 1..=100 {
        let kind = if seq % 2 == 0 {
            let record = LogRecord {
                ts_ns: seq,
                level: Level::Info,
                facility: Facility::Kernel,
                text: format!("line {seq}"),
            };
            EventKind::LogLine(record)
        } else {
            numbered(seq)
        };
        board.kernel.tell.send(kernel_event(seq, kind)).await.unwrap();
    }
    for n in 0..50 {
        let event = next_event(&mut events).await;
        assert_eq!((event.kernel_seq, event.kind), (Some(2 * n + 1), numbered(2 * n + 1)));
        let EventKind::LogLine(line) = next_event(&mut lines).await.kind else {
            panic!("no line")
        };
        assert_eq!(line.text, format!("line {}", 2 * n + 2));
    }
}

#[tokio::test]
async fn no_event_is_lost_when_the_client_goes_and_comes_back_with_its_cursor() {
    let board = Board::start();
    let identity = Identity::generate().unwrap();
    let paired = board.pair(&identity, Role::Viewer).await;
    let (mut cursor, mut seen) = (None, Vec::new());
    for round in 0..5u64 {
        for n in 0..20 {
            board.agent.record(numbered(round * 20 + n));
        }
        let client = Client::connect(&paired, &identity).unwrap();
        let mut events = client.events(cursor.map_or(Start::Oldest, Start::After));
        // Leaves off in the middle of things.
        for _ in 0..17 {
            if let EventKind::Lost { count } = next_event(&mut events).await.kind {
                seen.push(count);
            }
        }
        cursor = events.cursor();
    }
    let client = Client::connect(&paired, &identity).unwrap();
    let mut events = client.events(Start::After(cursor.unwrap()));
    while seen.last() != Some(&99) {
        if let EventKind::Lost { count } = next_event(&mut events).await.kind {
            seen.push(count);
        }
    }
    assert_eq!(seen, (0..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_client_comes_back_by_itself_after_the_agent_was_restarted() {
    let mut board = Board::start();
    let key = board.agent.key_hash();
    let client = board.client(Role::Viewer).await;
    let mut events = client.events(Start::Newest(0));
    assert!(matches!(
        within("the start", events.next()).await,
        Some(Delivery::Started { .. })
    ));
    board.restart().await;
    assert_eq!(board.agent.key_hash(), key, "the key is kept");
    // Events of the time in between, when the client is not there yet.
    board.agent.record(numbered(7));
    assert!(matches!(
        within("the bootstrap", events.next()).await,
        Some(Delivery::Bootstrap { missed: None })
    ));
    loop {
        if next_event(&mut events).await.kind == numbered(7) {
            break;
        }
    }
    assert!(matches!(client.state(), LinkState::Online(_)));
}

#[tokio::test]
async fn several_clients_see_the_same() {
    let board = Board::start();
    let mut clients = Vec::new();
    for _ in 0..5 {
        let client = board.client(Role::Viewer).await;
        clients.push(client.events(Start::Newest(0)));
    }
    for events in &mut clients {
        assert!(matches!(
            within("the start", events.next()).await,
            Some(Delivery::Started { .. })
        ));
    }
    for n in 0..100 {
        board.agent.record(numbered(n));
    }
    for events in &mut clients {
        for n in 0..100 {
            let event = loop {
                let event = next_event(events).await;
                if !matches!(event.kind, EventKind::Paired { .. }) {
                    break event;
                }
            };
            assert_eq!(event.kind, numbered(n));
        }
    }
}

#[tokio::test]
async fn a_slow_client_holds_nobody_up_and_is_told_what_it_missed() {
    let board = Board::start();
    let (slow, fast) = (board.client(Role::Viewer).await, board.client(Role::Viewer).await);
    let mut slow = slow.events(Start::Newest(0));
    let mut fast = fast.events(Start::Newest(0));
    assert!(matches!(
        within("the start", slow.next()).await,
        Some(Delivery::Started { .. })
    ));
    assert!(matches!(
        within("the start", fast.next()).await,
        Some(Delivery::Started { .. })
    ));
    // More than the log keeps; the fast one reads along, the slow one does not.
    let total = 60_000;
    for n in 0..total {
        board.agent.record(EventKind::OomKill {
            pid: n,
            name: "x".repeat(60),
            rss_bytes: None,
        });
        if n % 100 == 99 {
            for k in n - 99..=n {
                let EventKind::OomKill { pid, .. } = next_event(&mut fast).await.kind else {
                    panic!("another event")
                };
                assert_eq!(pid, k);
            }
        }
    }
    let (mut next, mut missed_in_all) = (0, 0);
    while next < total {
        match within("a delivery", slow.next()).await.unwrap() {
            Delivery::Event(event) => {
                let EventKind::OomKill { pid, .. } = event.kind else {
                    panic!("another event")
                };
                assert_eq!(pid, next, "a gap that was not told of");
                next += 1;
            }
            Delivery::Bootstrap { missed } => {
                missed_in_all += missed.unwrap();
                next += u32::try_from(missed.unwrap()).unwrap();
            }
            Delivery::Started { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(
        missed_in_all > 10_000,
        "only {missed_in_all} missed: the slow client was not slow"
    );
}

fn command(line: &str) -> ExecCommand {
    ExecCommand {
        argv: vec!["sh".into(), "-c".into(), line.into()],
        has_stdin: false,
        timeout_ms: None,
    }
}

#[tokio::test]
async fn commands_run_with_output_input_and_status() {
    let board = Board::start();
    let client = board.client(Role::Operator).await;
    let run = async |command| {
        within("a command", client.exec(command).await.unwrap().collect(1 << 20))
            .await
            .unwrap()
    };

    let (out, error, exit) = run(command("echo out; echo err >&2; exit 42")).await;
    assert_eq!(
        (out, error, exit.code),
        (b"out\n".to_vec(), b"err\n".to_vec(), Some(42))
    );
    let (_, _, exit) = run(command("kill -TERM $$")).await;
    assert_eq!((exit.signal, exit.shell_status()), (Some(15), 143));
    let (out, _, _) = run(command("head -c 300000 /dev/zero")).await;
    assert_eq!(out.len(), 300_000);
    // What the command leaves behind does not hold it open, and is ended with it.
    let (_, _, exit) = run(command("sleep 1000 & echo started")).await;
    assert_eq!(exit.code, Some(0));

    let mut exec = client
        .exec(ExecCommand {
            has_stdin: true,
            ..command("cat")
        })
        .await
        .unwrap();
    exec.write_stdin(&vec![b'x'; 50_000]).await.unwrap();
    exec.close_stdin();
    let (out, _, exit) = within("cat", exec.collect(1 << 20)).await.unwrap();
    assert_eq!((out.len(), exit.code), (50_000, Some(0)));

    let missing = client
        .exec(ExecCommand {
            argv: vec!["/no/such".into()],
            has_stdin: false,
            timeout_ms: None,
        })
        .await;
    assert!(missing.is_err_and(|error| error.to_string().contains("/no/such")));
    let timed = client
        .exec(ExecCommand {
            timeout_ms: Some(100),
            ..command("sleep 1000")
        })
        .await
        .unwrap();
    assert!(
        within("the time-out", timed.collect(10))
            .await
            .is_err_and(|error| error.to_string().contains("time"))
    );
}

#[tokio::test]
async fn a_command_ends_with_its_client() {
    let board = Board::start();
    let client = board.client(Role::Operator).await;
    let mut exec = client.exec(command("echo $$; sleep 1000")).await.unwrap();
    let Output::Stdout(pid) = within("the pid", exec.next()).await.unwrap() else {
        panic!("no output")
    };
    let pid = String::from_utf8(pid).unwrap().trim().to_owned();
    let process = std::path::PathBuf::from(format!("/proc/{pid}"));
    assert!(process.exists());
    drop(exec);
    let gone = async {
        while std::fs::read_to_string(process.join("stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("the command's end", gone).await;
    // And a place for another is free again.
    for _ in 0..20 {
        within("a command", client.exec(command("true")).await.unwrap().collect(10))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_closed_client_is_gone_at_once() {
    let board = Board::start();
    let (watcher, client) = (board.client(Role::Viewer).await, board.client(Role::Viewer).await);
    let mut events = client.events(Start::Newest(0));
    assert!(matches!(
        within("the start", events.next()).await,
        Some(Delivery::Started { .. })
    ));
    client.close().await;
    assert_eq!(within("the end of the stream", events.next()).await, None);
    let gone = async {
        while watcher.metrics_once().await.unwrap().agent_clients != Some(1) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(3), gone)
        .await
        .expect("the board did not hear of it");
}
