//! The whole file system under power cuts: after one, mounting replays the journal, `e2fsck` finds nothing, and what
//! a commit acknowledged is there.

#[expect(dead_code, reason = "each test uses a part of the rig")]
mod rig;
mod support;

use std::rc::Rc;

use rig::{MemDisk, Random, Recorder, e2fs};
use sis_ext4::{Disk, DiskError, MountOptions, Volume};
use support::model::Model;
use support::{NOW, Rng};

/// A recorder that a volume owns and the test looks into.
struct Shared(Rc<Recorder>);

impl Disk for Shared {
    fn len_bytes(&self) -> u64 {
        self.0.len_bytes()
    }
    fn is_read_only(&self) -> bool {
        self.0.is_read_only()
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

/// Recovers by mounting, compares with the model if there is one, and has the result checked.
fn check(crashed: MemDisk, model: Option<&Model>, what: &str) {
    let (mut v, report) =
        Volume::mount(crashed, &MountOptions::default(), NOW).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert!(!report.is_read_only, "{what}: {report:?}");
    if let Some(model) = model {
        assert!(report.was_unclean, "{what}: nothing to recover, so hardly a test");
        model.check(&mut v);
    }
    let (disk, ended) = v.unmount(NOW);
    ended.unwrap_or_else(|e| panic!("{what}: {e}"));
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("image");
    disk.save(&image);
    let outcome = e2fs::e2fsck_check(&image);
    assert_eq!(outcome.status, 0, "{what}: {}", outcome.text);
}

#[test]
fn a_cut_leaves_a_clean_tree_with_all_that_was_committed() {
    let cuts: usize = std::env::var("SIS_EXT4_CUTS").map_or(40, |n| n.parse().expect("SIS_EXT4_CUTS is a number"));
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("image");
    e2fs::mke2fs(&image, &["-t", "ext4", "-b", "1024", "-J", "size=1"], 16384);
    let fresh = MemDisk::load(&image);
    for seed in 0..cuts.div_ceil(20) as u64 {
        let recorder = Rc::new(Recorder::new(fresh.clone()));
        let mut random = Random(seed);
        let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let shared = Shared(Rc::clone(&recorder));
        let mounted = Volume::mount(shared, &MountOptions::default(), NOW);
        let Ok((mut v, _)) = mounted else {
            panic!("a fresh file system does not mount")
        };
        let mut model = Model::new(&mut v);
        let mounted_at = recorder.position();
        for round in 0..10 {
            for _ in 0..12 {
                model.step(&mut v, &mut rng);
            }
            v.commit(NOW).expect("commits");
            let now = recorder.crash(recorder.position(), &mut random);
            check(now, Some(&model), &format!("seed {seed}, round {round}"));
        }
        let span = recorder.position() - mounted_at;
        for _ in 0..10 {
            let cut = mounted_at + random.below(span as u64) as usize;
            check(
                recorder.crash(cut, &mut random),
                None,
                &format!("seed {seed}, cut {cut}"),
            );
        }
    }
}
