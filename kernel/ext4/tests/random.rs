//! Operations at random on every kind of image, against a model, e2fsck and debugfs.

mod support;

use support::model::Model;
use support::{MemoryDisk, NOW, Rng, VARIANTS, assert_clean, debugfs, make_image, mount};

fn steps() -> u64 {
    std::env::var("SIS_EXT4_STEPS").map_or(600, |n| n.parse().expect("SIS_EXT4_STEPS is a number"))
}

fn run(name: &str, args: &[&str], seed: u64) {
    println!("{name}, seed {seed}");
    let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let disk = MemoryDisk::new(make_image(args, 32, None));
    let (mut v, report) = mount(&disk);
    assert!(!report.is_read_only && !report.was_unclean, "{name}: {report:?}");
    let mut model = Model::new(&mut v);
    for round in 0..3 {
        for _ in 0..steps() / 3 {
            model.step(&mut v, &mut rng);
        }
        assert!(!v.is_read_only());
        model.check(&mut v);
        v.unmount(NOW).1.expect("unmount");
        assert_clean(&disk.bytes(), &format!("{name}, seed {seed}, round {round}"));
        v = mount(&disk).0;
        model.check(&mut v);
    }
    v.unmount(NOW).1.expect("unmount");
    let dir = tempfile::tempdir().expect("a directory");
    debugfs(&disk.bytes(), false, &[&format!("rdump / {}", dir.path().display())]);
    model.check_dump(dir.path());
}

#[test]
fn random_operations_leave_every_kind_of_image_clean() {
    let base: u64 = std::env::var("SIS_EXT4_SEED").map_or(1, |n| n.parse().expect("SIS_EXT4_SEED is a number"));
    let mut failed = Vec::new();
    for (i, (name, args)) in VARIANTS.iter().enumerate() {
        let seed = base + i as u64;
        if std::panic::catch_unwind(|| run(name, args, seed)).is_err() {
            failed.push((name, seed));
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}
