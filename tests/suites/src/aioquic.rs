//! A second, independent QUIC implementation: aioquic, in Python, with the agent's own test client (`firmware/agent/tests`).
//!
//! Runs where `$SIS_PYTHON`, the project's virtual environment (`cargo sis setup` makes it in `target/sis/venv`) or `python3` has aioquic; with
//! `SIS_REQUIRE_AIOQUIC` set it is a failure that none has.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use sis_harness::{Failure, Result};
use sis_protocol::pairing::PairLink;

/// A Python that has aioquic.
///
/// # Errors
/// When there is none and there must be.
pub fn python() -> Result<Option<PathBuf>> {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| sis_harness::workspace().join("target"), PathBuf::from);
    let candidates = std::env::var_os("SIS_PYTHON")
        .map(PathBuf::from)
        .into_iter()
        .chain([target.join("sis/venv/bin/python3"), "python3".into()]);
    let has_it = |python: &PathBuf| {
        let check = Command::new(python)
            .args(["-c", "import aioquic"])
            .stderr(Stdio::null())
            .status();
        check.is_ok_and(|status| status.success())
    };
    let found = candidates.into_iter().find(has_it);
    if found.is_none() && std::env::var_os("SIS_REQUIRE_AIOQUIC").is_some() {
        return Err(Failure::new("no Python with aioquic was found"));
    }
    Ok(found)
}

/// What each kind of client got from the agent on this port of this host; the last of them pairs with the link's token.
///
/// # Errors
/// When the client itself fails.
pub fn attempts(python: &Path, port: u16, link: &PairLink) -> Result<Value> {
    let token: String = link.token.iter().map(|byte| format!("{byte:02x}")).collect();
    let output = Command::new(python)
        .arg(sis_harness::workspace().join("firmware/agent/tests/aioquic_client.py"))
        .args([port.to_string(), link.key.to_string(), token])
        .stdin(Stdio::null())
        .output()
        .map_err(Failure::new)?;
    if !output.status.success() {
        return Err(Failure::new(String::from_utf8_lossy(&output.stderr)));
    }
    serde_json::from_slice(&output.stdout).map_err(Failure::new)
}
