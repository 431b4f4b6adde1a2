//! A command on the board: its output as frames, its input from frames, its end with the stream's end.

use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use sis_protocol::control::{ErrorCode, Failure};
use sis_protocol::wire::{ExecCommand, ExecInput, ExecOutput, Opened, frame};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};

use super::{Receiver, Stream, StreamError};
use crate::paired::Client;
use crate::state::State;
use crate::stderr;

/// Where programs are looked for.
pub(crate) const EXEC_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Commands at once, all clients together.
const MAX_COMMANDS: u32 = 8;
const CHUNK_BYTES: usize = 16 * 1024;
/// After the command itself has ended, what it left running may hold the pipes: so long is waited for more output.
const DRAIN: Duration = Duration::from_millis(250);

/// One of [`MAX_COMMANDS`].
struct Slot<'a>(&'a AtomicU32);

impl<'a> Slot<'a> {
    fn take(running: &'a AtomicU32) -> Option<Self> {
        let more = |count| (count < MAX_COMMANDS).then_some(count + 1);
        running
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .ok()
            .map(|_| Self(running))
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Ends the command's process group when dropped, however that comes about.
struct Group(Option<Pid>);

impl Group {
    fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            // Already gone: nothing to end.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

pub(crate) async fn exec(
    mut stream: Stream,
    state: &Arc<State>,
    client: &Client,
    command: ExecCommand,
) -> Result<(), StreamError> {
    let Some(_slot) = Slot::take(&state.running_commands) else {
        let message = format!("{MAX_COMMANDS} commands are running: wait for one to end");
        stream
            .refuse(Failure {
                code: ErrorCode::Busy,
                message,
            })
            .await;
        return Ok(());
    };
    let Some((program, arguments)) = command.argv.split_first() else {
        stream
            .refuse(Failure {
                code: ErrorCode::InvalidRequest,
                message: "no command was given".to_owned(),
            })
            .await;
        return Ok(());
    };
    stderr::info(format_args!("{} runs {program}", client.name));
    let started = Command::new(program)
        .args(arguments)
        .env("PATH", EXEC_PATH)
        .current_dir("/")
        .stdin(if command.has_stdin {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let child = match started {
        Ok(child) => child,
        Err(error) => {
            let code = if error.kind() == std::io::ErrorKind::NotFound {
                ErrorCode::NotFound
            } else {
                ErrorCode::Internal
            };
            stream
                .refuse(Failure {
                    code,
                    message: format!("`{program}` cannot be started: {error}"),
                })
                .await;
            return Ok(());
        }
    };
    let group = Group(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
    stream.send(&Opened::Ready).await?;
    let timeout = command.timeout_ms.map(Duration::from_millis);
    run(stream, child, &group, timeout).await
}

async fn run(stream: Stream, mut child: Child, group: &Group, timeout: Option<Duration>) -> Result<(), StreamError> {
    let Stream { send, receive } = stream;
    let mut output = Sender { send };
    let (stdin, mut stdout, mut stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let input = feed(receive, stdin, group);
    tokio::pin!(input);
    let deadline = async {
        match timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(deadline);
    let (mut out_buffer, mut error_buffer) = (vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]);
    let (mut status, mut is_input_over) = (None, false);
    while status.is_none() || stdout.is_some() || stderr.is_some() {
        tokio::select! {
            // Output first, so that the exit comes after it.
            biased;
            len = read(&mut stdout, &mut out_buffer) => output.piece(&mut stdout, len, &out_buffer, ExecOutput::Stdout).await?,
            len = read(&mut stderr, &mut error_buffer) => output.piece(&mut stderr, len, &error_buffer, ExecOutput::Stderr).await?,
            _ = output.send.stopped() => return Err(StreamError::Gone),
            ended = &mut input, if !is_input_over => {
                ended?;
                is_input_over = true;
            }
            ended = child.wait(), if status.is_none() => status = Some(ended),
            () = &mut deadline => {
                let message = "the command ran out of time and was ended".to_owned();
                return output.last(&ExecOutput::Failed(Failure { code: ErrorCode::TimedOut, message })).await;
            }
            () = tokio::time::sleep(DRAIN), if status.is_some() => break,
        }
    }
    let last = match status {
        Some(Ok(status)) => exit(status),
        Some(Err(error)) => {
            let message = format!("the command's end was not seen: {error}");
            ExecOutput::Failed(Failure {
                code: ErrorCode::Internal,
                message,
            })
        }
        None => return Err(StreamError::Gone),
    };
    output.last(&last).await
}

fn exit(status: ExitStatus) -> ExecOutput {
    ExecOutput::Exit {
        code: status.code(),
        signal: std::os::unix::process::ExitStatusExt::signal(&status),
    }
}

/// Reads from a pipe that may be closed already (then: never).
async fn read(pipe: &mut Option<impl AsyncRead + Unpin>, buffer: &mut [u8]) -> usize {
    match pipe {
        // An error on a pipe is its end.
        Some(pipe) => pipe.read(buffer).await.unwrap_or(0),
        None => std::future::pending().await,
    }
}

struct Sender {
    send: quinn::SendStream,
}

impl Sender {
    async fn piece<P>(
        &mut self,
        pipe: &mut Option<P>,
        len: usize,
        buffer: &[u8],
        wrap: fn(Vec<u8>) -> ExecOutput,
    ) -> Result<(), StreamError> {
        match buffer.get(..len) {
            None | Some([]) => {
                *pipe = None;
                Ok(())
            }
            Some(bytes) => self.write(&wrap(bytes.to_vec())).await,
        }
    }

    async fn last(&mut self, output: &ExecOutput) -> Result<(), StreamError> {
        self.write(output).await?;
        let _ = self.send.finish();
        Ok(())
    }

    async fn write(&mut self, output: &ExecOutput) -> Result<(), StreamError> {
        self.send
            .write_all(&frame::encode(output))
            .await
            .map_err(|_| StreamError::Gone)
    }
}

/// Passes input on until the client finishes its side.
async fn feed(mut receive: Receiver, mut stdin: Option<ChildStdin>, group: &Group) -> Result<(), StreamError> {
    loop {
        match receive.next(frame::Reader::next_open::<ExecInput>).await? {
            None => return Ok(()),
            Some(ExecInput::Stdin(bytes)) => {
                if let Some(pipe) = &mut stdin
                    && pipe.write_all(&bytes).await.is_err()
                {
                    // The command reads no more: what comes is dropped.
                    stdin = None;
                }
            }
            Some(ExecInput::Signal(number)) => {
                if let Some(signal) = i32::try_from(number).ok().and_then(Signal::from_named_raw) {
                    group.signal(signal);
                }
            }
            Some(_) => {}
        }
    }
}
