//! Writing a slot, and reading it back.

use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use sha2::{Digest, Sha256};
use sis_bundle::{BLOCK_BYTES, BundleError, Part, Slot, Unpacker, sha256_hex};

use crate::card::Card;
use crate::receive::Received;
use crate::selector::forget_cached;
use crate::{UpdateError, at};

/// What is written and read at once.
const PIECE_BLOCKS: u64 = 64;

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Writing.
    Write,
    /// Reading back.
    Verify,
}

/// Writes `received` onto `slot` of the card, which must not run, and reads it back. `progress` is told how many bytes of how
/// many are done.
///
/// # Errors
/// [`UpdateError`]; the slot is of no use then, and nothing else was touched.
pub fn install(
    card: &Card,
    received: &Received,
    slot: Slot,
    progress: &mut dyn FnMut(Step, u64, u64),
) -> Result<(), UpdateError> {
    if slot == card.running {
        return Err(UpdateError::OnTrial(slot));
    }
    let parts = || received.head.manifest.parts_of(slot);
    // All that can be told before the first byte is written.
    for (_, part) in parts() {
        let partition = part.target.partition(slot);
        let device = card.partition(partition)?;
        let mut file = File::open(device).map_err(at(device))?;
        let has = file.seek(SeekFrom::End(0)).map_err(at(device))?;
        if has < part.partition_bytes {
            return Err(UpdateError::TooSmall {
                partition,
                has,
                needs: part.partition_bytes,
            });
        }
    }
    let total = parts().map(|(_, part)| part.content_bytes()).sum();
    let mut done = 0;
    for (offset, part) in parts() {
        let mut stored = File::open(&received.path).map_err(at(&received.path))?;
        stored.seek(SeekFrom::Start(offset)).map_err(at(&received.path))?;
        let mut unpacker = Unpacker::new(part, BufReader::with_capacity(64 << 10, stored));
        let device = card.partition(part.target.partition(slot))?;
        let file = File::options().write(true).open(device).map_err(at(device))?;
        each_piece(part, |at_byte, piece| {
            unpacker.fill(piece)?;
            file.write_all_at(piece, at_byte).map_err(at(device))?;
            done += piece.len() as u64;
            progress(Step::Write, done, total);
            Ok(())
        })?;
        unpacker.finish()?;
        file.sync_all().map_err(at(device))?;
    }
    done = 0;
    for (_, part) in parts() {
        let partition = part.target.partition(slot);
        let device = card.partition(partition)?;
        let file = File::open(device).map_err(at(device))?;
        forget_cached(&file).map_err(at(device))?;
        let mut digest = Sha256::new();
        each_piece(part, |at_byte, piece| {
            file.read_exact_at(piece, at_byte).map_err(at(device))?;
            digest.update(&*piece);
            done += piece.len() as u64;
            progress(Step::Verify, done, total);
            Ok(())
        })?;
        if sha256_hex(digest) != part.sha256 {
            return Err(UpdateError::ReadBack { partition });
        }
    }
    Ok(())
}

/// Goes through the blocks of a part in pieces, each with where it is on the partition.
fn each_piece(part: &Part, mut then: impl FnMut(u64, &mut [u8]) -> Result<(), UpdateError>) -> Result<(), UpdateError> {
    let mut buffer = vec![0; (PIECE_BLOCKS * BLOCK_BYTES) as usize];
    for range in &part.ranges {
        let end = range.first + range.count;
        let mut next = range.first;
        while next < end {
            let count = PIECE_BLOCKS.min(end - next);
            let piece = buffer.get_mut(..(count * BLOCK_BYTES) as usize);
            let piece = piece.ok_or_else(|| BundleError::Manifest("a range is no range".into()))?;
            then(next * BLOCK_BYTES, piece)?;
            next += count;
        }
    }
    Ok(())
}
