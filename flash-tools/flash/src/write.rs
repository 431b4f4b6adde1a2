//! Writing and reading back.
//!
//! One thread reads, unpacks and hashes, this one writes; between them is a bounded queue of [`CHUNK_BYTES`] each, which
//! is all the memory that it takes. Afterwards what was written is made durable, thrown out of the page cache and read
//! from the device again, and every run's hash is compared.

use crate::bmap::{Hash, Range};
use crate::source::Source;
use crate::target::Target;
use sha2::{Digest, Sha256};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// What is written at once, in bytes. Chunks lie on multiples of it.
pub const CHUNK_BYTES: usize = 4 << 20;
/// Chunks between the two threads.
const QUEUE: usize = 4;

/// What goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The image goes to the device.
    Write,
    /// The device makes it durable.
    Sync,
    /// The device is read again.
    Verify,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What goes on.
    pub phase: Phase,
    /// Bytes done in this phase.
    pub bytes: u64,
    /// Bytes of this phase, where it is known.
    pub total: Option<u64>,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The image's length in bytes.
    pub image_bytes: u64,
    /// Bytes of it that were written.
    pub written_bytes: u64,
    /// Whether all of them were read back and compared.
    pub is_verified: bool,
}

/// Why the device does not hold the image. Unless it is [`TooLarge`](Self::TooLarge) with nothing written, the device
/// is incomplete and must be written again.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// It does not fit.
    #[error("the image has {image_bytes} bytes or more and the device {device_bytes}")]
    TooLarge {
        /// The image's length, or how far it is known.
        image_bytes: u64,
        /// The device's length.
        device_bytes: u64,
    },
    /// Reading or unpacking the image failed.
    #[error("reading the image failed at byte {offset}: {error}")]
    Source {
        /// Offset in the image, in bytes.
        offset: u64,
        /// Why.
        error: io::Error,
    },
    /// The image is not what its block map says.
    #[error("bytes {start} to {end} of the image do not match their checksum in the block map")]
    Checksum {
        /// First byte of the run.
        start: u64,
        /// The byte after it.
        end: u64,
    },
    /// The device failed.
    #[error("{what} the device failed at byte {offset}: {error}")]
    Device {
        /// What was tried: "writing".
        what: &'static str,
        /// Offset on the device, in bytes.
        offset: u64,
        /// Why.
        error: io::Error,
    },
    /// The device does not give back what was written.
    #[error(
        "bytes {start} to {end} read back from the device differ from what was written: it is broken or not as large as it says"
    )]
    Differs {
        /// First byte of the run.
        start: u64,
        /// The byte after it.
        end: u64,
    },
    /// It was asked to stop.
    #[error("interrupted")]
    Interrupted,
}

enum Message {
    Chunk {
        offset: u64,
        bytes: Vec<u8>,
    },
    /// A run was read whole, and this is its hash.
    End(Range),
}

