//! `exec`: a command on the board, with its exit status.

use super::Context;
use crate::arguments::Exec;
use crate::failure::{Exit, Failure, Outcome, write};
use crate::link::{self, Link, exec_failure};
use crate::run_state::RunState;
use crate::serial::Serial;
use sis_client::Output;
use sis_protocol::wire::ExecCommand;
use std::io::Read;
use std::process::ExitCode;
use std::time::Duration;
use tokio::sync::mpsc;

/// How long a command over serial may take when nothing is said.
const SERIAL_TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) fn run(context: &Context, wishes: &Exec) -> Outcome {
    if wishes.serial {
        return over_serial(context, wishes);
    }
    link::block_on(async {
        let link = match Link::connect(context, wishes.board.as_deref()).await {
            Ok(link) => link,
            // Nothing was started yet, so the console can be asked instead; but it has no standard input to give.
            Err(failure) if !wishes.stdin && link::running(context, wishes.board.as_deref()).is_some() => {
                context
                    .report
                    .say(format_args!("{}; using the serial console", failure.message));
                return over_serial(context, wishes);
            }
            Err(failure) => return Err(failure),
        };
        over_quic(context, &link, wishes).await
    })
}

/// One word is a line for the shell; several are a program and its arguments.
fn argv(words: &[String]) -> Vec<String> {
    match words {
        [line] => vec!["/bin/sh".into(), "-c".into(), line.clone()],
        words => words.to_vec(),
    }
}

/// The same as one line; in a shell of its own, so that `exit` and `cd` are the command's and not the console's.
fn line(words: &[String]) -> String {
    match words {
        [line] => format!("sh -c {}", quoted(line)),
        words => words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "),
    }
}

fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./=:,+@%".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

async fn over_quic(context: &Context, link: &Link, wishes: &Exec) -> Outcome {
    let command = ExecCommand {
        argv: argv(&wishes.command),
        has_stdin: wishes.stdin,
        timeout_ms: wishes.timeout.map(|seconds| seconds.saturating_mul(1000)),
    };
    let mut exec = link.client.exec(command).await.map_err(|error| exec_failure(&error))?;
    let mut input = wishes.stdin.then(read_stdin);
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    loop {
        // Output first: a command that ends without reading everything must not be waited for by its input.
        let next = tokio::select! {
            biased;
            output = exec.next() => output.map_err(|error| exec_failure(&error))?,
            typed = from(&mut input) => {
                match typed {
                    Some(bytes) if exec.write_stdin(&bytes).await.is_ok() => {}
                    _ => {
                        exec.close_stdin();
                        input = None;
                    }
                }
                continue;
            }
        };
        match next {
            Output::Stdout(bytes) if context.is_json => stdout.extend(bytes),
            Output::Stderr(bytes) if context.is_json => stderr.extend(bytes),
            Output::Stdout(bytes) => write(&mut std::io::stdout(), &bytes)?,
            Output::Stderr(bytes) => write(&mut std::io::stderr(), &bytes)?,
            Output::Exit(exit) => {
                if context.is_json {
                    print(&stdout, &stderr, exit.shell_status(), exit.signal)?;
                }
                return Ok(status_code(exit.shell_status()));
            }
        }
    }
}

async fn from(input: &mut Option<mpsc::Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    match input {
        Some(receiver) => receiver.recv().await,
        None => std::future::pending().await,
    }
}

/// Standard input, read on a thread of its own: it may block for ever.
fn read_stdin() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(4);
    std::thread::spawn(move || {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(count @ 1..) = std::io::stdin().read(&mut buffer) {
            if sender
                .blocking_send(buffer.get(..count).unwrap_or_default().to_vec())
                .is_err()
            {
                return;
            }
        }
    });
    receiver
}

fn over_serial(context: &Context, wishes: &Exec) -> Outcome {
    if wishes.stdin {
        return Err(Failure::new(
            "exec.stdin",
            "the serial console has no standard input to give to a command",
        )
        .exit(Exit::Usage));
    }
    let state = RunState::find(&context.workspace, wishes.board.as_deref())?;
    let mut serial = Serial::attach(&context.workspace.run_folder(&state.board))?;
    let limit = wishes.timeout.map_or(SERIAL_TIMEOUT, Duration::from_secs);
    let output = serial.run(&line(&wishes.command), limit)?;
    if context.is_json {
        print(output.text.as_bytes(), b"", output.status, None)?;
    } else {
        write(&mut std::io::stdout(), output.text.as_bytes())?;
    }
    Ok(status_code(output.status))
}

fn print(stdout: &[u8], stderr: &[u8], status: i32, signal: Option<i32>) -> Outcome {
    super::print_json(&serde_json::json!({
        "stdout": String::from_utf8_lossy(stdout), "stderr": String::from_utf8_lossy(stderr),
        "exitCode": status, "signal": signal,
    }))
}

fn status_code(status: i32) -> ExitCode {
    ExitCode::from(u8::try_from(status & 0xff).unwrap_or(255))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn one_word_is_a_line_and_several_are_arguments() {
        assert_eq!(argv(&words(&["ls | wc"])), ["/bin/sh", "-c", "ls | wc"]);
        assert_eq!(argv(&words(&["ls", "a b"])), ["ls", "a b"]);
        assert_eq!(line(&words(&["ls | wc"])), "sh -c 'ls | wc'");
        assert_eq!(
            line(&words(&["echo", "a b", "it's", "", "-x=/y"])),
            "echo 'a b' 'it'\\''s' '' -x=/y"
        );
    }
}
