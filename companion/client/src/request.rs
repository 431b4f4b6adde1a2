//! One question, one answer, one stream.

use quinn::{Connection, ReadError, RecvStream, SendStream};
use sis_protocol::codec::DecodeError;
use sis_protocol::control::Failure;
use sis_protocol::wire::{
    AgentBody, AgentRequest, AgentResponse, AgentResponseBody, MAX_FRAME_BYTES, Open, Opened, frame,
};

use crate::client::WaitError;
use crate::endpoint;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The board is not connected.
    #[error(transparent)]
    Offline(#[from] WaitError),
    /// The connection was lost; whether it was carried out is not known.
    #[error("the connection was lost before the answer came: {0}")]
    Interrupted(String),
    /// The board says no.
    #[error("{0}")]
    Failed(Failure),
    /// What came is not an answer of this protocol.
    #[error("the board's answer cannot be read: {0}")]
    Malformed(#[from] DecodeError),
    /// An answer to something else, or of a newer version.
    #[error("the board's answer is not one that this version understands: update it")]
    UnexpectedAnswer,
}

impl RequestError {
    pub(crate) fn interrupted(connection: &Connection, what: &impl ToString) -> Self {
        let reason = connection
            .close_reason()
            .map_or_else(|| what.to_string(), |why| endpoint::disconnect(&why).reason);
        Self::Interrupted(reason)
    }
}

/// One stream, after the board has let it be opened.
pub(crate) struct Conversation {
    pub(crate) connection: Connection,
    pub(crate) send: SendStream,
    pub(crate) receive: Frames,
}

/// Frames off a stream.
pub(crate) struct Frames {
    connection: Connection,
    stream: RecvStream,
    reader: frame::Reader,
}

impl Frames {
    pub(crate) const fn new(connection: Connection, stream: RecvStream) -> Self {
        Self {
            connection,
            stream,
            reader: frame::Reader::new(MAX_FRAME_BYTES),
        }
    }

    /// The next frame, taken by `decode` from the reader; `None` at the end of the stream.
    pub(crate) async fn next<T>(
        &mut self,
        decode: impl Fn(&mut frame::Reader) -> Result<Option<T>, DecodeError>,
    ) -> Result<Option<T>, RequestError> {
        loop {
            if let Some(value) = decode(&mut self.reader)? {
                return Ok(Some(value));
            }
            match self.stream.read_chunk(16 * 1024, true).await {
                Ok(Some(chunk)) => self.reader.feed(&chunk.bytes),
                Ok(None) => return Ok(None),
                Err(ReadError::Reset(_)) => return Err(RequestError::Interrupted("the board gave it up".to_owned())),
                Err(error) => return Err(RequestError::interrupted(&self.connection, &error)),
            }
        }
    }
}

impl Conversation {
    /// Opens a stream and reads whether it may be.
    pub(crate) async fn open(
        connection: &Connection,
        open: &Open,
        more: &[u8],
    ) -> Result<(Self, Opened), RequestError> {
        let interrupted = |error: &dyn ToString| RequestError::interrupted(connection, &error.to_string());
        let (mut send, receive) = connection.open_bi().await.map_err(|error| interrupted(&error))?;
        let mut bytes = frame::encode(open);
        bytes.extend_from_slice(more);
        send.write_all(&bytes).await.map_err(|error| interrupted(&error))?;
        let mut receive = Frames::new(connection.clone(), receive);
        let opened = receive.next(frame::Reader::next_open::<Opened>).await?;
        match opened.ok_or_else(|| RequestError::Interrupted("the board ended the stream".to_owned()))? {
            Opened::Refused(failure) => Err(RequestError::Failed(failure)),
            opened => Ok((
                Self {
                    connection: connection.clone(),
                    send,
                    receive,
                },
                opened,
            )),
        }
    }
}

pub(crate) async fn ask(connection: &Connection, body: AgentBody) -> Result<AgentResponseBody, RequestError> {
    let question = frame::encode(&AgentRequest { id: 1, body });
    let (mut stream, _) = Conversation::open(connection, &Open::Requests, &question).await?;
    // A stream that is already closed by the board has its answer on the way.
    let _ = stream.send.finish();
    let answer = stream.receive.next(frame::Reader::next_item::<AgentResponse>).await?;
    match answer
        .ok_or_else(|| RequestError::Interrupted("the board ended the stream".to_owned()))?
        .body
    {
        AgentResponseBody::Error(failure) => Err(RequestError::Failed(failure)),
        AgentResponseBody::Unknown => Err(RequestError::UnexpectedAnswer),
        body => Ok(body),
    }
}
