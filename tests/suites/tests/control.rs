//! The control device and the memory manager, asked by a program without anything in between.

use sis_harness::{Boot, Output, Result, SECOND};
use sis_suites::{VIRT, guest, to_shell};

/// Boots with these words more, and runs a part of the program's checks.
fn checks(boot: Boot, part: &str) -> Result<()> {
    let mut board = to_shell(boot.overlay(guest()?))?;
    let Output { status, text, .. } = board.run(&format!("sis-guest control {part}"), 150 * SECOND)?;
    if status == 0 {
        Ok(())
    } else {
        Err(board.failure(format_args!("control {part}: {text}")))
    }
}

/// Memory for which the program's load lies between the pools of two strategies.
fn virt() -> Boot {
    Boot::new(VIRT).memory("512M")
}

#[test]
fn the_device_answers_requests_and_refuses_what_is_malformed() -> Result<()> {
    checks(virt(), "device")
}

#[test]
fn a_proposal_under_load_is_approved_and_measured_and_the_way_back_rejected() -> Result<()> {
    checks(virt(), "approve")
}

#[test]
fn one_cpu_proposes_too_and_a_rejection_holds() -> Result<()> {
    checks(virt().smp(1), "reject")
}

#[test]
fn a_proposal_that_nobody_decides_expires() -> Result<()> {
    checks(virt().append("sis.approval_expiry_ms=4000"), "expire")
}

#[test]
fn without_approval_mode_a_change_is_made_and_told() -> Result<()> {
    checks(virt(), "auto")
}

#[test]
fn query_mode_changes_nothing() -> Result<()> {
    checks(virt(), "query")
}

#[test]
fn an_out_of_memory_kill_is_told_and_memory_comes_back() -> Result<()> {
    checks(Boot::new(VIRT).memory("192M"), "oom")
}
