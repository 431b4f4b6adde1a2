//! A command on the board: its input, output and exit.

use quinn::{Connection, SendStream};
use sis_protocol::control::Failure;
use sis_protocol::wire::{ExecCommand, ExecInput, ExecOutput, Open, frame};

use crate::request::{Conversation, Frames, RequestError};

/// Why a command has no exit status.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// It was not started, or the connection was lost.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// It could not be run to its end.
    #[error("{0}")]
    Failed(Failure),
}

/// A piece of output, in the order in which the board saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// From standard output.
    Stdout(Vec<u8>),
    /// From standard error.
    Stderr(Vec<u8>),
    /// Last: how it ended.
    Exit(Exit),
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Its exit status, when it ended by itself.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
}

impl Exit {
    /// As a shell's `$?`: the status, or 128 and the signal's number.
    #[must_use]
    pub const fn shell_status(self) -> i32 {
        match (self.code, self.signal) {
            (Some(code), _) => code,
            (None, Some(signal)) => 128 + signal,
            (None, None) => 255,
        }
    }
}

/// A running command; the board ends it (SIGKILL to its process group) when this is dropped.
pub struct Exec {
    connection: Connection,
    input: SendStream,
    output: Frames,
}

impl Exec {
    pub(crate) async fn start(connection: &Connection, command: ExecCommand) -> Result<Self, ExecError> {
        let has_stdin = command.has_stdin;
        let (conversation, _) = Conversation::open(connection, &Open::Exec(command), &[]).await?;
        let Conversation {
            connection,
            send,
            receive,
        } = conversation;
        let mut exec = Self {
            connection,
            input: send,
            output: receive,
        };
        if !has_stdin {
            exec.close_stdin();
        }
        Ok(exec)
    }

    /// Sends standard input.
    ///
    /// # Errors
    /// [`ExecError::Request`] when the connection is lost.
    pub async fn write_stdin(&mut self, bytes: &[u8]) -> Result<(), ExecError> {
        for chunk in bytes.chunks(16 * 1024) {
            self.send(&ExecInput::Stdin(chunk.to_vec())).await?;
        }
        Ok(())
    }

    /// Sends a signal to the command's process group.
    ///
    /// # Errors
    /// [`ExecError::Request`] when the connection is lost or standard input was closed.
    pub async fn signal(&mut self, signal: u32) -> Result<(), ExecError> {
        self.send(&ExecInput::Signal(signal)).await
    }

    /// The end of standard input.
    pub fn close_stdin(&mut self) {
        // Closed twice, or the board is done with it: the same.
        let _ = self.input.finish();
    }

    async fn send(&mut self, input: &ExecInput) -> Result<(), ExecError> {
        let sent = self.input.write_all(&frame::encode(input)).await;
        sent.map_err(|error| ExecError::Request(RequestError::interrupted(&self.connection, &error)))
    }

    /// The next piece of output; nothing follows [`Output::Exit`].
    ///
    /// # Errors
    /// [`ExecError`].
    pub async fn next(&mut self) -> Result<Output, ExecError> {
        loop {
            match self.output.next(frame::Reader::next_open::<ExecOutput>).await? {
                Some(ExecOutput::Stdout(bytes)) => return Ok(Output::Stdout(bytes)),
                Some(ExecOutput::Stderr(bytes)) => return Ok(Output::Stderr(bytes)),
                Some(ExecOutput::Exit { code, signal }) => return Ok(Output::Exit(Exit { code, signal })),
                Some(ExecOutput::Failed(failure)) => return Err(ExecError::Failed(failure)),
                Some(_) => {}
                None => {
                    let ended = RequestError::Interrupted("the board ended the stream".to_owned());
                    return Err(ExecError::Request(ended));
                }
            }
        }
    }

    /// Everything until the exit, standard output and standard error apart; stops with an error over `max` bytes in all.
    ///
    /// # Errors
    /// [`ExecError`].
    pub async fn collect(mut self, max: usize) -> Result<(Vec<u8>, Vec<u8>, Exit), ExecError> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        loop {
            match self.next().await? {
                Output::Stdout(bytes) => stdout.extend(bytes),
                Output::Stderr(bytes) => stderr.extend(bytes),
                Output::Exit(exit) => return Ok((stdout, stderr, exit)),
            }
            if stdout.len() + stderr.len() > max {
                let message = format!("the command's output is longer than {max} bytes");
                let code = sis_protocol::control::ErrorCode::Internal;
                return Err(ExecError::Failed(Failure { code, message }));
            }
        }
    }
}
