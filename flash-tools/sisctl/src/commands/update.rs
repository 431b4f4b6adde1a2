//! `update`: a bundle to a board, and what became of it.

use super::{Context, print_json};
use crate::arguments::Update;
use crate::failure::{Exit, Failure, OrFail, Outcome};
use crate::link::{self, Link, request_failure};
use crate::report::Step;
use sis_client::{RequestError, UpdateError, UpdateReport, UpdateReports, UpdateSender};
use sis_protocol::wire::{UpdateStatus, UpdateStep};
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What is read of the bundle at once.
const READ_BYTES: usize = 64 * 1024;
/// From the restart until the board has tried the update, or has come back with the old system: the trial may take a
/// minute, and each start some seconds more.
const TRIAL: Duration = Duration::from_secs(300);
const BETWEEN_QUESTIONS: Duration = Duration::from_millis(500);

pub(crate) fn run(context: &Context, wishes: &Update) -> Outcome {
    let Some(path) = &wishes.bundle else {
        return status(context, &wishes.board);
    };
    let bundle = std::fs::File::open(path)
        .map_err(|error| Failure::new("update.bundle", format_args!("{}: {error}", path.display())))?;
    link::block_on(async {
        let link = Link::connect(context, Some(&wishes.board)).await?;
        let started = link.client.update(wishes.allow_downgrade).await;
        let (sender, reports) = started.map_err(|error| refused(path, error))?;
        let step = context.report.step("send and write");
        let version = carry(bundle, sender, reports, &step, path).await?;
        step.done(&version);
        if wishes.no_wait {
            return Ok(ExitCode::SUCCESS);
        }
        let step = context.report.step("try");
        let status = wait(&link, &step).await?;
        ended(context, step, &status, &version)
    })
}

/// Sends all of it, and answers its version once the board starts it.
async fn carry(
    mut bundle: std::fs::File,
    mut sender: UpdateSender,
    mut reports: UpdateReports,
    step: &Step,
    path: &Path,
) -> Outcome<String> {
    let send = async move {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let count = bundle.read(&mut buffer).or_fail("update.bundle")?;
            if count == 0 {
                sender.finish();
                return Ok::<(), Failure>(());
            }
            // The board takes no more: its report says why.
            if sender.send(buffer.get(..count).unwrap_or_default()).await.is_err() {
                return Ok(());
            }
        }
    };
    let follow = async {
        let mut bundle_version = String::new();
        loop {
            match reports.next().await.map_err(|error| refused(path, error))? {
                UpdateReport::Accepted {
                    version,
                    from_version,
                    slot,
                } => {
                    step.now(format!("{from_version} to {version}, into slot {slot}"));
                    bundle_version = version;
                }
                UpdateReport::Progress {
                    step: what,
                    done,
                    total,
                } => step.now(progress(what, done, total)),
                UpdateReport::Restarting => return Ok(bundle_version),
            }
        }
    };
    tokio::pin!(send);
    tokio::pin!(follow);
    let mut is_sent = false;
    loop {
        tokio::select! {
            sent = &mut send, if !is_sent => { sent?; is_sent = true; }
            version = &mut follow => return version,
        }
    }
}

fn progress(step: UpdateStep, done: u64, total: u64) -> String {
    let what = words(step);
    if total == 0 {
        return what.into();
    }
    let percent = done.saturating_mul(100) / total;
    format!("{what}  {percent} % of {:.1} MB", total as f64 / 1e6)
}

const fn words(step: UpdateStep) -> &'static str {
    match step {
        UpdateStep::Receive => "the board takes it in",
        UpdateStep::Check => "the board checks itself",
        UpdateStep::Write => "the board writes it",
        UpdateStep::Verify => "the board reads it back",
        UpdateStep::Restart => "the board restarts",
        UpdateStep::Trial => "the new system is checked",
        UpdateStep::Unknown(_) => "the board works",
    }
}

/// Until nothing is under way any more.
async fn wait(link: &Link, step: &Step) -> Outcome<UpdateStatus> {
    let deadline = Instant::now() + TRIAL;
    loop {
        match link.client.update_status().await {
            Ok(UpdateStatus {
                pending: Some(pending), ..
            }) => step.now(words(pending.step)),
            Ok(status) => return Ok(status),
            // It restarts, or is cut off by that in the middle of an answer.
            Err(RequestError::Offline(_) | RequestError::Interrupted(_)) => step.now("the board restarts"),
            Err(error) => return Err(request_failure(&error)),
        }
        if Instant::now() >= deadline {
            let message = format!(
                "the board did not say within {} s what became of the update",
                TRIAL.as_secs()
            );
            return Err(Failure::new("update.lost", message)
                .exit(Exit::Timeout)
                .fix("cargo sis console shows what it says; cargo sis update BOARD asks again"));
        }
        tokio::time::sleep(BETWEEN_QUESTIONS).await;
    }
}

fn ended(context: &Context, step: Step, status: &UpdateStatus, version: &str) -> Outcome {
    let last = status.last.as_ref().filter(|last| last.version == version);
    let Some(last) = last else {
        return Err(Failure::new(
            "update.lost",
            "the board knows nothing of the update any more",
        ));
    };
    if !last.succeeded {
        drop(step);
        let message = format!(
            "the board fell back to {} in slot {}: {}",
            status.version, status.running, last.reason
        );
        return Err(Failure::new("update.fell-back", message));
    }
    step.done(format_args!(
        "{} runs in slot {}: {}",
        status.version, status.running, last.reason
    ));
    if context.is_json {
        return print_json(status);
    }
    println!("{} -> {}", last.from_version, last.version);
    Ok(ExitCode::SUCCESS)
}

fn refused(path: &Path, error: UpdateError) -> Failure {
    match error {
        UpdateError::Failed(failure) => Failure::new("update.refused", failure),
        UpdateError::Request(RequestError::Failed(failure)) => Failure::new("update.refused", failure),
        UpdateError::Request(error) => request_failure(&error),
        other => Failure::new("update.failed", format_args!("{}: {other}", path.display())),
    }
}

fn status(context: &Context, board: &str) -> Outcome {
    let status = link::block_on(async {
        let link = Link::connect(context, Some(board)).await?;
        link.client
            .update_status()
            .await
            .map_err(|error| request_failure(&error))
    })?;
    if context.is_json {
        return print_json(&status);
    }
    println!(
        "{} ({}) runs in slot {}",
        status.version, status.revision, status.running
    );
    if status.committed != status.running {
        println!("on trial: slot {} starts unless it proves itself", status.committed);
    }
    if let Some(pending) = &status.pending {
        println!(
            "{} into slot {}: {}",
            pending.version,
            pending.slot,
            words(pending.step)
        );
    }
    if let Some(last) = &status.last {
        let how = if last.succeeded { "was kept" } else { "was left" };
        println!(
            "last update: {} to {} {how}: {}",
            last.from_version, last.version, last.reason
        );
    }
    Ok(ExitCode::SUCCESS)
}
