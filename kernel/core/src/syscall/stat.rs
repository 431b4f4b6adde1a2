//! Asking about files: stat and its like, statfs, access.

use alloc::sync::Arc;

use sis_abi::fs::{Stat, Statfs, Statx, StatxMask, StatxTimestamp};

use super::args;
use super::{Call, Row, built, partial};
use crate::fs::file::OpenFile;
use crate::fs::flags::{AT_EACCESS, AT_EMPTY_PATH, AT_FDCWD, AT_NO_AUTOMOUNT, AT_STATX_SYNC_TYPE, AT_SYMLINK_NOFOLLOW};
use crate::fs::inode::{FileType, Metadata, split_dev};
use crate::fs::mount::{Mount, MountFlags};
use crate::fs::permission::{self, MAY_WRITE};
use crate::fs::walk::Base;
use crate::process::cred::Cred;
use crate::user::UserPtr;
use crate::{Errno, Result};

pub(super) const CALLS: &[Row] = &[
    built(43, "statfs", statfs),
    built(44, "fstatfs", fstatfs),
    built(48, "faccessat", faccessat),
    built(79, "newfstatat", newfstatat),
    built(80, "fstat", fstat),
    partial(
        291,
        "statx",
        statx,
        "no attributes beyond the basic ones, creation time and mount",
    ),
    built(439, "faccessat2", faccessat2),
];

const NS: i64 = 1_000_000_000;

/// Metadata of an open file, whatever it is.
fn metadata(file: &OpenFile) -> Metadata {
    if let Some(path) = &file.path {
        return path.inode().metadata();
    }
    if let Some(inode) = file.ops.inode() {
        return inode.metadata();
    }
    // eventfd and its like: one shared inode without a type, as on Linux.
    file.ops.metadata().unwrap_or(Metadata {
        mode: 0o600,
        nlink: 1,
        block_size: 4096,
        ..Metadata::default()
    })
}

fn to_stat(m: &Metadata) -> Stat {
    Stat {
        st_dev: m.dev,
        st_ino: m.ino,
        st_mode: m.mode,
        st_nlink: m.nlink,
        st_uid: m.uid,
        st_gid: m.gid,
        st_rdev: m.rdev,
        st_size: m.size as i64,
        st_blksize: m.block_size as i32,
        st_blocks: m.blocks as i64,
        st_atime: m.atime_ns.div_euclid(NS),
        st_atime_nsec: m.atime_ns.rem_euclid(NS) as u64,
        st_mtime: m.mtime_ns.div_euclid(NS),
        st_mtime_nsec: m.mtime_ns.rem_euclid(NS) as u64,
        st_ctime: m.ctime_ns.div_euclid(NS),
        st_ctime_nsec: m.ctime_ns.rem_euclid(NS) as u64,
    }
}

fn fstat(call: &mut Call<'_>) -> Result<usize> {
    let file = call.thread.files().get(call.int(0))?;
    UserPtr::new(call.usize(1)).write(&to_stat(&metadata(&file)))?;
    Ok(0)
}

fn newfstatat(call: &mut Call<'_>) -> Result<usize> {
    let flags = call.uint(3);
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let (m, _) = find(call, 0, 1, flags)?;
    UserPtr::new(call.usize(2)).write(&to_stat(&m))?;
    Ok(0)
}

/// Metadata of what a directory descriptor and a name mean, and the mount it is on.
fn find(call: &Call<'_>, fd: usize, name: usize, flags: u32) -> Result<(Metadata, Option<Arc<Mount>>)> {
    // With AT_EMPTY_PATH even NULL is an empty name (Linux 6.11).
    let is_null = flags & AT_EMPTY_PATH != 0 && call.usize(name) == 0;
    let text = if is_null {
        alloc::vec::Vec::new()
    } else {
        args::path(call, name)?
    };
    if text.is_empty() && flags & AT_EMPTY_PATH != 0 && call.int(fd) != AT_FDCWD {
        let file = call.thread.files().get(call.int(fd))?;
        return Ok((metadata(&file), file.path.as_ref().map(|p| p.mount.clone())));
    }
    let base = Base::at(call.thread, call.int(fd), &text)?;
    let path = base.resolve_at(&text, flags & AT_SYMLINK_NOFOLLOW == 0, flags)?;
    Ok((path.inode().metadata(), Some(path.mount)))
}

/// STATX__RESERVED.
const STATX_RESERVED: u32 = 0x8000_0000;
/// STATX_ATTR_MOUNT_ROOT.
const ATTR_MOUNT_ROOT: u64 = 0x2000;

