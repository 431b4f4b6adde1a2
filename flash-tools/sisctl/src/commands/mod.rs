//! One file a command.

mod build;
mod console;
mod doctor;
mod down;
mod run;
mod setup;
mod test;

use crate::arguments::{Action, Arguments};
use crate::failure::Outcome;
use crate::report::Report;
use crate::workspace::Workspace;
use std::process::ExitCode;

/// What every command needs.
pub(crate) struct Context {
    pub(crate) workspace: Workspace,
    pub(crate) report: Report,
    pub(crate) is_json: bool,
}

/// Does what `arguments` say.
pub(crate) fn run(arguments: Arguments) -> Outcome {
    let context = Context {
        workspace: Workspace::find()?,
        report: Report::new(arguments.quiet),
        is_json: arguments.json,
    };
    match arguments.command {
        Action::Build(wishes) => build::run(&context, &wishes),
        Action::Run(wishes) => run::run(&context, &wishes),
        Action::Console(which) => console::run(&context, which.board.as_deref()),
        Action::Down(which) => down::run(&context, which.board.as_deref()),
        Action::Doctor => doctor::run(&context),
        Action::Setup(wishes) => setup::run(&context, &wishes),
        Action::Test(wishes) => test::run(&context, &wishes),
        Action::Supervise(wishes) => run::supervise(&context, &wishes),
    }
}

/// Prints a result as JSON.
pub(crate) fn print_json(value: &impl serde::Serialize) -> Outcome {
    use crate::failure::OrFail;
    println!("{}", serde_json::to_string(value).or_fail("output.json")?);
    Ok(ExitCode::SUCCESS)
}
