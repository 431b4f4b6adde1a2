//! Extended attributes: setxattr(2), getxattr(2), listxattr(2), removexattr(2) and their relatives.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::args;
use super::{Call, Row, partial};
use crate::fs::file::OpenFile;
use crate::fs::inode::Inode;
use crate::fs::notify;
use crate::fs::path::Path;
use crate::fs::walk::Base;
use crate::fs::xattr::{self, LIST_MAX, NAME_MAX, VALUE_MAX};
use crate::user::{UserSlice, read_cstr};
use crate::{Errno, Result};

const KEPT: &str = "ext4 keeps user., trusted. and security. attributes, tmpfs the last two; ACLs and file capabilities are refused (EOPNOTSUPP)";

pub(super) const CALLS: &[Row] = &[
    partial(5, "setxattr", |c| set(c, by_name(c)?), KEPT),
    partial(6, "lsetxattr", |c| set(c, by_link_name(c)?), KEPT),
    partial(7, "fsetxattr", |c| set(c, by_descriptor(c)?), KEPT),
    partial(8, "getxattr", |c| get(c, by_name(c)?), KEPT),
    partial(9, "lgetxattr", |c| get(c, by_link_name(c)?), KEPT),
    partial(10, "fgetxattr", |c| get(c, by_descriptor(c)?), KEPT),
    partial(11, "listxattr", |c| list(c, by_name(c)?), KEPT),
    partial(12, "llistxattr", |c| list(c, by_link_name(c)?), KEPT),
    partial(13, "flistxattr", |c| list(c, by_descriptor(c)?), KEPT),
    partial(14, "removexattr", |c| remove(c, by_name(c)?), KEPT),
    partial(15, "lremovexattr", |c| remove(c, by_link_name(c)?), KEPT),
    partial(16, "fremovexattr", |c| remove(c, by_descriptor(c)?), KEPT),
];

const XATTR_CREATE: u32 = 1;
const XATTR_REPLACE: u32 = 2;

/// Whose attributes are meant.
enum Target {
    Place(Path),
    File(Arc<OpenFile>),
}

impl Target {
    /// `EOPNOTSUPP` for what has no inode: it has no attributes either.
    fn inode(&self) -> Result<Arc<dyn Inode>> {
        match self {
            Self::Place(path) => Ok(path.inode().clone()),
            Self::File(file) => file.inode().ok_or(Errno::EOPNOTSUPP),
        }
    }

    /// Tells those who watch it.
    fn changed(&self) {
        let path = match self {
            Self::Place(path) => Some(path),
            Self::File(file) => file.path.as_ref(),
        };
        if let Some(path) = path {
            notify::xattrs_changed(&path.dentry);
        }
    }

    fn writable(&self) -> Result<()> {
        match self {
            Self::Place(path) => path.mount.writable(),
            Self::File(file) => file.path.as_ref().map_or(Ok(()), |path| path.mount.writable()),
        }
    }
}

fn place(call: &Call<'_>, follow: bool) -> Result<Target> {
    let name = args::path(call, 0)?;
    Base::of(call.thread).resolve(&name, follow).map(Target::Place)
}

fn by_name(call: &Call<'_>) -> Result<Target> {
    place(call, true)
}

fn by_link_name(call: &Call<'_>) -> Result<Target> {
    place(call, false)
}

fn by_descriptor(call: &Call<'_>) -> Result<Target> {
    args::file(call, 0).map(Target::File)
}

/// The attribute's name; `ERANGE` for one that is empty or too long.
fn name(call: &Call<'_>) -> Result<Vec<u8>> {
    match read_cstr(call.usize(1), NAME_MAX) {
        Err(Errno::ENAMETOOLONG) => Err(Errno::ERANGE),
        Ok(name) if name.is_empty() => Err(Errno::ERANGE),
        other => other,
    }
}

fn set(call: &Call<'_>, target: Target) -> Result<usize> {
    target.writable()?;
    let flags = call.uint(4);
    if flags & !(XATTR_CREATE | XATTR_REPLACE) != 0 {
        return Err(Errno::EINVAL);
    }
    let (name, len) = (name(call)?, call.usize(3));
    if len > VALUE_MAX {
        return Err(Errno::E2BIG);
    }
    let value = UserSlice::new(call.usize(2), len).read_to_vec(VALUE_MAX)?;
    let (inode, cred) = (target.inode()?, call.thread.cred());
    let must_exist = match (flags & XATTR_CREATE != 0, flags & XATTR_REPLACE != 0) {
        (false, false) => None,
        (true, false) => Some(false),
        (false, true) => Some(true),
        // It must be there and must not: one of the two is not so.
        (true, true) => {
            let there = xattr::get(&inode, &cred, &name).map(drop);
            return Err(there.err().unwrap_or(Errno::EEXIST));
        }
    };
    xattr::set(&inode, &cred, &name, &value, must_exist)?;
    target.changed();
    Ok(0)
}

/// Gives bytes to a program that has room for `len`, or asks with 0 how many there are.
fn answer(data: &[u8], address: usize, len: usize) -> Result<usize> {
    if len == 0 {
        return Ok(data.len());
    }
    if data.len() > len {
        return Err(Errno::ERANGE);
    }
    UserSlice::new(address, data.len()).write_prefix(data)
}

fn get(call: &Call<'_>, target: Target) -> Result<usize> {
    let name = name(call)?;
    let value = xattr::get(&target.inode()?, &call.thread.cred(), &name)?;
    answer(&value, call.usize(2), call.usize(3))
}

fn list(call: &Call<'_>, target: Target) -> Result<usize> {
    let names = match target.inode() {
        Ok(inode) => xattr::list(&inode, &call.thread.cred())?,
        Err(_) => Vec::new(),
    };
    if names.len() > LIST_MAX {
        return Err(Errno::E2BIG);
    }
    answer(&names, call.usize(1), call.usize(2))
}

fn remove(call: &Call<'_>, target: Target) -> Result<usize> {
    target.writable()?;
    let name = name(call)?;
    xattr::remove(&target.inode()?, &call.thread.cred(), &name)?;
    target.changed();
    Ok(0)
}
