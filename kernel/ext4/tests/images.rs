//! Images that others made, and single behaviours that others check.

mod support;

use std::collections::BTreeMap;

use sis_ext4::{
    Attributes, Device, Disk, Error, Ino, Kind, MountOptions, NewFile, RenameMode, Source, State, Timestamp, Volume,
};
use support::{MemoryDisk, NOW, Rng, VARIANTS, assert_clean, debugfs, make_image, mount, read_file, run, write_file};

fn new(kind: Kind) -> NewFile {
    NewFile {
        kind,
        permissions: 0o640,
        uid: 0,
        gid: 0,
        device: Device::default(),
    }
}

fn mended(bytes: &[u8], args: &[&str]) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), bytes).expect("space for the image");
    let path = file.path().to_str().expect("a path in UTF-8");
    let output = run("e2fsck", &[args, &[path]].concat());
    assert!(output.status.code().is_some_and(|c| c < 4), "{output:?}");
    std::fs::read(path).expect("the image")
}

#[test]
fn trees_that_mke2fs_copied_are_read_as_they_are() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut expected: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut rng = Rng(11);
    for (name, len) in [
        ("empty", 0),
        ("one", 1),
        ("block", 4096),
        ("more", 4097),
        ("large", 3_000_000),
    ] {
        let content = rng.bytes(len);
        std::fs::write(dir.path().join(name), &content).expect("writes");
        expected.insert(name.to_owned(), content);
    }
    let mut sparse = vec![0; 2_000_000];
    sparse[1_500_000..1_500_100].fill(7);
    std::fs::write(dir.path().join("sparse"), &sparse).expect("writes");
    expected.insert("sparse".to_owned(), sparse);
    std::os::unix::fs::symlink("a/target", dir.path().join("short")).expect("links");
    std::os::unix::fs::symlink("t".repeat(300), dir.path().join("long")).expect("links");
    std::fs::create_dir(dir.path().join("sub")).expect("makes");
    for n in 0..600 {
        std::fs::write(dir.path().join(format!("sub/file number {n}")), format!("{n}")).expect("writes");
    }
    for (name, args) in VARIANTS {
        let disk = MemoryDisk::new(make_image(args, 32, Some(dir.path())));
        let (mut v, _) = mount(&disk);
        for (file, content) in &expected {
            let (ino, _) = v.lookup(Ino::ROOT, file.as_bytes()).expect("is there");
            assert!(read_file(&mut v, ino) == *content, "{name}: {file}");
        }
        let (short, _) = v.lookup(Ino::ROOT, b"short").expect("is there");
        assert_eq!(v.read_link(short).expect("a target"), b"a/target");
        let (long, _) = v.lookup(Ino::ROOT, b"long").expect("is there");
        assert_eq!(v.read_link(long).expect("a target"), "t".repeat(300).as_bytes());
        let (sub, _) = v.lookup(Ino::ROOT, b"sub").expect("is there");
        for n in 0..600 {
            let (ino, _) = v.lookup(sub, format!("file number {n}").as_bytes()).expect("is there");
            assert_eq!(read_file(&mut v, ino), format!("{n}").as_bytes(), "{name}");
        }
        assert_eq!(v.lookup(sub, b"file number 600"), Err(Error::NotFound));
        assert_eq!(v.lookup(short, b"x"), Err(Error::NotDirectory));
        v.unmount(NOW).1.expect("unmount");
        assert_clean(&disk.bytes(), name);
    }
}

