//! Power cuts: after any of them the file system mounts, what was committed is there, and fsck.fat has at most clusters to
//! give back that nobody owns.

mod support;

use std::collections::BTreeMap;

use sis_fat::{Chain, Error, Volume};
use support::{MemoryDisk, NOW, Random, Step, fsck, make, mount, times, tree, write};

type Tree = BTreeMap<String, Option<Vec<u8>>>;

/// Does things at random, and says what the tree is afterwards.
struct Workload {
    random: Random,
    disk: MemoryDisk,
    volume: Volume<MemoryDisk>,
    tree: Tree,
}

impl Workload {
    fn directory(&mut self, path: &str) -> Chain {
        let mut at = self.volume.root();
        for name in path.split('/').filter(|n| !n.is_empty()) {
            at = self.volume.find(at, name).expect("a directory").chain;
        }
        at
    }

    fn pick(&mut self, wants_file: bool) -> Option<String> {
        let names: Vec<String> = self
            .tree
            .iter()
            .filter(|(_, content)| content.is_some() == wants_file)
            .map(|(path, _)| path.clone())
            .collect();
        if names.is_empty() {
            return None;
        }
        let n = self.random.below(names.len() as u64) as usize;
        names.get(n).cloned()
    }

    fn new_path(&mut self) -> String {
        let parent = if self.random.below(3) == 0 {
            self.pick(false)
        } else {
            None
        };
        let n = self.random.below(40);
        let name = match n % 3 {
            0 => format!("F{n}"),
            1 => format!("name{n}.txt"),
            _ => format!("a long name of some letters {n}"),
        };
        format!("{}/{name}", parent.unwrap_or_default())
    }

    fn content(&mut self) -> Vec<u8> {
        let len = self.random.below(4000) as usize;
        let seed = self.random.next();
        (0..len)
            .map(|n| (seed.rotate_left(n as u32) ^ n as u64) as u8)
            .collect()
    }

    /// One operation; without renames a cut never leaves a file under two names.
    fn step(&mut self, with_renames: bool) {
        let result = match self.random.below(if with_renames { 7 } else { 6 }) {
            0 => self.make(true),
            1 | 2 => self.make(false),
            3 => self.rewrite(),
            4 => self.remove(true),
            5 => self.remove(false),
            _ => self.rename(),
        };
        assert!(matches!(result, Ok(()) | Err(Error::NoSpace)), "{result:?}");
    }

    fn make(&mut self, is_directory: bool) -> Result<(), Error> {
        let path = self.new_path();
        if self.tree.contains_key(&path) {
            return Ok(());
        }
        let (parent, name) = path.rsplit_once('/').expect("a path");
        let directory = self.directory(parent);
        let entry = self.volume.create(directory, name, is_directory, &times(NOW))?;
        if is_directory {
            self.tree.insert(path, None);
            return Ok(());
        }
        let content = self.content();
        self.tree.insert(path.clone(), Some(Vec::new()));
        write(&self.disk, &mut self.volume, entry.place, entry.chain, &content)?;
        self.tree.insert(path, Some(content));
        Ok(())
    }

    fn rewrite(&mut self) -> Result<(), Error> {
        let Some(path) = self.pick(true) else { return Ok(()) };
        let (parent, name) = path.rsplit_once('/').expect("a path");
        let directory = self.directory(parent);
        let entry = self.volume.find(directory, name)?;
        // In place only what is longer: content that is overwritten is not what this is about.
        let mut content = self.tree.get(&path).cloned().flatten().unwrap_or_default();
        content.extend(self.content());
        write(&self.disk, &mut self.volume, entry.place, entry.chain, &content)?;
        self.tree.insert(path, Some(content));
        Ok(())
    }

    fn remove(&mut self, wants_file: bool) -> Result<(), Error> {
        let Some(path) = self.pick(wants_file) else {
            return Ok(());
        };
        let below = format!("{path}/");
        if self.tree.keys().any(|p| p.starts_with(&below)) {
            return Ok(());
        }
        let (parent, name) = path.rsplit_once('/').expect("a path");
        let directory = self.directory(parent);
        let entry = self.volume.find(directory, name)?;
        self.volume.remove(directory, entry.place)?;
        if wants_file {
            self.volume.free(entry.chain)?;
        }
        self.tree.remove(&path);
        Ok(())
    }

