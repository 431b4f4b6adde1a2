//! procfs (proc(5)).
//!
//! The root is a tree that parts of the kernel register files in ([`tree`]), and the processes by number.

mod descriptors;
mod memory;
mod mounts;
mod process;
mod sis;
mod status;
mod sysctl;
mod system;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use sis_machine::sync::Once;

use super::inode::{FileType, Inode, LinkTarget};
use super::mount::{FileSystem, SuperBlock, Usage, anonymous_device};
use super::virt::{Body, Directory, Name, VirtualInode};
use super::virt_tree::{Entry, Tree};
use crate::process::{Process, State, table, thread};
use crate::{Errno, Result};

/// PROC_SUPER_MAGIC (statfs(2)).
const MAGIC: u64 = 0x9fa0;
/// The root's inode number.
const ROOT_INO: u64 = 1 << 62;

/// Says a process's terminal: its device number and the terminal's foreground group.
pub type TerminalOf = fn(&Process) -> Option<(u64, u32)>;

static TERMINAL: Once<TerminalOf> = Once::new();

/// Registers who knows of terminals.
pub fn set_terminal_of(of: TerminalOf) {
    TERMINAL.call_once(|| of);
}

/// `tty_nr` and `tpgid` of /proc/PID/stat.
fn terminal_of(process: &Process) -> (u64, i64) {
    match TERMINAL.get().and_then(|of| of(process)) {
        Some((dev, group)) => (dev, i64::from(group)),
        None => (0, -1),
    }
}

struct ProcFs {
    root: Arc<VirtualInode>,
}

static DEVICE: Once<u64> = Once::new();
static TREE: Once<Arc<Tree>> = Once::new();
static SUPERBLOCK: Once<Arc<SuperBlock>> = Once::new();

/// The device number of files in /proc.
fn device() -> u64 {
    *DEVICE.call_once(anonymous_device)
}

/// The tree of files that are not of processes; paths in it are without `/proc`.
pub fn tree() -> Arc<Tree> {
    TREE.call_once(|| {
        let tree = Tree::new(device());
        system::add(&tree);
        sysctl::add(&tree);
        sis::add(&tree);
        tree.add("self", link(|| Ok(alloc::format!("{}", thread::current().process.pid))));
        tree.add(
            "thread-self",
            link(|| {
                let t = thread::current();
                Ok(alloc::format!("{}/task/{}", t.process.pid, t.tid()))
            }),
        );
        tree.add("mounts", link(|| Ok(String::from("self/mounts"))));
        tree
    })
    .clone()
}

fn link(text: impl Fn() -> Result<String> + Send + Sync + 'static) -> Entry {
    Entry::Link(Arc::new(move || Ok(LinkTarget::Text(text()?.into_bytes()))))
}

/// The one procfs, which every mount of it shows.
pub fn superblock() -> Arc<SuperBlock> {
    SUPERBLOCK
        .call_once(|| {
            let body = Body::Directory(Box::new(Root(tree())));
            SuperBlock::new(Arc::new(ProcFs {
                root: VirtualInode::new(device(), ROOT_INO, 0o555, (0, 0), body),
            }))
        })
        .clone()
}

impl FileSystem for ProcFs {
    fn kind(&self) -> &'static str {
        "proc"
    }

    fn root(&self) -> Arc<dyn Inode> {
        self.root.clone()
    }

    fn usage(&self) -> Usage {
        Usage {
            magic: MAGIC,
            block_size: 4096,
            ..Usage::default()
        }
    }

    fn device(&self) -> u64 {
        device()
    }

    fn keeps_names(&self) -> bool {
        false
    }
}

struct Root(Arc<Tree>);

/// A number without leading zeros, as process directories are named.
fn number(name: &[u8]) -> Option<u32> {
    if name.first() == Some(&b'0') {
        return None;
    }
    core::str::from_utf8(name)
        .ok()?
        .parse()
        .ok()
        .filter(|_| name.iter().all(u8::is_ascii_digit))
}

impl Directory for Root {
    fn lookup(&self, name: &[u8]) -> Result<Arc<VirtualInode>> {
        match number(name) {
            Some(pid) => process::directory(pid),
            None => self.0.find(name),
        }
    }

    fn list(&self) -> Result<Vec<Name>> {
        let mut out = self.0.names();
        for p in table::iter().filter(|p| p.state() != State::Dead) {
            let name = alloc::format!("{}", p.pid).into_bytes();
            out.push(Name {
                name,
                ino: process::ino(p.pid, 0),
                kind: FileType::Directory,
            });
        }
        Ok(out)
    }
}

/// `ENOENT` for what is not there any more, as opens of a dead process's files answer `ESRCH` for reads.
fn gone<T>(value: Option<T>) -> Result<T> {
    value.ok_or(Errno::ESRCH)
}