#[test]
fn indexes_that_e2fsck_built_are_searched_with_every_hash() {
    let dir = tempfile::tempdir().expect("a directory");
    let names: Vec<String> = (0..1200)
        .map(|n| format!("{}n\u{e4}me {n} {}", n % 7, "x".repeat(n % 90)))
        .collect();
    for name in &names {
        std::fs::write(dir.path().join(name), b"").expect("writes");
    }
    for (version, unsigned) in [(0, false), (1, false), (2, false), (0, true), (1, true), (2, true)] {
        let image = make_image(&["-t", "ext4", "-b", "1024", "-N", "8192"], 32, Some(dir.path()));
        let flags = format!("ssv flags {}", if unsigned { 2 } else { 1 });
        let (image, _) = debugfs(&image, true, &[&format!("ssv def_hash_version {version}"), &flags]);
        let disk = MemoryDisk::new(mended(&image, &["-fyD"]));
        let (mut v, _) = mount(&disk);
        let root = v.inode(Ino::ROOT).expect("the root");
        assert!(root.flags & 0x1000 != 0, "e2fsck made no index");
        for name in &names {
            v.lookup(Ino::ROOT, name.as_bytes())
                .unwrap_or_else(|e| panic!("hash {version}, unsigned {unsigned}: {name}: {e}"));
        }
        let mut seen = 0;
        v.read_dir(Ino::ROOT, 0, &mut |_| {
            seen += 1;
            true
        })
        .expect("read_dir");
        assert_eq!(seen, names.len() + 3);
        for n in 0..1500 {
            v.create(Ino::ROOT, format!("\u{fc}ber {n}").as_bytes(), &new(Kind::Regular), NOW)
                .expect("create");
        }
        v.unmount(NOW).1.expect("unmount");
        assert_clean(&disk.bytes(), &format!("hash {version}, unsigned {unsigned}"));
    }
}

#[test]
fn directories_grow_an_index_of_three_levels() {
    let image = make_image(
        &["-t", "ext4", "-b", "1024", "-N", "60000", "-O", "large_dir"],
        128,
        None,
    );
    let disk = MemoryDisk::new(image);
    let (mut v, _) = mount(&disk);
    let name = |n: u32| format!("{n:0>250}").into_bytes();
    let dir = v
        .create(Ino::ROOT, b"dir", &new(Kind::Directory), NOW)
        .expect("create")
        .ino;
    let file = v.create(dir, &name(0), &new(Kind::Regular), NOW).expect("create").ino;
    for n in 1..46_000 {
        v.link(file, dir, &name(n), NOW).expect("link");
    }
    for n in (0..46_000).step_by(97) {
        assert_eq!(v.lookup(dir, &name(n)).expect("is there").0, file);
    }
    for n in (1..46_000).step_by(3) {
        v.unlink(dir, &name(n), NOW).expect("unlink");
    }
    v.unmount(NOW).1.expect("unmount");
    let (_, text) = debugfs(&disk.bytes(), false, &["htree_dump /dir"]);
    assert!(text.contains("Indirect levels: 2"), "{}", &text[..text.len().min(600)]);
    assert_clean(&disk.bytes(), "three levels");
}

#[test]
fn places_in_a_directory_survive_changes() {
    for args in [
        &["-t", "ext4", "-b", "1024"][..],
        &["-t", "ext2", "-b", "1024", "-O", "^dir_index"],
    ] {
        let disk = MemoryDisk::new(make_image(args, 16, None));
        let (mut v, _) = mount(&disk);
        let dir = v
            .create(Ino::ROOT, b"dir", &new(Kind::Directory), NOW)
            .expect("create")
            .ino;
        let mut kept: Vec<Vec<u8>> = (0..200).map(|n| format!("kept {n}").into_bytes()).collect();
        let mut extra = 0;
        for name in kept.iter().take(10) {
            v.create(dir, name, &new(Kind::Fifo), NOW).expect("create");
        }
        // The listing begins while the directory has one block, and goes on while it grows, splits and shrinks.
        let mut seen: Vec<Vec<u8>> = Vec::new();
        let mut from = 0;
        let first_ten: Vec<Vec<u8>> = kept.drain(..10).collect();
        while from != sis_ext4::DIRECTORY_END {
            let mut taken = 0;
            from = v
                .read_dir(dir, from, &mut |e| {
                    taken += 1;
                    if taken > 3 {
                        return false;
                    }
                    seen.push(e.name.to_vec());
                    true
                })
                .expect("read_dir");
            for _ in 0..20.min(400 - extra.min(400)) {
                v.create(dir, format!("extra {extra}").as_bytes(), &new(Kind::Fifo), NOW)
                    .expect("create");
                extra += 1;
            }
            if extra % 60 == 0 && extra > 60 {
                for n in extra - 60..extra - 30 {
                    if let Ok(u) = v.unlink(dir, format!("extra {n}").as_bytes(), NOW) {
                        v.evict(u.ino, NOW).expect("evict");
                    }
                }
            }
        }
        for name in first_ten {
            assert_eq!(
                seen.iter().filter(|n| **n == name).count(),
                1,
                "{}",
                String::from_utf8_lossy(&name)
            );
        }
        let mut unique = seen.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), seen.len(), "a name was told twice");
    }
}

