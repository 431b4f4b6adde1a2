//! Reading back.
//!
//! Several threads read, each every [`READERS`]th chunk, so that the device always has the next ones to do; the caller's
//! thread takes the chunks in their order, hashes them and compares.

use crate::bmap::{Hash, Range};
use crate::buffer::Buffer;
use crate::target::Target;
use crate::write::{Phase, Progress, WriteError, to_boundary};
use sha2::{Digest, Sha256};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};

/// Threads that read.
const READERS: usize = 3;
/// Chunks that each of them has: one that it reads, one that is hashed or waits for it.
const BUFFERS: usize = 2;

/// A part of a run that is read at once.
#[derive(Clone, Copy)]
struct Chunk {
    offset: u64,
    len: usize,
}

/// A reader as the comparing thread sees it.
struct Reader {
    chunks: Receiver<Result<Buffer, WriteError>>,
    give_back: SyncSender<Buffer>,
}

/// Reads the runs from the device again and compares their hashes. Everything must have been made durable before.
pub(crate) fn verify(
    runs: &[Range],
    target: &dyn Target,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), WriteError> {
    target.forget_cache().map_err(|error| WriteError::Device {
        what: "preparing to read",
        offset: 0,
        error,
    })?;
    std::thread::scope(|scope| {
        let readers: Vec<Reader> = (0..READERS)
            .map(|index| {
                let (to_comparer, chunks) = channel();
                let (give_back, spare) = sync_channel(BUFFERS);
                for _ in 0..BUFFERS {
                    // There is room for all of them.
                    let _ = give_back.try_send(Buffer::new());
                }
                let mine = chunks_of(runs).skip(index).step_by(READERS);
                scope.spawn(move || {
                    for chunk in mine {
                        // Without a buffer or a taker the comparing thread is gone.
                        let Ok(buffer) = spare.recv() else { return };
                        if to_comparer.send(read(target, chunk, buffer)).is_err() {
                            return;
                        }
                    }
                });
                Reader { chunks, give_back }
            })
            .collect();
        // Owned by this closure, so that every way out of it ends the readers.
        compare(runs, &readers, stop, progress)
    })
}

fn read(target: &dyn Target, chunk: Chunk, mut buffer: Buffer) -> Result<Buffer, WriteError> {
    buffer.set_len(chunk.len);
    let error = |error| WriteError::Device {
        what: "reading",
        offset: chunk.offset,
        error,
    };
    target.read_at(chunk.offset, buffer.bytes_mut()).map_err(error)?;
    Ok(buffer)
}

/// Takes the chunks of `runs` in their order.
fn compare(
    runs: &[Range],
    readers: &[Reader],
    stop: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), WriteError> {
    let total = runs.iter().map(|run| run.len).sum();
    let mut turns = readers.iter().cycle();
    let mut bytes = 0;
    for run in runs {
        let mut hasher = Sha256::new();
        for chunk in chunks_of(std::slice::from_ref(run)) {
            if stop.load(Ordering::Relaxed) {
                return Err(WriteError::Interrupted);
            }
            let buffer = turns
                .next()
                .and_then(|reader| reader.chunks.recv().ok().map(|read| (read, &reader.give_back)));
            let (read, give_back) = buffer.expect("a reader has as many chunks as are asked of it");
            let buffer = read?;
            hasher.update(buffer.bytes());
            // Its reader may have had its last chunk.
            let _ = give_back.try_send(buffer);
            bytes += chunk.len as u64;
            progress(Progress {
                phase: Phase::Verify,
                bytes,
                total: Some(total),
            });
        }
        if run.sha256 != Some(Hash::from(hasher.finalize())) {
            return Err(WriteError::Differs {
                start: run.start,
                end: run.start + run.len,
            });
        }
    }
    Ok(())
}

/// The chunks of every run, in their order.
fn chunks_of(runs: &[Range]) -> impl Iterator<Item = Chunk> {
    runs.iter().flat_map(|run| {
        let end = run.start + run.len;
        let first = (run.start < end).then_some(run.start);
        let starts = std::iter::successors(first, move |offset| {
            Some(offset + to_boundary(*offset) as u64).filter(|next| *next < end)
        });
        starts.map(move |offset| Chunk {
            offset,
            len: (end - offset).min(to_boundary(offset) as u64) as usize,
        })
    })
}
