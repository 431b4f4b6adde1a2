//! Reads and writes of any bytes of a disk: whole blocks through memory of our own, as nothing is cached.

use alloc::vec::Vec;

use sis_hal::{OutOfRange, SECTOR_BYTES, ScatterList};
use sis_machine::mm::PAGE_SIZE;
use sis_machine::mm::scatter::{FramePiece, FrameScatter};

use super::io::errno_of;
use super::partitions::shorten;
use super::volume::{Durability, Volume, new_pieces};
use crate::user::{Sink, Source};
use crate::{Errno, Result};

/// Bytes that are transferred at once.
const STEP: u64 = 1 << 20;

fn list(pieces: &[FramePiece]) -> Result<FrameScatter> {
    FrameScatter::new(pieces.to_vec(), u32::MAX).map_err(|_| Errno::ENOMEM)
}

/// The whole blocks around `at..at + len`: where they begin, and their bytes.
fn around(block: u64, at: u64, len: u64) -> (u64, u64) {
    let start = at - at % block;
    (start, (at + len).next_multiple_of(block) - start)
}

/// Reads from byte `offset` on; the caller has cut the sink to the volume's end.
pub(super) fn read(volume: &Volume, to: &mut Sink<'_>, offset: u64) -> Result<usize> {
    let block = u64::from(volume.logical_block_bytes());
    let mut done = 0;
    while to.remaining() > 0 {
        let at = offset + done as u64;
        let want = (to.remaining() as u64).min(STEP - at % block);
        let (start, bytes) = around(block, at, want);
        let step = step_in(volume, to, (start, bytes), (at - start) as usize, want as usize);
        match step {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(_) if done > 0 => break,
            Err(e) => return Err(e),
        }
        crate::sched::cond_resched();
    }
    Ok(done)
}

fn step_in(volume: &Volume, to: &mut Sink<'_>, range: (u64, u64), skip: usize, want: usize) -> Result<usize> {
    let (start, bytes) = range;
    let pieces = shorten(new_pieces(bytes as usize)?, bytes as usize);
    volume.read(start / SECTOR_BYTES, pieces.clone()).map_err(errno_of)?;
    let (mut n, mut at) = (0, skip);
    while n < want {
        let Some(piece) = pieces.get(at / PAGE_SIZE) else { break };
        let len = (PAGE_SIZE - at % PAGE_SIZE).min(want - n);
        match to.put_frame(&piece.frame, at % PAGE_SIZE, len) {
            Ok(k) => {
                n += k;
                at += k;
                if k < len {
                    break;
                }
            }
            Err(_) if n > 0 => break,
            Err(e) => return Err(e),
        }
    }
    Ok(n)
}

/// Writes from byte `offset` on; the caller has cut the source to the volume's end.
pub(super) fn write(volume: &Volume, from: &mut Source<'_>, offset: u64, durability: Durability) -> Result<usize> {
    let block = u64::from(volume.logical_block_bytes());
    let mut done = 0;
    while from.remaining() > 0 {
        let at = offset + done as u64;
        let want = (from.remaining() as u64).min(STEP - at % block);
        let (start, bytes) = around(block, at, want);
        let step = step_out(volume, from, (start, bytes), (at - start) as usize, want as usize);
        match step {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(_) if done > 0 => break,
            Err(e) => return Err(e),
        }
        crate::sched::cond_resched();
    }
    if durability == Durability::Stable && done > 0 {
        volume.flush().map_err(errno_of)?;
    }
    Ok(done)
}

fn step_out(volume: &Volume, from: &mut Source<'_>, range: (u64, u64), skip: usize, want: usize) -> Result<usize> {
    let (start, bytes) = range;
    let block = u64::from(volume.logical_block_bytes()) as usize;
    let pieces = shorten(new_pieces(bytes as usize)?, bytes as usize);
    let got = gather(from, &pieces, skip, want)?;
    if got == 0 {
        return Ok(0);
    }
    // A bad address in the middle ends the write earlier.
    let used = (skip + got).next_multiple_of(block);
    let pieces = shorten(pieces, used);
    let _guard = (skip != 0 || skip + got != used).then(|| volume.lock_partial());
    if skip != 0 {
        keep(volume, &pieces, (start, 0), 0..skip, block)?;
    }
    let end = skip + got;
    if end != used {
        keep(volume, &pieces, (start, used - block), end..used, block)?;
    }
    volume
        .write(start / SECTOR_BYTES, pieces, Durability::Cached)
        .map_err(errno_of)?;
    Ok(got)
}

/// Takes up to `want` bytes in, from byte `skip` of the pieces on.
fn gather(from: &mut Source<'_>, pieces: &[FramePiece], skip: usize, want: usize) -> Result<usize> {
    let (mut n, mut at) = (0, skip);
    while n < want {
        let Some(piece) = pieces.get(at / PAGE_SIZE) else { break };
        let len = (PAGE_SIZE - at % PAGE_SIZE).min(want - n);
        match from.take_to_frame(&piece.frame, at % PAGE_SIZE, len) {
            Ok(k) => {
                n += k;
                at += k;
                if k < len {
                    break;
                }
            }
            Err(_) if n > 0 => break,
            Err(e) => return Err(e),
        }
    }
    Ok(n)
}

/// Puts what the disk has in bytes `part` of the pieces, which lie in the block at byte `at.1` of them.
fn keep(
    volume: &Volume,
    pieces: &[FramePiece],
    at: (u64, usize),
    part: core::ops::Range<usize>,
    block: usize,
) -> Result<()> {
    let old = shorten(new_pieces(block)?, block);
    let sector = (at.0 + at.1 as u64) / SECTOR_BYTES;
    volume.read(sector, old.clone()).map_err(errno_of)?;
    let mut buf: Vec<u8> = Vec::new();
    buf.try_reserve_exact(part.len()).map_err(|_| Errno::ENOMEM)?;
    buf.resize(part.len(), 0);
    let bad = |OutOfRange| Errno::EIO;
    list(&old)?.read(part.start - at.1, &mut buf).map_err(bad)?;
    list(pieces)?.write(part.start, &buf).map_err(bad)
}
