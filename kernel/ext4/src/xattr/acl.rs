//! POSIX access control lists: on the disk, entries for a class of users are shorter than those for a named one; what
//! system calls pass has one length for both.

use alloc::vec::Vec;

use crate::Error;
use crate::bytes::{slice, u16_at, u32_at};

/// Version of the form on the disk.
const ON_DISK: u32 = 1;
/// Version of the form of system calls.
const OF_USER: u32 = 2;
/// Of entries that name a user or a group.
const USER: u16 = 0x02;
const GROUP: u16 = 0x08;
const NO_ID: u32 = u32::MAX;

/// As system calls pass it.
pub(super) fn to_user(b: &[u8]) -> Result<Vec<u8>, Error> {
    const BAD: Error = Error::Corrupt("access control list");
    if u32_at(b, 0)? != ON_DISK {
        return Err(BAD);
    }
    let mut out = Vec::from(OF_USER.to_le_bytes());
    let mut at = 4;
    while at < b.len() {
        let tag = u16_at(b, at)?;
        out.extend_from_slice(slice(b, at, 4)?);
        at += 4;
        let id = if matches!(tag, USER | GROUP) {
            at += 4;
            u32_at(b, at - 4)?
        } else {
            NO_ID
        };
        out.extend_from_slice(&id.to_le_bytes());
    }
    Ok(out)
}

/// As it is on the disk.
pub(super) fn to_disk(b: &[u8]) -> Result<Vec<u8>, Error> {
    let version = u32_at(b, 0).map_err(|_| Error::Invalid)?;
    let entries = b.get(4..).unwrap_or_default();
    if version != OF_USER || !entries.len().is_multiple_of(8) {
        return Err(Error::Invalid);
    }
    let mut out = Vec::from(ON_DISK.to_le_bytes());
    for e in entries.chunks_exact(8) {
        let len = if matches!(u16_at(e, 0)?, USER | GROUP) { 8 } else { 4 };
        out.extend_from_slice(slice(e, 0, len)?);
    }
    Ok(out)
}
