//! Talking to a running board's shell over its serial console.

use crate::commands::console::attach_failure;
use crate::failure::{Exit, Failure, OrFail, Outcome};
use sis_qemu::Console;
use sis_qemu::console::ConsoleError;
use sis_qemu::shell::{Output, ShellError};
use std::path::Path;
use std::time::Duration;

/// How long a waiting shell takes to repeat its prompt.
const PROMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// A shell at its prompt.
#[derive(Debug)]
pub(crate) struct Serial {
    console: Console,
}

impl Serial {
    /// Attaches to the board whose run folder this is, and makes sure that a prompt waits.
    pub(crate) fn attach(run_folder: &Path) -> Outcome<Self> {
        let mut console = Console::attach(run_folder).map_err(attach_failure)?;
        // The prompt was said before we listened; an empty line repeats it.
        console.write(b"\n").or_fail("serial.write")?;
        console.wait_prompt(PROMPT_TIMEOUT).map_err(|error| match error {
            ConsoleError::Timeout { .. } => Failure::new("serial.no-prompt", "no shell answers on the board's console")
                .exit(Exit::Timeout)
                .fix("cargo sis console shows what runs there"),
            other => Failure::new("serial.no-prompt", other),
        })?;
        Ok(Self { console })
    }

    /// Runs one command line.
    pub(crate) fn run(&mut self, command: &str, limit: Duration) -> Outcome<Output> {
        self.console.run(command, limit).map_err(|error| match &error {
            ShellError::Untypable => Failure::new("serial.command", error).exit(Exit::Usage),
            ShellError::Console(ConsoleError::Timeout { .. }) => {
                Failure::new("serial.timeout", format_args!("{command}: {error}")).exit(Exit::Timeout)
            }
            _ => Failure::new("serial.lost", error),
        })
    }
}
