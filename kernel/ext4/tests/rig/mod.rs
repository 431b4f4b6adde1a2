//! Disks in memory, e2fsprogs, and a model of a tree: what the tests of this crate share.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use sis_ext4::{Disk, DiskError, Kind, State, Volume};

/// A step of the time that a disk saw.
#[derive(Clone, Debug)]
pub enum Event {
    /// A write.
    Write(u64, Vec<u8>),
    /// Everything before is on stable storage.
    Flush,
    /// A write that is on stable storage when it returns; those before need not be.
    Through(u64, Vec<u8>),
}

#[derive(Default)]
pub struct Inner {
    pub bytes: Vec<u8>,
    pub events: Option<Vec<Event>>,
    /// Writes until the disk fails.
    pub fails_after: Option<u64>,
}

/// A disk in memory, shared with whoever looks at it.
#[derive(Clone)]
pub struct Memory(pub Arc<Mutex<Inner>>);

impl Memory {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            bytes,
            ..Inner::default()
        })))
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().bytes.clone()
    }

    /// Records from now on.
    pub fn record(&self) {
        self.0.lock().unwrap().events = Some(Vec::new());
    }

    pub fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap().events.clone().unwrap_or_default()
    }

    fn put(&self, offset: u64, data: &[u8], event: impl FnOnce(u64, Vec<u8>) -> Event) -> Result<(), DiskError> {
        let mut inner = self.0.lock().unwrap();
        if let Some(left) = &mut inner.fails_after {
            if *left == 0 {
                return Err(DiskError::Device);
            }
            *left -= 1;
        }
        let at = usize::try_from(offset).map_err(|_| DiskError::OutOfRange)?;
        let end = at.checked_add(data.len()).ok_or(DiskError::OutOfRange)?;
        inner
            .bytes
            .get_mut(at..end)
            .ok_or(DiskError::OutOfRange)?
            .copy_from_slice(data);
        if let Some(events) = &mut inner.events {
            events.push(event(offset, data.to_vec()));
        }
        Ok(())
    }
}

impl Disk for Memory {
    fn len_bytes(&self) -> u64 {
        self.0.lock().unwrap().bytes.len() as u64
    }
    fn is_read_only(&self) -> bool {
        false
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), DiskError> {
        let inner = self.0.lock().unwrap();
        let at = usize::try_from(offset).map_err(|_| DiskError::OutOfRange)?;
        let end = at.checked_add(out.len()).ok_or(DiskError::OutOfRange)?;
        out.copy_from_slice(inner.bytes.get(at..end).ok_or(DiskError::OutOfRange)?);
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        self.put(offset, data, Event::Write)
    }
    fn write_through(&self, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        self.put(offset, data, Event::Through)
    }
    fn flush(&self) -> Result<(), DiskError> {
        let mut inner = self.0.lock().unwrap();
        if let Some(events) = &mut inner.events {
            events.push(Event::Flush);
        }
        Ok(())
    }
}

/// A repeatable stream of numbers (xorshift64*).
#[derive(Clone)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

fn tool(name: &str) -> Command {
    let found = ["/usr/sbin", "/sbin", "/usr/bin"]
        .iter()
        .map(|d| Path::new(d).join(name))
        .find(|p| p.exists())
        .unwrap_or_else(|| panic!("{name} is not installed: cargo sis setup installs e2fsprogs"));
    let mut command = Command::new(found);
    // Whoever runs the tests may have another configuration.
    command.env("MKE2FS_CONFIG", "/etc/mke2fs.conf").env("LC_ALL", "C");
    command
}

/// A file that goes away.
pub struct Image(pub PathBuf);

