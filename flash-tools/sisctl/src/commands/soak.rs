//! `soak`: a running board under events, with clients that die and a link that is cut.

use super::{Context, print_json};
use crate::arguments::Soak;
use crate::build;
use crate::failure::{OrFail, Outcome};
use crate::link::{self, trial_failure};
use crate::run_state::RunState;
use sis_client::Store;
use sis_qemu::Qmp;
use sis_trial::soak::{Memory, Plan, Report};
use std::process::ExitCode;
use std::time::Duration;

pub(crate) fn run(context: &Context, wishes: &Soak) -> Outcome {
    let state = RunState::find(&context.workspace, wishes.board.as_deref())?;
    let board = link::paired(context, Some(&state.board))?;
    let identity = Store::open_default()
        .and_then(|store| store.identity())
        .or_fail("link.store")?;
    let step = context.report.step("program");
    let program = build::guest_program(&context.workspace, &step)?;
    step.done(format_args!("{} KiB", program.len() / 1024));

    let seconds = wishes.seconds.unwrap_or(wishes.minutes.saturating_mul(60)).max(10);
    let folder = context.workspace.run_folder(&state.board);
    // A connection to the monitor an order: others may want it too.
    let mut set_link = |is_up: bool| {
        Qmp::connect(&folder)
            .and_then(|mut qmp| qmp.set_link(is_up))
            .map_err(|error| error.to_string())
    };
    let step = context.report.step("soak");
    let mut said = |text: &str| step.now(text);
    let plan = Plan::of(Duration::from_secs(seconds));
    let report = sis_trial::soak::run(&board, &identity, &program, plan, &mut set_link, &mut said)
        .map_err(|error| trial_failure("soak.found", &error))?;
    step.done(format_args!(
        "{} lines and {} events, none lost",
        report.lines, report.events
    ));
    if context.is_json {
        return print_json(&report);
    }
    print(&report);
    Ok(ExitCode::SUCCESS)
}

fn print(report: &Report) {
    println!("{} s", report.seconds);
    println!("log lines         {} made, each came once and in order", report.lines);
    println!(
        "events            {}: {} crashes, {} proposals, {} outcomes; none lost",
        report.events, report.crashes, report.proposals, report.outcomes
    );
    println!(
        "metrics           {} samples, {} lost",
        report.samples, report.samples_lost
    );
    println!(
        "disturbances      {} clients one after another, link cut {} times, {} reconnections",
        report.clients, report.cuts, report.reconnections
    );
    let [first, middle, last] = report.memory;
    let row = |name: &str, of: fn(Memory) -> u64| {
        println!(
            "{name}  {:.2} MB, in the middle {:.2} MB, at the end {:.2} MB",
            of(first) as f64 / 1e6,
            of(middle) as f64 / 1e6,
            of(last) as f64 / 1e6
        );
    };
    row("agent's memory  ", |memory| memory.agent_rss_bytes);
    row("free memory     ", |memory| memory.free_bytes);
}
