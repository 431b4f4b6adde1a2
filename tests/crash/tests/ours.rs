//! Our kernel: 200 cuts, some of them recovered by the board or by Linux, and a few kills. `cargo sis crash` makes as many as
//! one likes.

use sis_crash::campaign::{Campaign, Found};
use sis_crash::kill;
use sis_crash::machine::{Kernel, Load, Until, format};
use sis_crash::recovery;
use sis_crash::states::{Honesty, Walk};
use sis_crash::trace::Trace;
use std::error::Error;
use std::time::Duration;

type Outcome = Result<(), Box<dyn Error>>;

fn load(kernel: Kernel, seed: u64) -> Load {
    Load {
        until: Until::Acks(400),
        ..Load::new(kernel, seed)
    }
}

fn told(losses: &[Found]) -> String {
    losses
        .iter()
        .take(3)
        .map(|found| format!("{:?}\n{}\n", found.cut, found.loss))
        .collect()
}

fn loses_nothing(trace: &Trace, cuts: usize) -> Outcome {
    let summary = Campaign::new(trace.seed, cuts).run(trace, &|_, _| {})?;
    let (count, seed) = (summary.losses.len(), trace.seed);
    assert!(count == 0, "seed {seed}: {count} of {cuts}\n{}", told(&summary.losses));
    assert!(
        summary.with_acks > cuts / 2 && summary.with_uncovered > cuts / 10,
        "the cuts say something"
    );
    Ok(())
}

fn recovers(trace: &Trace, kernel: Kernel, mounts: usize) -> Outcome {
    // Other cuts than those that e2fsck has recovered.
    let campaign = Campaign::new(trace.seed ^ 0xffff, mounts);
    let summary = recovery::run(&campaign, trace, kernel, "")?;
    assert_eq!(summary.mounts, mounts);
    let first: Vec<_> = summary.losses.iter().take(3).collect();
    assert!(first.is_empty(), "{} of {mounts}: {first:?}", summary.losses.len());
    Ok(())
}

#[test]
fn two_hundred_cuts_lose_nothing() -> Outcome {
    let first = load(Kernel::Sis, 1).record_on(format(4096, &[])?, Vec::new())?;
    loses_nothing(&first, 100)?;
    recovers(&first, Kernel::Sis, 15)?;
    recovers(&first, Kernel::Linux, 10)?;

    // The second run mounts what the first has left when its power went.
    let mut walk = Walk::new(&first, Honesty::Honest);
    walk.go(first.events.len());
    let (cut, disk) = walk.cut(1);
    let second = load(Kernel::Sis, 2).record_on(disk, first.runs(cut.reached))?;
    loses_nothing(&second, 100)
}

#[test]
fn small_blocks_lose_nothing() -> Outcome {
    let trace = load(Kernel::Sis, 3).record_on(format(1024, &[])?, Vec::new())?;
    loses_nothing(&trace, 30)
}

#[test]
fn we_recover_what_linux_leaves() -> Outcome {
    recovers(&load(Kernel::Linux, 4).record()?, Kernel::Sis, 15)
}

#[test]
fn a_program_that_acknowledges_what_it_has_not_synchronised_is_found_here_too() -> Outcome {
    let load = Load {
        is_unsynced: true,
        ..load(Kernel::Sis, 5)
    };
    let trace = load.record()?;
    let summary = Campaign::new(5, 20).run(&trace, &|_, _| {})?;
    assert!(summary.losses.len() > 5, "only {} of 20 cuts", summary.losses.len());
    Ok(())
}

#[test]
fn a_killed_machine_loses_nothing() -> Outcome {
    for (seed, after_ms) in [(6, 900), (7, 2300)] {
        let (acked, judged) = kill::run(&load(Kernel::Sis, seed), Duration::from_millis(after_ms))?;
        assert!(acked > 20, "{acked}");
        assert_eq!(judged, Ok(()));
    }
    Ok(())
}
