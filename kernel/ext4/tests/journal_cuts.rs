//! The journal under power cuts: what recovery finds is the state after some transaction, the last acknowledged one or
//! the one under way, and data that took a freed block's place stays.

#[expect(dead_code, reason = "each test uses a part of the rig")]
mod rig;

use std::collections::BTreeMap;
use std::sync::Arc;

use rig::{MemDisk, Random, Recorder};
use sis_ext4::Disk;
use sis_ext4::journal::{Extent, Journal, Run};

const BLOCK: usize = 1024;
const HOMES: u64 = 40;
const LOG_AT: u64 = 64;

fn put_u32(block: &mut [u8], at: usize, value: u32) {
    block[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

/// A log in two runs, the later one first on the disk, marked empty.
fn make(log_blocks: u32, sequence: u32, is_wide: bool, is_summed: bool) -> (MemDisk, Vec<Run>) {
    let disk = MemDisk::new((LOG_AT + 2 * u64::from(log_blocks)) * BLOCK as u64);
    let half = log_blocks / 3;
    let runs = vec![
        Run {
            logical: 0,
            physical: LOG_AT + u64::from(log_blocks),
            len: half,
        },
        Run {
            logical: half,
            physical: LOG_AT,
            len: log_blocks - half,
        },
    ];
    let mut sb = vec![0; BLOCK];
    put_u32(&mut sb, 0, 0xc03b_3998);
    put_u32(&mut sb, 4, 4);
    put_u32(&mut sb, 12, BLOCK as u32);
    put_u32(&mut sb, 16, log_blocks);
    put_u32(&mut sb, 20, 1);
    put_u32(&mut sb, 24, sequence);
    sb[48..64].copy_from_slice(b"a journal's uuid");
    disk.put(runs[0].physical * BLOCK as u64, &sb);
    let mut journal = Journal::open(&disk, BLOCK, runs.clone()).expect("opens");
    journal.set_features(&disk, is_wide, is_summed).expect("is empty");
    (disk, runs)
}

fn content(random: &mut Random) -> Vec<u8> {
    let mut block = Vec::with_capacity(BLOCK);
    while block.len() < BLOCK {
        block.extend_from_slice(&random.next().to_le_bytes());
    }
    if random.chance(20) {
        put_u32(&mut block, 0, 0xc03b_3998);
    }
    block
}

/// What lies at a home.
#[derive(Clone, Debug)]
enum Kind {
    Free,
    Metadata(Vec<u8>),
    /// Data, first written then.
    Data(usize),
}

type State = BTreeMap<u64, Kind>;

/// A transaction: operations of the disk when it was begun and when it was acknowledged, and the state it leads to.
struct Committed {
    begun: usize,
    acknowledged: usize,
    state: State,
}

struct History {
    recorder: Recorder,
    runs: Vec<Run>,
    committed: Vec<Committed>,
    /// Writes of data: home, position after it, content.
    data: Vec<(u64, usize, Vec<u8>)>,
}

fn play(seed: u64, steps: usize) -> History {
    let mut random = Random(seed);
    let sequence = if random.chance(30) {
        u32::MAX - random.below(20) as u32
    } else {
        random.next() as u32
    };
    // Few homes: each is freed and taken again within one log.
    let homes = if random.chance(50) { 6 } else { HOMES };
    let (disk, runs) = make(
        18 + random.below(40) as u32,
        sequence,
        random.chance(50),
        random.chance(70),
    );
    let recorder = Recorder::new(disk);
    let mut journal = Journal::open(&recorder, BLOCK, runs.clone()).expect("opens");
    let mut state: State = (0..HOMES).map(|home| (home, Kind::Free)).collect();
    let mut committed = vec![Committed {
        begun: 0,
        acknowledged: 0,
        state: state.clone(),
    }];
    let mut data = Vec::new();
    for _ in 0..steps {
        match random.below(20) {
            0..12 => {
                let mut blocks = BTreeMap::new();
                let mut revokes = Vec::new();
                for _ in 0..=random.below(6) {
                    let home = random.below(homes);
                    match state[&home] {
                        Kind::Metadata(_) if random.chance(35) && !blocks.contains_key(&home) => {
                            revokes.push(home);
                            // Freed and taken again as metadata at once, sometimes.
                            if random.chance(20) {
                                blocks.insert(home, Arc::new(content(&mut random)));
                            }
                        }
                        _ if revokes.contains(&home) => {}
                        _ => {
                            blocks.insert(home, Arc::new(content(&mut random)));
                        }
                    }
                }
                for home in &revokes {
                    state.insert(*home, Kind::Free);
                }
                for (home, content) in &blocks {
                    state.insert(*home, Kind::Metadata(content.to_vec()));
                }
                let begun = recorder.position();
                journal
                    .commit(&recorder, blocks.into_iter().collect(), &revokes, random.next() >> 1)
                    .expect("commits");
                committed.push(Committed {
                    begun,
                    acknowledged: recorder.position(),
                    state: state.clone(),
                });
            }
            12..16 => {
                for home in 0..HOMES {
                    if !matches!(state[&home], Kind::Metadata(_)) && random.chance(30) {
                        let block = content(&mut random);
                        recorder.write(home * BLOCK as u64, &block).expect("writes");
                        data.push((home, recorder.position(), block));
                        if !matches!(state[&home], Kind::Data(_)) {
                            state.insert(home, Kind::Data(recorder.position()));
                        }
                    }
                }
                if let Some(last) = committed.last_mut() {
                    last.state = state.clone();
                }
            }
            16 => recorder.flush().expect("flushes"),
            17 => journal
                .checkpoint(&recorder, Extent::Space(random.below(40) as u32))
                .expect("checkpoints"),
            18 => journal.checkpoint(&recorder, Extent::All).expect("checkpoints"),
            _ => {
                journal.close(&recorder).expect("closes");
                journal = Journal::open(&recorder, BLOCK, runs.clone()).expect("opens");
                assert!(!journal.needs_recovery());
            }
        }
        for (home, kind) in &state {
            if let Kind::Metadata(expected) = kind {
                let found = journal
                    .lookup_pending(*home)
                    .map_or_else(|| recorder.current().get(home * BLOCK as u64, BLOCK), |c| c.to_vec());
                assert!(
                    found == *expected,
                    "block {home} is read wrong before any cut (seed {seed})"
                );
            } else {
                assert!(journal.lookup_pending(*home).is_none(), "freed block {home} is pending");
            }
        }
    }
    History {
        recorder,
        runs,
        committed,
        data,
    }
}

impl History {
    /// Whether the disk is in this state, as far as a cut at `cut` must leave it.
    fn matches(&self, disk: &MemDisk, state: &State, cut: usize) -> Result<(), String> {
        let flushed = self.recorder.flushed(cut);
        for (home, kind) in state {
            let found = disk.get(home * BLOCK as u64, BLOCK);
            match kind {
                Kind::Free => {}
                Kind::Metadata(expected) if found == *expected => {}
                Kind::Metadata(_) => return Err(format!("metadata at {home}")),
                Kind::Data(since) => {
                    let is_its = |w: &&(u64, usize, Vec<u8>)| w.0 == *home && w.1 >= *since && w.1 <= cut + 1;
                    let writes: Vec<_> = self.data.iter().filter(is_its).collect();
                    // The last one before the last flush, or any later one, sector by sector.
                    let Some(stable) = writes.iter().rposition(|w| w.1 <= flushed) else {
                        continue;
                    };
                    for (n, sector) in found.chunks(512).enumerate() {
                        let is_known = writes[stable..].iter().any(|w| w.2[n * 512..][..512] == *sector);
                        if !is_known {
                            return Err(format!("data at {home}"));
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn check(&self, cut: usize, random: &mut Random, seed: u64) {
        let crashed = self.recorder.crash(cut, random);
        let mut disk = Recorder::new(crashed);
        // The power may fail again during recovery, several times.
        for round in 0..4 {
            let mut journal = Journal::open(&disk, BLOCK, self.runs.clone()).expect("opens after a cut");
            journal
                .recover(&disk)
                .unwrap_or_else(|e| panic!("seed {seed}, cut {cut}: {e}"));
            if round == 3 || random.chance(60) {
                break;
            }
            let again = disk.crash(random.below(disk.position() as u64 + 1) as usize, random);
            disk = Recorder::new(again);
        }
        let disk = disk.current();
        let acknowledged = self.committed.iter().rposition(|c| c.acknowledged <= cut).unwrap_or(0);
        let begun = self.committed.iter().rposition(|c| c.begun <= cut).unwrap_or(0);
        let mut reasons = Vec::new();
        for candidate in &self.committed[acknowledged..=begun] {
            match self.matches(disk, &candidate.state, cut) {
                Ok(()) => return,
                Err(reason) => reasons.push(reason),
            }
        }
        panic!("seed {seed}, cut {cut}: no transaction of {acknowledged}..={begun} leads here: {reasons:?}");
    }
}

fn count(default: u64) -> u64 {
    std::env::var("SIS_EXT4_CUTS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(default)
}

#[test]
fn a_cut_leaves_a_prefix_with_all_that_was_acknowledged() {
    let per_history = 30;
    for seed in 0..count(1500).div_ceil(per_history) {
        let history = play(seed, 60);
        let mut random = Random(seed ^ 0xc0ff_ee00);
        for _ in 0..per_history {
            let cut = random.below(history.recorder.position() as u64) as usize;
            history.check(cut, &mut random, seed);
        }
        let end = history.recorder.position();
        history.check(end, &mut random, seed);
    }
}

/// Every block that is not the log's.
fn outside(disk: &MemDisk, runs: &[Run]) -> Vec<Vec<u8>> {
    (0..disk.len_bytes() / BLOCK as u64)
        .filter(|n| {
            !runs
                .iter()
                .any(|r| *n >= r.physical && *n < r.physical + u64::from(r.len))
        })
        .map(|n| disk.get(n * BLOCK as u64, BLOCK))
        .collect()
}

#[test]
fn a_damaged_log_is_refused_without_a_write_or_ends_early() {
    let (mut refused, mut replayed) = (0, 0);
    for seed in 0..count(1500) / 4 {
        let mut random = Random(seed);
        let history = play(seed / 50, 40);
        let runs = &history.runs;
        let disk = history.recorder.crash(history.recorder.position(), &mut Random(1));
        for _ in 0..=random.below(4) {
            let logical = random.below(u64::from(runs[1].logical + runs[1].len)) as u32;
            let run = runs.iter().rfind(|r| r.logical <= logical).expect("is in the log");
            let at = (run.physical + u64::from(logical - run.logical)) * BLOCK as u64;
            // Fields lie at the beginning.
            let at = at
                + if random.chance(60) {
                    random.below(96)
                } else {
                    random.below(BLOCK as u64)
                };
            let old = disk.get(at, 1)[0];
            let new = match random.below(3) {
                0 => old ^ (1 << random.below(8)),
                1 => 0xff,
                _ => random.next() as u8,
            };
            disk.put(at, &[new]);
        }
        let before = outside(&disk, runs);
        let recovered = Journal::open(&disk, BLOCK, runs.clone()).and_then(|mut j| j.recover(&disk));
        match recovered {
            Ok(report) => replayed += report.blocks,
            Err(_) => {
                refused += 1;
                assert!(outside(&disk, runs) == before, "seed {seed}: refused, and written");
            }
        }
    }
    assert!(
        refused > 50 && replayed > 50,
        "{refused} refused, {replayed} blocks replayed: hardly a test"
    );
}

#[test]
fn descriptors_without_end_and_magic_everywhere_end() {
    // A log that is one descriptor again and again, which a walk could follow for ever.
    for kind in [1, 2, 5, 7] {
        for is_summed in [false, true] {
            let (disk, runs) = make(30, 6, false, is_summed);
            let mut journal = Journal::open(&disk, BLOCK, runs.clone()).expect("opens");
            let block = vec![(0, Arc::new(vec![7; BLOCK]))];
            journal.commit(&disk, block, &[], 1).expect("commits");
            for run in &runs {
                for n in u64::from(run.logical == 0)..u64::from(run.len) {
                    let mut block = vec![0xff; BLOCK];
                    put_u32(&mut block, 0, 0xc03b_3998);
                    put_u32(&mut block, 4, kind);
                    put_u32(&mut block, 8, 7);
                    disk.put((run.physical + n) * BLOCK as u64, &block);
                }
            }
            let before = outside(&disk, &runs);
            let _ = Journal::open(&disk, BLOCK, runs.clone()).expect("opens").recover(&disk);
            assert!(kind == 2 || outside(&disk, &runs) == before);
        }
    }
}

/// Torn anywhere, a commit block is there or not: there is no third thing, which jbd2 and e2fsck would call a damaged log.
#[test]
fn a_commit_block_is_whole_with_its_first_sector() {
    let mut commits = 0;
    for seed in 0..20 {
        let history = play(seed, 60);
        history.recorder.each_write(|disk, offset, data| {
            let is_commit = data.starts_with(&[0xc0, 0x3b, 0x39, 0x98, 0, 0, 0, 2]) && data.len() == BLOCK;
            // A home or data may look like one.
            if !is_commit || offset / (BLOCK as u64) < LOG_AT {
                return;
            }
            let (behind, before) = (&data[512..], disk.get(offset + 512, BLOCK - 512));
            assert!(
                behind.iter().all(|byte| *byte == 0),
                "seed {seed}: it says something in its second sector"
            );
            assert!(
                before.iter().all(|byte| *byte == 0),
                "seed {seed}: it is written over something"
            );
            commits += 1;
        });
    }
    assert!(commits > 200, "only {commits} commits");
}
