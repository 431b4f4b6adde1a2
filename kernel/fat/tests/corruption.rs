//! Disks that are damaged, or made to do harm: refused, or read; never a panic, never a loop.

mod support;

use std::ops::ControlFlow;

use sis_fat::{Chain, Error, Volume};
use support::{MemoryDisk, NOW, Random, make, mount, times, tree, write};

/// Sectors before the data of the images here, and where their table is.
struct Where {
    table: usize,
    data: usize,
}

fn find(image: &[u8]) -> Where {
    let at = |n: usize| usize::from(image[n]) | usize::from(image[n + 1]) << 8;
    let table_sectors = at(36) | at(38) << 16;
    let reserved = at(14);
    Where {
        table: reserved * 512,
        data: (reserved + usize::from(image[16]) * table_sectors) * 512,
    }
}

/// An image with some of everything.
fn sample() -> Vec<u8> {
    let disk = MemoryDisk::new(make(600, 1));
    let mut v = mount(&disk);
    let root = v.root();
    let d = v.create(root, "directory", true, &times(NOW)).expect("made").chain;
    let deep = v.create(d, "DEEP", true, &times(NOW)).expect("made").chain;
    for (directory, name) in [
        (root, "CONFIG"),
        (root, "a longer name"),
        (d, "name.txt"),
        (deep, "another long name"),
    ] {
        let made = v.create(directory, name, false, &times(NOW)).expect("made");
        write(&disk, &mut v, made.place, made.chain, &[7; 3000]).expect("written");
    }
    v.unmount().expect("unmounted");
    disk.bytes()
}

/// Everything that can be done, whatever comes of it. Bounded: a listing that does not end would be a loop.
fn use_it(image: Vec<u8>) {
    let disk = MemoryDisk::new(image);
    let Ok((mut v, _)) = Volume::mount(disk.clone(), false) else {
        return;
    };
    let mut rest = vec![v.root()];
    let mut seen = 0;
    while let Some(directory) = rest.pop() {
        let mut entries = Vec::new();
        v.list(directory, |_, e| {
            entries.push(e);
            ControlFlow::Continue(())
        })
        .expect("what was checked can be listed");
        for e in entries {
            seen += 1;
            assert!(seen < 10_000, "no end of names");
            if e.is_directory {
                rest.push(e.chain);
            } else {
                let bytes: u64 = v.runs(e.chain, 0, u64::MAX).iter().map(|r| r.bytes).sum();
                assert!(bytes >= u64::from(e.size));
            }
        }
    }
    let root = v.root();
    if let Ok(made) = v.create(root, "a new file with a long name", false, &times(NOW)) {
        let _ = write(&disk, &mut v, made.place, made.chain, &[1; 2000]);
    }
    let _ = v.create(root, "NEWDIR", true, &times(NOW));
    for name in ["directory", "CONFIG", "a longer name"] {
        if let Ok(e) = v.find(root, name) {
            let _ = v.remove(root, e.place).and_then(|()| v.free(e.chain));
        }
    }
    let _ = v.unmount();
    // What was good before is good after.
    Volume::mount(disk, true).expect("what we wrote can be mounted");
}

#[test]
fn ten_thousand_mutations() {
    let image = sample();
    let places = find(&image);
    let mut random = Random(0x5eed);
    for _ in 0..10_000 {
        let mut bad = image.clone();
        for _ in 0..=random.below(4) {
            // Where it matters: the boot sector, the table, directories.
            let range = match random.below(3) {
                0 => 0..512,
                1 => places.table..places.table + 256,
                _ => places.data..places.data + 20 * 512,
            };
            let at = range.start + random.below(range.len() as u64) as usize;
            match random.below(3) {
                0 => bad[at] ^= 1 << random.below(8),
                1 => bad[at] = random.next() as u8,
                _ => bad[at] = [0, 0xff, 0xe5, 0x0f, 2, 0x40][random.below(6) as usize],
            }
        }
        use_it(bad);
    }
}

#[test]
fn every_bit_of_the_boot_sector_and_the_first_entries() {
    let image = sample();
    let places = find(&image);
    for at in (0..512)
        .chain(places.table..places.table + 96)
        .chain(places.data..places.data + 256)
    {
        for bit in 0..8 {
            let mut bad = image.clone();
            bad[at] ^= 1 << bit;
            use_it(bad);
        }
    }
}

