//! Reaching a board's agent: which board is meant, where it listens now, and what its refusals mean.

use crate::commands::Context;
use crate::failure::{Exit, Failure, OrFail, Outcome};
use crate::run_state::RunState;
use sis_client::{Client, ExecError, PairedBoard, RequestError, Store, WaitError};
use sis_trial::TrialError;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

/// How long a board may take to greet.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_millis(200);

/// A board that is meant, and its agent.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) board: PairedBoard,
    pub(crate) client: Client,
}

/// Runs `work` to its end on a runtime of its own, then lets connections say goodbye: a board would otherwise keep them
/// until they time out.
pub(crate) fn block_on<T>(work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .or_fail("link.runtime")?;
    let outcome = runtime.block_on(work);
    runtime.block_on(async {
        let deadline = Instant::now() + GOODBYE;
        while runtime.metrics().num_alive_tasks() > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    outcome
}

/// Where the agent of a board that runs here is reached.
pub(crate) fn forwarded(state: &RunState) -> Option<SocketAddr> {
    state
        .agent_port
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

/// The board that runs here and is meant, if one is: the named one, or the only one.
pub(crate) fn running(context: &Context, name: Option<&str>) -> Option<RunState> {
    match name {
        Some(name) => RunState::load(&context.workspace, name),
        None => RunState::find(&context.workspace, None).ok(),
    }
}

/// The paired board that is meant: the named one, the one that runs here, or the only one. A board that runs here is
/// reached through its forwarded port, which is another on every run.
pub(crate) fn paired(context: &Context, name: Option<&str>) -> Outcome<PairedBoard> {
    let store = Store::open_default().or_fail("link.store")?;
    let state = running(context, name);
    let wanted = name.or(state.as_ref().map(|state| state.board.as_str()));
    let mut board = store
        .board(wanted)
        .map_err(|error| not_paired(&error, state.is_some()))?;
    match state.as_ref().filter(|state| state.board == board.name) {
        Some(state) => {
            let Some(address) = forwarded(state) else {
                let message = format!("{} has no network under QEMU", board.name);
                return Err(Failure::new("link.no-network", message).fix("use its console: exec --serial, console"));
            };
            board.addresses = vec![address];
        }
        // Known as a board of ours, but not running: say so instead of trying old ports.
        None if context.workspace.boards()?.contains(&board.name) => {
            RunState::find(&context.workspace, Some(&board.name))?;
        }
        None => {}
    }
    Ok(board)
}

fn not_paired(error: &impl std::fmt::Display, is_running: bool) -> Failure {
    let failure = Failure::new("link.not-paired", error).exit(Exit::NotPaired);
    if is_running {
        failure.fix("cargo sis pair")
    } else {
        failure.fix("cargo sis up; or cargo sis pair LINK with what the board's pair command shows")
    }
}

impl Link {
    /// Connects, in the background and again after every loss. Within a runtime.
    pub(crate) fn open(context: &Context, name: Option<&str>) -> Outcome<Self> {
        let board = paired(context, name)?;
        let identity = Store::open_default()
            .and_then(|store| store.identity())
            .or_fail("link.store")?;
        let client = Client::connect(&board, &identity).or_fail("link.setup")?;
        Ok(Self { board, client })
    }

    /// Connects and waits for the greeting.
    pub(crate) async fn connect(context: &Context, name: Option<&str>) -> Outcome<Self> {
        let link = Self::open(context, name)?;
        link.client
            .wait_online(PATIENCE)
            .await
            .map_err(|error| wait_failure(&error))?;
        Ok(link)
    }
}

pub(crate) fn wait_failure(error: &WaitError) -> Failure {
    match error {
        WaitError::Refused(_) => Failure::new("link.refused", error)
            .exit(Exit::NotPaired)
            .fix("cargo sis pair"),
        _ => Failure::new("link.unreachable", error).exit(Exit::Timeout).fix(
            "cargo sis console shows what the board says; a board that was started anew is paired anew: cargo sis pair",
        ),
    }
}

pub(crate) fn request_failure(error: &RequestError) -> Failure {
    match error {
        RequestError::Offline(error) => wait_failure(error),
        _ => Failure::new("request.failed", error),
    }
}

/// What a trial found is a plain failure; that it could not be held has the codes of what was in its way.
pub(crate) fn trial_failure(code: &'static str, error: &TrialError) -> Failure {
    match error {
        TrialError::Request(error) => request_failure(error),
        TrialError::Exec(error) => exec_failure(error),
        TrialError::Wait(error) => wait_failure(error),
        other => Failure::new(code, other),
    }
}

pub(crate) fn exec_failure(error: &ExecError) -> Failure {
    match error {
        ExecError::Request(error) => request_failure(error),
        other => Failure::new("exec.failed", other),
    }
}
