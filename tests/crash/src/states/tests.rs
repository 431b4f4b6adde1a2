use super::{Fate, Honesty, Walk};
use crate::disk::Disk;
use crate::trace::{Recorder, Trace};
use std::collections::BTreeSet;

const SECTOR: u64 = 512;

/// A trace from what is done to a recorder; each write fills a number of sectors with a byte.
fn trace(work: impl FnOnce(&Recorder)) -> Trace {
    let recorder = Recorder::new(Disk::zeros(1 << 16), 1);
    work(&recorder);
    recorder.trace()
}

/// What the first sectors of every crash state after `after` events hold, a byte a sector.
fn states(trace: &Trace, honesty: Honesty, after: usize, sectors: u64) -> BTreeSet<Vec<u8>> {
    let mut walk = Walk::new(trace, honesty);
    walk.go(after);
    (0..2000)
        .map(|seed| {
            let (_, disk) = walk.cut(seed);
            (0..sectors)
                .map(|sector| {
                    let bytes = disk.read(sector * SECTOR, SECTOR as usize);
                    assert!(bytes.iter().all(|byte| *byte == bytes[0]), "a sector is whole");
                    bytes[0]
                })
                .collect()
        })
        .collect()
}

fn all(states: &[&[u8]]) -> BTreeSet<Vec<u8>> {
    states.iter().map(|state| state.to_vec()).collect()
}

#[test]
fn a_write_is_there_or_not_or_torn_at_sectors() {
    let trace = trace(|disk| {
        let id = disk.write(0, vec![1; 1024], false);
        disk.completed(&[id]);
    });
    let every: &[&[u8]] = &[&[0, 0], &[0, 1], &[1, 0], &[1, 1]];
    assert_eq!(states(&trace, Honesty::Honest, 0, 2), all(&[&[0, 0]]));
    assert_eq!(states(&trace, Honesty::Honest, 1, 2), all(every));
    assert_eq!(
        states(&trace, Honesty::Honest, 2, 2),
        all(every),
        "completed is not durable"
    );
}

#[test]
fn the_superblock_is_not_torn() {
    let trace = trace(|disk| {
        disk.write(0, vec![1; 4096], false);
    });
    let found = states(&trace, Honesty::Honest, 1, 8);
    assert!(found.iter().all(|state| state[2] == state[3]));
    assert!(found.iter().any(|state| state[1] != state[2]));
    assert!(found.len() > 60, "everything else is");
}

#[test]
fn later_writes_may_be_there_without_earlier_ones_but_not_under_them() {
    let trace = trace(|disk| {
        let first = disk.write(0, vec![1; 1024], false);
        disk.completed(&[first]);
        let second = disk.write(512, vec![2; 512], false);
        disk.completed(&[second]);
    });
    let found = states(&trace, Honesty::Honest, 4, 2);
    assert_eq!(found, all(&[&[0, 0], &[0, 1], &[0, 2], &[1, 0], &[1, 1], &[1, 2]]));
}

#[test]
fn a_completed_flush_keeps_what_was_completed_before_it_came() {
    let trace = trace(|disk| {
        let before = disk.write(0, vec![1; 512], false);
        disk.completed(&[before]);
        let under_way = disk.write(512, vec![2; 512], false);
        let flush = disk.flush();
        disk.completed(&[under_way]);
        disk.completed(&[flush]);
    });
    let free: &[&[u8]] = &[&[0, 0], &[0, 2], &[1, 0], &[1, 2]];
    assert_eq!(states(&trace, Honesty::Honest, 5, 2), all(free), "not yet completed");
    assert_eq!(states(&trace, Honesty::Honest, 6, 2), all(&[&[1, 0], &[1, 2]]));
}

#[test]
fn a_durable_write_needs_no_flush() {
    let trace = trace(|disk| {
        let id = disk.write(0, vec![1; 512], true);
        disk.completed(&[id]);
    });
    assert_eq!(states(&trace, Honesty::Honest, 1, 1), all(&[&[0], &[1]]));
    assert_eq!(states(&trace, Honesty::Honest, 2, 1), all(&[&[1]]));
}

#[test]
fn a_disk_that_lies_loses_what_a_flush_had_covered() {
    let trace = trace(|disk| {
        let id = disk.write(0, vec![1; 512], false);
        disk.completed(&[id]);
        let flush = disk.flush();
        disk.completed(&[flush]);
    });
    assert_eq!(states(&trace, Honesty::Honest, 4, 1), all(&[&[1]]));
    assert_eq!(states(&trace, Honesty::LiesAboutFlushes, 4, 1), all(&[&[0], &[1]]));
}

#[test]
fn every_fate_comes_and_a_seed_makes_one_state() {
    let trace = trace(|disk| {
        for sector in 0..8 {
            disk.write(sector * 4096, vec![1; 4096], false);
        }
    });
    let mut walk = Walk::new(&trace, Honesty::Honest);
    walk.go(8);
    let mut fates = [0; 5];
    for seed in 0..200 {
        let (cut, disk) = walk.cut(seed);
        let (_, again) = walk.cut(seed);
        assert_eq!(disk.read(0, 1 << 16), again.read(0, 1 << 16));
        assert_eq!(cut.uncovered, 8);
        fates[match cut.fate {
            Fate::Dropped => 0,
            Fate::Kept => 1,
            Fate::Some(_) => 2,
            Fate::Newest => 3,
            Fate::Torn => 4,
        }] += 1;
    }
    assert!(fates.iter().all(|count| *count > 5), "{fates:?}");
}
