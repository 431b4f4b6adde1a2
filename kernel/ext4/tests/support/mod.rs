//! What the tests share: a disk in memory, e2fsprogs, a file's content as the page cache would move it, and a model of
//! the tree.
#![allow(clippy::allow_attributes, dead_code, reason = "each test binary uses a part")]

pub(crate) mod model;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use sis_ext4::{Disk, DiskError, Ino, MountOptions, MountReport, Source, State, Timestamp, Volume};

/// A disk in memory; clones share it.
#[derive(Clone)]
pub(crate) struct MemoryDisk(pub(crate) Arc<Mutex<Vec<u8>>>);

impl MemoryDisk {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(bytes)))
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl Disk for MemoryDisk {
    fn len_bytes(&self) -> u64 {
        self.0.lock().unwrap().len() as u64
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), DiskError> {
        assert!(offset.is_multiple_of(512) && out.len().is_multiple_of(512));
        let bytes = self.0.lock().unwrap();
        let at = offset as usize;
        out.copy_from_slice(bytes.get(at..at + out.len()).ok_or(DiskError::OutOfRange)?);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        assert!(offset.is_multiple_of(512) && data.len().is_multiple_of(512));
        let mut bytes = self.0.lock().unwrap();
        let at = offset as usize;
        bytes
            .get_mut(at..at + data.len())
            .ok_or(DiskError::OutOfRange)?
            .copy_from_slice(data);
        Ok(())
    }

    fn flush(&self) -> Result<(), DiskError> {
        Ok(())
    }
}

/// A program of e2fsprogs; the test fails where it is not installed.
fn tool(name: &str) -> PathBuf {
    ["/sbin", "/usr/sbin"]
        .iter()
        .map(|dir| Path::new(dir).join(name))
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("{name} is missing: install e2fsprogs (cargo sis setup does)"))
}

pub(crate) fn run(name: &str, args: &[&str]) -> Output {
    let output = Command::new(tool(name))
        .args(args)
        .output()
        .expect("the program starts");
    if name != "e2fsck" {
        assert!(
            output.status.success(),
            "{name} {args:?}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    output
}

/// A new image of `mib` MiB, as mke2fs makes it with `args`; `from` fills it.
pub(crate) fn make_image(args: &[&str], mib: u64, from: Option<&Path>) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.as_file().set_len(mib << 20).expect("space for the image");
    let path = file.path().to_str().expect("a path in UTF-8").to_owned();
    let mut all = vec!["-q", "-F"];
    all.extend(args);
    let dir = from.map(|dir| dir.to_str().expect("a path in UTF-8").to_owned());
    if let Some(dir) = &dir {
        all.extend(["-d", dir]);
    }
    all.push(&path);
    run("mke2fs", &all);
    std::fs::read(file.path()).expect("the image")
}

fn with_image<T>(bytes: &[u8], f: impl FnOnce(&str) -> T) -> T {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), bytes).expect("space for the image");
    f(file.path().to_str().expect("a path in UTF-8"))
}

/// Fails unless e2fsck finds nothing at all.
#[track_caller]
pub(crate) fn assert_clean(bytes: &[u8], what: &str) {
    with_image(bytes, |path| {
        let output = run("e2fsck", &["-fn", path]);
        if !output.status.success() {
            let keep = std::env::temp_dir().join("sis-ext4-failed.img");
            let _ = std::fs::copy(path, &keep);
            panic!(
                "{what}: e2fsck: {}{} (image kept in {})",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr),
                keep.display()
            );
        }
    });
}

/// Runs debugfs's commands on an image; answers the image after.
pub(crate) fn debugfs(bytes: &[u8], writable: bool, commands: &[&str]) -> (Vec<u8>, String) {
    with_image(bytes, |path| {
        let list = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(list.path(), commands.join("\n")).expect("space for the commands");
        let list = list.path().to_str().expect("a path in UTF-8");
        let mut args = vec!["-f", list];
        if writable {
            args.insert(0, "-w");
        }
        args.push(path);
        let output = run("debugfs", &args);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (std::fs::read(path).expect("the image"), text)
    })
}

/// The time the tests run at; e2fsck wants it in the past.
pub(crate) const NOW: Timestamp = Timestamp {
    seconds: 1_700_000_000,
    nanoseconds: 123_456_789,
};

pub(crate) fn mount(disk: &MemoryDisk) -> (Volume<MemoryDisk>, MountReport) {
    Volume::mount(disk.clone(), &MountOptions::default(), NOW).expect("the image mounts")
}

/// Reads a file's content as the page cache would.
pub(crate) fn read_file<D: Disk>(v: &mut Volume<D>, ino: Ino) -> Vec<u8> {
    let size = v.inode(ino).expect("an inode").size;
    let block = v.block_bytes() as u64;
    let blocks = size.div_ceil(block);
    let mut out = Vec::new();
    let mut at = 0;
    while at < blocks {
        let m = v.map(ino, at, blocks - at).expect("a mapping");
        assert!(m.len > 0 && m.first == at);
        let start = out.len();
        out.resize(start + (m.len * block) as usize, 0);
        if m.state == State::Written {
            v.disk().read(m.physical * block, &mut out[start..]).expect("content");
        }
        at += m.len;
    }
    out.truncate(size as usize);
    out
}

