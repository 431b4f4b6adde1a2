//! A whole card: what other programs find in it, and that it is the same whenever and wherever it is made.

use sha2::{Digest, Sha256};
use sis_algo::partition::{Geometry, Scheme, scan};
use sis_bundle::Slot;
use sis_bundle::selection::{Kind, Selection};
use sis_flash::bmap::Bmap;
use sis_image::card::inject::{DataFile, inject};
use sis_image::card::layout::{CARD_BYTES_MIN, Layout, Place, Role};
use sis_image::card::{BootFile, CardError, Contents, Made, build};
use sis_image::root::{Archive, Node};
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

/// More than one extent's worth of content that does not repeat, and no multiple of a block.
fn large() -> Vec<u8> {
    (0..1_500_017u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}

fn root() -> Archive {
    let mut archive = Archive::default();
    let mut add = |path: &str, node, mode| archive.add(path, node, mode).expect("a good entry");
    add("/bin", Node::Directory, 0o755);
    add("/bin/busybox", Node::File(large()), 0o755);
    add("/bin/sh", Node::Link("busybox".into()), 0o777);
    add("/console", Node::Character([5, 1]), 0o600);
    add("/empty", Node::File(Vec::new()), 0o644);
    add("/tmp", Node::Directory, 0o1777);
    // So many that the directory gets an index, and names that do not fit into an inode.
    add("/many", Node::Directory, 0o700);
    for n in 0..300 {
        add(&format!("/many/{n:0>40}"), Node::Link(format!("{n:0>200}")), 0o777);
    }
    archive
}

fn select_files() -> Vec<BootFile> {
    vec![BootFile {
        path: "autoboot.txt".into(),
        bytes: Kind::Autoboot.render(Selection::of(Slot::A)).to_vec(),
    }]
}

fn boot_files() -> Vec<BootFile> {
    let file = |path: &str, bytes: Vec<u8>| BootFile {
        path: path.into(),
        bytes,
    };
    vec![
        file("kernel8.img", large()),
        file("bcm2711-rpi-4-b.dtb", b"a tree".to_vec()),
        file("overlays/disable-bt.dtbo", b"an overlay".to_vec()),
        file("overlays/dwc2.dtbo", b"another".to_vec()),
    ]
}

struct Card {
    folder: tempfile::TempDir,
    layout: Layout,
    made: Made,
}

impl Card {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let layout = Layout::new("test", CARD_BYTES_MIN).expect("a layout");
        let (select, boot, root) = (select_files(), boot_files(), root());
        let contents = Contents {
            select: &select,
            boot: &boot,
            root: &root,
        };
        let path = folder.path().join("card.img");
        let made = build(&path, &layout, &contents, &mut |_| {}).expect("an image");
        Self { folder, layout, made }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("card.img")
    }

    /// As a file's name for e2fsprogs.
    fn at(path: &Path, place: &Place) -> String {
        format!("{}?offset={}", path.display(), place.offset)
    }
}

/// What a program says, which must be content.
#[track_caller]
fn says(program: &str, arguments: &[&str]) -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new(program)
        .args(arguments)
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .env("LC_ALL", "C")
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; run cargo sis setup"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {text}{errors}");
    text
}

/// A partition as a file of its own.
fn partition(image: &Path, place: &Place) -> tempfile::NamedTempFile {
    let (from, to) = (
        File::open(image).expect("the image"),
        tempfile::NamedTempFile::new().expect("a file"),
    );
    to.as_file().set_len(place.bytes).expect("has room");
    let mut bytes = vec![0; 1 << 20];
    for at in (0..place.bytes).step_by(bytes.len()) {
        from.read_exact_at(&mut bytes, place.offset + at).expect("is read");
        if bytes.iter().any(|byte| *byte != 0) {
            to.as_file().write_all_at(&bytes, at).expect("is written");
        }
    }
    to
}

