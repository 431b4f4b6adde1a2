//! Writing and reading back.
//!
//! One thread reads and unpacks, one hashes, the caller's writes; they share a few chunks of [`CHUNK_BYTES`] each, which
//! is all the memory that it takes. Afterwards what was written is made durable, thrown out of the page cache and read
//! from the device again, and every run's hash is compared.
//!
//! Reading back waits until everything is written, although the device could do both at once: a card that is smaller
//! than it says may keep late chunks in the place of early ones, and an early one that was read before that is no proof.

use crate::bmap::{Hash, Range};
use crate::buffer::Buffer;
use crate::source::Source;
use crate::target::Target;
use crate::verify::verify;
use sha2::{Digest, Sha256};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

/// What is written at once, in bytes. Chunks lie on multiples of it.
pub const CHUNK_BYTES: usize = crate::buffer::CAPACITY;
/// Chunks that the threads of writing share.
const BUFFERS: usize = 6;

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
        bytes: Buffer,
    },
    /// A run was read whole; its hash is the one to come, where there is one.
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
    if target.len_bytes().is_some() {
        source.fill_holes();
    }
    let told_bytes = source.image_bytes;
    if let Some(image_bytes) = told_bytes {
        check_fits(target, image_bytes)?;
        // Before the first chunk: a file that need not grow with every chunk is written faster.
        lengthen(target, image_bytes)?;
    }
    let (runs, written_bytes) = write_all(source, target, stop, progress)?;
    let image_bytes = told_bytes.unwrap_or(written_bytes);
    progress(Progress {
        phase: Phase::Sync,
        bytes: 0,
        total: None,
    });
    lengthen(target, image_bytes)?;
    target.sync().map_err(|error| WriteError::Device {
        what: "syncing",
        offset: 0,
        error,
    })?;
    if is_verifying {
        verify(&runs, target, stop, progress)?;
    }
    Ok(Written {
        image_bytes,
        written_bytes,
        is_verified: is_verifying,
    })
}

fn check_fits(target: &dyn Target, image_bytes: u64) -> Result<(), WriteError> {
    match target.len_bytes() {
        Some(device_bytes) if image_bytes > device_bytes => Err(WriteError::TooLarge {
            image_bytes,
            device_bytes,
        }),
        _ => Ok(()),
    }
}

fn lengthen(target: &dyn Target, image_bytes: u64) -> Result<(), WriteError> {
    target.set_len(image_bytes).map_err(|error| WriteError::Device {
        what: "lengthening",
        offset: 0,
        error,
    })
}

/// Writes every run of the image; answers them with their hashes, and how many bytes they were.
fn write_all(
    mut source: Source,
    target: &dyn Target,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Vec<Range>, u64), WriteError> {
    let total = source.mapped_bytes();
    std::thread::scope(|scope| {
        // No queue is longer than there are buffers.
        let (to_hasher, read) = channel();
        let (to_writer, hashed) = channel();
        let (give_back, spare) = sync_channel(BUFFERS);
        for _ in 0..BUFFERS {
            // There is room for all of them.
            let _ = give_back.try_send(Buffer::new());
        }
        let reader = scope.spawn(move || read_all(&mut source, &to_hasher, &spare));
        let hasher = scope.spawn(move || hash_all(&read, &to_writer));
        // Owns its ends of the queues: when it is done, for whatever reason, the others stop.
        let written = write_chunks(hashed, give_back, target, stop, |bytes| {
            progress(Progress {
                phase: Phase::Write,
                bytes,
                total,
            });
        });
        let hashed = hasher.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let read = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let written_bytes = written?;
        read?;
        Ok((hashed?, written_bytes))
    })
}

/// Writes chunks until there are no more, telling after each how many bytes it was; answers their sum.
fn write_chunks(
    chunks: Receiver<(u64, Buffer)>,
    give_back: SyncSender<Buffer>,
    target: &dyn Target,
    stop: &AtomicBool,
    mut tell: impl FnMut(u64),
) -> Result<u64, WriteError> {
    let mut done = 0;
    for (offset, buffer) in chunks {
        if stop.load(Ordering::Relaxed) {
            return Err(WriteError::Interrupted);
        }
        let bytes = buffer.bytes();
        check_fits(target, offset + bytes.len() as u64)?;
        target.write_at(offset, bytes).map_err(|error| WriteError::Device {
            what: "writing",
            offset,
            error,
        })?;
        done += bytes.len() as u64;
        tell(done);
        // The reader may have had its last chunk.
        let _ = give_back.try_send(buffer);
    }
    Ok(done)
}

/// Reads every run of the image, and answers its error. Returns quietly when the others are gone.
fn read_all(source: &mut Source, to_hasher: &Sender<Message>, spare: &Receiver<Buffer>) -> Result<(), WriteError> {
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
    let mut ranges = ranges.into_iter().peekable();
    while let Some(range) = ranges.next() {
        if let Some(next) = ranges.peek() {
            source.announce(*next);
        }
        let failed = |offset| move |error| WriteError::Source { offset, error };
        source.skip_to(range.start).map_err(failed(range.start))?;
        let mut at = 0;
        while at < range.len {
            let offset = range.start + at;
            let want = (range.len - at).min(to_boundary(offset) as u64) as usize;
            let Ok(mut bytes) = spare.recv() else {
                return Ok(());
            };
            bytes.set_len(want);
            let count = source.read(bytes.bytes_mut()).map_err(failed(offset))?;
            if count < want && is_bounded {
                return Err(failed(offset + count as u64)(io::ErrorKind::UnexpectedEof.into()));
            }
            bytes.set_len(count);
            at += count as u64;
            if count > 0 && to_hasher.send(Message::Chunk { offset, bytes }).is_err() {
                return Ok(());
            }
            if count < want {
                break;
            }
        }
        if to_hasher.send(Message::End(Range { len: at, ..range })).is_err() {
            return Ok(());
        }
    }
    source.finish().map_err(|error| WriteError::Source { offset: 0, error })
}

/// Hashes the chunks on their way to the writer; answers the runs with their hashes. Returns quietly when the writer is
/// gone.
fn hash_all(chunks: &Receiver<Message>, to_writer: &Sender<(u64, Buffer)>) -> Result<Vec<Range>, WriteError> {
    let mut runs = Vec::new();
    let mut hasher = Sha256::new();
    for message in chunks {
        match message {
            Message::Chunk { offset, bytes } => {
                hasher.update(bytes.bytes());
                if to_writer.send((offset, bytes)).is_err() {
                    break;
                }
            }
            Message::End(run) => {
                let hash = Hash::from(std::mem::take(&mut hasher).finalize());
                if run.sha256.is_some_and(|expected| expected != hash) {
                    return Err(WriteError::Checksum {
                        start: run.start,
                        end: run.start + run.len,
                    });
                }
                runs.push(Range {
                    sha256: Some(hash),
                    ..run
                });
            }
        }
    }
    Ok(runs)
}

/// Bytes from `offset` to the next multiple of [`CHUNK_BYTES`].
pub(crate) const fn to_boundary(offset: u64) -> usize {
    CHUNK_BYTES - (offset % CHUNK_BYTES as u64) as usize
}
