//! One command at a time at a shell on the console, with its output and its exit status.
//!
//! Works at any POSIX shell's prompt, `sis> ` included. The command is wrapped as
//! `echo "@@""b7@@"; eval 'COMMAND'; echo "@@""e7:$?@@"`: the quotes keep the echo of the typed line from looking like
//! what the shell prints, and `eval` lets the command end in `&` or be any list.

use crate::console::{Console, ConsoleError};
use std::time::{Duration, Instant};

/// What an interrupted command may take to give the prompt back.
const INTERRUPT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the prompt may take after a command has ended.
const PROMPT_TIMEOUT: Duration = Duration::from_secs(20);
/// Shells' line editors take at least this much (BusyBox: 1024 bytes).
const MAX_LINE_BYTES: usize = 1000;

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// What it said, CRLF turned into LF; standard error is in it, as it is on a terminal.
    pub text: String,
    /// Its exit status.
    pub status: i32,
    /// How long it took.
    pub duration: Duration,
}

/// Why a command has no result.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// It cannot be typed.
    #[error("a command over the console is one line of at most {MAX_LINE_BYTES} bytes without control characters")]
    Untypable,
    /// The console did not give it.
    #[error("{0}")]
    Console(#[from] ConsoleError),
}

/// The wrapped line for `command`; `None` when it cannot be typed.
fn line(command: &str, number: u64) -> Option<String> {
    if command
        .chars()
        .any(|character| character.is_control() && character != '\t')
    {
        return None;
    }
    let quoted = command.replace('\'', "'\\''");
    let line = format!("echo \"@@\"\"b{number}@@\"; eval '{quoted}'; echo \"@@\"\"e{number}:$?@@\"\n");
    (line.len() <= MAX_LINE_BYTES).then_some(line)
}

/// Where the result ends in `text`, with output and status.
fn result(text: &[u8], number: u64) -> Option<(usize, (String, i32))> {
    let begin = format!("@@b{number}@@");
    let end = format!("@@e{number}:");
    let start = find(text, begin.as_bytes())? + begin.len();
    let body = text.get(start..)?;
    let length = find(body, end.as_bytes())?;
    let digits = body.get(length + end.len()..)?;
    let digits_length = find(digits, b"@@")?;
    let status = std::str::from_utf8(digits.get(..digits_length)?).ok()?.parse().ok()?;
    let output = String::from_utf8_lossy(body.get(..length)?).replace("\r\n", "\n");
    let output = output.strip_prefix('\n').unwrap_or(&output).to_owned();
    Some((start + length + end.len() + digits_length + 2, (output, status)))
}

fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    text.windows(needle.len()).position(|window| window == needle)
}

/// A waiting prompt at the end of `text`: `sis> `, or `... # ` or `... $ `; BusyBox asks for the cursor behind it.
fn prompt(text: &[u8]) -> Option<(usize, ())> {
    let seen = text.strip_suffix(b"\x1b[6n").unwrap_or(text);
    let is_prompt = [b"sis> ".as_slice(), b"# ", b"$ "].iter().any(|prompt| seen.ends_with(prompt))
        // A coloured prompt ends in its reset.
        || seen.ends_with(b"\x1b[0m ") || seen.ends_with(b"> \x1b[0m");
    is_prompt.then_some((text.len(), ()))
}

/// As [`prompt`], behind a command's result: there a prompt stands even when something in the background, or the kernel's
/// log, wrote behind it.
fn prompt_after_result(text: &[u8]) -> Option<(usize, ())> {
    let is_there = [b"sis> ".as_slice(), b"# \x1b[6n", b"$ \x1b[6n"]
        .iter()
        .any(|prompt| find(text, prompt).is_some());
    prompt(text).or_else(|| is_there.then_some((text.len(), ())))
}

impl Console {
    /// Waits for a shell's prompt.
    ///
    /// # Errors
    /// [`ConsoleError`].
    pub fn wait_prompt(&mut self, timeout: Duration) -> Result<(), ConsoleError> {
        self.wait(timeout, prompt)
    }

    /// Runs `command` at the waiting prompt. On a time-out it is interrupted (^C), so that the next one starts clean.
    ///
    /// # Errors
    /// [`ShellError`].
    pub fn run(&mut self, command: &str, timeout: Duration) -> Result<Output, ShellError> {
        let number = self.next_number();
        let line = line(command, number).ok_or(ShellError::Untypable)?;
        let start = Instant::now();
        self.write(line.as_bytes()).map_err(ConsoleError::Io)?;
        match self.wait(timeout, |text| result(text, number)) {
            Ok((text, status)) => {
                let duration = start.elapsed();
                self.wait(PROMPT_TIMEOUT, prompt_after_result)?;
                Ok(Output { text, status, duration })
            }
            Err(error) => {
                if matches!(error, ConsoleError::Timeout { .. }) {
                    self.skip();
                    self.write(b"\x03").map_err(ConsoleError::Io)?;
                    // Should even this fail, the time-out is still what went wrong.
                    let _ = self.wait_prompt(INTERRUPT_TIMEOUT);
                }
                Err(error.into())
            }
        }
    }
}

#[cfg(test)]
mod tests;
