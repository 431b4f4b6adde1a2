//! A superblock that a power cut left half written.
//!
//! It is two sectors long, and a disk writes single sectors whole. All that changes while a file system is in use is in the
//! first one, except the checksum, which is in the second: of two states, a cut may leave the fields of one and the checksum
//! of the other. Either state's fields are good: the journal, where it is in use, brings what follows. So a wrong checksum
//! is forgiven if all that never changes is the same as in a copy whose checksum is right; free space and the like is
//! counted anew.

use alloc::vec;
use alloc::vec::Vec;

use crate::bytes::{put, put_u32, slice, u32_at};
use crate::crc::crc32c;
use crate::features::{incompat, ro_compat};
use crate::layout::{Layout, SUPERBLOCK_BYTES, SUPERBLOCK_CHECKSUM, field};
use crate::volume::seal_superblock;
use crate::{Disk, Error};

const WRONG: Error = Error::Corrupt("checksum of the superblock");

/// What may change while mounted, or differs between copies: offset and length.
const CHANGING: [(usize, usize); 11] = [
    (field::FREE_BLOCKS, 4),
    (field::FREE_INODES, 4),
    // Times and count of mounts, up to the magic.
    (field::MOUNT_TIME, 12),
    (field::STATE, 2),
    // When it was last checked.
    (0x40, 4),
    // The group this copy is in.
    (0x5a, 2),
    (0x88, 64),
    (field::LAST_ORPHAN, 4),
    (field::FREE_BLOCKS_HIGH, 4),
    (0x178, 8),
    (field::ERROR_COUNT, field::ERROR_END - field::ERROR_COUNT),
];

/// The part that never changes.
fn constant(sb: &[u8]) -> Result<Vec<u8>, Error> {
    let mut out = slice(sb, 0, SUPERBLOCK_BYTES)?.to_vec();
    for (at, len) in CHANGING {
        crate::bytes::slice_mut(&mut out, at, len)?.fill(0);
    }
    put_u32(&mut out, SUPERBLOCK_CHECKSUM, 0)?;
    let bits = u32_at(&out, field::INCOMPAT)? & !incompat::RECOVER;
    put_u32(&mut out, field::INCOMPAT, bits)?;
    let bits = u32_at(&out, field::RO_COMPAT)? & !(ro_compat::LARGE_FILE | ro_compat::ORPHAN_PRESENT);
    put_u32(&mut out, field::RO_COMPAT, bits)?;
    Ok(out)
}

/// Reads a superblock whose checksum is wrong, and writes the right one into `sb`.
pub(super) fn parse<D: Disk>(disk: &D, sb: &mut [u8]) -> Result<Layout, Error> {
    if u32_at(sb, field::RO_COMPAT)? & ro_compat::METADATA_CSUM == 0 {
        return Layout::parse(sb, disk.len_bytes());
    }
    let mut sealed = sb.to_vec();
    seal_superblock(&mut sealed, true)?;
    let layout = Layout::parse(&sealed, disk.len_bytes())?;
    let expected = constant(sb)?;
    let copies = (1..layout.groups).filter(|n| layout.has_superblock(*n)).take(4);
    for n in copies {
        let mut copy = vec![0; SUPERBLOCK_BYTES];
        disk.read(layout.group_start(n) * layout.block_bytes as u64, &mut copy)?;
        let sum = crc32c(!0, slice(&copy, 0, SUPERBLOCK_CHECKSUM)?);
        if sum == u32_at(&copy, SUPERBLOCK_CHECKSUM)? && constant(&copy)? == expected {
            put(sb, 0, &sealed)?;
            return Ok(layout);
        }
    }
    Err(WRONG)
}
