//! mount, umount2.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::args;
use super::{Call, Row, partial};
use crate::fs::mount::{self, Mount, MountFlags};
use crate::fs::registry;
use crate::fs::walk::Base;
use crate::process::cred::Capability;
use crate::user::read_cstr;
use crate::{Errno, Result};

pub(super) const CALLS: &[Row] = &[
    partial(39, "umount2", umount2, "MNT_EXPIRE"),
    partial(
        40,
        "mount",
        mount,
        "recursive binds; propagation is accepted only as private",
    ),
];

const MS_REMOUNT: u64 = 32;
const MS_BIND: u64 = 4096;
const MS_MOVE: u64 = 8192;
const MS_REC: u64 = 16384;
const MS_SILENT: u64 = 32768;
const MS_UNBINDABLE: u64 = 1 << 17;
const MS_PRIVATE: u64 = 1 << 18;
const MS_SLAVE: u64 = 1 << 19;
const MS_SHARED: u64 = 1 << 20;
const MS_STRICTATIME: u64 = 1 << 24;
const MS_LAZYTIME: u64 = 1 << 25;
/// MS_SYNCHRONOUS, MS_DIRSYNC, MS_MANDLOCK, MS_I_VERSION, MS_POSIXACL: nothing to do in memory.
const MS_NO_EFFECT: u64 = 16 | 128 | 64 | (1 << 23) | (1 << 16) | MS_SILENT | MS_STRICTATIME | MS_LAZYTIME;
const MS_PROPAGATION: u64 = MS_UNBINDABLE | MS_PRIVATE | MS_SLAVE | MS_SHARED;
/// What old programs put in the upper half.
const MS_MGC_MSK: u64 = 0xffff_0000;
const MS_MGC_VAL: u64 = 0xc0ed_0000;

/// Most bytes of options.
const OPTIONS_MAX: usize = 4095;

fn text(call: &Call<'_>, n: usize) -> Result<String> {
    if call.usize(n) == 0 {
        return Ok(String::new());
    }
    let bytes: Vec<u8> = read_cstr(call.usize(n), OPTIONS_MAX)?;
    String::from_utf8(bytes).map_err(|_| Errno::EINVAL)
}

fn mount(call: &mut Call<'_>) -> Result<usize> {
    let mut flags = call.arg(3);
    if flags & MS_MGC_MSK == MS_MGC_VAL {
        flags &= !MS_MGC_MSK;
    }
    let mount_flags = MountFlags::from_bits_truncate(flags as u32);
    let known =
        u64::from(MountFlags::all().bits()) | MS_NO_EFFECT | MS_PROPAGATION | MS_REMOUNT | MS_BIND | MS_MOVE | MS_REC;
    if flags & !known != 0 {
        return Err(Errno::EINVAL);
    }
    let target = args::path(call, 1)?;
    let base = Base::of(call.thread);
    if !base.cred.has(Capability::SysAdmin) {
        return Err(Errno::EPERM);
    }
    let at = base.resolve(&target, true)?;
    if flags & MS_REMOUNT != 0 {
        if !at.is_mount_root() {
            return Err(Errno::EINVAL);
        }
        if flags & MS_BIND == 0 {
            let mut options = text(call, 4)?;
            if registry::find(at.mount.superblock().fs().kind()).is_ok_and(|k| k.needs_device) {
                let is_read_only = mount_flags.contains(MountFlags::RDONLY);
                options.push_str(if is_read_only { ",ro" } else { ",rw" });
            }
            at.mount.superblock().fs().remount(&options)?;
        }
        at.mount.set_flags(mount_flags);
        return Ok(0);
    }
    if flags & MS_BIND != 0 {
        let source = base.resolve(&args::path(call, 0)?, true)?;
        let top = source.dentry.clone();
        let kept = source.mount.flags();
        let new = Mount::new(
            source.mount.superblock().clone(),
            top,
            kept,
            source.mount.source.clone(),
        );
        mount::attach(new, &at)?;
        return Ok(0);
    }
    if flags & MS_PROPAGATION != 0 {
        // There is one mount namespace and no peer groups: every mount is private.
        let is_private = flags & MS_PROPAGATION & !(MS_PRIVATE | MS_UNBINDABLE) == 0;
        return if is_private && at.is_mount_root() {
            Ok(0)
        } else {
            Err(Errno::EINVAL)
        };
    }
    if flags & MS_MOVE != 0 {
        let source = base.resolve(&args::path(call, 0)?, true)?;
        if !source.is_mount_root() {
            return Err(Errno::EINVAL);
        }
        mount::relocate(&source.mount, &at)?;
        return Ok(0);
    }
    let kind = registry::find(&text(call, 2)?)?;
    let source = text(call, 0)?;
    let mut options = text(call, 4)?;
    if kind.needs_device && mount_flags.contains(MountFlags::RDONLY) {
        options.push_str(",ro");
    }
    let superblock = (kind.open)(&source, &options)?;
    // The same once more in the same place (mount(2)).
    if at.is_mount_root() && Arc::ptr_eq(at.mount.superblock(), &superblock) {
        return Err(Errno::EBUSY);
    }
    let top = superblock.root().clone();
    let mut kept = mount_flags;
    if !kept.contains(MountFlags::NOATIME) {
        kept |= MountFlags::RELATIME;
    }
    let source = if source.is_empty() {
        String::from("none")
    } else {
        source
    };
    mount::attach(Mount::new(superblock, top, kept, source), &at)?;
    Ok(0)
}

const MNT_FORCE: u32 = 1;
const MNT_DETACH: u32 = 2;
const UMOUNT_NOFOLLOW: u32 = 8;

fn umount2(call: &mut Call<'_>) -> Result<usize> {
    let flags = call.uint(1);
    if flags & !(MNT_FORCE | MNT_DETACH | UMOUNT_NOFOLLOW) != 0 {
        return Err(Errno::EINVAL);
    }
    let name = args::path(call, 0)?;
    let base = Base::of(call.thread);
    if !base.cred.has(Capability::SysAdmin) {
        return Err(Errno::EPERM);
    }
    let path = base.resolve(&name, flags & UMOUNT_NOFOLLOW == 0)?;
    if !path.is_mount_root() {
        return Err(Errno::EINVAL);
    }
    let mount = path.mount.clone();
    drop(path);
    mount::detach(&mount, flags & MNT_DETACH != 0)?;
    Ok(0)
}
