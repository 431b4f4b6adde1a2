//! `cargo sis up`: boards that run from their cards, and what they keep.

use std::path::{Path, PathBuf};
use std::process::Command;

use sis_harness::{Failure, Result, workspace};
use sis_suites::disks::tool;
use sis_suites::{RPI4, VIRT};

/// A host of its own: its keys are gone when this is dropped, and no board runs any more.
struct Host {
    home: PathBuf,
    board: &'static str,
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.sis(&["down", self.board]);
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

impl Host {
    fn new(board: &'static str) -> Result<Self> {
        let home = workspace().join(format!("target/sis/disks/home-{board}-{}", std::process::id()));
        std::fs::create_dir_all(&home).map_err(Failure::new)?;
        Ok(Self { home, board })
    }

    /// What `cargo sis` says.
    fn sis(&self, arguments: &[&str]) -> Result<String> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command
            .args(["run", "--quiet", "--package", "sisctl", "--", "--quiet"])
            .args(arguments)
            .env("SIS_HOME", &self.home)
            .current_dir(workspace());
        Ok(String::from_utf8_lossy(&tool(&mut command)?).into_owned())
    }

    fn exec(&self, command: &str) -> Result<String> {
        self.sis(&["exec", "--board", self.board, "--", "sh", "-c", command])
    }
}

/// Somebody who works here may have the board running: it is theirs.
fn is_in_use(board: &str) -> bool {
    let state = workspace().join(format!("target/sis/run/{board}/state.json"));
    let text = std::fs::read_to_string(state).unwrap_or_default();
    let state: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    state["qemu"]["pid"]
        .as_u64()
        .is_some_and(|pid| Path::new(&format!("/proc/{pid}")).exists())
}

fn comes_up_from_its_card_and_keeps_its_data(board: &'static str) -> Result<()> {
    if is_in_use(board) {
        return Err(Failure::new(format_args!(
            "{board} runs already: cargo sis down {board}"
        )));
    }
    let host = Host::new(board)?;
    let mark = format!("{}-{}", std::process::id(), board);
    let up = || -> Result<serde_json::Value> {
        let said = host.sis(&["--json", "up", "--board", board, "--checked"])?;
        serde_json::from_str(said.trim()).map_err(Failure::new)
    };
    let first = up()?;
    assert_eq!(
        (&first["link"], &first["role"]),
        (&"online".into(), &"owner".into()),
        "{first}"
    );
    let mounts = host.exec("awk '$3 == \"ext4\" { print $2 }' /proc/mounts")?;
    assert_eq!(mounts.trim(), "/\n/data");
    host.exec(&format!("echo {mark} >/data/up; sync"))?;
    // Restarted, by itself and by its host: the same board, the same key, the same data.
    host.sis(&["down", board])?;
    let second = up()?;
    assert_eq!(second["link"], "online", "{second}");
    assert_eq!(host.exec("cat /data/up")?.trim(), mark);
    let status = host.sis(&["--json", "update", board])?;
    let status: serde_json::Value = serde_json::from_str(status.trim()).map_err(Failure::new)?;
    assert_eq!(status["running"], status["committed"], "{status}");
    Ok(())
}

#[test]
fn virt_comes_up_from_its_card_and_keeps_its_data() -> Result<()> {
    comes_up_from_its_card_and_keeps_its_data(VIRT)
}

#[test]
fn the_pi_comes_up_from_its_card_and_keeps_its_data() -> Result<()> {
    comes_up_from_its_card_and_keeps_its_data(RPI4)
}
