//! Power cuts: whatever part of the writes since the last flush is on the disk, in whatever order, what was committed is
//! there, and nothing is half done.
//!
//! `SIS_EXT4_CUTS=2000 cargo test -p sis-ext4 --test cuts -- --nocapture` makes that many cuts and says what it found.

mod changes;
mod rig;

use changes::step;
use rig::{Event, Memory, NOW, Node, Rng, Tree, VARIANTS, assert_clean, e2fsck, mke2fs, read_tree};
use sis_ext4::Volume;

/// A run with what was on the disk when, and what was acknowledged when.
struct Recording {
    name: &'static str,
    base: Vec<u8>,
    events: Vec<Event>,
    /// After so many events this was committed.
    acknowledged: Vec<(usize, Tree)>,
}

fn record(name: &'static str, options: &[&str], seed: u64) -> Recording {
    let disk = Memory::new(mke2fs(16 * 1024, options));
    let base = disk.bytes();
    disk.record();
    let mut v = Volume::mount(disk.clone(), false, NOW).unwrap().0;
    let (mut tree, mut rng) = (Tree::new(), Rng::new(seed));
    let mut acknowledged = vec![(0, Tree::new())];
    for n in 0..160 {
        let tid = v.running_tid();
        step(&mut v, &mut tree, &mut rng, n).unwrap_or_else(|e| panic!("{name}, step {n}: {e}"));
        if rng.below(5) == 0 || n == 159 {
            v.commit(NOW).unwrap();
        }
        // A step may commit by itself, as its last deed.
        if v.running_tid() != tid {
            assert!(!v.is_dirty(), "{name}, step {n}: a commit in the middle of a step");
            acknowledged.push((disk.events().len(), tree.clone()));
        }
    }
    Recording {
        name,
        base,
        events: disk.events(),
        acknowledged,
    }
}

fn put(bytes: &mut [u8], offset: u64, data: &[u8]) {
    bytes[offset as usize..offset as usize + data.len()].copy_from_slice(data);
}

/// The disk after a cut behind the first `at` events.
fn cut(recording: &Recording, at: usize, rng: &mut Rng) -> Vec<u8> {
    let mut bytes = recording.base.clone();
    let mut loose: Vec<(u64, Vec<u8>)> = Vec::new();
    for event in &recording.events[..at] {
        match event {
            Event::Write(offset, data) => loose.push((*offset, data.clone())),
            Event::Flush => loose
                .drain(..)
                .for_each(|(offset, data)| put(&mut bytes, offset, &data)),
            Event::Through(offset, data) => put(&mut bytes, *offset, data),
        }
    }
    // Of what was not flushed: some, torn at sectors, in any order.
    let keep = rng.below(101);
    let mut pieces: Vec<(u64, Vec<u8>)> = Vec::new();
    for (offset, data) in loose {
        let is_torn = rng.below(4) == 0;
        for (i, sector) in data.chunks(if is_torn { 512 } else { data.len().max(1) }).enumerate() {
            if rng.below(100) < keep {
                pieces.push((offset + 512 * i as u64, sector.to_vec()));
            }
        }
    }
    if rng.below(3) == 0 {
        for i in (1..pieces.len()).rev() {
            // Two writes of one place keep their order: disks do not turn those round.
            let j = rng.below(i + 1);
            let overlaps =
                |a: &(u64, Vec<u8>), b: &(u64, Vec<u8>)| a.0 < b.0 + b.1.len() as u64 && b.0 < a.0 + a.1.len() as u64;
            if (j..=i).all(|k| !overlaps(&pieces[k], &pieces[i]) || k == i)
                && (j..=i).all(|k| !overlaps(&pieces[k], &pieces[j]) || k == j)
            {
                pieces.swap(i, j);
            }
        }
    }
    pieces.iter().for_each(|(offset, data)| put(&mut bytes, *offset, data));
    bytes
}

