//! Where things are.

use crate::failure::{Exit, Failure, Outcome};
use sis_qemu::Board;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The checked-out workspace.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The workspace around the current folder, or else the one that this program was built from.
    pub(crate) fn find() -> Outcome<Self> {
        let is_root = |folder: &&Path| folder.join("Cargo.toml").is_file() && folder.join("boards").is_dir();
        let here = std::env::current_dir().unwrap_or_default();
        let built_from = Path::new(env!("CARGO_MANIFEST_DIR"));
        here.ancestors()
            .find(is_root)
            .or_else(|| built_from.ancestors().find(is_root))
            .map_or_else(
                || {
                    Err(Failure::new(
                        "workspace.missing",
                        "the SIS workspace is neither around here nor where it was built",
                    )
                    .fix("run it inside the checked-out repository"))
                },
                |root| Ok(Self { root: root.into() }),
            )
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn board(&self, name: &str) -> Outcome<Board> {
        Board::load(&self.root, name).map_err(|error| {
            let exit = if matches!(error, sis_qemu::board::BoardError::Unknown { .. }) {
                Exit::Usage
            } else {
                Exit::Failed
            };
            Failure::new("board.unknown", error).exit(exit)
        })
    }

    pub(crate) fn boards(&self) -> Outcome<Vec<String>> {
        Board::names(&self.root).map_err(|error| Failure::new("board.list", error))
    }

    fn output(&self) -> PathBuf {
        self.root.join("target").join("sis")
    }

    /// What was built for `board`.
    pub(crate) fn build_folder(&self, board: &str) -> PathBuf {
        self.output().join(board)
    }

    /// Foreign packages.
    pub(crate) fn cache_folder(&self) -> PathBuf {
        self.output().join("cache")
    }

    /// Keys of this workspace's own.
    pub(crate) fn keys_folder(&self) -> PathBuf {
        self.output().join("keys")
    }

    /// State of a running `board`.
    pub(crate) fn run_folder(&self, board: &str) -> PathBuf {
        self.output().join("run").join(board)
    }

    /// The git revision, with `-dirty` when tracked files have changed.
    pub(crate) fn revision(&self) -> String {
        let git = |arguments: &[&str]| {
            let output = Command::new("git")
                .args(arguments)
                .current_dir(&self.root)
                .output()
                .ok()?;
            output
                .status
                .success()
                .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        let Some(revision) = git(&["rev-parse", "--short=12", "HEAD"]) else {
            return "unknown".into();
        };
        match git(&["status", "--porcelain", "--untracked-files=no"]) {
            Some(changes) if changes.is_empty() => revision,
            _ => format!("{revision}-dirty"),
        }
    }
}
