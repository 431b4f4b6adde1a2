//! ioctl(2) on disks and partitions (Linux's include/uapi/linux/fs.h and hdreg.h).

use alloc::sync::Arc;

use sis_hal::{BlockError, SECTOR_BYTES};

use super::io::errno_of;
use super::node::Node;
use super::partitions;
use super::volume::Volume;
use crate::process::cred::Capability;
use crate::process::thread;
use crate::user::UserPtr;
use crate::{Errno, Result};

const BLKROSET: u32 = 0x125d;
const BLKROGET: u32 = 0x125e;
const BLKRRPART: u32 = 0x125f;
const BLKGETSIZE: u32 = 0x1260;
const BLKFLSBUF: u32 = 0x1261;
const BLKRASET: u32 = 0x1262;
const BLKRAGET: u32 = 0x1263;
const BLKFRASET: u32 = 0x1264;
const BLKFRAGET: u32 = 0x1265;
const BLKSECTGET: u32 = 0x1267;
const BLKSSZGET: u32 = 0x1268;
const BLKDISCARD: u32 = 0x1277;
const BLKIOMIN: u32 = 0x1278;
const BLKIOOPT: u32 = 0x1279;
const BLKALIGNOFF: u32 = 0x127a;
const BLKPBSZGET: u32 = 0x127b;
const BLKDISCARDZEROES: u32 = 0x127c;
const BLKROTATIONAL: u32 = 0x127e;
const BLKZEROOUT: u32 = 0x127f;
const BLKBSZGET: u32 = 0x8008_1270;
const BLKBSZSET: u32 = 0x4008_1271;
const BLKGETSIZE64: u32 = 0x8008_1272;
const HDIO_GETGEO: u32 = 0x0301;

/// Bytes of a block of the buffered view.
const BUFFER_BLOCK: i32 = 4096;

fn need_admin() -> Result<()> {
    let may = thread::try_current().is_some_and(|t| t.cred().has(Capability::SysAdmin));
    if may { Ok(()) } else { Err(Errno::EACCES) }
}

pub(super) fn handle(node: &Node, command: u32, argument: usize) -> Result<usize> {
    let volume = node.volume();
    let l = volume.disk().limits();
    let int = |value: u32| UserPtr::<i32>::new(argument).write(&i32::try_from(value).unwrap_or(i32::MAX));
    let long = |value: u64| UserPtr::<u64>::new(argument).write(&value);
    match command {
        BLKGETSIZE => long(volume.sector_count())?,
        BLKGETSIZE64 => long(volume.size_bytes())?,
        BLKSSZGET => int(l.logical_block_bytes)?,
        BLKPBSZGET | BLKIOMIN => UserPtr::<u32>::new(argument).write(&l.physical_block_bytes)?,
        BLKIOOPT | BLKDISCARDZEROES => UserPtr::<u32>::new(argument).write(&0)?,
        BLKALIGNOFF => int(0)?,
        BLKSECTGET => UserPtr::<u16>::new(argument).write(&u16::try_from(l.request_sectors_max).unwrap_or(u16::MAX))?,
        BLKROTATIONAL => UserPtr::<u16>::new(argument).write(&0)?,
        BLKBSZGET => UserPtr::<i32>::new(argument).write(&BUFFER_BLOCK)?,
        BLKBSZSET => {
            need_admin()?;
            let size = UserPtr::<i32>::new(argument).read()?;
            let is_good = u32::try_from(size)
                .is_ok_and(|n| n.is_power_of_two() && (512..=4096).contains(&n) && n >= l.logical_block_bytes);
            if !is_good {
                return Err(Errno::EINVAL);
            }
        }
        BLKROGET => int(u32::from(volume.is_read_only()))?,
        // The device decides; what it already is may be asked for.
        BLKROSET => {
            need_admin()?;
            let wanted = UserPtr::<i32>::new(argument).read()? != 0;
            if wanted != volume.is_read_only() {
                return Err(Errno::EOPNOTSUPP);
            }
        }
        BLKRAGET | BLKFRAGET => long(volume.read_ahead_sectors())?,
        BLKRASET | BLKFRASET => {
            need_admin()?;
            volume.set_read_ahead_sectors(argument as u64);
        }
        BLKFLSBUF => {
            need_admin()?;
            volume.flush().map_err(errno_of)?;
        }
        BLKRRPART => {
            need_admin()?;
            partitions::read_anew(volume)?;
        }
        BLKDISCARD => {
            let (first, count) = range(node, argument)?;
            volume.discard(first, count).map_err(errno_of)?;
        }
        BLKZEROOUT => {
            let (first, count) = range(node, argument)?;
            volume.write_zeroes(first, count).map_err(|e| match e {
                BlockError::Busy => Errno::ENOMEM,
                e => errno_of(e),
            })?;
        }
        HDIO_GETGEO => geometry(volume, argument)?,
        _ => return Err(Errno::ENOTTY),
    }
    Ok(0)
}

/// The byte range (two u64) of BLKDISCARD and BLKZEROOUT, in sectors.
fn range(node: &Node, argument: usize) -> Result<(u64, u64)> {
    if !node.is_writable() {
        return Err(Errno::EBADF);
    }
    let [start, len] = UserPtr::<[u64; 2]>::new(argument).read()?;
    let volume = node.volume();
    let block = u64::from(volume.logical_block_bytes());
    let end = start.checked_add(len).ok_or(Errno::EINVAL)?;
    if !(start | len).is_multiple_of(block) || end > volume.size_bytes() {
        return Err(Errno::EINVAL);
    }
    if volume.is_read_only() {
        return Err(Errno::EPERM);
    }
    if len == 0 {
        return Err(Errno::EINVAL);
    }
    Ok((start / SECTOR_BYTES, len / SECTOR_BYTES))
}

/// Heads (u8), sectors (u8), cylinders (u16), four bytes of nothing, start (u64): what virtio disks make up on Linux.
fn geometry(volume: &Arc<Volume>, argument: usize) -> Result<()> {
    let whole = volume.disk().limits().sector_count;
    let cylinders = (whole >> 11) as u16;
    let [low, high] = cylinders.to_le_bytes();
    let mut out = [0u8; 16];
    for (to, from) in out.iter_mut().zip([64, 32, low, high]) {
        *to = from;
    }
    for (to, from) in out.iter_mut().skip(8).zip(volume.first_sector().to_le_bytes()) {
        *to = from;
    }
    UserPtr::<[u8; 16]>::new(argument).write(&out)
}
