//! The first root: what the boot loader's archives hold, unpacked into a tmpfs.

use alloc::sync::Arc;

use sis_algo::cpio::{self, Entry, Kind, Reader};
use sis_machine::mm::PAGE_SIZE;
use sis_machine::mm::frames::free_frames;

use super::file::IoFlags;
use super::flags::{O_WRONLY, S_IFMT};
use super::inode::{AttributeChange, FileType, Inode, NewKind, make_dev};
use super::names;
use super::path::Path;
use super::walk::{Base, Resolve};
use crate::process::cred::Cred;
use crate::user::Source;
use crate::{Errno, Result};

/// What was unpacked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unpacked {
    /// Entries that were made.
    pub entries: usize,
    /// Bytes of content.
    pub bytes: u64,
    /// Entries that could not be made, and why the last one.
    pub failed: Option<(usize, Errno)>,
    /// What is wrong with the image; what came before it is in place.
    pub malformed: Option<cpio::Error>,
}

/// Unpacks an image into `root`.
pub(super) fn unpack(root: &Path, image: &[u8]) -> Unpacked {
    let base = Base {
        root: root.clone(),
        start: root.clone(),
        cred: Arc::new(Cred::root()),
        resolve: Resolve::empty(),
    };
    let mut out = Unpacked::default();
    let mut reader = Reader::new(image, free_frames() / 2 * PAGE_SIZE);
    loop {
        match reader.next_entry() {
            Ok(Some(entry)) => match add(&base, &entry) {
                Ok(()) => {
                    out.entries += 1;
                    out.bytes += entry.data.len() as u64;
                }
                Err(e) => out.failed = Some((out.failed.map_or(0, |f| f.0) + 1, e)),
            },
            Ok(None) => break,
            Err(e) => {
                out.malformed = Some(e);
                break;
            }
        }
    }
    out
}

/// Links that lead out of a name's directory are followed by nothing here: the last component is always made new.
fn add(base: &Base, entry: &Entry<'_>) -> Result<()> {
    let name = trim(entry.name);
    if name.is_empty() {
        // The root itself: only its attributes.
        return finish(base.root.inode(), entry);
    }
    if let Some(first) = entry.link_to {
        let old = base.resolve(trim(first), false)?;
        remove_existing(base, name)?;
        names::link(&old, base, name)?;
        if !entry.data.is_empty() {
            fill(old.inode(), entry.data)?;
        }
        return Ok(());
    }
    let (major, minor) = entry.rdev;
    let dev = make_dev(major, minor);
    let kind = match entry.kind() {
        Kind::File => NewKind::File,
        Kind::Directory => match base.resolve(name, false) {
            Ok(existing) if existing.dentry.is_directory() => return finish(existing.inode(), entry),
            _ => NewKind::Directory,
        },
        Kind::Symlink => NewKind::Symlink(entry.data),
        Kind::CharDevice => NewKind::Node(FileType::CharDevice, dev),
        Kind::BlockDevice => NewKind::Node(FileType::BlockDevice, dev),
        Kind::Fifo => NewKind::Node(FileType::Fifo, 0),
        Kind::Socket => NewKind::Node(FileType::Socket, 0),
        Kind::Unknown => return Err(Errno::EINVAL),
    };
    remove_existing(base, name)?;
    let is_file = matches!(kind, NewKind::File);
    let path = names::create(base, name, kind, entry.permissions())?;
    if is_file {
        fill(path.inode(), entry.data)?;
    }
    finish(path.inode(), entry)
}

/// A later entry replaces an earlier one, as on Linux.
fn remove_existing(base: &Base, name: &[u8]) -> Result<()> {
    match base.resolve(name, false) {
        Err(Errno::ENOENT) => Ok(()),
        Err(e) => Err(e),
        Ok(p) if p.dentry.is_directory() => names::rmdir(base, name),
        Ok(_) => names::unlink(base, name),
    }
}

fn fill(inode: &Arc<dyn Inode>, data: &[u8]) -> Result<()> {
    inode.set_size(0)?;
    if data.is_empty() {
        return Ok(());
    }
    let file = inode.clone().open(O_WRONLY)?;
    let (n, _) = file.write(&mut Source::kernel(data), 0, IoFlags::default())?;
    if n == data.len() { Ok(()) } else { Err(Errno::ENOSPC) }
}

fn finish(inode: &Arc<dyn Inode>, entry: &Entry<'_>) -> Result<()> {
    let time = i64::from(entry.mtime).saturating_mul(1_000_000_000);
    inode.set_attributes(&AttributeChange {
        mode: (inode.kind() != FileType::Symlink).then_some(entry.mode & !S_IFMT),
        uid: Some(entry.uid),
        gid: Some(entry.gid),
        atime_ns: Some(time),
        mtime_ns: Some(time),
    })
}

/// The name without what stands for the root: leading slashes and dots.
fn trim(name: &[u8]) -> &[u8] {
    let mut rest = name;
    loop {
        rest = match rest {
            [b'/', tail @ ..] | [b'.', b'/', tail @ ..] => tail,
            [b'.'] => &[],
            _ => return rest,
        };
    }
}
