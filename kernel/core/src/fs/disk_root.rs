//! The root on a disk: `root=`, `rootfstype=`, `rootflags=`, `ro`, `rw`, `rootwait`, `rootdelay=` of the command line, as
//! Linux has them (kernel documentation, `admin-guide/kernel-parameters.rst`).
//!
//! An initramfs that has its own init comes first, as on Linux: it mounts what it wants and switches over.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use sis_algo::cmdline::CommandLine;
use sis_machine::sync::Once;

use super::mount::{self, Mount, MountFlags};
use super::registry::{self, Kind};
use super::{Path, devfs, kernel_base};
use crate::block::{self, Volume};
use crate::time::{self, Deadline};
use crate::wait::WaitQueue;

/// How long disks may take to appear with `rootwait`; without a bound a wrong name would hang the boot for ever.
const WAIT_NS: u64 = 60_000_000_000;
const LOOK_NS: u64 = 50_000_000;

static ROOT: Once<Path> = Once::new();

/// The root on a disk, once it is mounted.
pub(super) fn get() -> Option<&'static Path> {
    ROOT.get()
}

fn pause(ns: u64) {
    let _ = WaitQueue::new().wait_until(Deadline::after_ns(ns), || None::<()>);
}

/// Mounts the root that the command line names, if it names one and the initramfs has no init. Whether the root is on a
/// disk now. A root that cannot be mounted is a panic, as on Linux.
pub fn mount_root(line: &CommandLine) -> bool {
    let Some(word) = line.get("root") else {
        return false;
    };
    let early = line.get("rdinit").unwrap_or("/init");
    if kernel_base().resolve(early.as_bytes(), true).is_ok() {
        return false;
    }
    if let Some(seconds) = line.number("rootdelay") {
        pause(seconds.clamp(0, 600) as u64 * 1_000_000_000);
    }
    let Some(device) = find(word, line.has("rootwait")) else {
        panic!(
            "VFS: Unable to mount root fs on {word}: there is no such disk or partition. There are:\n{}",
            partitions()
        );
    };
    // Read-only unless it says otherwise; the last of the two counts.
    let is_writable = line.has("rw") && !line.has("ro");
    let mut options = line.get("rootflags").unwrap_or_default().to_string();
    options.push_str(if is_writable { ",rw" } else { ",ro" });
    let source = format!("/dev/{}", device.name());
    let mut tried = String::new();
    for kind in kinds(line.get("rootfstype")) {
        match (kind.open)(&source, options.trim_start_matches(',')) {
            Ok(superblock) => {
                let top = superblock.root().clone();
                let flags = if is_writable {
                    MountFlags::RELATIME
                } else {
                    MountFlags::RELATIME | MountFlags::RDONLY
                };
                take(&Mount::new(superblock, top, flags, source));
                sis_machine::info!(
                    "VFS: Mounted root ({} filesystem) {} on device {word}",
                    kind.name,
                    if is_writable { "read-write" } else { "read-only" }
                );
                return true;
            }
            Err(e) => tried.push_str(&format!(" {} ({e})", kind.name)),
        }
    }
    panic!(
        "VFS: Unable to mount root fs on {word}; tried:{tried}. There are:\n{}",
        partitions()
    );
}

fn find(word: &str, waits: bool) -> Option<Arc<Volume>> {
    let end = time::now_ns().saturating_add(if waits { WAIT_NS } else { 0 });
    loop {
        let found = block::named(word);
        if found.is_some() || time::now_ns() >= end {
            return found;
        }
        pause(LOOK_NS);
    }
}

/// The kinds to try: those that were named, or all that live on disks.
fn kinds(wanted: Option<&str>) -> Vec<Kind> {
    let all = registry::all().into_iter().rev().filter(|k| k.needs_device);
    match wanted {
        Some(list) => list
            .split(',')
            .filter_map(|name| registry::find(name).ok())
            .filter(|k| k.needs_device)
            .collect(),
        None => all.collect(),
    }
}

fn partitions() -> String {
    block::proc_partitions()
}

/// Makes a mount the root of what is started from now on, with the devices on its /dev.
fn take(mount: &Arc<Mount>) {
    let base = kernel_base();
    let Ok(place) = base.resolve(b"/root", true) else {
        panic!("VFS: the first root has no /root");
    };
    if let Err(e) = mount::attach(mount.clone(), &place) {
        panic!("VFS: the root cannot be put in its place: {e}");
    }
    ROOT.call_once(|| mount.root_path());
    // As CONFIG_DEVTMPFS_MOUNT does.
    let superblock = devfs::superblock();
    let top = superblock.root().clone();
    let devices = Mount::new(superblock, top, MountFlags::RELATIME, String::from("devtmpfs"));
    let attached = kernel_base()
        .resolve(b"/dev", true)
        .and_then(|dev| mount::attach(devices, &dev));
    if let Err(e) = attached {
        sis_machine::warn!("devtmpfs: not mounted on /dev: {e}");
    }
}
