//! The SIS command line: builds boards, runs them, talks to them. Run it as `cargo sis`.
//!
//! Arguments become resolved wishes here; each command is a file under `commands/`. What other programs could want is
//! in the libraries `sis-image` and `sis-qemu`. Exit codes are deliberate: see [`failure::Exit`].
#![forbid(unsafe_code)]

/// As the standard one, but a reader that has gone away (`| head`) is no reason to panic.
macro_rules! println {
    ($($arguments:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($arguments)*);
    }};
}

mod apt;
mod arguments;
mod build;
mod commands;
mod failure;
mod link;
mod needs;
mod report;
mod run_state;
mod serial;
mod terminal;
mod workspace;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = arguments::Arguments::parse();
    let is_json = arguments.json;
    match commands::run(arguments) {
        Ok(code) => code,
        Err(failure) => {
            failure.print(is_json);
            failure.exit.into()
        }
    }
}
