//! What the whole-system tests share. The tests themselves are in `tests/`, one file a behaviour.
//!
//! With `SIS_SUITES_KERNEL=linux` the boards of [`virt`] boot Debian's Linux with our root instead: where a test is
//! about behaviour that both have, that proves the test.
#![forbid(unsafe_code)]

pub mod aioquic;
pub mod busybox;
pub mod cards;
pub mod crates;
pub mod disks;
pub mod paired;
pub mod syscalls;

use std::sync::OnceLock;

use sis_harness::{Archive, Board, Boot, Failure, Node, Result, SECOND};

/// The board that is QEMU's `virt`.
pub const VIRT: &str = "qemu-virt";
/// The Raspberry Pi 4, in QEMU `raspi4b`.
pub const RPI4: &str = "rpi4";

/// Whether the reference is tested instead of our kernel.
#[must_use]
pub fn is_reference() -> bool {
    std::env::var_os("SIS_SUITES_KERNEL").is_some_and(|name| name == "linux")
}

/// A boot of `virt`.
///
/// # Errors
/// When the reference is asked for and not there.
pub fn virt() -> Result<Boot> {
    let boot = Boot::new(VIRT);
    if is_reference() {
        Ok(boot.kernel(sis_harness::linux_kernel()?).append("rdinit=/init"))
    } else {
        Ok(boot)
    }
}

/// The programs of `tests/guest`, as an archive to lay over a root: `/bin/sis-guest`.
///
/// # Errors
/// When they cannot be built.
pub fn guest() -> Result<Archive> {
    let mut archive = Archive::default();
    archive
        .add("/bin/sis-guest", Node::File(guest_bytes()?), 0o755)
        .map_err(Failure::new)?;
    Ok(archive)
}

/// The static binary of `tests/guest`.
///
/// # Errors
/// When it cannot be built.
pub fn guest_bytes() -> Result<Vec<u8>> {
    static BYTES: OnceLock<std::result::Result<Vec<u8>, String>> = OnceLock::new();
    let build = || sis_harness::guest_program("sis-guest", "sis-guest").map_err(|failure| failure.to_string());
    BYTES.get_or_init(build).clone().map_err(Failure::new)
}

/// A root that holds one file, `/init` or another path, and nothing else but the folders on the way to it.
///
/// # Errors
/// When the path is no path.
pub fn root_with(path: &str, bytes: Vec<u8>) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    let mut at = 1;
    while let Some(next) = path.get(at..).and_then(|rest| rest.find('/')) {
        archive
            .add(path.get(..at + next).unwrap_or("/"), Node::Directory, 0o755)
            .map_err(Failure::new)?;
        at += next + 1;
    }
    archive.add(path, Node::File(bytes), 0o755).map_err(Failure::new)?;
    archive.to_bytes().map_err(Failure::new)
}

/// Boots and waits for the prompt.
///
/// # Errors
/// When it does not come.
pub fn to_shell(boot: Boot) -> Result<Board> {
    let mut board = boot.start()?;
    board.wait_shell()?;
    Ok(board)
}

/// Runs `poweroff` and waits for QEMU's end.
///
/// # Errors
/// When it does not end by itself, or ends with a failure.
pub fn power_off(mut board: Board) -> Result<()> {
    board.type_text("poweroff\n")?;
    let status = board.wait_end(60 * SECOND)?;
    if status.success() {
        Ok(())
    } else {
        Err(board.failure(format_args!("QEMU ended with {status}")))
    }
}

/// Runs a command that prints `[PASS]` and `[FAIL]` lines; every `[FAIL]` is in the failure.
///
/// # Errors
/// When a check fails, the command fails, or it checks fewer things than `at_least`.
pub fn run_checks(board: &mut Board, command: &str, at_least: usize, limit: std::time::Duration) -> Result<()> {
    let output = board.run(command, limit)?;
    let of = |mark: &str| {
        output
            .text
            .lines()
            .filter(|line| line.starts_with(mark))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let (passed, failed) = (of("[PASS] "), of("[FAIL] "));
    if !failed.is_empty() || output.status != 0 {
        let list = failed.join("\n");
        return Err(board.failure(format_args!(
            "{command}: status {}, {} failed:\n{list}",
            output.status,
            failed.len()
        )));
    }
    if passed.len() < at_least {
        return Err(board.failure(format_args!(
            "{command}: only {} checks where {at_least} are known",
            passed.len()
        )));
    }
    Ok(())
}
