//! The kernel's control device, `/dev/sis`: one request written, messages read until its answer comes.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use sis_protocol::control::{Failure, MAX_MESSAGE_BYTES, Message, Request, RequestBody, ResponseBody};

const DEVICE: &str = "/dev/sis";
/// How long the kernel may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum AskError {
    /// The device cannot be opened.
    Open(io::Error),
    /// The request cannot be written.
    Write(io::Error),
    /// The answer cannot be read.
    Read(io::Error),
    /// What was read is no message.
    Decode(String),
    /// No answer in time.
    TimedOut,
    /// The kernel refuses.
    Refused(Failure),
    /// The kernel answers something else than was asked.
    Unexpected,
}

impl std::fmt::Display for AskError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Open(e) if e.kind() == io::ErrorKind::NotFound => {
                write!(
                    f,
                    "this kernel has no control device ({DEVICE}): it is not a SIS kernel"
                )
            }
            Self::Open(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                write!(f, "{DEVICE} is for root: {e}")
            }
            Self::Open(e) => write!(f, "cannot open {DEVICE}: {e}"),
            Self::Write(e) => write!(f, "the kernel did not take the request: {e}"),
            Self::Read(e) => write!(f, "cannot read the kernel's answer: {e}"),
            Self::Decode(e) => write!(f, "the kernel's answer is not understood: {e}; update the shell"),
            Self::TimedOut => write!(f, "the kernel did not answer within {} s", ANSWER_LIMIT.as_secs()),
            Self::Refused(failure) => write!(f, "{failure}"),
            Self::Unexpected => f.write_str("the kernel answered something else than was asked; update the shell"),
        }
    }
}

/// Asks the kernel one thing.
pub(crate) fn ask(body: RequestBody) -> Result<ResponseBody, AskError> {
    // Never waits in read(2): a kernel that does not answer costs a message, not the console.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags)
        .open(DEVICE);
    ask_over(device.map_err(AskError::Open)?, body)
}

fn ask_over(mut device: File, body: RequestBody) -> Result<ResponseBody, AskError> {
    let id = 1;
    let bytes = Request { id, body }.to_cbor();
    let written = device.write(&bytes).map_err(AskError::Write)?;
    if written != bytes.len() {
        return Err(AskError::Write(io::ErrorKind::WriteZero.into()));
    }
    let end = Instant::now() + ANSWER_LIMIT;
    let mut buffer = vec![0; MAX_MESSAGE_BYTES];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(AskError::TimedOut);
        }
        let timeout = Timespec::try_from(left).ok();
        if let Err(error) = poll(&mut [PollFd::new(&device, PollFlags::IN)], timeout.as_ref())
            && error != rustix::io::Errno::INTR
        {
            return Err(AskError::Read(error.into()));
        }
        let length = match device.read(&mut buffer) {
            Ok(0) => return Err(AskError::Read(io::ErrorKind::UnexpectedEof.into())),
            Ok(length) => length,
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => continue,
            Err(e) => return Err(AskError::Read(e)),
        };
        let message = buffer.get(..length).map(Message::from_cbor);
        match message
            .ok_or(AskError::Unexpected)?
            .map_err(|e| AskError::Decode(e.to_string()))?
        {
            Message::Response {
                id: of,
                body: ResponseBody::Error(failure),
            } if of == id => {
                return Err(AskError::Refused(failure));
            }
            Message::Response { id: of, body } if of == id => return Ok(body),
            // Events belong to subscribers, other answers to requests before ours; neither is ours.
            _ => {}
        }
    }
}
