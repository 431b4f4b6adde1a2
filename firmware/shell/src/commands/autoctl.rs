//! `autoctl`: the self-tuning controller.

use std::process::ExitCode;

use sis_protocol::control::{AutonomyStatus, RequestBody, ResponseBody};

use super::fail;
use crate::control::{AskError, ask};

pub(super) fn command(arguments: &[&str]) -> ExitCode {
    if !matches!(arguments, [] | ["status"]) {
        eprintln!("usage: autoctl status");
        return ExitCode::from(2);
    }
    match ask(RequestBody::AutonomyStatus) {
        Ok(ResponseBody::Autonomy(status)) => print!("{}", text(&status)),
        Ok(_) => return fail("autoctl", &AskError::Unexpected),
        Err(error) => return fail("autoctl", &error),
    }
    ExitCode::SUCCESS
}

fn text(status: &AutonomyStatus) -> String {
    let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
    let number = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
    let phase = status.phase.and_then(|p| "ABCD".chars().nth(p as usize));
    let rows = [
        ("enabled", yes(status.enabled)),
        ("ready", yes(status.ready)),
        ("safe mode", yes(status.safe_mode)),
        ("learning frozen", yes(status.learning_frozen)),
        ("phase", phase.map_or_else(|| "-".to_owned(), String::from)),
        ("interval ms", number(status.interval_ms.map(u64::from))),
        (
            "confidence threshold",
            number(status.confidence_threshold.map(u64::from)),
        ),
        ("decisions", number(status.decisions)),
        ("accepted", number(status.accepted)),
        ("deferred", number(status.deferred)),
    ];
    rows.iter()
        .map(|(name, value)| format!("{name:<22}{value}\n"))
        .collect()
}
