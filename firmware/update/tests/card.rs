//! The whole of an update on files that play the partitions of a card.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use sis_bundle::selection::{Kind, Selection};
use sis_bundle::sign::Signer;
use sis_bundle::{BLOCK_BYTES, BundleError, KIND, Manifest, Range, SCHEMA, Slot, Source, Target};
use sis_update::UpdateError;
use sis_update::card::{Card, Places};
use sis_update::install::{Step, install};
use sis_update::receive::{Received, Receiver};
use sis_update::selector::Selector;

const PARTITION_BYTES: u64 = 64 * BLOCK_BYTES;
const SELECT_BYTES: u64 = 36 << 20;
const NAMES: [&str; 6] = ["select", "boot-a", "boot-b", "slot-a", "slot-b", "data"];

fn noise(seed: u32) -> Vec<u8> {
    (0..PARTITION_BYTES as u32)
        .map(|n| (n.wrapping_add(seed).wrapping_mul(0x9e37_79b1) >> 17) as u8)
        .collect()
}

/// A board that runs slot A of version 1.0.0.
struct Board {
    folder: tempfile::TempDir,
    places: Places,
    signer: Signer,
}

impl Board {
    fn new(kind: Kind) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let places = Places {
            mounts: at("mounts"),
            block: at("block"),
            dev: at("dev"),
            etc: at("etc"),
            root: at(""),
        };
        fs::create_dir_all(places.etc.join("update-keys")).expect("a folder");
        fs::create_dir_all(&places.dev).expect("a folder");
        for (name, number) in NAMES.into_iter().zip(1..) {
            let device = format!("vda{number}");
            fs::create_dir_all(places.block.join(&device)).expect("a folder");
            let uevent = format!("DEVNAME={device}\nDEVTYPE=partition\nPARTN={number}\nPARTNAME={name}\n");
            fs::write(places.block.join(&device).join("uevent"), uevent).expect("is written");
            fs::write(places.dev.join(&device), vec![0xee; PARTITION_BYTES as usize]).expect("is written");
        }
        fs::write(&places.mounts, "/dev/vda4 / ext4 rw 0 0\n/dev/vda6 /data ext4 rw 0 0\n").expect("is written");
        let release = r#"{"board":"test","version":"1.0.0","revision":"r","buildId":"b"}"#;
        fs::write(places.etc.join("release.json"), release).expect("is written");
        let signer = Signer::from_pem(&Signer::generate().expect("a key")).expect("a key");
        fs::write(places.etc.join("update-keys/image.pem"), signer.public_pem()).expect("is written");

