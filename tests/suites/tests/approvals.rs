//! A proposal of the memory manager, from pressure to a measured effect, decided at the console.

use sis_harness::{Board, Result, SECOND};
use sis_suites::{VIRT, guest, to_shell};

fn board() -> Result<Board> {
    let mut board = to_shell(sis_harness::Boot::new(VIRT).smp(2).memory("256M").overlay(guest()?))?;
    assert_eq!(board.run_ok("memctl approval on", 20 * SECOND)?.trim(), "on");
    Ok(board)
}

/// Makes faults until the memory manager proposes something; its number.
fn proposal(board: &mut Board) -> Result<u64> {
    for _ in 0..10 {
        board.run_ok("sis-guest stress-mem 96 >/dev/null", 120 * SECOND)?;
        let text = board.run_ok("memctl approvals", 20 * SECOND)?;
        let number = text
            .lines()
            .find_map(|l| l.strip_prefix('#')?.split(' ').next()?.parse().ok());
        if let Some(number) = number {
            return Ok(number);
        }
    }
    Err(board.failure("load made the memory manager propose nothing"))
}

fn strategy(board: &mut Board) -> Result<String> {
    Ok(board.run_ok("memctl strategy", 20 * SECOND)?.trim().to_owned())
}

#[test]
fn an_approved_proposal_is_carried_out_and_its_effect_measured() -> Result<()> {
    let mut board = board()?;
    let before = strategy(&mut board)?;
    let number = proposal(&mut board)?;
    assert_eq!(
        strategy(&mut board)?,
        before,
        "the strategy changed before anybody decided"
    );
    let text = board.run_ok(&format!("memctl approve {number}"), 20 * SECOND)?;
    assert!(text.contains("executed 1"), "{text}");
    assert_ne!(strategy(&mut board)?, before, "the strategy is the old one");
    // The window after the change is measured under load.
    board.run_ok("sis-guest stress-mem 96 >/dev/null; sleep 6", 120 * SECOND)?;
    let history = board.run_ok("memctl history", 20 * SECOND)?;
    let own = format!("#{number} ");
    assert!(
        history
            .lines()
            .any(|l| l.starts_with(&own) && l.contains("executed") && l.contains("by console")),
        "{history}"
    );
    assert!(
        history.contains("before ") && history.contains("after  "),
        "no effect was measured: {history}"
    );
    Ok(())
}

#[test]
fn a_rejected_proposal_changes_nothing() -> Result<()> {
    let mut board = board()?;
    let before = strategy(&mut board)?;
    let number = proposal(&mut board)?;
    let text = board.run_ok(&format!("memctl reject {number}"), 20 * SECOND)?;
    assert!(text.contains("rejected 1"), "{text}");
    assert_eq!(strategy(&mut board)?, before);
    // Decided once is decided.
    let again = board.run(&format!("memctl approve {number}"), 20 * SECOND)?;
    assert!(
        again.status != 0 && again.text.contains("not waiting"),
        "{}",
        again.text
    );
    assert_eq!(strategy(&mut board)?, before);
    Ok(())
}
