//! Programs of e2fsprogs, and what they say. A test fails where they are not installed.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use sis_ext4::journal::Run;

/// How a program ended, and what it said on both outputs.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) status: i32,
    pub(crate) text: String,
}

fn run(program: &str, arguments: &[&str], image: &Path, input: &str) -> Outcome {
    let mut child = Command::new(program)
        .args(arguments)
        .arg(image)
        .env("PATH", "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{program} (Debian's e2fsprogs) does not start: {e}"));
    child
        .stdin
        .take()
        .expect("is piped")
        .write_all(input.as_bytes())
        .expect("takes its input");
    let output = child.wait_with_output().expect("ends");
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Outcome {
        status: output.status.code().unwrap_or(-1),
        text,
    }
}

/// Makes a file system of `blocks` blocks.
pub(crate) fn mke2fs(image: &Path, options: &[&str], blocks: u64) {
    let size = blocks.to_string();
    let mut child = Command::new("mke2fs");
    child.args(["-q", "-F"]).args(options).arg(image).arg(size);
    child.env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin");
    let output = child.output().expect("mke2fs (Debian's e2fsprogs) starts");
    assert!(
        output.status.success(),
        "mke2fs {options:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Checks a file system and changes nothing.
pub(crate) fn e2fsck_check(image: &Path) -> Outcome {
    run("e2fsck", &["-fn"], image, "")
}

/// Fails unless the file system is clean.
pub(crate) fn assert_clean(image: &Path) {
    let outcome = e2fsck_check(image);
    assert_eq!(outcome.status, 0, "e2fsck -fn {}: {}", image.display(), outcome.text);
}

/// Replays the journal and mends everything.
pub(crate) fn e2fsck_mend(image: &Path) -> Outcome {
    run("e2fsck", &["-fy"], image, "")
}

/// Replays the journal, and no more.
pub(crate) fn e2fsck_replay(image: &Path) -> Outcome {
    run("e2fsck", &["-y", "-E", "journal_only"], image, "")
}

/// Runs commands of debugfs; the file system may be written.
pub(crate) fn debugfs_write(image: &Path, commands: &str) -> Outcome {
    run("debugfs", &["-w", "-f", "-"], image, commands)
}

/// Runs one command of debugfs.
pub(crate) fn debugfs(image: &Path, command: &str) -> Outcome {
    run("debugfs", &["-R", command], image, "")
}

/// What dumpe2fs says of the superblocks.
pub(crate) fn dumpe2fs(image: &Path) -> Outcome {
    run("dumpe2fs", &["-h"], image, "")
}

/// Where the journal of a file system is.
pub(crate) fn journal_runs(image: &Path) -> Vec<Run> {
    let outcome = debugfs(image, "blocks <8>");
    let blocks = outcome
        .text
        .split_whitespace()
        .filter_map(|word| word.parse::<u64>().ok());
    let mut runs: Vec<Run> = Vec::new();
    for (logical, physical) in (0u32..).zip(blocks) {
        match runs.last_mut() {
            Some(run) if run.physical + u64::from(run.len) == physical => run.len += 1,
            _ => runs.push(Run {
                logical,
                physical,
                len: 1,
            }),
        }
    }
    assert!(!runs.is_empty(), "no journal: {}", outcome.text);
    runs
}