        let mut select = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(places.dev.join("vda1"))
            .expect("a file");
        select.set_len(SELECT_BYTES).expect("has room");
        let options = fatfs::FormatVolumeOptions::new()
            .fat_type(fatfs::FatType::Fat32)
            .bytes_per_cluster(512);
        fatfs::format_volume(&mut select, options).expect("is formatted");
        let volume = fatfs::FileSystem::new(select, fatfs::FsOptions::new()).expect("is mounted");
        let mut file = volume.root_dir().create_file(kind.file()).expect("is made");
        file.write_all(&kind.render(Selection::of(Slot::A)))
            .expect("is written");
        drop(file);
        volume.unmount().expect("is unmounted");
        Self { folder, places, signer }
    }

    fn card(&self) -> Card {
        Card::find(&self.places).expect("a card")
    }

    fn partition(&self, name: &str) -> Vec<u8> {
        fs::read(self.card().partition(name).expect("is there")).expect("is read")
    }

    /// What the loader would read, by an implementation that is not ours.
    fn selected(&self, kind: Kind) -> Option<Selection> {
        let file = File::open(self.places.dev.join("vda1")).expect("is there");
        let file = read_only(file);
        let volume = fatfs::FileSystem::new(file, fatfs::FsOptions::new()).expect("is mounted");
        let mut bytes = Vec::new();
        let mut file = volume.root_dir().open_file(kind.file()).expect("is there");
        file.read_to_end(&mut bytes).expect("is read");
        kind.parse(&bytes)
    }

    fn bundle(&self, change: impl FnOnce(&mut Manifest), bytes: u64) -> Vec<u8> {
        let disk = tempfile::tempfile().expect("a file");
        for (seed, at) in [(1, 0), (2, PARTITION_BYTES), (3, 2 * PARTITION_BYTES)] {
            disk.write_all_at(&noise(seed), at).expect("has room");
        }
        let source = |target, slot, number| Source {
            target,
            slot,
            file: &disk,
            offset: number * PARTITION_BYTES,
            bytes,
            ranges: vec![Range { first: 1, count: 2 }, Range { first: 8, count: 50 }],
        };
        let sources = [
            source(Target::Boot, Some(Slot::A), 0),
            source(Target::Boot, Some(Slot::B), 1),
            source(Target::Root, None, 2),
        ];
        let mut manifest = Manifest {
            kind: KIND.into(),
            schema: SCHEMA,
            board: "test".into(),
            version: semver::Version::new(1, 1, 0),
            revision: String::new(),
            build_id: String::new(),
            parts: Vec::new(),
        };
        change(&mut manifest);
        let out = tempfile::NamedTempFile::new().expect("a file");
        let temporary = tempfile::tempfile().expect("a file");
        sis_bundle::write(out.as_file(), &temporary, &mut manifest, &sources, &self.signer).expect("is written");
        fs::read(out.path()).expect("is there")
    }

    fn good(&self) -> Vec<u8> {
        self.bundle(|_| {}, PARTITION_BYTES)
    }

    fn receive(&self, bundle: &[u8], chunk: usize, may_go_back: bool) -> Result<Received, UpdateError> {
        let mut receiver = Receiver::new(&self.updates(), self.card(), may_go_back)?;
        for piece in bundle.chunks(chunk) {
            receiver.feed(piece)?;
        }
        receiver.finish()
    }

    fn updates(&self) -> PathBuf {
        self.folder.path().join("update")
    }
}

/// The library wants to write, even where it only reads.
fn read_only(file: File) -> impl Read + Write + std::io::Seek {
    struct ReadOnly(File);
    impl Read for ReadOnly {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(out)
        }
    }
    impl Write for ReadOnly {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    impl std::io::Seek for ReadOnly {
        fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
            self.0.seek(to)
        }
    }
    ReadOnly(file)
}

fn is_written(partition: &[u8], content: &[u8]) {
    for (number, block) in partition.chunks(BLOCK_BYTES as usize).enumerate() {
        let at = number * BLOCK_BYTES as usize;
        if (1..3).contains(&number) || (8..58).contains(&number) {
            assert!(block == &content[at..at + block.len()], "block {number}");
        } else {
            assert!(block.iter().all(|byte| *byte == 0xee), "block {number} was written");
        }
    }
}

#[test]
fn the_other_slot_gets_its_parts_and_nothing_else_is_touched() {
    let board = Board::new(Kind::Environment);
    for chunk in [1000, 1 << 20] {
        let received = board.receive(&board.good(), chunk, false).expect("is taken");
        let mut steps = Vec::new();
        install(&board.card(), &received, Slot::B, &mut |step, done, total| {
            assert!(done <= total && total == 2 * 52 * BLOCK_BYTES);
            steps.push((step, done));
        })
        .expect("is installed");
        assert!(steps.contains(&(Step::Verify, 2 * 52 * BLOCK_BYTES)));
        is_written(&board.partition("boot-b"), &noise(2));
        is_written(&board.partition("slot-b"), &noise(3));
        for name in ["boot-a", "slot-a", "data"] {
            assert!(board.partition(name).iter().all(|byte| *byte == 0xee), "{name}");
        }
        let own = install(&board.card(), &received, Slot::A, &mut |_, _, _| {});
        assert!(matches!(own, Err(UpdateError::OnTrial(Slot::A))));
    }
}

