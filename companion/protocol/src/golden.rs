//! Golden fixtures: what known values look like as bytes, in `tests/golden/*.hex`.
//!
//! A test here fails when the encoding of a known value changes: other programs, older and newer, rely on it. A new field needs no change
//! of a fixture; it needs a new fixture. `SIS_BLESS=1` writes fixtures that are not there yet, and none that are.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec;
use std::path::PathBuf;
use std::{env, format, fs};

use minicbor::{Decode, Encode};

use crate::codec::{self, Lenient, Unknown};
use crate::control::{
    CheckResult, Counts, ErrorCode, EventKind, Facility, Failure, FaultStats, Level, LogRecord, MemStatus, Message,
    Request, RequestBody, ResponseBody, Selection, Strategy, Verdict,
};
use crate::pairing::{KeyHash, Role};
use crate::wire::{
    AgentBody, AgentRequest, AgentResponse, AgentResponseBody, Cursor, EventFrame, ExecCommand, ExecInput, ExecOutput,
    Info, MetricsDatagram, Open, Opened, PairedClient, PendingUpdate, PowerAction, Start, Topic, UpdateInput,
    UpdateOutcome, UpdateOutput, UpdateStatus, UpdateStep, Welcome,
};

mod samples;

use samples::{event, hello, metrics, observation, outcome, proposal};

fn to_hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for line in bytes.chunks(40) {
        for byte in line {
            text += &format!("{byte:02x}");
        }
        text.push('\n');
    }
    text
}

fn from_hex(text: &str) -> vec::Vec<u8> {
    let digits: vec::Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap())
        .collect()
}

