//! One file a command.

mod approvals;
mod build;
pub(crate) mod console;
mod crash;
mod doctor;
mod down;
mod exec;
mod flash;
mod fuzz;
mod image;
mod logs;
mod memory;
mod metrics;
mod pair;
mod run;
mod selfcheck;
mod setup;
mod soak;
mod status;
mod test;
mod up;
mod update;
mod watch;

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
        Action::Update(wishes) => update::run(&context, &wishes),
        Action::Flash(wishes) => flash::run(&context, &wishes),
        Action::Image(wishes) => image::run(&context, &wishes),
        Action::Run(wishes) => run::run(&context, &wishes),
        Action::Console(which) => console::run(&context, which.board.as_deref()),
        Action::Down(which) => down::run(&context, which.board.as_deref()),
        Action::Up(wishes) => up::run(&context, &wishes),
        Action::Pair(wishes) => pair::run(&context, &wishes),
        Action::Watch(target) => watch::run(&context, target.board.as_deref()),
        Action::Approvals(target) => approvals::list(&context, target.board.as_deref()),
        Action::Approve(wishes) => approvals::decide(&context, approvals::Verdict::Approve, &wishes),
        Action::Reject(wishes) => approvals::decide(&context, approvals::Verdict::Reject, &wishes),
        Action::Exec(wishes) => exec::run(&context, &wishes),
        Action::Selfcheck(wishes) => selfcheck::run(&context, &wishes),
        Action::Logs(wishes) => logs::run(&context, &wishes),
        Action::Metrics(wishes) => metrics::run(&context, &wishes),
        Action::Memory(wishes) => memory::run(&context, &wishes),
        Action::Status(target) => status::run(&context, target.board.as_deref()),
        Action::Fuzz(wishes) => fuzz::run(&context, &wishes),
        Action::Soak(wishes) => soak::run(&context, &wishes),
        Action::Doctor => doctor::run(&context),
        Action::Setup(wishes) => setup::run(&context, &wishes),
        Action::Test(wishes) => test::run(&context, &wishes),
        Action::Crash(wishes) => crash::run(&context, &wishes),
        Action::Supervise(wishes) => run::supervise(&context, &wishes),
    }
}

/// Prints a result as JSON.
pub(crate) fn print_json(value: &impl serde::Serialize) -> Outcome {
    use crate::failure::OrFail;
    println!("{}", serde_json::to_string(value).or_fail("output.json")?);
    Ok(ExitCode::SUCCESS)
}
