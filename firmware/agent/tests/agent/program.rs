//! The program itself: killed, started again, asked over its socket.
//!
//! `SIS_AGENT_COMMAND` runs another build in place of this one: `qemu-aarch64-static target/../sis-agent`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use sis_agent::ask_local;
use sis_client::{Client, Delivery, Identity, PairedBoard, pair};
use sis_protocol::pairing::{PairLink, Role};
use sis_protocol::wire::{AgentBody, AgentResponseBody, Start};

use crate::support::{PATIENCE, within};

/// The agent's memory at rest and at work, bytes.
const MOST_RESIDENT_BYTES: u64 = 8 << 20;

pub(crate) struct Program {
    child: Child,
    pub(crate) socket: PathBuf,
    pub(crate) listen: SocketAddr,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    pub(crate) fn start(directory: &Path, listen: SocketAddr) -> Self {
        let socket = directory.join("agent.sock");
        let other = std::env::var("SIS_AGENT_COMMAND").unwrap_or_default();
        let mut words = other.split_ascii_whitespace().chain([""; 0]);
        let mut command = Command::new(words.next().unwrap_or(env!("CARGO_BIN_EXE_sis-agent")));
        command.args(words);
        command
            .arg("--state-dir")
            .arg(directory.join("state"))
            .arg("--socket")
            .arg(&socket);
        command
            .args(["--source", "proc", "--name", "program", "--quiet", "--listen"])
            .arg(listen.to_string());
        let mut program = Self {
            child: command.stdin(Stdio::null()).spawn().unwrap(),
            socket,
            listen,
        };
        let began = Instant::now();
        loop {
            if let Ok(status) = ask_local(&program.socket, &json!({"cmd": "status"})) {
                program.listen = status["listen"].as_str().unwrap().parse().unwrap();
                return program;
            }
            assert!(began.elapsed() < PATIENCE, "the agent did not start");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) async fn pair(&self, identity: &Identity) -> PairedBoard {
        let answer = ask_local(&self.socket, &json!({"cmd": "pair", "role": "owner"})).unwrap();
        let link: PairLink = answer["link"].as_str().unwrap().parse().unwrap();
        pair(&link, &[], identity, "program test").await.unwrap()
    }

    fn signal(&mut self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

#[tokio::test]
async fn the_program_serves_real_numbers_and_survives_being_killed() {
    let directory = tempfile::tempdir().unwrap();
    let program = Program::start(directory.path(), ([127, 0, 0, 1], 0).into());
    let identity = Identity::generate().unwrap();
    let board = program.pair(&identity).await;
    assert_eq!(board.role, Role::Owner);
    let client = Client::connect(&board, &identity).unwrap();
    let welcome = client.wait_online(PATIENCE).await.unwrap();
    assert!(!welcome.has_control, "there is no control device here");

    let mut samples = client.metrics();
    let sample = within("a sample", samples.next()).await.unwrap();
    assert!(!sample.metrics.cpus.is_empty() && sample.metrics.mem_total_bytes.unwrap() > 0);
    assert_eq!(
        sample.metrics.pending_approvals, None,
        "what is not there is not made up"
    );
    let AgentResponseBody::Info(info) = client.request(AgentBody::Info).await.unwrap() else {
        panic!("no info")
    };
    assert_eq!((info.sysname.as_str(), info.source.as_str()), ("Linux", "proc"));

    let mut events = client.events(Start::Oldest);
    assert!(matches!(
        within("the start", events.next()).await,
        Some(Delivery::Started { .. })
    ));
    let listen = program.listen;
    // SIGKILL, and another life in the same place: the key and the list of clients are there.
    drop(program);
    let mut program = Program::start(directory.path(), listen);
    let began = Instant::now();
    loop {
        match within("the bootstrap", events.next()).await.unwrap() {
            Delivery::Bootstrap { missed: None } => break,
            Delivery::Event(_) => {}
            other => panic!("{other:?}"),
        }
    }
    // The new life tells peers of the old one that it knows them no more, so that they need not wait for silence.
    assert!(began.elapsed() < Duration::from_secs(8), "took {:?}", began.elapsed());
    let sample = within("a sample of the new life", samples.next()).await.unwrap();
    if std::env::var_os("SIS_AGENT_COMMAND").is_none() && !cfg!(debug_assertions) {
        assert!(sample.metrics.agent_rss_bytes.unwrap() < MOST_RESIDENT_BYTES);
    }

    program.signal(rustix::process::Signal::TERM);
    let status = tokio::task::spawn_blocking(move || program.child.wait().unwrap())
        .await
        .unwrap();
    assert_eq!(status.code(), Some(0), "SIGTERM ends it in good order");
}

#[test]
fn a_second_agent_in_the_same_place_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let program = Program::start(directory.path(), ([127, 0, 0, 1], 0).into());
    let second = Command::new(env!("CARGO_BIN_EXE_sis-agent"))
        .args(["--source", "proc", "--socket", "none", "--state-dir"])
        .arg(directory.path().join("other"))
        .args(["--listen", &program.listen.to_string()])
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("is another agent running?"));
}