#[test]
fn features_that_are_not_supported_are_named() {
    let refused: &[(&[&str], &str)] = &[
        (&["-t", "ext4", "-O", "inline_data"], "inline_data"),
        (&["-t", "ext4", "-O", "encrypt"], "encrypt"),
        (&["-t", "ext4", "-O", "casefold"], "casefold"),
        (&["-t", "ext4", "-O", "mmp"], "mmp"),
        (&["-t", "ext4", "-O", "ea_inode"], "ea_inode"),
        (&["-t", "ext4", "-O", "bigalloc"], "bigalloc"),
    ];
    for (args, feature) in refused {
        let disk = MemoryDisk::new(make_image(args, 32, None));
        let result = Volume::mount(disk, &MountOptions::default(), NOW).map(|_| ());
        assert_eq!(result, Err(Error::Feature(feature)));
    }
    for (args, feature) in [
        (["-t", "ext4", "-O", "quota"], "quota"),
        (["-t", "ext4", "-O", "verity"], "verity"),
    ] {
        let before = make_image(&args, 32, None);
        let disk = MemoryDisk::new(before.clone());
        let (mut v, report) = mount(&disk);
        assert_eq!(report.forbidden_by, Some(feature));
        assert!(report.is_read_only);
        assert_eq!(v.create(Ino::ROOT, b"x", &new(Kind::Fifo), NOW), Err(Error::ReadOnly));
        assert_eq!(v.remount(false, NOW), Err(Error::ReadOnly));
        v.unmount(NOW).1.expect("unmount");
        assert!(disk.bytes() == before, "a read-only mount wrote");
    }
    let disk = MemoryDisk::new(vec![0; 1 << 20]);
    assert_eq!(
        Volume::mount(disk, &MountOptions::default(), NOW).map(|_| ()),
        Err(Error::NotExt4)
    );
}

#[test]
fn orphans_are_deleted_at_the_next_mount() {
    let disk = MemoryDisk::new(make_image(&["-t", "ext4"], 32, None));
    let (mut v, _) = mount(&disk);
    let before = v.statfs();
    let mut inos = Vec::new();
    for n in 0..5u8 {
        let ino = v
            .create(Ino::ROOT, &[b'a' + n], &new(Kind::Regular), NOW)
            .expect("create")
            .ino;
        write_file(&mut v, ino, 0, &[n; 50_000]).expect("write");
        inos.push(ino);
    }
    for n in 0..5u8 {
        assert!(v.unlink(Ino::ROOT, &[b'a' + n], NOW).expect("unlink").was_last);
    }
    // In use still: content can be read, and the one in the middle of the list goes first.
    assert_eq!(read_file(&mut v, inos[2]), [2; 50_000]);
    v.evict(inos[2], NOW).expect("evict");
    assert_eq!(v.evict(Ino::ROOT, NOW), Err(Error::Invalid));
    v.unmount(NOW).1.expect("unmount");
    let (mut v, report) = mount(&disk);
    assert_eq!(report.orphans_deleted, 4);
    v.commit(NOW).expect("commit");
    assert_eq!(v.statfs(), before);
    v.unmount(NOW).1.expect("unmount");
    assert_clean(&disk.bytes(), "orphans");
}

