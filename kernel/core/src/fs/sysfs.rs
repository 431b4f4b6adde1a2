//! sysfs (sysfs(5)), as far as programs look for it: what the kernel's parts register in [`tree`].

use alloc::string::String;
use alloc::sync::Arc;

use sis_machine::percpu;
use sis_machine::sync::Once;

use super::inode::Inode;
use super::mount::{FileSystem, SuperBlock, Usage, anonymous_device};
use super::virt_tree::Tree;

/// SYSFS_MAGIC (statfs(2)).
const MAGIC: u64 = 0x6265_6572;

struct SysFs {
    device: u64,
    tree: Arc<Tree>,
}

static TREE: Once<(u64, Arc<Tree>)> = Once::new();
static SUPERBLOCK: Once<Arc<SuperBlock>> = Once::new();

fn made() -> &'static (u64, Arc<Tree>) {
    TREE.call_once(|| {
        let device = anonymous_device();
        let tree = Tree::new(device);
        for dir in [
            "block", "bus", "class", "dev", "devices", "firmware", "fs", "kernel", "module", "power",
        ] {
            tree.add_directory(dir);
        }
        for name in ["online", "possible", "present"] {
            tree.add_file(&alloc::format!("devices/system/cpu/{name}"), || {
                Ok(cpu_list().into_bytes())
            });
        }
        (device, tree)
    })
}

/// CPUs as `0-3`.
fn cpu_list() -> String {
    match percpu::online_count() {
        0 | 1 => String::from("0\n"),
        n => alloc::format!("0-{}\n", n - 1),
    }
}

/// The tree; paths in it are without `/sys`.
pub fn tree() -> Arc<Tree> {
    made().1.clone()
}

/// The one sysfs, which every mount of it shows.
pub fn superblock() -> Arc<SuperBlock> {
    SUPERBLOCK
        .call_once(|| {
            let (device, tree) = made();
            SuperBlock::new(Arc::new(SysFs {
                device: *device,
                tree: tree.clone(),
            }))
        })
        .clone()
}

impl FileSystem for SysFs {
    fn kind(&self) -> &'static str {
        "sysfs"
    }

    fn root(&self) -> Arc<dyn Inode> {
        self.tree.inode()
    }

    fn usage(&self) -> Usage {
        Usage {
            magic: MAGIC,
            block_size: 4096,
            ..Usage::default()
        }
    }

    fn device(&self) -> u64 {
        self.device
    }

    fn keeps_names(&self) -> bool {
        false
    }
}
