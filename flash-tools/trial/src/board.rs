//! A board as a trial uses it: lines for its shell, and programs that it does not have.

use std::time::Duration;

use sis_client::{Client, ExecError, RequestError, WaitError};
use sis_protocol::wire::ExecCommand;

/// How long a line may take that is no trial itself.
const LINE_TIMEOUT: Duration = Duration::from_secs(60);
/// What a line may say.
const MAX_OUTPUT_BYTES: usize = 1 << 20;

/// Why a trial could not be held, or what it found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrialError {
    /// Something that must hold does not.
    #[error("{0}")]
    Found(String),
    /// The agent does not take the request.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The agent cannot run a command.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// The agent is not reached.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// This host has no runtime, no socket, or no way to cut the link.
    #[error("this host: {0}")]
    Host(String),
}

/// Runs a line in a shell of the board through its agent: what it says, when it ends well.
///
/// # Errors
/// [`TrialError`]; [`Found`](TrialError::Found) with the line's own words when it ends with another status than 0.
pub async fn line(client: &Client, line: &str) -> Result<String, TrialError> {
    let exec = client.exec(command(line, LINE_TIMEOUT, false)).await?;
    let (stdout, stderr, exit) = exec.collect(MAX_OUTPUT_BYTES).await?;
    if exit.shell_status() != 0 {
        let said = String::from_utf8_lossy(&stderr);
        return Err(TrialError::Found(format!(
            "on the board, `{line}` ended with status {}: {}",
            exit.shell_status(),
            said.trim()
        )));
    }
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}

pub(crate) fn command(line: &str, limit: Duration, has_stdin: bool) -> ExecCommand {
    ExecCommand {
        argv: ["/bin/sh", "-c", line].map(str::to_owned).to_vec(),
        has_stdin,
        timeout_ms: Some(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)),
    }
}

/// The agent's process id. Another than before means that it died in between.
///
/// # Errors
/// [`TrialError`].
pub async fn agent_process(client: &Client) -> Result<u32, TrialError> {
    let said = line(client, "pidof sis-agent").await?;
    let ids: Result<Vec<u32>, _> = said.split_ascii_whitespace().map(str::parse).collect();
    match ids.as_deref() {
        Ok([id]) => Ok(*id),
        _ => Err(TrialError::Found(format!("the agents on the board are {said:?}"))),
    }
}

/// A program that was sent to the board, in its `/tmp`, for its user alone.
#[derive(Debug)]
pub struct Program {
    path: String,
}

impl Program {
    /// Sends `bytes` there and makes them executable. `name` is a plain word.
    ///
    /// # Errors
    /// [`TrialError`]; with another role than owner the agent refuses.
    pub async fn send(client: &Client, name: &str, bytes: &[u8]) -> Result<Self, TrialError> {
        // `mktemp` makes it with mode 0600 and never follows what someone else has put there.
        let script = format!("p=$(mktemp /tmp/{name}.XXXXXX) && cat >\"$p\" && chmod 700 \"$p\" && echo \"$p\"");
        let mut exec = client.exec(command(&script, LINE_TIMEOUT, true)).await?;
        exec.write_stdin(bytes).await?;
        exec.close_stdin();
        let (stdout, stderr, exit) = exec.collect(MAX_OUTPUT_BYTES).await?;
        let path = String::from_utf8_lossy(&stdout).trim().to_owned();
        if exit.shell_status() != 0 || path.is_empty() {
            let said = String::from_utf8_lossy(&stderr);
            return Err(TrialError::Found(format!(
                "{name} cannot be put on the board: {}",
                said.trim()
            )));
        }
        Ok(Self { path })
    }

    /// Where it is on the board.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Takes it away.
    ///
    /// # Errors
    /// [`TrialError`].
    pub async fn remove(self, client: &Client) -> Result<(), TrialError> {
        line(client, &format!("rm -f {}", self.path)).await.map(drop)
    }
}
