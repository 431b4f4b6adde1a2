//! `up`: from a checked-out repository to the live view, each phase shown with its time.

use super::{Context, down, pair, print_json, run as boot, setup, status, watch};
use crate::arguments::{Run, Up};
use crate::build::{self, Wishes, disk};
use crate::failure::{Exit, Failure, OrFail, Outcome};
use crate::link;
use crate::report::Step;
use crate::run_state::{Process, RunState};
use crate::serial::Serial;
use sis_client::PairedBoard;
use sis_qemu::lines::BOOT_MARKERS;
use sis_qemu::{Event, LineParser};
use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// From power on to the prompt, on a busy host.
const BOOT_TIMEOUT: Duration = Duration::from_secs(120);
/// How long the agent may take to be there after the prompt.
const AGENT_TIMEOUT: Duration = Duration::from_secs(40);
/// How much of the console is shown when a boot fails.
const SHOWN_LINES: usize = 40;

pub(crate) fn run(context: &Context, wishes: &Up) -> Outcome {
    let board = context
        .workspace
        .board(wishes.named.as_ref().unwrap_or(&wishes.board))?;
    setup::ensure(context, true, false)?;
    let mut guard = Guard { context, state: None };
    let state = match RunState::load(&context.workspace, &board.name) {
        Some(state) => {
            context.report.say(format_args!(
                "    ok  {} runs already (process {})",
                board.name, state.qemu.pid
            ));
            state
        }
        None => {
            let what = Wishes {
                checked: wishes.checked,
                refresh: false,
            };
            build::build(&context.workspace, &board, &what, &context.report)?;
            let card = if wishes.diskless {
                None
            } else {
                Some(disk::ready(&context.workspace, &board, wishes.fresh, &context.report)?)
            };
            let step = context.report.step("start");
            let state = boot::start_headless(context, &run_wishes(wishes, &board.name, card)?)?;
            step.done(format_args!("process {}", state.qemu.pid));
            guard.state = Some(state.clone());
            state
        }
    };
    let folder = context.workspace.run_folder(&state.board);
    let step = context.report.step("boot");
    wait_ready(&folder, &state, &step)?;
    step.done("sis> is there");

    if board.qemu.network_device.is_none() {
        let reason = format!("{} has no network under QEMU: use its console", board.name);
        return without_network(context, &state, guard, &reason);
    }
    let step = context.report.step("pair");
    let paired = pair_over_serial(context, &folder, &state, &step)?;
    step.done(format_args!("{} as {}", paired.name, paired.role));

    let has_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    if context.is_json || !has_terminal {
        let value = status::of_running(context, &state)?;
        guard.keep()?;
        return print_json(&value);
    }
    watch::run(context, Some(&state.board))?;
    if wishes.detach || guard.state.is_none() {
        guard.keep()?;
        context
            .report
            .say(format_args!("{} goes on; cargo sis down ends it", state.board));
    }
    Ok(ExitCode::SUCCESS)
}

fn without_network(context: &Context, state: &RunState, guard: Guard<'_>, reason: &str) -> Outcome {
    guard.keep()?;
    if context.is_json {
        return print_json(&status::of_running(context, state)?);
    }
    println!("{reason} (cargo sis console {})", state.board);
    Ok(ExitCode::SUCCESS)
}

/// Bound to this process: however it ends, the board ends too, until [`Guard::keep`] says otherwise.
fn run_wishes(wishes: &Up, board: &str, card: Option<PathBuf>) -> Outcome<Run> {
    let us =
        Process::of(std::process::id()).ok_or_else(|| Failure::new("up.self", "/proc does not show this process"))?;
    Ok(Run {
        board: board.into(),
        headless: true,
        smp: wishes.smp,
        mem: wishes.mem.clone(),
        bound: Some(us.to_string()),
        card,
        ..Run::default()
    })
}

/// Ends the board that `up` has started, unless it is to be kept.
struct Guard<'a> {
    context: &'a Context,
    state: Option<RunState>,
}

impl Guard<'_> {
    fn keep(mut self) -> Outcome<()> {
        if let Some(state) = self.state.take() {
            boot::keep(&self.context.workspace.run_folder(&state.board))?;
        }
        Ok(())
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if let Some(state) = self.state.take()
            && let Err(failure) = down::end(self.context, &state)
        {
            failure.print(false);
        }
    }
}

/// Follows the console's log until the prompt.
fn wait_ready(folder: &Path, state: &RunState, step: &Step) -> Outcome<()> {
    let path = folder.join(sis_qemu::command::CONSOLE_LOG);
    let mut log = File::open(&path).or_fail("up.console")?;
    let (start, mut parser) = (Instant::now(), LineParser::new());
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = log.read(&mut buffer).or_fail("up.console")?;
        for event in parser.push(buffer.get(..count).unwrap_or_default(), start.elapsed()) {
            match event {
                Event::Ready => return Ok(()),
                Event::Marker(marker) => step.now(BOOT_MARKERS.get(marker).copied().unwrap_or_default()),
                Event::Panic(line) => {
                    // The rest of its report is on its way.
                    std::thread::sleep(Duration::from_millis(500));
                    return Err(boot_failure("up.crash", &format!("the kernel crashed: {line}"), &path));
                }
                _ => {}
            }
        }
        if count > 0 {
            continue;
        }
        if !state.qemu.is_alive() {
            return Err(boot_failure("up.ended", "the machine ended before its prompt", &path));
        }
        if start.elapsed() >= BOOT_TIMEOUT {
            let message = format!("no prompt within {} s", BOOT_TIMEOUT.as_secs());
            return Err(boot_failure("up.boot", &message, &path).exit(Exit::Timeout));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn boot_failure(code: &'static str, message: &str, log: &Path) -> Failure {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines
        .get(lines.len().saturating_sub(SHOWN_LINES)..)
        .unwrap_or_default()
        .join("\n");
    Failure::new(
        code,
        format_args!("{message}\n--- end of {} ---\n{tail}\n---", log.display()),
    )
}

/// The agent starts beside the shell: it may take a moment until it can make a link.
fn pair_over_serial(context: &Context, folder: &Path, state: &RunState, step: &Step) -> Outcome<PairedBoard> {
    let deadline = Instant::now() + AGENT_TIMEOUT;
    let mut serial = Serial::attach(folder)?;
    let text = loop {
        match pair::ask(&mut serial, "owner") {
            Ok(text) => break text,
            Err(failure) if Instant::now() >= deadline => return Err(failure),
            Err(failure) => step.now(failure.message),
        }
        std::thread::sleep(Duration::from_millis(300));
    };
    let forwarded: Vec<_> = link::forwarded(state).into_iter().collect();
    step.now("showing the board this host's key");
    // The board's network may still be on its way up.
    loop {
        match link::block_on(pair::with_link(&text, &forwarded, Some(&state.board))) {
            Err(failure) if failure.exit == Exit::Timeout && Instant::now() < deadline => step.now(failure.message),
            other => break other,
        }
        if !context.workspace.run_folder(&state.board).exists() || !state.qemu.is_alive() {
            return Err(Failure::new("up.ended", "the machine ended while pairing"));
        }
    }
}
