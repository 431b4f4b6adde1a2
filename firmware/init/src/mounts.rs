//! The file systems of the kernel, mounted at the start.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};

struct Mount {
    kind: &'static str,
    at: &'static str,
    flags: MountFlags,
    options: Option<&'static std::ffi::CStr>,
}

const NOTHING_RUNS: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);
const PLAIN_FILES: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);

const MOUNTS: [Mount; 6] = [
    Mount {
        kind: "proc",
        at: "/proc",
        flags: NOTHING_RUNS,
        options: None,
    },
    Mount {
        kind: "sysfs",
        at: "/sys",
        flags: NOTHING_RUNS,
        options: None,
    },
    Mount {
        kind: "devtmpfs",
        at: "/dev",
        flags: MountFlags::NOSUID,
        options: Some(c"mode=0755"),
    },
    Mount {
        kind: "devpts",
        at: "/dev/pts",
        flags: MountFlags::NOSUID,
        options: Some(c"mode=0620,ptmxmode=0666"),
    },
    Mount {
        kind: "tmpfs",
        at: "/tmp",
        flags: PLAIN_FILES,
        options: Some(c"mode=1777"),
    },
    Mount {
        kind: "tmpfs",
        at: "/run",
        flags: PLAIN_FILES,
        options: Some(c"mode=0755"),
    },
];

/// Links that programs expect below `/dev`.
const LINKS: [(&str, &str); 4] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
];

/// Mounts them all and returns what there is to say about it, a sentence each; nothing here is fatal.
pub(crate) fn mount_all() -> Vec<String> {
    let mut notes = Vec::new();
    for entry in &MOUNTS {
        if !Path::new(entry.at).is_dir()
            && let Err(error) = fs::create_dir_all(entry.at)
        {
            notes.push(format!("cannot make {}: {error}", entry.at));
            continue;
        }
        if let Err(error) = mount(entry.kind, entry.at, entry.kind, entry.flags, entry.options) {
            match error {
                // Already there: the kernel mounts /dev by itself, and a foreign root may bring the others.
                Errno::BUSY => {}
                Errno::NODEV => notes.push(format!("this kernel has no {}: {} stays empty", entry.kind, entry.at)),
                _ => notes.push(format!("cannot mount {} on {}: {error}", entry.kind, entry.at)),
            }
        }
    }
    for (target, link) in LINKS {
        if fs::symlink_metadata(link).is_err()
            && let Err(error) = symlink(target, link)
        {
            notes.push(format!("cannot link {link}: {error}"));
        }
    }
    for folder in ["/run/sis", "/root", "/var/log"] {
        if let Err(error) = fs::create_dir_all(folder) {
            notes.push(format!("cannot make {folder}: {error}"));
        }
    }
    notes
}
