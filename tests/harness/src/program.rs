//! Programs for EL0 that only tests need.

use crate::failure::{Failure, Result};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Builds the binary `name` of `package` for the board (static, musl) and gives its bytes.
///
/// # Errors
/// When cargo cannot build it; cargo's words are in the failure.
pub fn guest_program(package: &str, name: &str) -> Result<Vec<u8>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "build",
            "--message-format=json-render-diagnostics",
            "--profile",
            "firmware",
        ])
        .args(["--target", "aarch64-unknown-linux-musl", "-p", package, "--bin", name])
        .current_dir(crate::workspace())
        .stdin(Stdio::null())
        .output()
        .map_err(Failure::new)?;
    if !output.status.success() {
        return Err(Failure::new(String::from_utf8_lossy(&output.stderr)));
    }
    let path = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message.pointer("/target/name").and_then(|found| found.as_str()) == Some(name))
        .find_map(|message| Some(PathBuf::from(message.get("executable")?.as_str()?)))
        .ok_or_else(|| Failure::new(format_args!("cargo built no program named {name}")))?;
    std::fs::read(&path).map_err(Failure::new)
}
