//! An agent and its clients in one process, over loopback.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sis_agent::source::{Asked, Source, SourceKind, Told};
use sis_agent::{Agent, Config};
use sis_client::{Client, Identity, PairedBoard, pair};
use sis_protocol::control::{Counts, CpuTimes, EventKind, Metrics, RequestBody, ResponseBody};
use sis_protocol::pairing::Role;
use tempfile::TempDir;
use tokio::sync::mpsc;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A kernel that answers by a script: each request is recorded.
pub(crate) struct Kernel {
    pub(crate) tell: mpsc::Sender<Told>,
    pub(crate) asked: Arc<std::sync::Mutex<Vec<RequestBody>>>,
}

pub(crate) fn scripted_source() -> (Source, Kernel) {
    let (requests, mut request_queue) = mpsc::channel::<Asked>(16);
    let (samples, mut sample_queue) = mpsc::channel::<Asked>(16);
    let (tell, told) = mpsc::channel(256);
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let record = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Some((body, answer)) = request_queue.recv().await {
            let reply = match &body {
                RequestBody::MemApprove { .. } => ResponseBody::Decided(Counts {
                    executed: 1,
                    ..Counts::default()
                }),
                RequestBody::MemApprovalMode { on } => ResponseBody::Mode {
                    on: on.unwrap_or(false),
                },
                _ => ResponseBody::Done,
            };
            record.lock().unwrap().push(body);
            let _ = answer.send(reply);
        }
    });
    tokio::spawn(async move {
        let mut ticks = 0;
        while let Some((_, answer)) = sample_queue.recv().await {
            ticks += 1;
            let cpu = CpuTimes {
                user_ns: ticks,
                ..CpuTimes::default()
            };
            let metrics = Metrics {
                ts_ns: Some(ticks),
                cpus: vec![cpu; 4],
                ..Metrics::default()
            };
            let _ = answer.send(ResponseBody::Metrics(Box::new(metrics)));
        }
    });
    (
        Source::new(SourceKind::Control, requests, samples, told),
        Kernel { tell, asked },
    )
}

pub(crate) struct Board {
    pub(crate) directory: TempDir,
    pub(crate) agent: Agent,
    pub(crate) kernel: Kernel,
}

pub(crate) fn config(directory: &TempDir, listen: SocketAddr) -> Config {
    let socket = Some(PathBuf::from(directory.path()).join("agent.sock"));
    Config {
        state_dir: directory.path().join("state"),
        listen,
        socket,
        name: Some("test-board".to_owned()),
        places: sis_agent::Places::default(),
    }
}

impl Board {
    pub(crate) fn start() -> Self {
        sis_agent::set_quiet(true);
        let directory = tempfile::tempdir().unwrap();
        let (source, kernel) = scripted_source();
        let agent = Agent::start(&config(&directory, ([127, 0, 0, 1], 0).into()), source).unwrap();
        Self {
            directory,
            agent,
            kernel,
        }
    }

    /// Ends the agent and starts another on the same port and state directory.
    pub(crate) async fn restart(&mut self) {
        let listen = self.agent.local_addr();
        let (source, kernel) = scripted_source();
        // The port is free once the old endpoint's driver has ended, which is soon.
        let directory = tempfile::tempdir().unwrap();
        let (spare, _) = scripted_source();
        let spare = Agent::start(&config(&directory, ([127, 0, 0, 1], 0).into()), spare).unwrap();
        let old = std::mem::replace(&mut self.agent, spare);
        old.shut_down().await;
        let config = config(&self.directory, listen);
        let mut source = Some(source);
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if std::net::UdpSocket::bind(listen).is_ok() {
                break;
            }
        }
        self.agent = Agent::start(&config, source.take().unwrap()).unwrap();
        self.kernel = kernel;
    }

    pub(crate) async fn pair(&self, identity: &Identity, role: Role) -> PairedBoard {
        let link = self.agent.new_pairing(role).unwrap();
        pair(&link, &[], identity, "tester").await.unwrap()
    }

    /// A paired client that is online.
    pub(crate) async fn client(&self, role: Role) -> Client {
        let identity = Identity::generate().unwrap();
        let board = self.pair(&identity, role).await;
        let client = Client::connect(&board, &identity).unwrap();
        client.wait_online(PATIENCE).await.unwrap();
        client
    }
}

/// An event whose number can be told from the outside.
pub(crate) fn numbered(count: u64) -> EventKind {
    EventKind::Lost { count }
}

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("{what} took too long"))
}
