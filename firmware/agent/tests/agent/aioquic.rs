//! A second, independent QUIC implementation: aioquic, in Python.
//!
//! Runs where `$SIS_PYTHON`, the project's virtual environment (`cargo sis setup` makes it in `target/sis/venv`) or `python3` has aioquic, and says
//! so where none has; with `SIS_REQUIRE_AIOQUIC` set that is a failure.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use sis_protocol::pairing::Role;
use sis_protocol::wire::CloseCode;

use crate::support::Board;

fn python() -> Option<PathBuf> {
    let chosen = std::env::var_os("SIS_PYTHON").map(PathBuf::from);
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    let candidates = chosen
        .into_iter()
        .chain([target.join("sis/venv/bin/python3"), "python3".into()]);
    candidates.into_iter().find(|python| {
        let check = Command::new(python)
            .args(["-c", "import aioquic"])
            .stderr(Stdio::null())
            .status();
        check.is_ok_and(|status| status.success())
    })
}

#[tokio::test]
async fn aioquic_completes_the_handshake_and_is_refused_without_pairing() {
    let Some(python) = python() else {
        assert!(
            std::env::var_os("SIS_REQUIRE_AIOQUIC").is_none(),
            "no Python with aioquic was found"
        );
        eprintln!("skipped: no Python with aioquic was found; `cargo sis setup` installs it");
        return;
    };
    let board = Board::start();
    let link = board.agent.new_pairing(Role::Viewer).unwrap();
    let token: String = link.token.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut command = Command::new(python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/aioquic_client.py"));
    command.args([link.addresses[0].port().to_string(), link.key.to_string(), token]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let results: Value = serde_json::from_slice(&output.stdout).unwrap();

    let refusals = [
        ("noCertificate", CloseCode::NoCertificate),
        ("strangerGreets", CloseCode::NotPaired),
        ("strangerAsksForMetrics", CloseCode::NotPaired),
        ("strangerSendsNoise", CloseCode::NotPaired),
    ];
    for (case, code) in refusals {
        let seen = &results[case];
        assert_eq!(seen["handshake"], true, "{case}: {seen} {stderr}");
        assert_eq!(seen["alpn"], "sis/1", "{case}: {seen}");
        assert_eq!(seen["key"], link.key.to_string(), "{case}: {seen}");
        assert_eq!(seen["code"], code.code(), "{case}: {seen}");
        assert_eq!(
            (&seen["streamBytes"], &seen["datagrams"]),
            (&0.into(), &0.into()),
            "{case}: {seen}"
        );
    }
    // With the token it is a client like any other.
    let paired = &results["pairs"];
    assert!(
        paired["streamBytes"].as_u64() > Some(0) && paired["datagrams"].as_u64() > Some(0),
        "{paired} {stderr}"
    );
}
