//! The slots and the data partition: ext4. mke2fs makes it empty, the kernel's own implementation fills it, and dumpe2fs
//! tells which of its blocks are in use. All of e2fsprogs works at an offset in the image.

use super::CardError;
use super::blocks::{BLOCK_BYTES, Blocks};
use super::layout::{Place, Role};
use crate::root::{Archive, Node};
use sis_ext4::{Attributes, Device, Disk, Ino, Kind, MountOptions, NewFile, Source, Timestamp, Volume};
use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Output};

/// Every time in the image, in seconds since 1970: 1 January 1980, the first that FAT can say.
pub const TIME_SECONDS: i64 = 315_532_800;
pub(super) const TIME: Timestamp = Timestamp {
    seconds: TIME_SECONDS,
    nanoseconds: 0,
};

/// What Debian's mke2fs makes; spelled out, so that a machine's /etc/mke2fs.conf does not matter.
const FEATURES: &str = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,\
                        large_file,huge_file,dir_nlink,extra_isize,metadata_csum";
const JOURNAL_MIB: &str = "8";
const INODE_BYTES: &str = "256";
/// One inode for so many bytes.
const BYTES_PER_INODE: &str = "16384";
/// Percent that only root may use.
const RESERVED_PERCENT: &str = "1";

fn tool(name: &str) -> Command {
    let mut command = Command::new(name);
    // Debian has them where only root looks.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command.env("LC_ALL", "C");
    command
}

fn run(command: &mut Command) -> Result<Output, CardError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| CardError::NoTool {
        program: program.clone(),
        error,
    })?;
    if output.status.success() {
        return Ok(output);
    }
    let said = [output.stdout, output.stderr].concat();
    Err(CardError::Tool {
        program,
        said: String::from_utf8_lossy(&said).trim().to_owned(),
    })
}

/// The first line of what `mke2fs -V` says: it is as much an input of the image as the files are.
///
/// # Errors
/// [`CardError::NoTool`], [`CardError::Tool`].
pub(super) fn version() -> Result<String, CardError> {
    let output = run(tool("mke2fs").arg("-V"))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(said.lines().next().unwrap_or_default().trim().to_owned())
}

/// Makes the empty file system of `place` in the image at `image`.
pub(super) fn format(image: &Path, place: &Place) -> Result<(), CardError> {
    // Everything is zeroed at once: nothing may depend on what the card held before.
    let extended = format!(
        "offset={},hash_seed={},root_owner=0:0,nodiscard,lazy_itable_init=0,lazy_journal_init=0",
        place.offset, place.part_uuid
    );
    let time = TIME_SECONDS.to_string();
    run(tool("mke2fs")
        // The first is read up to e2fsprogs 1.47.0, the second since.
        .env("E2FSPROGS_FAKE_TIME", &time)
        .env("SOURCE_DATE_EPOCH", &time)
        .env("MKE2FS_CONFIG", "/dev/null")
        .args(["-q", "-F", "-b", &BLOCK_BYTES.to_string()])
        .args(["-I", INODE_BYTES, "-i", BYTES_PER_INODE, "-m", RESERVED_PERCENT])
        .args(["-J", &format!("size={JOURNAL_MIB}"), "-O", FEATURES])
        .args([
            "-U",
            &place.fs_uuid.to_string(),
            "-L",
            place.role.name(),
            "-E",
            &extended,
        ])
        .arg(image)
        .arg((place.bytes / BLOCK_BYTES).to_string()))
    .map(drop)
}

