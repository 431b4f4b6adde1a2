//! The agent over QUIC, on a board: pairing, streams, commands, decisions, and strangers.

use std::time::Duration;

use sis_client::{Client, Delivery, Identity};
use sis_harness::{Boot, Failure, Result, SECOND};
use sis_protocol::control::{EventKind, OutcomeStatus, RequestBody, ResponseBody, Selection};
use sis_protocol::wire::{CloseCode, Start};
use sis_suites::paired::{PATIENCE, Paired, paired};
use sis_suites::{RPI4, VIRT, aioquic, guest};

fn with_approvals() -> Result<Paired> {
    let paired = paired(Boot::new(VIRT).smp(2).memory("256M").overlay(guest()?))?;
    match paired.ask(RequestBody::MemApprovalMode { on: Some(true) })? {
        ResponseBody::Mode { on: true } => Ok(paired),
        other => Err(Failure::new(format_args!("approval mode is {other:?}"))),
    }
}

#[test]
fn a_paired_client_gets_metrics_and_runs_commands_and_a_stranger_gets_nothing() -> Result<()> {
    serves_its_client_and_no_stranger(&paired(Boot::new(VIRT).smp(2))?, 2)
}

#[test]
fn the_pi_serves_its_client_and_no_stranger_over_usb() -> Result<()> {
    let paired = paired(Boot::new(RPI4))?;
    serves_its_client_and_no_stranger(&paired, 4)?;
    // More than fits any queue, both ways.
    let output = paired.exec("dd if=/dev/zero bs=64k count=16 2>/dev/null | tr '\\0' x")?;
    assert_eq!(output.len(), 1 << 20);
    assert!(output.bytes().all(|b| b == b'x'));
    Ok(())
}

fn serves_its_client_and_no_stranger(paired: &Paired, cpus: usize) -> Result<()> {
    let seen = paired.runtime.block_on(async {
        let mut samples = paired.client.metrics();
        let mut seen = Vec::new();
        while seen.len() < 10 {
            match tokio::time::timeout(PATIENCE, samples.next()).await {
                Ok(Some(sample)) => seen.push(sample.metrics),
                _ => break,
            }
        }
        seen
    });
    let [first, .., last] = seen.as_slice() else {
        return Err(paired.board.failure(format_args!("{} samples came", seen.len())));
    };
    assert!(
        last.uptime_ns > first.uptime_ns && last.cpus.len() == cpus,
        "{first:?}\n{last:?}"
    );
    assert!(last.mem_free_bytes.is_some_and(|n| n > 0) && last.context_switches > first.context_switches);
    assert_eq!(paired.exec("uname -m; echo $((6 * 7))")?, "aarch64\n42\n");

    let stranger = Identity::generate().map_err(Failure::new)?;
    let refused = {
        let _inside = paired.runtime.enter();
        Client::connect(&paired.paired, &stranger).map_err(Failure::new)?
    };
    let came = paired.runtime.block_on(refused.wait_online(Duration::from_secs(5)));
    assert!(came.is_err(), "a client that was never paired is online");
    Ok(())
}

#[test]
fn a_proposal_approved_from_the_host_is_done_and_its_effect_comes_back() -> Result<()> {
    let mut paired = with_approvals()?;
    let before = paired.strategy()?;
    let mut events = {
        let _inside = paired.runtime.enter();
        paired.client.events(Start::Oldest)
    };
    let (id, to) = paired.proposal()?;
    assert_eq!(
        paired.strategy()?,
        before,
        "the strategy changed before anybody decided"
    );
    match paired.ask(RequestBody::MemApprove {
        which: Selection::Ids(vec![id]),
        by: None,
    })? {
        ResponseBody::Decided(counts) if counts.executed == 1 => {}
        other => return Err(paired.board.failure(format_args!("approving gave {other:?}"))),
    }
    assert_eq!(Some(paired.strategy()?), to, "the strategy that was approved");
    paired
        .board
        .run_ok("sis-guest stress-mem 96 >/dev/null", 120 * SECOND)?;
    let outcome = paired.runtime.block_on(async {
        loop {
            match tokio::time::timeout(PATIENCE, events.next()).await {
                Ok(Some(Delivery::Event(event))) => match event.kind {
                    EventKind::Outcome(outcome) if outcome.id == id => break Some(outcome),
                    _ => {}
                },
                Ok(Some(_)) => {}
                _ => break None,
            }
        }
    });
    let Some(outcome) = outcome else {
        return Err(paired.board.failure("no outcome came"));
    };
    assert_eq!(outcome.status, OutcomeStatus::Executed);
    assert!(
        outcome.before.is_some_and(|f| f.samples > 0) && outcome.after.is_some_and(|f| f.samples > 0),
        "{outcome:?}"
    );
    assert!(
        outcome.decided_by.is_some_and(|by| by.contains("suite")),
        "who decided is not told"
    );
    Ok(())
}

