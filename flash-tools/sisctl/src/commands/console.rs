//! `console`.

use super::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::run_state::RunState;
use crate::terminal::{self, Left};
use sis_qemu::console::AttachError;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::ExitCode;

/// How much of what was said before is shown.
const HISTORY_BYTES: u64 = 2048;

pub(crate) fn run(context: &Context, board: Option<&str>) -> Outcome {
    let state = RunState::find(&context.workspace, board)?;
    let folder = context.workspace.run_folder(&state.board);
    let attached = sis_qemu::console::attach(&folder).map_err(attach_failure)?;
    context
        .report
        .say(format_args!("{}: console attached, Ctrl-] leaves", state.board));
    show_history(&folder);
    let left = terminal::attach(&attached.stream)?;
    match left {
        Left::ByKey => context
            .report
            .say(format_args!("\r\n{} goes on; cargo sis down ends it", state.board)),
        Left::AtEnd => context.report.say(format_args!("\r\n{} has ended", state.board)),
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn attach_failure(error: AttachError) -> Failure {
    let exit = if matches!(error, AttachError::Busy) {
        Exit::Busy
    } else {
        Exit::Failed
    };
    Failure::new("console.attach", error).exit(exit)
}

/// The end of the log, from a line's start, so that a waiting prompt is seen.
fn show_history(folder: &Path) {
    let Ok(mut log) = std::fs::File::open(folder.join(sis_qemu::command::CONSOLE_LOG)) else {
        return;
    };
    let length = log.metadata().map_or(0, |metadata| metadata.len());
    let mut tail = Vec::new();
    let start = length.saturating_sub(HISTORY_BYTES);
    if log.seek(SeekFrom::Start(start)).is_ok() && log.read_to_end(&mut tail).is_ok() {
        let skipped = if start == 0 {
            0
        } else {
            tail.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1)
        };
        let _ = std::io::stdout().write_all(tail.get(skipped..).unwrap_or_default());
        let _ = std::io::stdout().flush();
    }
}