/// Everything about an image that other programs can tell.
fn check(image: &Path, layout: &Layout) {
    let name = image.to_str().expect("a plain path");
    for role in [Role::SlotA, Role::SlotB, Role::Data] {
        says("e2fsck", &["-fn", &Card::at(image, layout.place(role))]);
    }
    for role in [Role::Select, Role::BootA, Role::BootB] {
        let file = partition(image, layout.place(role));
        let said = says("fsck.fat", &["-n", file.path().to_str().expect("a plain path")]);
        assert_eq!(said.lines().count(), 2, "{role:?}: {said}");
    }
    let slot = Card::at(image, layout.place(Role::SlotA));
    let debugfs = |request: &str| says("debugfs", &["-R", request, &slot]);
    assert!(debugfs("stat /bin").contains("Mode:  0755"));
    assert!(debugfs("stat /tmp").contains("Mode:  01777"));
    assert!(debugfs("stat /console").contains("Device major/minor number: 05:01"));
    assert!(debugfs("stat /bin/sh").contains("Fast link dest: \"busybox\""));
    assert_eq!(debugfs("cat /empty"), "");
    assert_eq!(
        debugfs("ls -p /many")
            .lines()
            .filter(|line| line.contains("/120777/"))
            .count(),
        300
    );
    let seventh = format!("stat /many/{:0>40}", 7);
    assert!(debugfs(&seventh).contains(&format!("Size: {}", 200)));
    let copy = tempfile::NamedTempFile::new().expect("a file");
    debugfs(&format!("dump /bin/busybox {}", copy.path().display()));
    assert!(std::fs::read(copy.path()).expect("the copy") == large(), "other bytes");

    let boot = format!("{name}@@{}", layout.place(Role::BootA).offset);
    for file in boot_files() {
        let copy = tempfile::NamedTempFile::new().expect("a file");
        let to = copy.path().to_str().expect("a plain path");
        says("mcopy", &["-n", "-o", "-i", &boot, &format!("::{}", file.path), to]);
        assert!(std::fs::read(to).expect("the copy") == file.bytes, "{}", file.path);
    }
}

#[test]
fn other_programs_find_what_was_put_in() {
    let card = Card::new();
    check(&card.path(), &card.layout);
    let name = card.path();
    let name = name.to_str().expect("a plain path");
    let listed = says(
        "mdir",
        &[
            "-b",
            "-/",
            "-i",
            &format!("{name}@@{}", card.layout.place(Role::BootA).offset),
        ],
    );
    assert!(listed.contains("overlays/disable-bt.dtbo"), "{listed}");
    assert!(says("sfdisk", &["--verify", name]).contains("No errors detected"));
    assert!(says("sgdisk", &["-v", name]).contains("No problems found"));
}

#[test]
fn the_kernel_finds_the_partitions_that_the_command_line_names() {
    let card = Card::new();
    let file = File::open(card.path()).expect("the image");
    let geometry = Geometry {
        block_bytes: 512,
        block_count: card.layout.bytes / 512,
    };
    let read = |block, out: &mut [u8]| file.read_exact_at(out, block * 512);
    let table = scan(geometry, read).expect("a good table").expect("a table");
    assert_eq!((table.scheme, table.fallback), (Scheme::Gpt, None));
    assert_eq!(table.disk_uuid, card.layout.disk_uuid.to_string());
    assert_eq!(table.partitions.len(), card.layout.places.len());
    for (found, place) in table.partitions.iter().zip(&card.layout.places) {
        assert_eq!(found.number, place.role as u32);
        assert_eq!(found.first_sector * 512, place.offset);
        assert_eq!(found.sector_count * 512, place.bytes);
        assert_eq!(found.name, place.role.name());
        assert_eq!(found.uuid, place.part_uuid.to_string());
    }
    let root = &table.partitions[3].uuid;
    assert!(
        card.layout
            .root_words(Role::SlotA)
            .contains(&format!("root=PARTUUID={root} "))
    );
}

#[test]
fn two_builds_give_the_same_bytes() {
    let first = Card::new();
    // Times of other seconds would show.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let second = Card::new();
    assert_eq!(first.made.sha256, second.made.sha256);
    assert_eq!(first.made.bmap, second.made.bmap);
    assert_eq!(first.made.partitions, second.made.partitions);
    let said = says("sha256sum", &[first.path().to_str().expect("a plain path")]);
    assert!(said.starts_with(&first.made.sha256), "{said}");
    // Sparse, and no larger than what its block map says, but for what the host's own file system adds.
    let stored = std::fs::metadata(first.path()).expect("is there").blocks() * 512;
    assert!(stored <= first.made.mapped.count() * 4096 + (1 << 20), "{stored} bytes");
}

