//! Damaged images: never a panic, never a loop, never a huge allocation.
//!
//! `SIS_EXT4_MUTATIONS=10000 cargo test -p sis-ext4 --test corruption -- --nocapture` prints the whole figure.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use sis_ext4::{Disk, DiskError, Error, Ino, Kind, MountOptions, NewFile, RenameMode, Source, Volume};
use support::model::Model;
use support::{MemoryDisk, NOW, Rng, make_image, mount};

/// Transfers one exercise may need; a loop over the disk goes beyond.
const MOST_TRANSFERS: u64 = 400_000;
const SECTOR: u64 = 512;

/// An image with changes on top, which counts transfers and notes what is read.
#[derive(Clone)]
struct Overlay {
    base: Arc<Vec<u8>>,
    changed: Arc<Mutex<BTreeMap<u64, Vec<u8>>>>,
    transfers: Arc<AtomicU64>,
    seen: Arc<Mutex<BTreeSet<u64>>>,
}

impl Overlay {
    fn new(base: &Arc<Vec<u8>>) -> Self {
        Self {
            base: Arc::clone(base),
            changed: Arc::default(),
            transfers: Arc::default(),
            seen: Arc::default(),
        }
    }

    fn count(&self) {
        let n = self.transfers.fetch_add(1, Ordering::Relaxed);
        assert!(n < MOST_TRANSFERS, "transfers without end");
    }

    fn mutate(&self, at: u64, change: impl FnOnce(&mut u8)) {
        let sector = at / SECTOR;
        let from = (sector * SECTOR) as usize;
        let mut changed = self.changed.lock().unwrap();
        let bytes = changed
            .entry(sector)
            .or_insert_with(|| self.base[from..from + SECTOR as usize].to_vec());
        change(&mut bytes[(at % SECTOR) as usize]);
    }
}

