//! `sis-ext4` in this process: the workload, its cuts, and recovery by either side.

use sis_crash::campaign::{Campaign, Found, Recovery};
use sis_crash::host::HostLoad;
use sis_crash::machine::format;
use sis_crash::states::{Honesty, Tearing, Walk};
use sis_crash::trace::Trace;
use std::error::Error;

type Outcome = Result<(), Box<dyn Error>>;

fn told(losses: &[Found]) -> String {
    losses
        .iter()
        .take(3)
        .map(|found| format!("{:?}\n{}\n", found.cut, found.loss))
        .collect()
}

fn load(seed: u64) -> HostLoad {
    HostLoad {
        seed,
        workers: 4,
        acks: 500,
        forgets_data: false,
    }
}

/// So many cuts, recovered by `e2fsck` and by us.
fn cut(trace: &Trace, cuts: usize) -> Outcome {
    for recovery in [Recovery::E2fsck, Recovery::Ours] {
        let campaign = Campaign {
            recovery,
            keep: std::env::var_os("SIS_CRASH_KEEP").map(Into::into),
            ..Campaign::new(trace.seed, cuts)
        };
        let summary = campaign.run(trace, &|_, _| {})?;
        let count = summary.losses.len();
        assert!(count == 0, "{recovery:?}: {count} of {cuts}\n{}", told(&summary.losses));
    }
    Ok(())
}

#[test]
fn nothing_is_lost_with_blocks_of_4_kib_through_three_generations() -> Outcome {
    let (mut disk, mut earlier) = (format(4096, &[])?, Vec::new());
    for seed in 100..103 {
        let trace = load(seed).record_on(disk, earlier)?;
        cut(&trace, 60)?;
        let mut walk = Walk::new(&trace, Honesty::Honest);
        walk.go(trace.events.len());
        let (cut, left) = walk.cut_with(seed, Tearing::Sectors);
        disk = left;
        earlier = trace.runs(cut.reached);
    }
    Ok(())
}

#[test]
fn nothing_is_lost_with_blocks_of_1_kib() -> Outcome {
    cut(&load(110).record_on(format(1024, &[])?, Vec::new())?, 60)
}

#[test]
fn an_fsync_that_forgets_the_data_is_found() -> Outcome {
    let load = HostLoad {
        forgets_data: true,
        ..load(120)
    };
    let trace = load.record_on(format(4096, &[])?, Vec::new())?;
    let summary = Campaign::new(120, 30).run(&trace, &|_, _| {})?;
    assert!(summary.losses.len() > 10, "only {} of 30", summary.losses.len());
    Ok(())
}
