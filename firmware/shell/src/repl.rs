//! Read a line, run it, again.

use std::fs;
use std::io::{Write, stdin, stdout};
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::process::ExitCode;

use nix::sys::signal::{SigSet, Signal};

use crate::ash::{Ash, Ran};
use crate::commands;
use crate::line::complete::Commands;
use crate::line::editor::{Editor, MAX_CHARS, Step};
use crate::line::history::History;
use crate::line::keys::Keys;
use crate::terminal::{self, Terminal};

/// What a person and a program see when the shell waits for a line.
const PROMPT: &str = "sis> ";

/// The shell on standard input.
pub(crate) fn run() -> ExitCode {
    // ^C and ^Z are for what runs in the foreground, never for the shell: blocked here, unblocked by
    // `--released` in what it starts.
    let mut held = SigSet::empty();
    for signal in [
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTSTP,
        Signal::SIGTTIN,
        Signal::SIGTTOU,
    ] {
        held.add(signal);
    }
    if let Err(error) = held.thread_block() {
        eprintln!("sis-shell: cannot hold signals: {error}");
    }
    let terminal = Terminal::open();
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
    let mut history = if terminal.is_some() {
        History::load(home.join(".sis_history"))
    } else {
        History::in_memory()
    };
    if terminal.is_some() {
        println!("SIS {}: type help for the commands", env!("CARGO_PKG_VERSION"));
    }
    let mut ash = Ash::start(terminal.is_some());
    loop {
        let read = match &terminal {
            Some(terminal) => edited_line(terminal, &history, &ash),
            None => plain_line(),
        };
        let line = match read {
            Input::Line(line) => line,
            Input::Again => continue,
            Input::End => return ExitCode::SUCCESS,
        };
        if line.trim().is_empty() {
            continue;
        }
        history.add(&line);
        match ash.run(&line, terminal.is_some()) {
            Ran::Status(_) => {}
            Ran::Exit(status) => return ExitCode::from(status),
        }
    }
}

/// What reading came to.
enum Input {
    Line(String),
    Again,
    End,
}

/// One byte of standard input; nothing at its end. A single byte at a time, so that what is typed ahead is left to the
/// program that runs next.
fn byte() -> Option<u8> {
    let mut byte = [0];
    loop {
        match stdin_unbuffered(&mut byte) {
            Ok(0) => return None,
            Ok(_) => return Some(byte[0]),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(_) => return None,
        }
    }
}

fn stdin_unbuffered(buffer: &mut [u8]) -> rustix::io::Result<usize> {
    rustix::io::read(stdin(), buffer)
}

fn say(text: &str) {
    let mut out = stdout();
    // A terminal that hangs up ends the next read.
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

fn edited_line(terminal: &Terminal, history: &History, ash: &Ash) -> Input {
    if terminal.raw().is_err() {
        return plain_line();
    }
    say(PROMPT);
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/sbin:/bin".into());
    let completer = Commands {
        own: &commands::NAMES,
        path: std::env::split_paths(&path).collect(),
        directory: ash.directory(),
    };
    let mut editor = Editor::new(PROMPT, terminal::columns());
    let mut keys = Keys::default();
    let mut out = String::new();
    let read = loop {
        let Some(byte) = byte() else { break Input::End };
        let Some(key) = keys.feed(byte) else { continue };
        let step = editor.key(key, history, &completer, &mut out);
        say(&out);
        out.clear();
        match step {
            Step::More => {}
            Step::Line(line) => break Input::Line(line),
            Step::Interrupted => break Input::Again,
            Step::End => break Input::End,
        }
    };
    // A hung-up terminal cannot be set; the next read ends the shell.
    let _ = terminal.cooked();
    read
}

/// A line as it comes, for a pipe, a file, or a console without terminal modes (which gets the prompt).
fn plain_line() -> Input {
    let is_console = fs::metadata("/dev/fd/0").is_ok_and(|m| m.file_type().is_char_device());
    if is_console {
        say(PROMPT);
    }
    let mut line = Vec::new();
    loop {
        match byte() {
            None if line.is_empty() => return Input::End,
            None | Some(b'\n' | b'\r') => return Input::Line(String::from_utf8_lossy(&line).into_owned()),
            Some(_) if line.len() >= 4 * MAX_CHARS => {}
            Some(byte) => line.push(byte),
        }
    }
}