impl Image {
    pub fn of(name: &str, bytes: &[u8]) -> Self {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("sis-ext4-{}-{n}-{name}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        Self(path)
    }
    pub fn bytes(&self) -> Vec<u8> {
        std::fs::read(&self.0).unwrap()
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// An empty file system of `kib` KiB, as `mke2fs` makes it with these options.
pub fn mke2fs(kib: usize, options: &[&str]) -> Vec<u8> {
    let image = Image::of("new", &vec![0; kib * 1024]);
    let done = tool("mke2fs")
        .args(["-q", "-F"])
        .args(options)
        .arg(&image.0)
        .output()
        .unwrap();
    assert!(done.status.success(), "mke2fs {options:?}: {done:?}");
    image.bytes()
}

/// What `e2fsck` with these options says of an image, and the image afterwards.
pub fn e2fsck(bytes: &[u8], options: &[&str]) -> (Output, Vec<u8>) {
    let image = Image::of("check", bytes);
    let done = tool("e2fsck").args(options).arg(&image.0).output().unwrap();
    let after = image.bytes();
    (done, after)
}

/// Fails unless `e2fsck -fn` finds nothing.
pub fn assert_clean(bytes: &[u8], what: &str) {
    let (done, _) = e2fsck(bytes, &["-f", "-n"]);
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    if !done.status.success() {
        let keep = std::env::temp_dir().join("sis-ext4-failed.img");
        std::fs::write(&keep, bytes).unwrap();
        panic!("{what}: e2fsck: {}\n{said}\n(kept: {})", done.status, keep.display());
    }
}

/// `debugfs` with one request.
pub fn debugfs(bytes: &[u8], request: &str) -> String {
    let image = Image::of("debug", bytes);
    let done = tool("debugfs").args(["-R", request]).arg(&image.0).output().unwrap();
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// The variants that are tested: what they are called, and mke2fs's options.
pub const VARIANTS: &[(&str, &[&str])] = &[
    ("ext4", &["-t", "ext4"]),
    ("ext4-1k", &["-t", "ext4", "-b", "1024"]),
    ("ext4-2k", &["-t", "ext4", "-b", "2048"]),
    ("ext4-32bit", &["-t", "ext4", "-O", "^64bit"]),
    ("ext4-no-csum", &["-t", "ext4", "-O", "^metadata_csum"]),
    ("ext4-gdt-csum", &["-t", "ext4", "-O", "^metadata_csum,uninit_bg"]),
    ("ext4-no-flex", &["-t", "ext4", "-b", "1024", "-O", "^flex_bg"]),
    ("ext4-no-journal", &["-t", "ext4", "-O", "^has_journal"]),
    ("ext4-orphan-file", &["-t", "ext4", "-O", "orphan_file"]),
    ("ext4-csum-seed", &["-t", "ext4", "-O", "metadata_csum_seed"]),
    ("ext4-small-inodes", &["-t", "ext4", "-I", "128"]),
    ("ext3", &["-t", "ext3"]),
    ("ext3-1k", &["-t", "ext3", "-b", "1024"]),
    ("ext2", &["-t", "ext2"]),
    ("ext2-1k", &["-t", "ext2", "-b", "1024", "-O", "^dir_index"]),
];

/// A file of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    File(Vec<u8>),
    Link(Vec<u8>),
    Directory,
}

/// Paths, `/`-separated, without the root.
pub type Tree = BTreeMap<String, Node>;

/// Writes content as a page cache would.
pub fn write_file(v: &mut Volume<Memory>, ino: u32, offset: u64, data: &[u8], now: i64) -> Result<(), sis_ext4::Error> {
    let bs = v.block_bytes() as u64;
    let end = offset + data.len() as u64;
    let old = v.inode(ino)?.size;
    if old < end && !old.is_multiple_of(bs) && old / bs != offset / bs {
        // The rest of the old last block becomes a part of the file: it must be zeros, and is, as writes fill blocks.
    }
    let mut at = offset / bs;
    while at * bs < end {
        let count = (end.div_ceil(bs) - at) as u32;
        let before = v.map(ino, at as u32, 1)?;
        let m = v.allocate(ino, at as u32, count, now)?;
        let m = if before.state == State::Written {
            v.map(ino, at as u32, 1)?
        } else {
            m
        };
        for i in 0..m.len {
            let block = at + u64::from(i);
            let place = (m.start + u64::from(i)) * bs;
            let mut content = vec![0; bs as usize];
            if m.state == State::Written && before.state == State::Written {
                v.disk().read(place, &mut content)?;
            }
            let from = offset.max(block * bs);
            let to = end.min((block + 1) * bs);
            let into = (from - block * bs) as usize;
            content[into..into + (to - from) as usize]
                .copy_from_slice(&data[(from - offset) as usize..(to - offset) as usize]);
            v.disk().write(place, &content)?;
        }
        let size = end.min((at + u64::from(m.len)) * bs);
        v.mark_written(ino, at as u32, m.len, Some(size), now)?;
        at += u64::from(m.len);
    }
    Ok(())
}

/// Reads all of a file.
pub fn read_file(v: &mut Volume<Memory>, ino: u32) -> Result<Vec<u8>, sis_ext4::Error> {
    let size = v.inode(ino)?.size as usize;
    let bs = v.block_bytes();
    let mut out = vec![0; size.div_ceil(bs) * bs];
    let mut at = 0;
    while at * bs < size {
        let m = v.map(ino, at as u32, (size.div_ceil(bs) - at) as u32)?;
        let n = m.len as usize;
        if m.state == State::Written {
            let disk = v.disk().clone();
            disk.read(m.start * bs as u64, &mut out[at * bs..(at + n) * bs])?;
        }
        at += n;
    }
    out.truncate(size);
    Ok(out)
}

/// Everything that is there, but `lost+found`.
pub fn read_tree(v: &mut Volume<Memory>) -> Result<Tree, sis_ext4::Error> {
    let mut out = Tree::new();
    let mut todo = vec![(String::new(), sis_ext4::ROOT)];
    while let Some((path, dir)) = todo.pop() {
        let mut names = Vec::new();
        v.read_dir(dir, 0, |e| {
            names.push((String::from_utf8_lossy(e.name).into_owned(), e.ino, e.kind));
            true
        })?;
        for (name, ino, kind) in names {
            if name == "." || name == ".." || path.is_empty() && name == "lost+found" {
                continue;
            }
            let full = if path.is_empty() {
                name
            } else {
                format!("{path}/{name}")
            };
            let inode = v.inode(ino)?;
            assert!(
                kind.is_none_or(|k| k == inode.kind),
                "{full}: the directory says {kind:?}"
            );
            let node = match inode.kind {
                Kind::Directory => {
                    todo.push((full.clone(), ino));
                    Node::Directory
                }
                Kind::Symlink => Node::Link(v.read_link(ino)?),
                _ => Node::File(read_file(v, ino)?),
            };
            out.insert(full, node);
        }
    }
    Ok(out)
}

/// Mounts bytes.
pub fn mount(bytes: Vec<u8>) -> Volume<Memory> {
    Volume::mount(Memory::new(bytes), false, NOW).expect("mounts").0
}

/// Some time in 2026.
pub const NOW: i64 = 1_780_000_000_000_000_000;
