//! A board with a client that is paired with its agent.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use sis_client::{Client, Identity, PairedBoard, pair};
use sis_harness::{Board, Boot, Failure, Result, SECOND, free_udp_port};
use sis_protocol::control::{RequestBody, ResponseBody, Strategy};
use sis_protocol::pairing::PairLink;
use sis_protocol::wire::ExecCommand;
use tokio::runtime::Runtime;

use crate::to_shell;

/// How long the agent may take for anything.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A board with a client that is paired as owner.
pub struct Paired {
    /// Where the client runs.
    pub runtime: Runtime,
    /// The client; it is online.
    pub client: Client,
    /// What it was paired with.
    pub paired: PairedBoard,
    /// Its key.
    pub identity: Identity,
    /// UDP port of this host that reaches the agent.
    pub port: u16,
    /// The board.
    pub board: Board,
}

/// Boots, and pairs a client. A token is seen to work once.
///
/// # Errors
/// When the board does not come up, or does not pair.
pub fn paired(boot: Boot) -> Result<Paired> {
    let port = free_udp_port().map_err(Failure::new)?;
    let mut board = to_shell(boot.agent_port(port))?;
    board.run_ok(
        "for n in 1 2 3 4 5 6 7 8 9 10; do [ -S /run/sis/agent.sock ] && break; sleep 1; done",
        30 * SECOND,
    )?;
    let link = new_link(&mut board, "owner")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(Failure::new)?;
    let identity = Identity::generate().map_err(Failure::new)?;
    let instead = [SocketAddr::from((Ipv4Addr::LOCALHOST, port))];
    let paired = runtime
        .block_on(pair(&link, &instead, &identity, "suite"))
        .map_err(Failure::new)?;
    // A token is for one client.
    let other = Identity::generate().map_err(Failure::new)?;
    if runtime.block_on(pair(&link, &instead, &other, "second")).is_ok() {
        return Err(board.failure("a token let two clients in"));
    }
    let client = {
        let _inside = runtime.enter();
        Client::connect(&paired, &identity).map_err(Failure::new)?
    };
    runtime.block_on(client.wait_online(PATIENCE)).map_err(Failure::new)?;
    Ok(Paired {
        runtime,
        client,
        paired,
        identity,
        port,
        board,
    })
}

fn new_link(board: &mut Board, role: &str) -> Result<PairLink> {
    let text = board.run_ok(&format!("pair --role {role}"), 20 * SECOND)?;
    let line = text.lines().find(|l| l.starts_with("sis-pair:"));
    line.unwrap_or("").parse().map_err(Failure::new)
}

impl Paired {
    /// Another link, from the board's console.
    ///
    /// # Errors
    /// When the board makes none.
    pub fn new_link(&mut self, role: &str) -> Result<PairLink> {
        new_link(&mut self.board, role)
    }

    /// Asks the kernel.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn ask(&self, body: RequestBody) -> Result<ResponseBody> {
        self.runtime.block_on(self.client.control(body)).map_err(Failure::new)
    }

    /// Runs `command` on the board through the agent: its output.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub fn exec(&self, command: &str) -> Result<String> {
        let command = ExecCommand {
            argv: ["sh", "-c", command].map(str::to_owned).to_vec(),
            has_stdin: false,
            timeout_ms: Some(60_000),
        };
        let run = async {
            let exec = self.client.exec(command).await.map_err(Failure::new)?;
            exec.collect(1 << 20).await.map_err(Failure::new)
        };
        let (output, ..) = self.runtime.block_on(run)?;
        Ok(String::from_utf8_lossy(&output).into_owned())
    }

    /// The memory manager's strategy.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn strategy(&self) -> Result<Strategy> {
        match self.ask(RequestBody::MemStatus)? {
            ResponseBody::MemStatus(status) => Ok(status.strategy),
            other => Err(Failure::new(format_args!("the status of memory is {other:?}"))),
        }
    }

    /// Makes faults until a proposal waits; its number and the strategy that it proposes.
    ///
    /// # Errors
    /// When none comes.
    pub fn proposal(&mut self) -> Result<(u64, Option<Strategy>)> {
        for _ in 0..10 {
            self.board.run_ok("sis-guest stress-mem 96 >/dev/null", 120 * SECOND)?;
            if let ResponseBody::Approvals(list) = self.ask(RequestBody::MemApprovals)?
                && let Some(first) = list.first()
            {
                return Ok((first.id, first.to));
            }
        }
        Err(self.board.failure("load made the memory manager propose nothing"))
    }
}