/// Writes to a file as the page cache would, and marks it.
pub(crate) fn write_file<D: Disk>(v: &mut Volume<D>, ino: Ino, at: u64, data: &[u8]) -> Result<(), sis_ext4::Error> {
    if data.is_empty() {
        return Ok(());
    }
    let block = v.block_bytes() as u64;
    let size = v.inode(ino)?.size;
    let (first, end) = (at / block, (at + data.len() as u64).div_ceil(block));
    // What is around the data in its first and last block; beyond the old size that is zeros.
    let mut pages = vec![0; ((end - first) * block) as usize];
    let mut n = first;
    while n < end {
        let m = v.map(ino, n, end - n)?;
        if m.state == State::Written {
            let from = ((n - first) * block) as usize;
            v.disk()
                .read(m.physical * block, &mut pages[from..from + (m.len * block) as usize])?;
        }
        n += m.len;
    }
    if let Some(beyond) = size.checked_sub(first * block)
        && (beyond as usize) < pages.len()
    {
        pages[beyond as usize..].fill(0);
    } else if size < first * block {
        pages.fill(0);
    }
    let offset = (at - first * block) as usize;
    pages[offset..offset + data.len()].copy_from_slice(data);
    // A tail of the old last block that becomes part of the file.
    if !size.is_multiple_of(block) && size / block < first {
        clear_tail(v, ino, size)?;
    }
    v.reserve(end - first, true)?;
    let pieces = v.allocate(ino, first, end - first, Source::Reserved);
    let pieces = match pieces {
        Ok(pieces) => pieces,
        Err(e) => {
            v.release(end - first);
            return Err(e);
        }
    };
    let mut n = first;
    for p in &pieces {
        assert_eq!(p.first, n);
        let from = ((n - first) * block) as usize;
        v.disk()
            .write(p.physical * block, &pages[from..from + (p.len * block) as usize])?;
        n += p.len;
    }
    assert_eq!(n, end);
    v.release_all();
    v.mark_written(ino, first, end - first, size.max(at + data.len() as u64), NOW)
}

/// Clears what the last block has beyond `size`.
pub(crate) fn clear_tail<D: Disk>(v: &mut Volume<D>, ino: Ino, size: u64) -> Result<(), sis_ext4::Error> {
    let block = v.block_bytes() as u64;
    if size.is_multiple_of(block) {
        return Ok(());
    }
    let m = v.map(ino, size / block, 1)?;
    if m.state == State::Written {
        let mut page = vec![0; block as usize];
        v.disk().read(m.physical * block, &mut page)?;
        page[(size % block) as usize..].fill(0);
        v.disk().write(m.physical * block, &page)?;
    }
    Ok(())
}

/// Random numbers (xorshift), from a seed.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 11) % n.max(1)
    }

    pub(crate) fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.next() as u8).collect()
    }
}

/// Kinds of images: a name, and what mke2fs is told.
pub(crate) const VARIANTS: &[(&str, &[&str])] = &[
    ("debian 12", &["-t", "ext4"]),
    ("debian 13", &["-t", "ext4", "-O", "metadata_csum_seed,orphan_file"]),
    ("1 KiB blocks", &["-t", "ext4", "-b", "1024"]),
    ("2 KiB blocks", &["-t", "ext4", "-b", "2048"]),
    ("4 KiB blocks", &["-t", "ext4", "-b", "4096"]),
    ("no checksums", &["-t", "ext4", "-b", "4096", "-O", "^metadata_csum"]),
    ("gdt_csum", &["-t", "ext4", "-O", "^metadata_csum,uninit_bg"]),
    ("32 bit", &["-t", "ext4", "-O", "^64bit"]),
    ("no extents", &["-t", "ext4", "-O", "^extents,^64bit"]),
    (
        "no extents, 4 KiB",
        &["-t", "ext4", "-b", "4096", "-O", "^extents,^64bit"],
    ),
    ("no index", &["-t", "ext4", "-O", "^dir_index"]),
    ("no journal", &["-t", "ext4", "-O", "^has_journal"]),
    ("no flex_bg", &["-t", "ext4", "-O", "^flex_bg"]),
    (
        "meta_bg",
        &["-t", "ext4", "-b", "1024", "-g", "1024", "-O", "^resize_inode,meta_bg"],
    ),
    ("sparse_super2", &["-t", "ext4", "-O", "sparse_super2"]),
    ("small inodes", &["-t", "ext4", "-I", "128"]),
    ("large inodes", &["-t", "ext4", "-b", "4096", "-I", "1024"]),
    ("no file types", &["-t", "ext4", "-O", "^filetype"]),
    (
        "no huge files",
        &["-t", "ext4", "-O", "^huge_file,^dir_nlink,^extra_isize"],
    ),
    ("small groups", &["-t", "ext4", "-b", "1024", "-g", "512", "-N", "4096"]),
    ("largedir", &["-t", "ext4", "-b", "1024", "-O", "large_dir"]),
    ("ext3", &["-t", "ext3"]),
    ("ext3, 4 KiB", &["-t", "ext3", "-b", "4096"]),
    ("ext2", &["-t", "ext2"]),
    ("ext2, 4 KiB", &["-t", "ext2", "-b", "4096"]),
];
