//! devtmpfs: a tmpfs in which the kernel makes a node for each device that registers.

use alloc::sync::Arc;

use sis_machine::sync::Once;

use super::device::{self, Factory};
use super::inode::{FileType, Inode, NewInode, NewKind, make_dev};
use super::mount::{FileSystem, SuperBlock};
use super::tmpfs::TmpFs;
use super::{kmsg, memory_devices};
use crate::{Errno, Result};

struct Devfs {
    fs: Arc<TmpFs>,
    superblock: Arc<SuperBlock>,
}

static DEVFS: Once<Devfs> = Once::new();

fn devfs() -> &'static Devfs {
    DEVFS.call_once(|| {
        let fs = TmpFs::new("devtmpfs", "mode=755").unwrap_or_else(|_| TmpFs::plain("devtmpfs"));
        Devfs {
            superblock: SuperBlock::new(fs.clone()),
            fs,
        }
    })
}

/// The one devtmpfs, which every mount of it shows.
pub fn superblock() -> Arc<SuperBlock> {
    devfs().superblock.clone()
}

/// Registers a character device: opens of its number go to `factory`, and /dev gets a node `name` (slashes make
/// directories) with permission bits `mode`.
pub fn register_char(name: &str, major: u32, minor: u32, mode: u32, factory: Factory) -> Result<()> {
    device::register(FileType::CharDevice, major, minor, factory)?;
    add_node(name, FileType::CharDevice, make_dev(major, minor), mode)
}

/// Registers a block device, as [`register_char`].
pub fn register_block(name: &str, major: u32, minor: u32, mode: u32, factory: Factory) -> Result<()> {
    device::register(FileType::BlockDevice, major, minor, factory)?;
    add_node(name, FileType::BlockDevice, make_dev(major, minor), mode)
}

/// Takes a block device away, with its node if that is still there.
pub fn unregister_block(name: &str, major: u32, minor: u32) {
    device::unregister(FileType::BlockDevice, major, minor);
    let dir = devfs().fs.root();
    if let Ok(node) = dir.lookup(name.as_bytes()) {
        // Somebody may have removed it meanwhile.
        let _ = dir.unlink(name.as_bytes(), &node);
    }
}

fn add_node(name: &str, kind: FileType, dev: u64, mode: u32) -> Result<()> {
    let mut dir: Arc<dyn Inode> = devfs().fs.root();
    let mut parts = name.split('/').peekable();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        let new = if is_last {
            NewInode {
                kind: NewKind::Node(kind, dev),
                mode,
                uid: 0,
                gid: 0,
            }
        } else {
            NewInode {
                kind: NewKind::Directory,
                mode: 0o755,
                uid: 0,
                gid: 0,
            }
        };
        dir = match dir.create(part.as_bytes(), &new) {
            Err(Errno::EEXIST) if !is_last => dir.lookup(part.as_bytes())?,
            other => other?,
        };
    }
    Ok(())
}

/// Registers the devices that need no hardware.
pub(super) fn init() {
    memory_devices::register();
    kmsg::register();
}
