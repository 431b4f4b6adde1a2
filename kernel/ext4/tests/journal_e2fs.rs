//! Logs that are written here are replayed by e2fsck to what recovery here makes of them, and logs that debugfs writes
//! are replayed here to what e2fsck makes of them.

#[expect(dead_code, reason = "each test uses a part of the rig")]
mod rig;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rig::{MemDisk, Random, Recorder, e2fs};
use sis_ext4::Disk;
use sis_ext4::journal::{Extent, Journal, Report, Run};
use tempfile::TempDir;

/// The blocks of a file system's end, which a new one does not use.
const FREE: u64 = 200;

struct Image {
    dir: TempDir,
    path: PathBuf,
    block: usize,
    blocks: u64,
    runs: Vec<Run>,
}

impl Image {
    fn make(block: usize, options: &[&str]) -> Self {
        let dir = TempDir::new().expect("a directory");
        let path = dir.path().join("image");
        let blocks = 8192;
        let size = block.to_string();
        let journal = format!("size={}", block / 1024);
        let mut all = vec!["-t", "ext4", "-b", size.as_str(), "-J", journal.as_str()];
        all.extend_from_slice(options);
        e2fs::mke2fs(&path, &all, blocks);
        let runs = e2fs::journal_runs(&path);
        Self {
            dir,
            path,
            block,
            blocks,
            runs,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn open(&self, disk: &impl Disk) -> Journal {
        Journal::open(disk, self.block, self.runs.clone()).expect("the journal opens")
    }

    fn home(&self, n: u64) -> u64 {
        self.blocks - FREE + n
    }

    /// Replays an image here and by e2fsck, and compares every block but the superblocks and those of the log.
    fn compare(&self, unclean: &Path, what: &str) -> Report {
        let theirs = self.file("theirs");
        std::fs::copy(unclean, &theirs).expect("copies");
        let said = e2fs::e2fsck_replay(&theirs);
        assert!(said.status <= 1, "{what}: e2fsck: {said:?}");
        assert!(
            said.text.contains("recovering journal"),
            "{what}: e2fsck did not replay: {said:?}"
        );
        let ours = MemDisk::load(unclean);
        let mut journal = self.open(&ours);
        let report = journal.recover(&ours).unwrap_or_else(|e| panic!("{what}: {e}"));
        let theirs = MemDisk::load(&theirs);
        for n in 0..self.blocks {
            let is_log = self
                .runs
                .iter()
                .any(|r| n >= r.physical && n < r.physical + u64::from(r.len));
            let offset = n * self.block as u64;
            let (a, b) = (ours.get(offset, self.block), theirs.get(offset, self.block));
            if !is_log && a != b && a[56..58] != [0x53, 0xef] && offset != 0 {
                panic!("{what}: block {n} of {} differs", self.blocks);
            }
        }
        assert!(!self.open(&ours).needs_recovery(), "{what}: still to be recovered");
        report
    }
}

fn content(random: &mut Random, len: usize) -> Vec<u8> {
    let mut block = Vec::with_capacity(len);
    while block.len() < len {
        block.extend_from_slice(&random.next().to_le_bytes());
    }
    if random.chance(20) {
        block[..4].copy_from_slice(&[0xc0, 0x3b, 0x39, 0x98]);
    }
    block
}

/// Block size, whether numbers are long, whether there are checksums, options.
const KINDS: [(usize, bool, bool, &[&str]); 4] = [
    (1024, true, true, &[]),
    (4096, true, true, &[]),
    (1024, false, false, &["-O", "^64bit,^metadata_csum"]),
    (2048, true, false, &["-O", "64bit,^metadata_csum"]),
];

#[test]
fn e2fsck_replays_our_logs_to_the_same_blocks() {
    for (kind, (block, is_wide, is_summed, options)) in KINDS.into_iter().enumerate() {
        let image = Image::make(block, options);
        let said = e2fs::debugfs_write(&image.path, "feature needs_recovery\n");
        assert_eq!(said.status, 0, "{said:?}");
        let fresh = MemDisk::load(&image.path);
        image
            .open(&fresh)
            .set_features(&fresh, is_wide, is_summed)
            .expect("is empty");
        let (mut replayed, mut revoked) = (0, 0);
        for round in 0..6 {
            let mut random = Random(kind as u64 * 100 + round);
            let recorder = Recorder::new(fresh.clone());
            let mut journal = image.open(&recorder);
            for _ in 0..40 {
                let mut homes: Vec<u64> = (0..random.below(30)).map(|_| image.home(random.below(FREE))).collect();
                homes.sort_unstable();
                homes.dedup();
                let revokes: Vec<u64> = (0..random.below(5)).map(|_| image.home(random.below(FREE))).collect();
                let blocks = homes
                    .into_iter()
                    .map(|n| (n, Arc::new(content(&mut random, block))))
                    .collect();
                journal
                    .commit(&recorder, blocks, &revokes, random.next() >> 1)
                    .expect("commits");
                if random.chance(10) {
                    journal.checkpoint(&recorder, Extent::Space(900)).expect("checkpoints");
                }
            }
            let unclean = image.file("unclean");
            let cut = if round == 0 {
                recorder.position()
            } else {
                recorder.position() / 2 + random.below(recorder.position() as u64 / 2) as usize
            };
            recorder.crash(cut, &mut random).save(&unclean);
            let report = image.compare(&unclean, &format!("{block} {options:?}, round {round}"));
            replayed += report.blocks;
            revoked += report.revoked;
        }
        assert!(
            replayed > 100 && revoked > 5,
            "{replayed} blocks, {revoked} revoked: hardly a test"
        );
    }
}

#[test]
fn we_replay_the_logs_of_debugfs_as_e2fsck_does() {
    let versions = [
        ("-c -v 3", true, "journal_checksum_v3"),
        ("-c -v 2", true, "journal_checksum_v2"),
        ("-c -v 1", false, "journal_checksum"),
        ("", true, "journal_incompat_revoke"),
        ("", false, "journal_incompat_revoke"),
    ];
    for (block, _, is_summed, options) in KINDS {
        for (version, is_for_summed, feature) in versions {
            if is_summed != is_for_summed {
                continue;
            }
            let image = Image::make(block, options);
            let mut random = Random(block as u64);
            let mut commands = format!("jo {version}\n");
            for i in 0..12 {
                let count = 1 + random.below(40);
                let mut data = Vec::new();
                let mut homes: Vec<u64> = (0..count).map(|_| image.home(random.below(FREE))).collect();
                homes.sort_unstable();
                homes.dedup();
                for _ in &homes {
                    data.extend_from_slice(&content(&mut random, block));
                }
                let file = image.file(&format!("data{i}"));
                std::fs::write(&file, data).expect("writes");
                let list = |homes: &[u64]| homes.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
                commands.push_str(&format!("jw -b {} {}\n", list(&homes), file.display()));
                if random.chance(60) {
                    commands.push_str(&format!("jw -r {}\n", list(&homes[..homes.len().min(3)])));
                }
            }
            commands.push_str("jc\n");
            let said = e2fs::debugfs_write(&image.path, &commands);
            let features = e2fs::dumpe2fs(&image.path).text;
            assert!(
                features.split_whitespace().any(|word| word == feature),
                "{version}: {said:?} {features}"
            );
            let report = image.compare(&image.path, &format!("{block} {options:?} {version}"));
            // With version 1, debugfs gives transactions of revokes a wrong checksum; e2fsck stops there, too.
            let (transactions, revoked) = if feature == "journal_checksum" { (1, 0) } else { (12, 1) };
            assert!(
                report.transactions >= transactions && report.revoked >= revoked,
                "{block} {options:?} {version}: {report:?}"
            );
        }
    }
}