#[test]
fn the_orphan_file_of_another_system_is_worked_off() {
    let image = make_image(
        &["-t", "ext4", "-b", "4096", "-O", "orphan_file,^metadata_csum"],
        32,
        None,
    );
    let disk = MemoryDisk::new(image);
    let (mut v, _) = mount(&disk);
    let gone = v
        .create(Ino::ROOT, b"gone", &new(Kind::Regular), NOW)
        .expect("create")
        .ino;
    write_file(&mut v, gone, 0, &[1; 100_000]).expect("write");
    let kept = v
        .create(Ino::ROOT, b"kept", &new(Kind::Regular), NOW)
        .expect("create")
        .ino;
    write_file(&mut v, kept, 0, &[2; 100_000]).expect("write");
    v.unmount(NOW).1.expect("unmount");
    let (mut image, text) = debugfs(
        &disk.bytes(),
        true,
        &[
            "unlink gone",
            &format!("sif <{}> links_count 0", gone.0),
            &format!("sif <{}> size 5000", kept.0),
            "show_super_stats -h",
        ],
    );
    let ino: u32 = text
        .lines()
        .find_map(|l| l.strip_prefix("Orphan file inode:"))
        .expect("an orphan file")
        .trim()
        .parse()
        .expect("a number");
    let (_, text) = debugfs(&image, false, &[&format!("blocks <{ino}>")]);
    let block: usize = text
        .lines()
        .rfind(|l| !l.starts_with("debugfs"))
        .and_then(|l| l.split_whitespace().next())
        .expect("blocks")
        .parse()
        .expect("a number");
    image[block * 4096..block * 4096 + 4].copy_from_slice(&gone.0.to_le_bytes());
    image[block * 4096 + 40..block * 4096 + 44].copy_from_slice(&kept.0.to_le_bytes());
    image[1024 + 0x66] |= 1;
    let disk = MemoryDisk::new(image);
    let (v, report) = mount(&disk);
    assert_eq!((report.orphans_deleted, report.orphans_truncated), (1, 1));
    v.unmount(NOW).1.expect("unmount");
    assert_eq!(disk.bytes()[1024 + 0x66] & 1, 0, "the feature is still set");
    assert_clean(&disk.bytes(), "orphan file");
}

#[test]
fn attributes_and_times_are_what_debugfs_says() {
    let disk = MemoryDisk::new(make_image(&["-t", "ext4", "-b", "4096"], 32, None));
    let (mut v, _) = mount(&disk);
    let ino = v.create(Ino::ROOT, b"f", &new(Kind::Regular), NOW).expect("create").ino;
    let change = Attributes {
        permissions: Some(0o4755),
        uid: Some(100_000),
        gid: Some(200_000),
        atime: Some(Timestamp {
            seconds: -5,
            nanoseconds: 1,
        }),
        mtime: Some(Timestamp {
            seconds: 6_000_000_000,
            nanoseconds: 999_999_999,
        }),
        ctime: None,
        flags: Some(0x80),
    };
    v.set_attributes(ino, &change, NOW).expect("set");
    let inode = v.inode(ino).expect("an inode");
    assert_eq!((inode.mode, inode.uid, inode.gid), (0o104_755, 100_000, 200_000));
    assert_eq!(Some(inode.atime), change.atime);
    assert_eq!(Some(inode.mtime), change.mtime);
    assert_eq!((inode.ctime, inode.btime), (NOW, Some(NOW)));
    let acl = [
        2u8, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 7, 0, 9, 0, 0, 0, 4, 0, 4, 0, 255, 255, 255, 255, 16, 0, 7,
        0, 255, 255, 255, 255, 32, 0, 4, 0, 255, 255, 255, 255,
    ];
    v.set_attribute(ino, b"system.posix_acl_access", &acl, None, NOW)
        .expect("acl");
    v.set_attribute(ino, b"user.text", b"hello", Some(false), NOW)
        .expect("set");
    v.set_attribute(ino, b"user.large", &[b'y'; 2000], None, NOW)
        .expect("set");
    assert_eq!(
        v.set_attribute(ino, b"user.text", b"x", Some(false), NOW),
        Err(Error::Exists)
    );
    assert_eq!(
        v.set_attribute(ino, b"user.none", b"x", Some(true), NOW),
        Err(Error::NoAttribute)
    );
    assert_eq!(
        v.set_attribute(ino, b"user.huge", &[0; 5000], None, NOW),
        Err(Error::NoSpace)
    );
    assert_eq!(
        v.set_attribute(ino, b"other.x", b"x", None, NOW),
        Err(Error::Unsupported)
    );
    assert_eq!(v.attribute(ino, b"system.posix_acl_access").expect("acl"), acl);
    v.unmount(NOW).1.expect("unmount");
    let (image, text) = debugfs(
        &disk.bytes(),
        true,
        &[
            "stat f",
            "ea_get f user.text",
            "ea_get f user.large",
            "ea_set f user.theirs value",
        ],
    );
    assert!(text.contains("User: 100000   Group: 200000"), "{text}");
    assert!(text.contains("hello") && text.contains(&"y".repeat(2000)), "{text}");
    assert_clean(&image, "attributes");
    let (mut v, _) = mount(&MemoryDisk::new(image));
    assert_eq!(v.attribute(ino, b"user.theirs").expect("theirs"), b"value");
    assert_eq!(v.attribute(ino, b"user.text").expect("ours"), b"hello");
    assert_eq!(v.attribute(ino, b"system.posix_acl_access").expect("acl"), acl);
    assert_eq!(v.attributes(ino).expect("names").len(), 4);
}