#[test]
fn the_loader_reads_what_was_chosen() {
    let board = Board::new(Kind::Environment);
    let selector = Selector::open(board.card().select().expect("is there")).expect("is found");
    assert_eq!(selector.read().expect("is read"), Selection::of(Slot::A));
    assert_eq!(selector.arm(Slot::A).expect("is written"), None);
    let armed = Selection {
        committed: Slot::A,
        trial: Some(Slot::B),
    };
    assert_eq!(board.selected(Kind::Environment), Some(armed));
    assert_eq!(selector.read().expect("is read"), armed);
    selector.commit(Slot::B).expect("is written");
    assert_eq!(board.selected(Kind::Environment), Some(Selection::of(Slot::B)));

    let pi = Board::new(Kind::Autoboot);
    let selector = Selector::open(pi.card().select().expect("is there")).expect("is found");
    assert_eq!(selector.arm(Slot::A).expect("needs no writing"), Some("0 tryboot"));
    assert_eq!(pi.selected(Kind::Autoboot), Some(Selection::of(Slot::A)));
    selector.commit(Slot::B).expect("is written");
    assert_eq!(pi.selected(Kind::Autoboot), Some(Selection::of(Slot::B)));
}

#[test]
fn what_is_not_for_this_board_is_refused_by_name() {
    let board = Board::new(Kind::Environment);
    let refused = |bundle: &[u8], may_go_back| board.receive(bundle, 4096, may_go_back).expect_err("is refused");
    let other = board.bundle(|manifest| manifest.board = "other".into(), PARTITION_BYTES);
    assert!(matches!(refused(&other, true), UpdateError::Board { .. }));
    let older = board.bundle(
        |manifest| manifest.version = "1.0.0-rc.9".parse().expect("a version"),
        PARTITION_BYTES,
    );
    assert!(matches!(refused(&older, false), UpdateError::Downgrade { .. }));
    board.receive(&older, 4096, true).expect("is wanted");
    let strange = Board::new(Kind::Environment).good();
    assert!(matches!(
        refused(&strange, true),
        UpdateError::Bundle(BundleError::Signature(_))
    ));
    let good = board.good();
    for len in [0, 8, 75, 200, good.len() - 1] {
        let error = refused(&good[..len], true);
        assert!(
            matches!(error, UpdateError::Bundle(BundleError::Truncated { .. })),
            "{len}: {error}"
        );
    }
    let longer = [&good[..], b"x"].concat();
    assert!(matches!(
        refused(&longer, true),
        UpdateError::Bundle(BundleError::TooLong { .. })
    ));
    for at in (0..good.len()).step_by(good.len() / 97) {
        let mut changed = good.clone();
        changed[at] ^= 4;
        assert!(board.receive(&changed, 4096, true).is_err(), "byte {at}");
    }
    // Too large for its partitions: told before the first byte is written.
    let large = board.bundle(|_| {}, PARTITION_BYTES * 2);
    let received = board.receive(&large, 4096, false).expect("is whole");
    let error = install(&board.card(), &received, Slot::B, &mut |_, _, _| {}).expect_err("is too large");
    assert!(matches!(error, UpdateError::TooSmall { .. }), "{error}");
    assert!(board.partition("boot-b").iter().all(|byte| *byte == 0xee));
}

#[test]
fn a_board_that_is_no_card_says_so() {
    let board = Board::new(Kind::Environment);
    for mounts in [
        "rootfs / rootfs rw 0 0\n",
        "/dev/vda6 / ext4 rw 0 0\n",
        "/dev/sda1 / ext4 rw 0 0\n",
        "",
    ] {
        fs::write(&board.places.mounts, mounts).expect("is written");
        assert!(
            matches!(Card::find(&board.places), Err(UpdateError::NoCard(_))),
            "{mounts}"
        );
    }
    fs::write(&board.places.mounts, "/dev/vda5 / ext4 rw 0 0\n").expect("is written");
    assert_eq!(board.card().running, Slot::B);
    fs::write(board.places.etc.join("release.json"), "{}").expect("is written");
    assert!(matches!(Card::find(&board.places), Err(UpdateError::NoCard(_))));
}
