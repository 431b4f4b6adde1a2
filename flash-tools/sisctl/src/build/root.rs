//! What a card's root has besides what every root has.

use super::key::Key;
use super::read;
use crate::failure::{Failure, OrFail, Outcome};
use sis_image::manifest::Manifest;
use sis_image::root::{Archive, Node};
use sis_qemu::Board;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Says in the root what system it is, and whose updates it takes.
pub(super) fn identify(
    root: &mut Archive,
    board: &Board,
    version: &semver::Version,
    built: &Manifest,
    key: &Key,
) -> Outcome<()> {
    let release = serde_json::json!({
        "board": board.name, "version": version, "revision": built.revision, "buildId": built.build_id,
    });
    let mut add = |path: &str, node, mode| root.add(path, node, mode).or_fail("image.root");
    add("/etc/sis", Node::Directory, 0o755)?;
    add(
        "/etc/sis/release.json",
        Node::File(format!("{release}\n").into_bytes()),
        0o644,
    )?;
    add("/etc/sis/update-keys", Node::Directory, 0o755)?;
    let public = key.signer.public_pem().into_bytes();
    add("/etc/sis/update-keys/image.pem", Node::File(public), 0o644)
}

/// Puts what is in `folder` into the root below `at`, in the place of what is there: files (executable where they are), folders
/// and symbolic links.
pub(super) fn lay_over(root: &mut Archive, folder: &Path, at: &str) -> Outcome<()> {
    let code = "image.overlay";
    let failed = |error: std::io::Error| Failure::new(code, format_args!("{}: {error}", folder.display()));
    let mut entries: Vec<_> = fs::read_dir(folder).and_then(Iterator::collect).map_err(failed)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().into_string().map_err(|name| {
            Failure::new(
                code,
                format_args!("{}: {} is no text", folder.display(), name.display()),
            )
        })?;
        let (path, source) = (format!("{at}/{name}"), entry.path());
        let kind = entry.metadata().map_err(failed)?;
        let (node, mode) = if kind.is_dir() {
            (Node::Directory, 0o755)
        } else if kind.is_symlink() {
            let to = fs::read_link(&source).map_err(failed)?;
            (Node::Link(to.to_string_lossy().into_owned()), 0o777)
        } else if kind.is_file() {
            let is_program = kind.permissions().mode() & 0o111 != 0;
            (Node::File(read(&source)?), if is_program { 0o755 } else { 0o644 })
        } else {
            return Err(Failure::new(code, format_args!("{} is no file", source.display())));
        };
        if !(kind.is_dir() && root.entries().any(|(have, _, _)| have == path.trim_start_matches('/'))) {
            root.replace(&path, node, mode).or_fail(code)?;
        }
        if kind.is_dir() {
            lay_over(root, &source, &path)?;
        }
    }
    Ok(())
}
