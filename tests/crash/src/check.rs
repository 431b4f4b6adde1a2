//! Whether a crash state loses anything: it is recovered, must be sound, and must hold what was acknowledged.

use crate::states::Run;
use sis_workload::{Found, expect, folder};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// What is wrong with a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Loss {
    /// Replaying the journal was not enough: `e2fsck` had to repair.
    #[error("after replay e2fsck had to repair:\n{0}")]
    Repaired(String),
    /// `e2fsck -fn` found something afterwards.
    #[error("after recovery e2fsck finds:\n{0}")]
    Unsound(String),
    /// The board could not mount or unmount it, or read all of it.
    #[error("recovery by mounting: {0}")]
    Mount(String),
    /// The tree cannot be read.
    #[error("the tree cannot be read: {0}")]
    Unreadable(String),
    /// A worker's files are not what they must be.
    #[error("run {seed}, worker {worker}:\n{}", .faults.join("\n"))]
    Files {
        /// Of which run.
        seed: u64,
        /// Which.
        worker: u32,
        /// A line a fault.
        faults: Vec<String>,
    },
}

/// What kept a check from being made at all.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// A program of e2fsprogs.
    #[error("{program}: {reason}")]
    Tool {
        /// Which.
        program: &'static str,
        /// What it said.
        reason: String,
    },
    /// The image cannot be read.
    #[error("the image: {0}")]
    Image(String),
}

/// Where the superblock is, and in it the state and the incompatible features (Linux, Documentation/filesystems/ext4).
const SUPERBLOCK_OFFSET: u64 = 1024;
const SUPERBLOCK_BYTES: usize = 1024;
const STATE: usize = 0x3a;
const STATE_CLEAN: u16 = 1;
const INCOMPATIBLE: usize = 0x60;
const NEEDS_RECOVERY: u16 = 4;

/// `e2fsck`'s exit status: nothing was wrong; something was, and is mended (e2fsck(8)).
const CLEAN: i32 = 0;
const MENDED: i32 = 1;

fn e2fsck(flags: &str, image: &Path) -> Result<(i32, String), CheckError> {
    let tool = |reason: String| CheckError::Tool {
        program: "e2fsck",
        reason,
    };
    let output = Command::new("e2fsck")
        .arg(flags)
        // An extent tree that could be lower is no fault.
        .args(["-E", "no_optimize_extents"])
        .arg(image)
        .env("LC_ALL", "C")
        .env("PATH", path_with_sbin())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| tool(error.to_string()))?;
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let status = output.status.code().ok_or_else(|| tool(text.clone()))?;
    Ok((status, text))
}

/// A person's `PATH` need not have the system's programs.
pub(crate) fn path_with_sbin() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/sbin:/sbin")
}

/// Replays the journal of `image` and cleans up orphans, as mounting would, and nothing else.
///
/// # Errors
/// When `e2fsck` cannot be run.
pub fn replay(image: &Path) -> Result<Result<(), Loss>, CheckError> {
    let (status, text) = e2fsck("-fy", image)?;
    if is_mended(&text) || !(status == CLEAN || status == MENDED) {
        return Ok(Err(Loss::Repaired(text)));
    }
    Ok(Ok(()))
}

/// Whether `e2fsck -fy` says that it has mended something. Whatever it mends it asks about first; it does not ask whether to
/// replay and to finish what was being deleted.
///
/// The superblock's sums of free blocks and inodes are no fault: Linux writes them at unmounting only and counts anew
/// when it mounts (ext4's super.c, `ext4_setup_super` and `ext4_count_free_clusters`).
fn is_mended(text: &str) -> bool {
    let mut before = "";
    for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        let is_sum = ["Free blocks count wrong (", "Free inodes count wrong ("]
            .iter()
            .any(|sum| before.starts_with(sum));
        if line.ends_with("? yes") && !(line == "Fix? yes" && is_sum) {
            return true;
        }
        before = line;
    }
    false
}

/// Whether `e2fsck -fn` finds nothing in `image`, and there is nothing to replay.
///
/// # Errors
/// When `e2fsck` cannot be run.
pub fn sound(image: &Path) -> Result<Result<(), Loss>, CheckError> {
    let (status, text) = e2fsck("-fn", image)?;
    if status != CLEAN {
        return Ok(Err(Loss::Unsound(text)));
    }
    let mut superblock = [0; SUPERBLOCK_BYTES];
    let read = File::open(image).and_then(|file| file.read_exact_at(&mut superblock, SUPERBLOCK_OFFSET));
    read.map_err(|error| CheckError::Image(error.to_string()))?;
    let half = |at: usize| u16::from_le_bytes([superblock[at], superblock[at + 1]]);
    if half(STATE) & STATE_CLEAN == 0 || half(INCOMPATIBLE) & NEEDS_RECOVERY != 0 {
        return Ok(Err(Loss::Unsound("it is still marked as in use".into())));
    }
    Ok(Ok(()))
}

/// Whether everything that the workers had acknowledged is in `image`, and nothing that cannot be.
///
/// # Errors
/// When `debugfs` cannot be run.
pub fn files(image: &Path, runs: &[Run]) -> Result<Result<(), Loss>, CheckError> {
    let tree = image.with_extension("tree");
    let dumped = dump(image, &tree)?;
    let judged = dumped.and_then(|()| runs.iter().try_for_each(|run| run_files(&tree, run)));
    std::fs::remove_dir_all(&tree).map_err(|error| CheckError::Image(error.to_string()))?;
    Ok(judged)
}

/// Copies everything in `image` to the folder `tree`, by `debugfs`: no code of ours reads the file system.
fn dump(image: &Path, tree: &Path) -> Result<Result<(), Loss>, CheckError> {
    let tool = |reason: String| CheckError::Tool {
        program: "debugfs",
        reason,
    };
    std::fs::create_dir_all(tree).map_err(|error| tool(error.to_string()))?;
    let output = Command::new("debugfs")
        .args(["-R", &format!("rdump / {}", tree.display())])
        .arg(image)
        .env("LC_ALL", "C")
        .env("PATH", path_with_sbin())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| tool(error.to_string()))?;
    // It fails by saying so. Who is not root cannot give files to root, and need not.
    let said = String::from_utf8_lossy(&output.stderr);
    let is_fault = |line: &&str| !line.starts_with("debugfs ") && !line.contains("while changing ownership");
    let faults: Vec<&str> = said.lines().filter(is_fault).collect();
    Ok(if output.status.success() && faults.is_empty() {
        Ok(())
    } else {
        Err(Loss::Unreadable(faults.join("\n")))
    })
}

fn run_files(tree: &Path, run: &Run) -> Result<(), Loss> {
    let seed = run.seed;
    for (worker, reached) in (0..).zip(&run.reached) {
        if !reached.has_begun {
            continue;
        }
        let root = tree.join(folder(seed, worker));
        if !root.is_dir() {
            let faults = vec!["its folder is missing".to_owned()];
            return Err(Loss::Files { seed, worker, faults });
        }
        let mut found = Found::new();
        collect(&root, "", &mut found).map_err(|error| Loss::Unreadable(error.to_string()))?;
        expect(seed, worker, reached.acked, reached.intended)
            .check(&found)
            .map_err(|faults| Loss::Files { seed, worker, faults })?;
    }
    Ok(())
}

fn collect(directory: &Path, relative: &str, found: &mut Found) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let relative = if relative.is_empty() {
            name
        } else {
            format!("{relative}/{name}")
        };
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &relative, found)?;
            found.insert(relative, None);
        } else {
            found.insert(relative, Some(std::fs::read(entry.path())?));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
