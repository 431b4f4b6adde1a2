//! Random changes, against a model and against e2fsprogs.

mod changes;
mod rig;

use changes::{OWNER, assert_same, step};
use rig::{NOW, Rng, Tree, VARIANTS, assert_clean, mke2fs, mount, read_tree};
use sis_ext4::{Error, Kind, NewFile, ROOT};

fn changes(name: &str, options: &[&str], seed: u64, steps: usize) {
    let mut v = mount(mke2fs(24 * 1024, options));
    let (mut tree, mut rng) = (Tree::new(), Rng::new(seed));
    let mut full = 0;
    for n in 0..steps {
        match step(&mut v, &mut tree, &mut rng, n) {
            Ok(()) => {}
            // What was written of it stays.
            Err(Error::NoSpace) => {
                full += 1;
                tree = read_tree(&mut v).unwrap();
            }
            Err(e) => panic!("{name}, seed {seed}, step {n}: {e}"),
        }
    }
    assert!(full < steps / 4, "{name}: full {full} times");
    let seen = read_tree(&mut v).unwrap();
    assert_same(&seen, &tree, name);
    let bytes = v.unmount(NOW).unwrap().bytes();
    assert_clean(&bytes, name);
    assert_same(&read_tree(&mut mount(bytes)).unwrap(), &tree, name);
}

#[test]
fn random_changes_leave_a_clean_file_system_of_every_kind() {
    for (i, (name, options)) in VARIANTS.iter().enumerate() {
        changes(name, options, 11 + i as u64, 700);
    }
}

#[test]
fn many_names_in_one_directory() {
    for (name, options) in [VARIANTS[0], VARIANTS[1], VARIANTS[11]] {
        let mut v = mount(mke2fs(24 * 1024, options));
        let dir = v.create(ROOT, b"many", &NewFile::Directory, OWNER, NOW).unwrap();
        for n in 0..1500 {
            v.create(dir, format!("file number {n}").as_bytes(), &NewFile::Fifo, OWNER, NOW)
                .unwrap();
        }
        for n in (0..1500).step_by(3) {
            let (ino, is_last) = v.unlink(dir, format!("file number {n}").as_bytes(), NOW).unwrap();
            assert!(is_last);
            v.evict(ino, NOW).unwrap();
        }
        let mut seen = 0;
        v.read_dir(dir, 0, |_| {
            seen += 1;
            true
        })
        .unwrap();
        assert_eq!(seen, 1002);
        assert_clean(&v.unmount(NOW).unwrap().bytes(), name);
    }
}

#[test]
fn attributes_come_back_as_they_were_set() {
    let mut v = mount(mke2fs(8 * 1024, VARIANTS[0].1));
    let ino = v
        .create(ROOT, b"a", &NewFile::BlockDevice(259, 70_000), OWNER, NOW + 5)
        .unwrap();
    for time in [NOW + 123_456_789, -1_000_000_001, 0, 5_000_000_000_999_999_999] {
        let change = sis_ext4::Change {
            mode: Some(0o4751),
            uid: Some(70_000),
            mtime_ns: Some(time),
            ..Default::default()
        };
        v.set_attributes(ino, &change, NOW).unwrap();
        let i = v.inode(ino).unwrap();
        assert_eq!((i.mode, i.uid, i.gid, i.mtime_ns), (0o4751, 70_000, 100_000, time));
        assert_eq!(
            (i.kind, i.device, i.btime_ns),
            (Kind::BlockDevice, (259, 70_000), NOW + 5)
        );
    }
    assert_clean(&v.unmount(NOW).unwrap().bytes(), "attributes");
}
