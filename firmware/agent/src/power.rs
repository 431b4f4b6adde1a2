//! Ending or restarting the board, as its own commands do it.

use std::process::{Command, Stdio};

use sis_protocol::control::{ErrorCode, Failure};
use sis_protocol::wire::PowerAction;

use crate::source::SourceKind;
use crate::state::State;
use crate::stderr;

/// Asks init to end the run; the answer reaches the client before the board goes.
pub(crate) fn power(state: &State, action: PowerAction, by: &str) -> Result<(), Failure> {
    let program = match action {
        PowerAction::PowerOff => "poweroff",
        PowerAction::Reboot => "reboot",
        PowerAction::Unknown(_) => {
            let message = "this agent does not know that power action".to_owned();
            return Err(Failure {
                code: ErrorCode::Unsupported,
                message,
            });
        }
    };
    if state.source.kind() != SourceKind::Control {
        let message = "this agent runs on a Linux host, which it does not end".to_owned();
        return Err(Failure {
            code: ErrorCode::Unavailable,
            message,
        });
    }
    stderr::info(format_args!("{program} asked by {by}"));
    let started = Command::new(program)
        .env("PATH", crate::streams::EXEC_PATH)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    match started {
        Ok(mut child) => {
            std::thread::spawn(move || child.wait());
            Ok(())
        }
        Err(error) => Err(Failure {
            code: ErrorCode::Internal,
            message: format!("`{program}` cannot be started: {error}"),
        }),
    }
}
