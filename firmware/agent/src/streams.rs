//! What a stream does once its purpose is known.

mod exec;
mod metrics;
mod requests;
mod subscribe;
mod update;

use minicbor::{Decode, Encode};
use quinn::{RecvStream, SendStream};
use sis_protocol::codec::{DecodeError, Unknown};
use sis_protocol::control::{ErrorCode, Failure};
use sis_protocol::pairing::{Permission, Role};
use sis_protocol::wire::{Opened, frame};

pub(crate) use exec::{EXEC_PATH, exec};
pub(crate) use metrics::metrics;
pub(crate) use requests::requests;
pub(crate) use subscribe::subscribe;
pub(crate) use update::update;

/// Why a stream ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    /// The client did not keep to the protocol: the whole connection ends.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// The client gave the stream up, or is gone itself.
    #[error("the client is gone")]
    Gone,
}

/// Frames both ways.
pub(crate) struct Stream {
    pub(crate) send: SendStream,
    pub(crate) receive: Receiver,
}

/// Frames from the client.
pub(crate) struct Receiver {
    stream: RecvStream,
    reader: frame::Reader,
}

impl Receiver {
    /// The next frame, `None` at the end of the stream. Safe to cancel.
    async fn next<T>(
        &mut self,
        decode: impl Fn(&mut frame::Reader) -> Result<Option<T>, DecodeError>,
    ) -> Result<Option<T>, StreamError> {
        loop {
            if let Some(value) = decode(&mut self.reader)? {
                return Ok(Some(value));
            }
            match self.stream.read_chunk(4096, true).await {
                Ok(Some(chunk)) => self.reader.feed(&chunk.bytes),
                Ok(None) => return Ok(None),
                Err(_) => return Err(StreamError::Gone),
            }
        }
    }
}

impl Stream {
    pub(crate) const fn new(send: SendStream, stream: RecvStream, max_frame_bytes: usize) -> Self {
        Self {
            send,
            receive: Receiver {
                stream,
                reader: frame::Reader::new(max_frame_bytes),
            },
        }
    }

    pub(crate) async fn next_open<T: for<'b> Decode<'b, ()> + Unknown>(&mut self) -> Result<Option<T>, StreamError> {
        self.receive.next(frame::Reader::next_open).await
    }

    pub(crate) async fn next_item<T: for<'b> Decode<'b, ()>>(&mut self) -> Result<Option<T>, StreamError> {
        self.receive.next(frame::Reader::next_item).await
    }

    pub(crate) async fn send<T: Encode<()>>(&mut self, value: &T) -> Result<(), StreamError> {
        self.send_bytes(&frame::encode(value)).await
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), StreamError> {
        self.send.write_all(bytes).await.map_err(|_| StreamError::Gone)
    }

    pub(crate) fn finish(&mut self) {
        // Finished twice or stopped by the client: the same.
        let _ = self.send.finish();
    }

    /// Says no and ends the stream.
    pub(crate) async fn refuse(&mut self, failure: Failure) {
        if self.send(&Opened::Refused(failure)).await.is_ok() {
            self.finish();
        }
    }
}

/// The answer to a role that does not reach.
pub(crate) fn forbidden(role: Role, missing: Permission) -> Failure {
    let needed = Role::ALL
        .into_iter()
        .find(|role| role.allows(missing))
        .unwrap_or(Role::Owner);
    let message = format!("this needs the role {needed}, and this client is paired as {role}");
    Failure {
        code: ErrorCode::Forbidden,
        message,
    }
}