#[test]
fn a_full_disk_says_so_and_recovers() {
    for (name, args) in VARIANTS {
        let disk = MemoryDisk::new(make_image(args, 12, None));
        let (mut v, _) = mount(&disk);
        let before = v.statfs();
        let mut made = Vec::new();
        let mut rng = Rng(3);
        'fill: for n in 0.. {
            assert!(n < 100_000, "{name}: it never fills up");
            let ino = match v.create(Ino::ROOT, format!("f{n}").as_bytes(), &new(Kind::Regular), NOW) {
                Ok(inode) => inode.ino,
                Err(e) => {
                    assert_eq!(e, Error::NoSpace, "{name}");
                    break;
                }
            };
            made.push((format!("f{n}"), ino));
            for k in 0..10 {
                match write_file(&mut v, ino, k * 20_000 + rng.below(5000), &[9; 9000]) {
                    Ok(()) => {}
                    Err(e) => {
                        assert_eq!(e, Error::NoSpace, "{name}");
                        break 'fill;
                    }
                }
            }
        }
        assert!(!v.is_read_only());
        v.commit(NOW).expect("commit");
        assert!(v.statfs().free < before.blocks / 10, "{name}: {:?}", v.statfs());
        for (file, ino) in made {
            assert_eq!(v.unlink(Ino::ROOT, file.as_bytes(), NOW).expect("unlink").ino, ino);
            v.evict(ino, NOW).expect("evict");
        }
        v.commit(NOW).expect("commit");
        let after = v.statfs();
        assert_eq!(after.free_inodes, before.free_inodes, "{name}");
        // The root directory keeps the blocks that it grew.
        assert!(before.free - after.free < 40, "{name}: {before:?}, {after:?}");
        v.unmount(NOW).1.expect("unmount");
        assert_clean(&disk.bytes(), name);
    }
}

#[test]
fn large_and_sparse_files_have_few_extents() {
    for (name, args, deep) in [
        ("ext4", &["-t", "ext4", "-b", "4096"][..], true),
        ("ext2", &["-t", "ext2", "-b", "4096"], false),
        ("ext2, old", &["-t", "ext2", "-b", "4096", "-O", "^large_file"], false),
    ] {
        let disk = MemoryDisk::new(make_image(args, 256, None));
        let (mut v, _) = mount(&disk);
        let ino = v
            .create(Ino::ROOT, b"large", &new(Kind::Regular), NOW)
            .expect("create")
            .ino;
        // 160 MiB, written back in pieces of 1 MiB.
        for n in 0..160 {
            v.reserve(256, true).expect("space");
            let room = v.allocate(ino, n * 256, 256, Source::Reserved).expect("room");
            let pieces = room.pieces;
            assert_eq!(room.new_blocks, 256);
            assert!(pieces.len() < 4, "{name}: {} pieces", pieces.len());
            v.mark_written(ino, n * 256, 256, (n + 1) << 20, NOW).expect("marked");
        }
        let mut runs = 0;
        let mut at = 0;
        while at < 160 * 256 {
            let m = v.map(ino, at, 1 << 30).expect("a mapping");
            if at + m.len <= 160 * 256 {
                assert_eq!(m.state, State::Written);
            }
            at += m.len;
            runs += 1;
        }
        // Pointers are told a block of them at a time.
        assert!(runs <= if deep { 12 } else { 100 }, "{name}: {runs} runs");
        let far = 6 << 30;
        let sparse = v
            .create(Ino::ROOT, b"sparse", &new(Kind::Regular), NOW)
            .expect("create")
            .ino;
        write_file(&mut v, sparse, far, b"far away").expect("write");
        assert_eq!(v.inode(sparse).expect("an inode").size, far + 8);
        assert_eq!(v.next_data(sparse, 0, 1 << 40).expect("seeks"), Some(far / 4096));
        assert_eq!(
            v.next_hole(sparse, far / 4096, 1 << 40).expect("seeks"),
            Some(far / 4096 + 1)
        );
        assert_eq!(v.next_hole(ino, 0, 1 << 40).expect("seeks"), Some(160 * 256));
        v.truncate(ino, 5000, NOW).expect("truncate");
        v.unmount(NOW).1.expect("unmount");
        assert_clean(&disk.bytes(), name);
    }
}