#[test]
fn a_proposal_rejected_from_the_host_changes_nothing() -> Result<()> {
    let mut paired = with_approvals()?;
    let before = paired.strategy()?;
    let (id, _) = paired.proposal()?;
    match paired.ask(RequestBody::MemReject {
        which: Selection::Ids(vec![id]),
        by: None,
    })? {
        ResponseBody::Decided(counts) if counts.rejected == 1 => {}
        other => return Err(paired.board.failure(format_args!("rejecting gave {other:?}"))),
    }
    assert_eq!(paired.strategy()?, before);
    match paired.ask(RequestBody::MemApprove {
        which: Selection::Ids(vec![id]),
        by: None,
    })? {
        ResponseBody::Decided(counts) if counts.executed == 0 && counts.not_found == 1 => {}
        other => {
            return Err(paired
                .board
                .failure(format_args!("approving what was rejected gave {other:?}")));
        }
    }
    assert_eq!(paired.strategy()?, before);
    Ok(())
}

#[test]
fn a_client_comes_back_by_itself_after_the_agent_was_killed() -> Result<()> {
    let mut paired = paired(Boot::new(VIRT).smp(2))?;
    paired.board.run_ok("kill -KILL $(pidof sis-agent)", 20 * SECOND)?;
    // Until then requests may fail: an interrupted one is not repeated.
    let end = std::time::Instant::now() + 2 * PATIENCE;
    loop {
        match paired.exec("echo back") {
            Ok(text) if text == "back\n" => return Ok(()),
            other if std::time::Instant::now() > end => {
                return Err(paired.board.failure(format_args!("it did not come back: {other:?}")));
            }
            _ => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

#[test]
fn aioquic_is_refused_by_the_agent_on_the_board_until_it_pairs() -> Result<()> {
    let Some(python) = aioquic::python()? else {
        eprintln!("skipped: no Python with aioquic was found; `cargo sis setup` installs it");
        return Ok(());
    };
    let mut paired = paired(Boot::new(VIRT).smp(2))?;
    let link = paired.new_link("viewer")?;
    let seen = aioquic::attempts(&python, paired.port, &link)?;
    let refusals = [
        ("noCertificate", CloseCode::NoCertificate),
        ("strangerGreets", CloseCode::NotPaired),
        ("strangerAsksForMetrics", CloseCode::NotPaired),
        ("strangerSendsNoise", CloseCode::NotPaired),
    ];
    for (case, code) in refusals {
        let seen = &seen[case];
        assert_eq!(seen["handshake"], true, "{case}: {seen}");
        assert_eq!(seen["alpn"], "sis/1", "{case}: {seen}");
        assert_eq!(seen["key"], link.key.to_string(), "{case}: {seen}");
        assert_eq!(seen["code"], code.code(), "{case}: {seen}");
        assert_eq!(
            (&seen["streamBytes"], &seen["datagrams"]),
            (&0.into(), &0.into()),
            "{case}: {seen}"
        );
    }
    // With the token it is a client like any other.
    let came = &seen["pairs"];
    assert!(
        came["streamBytes"].as_u64() > Some(0) && came["datagrams"].as_u64() > Some(0),
        "{came}"
    );
    // The one that was there all the time has noticed nothing.
    assert_eq!(paired.exec("echo here")?, "here\n");
    Ok(())
}
