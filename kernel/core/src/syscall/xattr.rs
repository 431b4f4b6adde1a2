//! Extended attributes: no file system here has any. The calls check their file and say so (xattr(7)).

use super::args;
use super::{Call, Row, partial};
use crate::fs::walk::Base;
use crate::{Errno, Result};

const NONE: &str = "no file system has extended attributes: EOPNOTSUPP, and empty lists";

pub(super) const CALLS: &[Row] = &[
    partial(5, "setxattr", by_name, NONE),
    partial(6, "lsetxattr", by_link_name, NONE),
    partial(7, "fsetxattr", by_descriptor, NONE),
    partial(8, "getxattr", by_name, NONE),
    partial(9, "lgetxattr", by_link_name, NONE),
    partial(10, "fgetxattr", by_descriptor, NONE),
    partial(11, "listxattr", list_by_name, NONE),
    partial(12, "llistxattr", list_by_link_name, NONE),
    partial(13, "flistxattr", list_by_descriptor, NONE),
    partial(14, "removexattr", by_name, NONE),
    partial(15, "lremovexattr", by_link_name, NONE),
    partial(16, "fremovexattr", by_descriptor, NONE),
];

fn check_name(call: &Call<'_>, follow: bool) -> Result<()> {
    let name = args::path(call, 0)?;
    Base::of(call.thread).resolve(&name, follow).map(drop)
}

fn by_name(call: &mut Call<'_>) -> Result<usize> {
    check_name(call, true)?;
    Err(Errno::EOPNOTSUPP)
}

fn by_link_name(call: &mut Call<'_>) -> Result<usize> {
    check_name(call, false)?;
    Err(Errno::EOPNOTSUPP)
}

fn by_descriptor(call: &mut Call<'_>) -> Result<usize> {
    args::file(call, 0)?;
    Err(Errno::EOPNOTSUPP)
}

fn list_by_name(call: &mut Call<'_>) -> Result<usize> {
    check_name(call, true)?;
    Ok(0)
}

fn list_by_link_name(call: &mut Call<'_>) -> Result<usize> {
    check_name(call, false)?;
    Ok(0)
}

fn list_by_descriptor(call: &mut Call<'_>) -> Result<usize> {
    args::file(call, 0)?;
    Ok(0)
}
