//! `state.json` in a board's run folder: who runs it and how to reach it. It counts only while the processes that it
//! names live, told apart from later ones with the same id by their start time.

use crate::failure::{Exit, Failure, OrFail, Outcome};
use crate::workspace::Workspace;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

const FILE: &str = "state.json";

/// A running board.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunState {
    pub(crate) board: String,
    pub(crate) qemu: Process,
    pub(crate) supervisor: Process,
    /// UDP port on the loopback interface that reaches the board's agent.
    pub(crate) agent_port: Option<u16>,
    /// Unix time in milliseconds.
    pub(crate) started_ms: u64,
    pub(crate) command: Vec<String>,
}

/// A process, not to be confused with another that got its id later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// Field 22 of `/proc/PID/stat`: clock ticks since the host's boot.
    pub(crate) start_ticks: u64,
}

impl Process {
    /// The process that has `pid` now.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some(Self {
            pid,
            start_ticks: start_ticks(&stat)?,
        })
    }

    /// What [`Display`](std::fmt::Display) wrote.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (pid, start_ticks) = text.split_once(':')?;
        Some(Self {
            pid: pid.parse().ok()?,
            start_ticks: start_ticks.parse().ok()?,
        })
    }

    pub(crate) fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }
}

impl std::fmt::Display for Process {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}:{}", self.pid, self.start_ticks)
    }
}

/// `None` for a zombie too: it runs no more.
fn start_ticks(stat: &str) -> Option<u64> {
    // The name (field 2) is in brackets and may itself contain anything.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

impl RunState {
    /// The state of `board` if it runs.
    pub(crate) fn load(workspace: &Workspace, board: &str) -> Option<Self> {
        let text = fs::read_to_string(workspace.run_folder(board).join(FILE)).ok()?;
        let state: Self = serde_json::from_str(&text).ok()?;
        state.qemu.is_alive().then_some(state)
    }

    /// The board that was named, or the only one that runs.
    pub(crate) fn find(workspace: &Workspace, board: Option<&str>) -> Outcome<Self> {
        let not_running = |what: String| {
            Failure::new("board.not-running", what)
                .exit(Exit::NotRunning)
                .fix("cargo sis up, or cargo sis run BOARD")
        };
        if let Some(name) = board {
            workspace.board(name)?;
            return Self::load(workspace, name).ok_or_else(|| not_running(format!("{name} is not running")));
        }
        let mut running: Vec<_> = workspace
            .boards()?
            .iter()
            .filter_map(|name| Self::load(workspace, name))
            .collect();
        match (running.pop(), running.is_empty()) {
            (Some(state), true) => Ok(state),
            (None, _) => Err(not_running("no board is running".into())),
            (Some(_), false) => Err(Failure::new("board.which", "more than one board is running")
                .exit(Exit::Usage)
                .fix("say which: --board NAME")),
        }
    }

    pub(crate) fn save(&self, run_folder: &Path) -> Outcome<()> {
        let text = serde_json::to_string_pretty(self).or_fail("run.state")?;
        let part = run_folder.join(".state.json.part");
        fs::write(&part, text)
            .and_then(|()| fs::rename(part, run_folder.join(FILE)))
            .or_fail("run.state")
    }

    pub(crate) fn forget(run_folder: &Path) {
        let _ = fs::remove_file(run_folder.join(FILE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_blanks_does_not_shift_the_fields() {
        let fields: Vec<String> = (3..=52).map(|field| field.to_string()).collect();
        let stat = |state: &str| format!("7 (a ) S 1 b) {state} {}", fields[1..].join(" "));
        assert_eq!(start_ticks(&stat("S")), Some(22));
        assert_eq!(start_ticks(&stat("Z")), None);
        assert_eq!(start_ticks("rubbish"), None);
    }

    #[test]
    fn this_process_lives_and_another_of_its_id_does_not() {
        let us = Process::of(std::process::id()).expect("we run");
        assert!(us.is_alive());
        assert_eq!(Process::parse(&us.to_string()), Some(us));
        assert!(
            !Process {
                start_ticks: us.start_ticks + 1,
                ..us
            }
            .is_alive()
        );
    }
}
