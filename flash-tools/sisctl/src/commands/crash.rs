//! `crash`: the power-cut harness of `tests/crash`, with what it boots built first.

use super::Context;
use crate::arguments::Crash;
use crate::build::{self, Wishes};
use crate::failure::{OrFail, Outcome};
use std::process::{Command, ExitCode};

/// The board that is cut.
const BOARD: &str = "qemu-virt";
/// The board whose build brings Debian's kernel.
const REFERENCE: &str = "rpi4";

pub(crate) fn run(context: &Context, wishes: &Crash) -> Outcome {
    if !wishes.no_build {
        let boards: &[&str] = if wishes.linux { &[BOARD, REFERENCE] } else { &[BOARD] };
        for board in boards {
            let board = context.workspace.board(board)?;
            let checked = Wishes {
                checked: true,
                refresh: false,
            };
            build::build(&context.workspace, &board, &checked, &context.report)?;
        }
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["run", "--quiet", "--package", "sis-crash", "--"])
        .args(["--cuts", &wishes.cuts.to_string(), "--seed", &wishes.seed.to_string()])
        .args(["--kernel", if wishes.linux { "linux" } else { "sis" }]);
    if let Some(folder) = &wishes.keep {
        // The harness runs in the workspace's root.
        let folder = std::path::absolute(folder).or_fail("crash.keep")?;
        command.arg("--keep").arg(folder);
    }
    let status = command
        .args(&wishes.more)
        .current_dir(context.workspace.root())
        .status()
        .or_fail("crash.run")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(1)))
}
