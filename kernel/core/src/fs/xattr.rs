//! Extended attributes (xattr(7)): whose names they are, and who may see and change them.
//!
//! There are neither POSIX ACLs nor file capabilities here, so what would set them is refused (`EOPNOTSUPP`) and not kept
//! without effect. ACLs that a disk brings are not shown, as on Linux with `noacl`.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::flags::S_ISVTX;
use super::inode::{FileType, Inode};
use super::permission::{self, MAY_READ, MAY_WRITE};
use crate::process::cred::{Capability, Cred};
use crate::{Errno, Result};

/// Bytes of the longest name (XATTR_NAME_MAX).
pub const NAME_MAX: usize = 255;
/// Bytes of the longest value (XATTR_SIZE_MAX).
pub const VALUE_MAX: usize = 65536;
/// Bytes of the longest list of names (XATTR_LIST_MAX).
pub const LIST_MAX: usize = 65536;

const CAPABILITY: &[u8] = b"security.capability";

/// The part of a name before its first dot says who may do what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    User,
    Trusted,
    Security,
    System,
    Unknown,
}

const CLASSES: [(&[u8], Class); 4] = [
    (b"user.", Class::User),
    (b"trusted.", Class::Trusted),
    (b"security.", Class::Security),
    (b"system.", Class::System),
];

/// The class of a name, and the rest of it.
fn class_of(name: &[u8]) -> (Class, &[u8]) {
    CLASSES
        .iter()
        .find_map(|(prefix, class)| name.strip_prefix(*prefix).map(|rest| (*class, rest)))
        .unwrap_or((Class::Unknown, name))
}

/// Whether a file system that keeps attributes may be asked for this one.
///
/// # Errors
/// `EOPNOTSUPP` for other names, `EINVAL` for a prefix alone.
fn check_name(name: &[u8]) -> Result<()> {
    match class_of(name) {
        (Class::Unknown | Class::System, _) => Err(Errno::EOPNOTSUPP),
        (_, []) => Err(Errno::EINVAL),
        _ => Ok(()),
    }
}

/// Who may (Linux, fs/xattr.c, `xattr_permission`, and what its capability module adds).
fn check_access(inode: &Arc<dyn Inode>, cred: &Cred, name: &[u8], writes: bool) -> Result<()> {
    let unseen = if writes { Errno::EPERM } else { Errno::ENODATA };
    let is_admin = cred.has(Capability::SysAdmin);
    let kind = inode.kind();
    match class_of(name).0 {
        Class::Trusted => return if is_admin { Ok(()) } else { Err(unseen) },
        Class::Security if writes && !is_admin => return Err(Errno::EPERM),
        Class::Security | Class::System => return Ok(()),
        Class::User if !matches!(kind, FileType::Regular | FileType::Directory) => return Err(unseen),
        Class::User if writes && kind == FileType::Directory => {
            let owner = inode.owner();
            if owner.mode & S_ISVTX != 0 && !permission::is_owner(&owner, cred) {
                return Err(Errno::EPERM);
            }
        }
        Class::User | Class::Unknown => {}
    }
    permission::check(inode, cred, if writes { MAY_WRITE } else { MAY_READ })
}

/// The value of an attribute.
///
/// # Errors
/// `ENODATA`, `EOPNOTSUPP`, `EACCES`, and those of the file system.
pub fn get(inode: &Arc<dyn Inode>, cred: &Cred, name: &[u8]) -> Result<Vec<u8>> {
    check_access(inode, cred, name, false)?;
    check_name(name)?;
    inode.xattr(name)
}

/// Sets an attribute; `must_exist` demands that it is there already, or that it is not.
///
/// # Errors
/// `EEXIST`, `ENODATA`, `EOPNOTSUPP`, `EPERM`, `EACCES`, `ENOSPC`, and those of the file system.
pub fn set(inode: &Arc<dyn Inode>, cred: &Cred, name: &[u8], value: &[u8], must_exist: Option<bool>) -> Result<()> {
    check_access(inode, cred, name, true)?;
    check_name(name)?;
    if name == CAPABILITY {
        return Err(Errno::EOPNOTSUPP);
    }
    inode.set_xattr(name, Some(value), must_exist)
}

/// Removes an attribute.
///
/// # Errors
/// `ENODATA`, `EOPNOTSUPP`, `EPERM`, `EACCES`, and those of the file system.
pub fn remove(inode: &Arc<dyn Inode>, cred: &Cred, name: &[u8]) -> Result<()> {
    check_access(inode, cred, name, true)?;
    check_name(name)?;
    inode.set_xattr(name, None, Some(true))
}

/// The names of a file's attributes that may be shown, each with a NUL behind it.
///
/// # Errors
/// Those of the file system.
pub fn list(inode: &Arc<dyn Inode>, cred: &Cred) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for name in inode.xattr_names()? {
        let is_shown = match class_of(&name).0 {
            Class::User | Class::Security => true,
            Class::Trusted => cred.has(Capability::SysAdmin),
            Class::System | Class::Unknown => false,
        };
        if is_shown {
            out.extend_from_slice(&name);
            out.push(0);
        }
    }
    Ok(out)
}
