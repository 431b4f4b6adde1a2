//! Power cuts at any write: what was committed is there, nothing is half done, and e2fsck has nothing to mend.
//!
//! `SIS_EXT4_CUTS=2000 cargo test -p sis-ext4 --test crash -- --nocapture` prints the figure.

#[expect(dead_code, reason = "the journal's tests use the rest")]
mod rig;
mod support;

use std::rc::Rc;

use rig::e2fs::{assert_clean, e2fsck_mend};
use rig::{MemDisk, Random, Recorder};
use sis_ext4::{Disk, DiskError, MountOptions, Volume};
use support::model::{Model, volume_fingerprint};
use support::{NOW, Rng, make_image};

#[derive(Clone)]
struct Shared(Rc<Recorder>);

impl Disk for Shared {
    fn len_bytes(&self) -> u64 {
        self.0.len_bytes()
    }
    fn is_read_only(&self) -> bool {
        false
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), DiskError> {
        self.0.read(offset, out)
    }
    fn write(&self, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        self.0.write(offset, data)
    }
    fn write_through(&self, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        self.0.write_through(offset, data)
    }
    fn flush(&self) -> Result<(), DiskError> {
        self.0.flush()
    }
}

fn load(bytes: &[u8]) -> MemDisk {
    let disk = MemDisk::new(bytes.len() as u64);
    for (i, part) in bytes.chunks(4096).enumerate() {
        if part.iter().any(|b| *b != 0) {
            disk.put(i as u64 * 4096, part);
        }
    }
    disk
}

/// Images that have a journal; the small ones make transactions short and the log turn over.
const IMAGES: &[(&str, &[&str])] = &[
    ("ext4", &["-t", "ext4", "-b", "4096"]),
    ("ext4, small journal", &["-t", "ext4", "-b", "1024", "-J", "size=1"]),
    (
        "ext4 of Debian 13",
        &["-t", "ext4", "-b", "4096", "-O", "metadata_csum_seed,orphan_file"],
    ),
    (
        "ext4, no checksums",
        &["-t", "ext4", "-b", "1024", "-J", "size=1", "-O", "^metadata_csum"],
    ),
    ("ext3, small journal", &["-t", "ext3", "-b", "1024", "-J", "size=1"]),
];

const STEPS: usize = 300;

/// A workload on a recording disk, and the fingerprint and the position after each step.
struct Workload {
    disk: Rc<Recorder>,
    steps: Vec<(usize, u64)>,
    /// Positions at which a commit had returned, and the steps it covers.
    acknowledged: Vec<(usize, usize)>,
}

fn work(args: &[&str], seed: u64) -> Workload {
    let mut rng = Rng(seed | 1);
    // Mounted and in use before the recording begins.
    let first = Shared(Rc::new(Recorder::new(load(&make_image(args, 16, None)))));
    let (mut v, _) = Volume::mount(first.clone(), &MountOptions::default(), NOW).expect("mounts");
    v.commit(NOW).expect("commit");
    drop(v);
    let disk = Rc::new(Recorder::new(first.0.current().clone()));
    let (mut v, _) = Volume::mount(Shared(Rc::clone(&disk)), &MountOptions::default(), NOW).expect("mounts");
    let mut model = Model::new(&mut v);
    model.is_append_only = true;
    v.commit(NOW).expect("commit");
    let mut steps = vec![(disk.position(), model.fingerprint())];
    let mut acknowledged = vec![(disk.position(), 0)];
    for n in 1..=STEPS {
        if model.step(&mut v, &mut rng) == "commit" {
            acknowledged.push((disk.position(), n));
        }
        steps.push((disk.position(), model.fingerprint()));
    }
    Workload {
        disk,
        steps,
        acknowledged,
    }
}

fn check(w: &Workload, cut: usize, random: &mut Random, what: &str) {
    let crashed = w.disk.crash(cut, random);
    let oldest = w
        .acknowledged
        .iter()
        .rfind(|(at, _)| *at <= cut)
        .map_or(0, |(_, step)| *step);
    let newest = w
        .steps
        .iter()
        .position(|(at, _)| *at > cut)
        .unwrap_or(w.steps.len() - 1);
    let allowed: Vec<u64> = w.steps[oldest..=newest].iter().map(|(_, f)| *f).collect();
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("cut.img");
    crashed.save(&path);

    let ours = Shared(Rc::new(Recorder::new(crashed)));
    let (mut v, report) =
        Volume::mount(ours.clone(), &MountOptions::default(), NOW).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert!(report.was_unclean && !report.is_read_only, "{what}: {report:?}");
    let found = volume_fingerprint(&mut v);
    assert!(
        allowed.contains(&found),
        "{what}: the tree is none that steps {oldest} to {newest} left"
    );
    v.unmount(NOW).1.expect("unmount");
    let recovered = dir.path().join("ours.img");
    ours.0.current().save(&recovered);
    assert_clean(&recovered);

    let outcome = e2fsck_mend(&path);
    assert!(
        outcome.status <= 1 && !outcome.text.contains("? yes"),
        "{what}: e2fsck had to mend: {}",
        outcome.text
    );
    assert_clean(&path);
    let theirs = Shared(Rc::new(Recorder::new(MemDisk::load(&path))));
    let (mut v, _) = Volume::mount(theirs, &MountOptions::default(), NOW).expect("mounts");
    assert_eq!(
        volume_fingerprint(&mut v),
        found,
        "{what}: e2fsck recovers another tree"
    );
}

#[test]
fn cuts_lose_nothing_that_was_committed() {
    let cuts: u64 = std::env::var("SIS_EXT4_CUTS").map_or(60, |n| n.parse().expect("SIS_EXT4_CUTS is a number"));
    let mut total = 0;
    for (k, (name, args)) in IMAGES.iter().enumerate() {
        let share = cuts / IMAGES.len() as u64;
        for round in 0..share.div_ceil(40) {
            let seed = 1000 * (k as u64 + 1) + round;
            let w = work(args, seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let (first, last) = (w.acknowledged[0].0, w.disk.position());
            assert!(last > first + 100, "{name}: too few writes to cut");
            for n in 0..share.min(40) {
                let mut random = Random(seed << 20 | n);
                let cut = first + random.below((last - first) as u64) as usize;
                check(&w, cut, &mut random, &format!("{name}, seed {seed}, cut {n} at {cut}"));
                total += 1;
            }
        }
    }
    println!("{total} cuts, 0 losses");
}