/// Puts `root` into the file system on `disk`: owners 0, times [`TIME_SECONDS`].
pub(super) fn populate<D: Disk>(disk: D, root: &Archive) -> Result<(), CardError> {
    let at = |path: &str| {
        let path = format!("/{path}");
        move |error| CardError::Ext4 {
            partition: Role::SlotA.name(),
            path,
            error,
        }
    };
    let (mut volume, _) = Volume::mount(disk, &MountOptions::default(), TIME).map_err(at(""))?;
    let mut directories = HashMap::from([("", Ino::ROOT)]);
    for (path, node, permissions) in root.entries() {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let Some(parent) = directories.get(parent).copied() else {
            return Err(at(path)(sis_ext4::Error::NotFound));
        };
        let name = name.as_bytes();
        let new = |kind| NewFile {
            kind,
            permissions,
            uid: 0,
            gid: 0,
            device: Device::default(),
        };
        match node {
            Node::Directory => {
                let made = volume
                    .create(parent, name, &new(Kind::Directory), TIME)
                    .map_err(at(path))?;
                directories.insert(path, made.ino);
            }
            Node::File(bytes) => {
                let made = volume
                    .create(parent, name, &new(Kind::Regular), TIME)
                    .map_err(at(path))?;
                write_file(&mut volume, made.ino, bytes).map_err(at(path))?;
            }
            Node::Link(to) => {
                volume
                    .symlink(parent, name, to.as_bytes(), 0, 0, TIME)
                    .map_err(at(path))?;
            }
            Node::Character([major, minor]) => {
                let device = Device {
                    major: *major,
                    minor: *minor,
                };
                let new = NewFile {
                    device,
                    ..new(Kind::CharDevice)
                };
                volume.create(parent, name, &new, TIME).map_err(at(path))?;
            }
        }
    }
    let top = Attributes {
        permissions: Some(0o755),
        ..Attributes::default()
    };
    volume.set_attributes(Ino::ROOT, &top, TIME).map_err(at(""))?;
    volume.unmount(TIME).1.map_err(at(""))
}

/// The content of a new file.
pub(super) fn write_file<D: Disk>(volume: &mut Volume<D>, ino: Ino, bytes: &[u8]) -> Result<(), sis_ext4::Error> {
    if bytes.is_empty() {
        return Ok(());
    }
    let block = volume.block_bytes();
    let count = bytes.len().div_ceil(block) as u64;
    let room = volume.allocate(ino, 0, count, Source::Privileged)?;
    for piece in &room.pieces {
        let start = piece.first as usize * block;
        let end = (start + piece.len as usize * block).min(bytes.len());
        let mut content = bytes[start..end].to_vec();
        content.resize(piece.len as usize * block, 0);
        volume.disk().write(piece.physical * block as u64, &content)?;
    }
    volume.mark_written(ino, 0, count, bytes.len() as u64, TIME)
}

/// The blocks that the file system of `place` uses, its own tables and the journal included, counted from the image's start:
/// what is free may keep what the card held before.
pub(super) fn used(image: &Path, place: &Place) -> Result<Blocks, CardError> {
    let output = run(tool("dumpe2fs").arg(format!("{}?offset={}", image.display(), place.offset)))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let count = place.bytes / BLOCK_BYTES;
    let unreadable = || CardError::Tool {
        program: "dumpe2fs".into(),
        said: format!("its list of the free blocks of {} is not understood", place.role.name()),
    };
    let used = used_of(&text, count).ok_or_else(unreadable)?;
    let first = place.offset / BLOCK_BYTES;
    let mut mapped = Blocks::default();
    for (start, end) in used.runs() {
        mapped.add(first + start, first + end);
    }
    Ok(mapped)
}

/// What is in use of `count` blocks, from what dumpe2fs says is free in each group. `None` if that does not agree with its
/// sum.
fn used_of(text: &str, count: u64) -> Option<Blocks> {
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let sum = text.lines().find_map(|line| line.strip_prefix("Free blocks:"))?;
    let mut free = Blocks::default();
    for line in text.lines().filter_map(|line| line.strip_prefix("  Free blocks:")) {
        for run in line.split(',').map(str::trim).filter(|run| !run.is_empty()) {
            let (first, last) = run.split_once('-').unwrap_or((run, run));
            free.add(number(first)?, number(last)?.checked_add(1)?);
        }
    }
    let mut used = Blocks::default();
    let mut next = 0;
    for (first, end) in free.runs() {
        used.add(next, first);
        next = end;
    }
    used.add(next, count);
    (next <= count && free.count() == number(sum)?).then_some(used)
}

#[cfg(test)]
mod tests {
    use super::used_of;

    #[test]
    fn what_is_not_free_is_in_use() {
        let text = "Free blocks:              14\nGroup 0: (Blocks 0-31)\n  Free blocks: 3, 8-15\n\
                    Group 1: (Blocks 32-63)\n  Free blocks: \nGroup 2: (Blocks 64-79)\n  Free blocks: 75-79\n";
        let used = used_of(text, 80).expect("is understood");
        assert_eq!(used.runs().collect::<Vec<_>>(), [(0, 3), (4, 8), (16, 75)]);
        assert_eq!(used_of(text, 79), None, "a free block beyond the end");
        assert_eq!(used_of(&text.replace("14\n", "13\n"), 80), None, "another sum");
        assert_eq!(used_of(&text.replace("8-15", "8-x"), 80), None);
        assert_eq!(used_of("", 80), None);
    }
}