#[test]
fn unwritten_blocks_stay_zeros_until_they_are_marked() {
    let disk = MemoryDisk::new(make_image(&["-t", "ext4", "-b", "4096"], 32, None));
    let (mut v, _) = mount(&disk);
    let ino = v.create(Ino::ROOT, b"f", &new(Kind::Regular), NOW).expect("create").ino;
    v.fallocate(ino, 0, 100, Some(100 * 4096), Source::Free, NOW)
        .expect("fallocate");
    assert_eq!(v.map(ino, 0, 1000).expect("maps").state, State::Unwritten);
    assert_eq!(v.inode(ino).expect("an inode").size, 100 * 4096);
    for at in [50, 10, 11, 99, 0] {
        let pieces = v.allocate(ino, at, 1, Source::Free).expect("has room already").pieces;
        assert_eq!((pieces.len(), pieces[0].state), (1, State::Unwritten));
        v.disk()
            .write(pieces[0].physical * 4096, &[at as u8 + 1; 4096])
            .expect("writes");
        v.mark_written(ino, at, 1, 0, NOW).expect("marked");
    }
    let content = read_file(&mut v, ino);
    for (n, block) in content.chunks(4096).enumerate() {
        let expected = if [50, 10, 11, 99, 0].contains(&n) {
            n as u8 + 1
        } else {
            0
        };
        assert!(block.iter().all(|b| *b == expected), "block {n}");
    }
    v.zero_range(ino, 5, 60, None, Source::Free, NOW).expect("zeroes");
    assert_eq!(v.map(ino, 10, 1).expect("maps").state, State::Unwritten);
    // Promised, and never marked: nothing of it is left after a cut or an unmount.
    let other = v.create(Ino::ROOT, b"g", &new(Kind::Regular), NOW).expect("create").ino;
    v.allocate(other, 0, 50, Source::Free).expect("room");
    assert_eq!(v.map(other, 0, 100).expect("maps").state, State::Unwritten);
    v.unmount(NOW).1.expect("unmount");
    assert_clean(&disk.bytes(), "unwritten");
    let (mut v, _) = mount(&disk);
    assert_eq!(v.map(other, 0, 100).expect("maps").state, State::Hole);
}

#[test]
fn a_directory_is_never_moved_into_itself() {
    let disk = MemoryDisk::new(make_image(&["-t", "ext4"], 32, None));
    let (mut v, _) = mount(&disk);
    let a = v
        .create(Ino::ROOT, b"a", &new(Kind::Directory), NOW)
        .expect("create")
        .ino;
    let b = v.create(a, b"b", &new(Kind::Directory), NOW).expect("create").ino;
    let c = v.create(b, b"c", &new(Kind::Directory), NOW).expect("create").ino;
    for to in [a, b, c] {
        assert_eq!(
            v.rename((Ino::ROOT, b"a"), (to, b"x"), RenameMode::Replace, NOW),
            Err(Error::Loop)
        );
    }
    assert_eq!(
        v.rename((a, b"b"), (Ino::ROOT, b"b"), RenameMode::Replace, NOW),
        Ok(None)
    );
    assert_eq!(v.lookup(b, b"..").expect("a parent").0, Ino::ROOT);
    assert_eq!(
        v.rename((Ino::ROOT, b"a"), (c, b"a"), RenameMode::Exchange, NOW),
        Err(Error::NotFound)
    );
    assert_eq!(
        v.create(Ino::ROOT, &[b'n'; 256], &new(Kind::Fifo), NOW),
        Err(Error::NameTooLong)
    );
    assert_eq!(v.create(Ino::ROOT, b"a/b", &new(Kind::Fifo), NOW), Err(Error::Invalid));
    v.unmount(NOW).1.expect("unmount");
    assert_clean(&disk.bytes(), "directories");
}

