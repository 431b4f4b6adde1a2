//! /proc/PID/mounts, mountinfo, mountstats.

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt::Write;

use super::system::text;
use crate::fs::inode::split_dev;
use crate::fs::mount::{self, Mount, MountFlags};
use crate::fs::path::Path;

/// Spaces, tabs, newlines and backslashes as octal numbers, so that fields stay fields.
fn escape(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in String::from_utf8_lossy(bytes).chars() {
        match chunk {
            ' ' | '\t' | '\n' | '\\' => {
                let _ = write!(out, "\\{:03o}", chunk as u32);
            }
            c => out.push(c),
        }
    }
    out
}

fn options(flags: MountFlags) -> String {
    let mut out = String::from(if flags.contains(MountFlags::RDONLY) { "ro" } else { "rw" });
    for (flag, name) in [
        (MountFlags::NOSUID, ",nosuid"),
        (MountFlags::NODEV, ",nodev"),
        (MountFlags::NOEXEC, ",noexec"),
        (MountFlags::NOATIME, ",noatime"),
        (MountFlags::NODIRATIME, ",nodiratime"),
        (MountFlags::RELATIME, ",relatime"),
    ] {
        if flags.contains(flag) {
            out.push_str(name);
        }
    }
    out
}

/// The place of a mount seen from `root`; none when it cannot be reached from there.
fn place(m: &Arc<Mount>, root: &Path) -> Option<String> {
    m.root_path().from_root(root).map(|p| escape(&p))
}

/// A line a mount: source, place, type, options.
pub(super) fn mounts(root: &Path) -> String {
    text(|out| {
        for m in mount::all() {
            let Some(at) = place(&m, root) else { continue };
            let fs = m.superblock().fs();
            let (source, kind) = (escape(m.source.as_bytes()), fs.kind());
            writeln!(out, "{source} {at} {kind} {}{} 0 0", options(m.flags()), fs.options())?;
        }
        Ok(())
    })
}

/// As proc_pid_mountinfo(5).
pub(super) fn mountinfo(root: &Path) -> String {
    text(|out| {
        for m in mount::all() {
            let Some(at) = place(&m, root) else { continue };
            let fs = m.superblock().fs();
            let (major, minor) = split_dev(fs.device());
            let parent = m.place().map_or(m.id, |p| p.mount.id);
            let top = Path {
                mount: m.clone(),
                dentry: m.superblock().root().clone(),
            };
            let inner = m.root_path().from_root(&top).unwrap_or_else(|| b"/".to_vec());
            let (id, inner, options) = (m.id, escape(&inner), options(m.flags()));
            let (source, kind) = (escape(m.source.as_bytes()), fs.kind());
            let own = fs.options();
            writeln!(
                out,
                "{id} {parent} {major}:{minor} {inner} {at} {options} - {kind} {source} rw{own}"
            )?;
        }
        Ok(())
    })
}

/// As proc_pid_mountstats(5).
pub(super) fn mountstats(root: &Path) -> String {
    text(|out| {
        for m in mount::all() {
            let Some(at) = place(&m, root) else { continue };
            let source = escape(m.source.as_bytes());
            writeln!(
                out,
                "device {source} mounted on {at} with fstype {}",
                m.superblock().fs().kind()
            )?;
        }
        Ok(())
    })
}
