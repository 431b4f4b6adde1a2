//! `memory`: the memory manager's state, modes and past.

use super::approvals::unexpected;
use super::{Context, print_json};
use crate::arguments::{Memory, MemoryAction, StrategyName, Switch};
use crate::failure::{Exit, Failure, Outcome};
use crate::link::{self, Link, request_failure};
use sis_protocol::control::{FaultStats, MemStatus, Outcome as Effect, RequestBody, ResponseBody, Strategy};
use std::process::ExitCode;

pub(crate) fn run(context: &Context, wishes: &Memory) -> Outcome {
    link::block_on(async {
        let link = Link::connect(context, wishes.board.as_deref()).await?;
        match &wishes.action {
            MemoryAction::Status => status(context, &link).await,
            MemoryAction::History { last } => history(context, &link, *last).await,
            MemoryAction::Mode {
                approval,
                query,
                strategy,
            } => {
                if approval.is_none() && query.is_none() && strategy.is_none() {
                    return Err(
                        Failure::new("memory.mode", "say which: --approval, --query or --strategy").exit(Exit::Usage),
                    );
                }
                let on = |switch: Switch| Some(switch == Switch::On);
                if let Some(switch) = *approval {
                    ask(&link, RequestBody::MemApprovalMode { on: on(switch) }).await?;
                }
                if let Some(switch) = *query {
                    ask(&link, RequestBody::MemQueryMode { on: on(switch) }).await?;
                }
                if let Some(name) = *strategy {
                    ask(&link, RequestBody::MemSetStrategy { strategy: named(name) }).await?;
                }
                status(context, &link).await
            }
        }
    })
}

const fn named(name: StrategyName) -> Strategy {
    match name {
        StrategyName::Conservative => Strategy::Conservative,
        StrategyName::Balanced => Strategy::Balanced,
        StrategyName::Aggressive => Strategy::Aggressive,
    }
}

async fn ask(link: &Link, request: RequestBody) -> Outcome<ResponseBody> {
    link.client
        .control(request)
        .await
        .map_err(|error| request_failure(&error))
}

async fn status(context: &Context, link: &Link) -> Outcome {
    let status = match ask(link, RequestBody::MemStatus).await? {
        ResponseBody::MemStatus(status) => status,
        other => return Err(unexpected(&other)),
    };
    if context.is_json {
        return print_json(&status);
    }
    print(&status);
    Ok(ExitCode::SUCCESS)
}

fn print(status: &MemStatus) {
    let on = |is_on: bool| if is_on { "on" } else { "off" };
    println!("strategy        {:?}", status.strategy);
    println!("approval mode   {}", on(status.approval_mode));
    println!("query mode      {}", on(status.query_mode));
    println!("waiting         {}", status.pending);
    let seen = &status.observation;
    let line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            println!("{name:<16}{value}");
        }
    };
    line(
        "pressure",
        seen.pressure_permille
            .map(|value| format!("{:.1} %", f64::from(value) / 10.0)),
    );
    line(
        "fragmentation",
        seen.fragmentation_percent.map(|value| format!("{value} %")),
    );
    line(
        "faults",
        seen.faults_per_second.map(|value| format!("{value} a second")),
    );
    line(
        "free pages",
        seen.free_pages
            .map(|value| format!("{value} of {}", status.total_pages)),
    );
    let target = status
        .zero_pool_target_pages
        .map_or_else(String::new, |pages| format!(" of {pages}"));
    line(
        "zeroed pages",
        seen.zero_pool_pages.map(|value| format!("{value}{target}")),
    );
    line("fault latency", status.faults.map(latency));
    let count = |name: &str, value: Option<u64>| line(name, value.map(|value| value.to_string()));
    count("proposed", status.proposed);
    count("executed", status.executed);
    count("skipped", status.skipped);
    count("failed", status.failed);
    count("rejected", status.rejected);
    count("expired", status.expired);
}

fn latency(stats: FaultStats) -> String {
    if stats.samples == 0 {
        return "no faults in the window".into();
    }
    let (mean, p99) = (stats.mean_ns as f64 / 1000.0, stats.p99_ns as f64 / 1000.0);
    format!("mean {mean:.1} us, p99 {p99:.1} us ({} faults)", stats.samples)
}

async fn history(context: &Context, link: &Link, last: u32) -> Outcome {
    let effects = match ask(link, RequestBody::MemHistory { max: last }).await? {
        ResponseBody::History(effects) => effects,
        other => return Err(unexpected(&other)),
    };
    if context.is_json {
        return print_json(&serde_json::json!({ "outcomes": effects }));
    }
    for effect in &effects {
        println!("{:>4}  {}", effect.id, effect_line(effect));
    }
    if effects.is_empty() {
        println!("nothing was decided yet");
    }
    Ok(ExitCode::SUCCESS)
}

/// What became of a proposal, in one line, with its measured effect.
pub(crate) fn effect_line(effect: &Effect) -> String {
    let mut line = format!("{:?} {:?}", effect.kind, effect.status);
    if let (Some(from), Some(to)) = (effect.from, effect.to) {
        line.push_str(&format!("  {from:?} -> {to:?}"));
    }
    if let Some(by) = &effect.decided_by {
        line.push_str(&format!("  by {by}"));
    }
    // The board's sentence has the figures in it; without one they are told here.
    if !effect.reason.is_empty() {
        line.push_str("  ");
        line.push_str(&effect.reason);
    } else if let (Some(before), Some(after)) = (effect.before, effect.after) {
        let (before, after) = (before.mean_ns as f64 / 1000.0, after.mean_ns as f64 / 1000.0);
        line.push_str(&format!("  mean fault {before:.1} -> {after:.1} us"));
    }
    line
}