#[test]
fn a_card_that_held_something_else_is_sound_with_the_mapped_blocks_alone() {
    let card = Card::new();
    let map = Bmap::parse(card.made.bmap.as_bytes()).expect("a block map");
    assert_eq!(map.image_bytes, card.layout.bytes);
    let mapped: u64 = map.ranges.iter().map(|range| range.len).sum();
    assert_eq!(mapped, card.made.mapped.count() * 4096);
    assert!(mapped < 128 << 20, "{mapped} bytes");

    let used = card.folder.path().join("used.img");
    let to = File::options().read(true).write(true).create_new(true).open(&used);
    let to = to.expect("a file");
    let noise: Vec<u8> = (0..1u32 << 20)
        .map(|n| (n.wrapping_mul(0x9e37_79b1) >> 21) as u8)
        .collect();
    for at in (0..card.layout.bytes).step_by(noise.len()) {
        to.write_all_at(&noise, at).expect("has room");
    }
    let from = File::open(card.path()).expect("the image");
    for range in &map.ranges {
        let mut bytes = vec![0; range.len as usize];
        from.read_exact_at(&mut bytes, range.start).expect("is read");
        assert_eq!(Some(<[u8; 32]>::from(Sha256::digest(&bytes))), range.sha256);
        to.write_all_at(&bytes, range.start).expect("is written");
    }
    check(&used, &card.layout);
}

#[test]
fn what_does_not_fit_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let layout = Layout::new("test", CARD_BYTES_MIN).expect("a layout");
    let too_much = vec![BootFile {
        path: "kernel8.img".into(),
        bytes: vec![1; 70 << 20],
    }];
    let (empty, path) = (Archive::default(), folder.path().join("card.img"));
    let contents = Contents {
        select: &[],
        boot: &too_much,
        root: &empty,
    };
    let error = build(&path, &layout, &contents, &mut |_| {}).expect_err("is too much");
    assert!(error.to_string().starts_with("boot-a: kernel8.img: "), "{error}");
    std::fs::remove_file(&path).expect("was begun");

    let mut large = Archive::default();
    large
        .add("/large", Node::File(vec![1; 260 << 20]), 0o644)
        .expect("a good entry");
    let contents = Contents {
        select: &[],
        boot: &[],
        root: &large,
    };
    let error = build(&path, &layout, &contents, &mut |_| {}).expect_err("is too much");
    assert_eq!(error.to_string(), "slot-a: /large: no space is left");
    assert!(matches!(
        build(&path, &layout, &contents, &mut |_| {}),
        Err(CardError::Io { .. })
    ));
}

#[test]
fn files_are_put_onto_the_data_partition_and_replaced_there() {
    let card = Card::new();
    let file = File::options()
        .read(true)
        .write(true)
        .open(card.path())
        .expect("the image");
    let of = |path: &str, bytes: &[u8]| DataFile {
        path: path.into(),
        bytes: bytes.into(),
        permissions: 0o600,
    };
    let files = [
        of("etc/hostname", b"first\n"),
        of("root/.ssh/authorized_keys", &large()),
    ];
    inject(&file, card.layout.bytes, &files).expect("are put there");
    inject(&file, card.layout.bytes, &[of("etc/hostname", b"second\n")]).expect("is replaced");
    says(
        "e2fsck",
        &["-fn", &Card::at(&card.path(), card.layout.place(Role::Data))],
    );
    let data = Card::at(&card.path(), card.layout.place(Role::Data));
    assert_eq!(says("debugfs", &["-R", "cat /etc/hostname", &data]), "second\n");
    assert!(says("debugfs", &["-R", "stat /root/.ssh", &data]).contains("Mode:  0700"));
    let stat = says("debugfs", &["-R", "stat /root/.ssh/authorized_keys", &data]);
    assert!(
        stat.contains("Mode:  0600") && stat.contains(&format!("Size: {}", large().len())),
        "{stat}"
    );
    let copy = tempfile::NamedTempFile::new().expect("a file");
    let dump = format!("dump /root/.ssh/authorized_keys {}", copy.path().display());
    says("debugfs", &["-R", &dump, &data]);
    assert!(std::fs::read(copy.path()).expect("the copy") == large(), "other bytes");

    let plain = tempfile::tempfile().expect("a file");
    plain.set_len(8 << 20).expect("has room");
    let error = inject(&plain, 8 << 20, &files).expect_err("is no card");
    assert!(error.to_string().contains("no partition called data"), "{error}");
}
