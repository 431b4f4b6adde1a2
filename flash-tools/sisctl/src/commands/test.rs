//! `test`: everything that must hold, in the order in which a failure is cheapest to find.

mod counts;
mod steps;

use super::{Context, print_json, setup};
use crate::arguments::Test;
use crate::failure::{Exit, Failure, OrFail, Outcome};
use counts::Counts;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use steps::{Kind, Step};

/// How much of a failed step's output is shown.
const SHOWN_LINES: usize = 150;
/// How long the consoles of past tests are kept.
const LOG_AGE: Duration = Duration::from_secs(24 * 3600);

pub(crate) fn run(context: &Context, wishes: &Test) -> Outcome {
    let steps = steps::all(&context.workspace, wishes)?;
    if let Some(unknown) = wishes
        .step
        .iter()
        .find(|name| !steps.iter().any(|step| step.name == **name))
    {
        let fix = "cargo sis test --list names them";
        return Err(Failure::new("test.step", format_args!("no step is named {unknown:?}"))
            .exit(Exit::Usage)
            .fix(fix));
    }
    if wishes.list {
        for step in &steps {
            println!("{:<14} {}", step.name, step.title);
        }
        return Ok(ExitCode::SUCCESS);
    }
    if !wishes.no_setup {
        setup::ensure(context, true, false)?;
    }
    let logs = context.workspace.root().join("target/sis/logs");
    std::fs::create_dir_all(&logs).or_fail("test.logs")?;
    forget_old_runs(&logs);

    let start = Instant::now();
    let (mut total, mut results) = (Counts::default(), Vec::new());
    for step in steps
        .iter()
        .filter(|step| wishes.step.is_empty() || wishes.step.contains(&step.name))
    {
        // With a filter only what can be filtered, and the boards that it runs on.
        if wishes.filter.is_some() && step.kind == Kind::Check {
            continue;
        }
        let (counts, seconds) = run_step(context, step, &logs)?;
        results.push(serde_json::json!({
            "step": step.name, "passed": counts.passed, "failed": counts.failed, "seconds": seconds,
            "failures": counts.failures,
        }));
        total.add(counts);
    }
    if !total.failures.is_empty() {
        context.report.say("\nfailed:");
        for name in &total.failures {
            context.report.say(format_args!("  {name}"));
        }
    }
    if context.is_json {
        let seconds = start.elapsed().as_secs_f64();
        print_json(&serde_json::json!({
            "passed": total.passed, "failed": total.failed, "seconds": seconds, "steps": results,
        }))?;
    } else {
        println!("{} passed, {} failed", total.passed, total.failed);
    }
    Ok(if total.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Each board of each test leaves a folder; a day later nobody looks at it any more.
fn forget_old_runs(logs: &Path) {
    let is_old = |path: &Path| {
        let age = path
            .metadata()
            .and_then(|metadata| metadata.modified())
            .map(|time| time.elapsed().unwrap_or_default());
        path.is_dir() && age.is_ok_and(|age| age > LOG_AGE)
    };
    let entries = std::fs::read_dir(logs).into_iter().flatten().filter_map(Result::ok);
    for path in entries.map(|entry| entry.path()).filter(|path| is_old(path)) {
        // What cannot be removed stays until the next time.
        let _ = std::fs::remove_dir_all(path);
    }
}

fn run_step(context: &Context, step: &Step, logs: &Path) -> Outcome<(Counts, f64)> {
    let start = Instant::now();
    let shown = context.report.step(step.title.clone());
    let log = logs.join(format!("test-{}.log", step.name));
    let has_succeeded = spawn(context, step, &log)?;
    let text = std::fs::read(&log).or_fail("test.logs")?;
    let text = String::from_utf8_lossy(&text);
    let counts = match step.kind {
        Kind::Check | Kind::Build => Counts::of_check(&step.name, has_succeeded),
        Kind::Tests => counts::of_tests(&step.name, &text, has_succeeded),
    };
    let seconds = start.elapsed().as_secs_f64();
    if counts.failed == 0 {
        shown.done(if step.kind == Kind::Tests {
            format!("{} passed", counts.passed)
        } else {
            String::new()
        });
        return Ok((counts, seconds));
    }
    drop(shown);
    let lines: Vec<&str> = text.lines().collect();
    for line in lines.iter().skip(lines.len().saturating_sub(SHOWN_LINES)) {
        context.report.say(format_args!("  | {line}"));
    }
    context.report.say(format_args!("  all of it: {}", log.display()));
    Ok((counts, seconds))
}

/// Runs the step with its output in `log`; whether it succeeded.
fn spawn(context: &Context, step: &Step, log: &PathBuf) -> Outcome<bool> {
    let file = File::create(log).or_fail("test.logs")?;
    let mut words = step.words.iter();
    let mut command = Command::new(words.next().map_or("true", String::as_str));
    command
        .args(words)
        .envs(step.environment.iter().map(|(name, value)| (name, value)))
        .env("CARGO_TERM_COLOR", "never")
        .env("TERM", "dumb")
        .current_dir(context.workspace.root())
        .stdin(Stdio::null())
        .stdout(file.try_clone().or_fail("test.logs")?)
        .stderr(file);
    match command.status() {
        Ok(status) => Ok(status.success()),
        Err(error) => {
            std::fs::write(log, format!("{}: {error}\n", step.words.join(" "))).or_fail("test.logs")?;
            Ok(false)
        }
    }
}
