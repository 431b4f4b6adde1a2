//! The system-call interface, case by case, and under fire.

use sis_harness::{Board, Boot, Result, SECOND};
use sis_suites::{RPI4, guest, run_checks, to_shell, virt};

/// How many cases there are at least: fewer means that the runner broke off.
const CASES: usize = 300;

fn board(cpus: u32) -> Result<Board> {
    to_shell(virt()?.smp(cpus).memory("512M").overlay(guest()?))
}

#[test]
fn every_case_of_the_interface_holds_on_four_cpus() -> Result<()> {
    run_checks(&mut board(4)?, "sis-guest all", CASES, 600 * SECOND)
}

#[test]
fn every_case_of_the_interface_holds_on_one_cpu() -> Result<()> {
    run_checks(&mut board(1)?, "sis-guest all", CASES, 600 * SECOND)
}

#[test]
fn every_case_of_the_interface_holds_on_the_pi() -> Result<()> {
    let mut board = to_shell(Boot::new(RPI4).overlay(guest()?))?;
    run_checks(&mut board, "sis-guest all", CASES, 600 * SECOND)
}

#[test]
fn ten_thousand_random_calls_leave_the_board_alive() -> Result<()> {
    let mut board = board(4)?;
    let seed = std::env::var("SIS_FUZZ_SEED")
        .ok()
        .and_then(|s| s.parse::<u64>().ok())
        .unwrap_or(1);
    let output = board.run(&format!("sis-guest fuzz --seed {seed} --count 10000"), 600 * SECOND)?;
    if output.status != 0 || !output.text.contains("10000 calls") {
        return Err(board.failure(format_args!("seed {seed}: {}", output.text)));
    }
    // The shell still answers, and so does the kernel: a few cases of every group.
    board.run_ok("echo alive; ps >/dev/null; ls -lR /tmp >/dev/null", 30 * SECOND)?;
    run_checks(&mut board, "sis-guest process pipes", 40, 300 * SECOND)
}

#[test]
fn load_on_all_cpus_gives_its_memory_back() -> Result<()> {
    let mut board = board(4)?;
    let output = board.run("sis-guest leak-check 8", 300 * SECOND)?;
    if output.status != 0 {
        return Err(board.failure(output.text));
    }
    Ok(())
}

#[test]
fn running_out_of_memory_ends_one_process_and_nothing_else() -> Result<()> {
    let mut board = to_shell(virt()?.smp(2).memory("256M").overlay(guest()?))?;
    let output = board.run("sis-guest touch 4096; echo status $?", 180 * SECOND)?;
    if !output.text.contains("touched 16 MiB") || !output.text.contains("status 137") {
        return Err(board.failure(format_args!("a program that takes all memory: {}", output.text)));
    }
    let log = board.run_ok("dmesg | grep -i 'out of memory'", 20 * SECOND)?;
    assert!(log.contains("sis-guest"), "the log does not name the process: {log}");
    assert_eq!(board.run_ok("echo alive", 20 * SECOND)?, "alive\n");
    Ok(())
}
