//! The kinds of file systems that can be mounted.

use alloc::sync::Arc;
use alloc::vec::Vec;

use sis_machine::sync::{Rank, SpinLock};

use super::inode::FileType;
use super::mount::SuperBlock;
use super::tmpfs::TmpFs;
use super::walk::Base;
use super::{devfs, ext4, fat};
use super::{procfs, sysfs};
use crate::process::thread;
use crate::{Errno, Result, block};

/// A kind of file system.
#[derive(Clone, Copy)]
pub struct Kind {
    /// Its name for mount(2).
    pub name: &'static str,
    /// Needs a block device.
    pub needs_device: bool,
    /// Makes or finds one; the arguments are what is to be mounted and the options.
    pub open: fn(source: &str, options: &str) -> Result<Arc<SuperBlock>>,
}

static EXTRA: SpinLock<Vec<Kind>> = SpinLock::new(Rank::Leaf, Vec::new());

const BUILT_IN: &[Kind] = &[
    Kind {
        name: "tmpfs",
        needs_device: false,
        open: |_, o| Ok(SuperBlock::new(TmpFs::new("tmpfs", o)?)),
    },
    Kind {
        name: "ramfs",
        needs_device: false,
        open: |_, o| Ok(SuperBlock::new(TmpFs::new("ramfs", o)?)),
    },
    Kind {
        name: "proc",
        needs_device: false,
        open: |_, _| Ok(procfs::superblock()),
    },
    Kind {
        name: "sysfs",
        needs_device: false,
        open: |_, _| Ok(sysfs::superblock()),
    },
    Kind {
        name: "devtmpfs",
        needs_device: false,
        open: |_, _| Ok(devfs::superblock()),
    },
    Kind {
        name: fat::KIND,
        needs_device: true,
        open: |source, options| fat::open(&device(source)?, options),
    },
    Kind {
        name: "ext3",
        needs_device: true,
        open: |source, options| ext4::open(&device(source)?, options, "ext3"),
    },
    Kind {
        name: "ext2",
        needs_device: true,
        open: |source, options| ext4::open(&device(source)?, options, "ext2"),
    },
    Kind {
        name: "ext4",
        needs_device: true,
        open: |source, options| ext4::open(&device(source)?, options, "ext4"),
    },
];

/// The disk or partition whose node is at a path.
fn device(source: &str) -> Result<Arc<block::Volume>> {
    let Some(thread) = thread::try_current() else {
        // The kernel itself, before there are nodes.
        return block::named(source).ok_or(Errno::ENXIO);
    };
    let node = Base::of(&thread).resolve(source.as_bytes(), true)?;
    let inode = node.inode();
    if inode.kind() != FileType::BlockDevice {
        return Err(Errno::ENOTBLK);
    }
    block::find(inode.metadata().rdev).ok_or(Errno::ENXIO)
}

/// Adds a kind; later ones of the same name win.
pub fn register(kind: Kind) {
    EXTRA.lock().push(kind);
}

/// Every kind.
pub fn all() -> Vec<Kind> {
    let mut out = BUILT_IN.to_vec();
    out.extend(EXTRA.lock().iter());
    out
}

/// The kind of that name; `ENODEV`.
pub fn find(name: &str) -> Result<Kind> {
    all().into_iter().rev().find(|k| k.name == name).ok_or(Errno::ENODEV)
}
