//! `selfcheck`: the board's own `selfcheck`, over QUIC or over the serial console.

use super::{Context, print_json};
use crate::arguments::SelfCheck;
use crate::failure::{Exit, Failure, Outcome};
use crate::link::{self, Link, exec_failure};
use crate::run_state::RunState;
use crate::serial::Serial;
use sis_protocol::wire::ExecCommand;
use sis_qemu::{Event, LineParser};
use std::process::ExitCode;
use std::time::Duration;

/// The board's program and how long all of its checks may take.
const PROGRAM: [&str; 2] = ["/sbin/sis-shell", "selfcheck"];
const TIMEOUT: Duration = Duration::from_secs(120);
const MAX_OUTPUT_BYTES: usize = 1 << 20;

pub(crate) fn run(context: &Context, wishes: &SelfCheck) -> Outcome {
    let text = if wishes.serial {
        over_serial(context, wishes)?
    } else {
        over_quic(context, wishes)?
    };
    let checks = parse(&text);
    let failed = checks.iter().filter(|check| !check.passed).count();
    if context.is_json {
        print_json(&serde_json::json!({ "checks": checks, "failed": failed }))?;
    } else {
        print!("{text}");
    }
    if checks.is_empty() {
        return Err(Failure::new(
            "selfcheck.empty",
            "the board's selfcheck reported no check",
        ));
    }
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        Exit::Failed.into()
    })
}

fn over_serial(context: &Context, wishes: &SelfCheck) -> Outcome<String> {
    let state = RunState::find(&context.workspace, wishes.board.as_deref())?;
    let mut serial = Serial::attach(&context.workspace.run_folder(&state.board))?;
    Ok(serial.run("selfcheck", TIMEOUT)?.text)
}

fn over_quic(context: &Context, wishes: &SelfCheck) -> Outcome<String> {
    link::block_on(async {
        let link = Link::connect(context, wishes.board.as_deref()).await?;
        let command = ExecCommand {
            argv: PROGRAM.iter().map(|word| (*word).to_owned()).collect(),
            has_stdin: false,
            timeout_ms: u64::try_from(TIMEOUT.as_millis()).ok(),
        };
        let exec = link.client.exec(command).await.map_err(|error| exec_failure(&error))?;
        let (stdout, stderr, _) = exec
            .collect(MAX_OUTPUT_BYTES)
            .await
            .map_err(|error| exec_failure(&error))?;
        Ok(String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
    })
}

/// A check's result; `[FAIL] name: why` says why.
#[derive(Debug, PartialEq, Eq, serde::Serialize)]
struct Check {
    name: String,
    passed: bool,
    reason: Option<String>,
}

fn parse(text: &str) -> Vec<Check> {
    let mut parser = LineParser::new();
    let mut events = parser.push(text.as_bytes(), Duration::ZERO);
    events.extend(parser.finish(Duration::ZERO));
    let checks = events.into_iter().filter_map(|event| match event {
        Event::Check { name, has_passed } => Some((name, has_passed)),
        _ => None,
    });
    checks
        .map(|(said, passed)| {
            let (name, reason) = match said.split_once(": ") {
                Some((name, reason)) => (name.to_owned(), Some(reason.to_owned())),
                None => (said, None),
            };
            Check { name, passed, reason }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_checks_say_why() {
        let checks = parse("[PASS] memory\r\n[FAIL] timer: late by 3 s\r\nnoise\r\n");
        let check = |name: &str, passed, reason: Option<&str>| Check {
            name: name.into(),
            passed,
            reason: reason.map(str::to_owned),
        };
        assert_eq!(
            checks,
            [check("memory", true, None), check("timer", false, Some("late by 3 s"))]
        );
    }
}