    fn rename(&mut self) -> Result<(), Error> {
        let Some(path) = self.pick(true) else { return Ok(()) };
        let new = self.new_path();
        if self.tree.get(&new).is_some_and(Option::is_none) || new == path {
            return Ok(());
        }
        let (parent, name) = path.rsplit_once('/').expect("a path");
        let (new_parent, new_name) = new.rsplit_once('/').expect("a path");
        let (from, to) = (self.directory(parent), self.directory(new_parent));
        let entry = self.volume.find(from, name)?;
        let replaced = self.volume.find(to, new_name).ok();
        self.volume
            .rename((from, entry.place), to, new_name, replaced.as_ref().map(|r| r.place))?;
        if let Some(replaced) = replaced {
            self.volume.free(replaced.chain)?;
        }
        let content = self.tree.remove(&path).expect("there");
        self.tree.insert(new, content);
        Ok(())
    }
}

/// The disk as a cut may leave it: what was flushed, and of the rest some.
fn cut(start: &[u8], steps: &[Step], random: &mut Random) -> Vec<u8> {
    let mut bytes = start.to_vec();
    let at = random.below(steps.len() as u64 + 1) as usize;
    let done = steps.get(..at).unwrap_or(steps);
    let flushed = done.iter().rposition(|s| matches!(s, Step::Flush)).unwrap_or(0);
    for (n, step) in done.iter().enumerate() {
        if let Step::Write(offset, data) = step
            && (n < flushed || random.below(2) == 0)
        {
            // A write may be torn between sectors.
            let whole = (data.len() / 512) as u64;
            let len = if n < flushed { whole } else { random.below(whole + 1) } as usize * 512;
            bytes[*offset as usize..][..len].copy_from_slice(&data[..len]);
        }
    }
    bytes
}

fn campaign(seeds: std::ops::Range<u64>, sectors: u32) {
    let empty = make(1500 * u64::from(sectors), sectors);
    for seed in seeds {
        let disk = MemoryDisk::new(empty.clone());
        let mut w = Workload {
            random: Random(seed * 2 + 1),
            volume: mount(&disk),
            disk: disk.clone(),
            tree: Tree::new(),
        };
        for _ in 0..20 {
            w.step(true);
        }
        w.volume.commit().expect("committed");
        let (start, before) = (disk.bytes(), w.tree.clone());
        disk.take_steps();
        for _ in 0..8 {
            w.step(false);
        }
        w.volume.commit().expect("committed");
        let (steps, after) = (disk.take_steps(), w.tree.clone());
        let mut random = Random(seed + 77);
        for _ in 0..6 {
            let bytes = cut(&start, &steps, &mut random);
            let cut_disk = MemoryDisk::new(bytes.clone());
            let mut volume = match Volume::mount(cut_disk.clone(), false) {
                Ok((volume, _)) => volume,
                Err(e) => panic!("seed {seed}: {e}; {}", fsck(&bytes).1),
            };
            let found = tree(&cut_disk, &mut volume);
            for (path, content) in &before {
                // What was changed since may be as it was, as it is now, or on its way there.
                if after.get(path) == Some(content) {
                    assert_eq!(found.get(path), Some(content), "seed {seed}: {path}");
                }
            }
            for path in found.keys() {
                assert!(
                    before.contains_key(path) || after.contains_key(path) || is_half_made(path),
                    "seed {seed}: {path}"
                );
            }
            let (_, said) = fsck(&bytes);
            for word in [
                "loop",
                "share",
                "Contains a free cluster",
                "Bad file",
                "start cluster",
                "Cluster chain",
            ] {
                assert!(!said.contains(word), "seed {seed}: {said}");
            }
        }
        // And whole, without a cut.
        let end = MemoryDisk::new(disk.bytes());
        assert_eq!(tree(&end, &mut mount(&end)), after, "seed {seed}");
    }
}

/// A long name whose first part is in a sector that was not written yet is its short one.
fn is_half_made(path: &str) -> bool {
    path.rsplit('/').next().is_some_and(|name| name.contains('~'))
}

#[test]
fn small_clusters() {
    campaign(1..80, 1);
}

#[test]
fn clusters_of_a_page() {
    campaign(1..40, 8);
}

#[test]
fn large_clusters() {
    campaign(1..12, 32);
}

#[test]
fn what_happens_at_random_is_what_is_on_the_disk() {
    for seed in 1..20 {
        let disk = MemoryDisk::new(make(1500, 1));
        let mut w = Workload {
            random: Random(seed * 1001),
            volume: mount(&disk),
            disk: disk.clone(),
            tree: Tree::new(),
        };
        for n in 0..150 {
            w.step(true);
            if n % 40 == 0 {
                w.volume.commit().expect("committed");
            }
        }
        assert_eq!(tree(&disk, &mut w.volume), w.tree, "seed {seed}");
        w.volume.unmount().expect("unmounted");
        support::assert_clean(&disk.bytes());
        assert_eq!(tree(&disk, &mut mount(&disk)), w.tree, "seed {seed}");
    }
}
