//! `fuzz`: hostile input for a running board, and what must still answer afterwards.
//!
//! The console of a board that runs here is attached to all the time: a crash is seen on it at once, and its shell must answer at the end.

use super::{Context, print_json};
use crate::arguments::Fuzz;
use crate::build;
use crate::failure::{Failure, OrFail, Outcome};
use crate::link::{self, Link, trial_failure};
use crate::run_state::RunState;
use crate::serial::Serial;
use sis_client::Store;
use sis_trial::{TrialError, agent_process};
use std::process::ExitCode;
use std::time::Duration;

/// How long the shell on the console may take to answer.
const SHELL_TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) fn run(context: &Context, wishes: &Fuzz) -> Outcome {
    let state = link::running(context, wishes.board.as_deref());
    let seed = match wishes.seed {
        Some(seed) => seed,
        // Short enough to be typed again.
        None => u64::from(std::process::id()) ^ state.as_ref().map_or(1, |state| state.started_ms % 1_000_000),
    };
    // First, so that a console that is in use is found before anything is thrown.
    let mut serial = match &state {
        Some(state) => Some(Serial::attach(&context.workspace.run_folder(&state.board))?),
        None => None,
    };
    let step = context.report.step("program");
    let program = build::guest_program(&context.workspace, &step)?;
    step.done(format_args!("{} KiB", program.len() / 1024));

    let thrown = link::block_on(throw(context, wishes, seed, &program));
    let console = serial.as_mut().map(|serial| console_answers(serial, state.as_ref()));
    // The console knows best why an agent does not answer: the kernel may have crashed.
    if let Some(answer) = console {
        answer?;
    }
    let calls = thrown.map_err(|failure| {
        let again = format!(
            "cargo sis fuzz --seed {seed} --calls {} --datagrams {}",
            wishes.calls, wishes.datagrams
        );
        if failure.code == FOUND {
            failure.fix(again)
        } else {
            failure
        }
    })?;
    if context.is_json {
        return print_json(&serde_json::json!({
            "seed": seed, "calls": wishes.calls, "processes": calls, "datagrams": wishes.datagrams,
            "consoleAnswers": serial.is_some(), "agentAnswers": true,
        }));
    }
    println!(
        "{} system calls and {} datagrams (seed {seed}): no crash, the agent is the same and answers{}",
        wishes.calls,
        wishes.datagrams,
        if serial.is_some() { ", the shell answers" } else { "" }
    );
    Ok(ExitCode::SUCCESS)
}

const FOUND: &str = "fuzz.found";

fn failed(error: TrialError) -> Failure {
    trial_failure(FOUND, &error)
}

/// Both kinds of input; how many processes made the calls.
async fn throw(context: &Context, wishes: &Fuzz, seed: u64, program: &[u8]) -> Outcome<u64> {
    let link = Link::connect(context, wishes.board.as_deref()).await?;
    let identity = Store::open_default()
        .and_then(|store| store.identity())
        .or_fail("link.store")?;
    let address = link
        .board
        .addresses
        .first()
        .copied()
        .ok_or_else(|| Failure::new("fuzz.address", "the board has no address"))?;
    let agent = agent_process(&link.client).await.map_err(failed)?;

    let mut processes = 0;
    if wishes.calls > 0 {
        let step = context.report.step("system calls");
        let mut said = |line: &str| step.now(line);
        let report = sis_trial::fuzz::calls(&link.client, program, seed, wishes.calls, &mut said)
            .await
            .map_err(failed)?;
        processes = report.processes;
        step.done(format_args!("{} in {} processes", report.calls, report.processes));
    }
    if wishes.datagrams > 0 {
        let step = context.report.step("datagrams");
        let mut said = |count: u64| step.now(format!("{count} of {}", wishes.datagrams));
        sis_trial::fuzz::datagrams(address, seed, wishes.datagrams, &mut said)
            .await
            .map_err(failed)?;
        step.done(format_args!("{} to {address}", wishes.datagrams));
    }
    let step = context.report.step("agent");
    sis_trial::fuzz::still_answers(&link.client, &link.board, &identity, agent)
        .await
        .map_err(failed)?;
    step.done("the same process, answers old and new connections");
    Ok(processes)
}

/// The shell on the console runs a command, and the machine is the one that it was.
fn console_answers(serial: &mut Serial, state: Option<&RunState>) -> Outcome<()> {
    if state.is_some_and(|state| !state.qemu.is_alive()) {
        return Err(Failure::new(FOUND, "the machine ended"));
    }
    let output = serial
        .run("echo $((6 * 7))", SHELL_TIMEOUT)
        .map_err(|failure| Failure::new(FOUND, format_args!("the shell does not answer: {}", failure.message)))?;
    if output.text.trim() != "42" {
        let message = format!("the shell says that 6 * 7 is {:?}", output.text);
        return Err(Failure::new(FOUND, message));
    }
    Ok(())
}
