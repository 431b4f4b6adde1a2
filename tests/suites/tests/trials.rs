//! What a board must stand: hostile input, and events without a pause. The trials are those of `cargo sis fuzz` and `cargo sis soak`.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use sis_harness::{Boot, Failure, Result, SECOND};
use sis_suites::paired::{Paired, paired};
use sis_suites::{VIRT, guest_bytes};
use sis_trial::soak::Plan;
use sis_trial::{agent_process, fuzz, soak};

/// `$name` as a number, for runs longer or other than CI's.
fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(otherwise)
}

/// The suite `abi.rs` makes 10,000 calls; here it is the way through the agent, and that both kinds of input go together.
#[test]
fn hostile_calls_and_datagrams_leave_board_and_agent_alive() -> Result<()> {
    let Paired {
        runtime,
        client,
        paired,
        identity,
        port,
        mut board,
    } = paired(Boot::new(VIRT).smp(4))?;
    let (seed, program) = (number("SIS_FUZZ_SEED", 2), guest_bytes()?);
    let trial = async {
        let agent = agent_process(&client).await?;
        fuzz::calls(&client, &program, seed, number("SIS_FUZZ_CALLS", 2000), &mut |_| {}).await?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        fuzz::datagrams(address, seed, 10_000, &mut |_| {}).await?;
        fuzz::still_answers(&client, &paired, &identity, agent).await
    };
    runtime
        .block_on(trial)
        .map_err(|error| board.failure(format_args!("seed {seed}: {error}")))?;
    assert_eq!(board.run_ok("echo shell", 20 * SECOND)?, "shell\n");
    Ok(())
}

/// `SIS_SOAK_SECONDS=600` for as long as a release wants it.
#[test]
fn no_event_is_lost_while_clients_die_and_the_link_is_cut() -> Result<()> {
    let Paired {
        runtime,
        client,
        paired,
        identity,
        board,
        ..
    } = paired(Boot::new(VIRT).smp(2))?;
    drop((client, runtime));
    let mut set_link = |is_up| {
        let mut qmp = board.qmp().map_err(|failure| failure.to_string())?;
        qmp.set_link(is_up).map_err(|error| error.to_string())
    };
    let plan = Plan::of(Duration::from_secs(number("SIS_SOAK_SECONDS", 20)));
    let report = soak::run(&paired, &identity, &guest_bytes()?, plan, &mut set_link, &mut |_| {})
        .map_err(|error| board.failure(error))?;
    println!("{report:?}");
    if report.clients < 2 || report.cuts < 1 || report.crashes < 1 {
        return Err(Failure::new(format_args!("nothing was disturbed: {report:?}")));
    }
    Ok(())
}
