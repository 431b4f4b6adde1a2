//! `image`.

use super::{Context, print_json};
use crate::arguments::Image;
use crate::build::card;
use crate::build::key::Key;
use crate::build::{self, Wishes};
use crate::failure::{Exit, Failure, Outcome};
use sis_image::card::layout::Layout;
use std::process::ExitCode;

pub(crate) fn run(context: &Context, wishes: &Image) -> Outcome {
    let board = context.workspace.board(&wishes.board)?;
    let layout =
        Layout::new(&board.name, wishes.size).map_err(|error| Failure::new("image.size", error).exit(Exit::Usage))?;
    // Before a build that may take minutes.
    let key = Key::find(&context.workspace, wishes.sign.as_deref())?;
    if !wishes.no_build {
        let wishes = Wishes {
            checked: wishes.checked,
            refresh: wishes.refresh,
        };
        build::build(&context.workspace, &board, &wishes, &context.report)?;
    }
    let folder = context.workspace.build_folder(&board.name);
    let making = card::Wishes {
        layout,
        out: wishes.out.as_deref().unwrap_or(&folder),
        firmware: wishes.firmware.as_deref(),
        overlay: wishes.overlay.as_deref(),
        release: wishes.release.clone(),
        refresh: wishes.refresh,
    };
    let made = card::make(&context.workspace, &board, &making, &key, &context.report)?;
    if context.is_json {
        return print_json(&serde_json::json!({
            "folder": making.out, "files": made.files, "manifest": made.manifest, "without": made.without,
            "key": { "path": key.path, "development": key.is_development, "public": key.signer.public_pem() },
        }));
    }
    println!(
        "{}  {}",
        made.manifest.image.sha256,
        making.out.join(card::IMAGE).display()
    );
    for file in made.files.iter().skip(1) {
        println!("{}", file.display());
    }
    if let Some(firmware) = &made.manifest.firmware {
        println!("firmware: {firmware}, not ours to distribute");
    }
    for name in &made.without {
        println!("without {name}, which the firmware does not bring");
    }
    let kind = if key.is_development {
        "this workspace's development key"
    } else {
        "the key"
    };
    println!("signed with {kind} {}", key.path.display());
    Ok(ExitCode::SUCCESS)
}
