//! The kernel's control device: one CBOR message a read or write (`sis_protocol::control`).
//!
//! It is opened three times, because answers come in order: for events, for samples, and for everything else.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sis_protocol::control::{ErrorCode, MAX_MESSAGE_BYTES, Message, Request, RequestBody, ResponseBody};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use super::{Asked, QUEUE, Source, SourceKind, Told, failure};
use crate::stderr;

/// An answer takes no longer; a self-check may take ten seconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// Before the event reader opens the device again after an error.
const PAUSE: Duration = Duration::from_secs(1);
/// Events on their way to the log.
const TOLD: usize = 256;

/// The control device cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}", path = path.display())]
pub struct ControlError {
    path: PathBuf,
    source: io::Error,
}

type Opener = dyn Fn() -> io::Result<File> + Send + Sync;

/// The control device at `path`.
///
/// # Errors
/// [`ControlError`] when it cannot be opened.
pub fn control(path: &Path) -> Result<Source, ControlError> {
    let device = path.to_path_buf();
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let open = move || {
        OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags)
            .open(&device)
    };
    control_with(Arc::new(open)).map_err(|source| ControlError {
        path: path.into(),
        source,
    })
}

/// A control device that `open` opens, non-blocking, each time anew.
///
/// # Errors
/// Those of the first opening.
pub fn control_with(open: Arc<Opener>) -> io::Result<Source> {
    let (requests, request_queue) = mpsc::channel(QUEUE);
    let (samples, sample_queue) = mpsc::channel(QUEUE);
    let (teller, told) = mpsc::channel(TOLD);
    let first = Device::open(&*open)?;
    tokio::spawn(answer(Arc::clone(&open), request_queue));
    tokio::spawn(answer(Arc::clone(&open), sample_queue));
    tokio::spawn(tell(open, first, teller));
    Ok(Source::new(SourceKind::Control, requests, samples, told))
}

struct Device {
    file: AsyncFd<File>,
    buffer: Vec<u8>,
    next_id: u32,
}

impl Device {
    fn open(open: &Opener) -> io::Result<Self> {
        Ok(Self {
            file: super::watched(open()?)?,
            buffer: vec![0; MAX_MESSAGE_BYTES],
            next_id: 1,
        })
    }

    async fn write(&mut self, body: RequestBody) -> io::Result<u32> {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        let bytes = Request { id, body }.to_cbor();
        self.file
            .async_io(Interest::WRITABLE, |mut file: &File| file.write(&bytes))
            .await?;
        Ok(id)
    }

    /// The next message; `None` for one that does not decode, which harms no other: the device keeps them apart.
    async fn read(&mut self) -> io::Result<Option<Message>> {
        let Self { file, buffer, .. } = self;
        let len = file
            .async_io(Interest::READABLE, |mut file: &File| file.read(buffer))
            .await?;
        if len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match Message::from_cbor(&buffer[..len]) {
            Ok(message) => Ok(Some(message)),
            Err(error) => {
                stderr::error(format_args!("control device: {error}"));
                Ok(None)
            }
        }
    }

    async fn ask(&mut self, body: RequestBody) -> io::Result<ResponseBody> {
        let asked = self.write(body).await?;
        loop {
            match self.read().await? {
                Some(Message::Response { id, body }) if id == asked => return Ok(body),
                _ => {}
            }
        }
    }
}

/// Answers requests one after the other; a device that fails or does not answer is opened again.
async fn answer(open: Arc<Opener>, mut queue: mpsc::Receiver<Asked>) {
    let mut device: Option<Device> = None;
    while let Some((body, answer)) = queue.recv().await {
        let taken = match device.take() {
            Some(device) => Ok(device),
            None => Device::open(&*open),
        };
        let reply = match taken {
            Err(error) => failure(
                ErrorCode::Internal,
                format!("the control device cannot be opened: {error}"),
            ),
            Ok(mut opened) => match tokio::time::timeout(PATIENCE, opened.ask(body)).await {
                Ok(Ok(reply)) => {
                    device = Some(opened);
                    reply
                }
                Ok(Err(error)) => failure(ErrorCode::Internal, format!("the control device failed: {error}")),
                Err(_) => failure(ErrorCode::TimedOut, "the kernel did not answer"),
            },
        };
        // Whoever asked may be gone.
        let _ = answer.send(reply);
    }
}

/// Passes on events for ever; after an error it goes on from the last one seen.
async fn tell(open: Arc<Opener>, first: Device, teller: mpsc::Sender<Told>) {
    let mut seen = 0;
    let mut device = Some(first);
    while !teller.is_closed() {
        let opened = match device.take() {
            Some(device) => Ok(device),
            None => Device::open(&*open),
        };
        let result = match opened {
            Ok(device) => tell_from(device, &mut seen, &teller).await,
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            stderr::error(format_args!("events of the control device: {error}"));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn tell_from(mut device: Device, seen: &mut u64, teller: &mpsc::Sender<Told>) -> io::Result<()> {
    device.write(RequestBody::Subscribe { after_seq: *seen }).await?;
    loop {
        let told = match device.read().await? {
            Some(Message::Event(event)) => {
                *seen = event.seq;
                Told::Event(Box::new(event))
            }
            Some(Message::Lost { count }) => Told::Lost(count),
            None => Told::Lost(1),
            Some(Message::Response {
                body: ResponseBody::Error(failure),
                ..
            }) => {
                return Err(io::Error::other(failure.message));
            }
            _ => continue,
        };
        if teller.send(told).await.is_err() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests;
