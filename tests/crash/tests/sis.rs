//! Our kernel: its page cache, its block layer and its file system together, under cuts.

use sis_crash::campaign::Campaign;
use sis_crash::kill;
use sis_crash::machine::{self, Kernel, Load, Until};
use sis_crash::recovery::{self, tearing_of};
use sis_crash::states::{Honesty, Walk};
use std::error::Error;
use std::time::Duration;

type Outcome = Result<(), Box<dyn Error>>;

/// Runs of the workload; what goes wrong between tasks goes wrong in few of them.
const RUNS: u64 = 8;
/// Cuts of each run: 200 of all.
const CUTS: usize = 25;
/// Of each run the board itself recovers so many.
const MOUNTS: usize = 3;
/// Runs that go on with what a cut has left, before there is a fresh disk.
const GENERATIONS: u64 = 4;

fn load(seed: u64) -> Load {
    Load {
        until: Until::Acks(500),
        ..Load::new(Kernel::Sis, seed)
    }
}

/// Blocks as mke2fs makes them, and small ones, of which a page has several.
fn two_hundred_cuts(block_bytes: u32, first_seed: u64) -> Outcome {
    let (mut cuts, mut mounts, mut told) = (0, 0, String::new());
    let mut left = None;
    for generation in 0..RUNS {
        let seed = first_seed + generation;
        let (disk, earlier) = match left.take() {
            Some(left) => left,
            None => (machine::format(block_bytes, &[])?, Vec::new()),
        };
        let load = Load {
            block_bytes,
            ..load(seed)
        };
        let trace = load.record_on(disk, earlier)?;
        let summary = Campaign::of(Kernel::Sis, seed, CUTS).run(&trace, &|_, _| {})?;
        cuts += summary.cuts;
        for found in &summary.losses {
            told.push_str(&format!("seed {seed}: {:?}\n{}\n", found.cut, found.loss));
        }
        let recovered = recovery::run(&Campaign::of(Kernel::Sis, seed, MOUNTS), &trace, Kernel::Sis, "")?;
        mounts += recovered.mounts;
        for (cut, loss) in &recovered.losses {
            told.push_str(&format!("seed {seed}, mounted by the board: {cut:?}\n{loss}\n"));
        }
        if (generation + 1) % GENERATIONS != 0 {
            let mut walk = Walk::new(&trace, Honesty::Honest);
            walk.go(trace.events.len());
            let (cut, disk) = walk.cut_with(seed, tearing_of(Kernel::Sis));
            left = Some((disk, trace.runs(cut.reached)));
        }
    }
    assert!(told.is_empty(), "{told}");
    let runs = RUNS as usize;
    assert_eq!((cuts, mounts), (CUTS * runs, MOUNTS * runs));
    Ok(())
}

#[test]
fn two_hundred_cuts_lose_nothing() -> Outcome {
    two_hundred_cuts(4096, 1)
}

#[test]
fn two_hundred_cuts_with_small_blocks_lose_nothing() -> Outcome {
    two_hundred_cuts(1024, 101)
}

#[test]
fn a_killed_machine_loses_nothing() -> Outcome {
    for seed in [201, 202] {
        let (acked, judged) = kill::run(&load(seed), Duration::from_millis(1500))?;
        assert!(acked > 20, "{acked}");
        assert_eq!(judged, Ok(()), "seed {seed}");
    }
    Ok(())
}

/// Whatever our kernel leaves, torn commit blocks included, Linux mounts and replays.
#[test]
fn linux_replays_what_our_kernel_left() -> Outcome {
    for (seed, block_bytes) in [(301, 4096), (302, 1024)] {
        let load = Load {
            block_bytes,
            ..load(seed)
        };
        let trace = load.record_on(machine::format(block_bytes, &[])?, Vec::new())?;
        let recovered = recovery::run(&Campaign::of(Kernel::Sis, seed, 25), &trace, Kernel::Linux, "")?;
        assert_eq!((recovered.mounts, recovered.second_cuts), (25, 25));
        assert!(recovered.losses.is_empty(), "{:?}", recovered.losses);
    }
    Ok(())
}