fn statx(call: &mut Call<'_>) -> Result<usize> {
    let (flags, mask) = (call.uint(2), call.uint(3));
    let known = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE;
    if flags & !known != 0 || flags & AT_STATX_SYNC_TYPE == AT_STATX_SYNC_TYPE || mask & STATX_RESERVED != 0 {
        return Err(Errno::EINVAL);
    }
    let (m, mount) = find(call, 0, 1, flags)?;
    let time = |ns: i64| StatxTimestamp {
        tv_sec: ns.div_euclid(NS),
        tv_nsec: ns.rem_euclid(NS) as u32,
    };
    let (rdev, dev) = (split_dev(m.rdev), split_dev(m.dev));
    let mut answered = StatxMask::BASIC_STATS | StatxMask::BTIME;
    let mut attributes = 0;
    if let Some(mount) = &mount {
        answered |= StatxMask::MNT_ID;
        if mount.root().inode().metadata().ino == m.ino {
            attributes |= ATTR_MOUNT_ROOT;
        }
    }
    let out = Statx {
        stx_mask: answered.bits(),
        stx_blksize: m.block_size,
        stx_attributes: attributes,
        stx_nlink: m.nlink,
        stx_uid: m.uid,
        stx_gid: m.gid,
        stx_mode: m.mode as u16,
        stx_ino: m.ino,
        stx_size: m.size,
        stx_blocks: m.blocks,
        stx_attributes_mask: ATTR_MOUNT_ROOT,
        stx_atime: time(m.atime_ns),
        stx_btime: time(m.btime_ns),
        stx_ctime: time(m.ctime_ns),
        stx_mtime: time(m.mtime_ns),
        stx_rdev_major: rdev.0,
        stx_rdev_minor: rdev.1,
        stx_dev_major: dev.0,
        stx_dev_minor: dev.1,
        stx_mnt_id: mount.map_or(0, |m| u64::from(m.id)),
    };
    UserPtr::new(call.usize(4)).write(&out)?;
    Ok(0)
}

/// ST_VALID and ST_RELATIME of statfs(2).
const ST_VALID: i64 = 0x20;
const ST_RELATIME: i64 = 4096;

fn usage(mount: &Mount) -> Statfs {
    let u = mount.superblock().fs().usage();
    let dev = mount.superblock().fs().device();
    let flags = mount.flags();
    let mut f_flags = ST_VALID | i64::from((flags - MountFlags::RELATIME).bits());
    if flags.contains(MountFlags::RELATIME) {
        f_flags |= ST_RELATIME;
    }
    Statfs {
        f_type: u.magic as i64,
        f_bsize: u.block_size as i64,
        f_blocks: u.blocks,
        f_bfree: u.free_blocks,
        f_bavail: u.free_blocks,
        f_files: u.inodes,
        f_ffree: u.free_inodes,
        f_fsid: [dev as i32, 0],
        f_namelen: 255,
        f_frsize: u.block_size as i64,
        f_flags,
    }
}

fn statfs(call: &mut Call<'_>) -> Result<usize> {
    let name = args::path(call, 0)?;
    let path = Base::of(call.thread).resolve(&name, true)?;
    UserPtr::new(call.usize(1)).write(&usage(&path.mount))?;
    Ok(0)
}

fn fstatfs(call: &mut Call<'_>) -> Result<usize> {
    let file = call.thread.files().get(call.int(0))?;
    let out = match &file.path {
        Some(p) => usage(&p.mount),
        // ANON_INODE_FS_MAGIC.
        None => Statfs {
            f_type: 0x0904_1934,
            f_bsize: 4096,
            f_frsize: 4096,
            f_namelen: 255,
            ..Statfs::default()
        },
    };
    UserPtr::new(call.usize(1)).write(&out)?;
    Ok(0)
}

fn access(call: &Call<'_>, flags: u32) -> Result<usize> {
    let mode = call.uint(2);
    if mode & !7 != 0 || flags & !(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let name = args::path(call, 1)?;
    let mut base = Base::at(call.thread, call.int(0), &name)?;
    if flags & AT_EACCESS == 0 {
        base.cred = real_ids(&base.cred);
    }
    let path = base.resolve_at(&name, flags & AT_SYMLINK_NOFOLLOW == 0, flags)?;
    if mode & MAY_WRITE != 0
        && matches!(
            path.dentry.kind(),
            FileType::Regular | FileType::Directory | FileType::Symlink
        )
    {
        path.mount.writable()?;
    }
    permission::check(path.inode(), &base.cred, mode)?;
    Ok(0)
}

/// The credentials that access(2) checks: those of the real ids.
fn real_ids(cred: &Arc<Cred>) -> Arc<Cred> {
    if cred.fsuid == cred.uid && cred.fsgid == cred.gid {
        return cred.clone();
    }
    let mut real = Cred::clone(cred);
    real.fsuid = cred.uid;
    real.fsgid = cred.gid;
    real.cap_effective = if cred.uid == 0 { cred.cap_permitted } else { 0 };
    Arc::new(real)
}

fn faccessat(call: &mut Call<'_>) -> Result<usize> {
    access(call, 0)
}

fn faccessat2(call: &mut Call<'_>) -> Result<usize> {
    access(call, call.uint(3))
}
