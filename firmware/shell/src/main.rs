//! The `sis>` serial shell.
//!
//! The shell is two things that meet in one program. In front is a line editor with history and completion; behind it
//! one BusyBox `ash` lives as long as the shell and runs what is typed, so that variables, functions, the working
//! directory, `$?`, pipes and job control are `ash`'s own ([`ash`]). The shell's own commands (`selfcheck`,
//! `metrics`, `memctl`, ...) are programs to `ash` like any other: this same program under another name, so that they
//! work in pipes and stop at ^C.
#![forbid(unsafe_code)]

mod ash;
mod checks;
mod commands;
mod control;
mod line;
mod repl;
mod terminal;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args_os()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let called_as = words.first().map_or("", String::as_str);
    let name = Path::new(called_as).file_name().and_then(|n| n.to_str()).unwrap_or("");
    let arguments: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
    // Under its own name the first word is the command; a link called `memctl` is the command `memctl`.
    if let Some(command) = commands::find(name) {
        return command.run(&arguments);
    }
    match arguments.split_first() {
        None => repl::run(),
        Some((&"-c", rest)) => match rest {
            [line] => ash::run_once(line),
            _ => usage(),
        },
        Some((&"--released", rest)) => match rest.split_first() {
            Some((program, rest)) => ash::release(program, rest),
            None => usage(),
        },
        Some((&("--help" | "-h"), _)) => {
            println!("usage: sis-shell                  read commands from standard input");
            println!("       sis-shell -c LINE          run one line");
            println!("       sis-shell COMMAND [ARG...] run one of its own commands:\n");
            commands::print_table();
            ExitCode::SUCCESS
        }
        Some((&"--version", _)) => {
            println!("sis-shell {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        Some((name, rest)) => commands::find(name).map_or_else(usage, |command| command.run(rest)),
    }
}

fn usage() -> ExitCode {
    eprintln!("sis-shell: not understood; see sis-shell --help");
    ExitCode::from(2)
}
