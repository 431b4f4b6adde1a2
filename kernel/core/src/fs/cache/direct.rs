//! Transfers between a program's memory and the disk that leave the cache out (O_DIRECT).

use alloc::sync::Arc;
use alloc::vec::Vec;

use sis_hal::{BlockOp, SECTOR_BYTES};
use sis_machine::mm::scatter::FramePiece;

use super::{Extent, PAGE, Place, Store, Wait, back};
use crate::block::{Io, IoWait};
use crate::user::{Sink, Source};
use crate::{Errno, Result};

/// Bytes that are transferred at once.
const STEP: u64 = 4 << 20;
/// What a program's memory is aligned to (see Linux's queue/dma_alignment).
const ALIGN: usize = 512;

/// The part of `pieces` from `at` on, `len` bytes long; both are multiples of 512, as are the pieces.
fn part(pieces: &[FramePiece], at: u64, len: u64) -> Vec<FramePiece> {
    let mut out = Vec::new();
    let (mut skip, mut left) = (at, len);
    for p in pieces {
        let here = u64::from(p.len);
        if skip >= here {
            skip -= here;
            continue;
        }
        let n = (here - skip).min(left);
        if n == 0 {
            break;
        }
        out.push(FramePiece {
            frame: p.frame.clone(),
            offset: p.offset + skip as u32,
            len: n as u32,
        });
        left -= n;
        skip = 0;
    }
    out
}

/// Transfers `pieces`, which are bytes `skip..` of what `extents` cover.
fn transfer(store: &dyn Store, op: BlockOp, extents: &[Extent], skip: u64, pieces: &[FramePiece]) -> Result<()> {
    let len: u64 = pieces.iter().map(|p| u64::from(p.len)).sum();
    let wait = IoWait::new();
    let mut ios = Vec::new();
    let (mut begin, mut done) = (0, 0);
    for extent in extents {
        let end = begin + extent.len;
        let from = (skip + done).max(begin);
        if from < end && done < len {
            let n = (end - from).min(len - done);
            match extent.place {
                Place::Sector(sector) => ios.push(Io {
                    op,
                    first_sector: sector + (from - begin) / SECTOR_BYTES,
                    sector_count: n / SECTOR_BYTES,
                    pieces: part(pieces, done, n),
                    done: wait.clone(),
                    cookie: 0,
                }),
                Place::Nowhere => zero(pieces, done, n),
            }
            done += n;
        }
        begin = end;
    }
    if done < len {
        if op != BlockOp::Read {
            return Err(Errno::EIO);
        }
        zero(pieces, done, len - done);
    }
    wait.expect(ios.len());
    store.device().submit_all(ios);
    wait.wait_errno()
}

fn zero(pieces: &[FramePiece], at: u64, len: u64) {
    for p in part(pieces, at, len) {
        p.frame.zero_range(p.offset as usize, p.len as usize);
    }
}

/// Whether a transfer of `len` bytes at `offset` may be direct at all: whole sectors.
pub fn is_aligned(offset: u64, len: u64) -> bool {
    (offset | len).is_multiple_of(SECTOR_BYTES)
}

/// Reads user memory's worth from `offset` on, both multiples of 512.
///
/// # Errors
/// `EINVAL` for memory that is not aligned, `EFAULT`, `EIO`, when nothing could be read.
pub fn read(store: &Arc<dyn Store>, to: &mut Sink<'_>, offset: u64) -> Result<usize> {
    let size = store.cache().size();
    let wanted = to.remaining() as u64;
    let Some(there) = size.checked_sub(offset).filter(|n| *n > 0) else {
        return Ok(0);
    };
    let whole = there.next_multiple_of(SECTOR_BYTES).min(wanted);
    let (first, last) = (offset / PAGE, (offset + whole).div_ceil(PAGE));
    back::write_back(store, first, last, Wait::Yes)?;
    let mut done = 0;
    while done < whole {
        let at = offset + done;
        let n = (whole - done).min(STEP);
        let step = to.pin(n as usize, ALIGN).and_then(|pieces| {
            let (first, last) = (at / PAGE, (at + n).div_ceil(PAGE));
            // The blocks stay the file's while they are read.
            let _filling = store.cache().lock_filling();
            let extents = store.map_read(first, last - first)?;
            transfer(store.as_ref(), BlockOp::Read, &extents, at - first * PAGE, &pieces)
        });
        match step {
            Ok(()) => done += n,
            Err(_) if done > 0 => break,
            Err(e) => return Err(e),
        }
    }
    Ok(done.min(there) as usize)
}

/// Whether [`write()`] does it: whole pages, so that no block is written in part. Others go through the cache and are
/// written back at once.
pub fn is_whole(offset: u64, len: u64) -> bool {
    (offset | len).is_multiple_of(PAGE)
}

/// Writes user memory's worth at `offset`, whole pages. `writing` is held by the caller. Answers how much; the file has
/// grown to hold it.
///
/// # Errors
/// `EINVAL` for memory that is not aligned, `EFAULT`, `EIO`, `ENOSPC` and those of the store, when nothing could be
/// written.
pub fn write(store: &Arc<dyn Store>, from: &mut Source<'_>, offset: u64) -> Result<usize> {
    let cache = store.cache();
    let mut done = 0;
    while from.remaining() > 0 {
        let at = offset + done;
        let n = (from.remaining() as u64).min(STEP);
        let (first, last) = (at / PAGE, (at + n) / PAGE);
        let step = from.pin(n as usize, ALIGN).and_then(|pieces| {
            cache.punch(first, last, || {
                let mut covered = first;
                while covered < last {
                    let extents = store.map_write(covered, last - covered, 0)?;
                    let bytes: u64 = extents.iter().map(|e| e.len).sum();
                    let pages = (bytes / PAGE).min(last - covered);
                    if pages == 0 {
                        return Err(Errno::EIO);
                    }
                    let piece = part(&pieces, (covered - first) * PAGE, pages * PAGE);
                    transfer(store.as_ref(), BlockOp::Write, &extents, 0, &piece)?;
                    cache.grow((covered + pages) * PAGE);
                    store.written(covered, pages * PAGE)?;
                    covered += pages;
                }
                Ok(())
            })
        });
        match step {
            Ok(()) => done += n,
            Err(_) if done > 0 => break,
            Err(e) => return Err(e),
        }
    }
    Ok(done as usize)
}
