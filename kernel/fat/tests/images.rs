//! Against what others write and read: mkfs.fat, fsck.fat and mtools.

mod support;

use std::ops::ControlFlow;

use sis_fat::{Chain, Error, Exchange, Volume};
use support::{MemoryDisk, NOW, assert_clean, list, make, mount, read, run, says, text, times, tree, write};

/// So large that there are the clusters without which mtools takes it for a FAT16.
const MTOOLS_KIB: u64 = 35_000;

const LONG: &str = "A rather long name, with signs+and ünïcode ☃ at its end.config";

/// An image with the files that mtools makes of these.
fn with_files(files: &[(&str, &[u8])], directories: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let image = folder.path().join("image");
    std::fs::write(&image, make(MTOOLS_KIB, 1)).expect("the image");
    for name in directories {
        says("mmd", &["-i", text(&image), &format!("::{name}")]);
    }
    for (name, content) in files {
        let source = folder.path().join("source");
        std::fs::write(&source, content).expect("a file");
        says("mcopy", &["-i", text(&image), text(&source), &format!("::{name}")]);
    }
    std::fs::read(&image).expect("the image")
}

/// What mtools reads of a file.
fn read_by_mtools(bytes: &[u8], path: &str) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), bytes).expect("the image");
    let out = run("mtype", &["-i", text(file.path()), &format!("::{path}")]);
    assert!(out.status.success(), "{path}: {}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

#[test]
fn what_mtools_wrote_is_read() {
    let big: Vec<u8> = (0..100_000u32).map(|n| (n % 251) as u8).collect();
    let disk = MemoryDisk::new(with_files(
        &[
            ("config.txt", b"arm_64bit=1\n"),
            ("KERNEL8.IMG", &big),
            (LONG, b"x"),
            ("overlays/bcm2711-rpi-4-b.dtb", b"d"),
            ("EMPTY", b""),
        ],
        &["overlays", "overlays/deeper still"],
    ));
    let mut volume = mount(&disk);
    let mut found = tree(&disk, &mut volume);
    assert_eq!(found.remove("/config.txt"), Some(Some(b"arm_64bit=1\n".to_vec())));
    assert_eq!(found.remove("/KERNEL8.IMG"), Some(Some(big)));
    assert_eq!(found.remove(&format!("/{LONG}")), Some(Some(b"x".to_vec())));
    assert_eq!(found.remove("/overlays/bcm2711-rpi-4-b.dtb"), Some(Some(b"d".to_vec())));
    assert_eq!(found.remove("/EMPTY"), Some(Some(Vec::new())));
    assert_eq!(found.remove("/overlays"), Some(None));
    assert_eq!(found.remove("/overlays/deeper still"), Some(None));
    // The label is no file.
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn names_are_found_in_any_case_and_by_their_short_form() {
    let disk = MemoryDisk::new(with_files(&[("config.txt", b"1"), ("A long name.txt", b"2")], &[]));
    let mut volume = mount(&disk);
    let root = volume.root();
    assert_eq!(volume.find(root, "CONFIG.Txt").map(|e| e.name), Ok("config.txt".into()));
    assert_eq!(
        volume.find(root, "alongn~1.txt").map(|e| e.name),
        Ok("A long name.txt".into())
    );
    assert_eq!(
        volume.find(root, "config.txt..").map(|e| e.name),
        Ok("config.txt".into())
    );
    assert_eq!(volume.find(root, "config").map(|e| e.name), Err(Error::NotFound));
    // The label's name is free.
    assert_eq!(volume.find(root, "SISBOOT").map(|e| e.name), Err(Error::NotFound));
}

#[test]
fn what_we_write_is_read_by_mtools_and_fsck_finds_nothing() {
    for (kib, sectors) in [(MTOOLS_KIB, 1), (4096, 8), (33_000, 64)] {
        let disk = MemoryDisk::new(make(kib, sectors));
        let mut volume = mount(&disk);
        let root = volume.root();
        let sub = volume.create(root, "Überlays", true, &times(NOW)).expect("made").chain;
        let deep = volume.create(sub, "DEEP", true, &times(NOW)).expect("made").chain;
        let mut expected = Vec::new();
        for (directory, path) in [(root, ""), (sub, "Überlays/"), (deep, "Überlays/DEEP/")] {
            for n in 0..60usize {
                let name = match n % 4 {
                    0 => format!("FILE{n}.TXT"),
                    1 => format!("a longer name, number {n}.device tree"),
                    2 => format!("name{n}.txt"),
                    _ => format!("{n} 😀 half in one entry and half in the next"),
                };
                let made = volume.create(directory, &name, false, &times(NOW)).expect("made");
                let content: Vec<u8> = (0..n * 97).map(|k| (k % 253) as u8).collect();
                write(&disk, &mut volume, made.place, made.chain, &content).expect("written");
                expected.push((format!("{path}{name}"), content));
            }
        }
        volume.unmount().expect("unmounted");
        assert_clean(&disk.bytes());
        for (path, content) in expected.iter().filter(|_| kib == MTOOLS_KIB).step_by(7) {
            // It has no characters of two units.
            if path.contains('😀') {
                continue;
            }
            assert_eq!(&read_by_mtools(&disk.bytes(), path), content, "{path}");
        }
        let mut again = mount(&disk);
        let found = tree(&disk, &mut again);
        assert_eq!(found.len(), expected.len() + 2);
        for (path, content) in &expected {
            assert_eq!(found.get(&format!("/{path}")), Some(&Some(content.clone())), "{path}");
        }
    }
}

#[test]
fn names_move_exchange_and_go() {
    let disk = MemoryDisk::new(make(2048, 2));
    let mut v = mount(&disk);
    let root = v.root();
    let file = |v: &mut Volume<MemoryDisk>, directory, name: &str, content: &[u8]| {
        let made = v.create(directory, name, false, &times(NOW)).expect("made");
        write(&disk, v, made.place, made.chain, content).expect("written");
        v.find(directory, name).expect("there")
    };
    let a = v.create(root, "directory a", true, &times(NOW)).expect("made");
    let b = v.create(root, "B", true, &times(NOW)).expect("made");
    let one = file(&mut v, root, "config.txt", b"old");
    let new = file(&mut v, a.chain, "config.txt.new", b"new");
    let inner = v.create(a.chain, "inner directory", true, &times(NOW)).expect("made");
    file(&mut v, inner.chain, "leaf", b"leaf");

    // Over another one, which keeps its content until it is freed.
    v.rename((a.chain, new.place), root, "config.txt", Some(one.place))
        .expect("moved");
    assert_eq!(v.find(a.chain, "config.txt.new").map(|e| e.name), Err(Error::NotFound));
    v.free(one.chain).expect("freed");
    // A directory into another, with `..` after it.
    v.rename((a.chain, inner.place), b.chain, "moved directory", None)
        .expect("moved");
    // Its case alone.
    let b_place = v.find(root, "b").expect("there").place;
    v.rename((root, b_place), root, "b", None).expect("moved");
    assert_eq!(v.find(root, "B").map(|e| e.name), Ok("b".into()));
    // Over a directory that is not empty, and one that is.
    let moved = v.find(b.chain, "moved directory").expect("there");
    let empty = v.create(root, "empty", true, &times(NOW)).expect("made");
    assert_eq!(
        v.rename((root, empty.place), b.chain, "moved directory", Some(moved.place)),
        Err(Error::NotEmpty)
    );
    v.rename((b.chain, moved.place), root, "empty", Some(empty.place))
        .expect("moved");
    // A file and a directory exchange their names.
    let config = v.find(root, "config.txt").expect("there");
    let a = v.find(root, "directory a").expect("there");
    let both = Exchange {
        one: (root, config.place),
        other: (root, a.place),
    };
    v.exchange(both).expect("exchanged");
    v.unmount().expect("unmounted");
    assert_clean(&disk.bytes());
    let mut again = mount(&disk);
    let found = tree(&disk, &mut again);
    let names: Vec<_> = found.keys().map(String::as_str).collect();
    assert_eq!(names, ["/b", "/config.txt", "/directory a", "/empty", "/empty/leaf"]);
    assert_eq!(found.get("/directory a"), Some(&Some(b"new".to_vec())));
    assert_eq!(found.get("/config.txt"), Some(&None));
    assert_eq!(found.get("/empty/leaf"), Some(&Some(b"leaf".to_vec())));
}

#[test]
fn a_directory_is_removed_only_when_it_is_empty_and_gives_its_room_back() {
    let disk = MemoryDisk::new(make(1024, 1));
    let mut v = mount(&disk);
    let root = v.root();
    let before = v.usage().free;
    let d = v.create(root, "a directory", true, &times(NOW)).expect("made");
    for n in 0..100 {
        v.create(d.chain, &format!("some long name {n}"), false, &times(NOW))
            .expect("made");
    }
    assert_eq!(v.remove(root, d.place), Err(Error::NotEmpty));
    for entry in list(&mut v, d.chain) {
        v.remove(d.chain, entry.place).expect("removed");
    }
    v.remove(root, d.place).expect("removed");
    assert_eq!(v.usage().free, before);
    // Nothing is found in it, made there or moved there any more.
    assert_eq!(v.find(d.chain, "x").map(|e| e.name), Err(Error::NotFound));
    assert_eq!(
        v.create(d.chain, "x", false, &times(NOW)).map(|e| e.name),
        Err(Error::NotFound)
    );
    assert_eq!(v.find(Chain::NONE, "x").map(|e| e.name), Err(Error::NotFound));
    let file = v.create(root, "file", false, &times(NOW)).expect("made");
    assert_eq!(v.rename((root, file.place), d.chain, "x", None), Err(Error::NotFound));
    v.remove(root, file.place).expect("removed");
    v.unmount().expect("unmounted");
    assert_clean(&disk.bytes());
    assert!(list(&mut mount(&disk), root).is_empty());
}

#[test]
fn a_full_disk_says_so_and_loses_nothing() {
    let disk = MemoryDisk::new(make(512, 1));
    let mut v = mount(&disk);
    let root = v.root();
    let keep = v.create(root, "keep", false, &times(NOW)).expect("made");
    let chain = write(&disk, &mut v, keep.place, keep.chain, b"kept").expect("written");
    let free = u64::from(v.usage().free);
    assert_eq!(v.lengthen(chain, free + 2), Err(Error::NoSpace));
    assert_eq!(u64::from(v.usage().free), free);
    let all = v.lengthen(chain, free + 1).expect("all that is free");
    assert_eq!(v.usage().free, 0);
    assert_eq!(
        v.create(root, "no room", true, &times(NOW)).map(|e| e.name),
        Err(Error::NoSpace)
    );
    // Names fit as long as the directory has room for them.
    let mut count = 0;
    while v.create(root, &format!("F{count}"), false, &times(NOW)).is_ok() {
        count += 1;
    }
    assert!(count > 0 && count < 16, "{count}");
    // What is freed can be taken at once, though the disk has to be told.
    v.shorten(all, 1).expect("shortened");
    v.create(root, "room", true, &times(NOW)).expect("made");
    v.lengthen(all, free - 2).expect("room again");
    v.set_file_size(keep.place, all, 4).expect("noted");
    v.shorten(all, 1).expect("shortened");
    v.unmount().expect("unmounted");
    assert_clean(&disk.bytes());
    let mut again = mount(&disk);
    let entry = again.find(root, "keep").expect("there");
    assert_eq!(read(&disk, &again, &entry), b"kept");
}

#[test]
fn times_and_the_read_only_mark_are_kept() {
    let disk = MemoryDisk::new(make(1024, 1));
    let mut v = mount(&disk);
    let root = v.root();
    let made = v.create(root, "file", false, &times(NOW)).expect("made");
    assert_eq!(made.times, times(NOW));
    v.set_times(made.place, &times(NOW + 10_000)).expect("set");
    v.set_read_only(made.place, true).expect("set");
    v.unmount().expect("unmounted");
    let mut again = mount(&disk);
    let entry = again.find(root, "file").expect("there");
    assert_eq!(entry.times, times(NOW + 10_000));
    assert!(entry.is_read_only);
}

#[test]
fn a_volume_in_use_says_so_until_it_is_unmounted() {
    let disk = MemoryDisk::new(make(1024, 1));
    let mut v = mount(&disk);
    let root = v.root();
    v.create(root, "file", false, &times(NOW)).expect("made");
    v.commit().expect("committed");
    let (_, report) = Volume::mount(disk.clone(), true).expect("good");
    assert!(report.was_in_use);
    v.unmount().expect("unmounted");
    assert_eq!(
        v.create(root, "more", false, &times(NOW)).map(|e| e.name),
        Err(Error::ReadOnly)
    );
    let (_, report) = Volume::mount(disk.clone(), true).expect("good");
    assert!(!report.was_in_use);
    // Found in use, and nobody has looked at it since: it stays so.
    v.resume().expect("writable");
    v.create(root, "again", false, &times(NOW)).expect("made");
    v.commit().expect("committed");
    let mut found = mount(&disk);
    found.create(root, "third", false, &times(NOW)).expect("made");
    found.unmount().expect("unmounted");
    let (_, report) = Volume::mount(disk, true).expect("good");
    assert!(report.was_in_use);
}

#[test]
fn reading_writes_nothing() {
    let disk = MemoryDisk::new(with_files(&[("config.txt", b"1")], &["d"]));
    let mut v = mount(&disk);
    let root = v.root();
    list(&mut v, root);
    v.unmount().expect("unmounted");
    let writes = disk.take_steps();
    assert!(writes.iter().all(|s| matches!(s, support::Step::Flush)), "{writes:?}");
    let (mut v, _) = Volume::mount(disk.clone(), true).expect("good");
    assert_eq!(
        v.create(root, "x", false, &times(NOW)).map(|e| e.name),
        Err(Error::ReadOnly)
    );
    assert_eq!(v.lengthen(Chain::NONE, 1), Err(Error::ReadOnly));
    v.commit().expect("nothing to do");
    assert!(disk.take_steps().is_empty());
}

#[test]
fn after_an_error_of_the_disk_nothing_is_changed_any_more() {
    let disk = MemoryDisk::new(make(1024, 1));
    let mut v = mount(&disk);
    let root = v.root();
    v.create(root, "file", false, &times(NOW)).expect("made");
    disk.fail_from_now_on();
    assert_eq!(v.commit(), Err(Error::Disk));
    assert!(v.is_read_only());
    assert_eq!(
        v.create(root, "more", false, &times(NOW)).map(|e| e.name),
        Err(Error::ReadOnly)
    );
    assert_eq!(list(&mut v, root).len(), 1);
}

#[test]
fn a_listing_ends_when_it_has_enough() {
    let disk = MemoryDisk::new(with_files(&[("A", b""), ("B", b""), ("C", b"")], &[]));
    let mut v = mount(&disk);
    let root = v.root();
    let mut seen = Vec::new();
    v.list(root, |position, e| {
        seen.push((e.name, position));
        if seen.len() == 2 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })
    .expect("listed");
    // The label is the first entry.
    assert_eq!(seen, [("A".into(), 1), ("B".into(), 2)]);
}
