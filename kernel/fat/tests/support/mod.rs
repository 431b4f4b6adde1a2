//! What the tests share: a disk in memory that remembers what was written, images made and looked at by dosfstools and
//! mtools, and files written as the page cache would.
#![allow(clippy::allow_attributes, dead_code, reason = "each test binary uses a part")]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Output};
use std::rc::Rc;

use sis_fat::{Chain, Disk, DiskError, Entry, Error, Place, Times, Timestamp, Volume};

/// What a disk was told to do.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Write(u64, Vec<u8>),
    Flush,
}

#[derive(Default)]
struct Inner {
    bytes: RefCell<Vec<u8>>,
    steps: RefCell<Vec<Step>>,
    fails: Cell<bool>,
}

/// A disk in memory; clones share it.
#[derive(Clone, Default)]
pub(crate) struct MemoryDisk(Rc<Inner>);

impl MemoryDisk {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        let disk = Self::default();
        *disk.0.bytes.borrow_mut() = bytes;
        disk
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.bytes.borrow().clone()
    }

    pub(crate) fn take_steps(&self) -> Vec<Step> {
        self.0.steps.take()
    }

    pub(crate) fn fail_from_now_on(&self) {
        self.0.fails.set(true);
    }
}

impl Disk for MemoryDisk {
    fn len_bytes(&self) -> u64 {
        self.0.bytes.borrow().len() as u64
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), DiskError> {
        assert!(offset.is_multiple_of(512) && out.len().is_multiple_of(512));
        let at = offset as usize;
        out.copy_from_slice(self.0.bytes.borrow().get(at..at + out.len()).ok_or(DiskError)?);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        assert!(offset.is_multiple_of(512) && data.len().is_multiple_of(512));
        if self.0.fails.get() {
            return Err(DiskError);
        }
        let at = offset as usize;
        let mut bytes = self.0.bytes.borrow_mut();
        bytes
            .get_mut(at..at + data.len())
            .ok_or(DiskError)?
            .copy_from_slice(data);
        self.0.steps.borrow_mut().push(Step::Write(offset, data.to_vec()));
        Ok(())
    }

    fn flush(&self) -> Result<(), DiskError> {
        if self.0.fails.get() {
            return Err(DiskError);
        }
        self.0.steps.borrow_mut().push(Step::Flush);
        Ok(())
    }
}

/// Runs a program; the test fails where it is not installed.
pub(crate) fn run(program: &str, args: &[&str]) -> Output {
    Command::new(program)
        .args(args)
        .env(
            "PATH",
            format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()),
        )
        .env("MTOOLS_SKIP_CHECK", "1")
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}"))
}

/// Runs a program that must succeed; what it said.
pub(crate) fn says(program: &str, args: &[&str]) -> String {
    let out = run(program, args);
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    assert!(out.status.success(), "{program} {args:?}: {said}");
    said
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// A new FAT32 of so many KiB with so many sectors a cluster.
pub(crate) fn make(kib: u64, sectors_per_cluster: u32) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    file.as_file().set_len(kib * 1024).expect("room");
    let per_cluster = sectors_per_cluster.to_string();
    says(
        "mkfs.fat",
        &["-F", "32", "-s", &per_cluster, "-n", "SISBOOT", text(file.path())],
    );
    std::fs::read(file.path()).expect("the image")
}

/// Whether fsck.fat finds nothing at all; what it said.
pub(crate) fn fsck(bytes: &[u8]) -> (bool, String) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), bytes).expect("the image");
    let out = run("fsck.fat", &["-n", "-v", text(file.path())]);
    (out.status.success(), String::from_utf8_lossy(&out.stdout).into_owned())
}

pub(crate) fn assert_clean(bytes: &[u8]) {
    let (is_clean, said) = fsck(bytes);
    assert!(is_clean, "{said}");
    for word in ["Dirty bit", "differ", "Free cluster summary", "wrong", "Reclaimed"] {
        assert!(!said.contains(word), "{said}");
    }
}

pub(crate) fn times(seconds: i64) -> Times {
    let at = Timestamp {
        seconds,
        nanoseconds: 0,
    };
    Times {
        created: at,
        modified: at,
        accessed: Timestamp {
            seconds: seconds - seconds % 86_400,
            nanoseconds: 0,
        },
    }
}

/// 2026-11-26 20:00:00 UTC.
pub(crate) const NOW: i64 = 1_795_723_200;

pub(crate) fn mount(disk: &MemoryDisk) -> Volume<MemoryDisk> {
    Volume::mount(disk.clone(), false).expect("a good file system").0
}

pub(crate) fn list(volume: &mut Volume<MemoryDisk>, directory: Chain) -> Vec<Entry> {
    let mut out = Vec::new();
    volume
        .list(directory, |_, e| {
            out.push(e);
            ControlFlow::Continue(())
        })
        .expect("a directory");
    out
}

/// Replaces a file's content: its blocks first, then its size.
pub(crate) fn write(
    disk: &MemoryDisk,
    volume: &mut Volume<MemoryDisk>,
    place: Place,
    chain: Chain,
    content: &[u8],
) -> Result<Chain, Error> {
    let clusters = (content.len() as u64).div_ceil(volume.cluster_bytes());
    let chain = volume.lengthen(chain, clusters)?;
    let chain = volume.shorten(chain, clusters)?;
    let mut left = content;
    for run in volume.runs(chain, 0, clusters) {
        let n = left.len().min(run.bytes as usize);
        let mut bytes = left[..n].to_vec();
        bytes.resize(n.next_multiple_of(512), 0);
        disk.write(run.sector * 512, &bytes)?;
        left = &left[n..];
    }
    assert!(left.is_empty(), "the runs hold all of it");
    volume.set_file_size(place, chain, content.len() as u64)?;
    Ok(chain)
}

pub(crate) fn read(disk: &MemoryDisk, volume: &Volume<MemoryDisk>, entry: &Entry) -> Vec<u8> {
    let mut out = Vec::new();
    for run in volume.runs(entry.chain, 0, u64::MAX) {
        let mut part = vec![0; run.bytes as usize];
        disk.read(run.sector * 512, &mut part).expect("inside the disk");
        out.extend(part);
    }
    out.truncate(entry.size as usize);
    assert_eq!(out.len(), entry.size as usize, "{}", entry.name);
    out
}

/// Every file by its path, a directory with `None`.
pub(crate) fn tree(disk: &MemoryDisk, volume: &mut Volume<MemoryDisk>) -> BTreeMap<String, Option<Vec<u8>>> {
    let mut out = BTreeMap::new();
    let mut rest = vec![(String::new(), volume.root())];
    while let Some((path, directory)) = rest.pop() {
        for entry in list(volume, directory) {
            let path = format!("{path}/{}", entry.name);
            if entry.is_directory {
                rest.push((path.clone(), entry.chain));
                out.insert(path, None);
            } else {
                let content = read(disk, volume, &entry);
                out.insert(path, Some(content));
            }
        }
    }
    out
}

/// Small numbers that look random, the same every time.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}
