//! Runs cargo for the kernel and for the programs of the image.

use crate::failure::{Exit, Failure, OrFail, Outcome};
use crate::report::Step;
use crate::workspace::Workspace;
use sis_qemu::Board;
use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The kernel's ELF file.
pub(super) fn kernel(workspace: &Workspace, board: &Board, profile: &str, step: &Step) -> Outcome<Vec<u8>> {
    let package = &board.image.package;
    let arguments = [
        "-p",
        package,
        "--bin",
        package,
        "--target",
        &board.image.target,
        "--profile",
        profile,
    ];
    let mut executables = cargo(workspace, "build.kernel", &arguments, step)?;
    let Some(path) = executables.remove(package) else {
        return Err(Failure::new(
            "build.kernel",
            format_args!("cargo built no program named {package}"),
        ));
    };
    std::fs::read(&path).map_err(|error| Failure::new("build.kernel", format_args!("{}: {error}", path.display())))
}

/// The paths of the programs of these packages.
pub(super) fn programs(
    workspace: &Workspace,
    names: &[&str],
    target: &str,
    step: &Step,
) -> Outcome<HashMap<String, PathBuf>> {
    let mut arguments = vec!["--target", target, "--profile", "firmware"];
    for name in names {
        arguments.extend(["-p", name]);
    }
    cargo(workspace, "build.programs", &arguments, step)
}

/// Runs `cargo build` and gives the executables that it made, by name.
fn cargo(
    workspace: &Workspace,
    code: &'static str,
    arguments: &[&str],
    step: &Step,
) -> Outcome<HashMap<String, PathBuf>> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut child = Command::new(program)
        .args(["build", "--message-format=json-render-diagnostics"])
        .args(arguments)
        .current_dir(workspace.root())
        .env("SIS_REVISION", workspace.revision())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| Failure::new(code, format_args!("cargo could not be started: {error}")).exit(Exit::Missing))?;

    let output = child.stdout.take();
    let reader =
        std::thread::spawn(move || executables(output.into_iter().flat_map(|pipe| BufReader::new(pipe).lines())));
    let mut said = String::new();
    if let Some(pipe) = child.stderr.take() {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            step.now(line.trim());
            said.push_str(&line);
            said.push('\n');
        }
    }
    let status = child.wait().or_fail(code)?;
    let executables = reader.join().unwrap_or_default();
    if status.success() {
        return Ok(executables);
    }
    let mut failure = Failure::new(
        code,
        format_args!("cargo build {}\n{}", arguments.join(" "), said.trim_end()),
    );
    if said.contains("target may not be installed") || said.contains("aarch64-linux-gnu") {
        failure = failure.exit(Exit::Missing).fix("cargo sis setup");
    }
    Err(failure)
}

/// What the messages of cargo (`--message-format=json`) say was linked.
fn executables(lines: impl Iterator<Item = std::io::Result<String>>) -> HashMap<String, PathBuf> {
    lines
        .map_while(Result::ok)
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(&line).ok())
        .filter_map(|message| {
            let path = Path::new(message.get("executable")?.as_str()?).to_path_buf();
            Some((message.pointer("/target/name")?.as_str()?.to_owned(), path))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_executables_are_taken_from_cargos_messages() {
        let lines = [
            r#"{"reason":"compiler-artifact","target":{"name":"object"},"executable":null}"#,
            r#"{"reason":"compiler-artifact","target":{"name":"sis-init"},"executable":"/t/sis-init"}"#,
            "not json",
            r#"{"reason":"build-finished","success":true}"#,
        ];
        let found = executables(lines.into_iter().map(|line| Ok(line.to_owned())));
        assert_eq!(
            found.into_iter().collect::<Vec<_>>(),
            [("sis-init".to_owned(), PathBuf::from("/t/sis-init"))]
        );
    }
}
