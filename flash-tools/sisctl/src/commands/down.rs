//! `down`.

use super::{Context, print_json};
use crate::failure::{Exit, Failure, Outcome};
use crate::run_state::{Process, RunState};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How long each way of ending it may take.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) fn run(context: &Context, board: Option<&str>) -> Outcome {
    let names = match board {
        Some(name) => vec![context.workspace.board(name)?.name],
        None => context.workspace.boards()?,
    };
    let mut ended = Vec::new();
    for name in names {
        if let Some(state) = RunState::load(&context.workspace, &name) {
            end(context, &state)?;
            context.report.say(format_args!("{name} has ended"));
            ended.push(name);
        }
    }
    if context.is_json {
        return print_json(&serde_json::json!({ "ended": ended }));
    }
    if ended.is_empty() {
        context.report.say("nothing was running");
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks QEMU, then tells it, then makes it.
pub(crate) fn end(context: &Context, state: &RunState) -> Outcome<()> {
    let folder = context.workspace.run_folder(&state.board);
    let asked = sis_qemu::Qmp::connect(&folder).and_then(|mut qmp| qmp.quit());
    if asked.is_err() || !is_gone(state.qemu, PATIENCE) {
        for signal in [Signal::TERM, Signal::KILL] {
            if let Some(group) = i32::try_from(state.qemu.pid).ok().and_then(Pid::from_raw)
                && state.qemu.is_alive()
            {
                let _ = kill_process_group(group, signal);
            }
            if is_gone(state.qemu, PATIENCE) {
                break;
            }
        }
    }
    if !is_gone(state.supervisor, PATIENCE)
        && let Some(supervisor) = i32::try_from(state.supervisor.pid).ok().and_then(Pid::from_raw)
    {
        let _ = kill_process(supervisor, Signal::TERM);
    }
    if state.qemu.is_alive() {
        let message = format!("{} does not end (process {})", state.board, state.qemu.pid);
        return Err(Failure::new("down.stuck", message).exit(Exit::Timeout));
    }
    RunState::forget(&folder);
    Ok(())
}

fn is_gone(process: Process, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    while process.is_alive() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}
