//! `build`.

use super::{Context, print_json};
use crate::arguments::Build;
use crate::build::{self, Wishes};
use crate::failure::Outcome;
use std::process::ExitCode;

pub(crate) fn run(context: &Context, wishes: &Build) -> Outcome {
    let board = context.workspace.board(&wishes.board)?;
    let wishes = Wishes {
        checked: wishes.checked,
        refresh: wishes.refresh,
    };
    let built = build::build(&context.workspace, &board, &wishes, &context.report)?;
    if context.is_json {
        return print_json(&serde_json::json!({ "folder": built.folder, "manifest": built.manifest }));
    }
    for file in &built.manifest.files {
        println!("{}  {}", file.sha256, built.folder.join(&file.name).display());
    }
    Ok(ExitCode::SUCCESS)
}
