//! Open files, the virtual file system and its file systems.
//!
//! | module | story |
//! |---|---|
//! | [`cache`] | pages of files that a disk keeps |
//! | [`file`](mod@file), [`descriptors`] | open files and descriptor tables |
//! | [`inode`], [`mount`] | what a file system shows |
//! | [`dentry`], [`path`], [`walk`] | the tree of names, places in it, and the way to them |
//! | [`open`](mod@open), [`names`] | opening; making, removing and moving names |
//! | [`xattr`] | extended attributes |
//! | [`permission`], [`text`], [`size_limit`], [`context`] | who may; what is run is not written; how large; where a process is |
//! | [`tmpfs`], [`devfs`], [`initramfs`] | files in memory, device nodes, the first root |
//! | [`ext4`](mod@ext4), [`fat`](mod@fat), `on_disk`, [`cache`], [`disk_root`] | files on disks, what they have in common, their pages in memory, the root on one |
//! | [`procfs`], [`sysfs`], [`virt`], [`virt_tree`] | files that the kernel makes up |
//! | [`pipe`] | pipes and FIFOs |
//! | [`ready`], [`epoll`], [`eventfd`], [`timerfd`], [`signalfd`] | waiting for files, and files to wait for |

pub mod cache;
pub mod context;
pub mod dentry;
pub mod descriptors;
pub mod devfs;
pub mod device;
pub mod disk_root;
pub mod epoll;
pub mod eventfd;
pub mod ext4;
pub mod fat;
pub mod file;
pub mod flags;
pub mod initramfs;
pub mod inode;
pub mod kmsg;
pub mod locks;
mod memory_devices;
pub mod mount;
pub mod names;
pub mod notify;
mod on_disk;
pub mod open;
pub mod path;
pub mod permission;
pub mod pipe;
pub mod procfs;
pub mod ready;
pub mod registry;
pub mod signalfd;
pub mod size_limit;
pub mod sysfs;
pub mod text;
pub mod timerfd;
pub mod tmpfs;
pub mod virt;
pub mod virt_tree;
mod volume_disk;
pub mod walk;
pub mod xattr;

use alloc::string::String;
use alloc::sync::Arc;

use sis_machine::sync::Once;

pub use context::FsContext;
pub use open::{open, open_exec, open_exec_path, open_path};
pub use path::Path;

use file::OpenFile;
use flags::O_RDWR;
use initramfs::Unpacked;
use inode::{FileType, NewKind, make_dev};
use mount::{Mount, MountFlags, SuperBlock};
use walk::{Base, Resolve};

use crate::process::cred::Cred;
use crate::{Errno, Result};

static ROOT: Once<Path> = Once::new();

/// /dev/console's number.
const CONSOLE: u64 = make_dev(5, 1);

/// Makes the root, registers the devices that need no hardware, and unpacks the boot loader's archives. Once, at boot,
/// with memory and tasks there.
///
/// The root begins as Linux's built-in archive makes it: /dev, /dev/console, /root.
pub fn init(image: &[u8]) -> Unpacked {
    let fs = tmpfs::TmpFs::new("rootfs", "mode=755").unwrap_or_else(|_| tmpfs::TmpFs::plain("rootfs"));
    let superblock = SuperBlock::new(fs);
    let top = superblock.root().clone();
    let mount = Mount::new(superblock, top, MountFlags::empty(), String::from("rootfs"));
    let root = mount.root_path();
    mount::attach_root(mount);
    ROOT.call_once(|| root.clone());
    devfs::init();
    let base = kernel_base();
    for made in [
        names::create(&base, b"/dev", NewKind::Directory, 0o755),
        names::create(
            &base,
            b"/dev/console",
            NewKind::Node(FileType::CharDevice, CONSOLE),
            0o600,
        ),
        names::create(&base, b"/root", NewKind::Directory, 0o700),
    ] {
        debug_assert!(made.is_ok());
    }
    initramfs::unpack(&root, image)
}

/// The root of what is started next: that on a disk, if one was mounted, else the first one. Panics before [`init`].
pub fn root() -> Path {
    match disk_root::get().or_else(|| ROOT.get()) {
        Some(p) => p.clone(),
        None => panic!("the root was asked for before it was made"),
    }
}

/// Where the kernel itself walks: the first root, as the superuser.
pub fn kernel_base() -> Base {
    let root = root();
    Base {
        start: root.clone(),
        root,
        cred: Arc::new(Cred::root()),
        resolve: Resolve::empty(),
    }
}

/// /dev/console as init gets it: the node in the root, or else the device itself.
pub fn open_console() -> Result<Arc<OpenFile>> {
    match open(&kernel_base(), b"/dev/console", O_RDWR, 0) {
        Ok(f) => Ok(f),
        Err(Errno::ENXIO) => Err(Errno::ENXIO),
        Err(_) => Ok(OpenFile::new(
            device::open(FileType::CharDevice, CONSOLE, O_RDWR)?,
            O_RDWR,
            None,
        )),
    }
}
