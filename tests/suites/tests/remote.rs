//! The agent over QUIC, on a board: pairing, streams, commands, decisions, and strangers.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use sis_client::{Client, Delivery, Identity, PairedBoard, pair};
use sis_harness::{Board, Boot, Failure, Result, SECOND, free_udp_port};
use sis_protocol::control::{EventKind, OutcomeStatus, RequestBody, ResponseBody, Selection, Strategy};
use sis_protocol::wire::{ExecCommand, Start};
use sis_suites::{RPI4, VIRT, guest, to_shell};
use tokio::runtime::Runtime;

/// How long the agent may take for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// A board with a client that is paired as owner.
struct Paired {
    runtime: Runtime,
    client: Client,
    paired: PairedBoard,
    identity: Identity,
    port: u16,
    board: Board,
}

fn paired(boot: Boot) -> Result<Paired> {
    let port = free_udp_port().map_err(Failure::new)?;
    let mut board = to_shell(boot.agent_port(port))?;
    board.run_ok(
        "for n in 1 2 3 4 5 6 7 8 9 10; do [ -S /run/sis/agent.sock ] && break; sleep 1; done",
        30 * SECOND,
    )?;
    let text = board.run_ok("pair --role owner", 20 * SECOND)?;
    let link = text
        .lines()
        .find(|l| l.starts_with("sis-pair:"))
        .unwrap_or("")
        .parse()
        .map_err(Failure::new)?;
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

impl Paired {
    fn ask(&self, body: RequestBody) -> Result<ResponseBody> {
        self.runtime.block_on(self.client.control(body)).map_err(Failure::new)
    }

    /// Runs `command` on the board through the agent: its output, when it ends well.
    fn exec(&self, command: &str) -> Result<String> {
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

    fn strategy(&self) -> Result<Strategy> {
        match self.ask(RequestBody::MemStatus)? {
            ResponseBody::MemStatus(status) => Ok(status.strategy),
            other => Err(Failure::new(format_args!("the status of memory is {other:?}"))),
        }
    }

    /// Makes faults until a proposal waits; its number and the strategy that it proposes.
    fn proposal(&mut self) -> Result<(u64, Option<Strategy>)> {
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

fn with_approvals() -> Result<Paired> {
    let paired = paired(Boot::new(VIRT).smp(2).memory("256M").overlay(guest()?))?;
    match paired.ask(RequestBody::MemApprovalMode { on: Some(true) })? {
        ResponseBody::Mode { on: true } => Ok(paired),
        other => Err(Failure::new(format_args!("approval mode is {other:?}"))),
    }
}

#[test]
fn a_paired_client_gets_metrics_and_runs_commands_and_a_stranger_gets_nothing() -> Result<()> {
    serves_its_client_and_no_stranger(&paired(Boot::new(VIRT).smp(2))?, 2)
}

#[test]
fn the_pi_serves_its_client_and_no_stranger_over_usb() -> Result<()> {
    let paired = paired(Boot::new(RPI4))?;
    serves_its_client_and_no_stranger(&paired, 4)?;
    // More than fits any queue, both ways.
    let output = paired.exec("dd if=/dev/zero bs=64k count=16 2>/dev/null | tr '\\0' x")?;
    assert_eq!(output.len(), 1 << 20);
    assert!(output.bytes().all(|b| b == b'x'));
    Ok(())
}

fn serves_its_client_and_no_stranger(paired: &Paired, cpus: usize) -> Result<()> {
    let seen = paired.runtime.block_on(async {
        let mut samples = paired.client.metrics();
        let mut seen = Vec::new();
        while seen.len() < 10 {
            match tokio::time::timeout(PATIENCE, samples.next()).await {
                Ok(Some(sample)) => seen.push(sample.metrics),
                _ => break,
            }
        }
        seen
    });
    let [first, .., last] = seen.as_slice() else {
        return Err(paired.board.failure(format_args!("{} samples came", seen.len())));
    };
    assert!(
        last.uptime_ns > first.uptime_ns && last.cpus.len() == cpus,
        "{first:?}\n{last:?}"
    );
    assert!(last.mem_free_bytes.is_some_and(|n| n > 0) && last.context_switches > first.context_switches);
    assert_eq!(paired.exec("uname -m; echo $((6 * 7))")?, "aarch64\n42\n");

    let stranger = Identity::generate().map_err(Failure::new)?;
    let refused = {
        let _inside = paired.runtime.enter();
        Client::connect(&paired.paired, &stranger).map_err(Failure::new)?
    };
    let came = paired.runtime.block_on(refused.wait_online(Duration::from_secs(5)));
    assert!(came.is_err(), "a client that was never paired is online");
    Ok(())
}

#[test]
fn a_proposal_approved_from_the_host_is_done_and_its_effect_comes_back() -> Result<()> {
    let mut paired = with_approvals()?;
    let before = paired.strategy()?;
    let mut events = {
        let _inside = paired.runtime.enter();
        paired.client.events(Start::Oldest)
    };
    let (id, to) = paired.proposal()?;
    assert_eq!(
        paired.strategy()?,
        before,
        "the strategy changed before anybody decided"
    );
    match paired.ask(RequestBody::MemApprove {
        which: Selection::Ids(vec![id]),
        by: None,
    })? {
        ResponseBody::Decided(counts) if counts.executed == 1 => {}
        other => return Err(paired.board.failure(format_args!("approving gave {other:?}"))),
    }
    assert_eq!(Some(paired.strategy()?), to, "the strategy that was approved");
    paired
        .board
        .run_ok("sis-guest stress-mem 96 >/dev/null", 120 * SECOND)?;
    let outcome = paired.runtime.block_on(async {
        loop {
            match tokio::time::timeout(PATIENCE, events.next()).await {
                Ok(Some(Delivery::Event(event))) => match event.kind {
                    EventKind::Outcome(outcome) if outcome.id == id => break Some(outcome),
                    _ => {}
                },
                Ok(Some(_)) => {}
                _ => break None,
            }
        }
    });
    let Some(outcome) = outcome else {
        return Err(paired.board.failure("no outcome came"));
    };
    assert_eq!(outcome.status, OutcomeStatus::Executed);
    assert!(
        outcome.before.is_some_and(|f| f.samples > 0) && outcome.after.is_some_and(|f| f.samples > 0),
        "{outcome:?}"
    );
    assert!(
        outcome.decided_by.is_some_and(|by| by.contains("suite")),
        "who decided is not told"
    );
    Ok(())
}

#[test]
fn a_proposal_rejected_from_the_host_changes_nothing() -> Result<()> {
    let mut paired = with_approvals()?;
    let before = paired.strategy()?;
    let (id, _) = paired.proposal()?;
    match paired.ask(RequestBody::MemReject {
        which: Selection::Ids(vec![id]),
        by: None,
    })? {
        ResponseBody::Decided(counts) if counts.rejected == 1 => {}
        other => return Err(paired.board.failure(format_args!("rejecting gave {other:?}"))),
    }
    assert_eq!(paired.strategy()?, before);
    match paired.ask(RequestBody::MemApprove {
        which: Selection::Ids(vec![id]),
        by: None,
    })? {
        ResponseBody::Decided(counts) if counts.executed == 0 && counts.not_found == 1 => {}
        other => {
            return Err(paired
                .board
                .failure(format_args!("approving what was rejected gave {other:?}")));
        }
    }
    assert_eq!(paired.strategy()?, before);
    Ok(())
}

#[test]
fn a_client_comes_back_by_itself_after_the_agent_was_killed() -> Result<()> {
    let mut paired = paired(Boot::new(VIRT).smp(2))?;
    paired.board.run_ok("kill -KILL $(pidof sis-agent)", 20 * SECOND)?;
    // Until then requests may fail: an interrupted one is not repeated.
    let end = std::time::Instant::now() + 2 * PATIENCE;
    loop {
        match paired.exec("echo back") {
            Ok(text) if text == "back\n" => return Ok(()),
            other if std::time::Instant::now() > end => {
                return Err(paired.board.failure(format_args!("it did not come back: {other:?}")));
            }
            _ => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

#[test]
fn ten_thousand_malformed_datagrams_do_not_disturb_the_agent() -> Result<()> {
    let mut paired = paired(Boot::new(VIRT).smp(2))?;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Failure::new)?;
    let mut state = 1_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for n in 0..10_000_u32 {
        let length = usize::try_from(next() % 1300).unwrap_or(0) + 1;
        let mut bytes: Vec<u8> = (0..length).map(|_| next().to_le_bytes()[0]).collect();
        match n % 4 {
            // The beginning of a QUIC Initial (RFC 9000, 17.2.2), then noise; a short header; plain noise.
            0 => bytes
                .splice(..length.min(6), [0xc3, 0, 0, 0, 1, 8].into_iter().take(length))
                .for_each(drop),
            1 => bytes.iter_mut().take(1).for_each(|b| *b = 0x40 | (*b & 0x3f)),
            _ => {}
        }
        socket
            .send_to(&bytes, (Ipv4Addr::LOCALHOST, paired.port))
            .map_err(Failure::new)?;
        if n % 50 == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    assert_eq!(paired.exec("echo alive")?, "alive\n");
    let again = {
        let _inside = paired.runtime.enter();
        Client::connect(&paired.paired, &paired.identity).map_err(Failure::new)?
    };
    paired
        .runtime
        .block_on(again.wait_online(PATIENCE))
        .map_err(Failure::new)?;
    assert_eq!(paired.board.run_ok("echo shell", 20 * SECOND)?, "shell\n");
    Ok(())
}
