//! Hostile input: the board must not crash, must not hang, and must still answer.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use sis_client::{Client, Identity, Output, PairedBoard};
use tokio::net::UdpSocket;

use crate::board::{Program, TrialError, command, line};
use crate::packets::Datagrams;

/// How long a client may take to be greeted afterwards: connections that were begun in vain must have gone by then.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the calls may take: a random call may wait, and then its process is ended after two seconds.
const CALLS_TIMEOUT: Duration = Duration::from_secs(3600);
/// Datagrams between two pauses, so that they reach the agent instead of dying in a full queue.
const BURST: u64 = 50;
const PAUSE: Duration = Duration::from_millis(4);

/// What the random calls came to.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CallsReport {
    /// Which calls: the same seed makes the same.
    pub seed: u64,
    /// How many were made.
    pub calls: u64,
    /// Processes that made them.
    pub processes: u64,
}

/// Makes `count` random system calls with random arguments on the board, as a user without privileges. `program` is the board's
/// `sis-guest`; `said` hears its lines.
///
/// # Errors
/// [`TrialError`].
pub async fn calls(
    client: &Client,
    program: &[u8],
    seed: u64,
    count: u64,
    said: &mut dyn FnMut(&str),
) -> Result<CallsReport, TrialError> {
    let program = Program::send(client, "sis-guest", program).await?;
    let outcome = run_calls(client, &program, seed, count, said).await;
    // What was found counts for more than a program that stays behind.
    let removed = program.remove(client).await;
    let report = outcome?;
    removed?;
    Ok(report)
}

async fn run_calls(
    client: &Client,
    program: &Program,
    seed: u64,
    count: u64,
    said: &mut dyn FnMut(&str),
) -> Result<CallsReport, TrialError> {
    let script = format!("exec {} fuzz --seed {seed} --count {count}", program.path());
    let mut exec = client.exec(command(&script, CALLS_TIMEOUT, false)).await?;
    let (mut text, mut told, mut errors) = (String::new(), 0, String::new());
    let exit = loop {
        match exec.next().await? {
            Output::Stdout(bytes) => text.push_str(&String::from_utf8_lossy(&bytes)),
            Output::Stderr(bytes) => errors.push_str(&String::from_utf8_lossy(&bytes)),
            Output::Exit(exit) => break exit,
        }
        while let Some(end) = text.get(told..).and_then(|rest| rest.find('\n')) {
            said(text.get(told..told + end).unwrap_or_default());
            told += end + 1;
        }
    };
    // "fuzz: seed S: N calls in P children"
    let last = text.lines().last().unwrap_or_default();
    let numbers: Vec<u64> = last
        .split_ascii_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    match numbers.as_slice() {
        [calls, processes] if exit.shell_status() == 0 && *calls == count && last.ends_with("children") => {
            Ok(CallsReport {
                seed,
                calls: *calls,
                processes: *processes,
            })
        }
        _ => Err(TrialError::Found(format!(
            "the random calls of seed {seed} ended with status {}: {last} {}",
            exit.shell_status(),
            errors.trim()
        ))),
    }
}

/// Throws `count` malformed datagrams at the agent; `said` hears how many are out. Nothing that comes back is looked at.
///
/// # Errors
/// [`TrialError::Host`] when they cannot be sent.
pub async fn datagrams(agent: SocketAddr, seed: u64, count: u64, said: &mut dyn FnMut(u64)) -> Result<(), TrialError> {
    let host = |error: std::io::Error| TrialError::Host(format!("datagrams to {agent}: {error}"));
    let any: SocketAddr = if agent.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        ([0_u16; 8], 0).into()
    };
    let socket = UdpSocket::bind(any).await.map_err(host)?;
    for (n, bytes) in (1..=count).zip(Datagrams::new(seed)) {
        match socket.send_to(&bytes, agent).await {
            Ok(_) => {}
            // What an earlier one caused (ICMP), told with this one: it shows that nobody listens, and is looked at afterwards.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(host(error)),
        }
        if n % BURST == 0 || n == count {
            tokio::time::sleep(PAUSE).await;
            said(n);
        }
    }
    Ok(())
}

/// What must hold afterwards: the agent is the process that it was, answers on the connection that was there all the time, runs commands, and
/// takes new connections.
///
/// # Errors
/// [`TrialError`]: what does not hold.
pub async fn still_answers(
    client: &Client,
    board: &PairedBoard,
    identity: &Identity,
    agent_before: u32,
) -> Result<(), TrialError> {
    client.wait_online(PATIENCE).await?;
    let now = crate::agent_process(client).await?;
    if now != agent_before {
        return Err(TrialError::Found(format!(
            "the agent died: it was process {agent_before} and is process {now}"
        )));
    }
    let said = line(client, "echo $((6 * 7)); ps >/dev/null && ls -lR /tmp >/dev/null").await?;
    if said != "42\n" {
        return Err(TrialError::Found(format!(
            "a shell on the board says that 6 * 7 is {said:?}"
        )));
    }
    let second = Client::connect(board, identity).map_err(|error| TrialError::Host(error.to_string()))?;
    second.wait_online(PATIENCE).await?;
    second.close().await;
    Ok(())
}