impl Disk for Overlay {
    fn len_bytes(&self) -> u64 {
        self.base.len() as u64
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), DiskError> {
        self.count();
        let at = usize::try_from(offset).map_err(|_| DiskError::OutOfRange)?;
        let end = at.checked_add(out.len()).ok_or(DiskError::OutOfRange)?;
        out.copy_from_slice(self.base.get(at..end).ok_or(DiskError::OutOfRange)?);
        let changed = self.changed.lock().unwrap();
        let first = offset / SECTOR;
        self.seen.lock().unwrap().insert(offset);
        for (sector, bytes) in changed.range(first..first + out.len() as u64 / SECTOR) {
            let to = ((sector - first) * SECTOR) as usize;
            out[to..to + SECTOR as usize].copy_from_slice(bytes);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        self.count();
        if offset + data.len() as u64 > self.base.len() as u64 {
            return Err(DiskError::OutOfRange);
        }
        let mut changed = self.changed.lock().unwrap();
        for (i, bytes) in data.chunks(SECTOR as usize).enumerate() {
            changed.insert(offset / SECTOR + i as u64, bytes.to_vec());
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), DiskError> {
        Ok(())
    }
}

/// What an exercise met.
#[derive(Clone, Copy, Debug, Default)]
struct Met {
    refused: bool,
    corrupt: bool,
    turned_read_only: bool,
}

/// Looks at everything and changes some of it. Errors are expected; what they may be is checked.
fn exercise(disk: &Overlay, rng: &mut Rng) -> Met {
    let mut met = Met::default();
    let mut v = match Volume::mount(
        disk.clone(),
        &MountOptions {
            cache_blocks: 256,
            read_only: false,
        },
        NOW,
    ) {
        Ok((v, _)) => v,
        Err(e) => {
            met.refused = true;
            met.corrupt = matches!(e, Error::Corrupt(_));
            return met;
        }
    };
    let mut note = |e: Option<Error>| {
        if let Some(Error::Corrupt(_)) = e {
            met.corrupt = true;
        }
    };
    let mut left = vec![Ino::ROOT];
    let mut all: Vec<(Ino, Vec<u8>, Ino)> = Vec::new();
    let mut visited = BTreeSet::new();
    while let Some(dir) = left.pop() {
        if !visited.insert(dir) || visited.len() > 400 {
            continue;
        }
        let mut names = Vec::new();
        let read = v.read_dir(dir, 0, &mut |e| {
            names.push((e.name.to_vec(), e.ino));
            names.len() < 2000
        });
        note(read.err());
        for (name, ino) in names {
            if name == b"." || name == b".." {
                continue;
            }
            note(v.lookup(dir, &name).err());
            all.push((dir, name, ino));
            let inode = match v.inode(ino) {
                Ok(inode) => inode,
                Err(e) => {
                    note(Some(e));
                    continue;
                }
            };
            match inode.kind {
                Kind::Directory => left.push(ino),
                Kind::Symlink => note(v.read_link(ino).err()),
                Kind::Regular => {
                    let mut at = 0;
                    for _ in 0..200 {
                        match v.map(ino, at, 1 << 20) {
                            Ok(m) => at = m.first + m.len,
                            Err(e) => {
                                note(Some(e));
                                break;
                            }
                        }
                        if at > 1 << 32 {
                            break;
                        }
                    }
                }
                _ => {}
            }
            match v.attributes(ino) {
                Ok(names) => names.iter().for_each(|n| note(v.attribute(ino, n).err())),
                Err(e) => note(Some(e)),
            }
        }
    }
    for round in 0..40 {
        if all.is_empty() {
            break;
        }
        let (dir, name, ino) = all[rng.below(all.len() as u64) as usize].clone();
        let result = match rng.below(10) {
            0 | 1 => {
                let new = NewFile {
                    kind: Kind::Regular,
                    permissions: 0o600,
                    uid: 0,
                    gid: 0,
                    device: Default::default(),
                };
                v.create(dir, format!("new{round}").as_bytes(), &new, NOW).err()
            }
            2 => match v.unlink(dir, &name, NOW) {
                Ok(u) if u.was_last => v.evict(u.ino, NOW).err(),
                r => r.err(),
            },
            3 => v.rmdir(dir, &name, NOW).err(),
            4 => v.truncate(ino, rng.below(1 << 22), NOW).err(),
            5 => {
                let to = all[rng.below(all.len() as u64) as usize].clone();
                v.rename((dir, &name), (to.0, &to.1), RenameMode::Replace, NOW).err()
            }
            6 => v.set_attribute(ino, b"user.fuzz", &[7; 200], None, NOW).err(),
            7 => v
                .fallocate(ino, rng.below(1000), 1 + rng.below(64), None, Source::Free, NOW)
                .err(),
            8 => v.punch_hole(ino, rng.below(1000), 1 + rng.below(64), NOW).err(),
            _ => {
                let first = rng.below(1000);
                match v.allocate(ino, first, 1 + rng.below(64), Source::Free) {
                    Ok(pieces) => {
                        let count = pieces.iter().map(|p| p.len).sum();
                        v.mark_written(ino, first, count, 0, NOW).err()
                    }
                    Err(e) => Some(e),
                }
            }
        };
        note(result);
        if let Some(Error::Corrupt(_)) = result {
            assert!(v.is_read_only(), "damage was found, and the volume can be written");
        }
    }
    met.turned_read_only = v.is_read_only();
    let _ = v.unmount(NOW);
    met
}

fn filled(args: &[&str], seed: u64) -> Arc<Vec<u8>> {
    let disk = MemoryDisk::new(make_image(args, 16, None));
    let (mut v, _) = mount(&disk);
    let mut model = Model::new(&mut v);
    let mut rng = Rng(seed);
    for _ in 0..1200 {
        model.step(&mut v, &mut rng);
    }
    // Something for each kind of block: a deep map, an index, a block of attributes.
    let new = NewFile {
        kind: Kind::Regular,
        permissions: 0o600,
        uid: 0,
        gid: 0,
        device: Default::default(),
    };
    let ino = v.create(Ino::ROOT, b"deep", &new, NOW).expect("create").ino;
    let block = v.block_bytes() as u64;
    for n in 0..400 {
        support::write_file(&mut v, ino, n * 2 * block, b"x").expect("write");
    }
    v.set_attribute(ino, b"user.large", &[1; 700], None, NOW)
        .expect("xattr");
    v.unmount(NOW).1.expect("unmount");
    Arc::new(disk.bytes())
}

fn mutations() -> u64 {
    std::env::var("SIS_EXT4_MUTATIONS").map_or(400, |n| n.parse().expect("SIS_EXT4_MUTATIONS is a number"))
}

/// Images to damage: with checksums, where most is found at once, and without, where all depends on the other checks.
const IMAGES: &[(&str, &[&str])] = &[
    ("ext4", &["-t", "ext4", "-b", "1024"]),
    (
        "ext4, no checksums",
        &["-t", "ext4", "-b", "1024", "-O", "^metadata_csum"],
    ),
    (
        "ext4, no journal, no checksums",
        &["-t", "ext4", "-b", "4096", "-O", "^metadata_csum,^has_journal"],
    ),
    ("ext3", &["-t", "ext3", "-b", "1024"]),
    ("ext2", &["-t", "ext2", "-b", "1024"]),
];

/// The places of metadata that an exercise reads.
fn places(image: &Arc<Vec<u8>>) -> Vec<u64> {
    let disk = Overlay::new(image);
    exercise(&disk, &mut Rng(1));
    let seen = disk.seen.lock().unwrap();
    seen.iter().copied().collect()
}

#[test]
fn mutated_images_never_panic_and_never_loop() {
    let (mut total, mut refused, mut corrupt, mut read_only) = (0, 0, 0, 0);
    let begin = Instant::now();
    for (k, (name, args)) in IMAGES.iter().enumerate() {
        let image = filled(args, 77 + k as u64);
        let places = places(&image);
        assert!(places.len() > 30, "{name}: too few places to damage");
        for n in 0..mutations() / IMAGES.len() as u64 {
            let seed = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (k as u64) << 56;
            let mut rng = Rng(seed | 1);
            let disk = Overlay::new(&image);
            for _ in 0..1 + rng.below(8) {
                let block = places[rng.below(places.len() as u64) as usize];
                // Headers are where the most is to be broken.
                let within = if rng.below(2) == 0 {
                    rng.below(64)
                } else {
                    rng.below(1024)
                };
                let (kind, value) = (rng.below(4), rng.next() as u8);
                let at = (block + within).min(image.len() as u64 - 1);
                disk.mutate(at, |b| match kind {
                    0 => *b ^= 1 << (value & 7),
                    1 => *b = value,
                    2 => *b = 0xff,
                    _ => *b = 0,
                });
            }
            let met = std::panic::catch_unwind(|| exercise(&disk, &mut Rng(seed | 1)));
            let met = met.unwrap_or_else(|_| panic!("{name}: mutation {n}"));
            total += 1;
            refused += u64::from(met.refused);
            corrupt += u64::from(met.corrupt);
            read_only += u64::from(met.turned_read_only);
        }
    }
    assert!(corrupt > total / 20, "the mutations hit nothing");
    println!(
        "{total} mutated images in {:.1} s: {refused} refused, {corrupt} found damaged, {read_only} turned read-only, \
         0 panics, 0 loops",
        begin.elapsed().as_secs_f64()
    );
}

#[test]
fn every_flipped_bit_of_metadata_with_checksums_is_found_or_harmless() {
    let image = filled(&["-t", "ext4", "-b", "1024"], 5);
    let places = places(&image);
    let (mut found, mut total) = (0, 0);
    let per_place = (mutations() / 200).max(1);
    for (k, place) in places.iter().enumerate() {
        for n in 0..per_place {
            let mut rng = Rng((k as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (n << 40) | 1);
            let at = place + rng.below(1024);
            let disk = Overlay::new(&image);
            let bit = rng.below(8);
            disk.mutate(at, |b| *b ^= 1 << bit);
            let met = exercise(&disk, &mut rng);
            total += 1;
            found += u64::from(met.corrupt || met.refused);
        }
    }
    assert!(found > total / 4, "{found} of {total} flipped bits were found");
    println!(
        "{total} flipped bits in {} blocks: {found} found, 0 panics, 0 loops",
        places.len()
    );
}