#[test]
fn errors_of_the_disk_make_the_volume_read_only_and_are_recorded() {
    let mut image = make_image(&["-t", "ext4", "-b", "4096"], 32, None);
    // The root directory's first block.
    let (_, text) = debugfs(&image, false, &["blocks /"]);
    let block: usize = text
        .lines()
        .rfind(|l| !l.starts_with("debugfs"))
        .and_then(|l| l.split_whitespace().next())
        .expect("blocks")
        .parse()
        .expect("a number");
    image[block * 4096 + 30] ^= 1;
    let disk = MemoryDisk::new(image);
    let (mut v, _) = mount(&disk);
    assert!(matches!(v.lookup(Ino::ROOT, b"lost+found"), Err(Error::Corrupt(_))));
    assert!(v.is_read_only());
    assert_eq!(
        v.set_attributes(Ino::ROOT, &Attributes::default(), NOW),
        Err(Error::ReadOnly)
    );
    assert_eq!(v.remount(false, NOW), Err(Error::ReadOnly));
    let _ = v.unmount(NOW);
    let (_, report) = mount(&disk);
    assert!(report.had_errors && report.was_unclean);
}

#[test]
fn a_half_written_superblock_is_forgiven() {
    // A small journal, and as many operations as make it turn over: the superblock goes home in between.
    for args in [
        &["-t", "ext4", "-b", "1024"][..],
        &["-t", "ext4", "-b", "4096", "-g", "4096"],
    ] {
        let disk = MemoryDisk::new(make_image(args, 48, None));
        let clean = disk.bytes();
        let (mut v, _) = mount(&disk);
        v.create(Ino::ROOT, b"f", &new(Kind::Fifo), NOW).expect("create");
        v.unmount(NOW).1.expect("unmount");
        let used = disk.bytes();
        for (first, second) in [(&clean, &used), (&used, &clean)] {
            let mut image = used.clone();
            image[1024..1536].copy_from_slice(&first[1024..1536]);
            image[1536..2048].copy_from_slice(&second[1536..2048]);
            let disk = MemoryDisk::new(image.clone());
            let (mut v, report) = mount(&disk);
            assert!(report.was_unclean);
            v.lookup(Ino::ROOT, b"f").expect("is there");
            v.unmount(NOW).1.expect("unmount");
            assert_clean(&disk.bytes(), "a half written superblock");
            // What never changes is not forgiven.
            image[1024 + 0x28] ^= 8;
            assert!(Volume::mount(MemoryDisk::new(image), &MountOptions::default(), NOW).is_err());
        }
    }
}

#[test]
fn files_in_use_survive_a_remount() {
    let disk = MemoryDisk::new(make_image(&["-t", "ext4"], 32, None));
    let (mut v, _) = mount(&disk);
    let ino = v.create(Ino::ROOT, b"f", &new(Kind::Regular), NOW).expect("create").ino;
    write_file(&mut v, ino, 0, b"still here").expect("write");
    v.unlink(Ino::ROOT, b"f", NOW).expect("unlink");
    v.remount(true, NOW).expect("read-only");
    assert_eq!(v.unlink(Ino::ROOT, b"lost+found", NOW), Err(Error::ReadOnly));
    v.commit(NOW).expect("nothing to commit");
    v.remount(false, NOW).expect("writable");
    assert_eq!(read_file(&mut v, ino), b"still here");
    v.evict(ino, NOW).expect("evict");
    v.unmount(NOW).1.expect("unmount");
    assert_clean(&disk.bytes(), "remount");
    // Mounted read-only first, the list is worked off once writing begins.
    let (mut v, _) = mount(&disk);
    v.create_unnamed(Ino::ROOT, &new(Kind::Regular), NOW).expect("create");
    v.unmount(NOW).1.expect("unmount");
    let options = MountOptions {
        read_only: true,
        ..MountOptions::default()
    };
    let (mut v, report) = Volume::mount(disk.clone(), &options, NOW).expect("mounts");
    assert!(report.is_read_only && report.orphans_deleted == 0);
    v.remount(false, NOW).expect("writable");
    v.unmount(NOW).1.expect("unmount");
    assert_clean(&disk.bytes(), "orphans after a read-only mount");
}
