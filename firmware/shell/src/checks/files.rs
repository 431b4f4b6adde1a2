//! Files, folders and devices.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use super::{Failed, during, ensure};

/// A folder that is gone afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Result<Self, Failed> {
        let path = PathBuf::from(format!("/tmp/selfcheck-{name}-{}", std::process::id()));
        during("make a folder in /tmp", fs::create_dir(&path))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(super) fn tmpfs() -> Result<(), Failed> {
    let scratch = Scratch::new("files")?;
    let (one, two) = (scratch.0.join("one"), scratch.0.join("two"));
    let data: Vec<u8> = (0..100_000_u32).map(|n| (n % 253) as u8).collect();
    let mut file = during(
        "create",
        OpenOptions::new().read(true).write(true).create_new(true).open(&one),
    )?;
    during("write", file.write_all(&data))?;
    during("write past the end", file.write_all_at(b"end", 200_000))?;
    during("seek", file.seek(SeekFrom::Start(0)))?;
    let mut read = Vec::new();
    during("read", file.read_to_end(&mut read))?;
    ensure(read.len() == 200_003, || {
        format!("{} bytes read back, not 200003", read.len())
    })?;
    ensure(read.starts_with(&data), || "the bytes read back differ".to_owned())?;
    ensure(read[100_000..200_000].iter().all(|&b| b == 0), || {
        "a hole is not zero".to_owned()
    })?;
    during("truncate", file.set_len(10))?;
    let mut append = during("open to append", OpenOptions::new().append(true).open(&one))?;
    during("append", append.write_all(b"tail"))?;
    ensure(during("stat", file.metadata())?.len() == 14, || {
        "append did not append".to_owned()
    })?;
    during("rename", fs::rename(&one, &two))?;
    let gone = fs::metadata(&one).err().map(|e| e.kind());
    ensure(gone == Some(ErrorKind::NotFound), || {
        format!("the old name gives {gone:?}")
    })?;
    during("chmod", fs::set_permissions(&two, fs::Permissions::from_mode(0o640)))?;
    let mode = during("stat", fs::metadata(&two))?.mode();
    ensure(mode & 0o7777 == 0o640, || format!("mode is {mode:o}"))?;
    during("unlink", fs::remove_file(&two))?;
    // An open file lives on without a name.
    let mut head = [0; 4];
    during("read an unlinked file", file.read_exact_at(&mut head, 0))?;
    ensure(head == [0, 1, 2, 3], || "an unlinked file lost its content".to_owned())
}

pub(super) fn directories() -> Result<(), Failed> {
    let scratch = Scratch::new("folders")?;
    for n in 0..50 {
        during("create", File::create(scratch.0.join(format!("file-{n}"))))?;
    }
    let found = during("list", fs::read_dir(&scratch.0))?.filter_map(Result::ok).count();
    ensure(found == 50, || format!("50 files made, {found} listed"))?;
    let link = scratch.0.join("link");
    during("symlink", symlink("loop", &link))?;
    during("symlink", symlink("link", scratch.0.join("loop")))?;
    let target = during("readlink", fs::read_link(&link))?;
    ensure(target.as_os_str() == "loop", || {
        format!("the link leads to {}", target.display())
    })?;
    ensure(fs::metadata(&link).is_err(), || {
        "a loop of links was followed".to_owned()
    })?;
    let full = fs::remove_dir(&scratch.0).err().map(|e| e.kind());
    ensure(full == Some(ErrorKind::DirectoryNotEmpty), || {
        format!("removing a full folder gives {full:?}")
    })
}

pub(super) fn devices() -> Result<(), Failed> {
    let mut zeros = [1_u8; 64];
    during(
        "/dev/zero",
        File::open("/dev/zero").and_then(|mut f| f.read_exact(&mut zeros)),
    )?;
    ensure(zeros.iter().all(|&b| b == 0), || "/dev/zero is not zero".to_owned())?;
    let end = during(
        "/dev/null",
        File::open("/dev/null").and_then(|mut f| f.read(&mut zeros)),
    )?;
    ensure(end == 0, || "/dev/null has content".to_owned())?;
    let full = OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .and_then(|mut f| f.write(b"x"));
    let why = full.as_ref().err().and_then(std::io::Error::raw_os_error);
    // ENOSPC, full(4).
    ensure(why == Some(28), || format!("writing to /dev/full gives {full:?}"))
}