fn mounts(image: &[u8]) -> Result<Volume<MemoryDisk>, Error> {
    Volume::mount(MemoryDisk::new(image.to_vec()), false).map(|(v, _)| v)
}

/// The entry with that short name in the first cluster of the root.
fn entry_at(image: &[u8], name: &[u8]) -> usize {
    let places = find(image);
    (places.data..places.data + 512)
        .step_by(32)
        .find(|at| image[*at..].starts_with(name))
        .expect("the entry")
}

fn set_link(image: &mut [u8], cluster: usize, value: u32) {
    let at = find(image).table + cluster * 4;
    image[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn first_of(image: &[u8], entry: usize) -> usize {
    usize::from(image[entry + 26]) | usize::from(image[entry + 27]) << 8
}

#[test]
fn chains_that_lead_astray_are_refused_and_named() {
    let image = sample();
    let file = entry_at(&image, b"CONFIG ");
    let first = first_of(&image, file);
    let cases: [(u32, &str); 5] = [
        (first as u32, "two files have the same cluster, or a chain is a circle"),
        (2, "two files have the same cluster, or a chain is a circle"),
        (0, "a chain goes through free clusters"),
        (0x0f00_0000, "a chain leads nowhere"),
        (0x0fff_ffff, "a file is longer than its chain"),
    ];
    for (value, why) in cases {
        let mut bad = image.clone();
        set_link(&mut bad, if value == 0 { first + 1 } else { first }, value);
        assert_eq!(mounts(&bad).map(|_| ()), Err(Error::Corrupt(why)), "{value:x}");
    }
    // A directory that lies in itself, one without clusters, and one that begins nowhere.
    let directory = entry_at(&image, b"DIRECT~1");
    for first in [2u8, 0, 1] {
        let mut bad = image.clone();
        bad[directory + 26] = first;
        assert!(matches!(mounts(&bad).map(|_| ()), Err(Error::Corrupt(_))), "{first}");
    }
}

#[test]
fn two_files_of_one_name_are_refused() {
    let mut bad = sample();
    let (one, other) = (entry_at(&bad, b"CONFIG "), entry_at(&bad, b"ALONGE~1"));
    bad.copy_within(one..one + 11, other);
    assert_eq!(
        mounts(&bad).map(|_| ()),
        Err(Error::Corrupt("two files of a directory have the same name"))
    );
}

#[test]
fn half_a_character_at_the_beginning_of_a_part_is_no_name() {
    // The crate has room for 13 characters a part, and would put a 14th there.
    let mut bad = sample();
    let short = entry_at(&bad, b"ALONGE~1");
    let part = short - 32;
    assert_eq!(bad[part + 11], 0x0f, "the name's only part");
    // Two parts: the last begins with half a character, the first has none to go with it.
    let sum = bad[part + 13];
    let mut first = bad[part..part + 32].to_vec();
    let mut last = first.clone();
    (first[0], last[0]) = (1, 0x42);
    for n in [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30] {
        (first[n], first[n + 1]) = (b'x', 0);
    }
    (last[1], last[2]) = (0x00, 0xdc);
    assert_eq!((first[13], last[13]), (sum, sum));
    // Room for one more: the entries behind move on.
    let end = find(&bad).data + 512;
    bad.copy_within(short..end - 32, short + 32);
    bad[part..part + 32].copy_from_slice(&last);
    bad[short..short + 32].copy_from_slice(&first);
    let disk = MemoryDisk::new(bad);
    let mut v = mount(&disk);
    let names: Vec<String> = tree(&disk, &mut v).into_keys().collect();
    assert!(names.contains(&"/ALONGE~1".to_owned()), "{names:?}");
}

#[test]
fn names_that_lead_elsewhere_are_shown_by_their_short_form() {
    let mut bad = sample();
    let short = entry_at(&bad, b"ALONGE~1");
    // "a longer name" becomes "a/longer name".
    bad[short - 32 + 3] = b'/';
    let disk = MemoryDisk::new(bad);
    let names: Vec<String> = tree(&disk, &mut mount(&disk)).into_keys().collect();
    assert!(names.contains(&"/ALONGE~1".to_owned()), "{names:?}");
}

#[test]
fn what_lies_behind_the_end_of_a_directory_does_not_come_back() {
    let mut image = sample();
    let places = find(&image);
    // The rest of the root's cluster looks like files, behind an entry that ends it.
    let used = (places.data..places.data + 512)
        .step_by(32)
        .find(|at| image[*at] == 0)
        .expect("an end");
    let file = entry_at(&image, b"CONFIG ");
    let entry = image[file..file + 32].to_vec();
    for at in (used + 32..places.data + 512).step_by(32) {
        image[at..at + 32].copy_from_slice(&entry);
    }
    let disk = MemoryDisk::new(image);
    let mut v = mount(&disk);
    let root = v.root();
    let before = tree(&disk, &mut v).len();
    v.create(root, "X", false, &times(NOW)).expect("made");
    v.unmount().expect("unmounted");
    assert_eq!(tree(&disk, &mut mount(&disk)).len(), before + 1);
}

#[test]
fn other_kinds_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    for (bits, kib) in [("12", 1000), ("16", 20_000)] {
        let file = folder.path().join(bits);
        std::fs::write(&file, vec![0; kib * 1024]).expect("a file");
        support::says("mkfs.fat", &["-F", bits, support::text(&file)]);
        let image = std::fs::read(&file).expect("the image");
        assert_eq!(
            mounts(&image).map(|_| ()),
            Err(Error::Unsupported("FAT12 or FAT16: only FAT32 is"))
        );
    }
    assert!(matches!(mounts(&[0; 4096]).map(|_| ()), Err(Error::NotFat(_))));
    assert!(matches!(mounts(&[]).map(|_| ()), Err(Error::NotFat(_))));
    let mut short = sample();
    short.truncate(300 * 1024);
    assert_eq!(
        mounts(&short).map(|_| ()),
        Err(Error::Corrupt("the file system is larger than the disk"))
    );
}

/// A disk that says that it is as large as one wants, and has a boot sector.
struct Huge(Vec<u8>);

impl sis_fat::Disk for Huge {
    fn len_bytes(&self) -> u64 {
        u64::MAX
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn read(&self, _offset: u64, out: &mut [u8]) -> Result<(), sis_fat::DiskError> {
        out.copy_from_slice(self.0.get(..out.len()).ok_or(sis_fat::DiskError)?);
        Ok(())
    }

    fn write(&self, _offset: u64, _data: &[u8]) -> Result<(), sis_fat::DiskError> {
        Err(sis_fat::DiskError)
    }

    fn flush(&self) -> Result<(), sis_fat::DiskError> {
        Ok(())
    }
}

#[test]
fn more_clusters_than_memory_is_spent_on_are_refused() {
    let mut boot = sample()[..512].to_vec();
    boot[19..21].fill(0);
    boot[32..36].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(
        Volume::mount(Huge(boot), true).map(|_| ()),
        Err(Error::Unsupported("more than 4,194,304 clusters"))
    );
}

#[test]
fn more_directories_than_memory_is_spent_on_are_not_made() {
    let disk = MemoryDisk::new(make(40 << 10, 64));
    let mut v = mount(&disk);
    let root = v.root();
    let mut made = 0;
    while v.create(root, &format!("D{made}"), true, &times(NOW)).is_ok() {
        made += 1;
    }
    // 32 MiB of 32 KiB each, one of which is the root's.
    assert_eq!(made, 1023);
    assert!(v.usage().free > 100);
    v.unmount().expect("unmounted");
    support::assert_clean(&disk.bytes());
    mount(&disk);
}

#[test]
fn a_disk_that_changes_its_mind_changes_nothing() {
    let disk = MemoryDisk::new(sample());
    let mut v = mount(&disk);
    let before = tree(&disk, &mut v).into_keys().collect::<Vec<_>>();
    // Everything on it becomes noise; names come from memory.
    let len = disk.bytes().len();
    for at in (0..len).step_by(512) {
        sis_fat::Disk::write(&disk, at as u64, &[0xa5; 512]).expect("written");
    }
    let after = tree(&disk, &mut v).into_keys().collect::<Vec<_>>();
    assert_eq!(before, after);
    assert_eq!(v.runs(Chain::NONE, 0, 9), []);
}
