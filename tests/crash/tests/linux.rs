//! The harness itself, on Debian's Linux: it finds nothing where nothing is lost, and what is lost where something is.

use sis_crash::campaign::{Campaign, Found, Summary};
use sis_crash::check::Loss;
use sis_crash::kill;
use sis_crash::machine::{Kernel, Load, Until};
use sis_crash::recovery;
use sis_crash::states::{Honesty, Reached, Run, Tearing, Walk};
use sis_crash::trace::{Progress, Trace};
use std::error::Error;
use std::time::Duration;

type Outcome = Result<(), Box<dyn Error>>;

fn load(seed: u64) -> Load {
    Load {
        until: Until::Acks(300),
        ..Load::new(Kernel::Linux, seed)
    }
}

fn cuts(trace: &Trace, seed: u64, cuts: usize, honesty: Honesty) -> Result<Summary, Box<dyn Error>> {
    let campaign = Campaign {
        honesty,
        ..Campaign::new(seed, cuts)
    };
    Ok(campaign.run(trace, &|_, _| {})?)
}

fn told(losses: &[Found]) -> String {
    losses
        .iter()
        .take(3)
        .map(|found| format!("{:?}\n{}\n", found.cut, found.loss))
        .collect()
}

#[test]
fn linux_loses_nothing_and_a_disk_that_lies_is_found() -> Outcome {
    let trace = load(1).record()?;
    let progress = Progress::of(&trace);
    assert!(progress.flushes > 100 && progress.writes > 300, "{progress:?}");
    let honest = cuts(&trace, 1, 60, Honesty::Honest)?;
    assert!(honest.losses.is_empty(), "{}", told(&honest.losses));
    assert_eq!(honest.cuts, 60);
    assert!(
        honest.with_acks > 40 && honest.with_uncovered > 20,
        "the cuts say something"
    );
    let lied = cuts(&trace, 1, 60, Honesty::LiesAboutFlushes)?;
    assert!(
        lied.losses.len() > 3,
        "only {} of 60 cuts lose something",
        lied.losses.len()
    );
    let lost_files = lied
        .losses
        .iter()
        .filter(|found| matches!(found.loss, Loss::Files { .. }));
    assert!(lost_files.count() > 1, "{}", told(&lied.losses));

    // Linux mounts such states too, and the power may go while it does.
    let recovered = recovery::run(&Campaign::new(1, 15), &trace, Kernel::Linux, "")?;
    assert_eq!((recovered.mounts, recovered.second_cuts), (15, 15));
    assert!(recovered.losses.is_empty(), "{:?}", recovered.losses);
    Ok(())
}

#[test]
fn what_a_run_leaves_survives_the_cuts_of_the_next() -> Outcome {
    let first = load(6).record()?;
    let mut walk = Walk::new(&first, Honesty::Honest);
    walk.go(first.events.len());
    let (cut, disk) = walk.cut_with(1, Tearing::Never);
    let trace = load(7).record_on(disk.clone(), first.runs(cut.reached))?;
    let summary = cuts(&trace, 7, 30, Honesty::Honest)?;
    assert!(summary.losses.is_empty(), "{}", told(&summary.losses));

    // A file of the first run that is lost by then is found.
    let later = Run {
        seed: 6,
        reached: cut.reached.map(|reached| Reached {
            acked: reached.acked + 40,
            intended: reached.intended + 40,
            ..reached
        }),
    };
    let trace = Trace {
        earlier: vec![later],
        ..trace
    };
    let summary = cuts(&trace, 7, 5, Honesty::Honest)?;
    assert_eq!(summary.losses.len(), 5);
    Ok(())
}

#[test]
fn a_file_system_without_barriers_is_found() -> Outcome {
    let load = Load {
        options: "barrier=0".into(),
        ..load(2)
    };
    let summary = cuts(&load.record()?, 2, 30, Honesty::Honest)?;
    assert!(summary.losses.len() > 10, "only {} of 30 cuts", summary.losses.len());
    Ok(())
}

#[test]
fn a_program_that_acknowledges_what_it_has_not_synchronised_is_found() -> Outcome {
    let load = Load {
        is_unsynced: true,
        ..load(3)
    };
    let summary = cuts(&load.record()?, 3, 30, Honesty::Honest)?;
    assert!(summary.losses.len() > 10, "only {} of 30 cuts", summary.losses.len());
    let is_sound = |found: &Found| matches!(found.loss, Loss::Files { .. });
    assert!(summary.losses.iter().all(is_sound), "{}", told(&summary.losses));
    Ok(())
}

#[test]
fn a_killed_machine_loses_nothing() -> Outcome {
    let (acked, judged) = kill::run(&load(4), Duration::from_millis(2500))?;
    assert!(acked > 20, "{acked}");
    assert_eq!(judged, Ok(()));
    Ok(())
}

#[test]
fn data_that_is_not_written_before_its_names_is_found() -> Outcome {
    let load = Load {
        options: "data=writeback,nodelalloc,dioread_lock".into(),
        ..load(5)
    };
    let summary = cuts(&load.record()?, 5, 40, Honesty::Honest)?;
    assert!(summary.losses.len() > 3, "only {} of 40 cuts", summary.losses.len());
    assert!(told(&summary.losses).contains("nobody's"), "{}", told(&summary.losses));
    Ok(())
}