/// Writes `source` onto `target` and, if `is_verifying`, reads it back. `progress` is called on this thread, a chunk at
/// a time; `stop` is looked at as often.
///
/// # Errors
/// [`WriteError`].
pub fn write(
    mut source: Source,
    target: &dyn Target,
    is_verifying: bool,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Written, WriteError> {
    let device_bytes = target.len_bytes();
    let fits = |image_bytes: u64| match device_bytes {
        Some(device_bytes) if image_bytes > device_bytes => Err(WriteError::TooLarge {
            image_bytes,
            device_bytes,
        }),
        _ => Ok(()),
    };
    if let Some(image_bytes) = source.image_bytes {
        fits(image_bytes)?;
    }
    if device_bytes.is_some() {
        source.fill_holes();
    }
    let (told_bytes, total) = (source.image_bytes, source.mapped_bytes());
    let mut runs: Vec<Range> = Vec::new();
    let mut done = 0;
    let result = std::thread::scope(|scope| {
        let (to_writer, chunks) = sync_channel(QUEUE);
        let (give_back, spare) = sync_channel(QUEUE * 2);
        let reader = scope.spawn(move || read_all(&mut source, &to_writer, &spare));
        let mut outcome = Ok(());
        for message in &chunks {
            let (offset, bytes) = match message {
                Message::End(run) => {
                    runs.push(run);
                    continue;
                }
                Message::Chunk { offset, bytes } => (offset, bytes),
            };
            outcome = if stop.load(Ordering::Relaxed) {
                Err(WriteError::Interrupted)
            } else {
                fits(offset + bytes.len() as u64).and_then(|()| {
                    let error = |error| WriteError::Device {
                        what: "writing",
                        offset,
                        error,
                    };
                    target.write_at(offset, &bytes).map_err(error)
                })
            };
            if outcome.is_err() {
                break;
            }
            done += bytes.len() as u64;
            progress(Progress {
                phase: Phase::Write,
                bytes: done,
                total,
            });
            // Full or gone: the buffer is simply freed.
            let _ = give_back.try_send(bytes);
        }
        // Ends the reader's sending.
        drop(chunks);
        let read = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        outcome.and(read)
    });
    result?;
    let image_bytes = told_bytes.unwrap_or(done);
    let device = |what, error| WriteError::Device { what, offset: 0, error };
    progress(Progress {
        phase: Phase::Sync,
        bytes: 0,
        total: None,
    });
    target
        .set_len(image_bytes)
        .map_err(|error| device("lengthening", error))?;
    target.sync().map_err(|error| device("syncing", error))?;
    if is_verifying {
        verify(&runs, target, stop, progress)?;
    }
    Ok(Written {
        image_bytes,
        written_bytes: done,
        is_verified: is_verifying,
    })
}

/// Reads every run of the image, and answers its error. Returns quietly when the writer is gone.
fn read_all(source: &mut Source, to_writer: &SyncSender<Message>, spare: &Receiver<Vec<u8>>) -> Result<(), WriteError> {
    let open_end = Range {
        start: 0,
        len: u64::MAX,
        sha256: None,
    };
    let is_bounded = source.image_bytes.is_some();
    let ranges = if is_bounded {
        std::mem::take(&mut source.ranges)
    } else {
        vec![open_end]
    };
    for range in ranges {
        let failed = |offset| move |error| WriteError::Source { offset, error };
        source.skip_to(range.start).map_err(failed(range.start))?;
        let mut hasher = Sha256::new();
        let mut at = 0;
        while at < range.len {
            let offset = range.start + at;
            let want = (range.len - at).min(to_boundary(offset) as u64) as usize;
            let mut bytes = spare.try_recv().unwrap_or_default();
            bytes.resize(want, 0);
            let count = source.read(&mut bytes).map_err(failed(offset))?;
            if count < want && is_bounded {
                return Err(failed(offset + count as u64)(io::ErrorKind::UnexpectedEof.into()));
            }
            bytes.truncate(count);
            hasher.update(&bytes);
            at += count as u64;
            if count > 0 && to_writer.send(Message::Chunk { offset, bytes }).is_err() {
                return Ok(());
            }
            if count < want {
                break;
            }
        }
        let hash = Hash::from(hasher.finalize());
        if range.sha256.is_some_and(|expected| expected != hash) {
            return Err(WriteError::Checksum {
                start: range.start,
                end: range.start + range.len,
            });
        }
        if to_writer
            .send(Message::End(Range {
                start: range.start,
                len: at,
                sha256: Some(hash),
            }))
            .is_err()
        {
            return Ok(());
        }
    }
    source.finish().map_err(|error| WriteError::Source { offset: 0, error })
}

/// Reads the runs from the device again, one thread reading, one hashing.
fn verify(
    runs: &[Range],
    target: &dyn Target,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), WriteError> {
    let device = |what, offset| move |error| WriteError::Device { what, offset, error };
    target.forget_cache().map_err(device("preparing to read", 0))?;
    let total = runs.iter().map(|run| run.len).sum();
    std::thread::scope(|scope| {
        let (to_hasher, chunks) = sync_channel::<Message>(QUEUE);
        let (give_back, spare) = sync_channel(QUEUE * 2);
        let hasher = scope.spawn(move || compare(&chunks, &give_back));
        let mut done = 0;
        let mut read_runs = || {
            for run in runs {
                let mut at = 0;
                while at < run.len {
                    if stop.load(Ordering::Relaxed) {
                        return Err(WriteError::Interrupted);
                    }
                    let offset = run.start + at;
                    let want = (run.len - at).min(to_boundary(offset) as u64);
                    let mut bytes: Vec<u8> = spare.try_recv().unwrap_or_default();
                    bytes.resize(want as usize, 0);
                    target.read_at(offset, &mut bytes).map_err(device("reading", offset))?;
                    at += want;
                    done += want;
                    if to_hasher.send(Message::Chunk { offset, bytes }).is_err() {
                        // It found a difference.
                        return Ok(());
                    }
                    progress(Progress {
                        phase: Phase::Verify,
                        bytes: done,
                        total: Some(total),
                    });
                }
                if to_hasher.send(Message::End(*run)).is_err() {
                    return Ok(());
                }
            }
            Ok(())
        };
        let read = read_runs();
        drop(to_hasher);
        let compared = hasher.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        read.and(compared)
    })
}

fn compare(chunks: &Receiver<Message>, give_back: &SyncSender<Vec<u8>>) -> Result<(), WriteError> {
    let mut hasher = Sha256::new();
    for message in chunks {
        match message {
            Message::Chunk { bytes, .. } => {
                hasher.update(&bytes);
                // Full or gone: the buffer is simply freed.
                let _ = give_back.try_send(bytes);
            }
            Message::End(run) => {
                let hash = Hash::from(std::mem::take(&mut hasher).finalize());
                if run.sha256 != Some(hash) {
                    return Err(WriteError::Differs {
                        start: run.start,
                        end: run.start + run.len,
                    });
                }
            }
        }
    }
    Ok(())
}

/// Bytes from `offset` to the next multiple of [`CHUNK_BYTES`].
const fn to_boundary(offset: u64) -> usize {
    CHUNK_BYTES - (offset % CHUNK_BYTES as u64) as usize
}