/// Encodes to exactly the fixture, and the fixture decodes to the value.
fn check<T>(name: &str, value: &T)
where
    T: Encode<()> + PartialEq + core::fmt::Debug + for<'b> Decode<'b, ()>,
{
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(format!("{name}.hex"));
    let hex = to_hex(&codec::to_vec(value));
    if !path.exists() && env::var_os("SIS_BLESS").is_some() {
        fs::write(&path, &hex).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_else(|_| panic!("{} is missing: SIS_BLESS=1", path.display()));
    assert_eq!(golden, hex, "{name}: the encoding of a known value has changed");
    let decoded: T = codec::from_slice(&from_hex(&golden), 1 << 20).unwrap();
    assert_eq!(&decoded, value, "{name}");
}

fn check_open<T>(name: &str, value: &T)
where
    T: Encode<()> + PartialEq + core::fmt::Debug + for<'b> Decode<'b, ()> + Unknown,
{
    check(name, value);
    let decoded = codec::from_slice::<Lenient<T>>(&codec::to_vec(value), 1 << 20)
        .unwrap()
        .0;
    assert_eq!(&decoded, value, "{name}");
}

#[test]
fn requests() {
    let bodies = [
        ("hello", RequestBody::Hello(hello())),
        ("metrics", RequestBody::Metrics),
        ("subscribe", RequestBody::Subscribe { after_seq: 300 }),
        ("unsubscribe", RequestBody::Unsubscribe),
        ("log_tail", RequestBody::LogTail { max: 100 }),
        ("mem_status", RequestBody::MemStatus),
        ("mem_approvals", RequestBody::MemApprovals),
        ("mem_approval_mode_on", RequestBody::MemApprovalMode { on: Some(true) }),
        ("mem_approval_mode_ask", RequestBody::MemApprovalMode { on: None }),
        (
            "mem_approve_ids",
            RequestBody::MemApprove {
                which: Selection::Ids(vec![1, 2, 70_000]),
                by: None,
            },
        ),
        (
            "mem_approve_oldest",
            RequestBody::MemApprove {
                which: Selection::Oldest(3),
                by: Some("desk".into()),
            },
        ),
        (
            "mem_reject_all",
            RequestBody::MemReject {
                which: Selection::All,
                by: None,
            },
        ),
        ("mem_query_mode", RequestBody::MemQueryMode { on: Some(false) }),
        ("mem_history", RequestBody::MemHistory { max: 10 }),
        (
            "mem_set_strategy",
            RequestBody::MemSetStrategy {
                strategy: Strategy::Aggressive,
            },
        ),
        ("self_check", RequestBody::SelfCheck),
        (
            "restart_argument",
            RequestBody::RestartArgument {
                argument: "0 tryboot".into(),
            },
        ),
        ("autonomy_status", RequestBody::AutonomyStatus),
    ];
    for (name, body) in bodies {
        check(&format!("request_{name}"), &Request { id: 5, body });
    }
}

#[test]
fn messages() {
    let status = MemStatus {
        strategy: Strategy::Balanced,
        approval_mode: true,
        query_mode: false,
        pending: 1,
        observation: observation(),
        total_pages: 131_072,
        low_watermark_pages: Some(512),
        high_watermark_pages: Some(1024),
        zero_pool_target_pages: Some(64),
        proposed: Some(5),
        executed: Some(1),
        skipped: Some(1),
        failed: Some(0),
        rejected: Some(1),
        expired: Some(1),
        faults: Some(FaultStats {
            samples: 1,
            mean_ns: 2,
            p99_ns: 3,
        }),
    };
    let line = LogRecord {
        ts_ns: 5,
        level: Level::Warning,
        facility: Facility::Kernel,
        text: "virtio: no device".into(),
    };
    let check_result = CheckResult {
        name: "memory".into(),
        failure: Some("2 pages leaked".into()),
        duration_ns: None,
    };
    let failure = Failure {
        code: ErrorCode::Busy,
        message: "try again".into(),
    };
    let bodies = [
        ("error", ResponseBody::Error(failure)),
        ("hello", ResponseBody::Hello(hello())),
        ("metrics", ResponseBody::Metrics(Box::new(metrics()))),
        (
            "subscribed",
            ResponseBody::Subscribed {
                oldest_cursor: 3,
                head_cursor: 900,
            },
        ),
        ("log_tail", ResponseBody::LogTail(vec![line.clone()])),
        ("mem_status", ResponseBody::MemStatus(Box::new(status))),
        ("approvals", ResponseBody::Approvals(vec![proposal()])),
        ("mode", ResponseBody::Mode { on: true }),
        (
            "decided",
            ResponseBody::Decided(Counts {
                executed: 1,
                skipped: 2,
                failed: 3,
                rejected: 4,
                not_found: 5,
            }),
        ),
        ("history", ResponseBody::History(vec![outcome()])),
        ("self_check", ResponseBody::SelfCheck(vec![check_result])),
        (
            "autonomy",
            ResponseBody::Autonomy(crate::control::AutonomyStatus::default()),
        ),
        ("done", ResponseBody::Done),
    ];
    for (name, body) in bodies {
        check_open(&format!("response_{name}"), &Message::Response { id: 5, body });
    }
    let crash = EventKind::ProcessCrash {
        pid: 9,
        name: "sh".into(),
        signal: 11,
        fault_address: Some(0),
        pc: Some(0x40_0000),
    };
    let boot = EventKind::Boot {
        release: "6.1.0-sis".into(),
        board: "qemu-virt".into(),
        cpus: 4,
        mem_total_bytes: 512 << 20,
        build_id: Some("abc".into()),
        boot_time_ns: Some(70_000_000),
    };
    let kinds = [
        ("log_line", EventKind::LogLine(line)),
        ("proposal", EventKind::Proposal(proposal())),
        (
            "approval_decided",
            EventKind::ApprovalDecided {
                id: 7,
                by: Some("desk".into()),
                verdict: Verdict::Approved,
            },
        ),
        ("outcome", EventKind::Outcome(outcome())),
        (
            "oom_kill",
            EventKind::OomKill {
                pid: 9,
                name: "sh".into(),
                rss_bytes: Some(4096),
            },
        ),
        ("process_crash", crash),
        ("boot", boot),
        (
            "strategy_changed",
            EventKind::StrategyChanged {
                from: Strategy::Balanced,
                to: Strategy::Aggressive,
            },
        ),
        ("lost", EventKind::Lost { count: 4 }),
        (
            "paired",
            EventKind::Paired {
                name: "desk".into(),
                role: 3,
            },
        ),
        ("unpaired", EventKind::Unpaired { name: "desk".into() }),
        (
            "agent_started",
            EventKind::AgentStarted {
                software: "sis-agent 0.1.0".into(),
            },
        ),
    ];
    for (name, kind) in kinds {
        check_open(&format!("event_{name}"), &Message::Event(event(8, kind)));
    }
    check_open("lost", &Message::Lost { count: 12 });
}

#[test]
fn streams() {
    let cursor = Cursor {
        epoch: 0x1122_3344_5566_7788,
        seq: 77,
    };
    let command = ExecCommand {
        argv: vec!["sh".into(), "-c".into(), "ls".into()],
        has_stdin: true,
        timeout_ms: Some(9),
    };
    check_open("open_hello", &Open::Hello(hello()));
    check_open("open_requests", &Open::Requests);
    for (name, start) in [
        ("oldest", Start::Oldest),
        ("after", Start::After(cursor)),
        ("newest", Start::Newest(5)),
    ] {
        check_open(
            &format!("open_subscribe_{name}"),
            &Open::Subscribe {
                topic: Topic::Events,
                start,
            },
        );
    }
    check_open("open_exec", &Open::Exec(command));
    check_open("open_metrics", &Open::Metrics);
    check_open(
        "open_pair",
        &Open::Pair {
            token: vec![1, 2, 3],
            name: "desk".into(),
            hello: hello(),
        },
    );
    let welcome = Welcome {
        hello: hello(),
        role: Role::Operator,
        client_name: "desk".into(),
        epoch: 5,
        has_control: true,
    };
    check_open("opened_ready", &Opened::Ready);
    check_open("opened_welcome", &Opened::Welcome(welcome));
    check_open(
        "opened_refused",
        &Opened::Refused(Failure {
            code: ErrorCode::Forbidden,
            message: "no".into(),
        }),
    );
    check_open(
        "frame_started",
        &EventFrame::Started {
            after: cursor,
            head_seq: 80,
        },
    );
    check_open(
        "frame_event",
        &EventFrame::Event(event(78, EventKind::Lost { count: 1 })),
    );
    check_open(
        "frame_stale_cursor",
        &EventFrame::StaleCursor {
            oldest: cursor,
            head_seq: 80,
        },
    );
    check_open("exec_stdin", &ExecInput::Stdin(vec![0, 255]));
    check_open("exec_signal", &ExecInput::Signal(15));
    check_open("exec_stdout", &ExecOutput::Stdout(vec![1]));
    check_open("exec_stderr", &ExecOutput::Stderr(vec![2]));
    check_open(
        "exec_exit",
        &ExecOutput::Exit {
            code: Some(42),
            signal: None,
        },
    );
    check(
        "metrics_datagram",
        &MetricsDatagram {
            seq: 9,
            ts_ns: 10,
            part: 0,
            parts: 1,
            metrics: metrics(),
        },
    );
}

#[test]
fn updates() {
    check_open("open_update", &Open::Update { may_downgrade: true });
    check_open("update_bytes", &UpdateInput::Bytes(vec![1, 2]));
    let outputs = [
        (
            "accepted",
            UpdateOutput::Accepted {
                version: "1.1.0".into(),
                from_version: "1.0.0".into(),
                slot: "b".into(),
            },
        ),
        (
            "progress",
            UpdateOutput::Progress {
                step: UpdateStep::Write,
                done: 5,
                total: 10,
            },
        ),
        ("restarting", UpdateOutput::Restarting),
        (
            "failed",
            UpdateOutput::Failed(Failure {
                code: ErrorCode::InvalidRequest,
                message: "no".into(),
            }),
        ),
    ];
    for (name, output) in outputs {
        check_open(&format!("update_{name}"), &output);
    }
    let status = UpdateStatus {
        version: "1.0.0".into(),
        revision: "r".into(),
        running: "a".into(),
        committed: "a".into(),
        pending: Some(PendingUpdate {
            version: "1.1.0".into(),
            slot: "b".into(),
            step: UpdateStep::Receive,
        }),
        last: Some(UpdateOutcome {
            version: "0.9.0".into(),
            from_version: "1.0.0".into(),
            slot: "b".into(),
            succeeded: false,
            reason: "it did not come up".into(),
        }),
    };
    let request = AgentRequest {
        id: 1,
        body: AgentBody::UpdateStatus,
    };
    check("agent_request_update_status", &request);
    let body = AgentResponseBody::UpdateStatus(Box::new(status));
    check("agent_response_update_status", &AgentResponse { id: 1, body });
}

#[test]
fn agent_requests() {
    let key = KeyHash([0xab; 32]);
    let bodies = [
        ("control", AgentBody::Control(RequestBody::MemStatus)),
        ("info", AgentBody::Info),
        ("power", AgentBody::Power(PowerAction::Reboot)),
        ("paired_clients", AgentBody::PairedClients),
        ("unpair", AgentBody::Unpair(key)),
        ("new_pairing", AgentBody::NewPairing(Role::Viewer)),
    ];
    for (name, body) in bodies {
        check(&format!("agent_request_{name}"), &AgentRequest { id: 1, body });
    }
    let client = PairedClient {
        key,
        name: "desk".into(),
        role: Role::Owner,
        paired_ms: Some(1),
        connected: true,
    };
    let info = Info {
        name: "rpi4".into(),
        cpus: Some(4),
        source: "control".to_string(),
        ..Info::default()
    };
    let bodies = [
        (
            "error",
            AgentResponseBody::Error(Failure {
                code: ErrorCode::NotFound,
                message: "no".into(),
            }),
        ),
        ("control", AgentResponseBody::Control(ResponseBody::Done)),
        ("info", AgentResponseBody::Info(Box::new(info))),
        ("done", AgentResponseBody::Done),
        ("paired_clients", AgentResponseBody::PairedClients(vec![client])),
        ("pairing_link", AgentResponseBody::PairingLink("sis-pair:v1?".into())),
    ];
    for (name, body) in bodies {
        check(&format!("agent_response_{name}"), &AgentResponse { id: 1, body });
    }
}
