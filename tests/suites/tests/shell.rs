//! The `sis>` shell and the programs around it.

use sis_harness::{Board, Boot, Result, SECOND};
use sis_suites::{VIRT, run_checks, to_shell, virt};

#[test]
fn the_board_checks_itself_in_under_ten_seconds() -> Result<()> {
    let mut board = to_shell(Boot::new(VIRT))?;
    // The agent comes up beside the shell.
    board.run_ok(
        "for n in 1 2 3 4 5 6 7 8 9 10; do [ -S /run/sis/agent.sock ] && break; sleep 1; done",
        30 * SECOND,
    )?;
    let start = std::time::Instant::now();
    run_checks(&mut board, "selfcheck", 26, 60 * SECOND)?;
    let took = start.elapsed();
    assert!(took < 10 * SECOND, "the self-check took {took:?}");
    assert!(board.lines().iter().any(|l| l == "[CHECK] ALL MARKERS SEEN"));
    Ok(())
}

#[test]
fn the_self_check_can_be_cancelled() -> Result<()> {
    let mut board = to_shell(virt()?)?;
    board.type_text("selfcheck\n")?;
    board.expect("\\[PASS\\] memory", 20 * SECOND)?;
    board.ctrl('c')?;
    board.expect("\\[CHECK\\] CANCELLED", 20 * SECOND)?;
    board.wait_prompt(20 * SECOND)?;
    Ok(())
}

#[test]
fn variables_folders_and_status_last_from_line_to_line() -> Result<()> {
    let mut board = to_shell(virt()?.smp(1))?;
    board.type_text("cd /tmp; x=5; false\n")?;
    board.wait_prompt(20 * SECOND)?;
    board.type_text("echo \"<$?|$x|$PWD>\"\n")?;
    board.expect("<1\\|5\\|/tmp>", 20 * SECOND)?;
    board.wait_prompt(20 * SECOND)?;
    // Editing: a wrong letter taken back, a line from the history.
    board.type_text("echo wronf\x7fg\n")?;
    board.expect("\nwrong\r", 20 * SECOND)?;
    board.wait_prompt(20 * SECOND)?;
    board.type_text("\x1b[A\n")?;
    board.expect("\nwrong\r", 20 * SECOND)?;
    board.wait_prompt(20 * SECOND)?;
    // An unfinished quote is an error and not a wait.
    board.type_text("echo \"open\n")?;
    board.expect("unterminated", 20 * SECOND)?;
    board.wait_prompt(20 * SECOND)
}

#[test]
fn the_shell_comes_back_and_so_does_the_agent() -> Result<()> {
    let mut board = to_shell(Boot::new(VIRT))?;
    board.type_text("exit\n")?;
    board.wait_prompt(30 * SECOND)?;
    let pid = |board: &mut Board| board.run_ok("pidof sis-agent", 20 * SECOND);
    let before = pid(&mut board)?;
    board.run_ok("kill -KILL $(pidof sis-agent)", 20 * SECOND)?;
    board.run_ok(
        "for n in 1 2 3 4 5 6 7 8; do pidof sis-agent >/dev/null && break; sleep 1; done",
        30 * SECOND,
    )?;
    let after = pid(&mut board)?;
    assert_ne!(before, after, "the agent is not a new one");
    Ok(())
}

#[test]
fn pairing_gives_a_link_that_names_the_board() -> Result<()> {
    let mut board = to_shell(Boot::new(VIRT))?;
    board.run_ok(
        "for n in 1 2 3 4 5 6 7 8 9 10; do [ -S /run/sis/agent.sock ] && break; sleep 1; done",
        30 * SECOND,
    )?;
    let one = board.run_ok("pair --role owner", 20 * SECOND)?;
    assert!(
        one.starts_with("sis-pair:v1?") && one.contains("key=") && one.contains("token="),
        "{one}"
    );
    let two = board.run_ok("pair --role owner", 20 * SECOND)?;
    assert_ne!(one, two, "a token came twice");
    assert_eq!(board.run("pair --role king", 20 * SECOND)?.status, 2);
    Ok(())
}