fn shape(tree: &Tree) -> Vec<(&String, u8, usize)> {
    let kind = |n: &Node| match n {
        Node::File(c) => (0, c.len()),
        Node::Link(t) => (1, t.len()),
        Node::Directory => (2, 0),
    };
    tree.iter().map(|(p, n)| (p, kind(n).0, kind(n).1)).collect()
}

/// What is wrong after a cut, if anything.
fn check(recording: &Recording, at: usize, bytes: Vec<u8>) -> Result<(), String> {
    let before = recording.acknowledged.partition_point(|(n, _)| *n <= at) - 1;
    let (_, acknowledged) = &recording.acknowledged[before];
    let next = recording.acknowledged.get(before + 1).map_or(acknowledged, |(_, t)| t);
    let disk = Memory::new(bytes);
    let (mut v, _) = Volume::mount(disk.clone(), false, NOW).map_err(|e| format!("it does not mount: {e}"))?;
    let seen = read_tree(&mut v).map_err(|e| format!("it cannot be read: {e}"))?;
    v.unmount(NOW).map_err(|e| format!("it cannot be unmounted: {e}"))?;
    if shape(&seen) != shape(acknowledged) && shape(&seen) != shape(next) {
        let lost: Vec<&String> = acknowledged
            .keys()
            .filter(|k| !seen.contains_key(*k) && next.contains_key(*k))
            .collect();
        return Err(format!(
            "the tree is neither that before nor that after; lost: {lost:?}"
        ));
    }
    for (path, node) in acknowledged {
        if next.get(path) == Some(node) && seen.get(path) != Some(node) {
            return Err(format!("{path} has lost its content"));
        }
    }
    let (done, _) = e2fsck(&disk.bytes(), &["-f", "-n"]);
    if !done.status.success() {
        return Err(format!(
            "e2fsck after our recovery: {}",
            String::from_utf8_lossy(&done.stdout)
        ));
    }
    Ok(())
}

#[test]
fn nothing_committed_is_lost_and_nothing_is_half_done() {
    let cuts: usize = std::env::var("SIS_EXT4_CUTS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(300);
    let with_journal: Vec<_> = VARIANTS
        .iter()
        .filter(|(name, _)| !name.contains("no-journal") && !name.starts_with("ext2"))
        .collect();
    let mut rng = Rng::new(77);
    let mut losses = Vec::new();
    let mut done = 0;
    let mut round = 0;
    while done < cuts {
        let (name, options) = with_journal[round % with_journal.len()];
        let recording = record(name, options, 1000 + round as u64);
        for _ in 0..(cuts / with_journal.len()).clamp(1, 40) {
            let at = rng.below(recording.events.len() + 1);
            let bytes = cut(&recording, at, &mut rng);
            // e2fsck's own replay now and then.
            if done % 8 == 0 {
                let (_, after) = e2fsck(&bytes, &["-f", "-y"]);
                assert_clean(&after, &format!("{name}: after e2fsck's replay of a cut at {at}"));
            }
            if let Err(what) = check(&recording, at, bytes) {
                losses.push(format!("{} (run {round}), cut at {at}: {what}", recording.name));
            }
            done += 1;
        }
        round += 1;
    }
    println!("{done} cuts, {} losses", losses.len());
    assert!(
        losses.is_empty(),
        "{} of {done} cuts:\n{}",
        losses.len(),
        losses.join("\n")
    );
}

#[test]
fn the_check_finds_a_disk_that_lies_about_flushes() {
    let (name, options) = VARIANTS[0];
    let mut recording = record(name, options, 5);
    // Nothing is ever flushed: everything since the beginning may be lost or come in any order.
    recording.events = recording
        .events
        .into_iter()
        .filter_map(|e| match e {
            Event::Flush => None,
            Event::Write(o, d) | Event::Through(o, d) => Some(Event::Write(o, d)),
        })
        .collect();
    let mut rng = Rng::new(3);
    let mut found = 0;
    for _ in 0..20 {
        let at = recording.events.len();
        let bytes = cut(&recording, at, &mut rng);
        found += usize::from(check(&recording, at, bytes).is_err());
    }
    assert!(found > 10, "only {found} of 20 lost everything");
}
