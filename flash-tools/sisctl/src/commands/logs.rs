//! `logs`.

use super::Context;
use crate::arguments::{LevelName, Logs};
use crate::failure::{Failure, OrFail, Outcome, write};
use crate::link::{self, Link};
use sis_client::Delivery;
use sis_protocol::control::{Event, EventKind, Level, LogRecord};
use sis_protocol::wire::Start;
use std::process::ExitCode;

pub(crate) fn run(context: &Context, wishes: &Logs) -> Outcome {
    link::block_on(async {
        let link = Link::connect(context, wishes.board.as_deref()).await?;
        let mut lines = link.client.logs(Start::Newest(wishes.last));
        let (mut head, mut seen) = (None, 0);
        loop {
            if !wishes.follow && head.is_some_and(|head| seen >= head) {
                return Ok(ExitCode::SUCCESS);
            }
            match lines.next().await {
                // Only the first: a later one comes after a reconnection.
                Some(Delivery::Started { head_seq }) => {
                    seen = seen.max(head_seq.saturating_sub(u64::from(wishes.last)));
                    head.get_or_insert(head_seq);
                }
                Some(Delivery::Event(event)) => {
                    seen = event.seq;
                    print(context, wishes.level, &event)?;
                }
                Some(Delivery::Bootstrap { missed }) => match missed {
                    Some(count) => context.report.say(format_args!("({count} lines are no longer kept)")),
                    None => context.report.say("(the board's agent has started anew)"),
                },
                Some(Delivery::Refused(failure)) => return Err(Failure::new("logs.refused", failure)),
                Some(_) => {}
                None => return Err(Failure::new("logs.ended", "the connection has ended")),
            }
        }
    })
}

fn print(context: &Context, level: LevelName, event: &Event) -> Outcome<()> {
    let EventKind::LogLine(record) = &event.kind else {
        return Ok(());
    };
    if record.level.number() > level as u32 {
        return Ok(());
    }
    let text = if context.is_json {
        serde_json::to_string(event).or_fail("logs.json")?
    } else {
        line(record)
    };
    write(&mut std::io::stdout(), format!("{text}\n").as_bytes())
}

/// A log line as `dmesg` shows it, with its level when that says something.
pub(crate) fn line(record: &LogRecord) -> String {
    let seconds = record.ts_ns as f64 / 1e9;
    let level = match record.level {
        Level::Emergency | Level::Alert | Level::Critical => "CRIT ",
        Level::Error => "ERROR ",
        Level::Warning => "warn ",
        _ => "",
    };
    format!("[{seconds:>12.6}] {level}{}", record.text)
}
