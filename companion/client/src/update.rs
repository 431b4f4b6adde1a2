//! Sending an update.

use quinn::{Connection, SendStream};
use sis_protocol::control::Failure;
use sis_protocol::wire::{Open, UpdateInput, UpdateOutput, UpdateStep, frame};

use crate::request::{Conversation, Frames, RequestError};

/// Bytes of a bundle in one frame.
const PIECE_BYTES: usize = 16 * 1024;

/// Why an update did not come to the board's restart.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// The connection was lost: the board may have gone on, and says so when it is asked.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The board says no; what ran goes on running.
    #[error("{0}")]
    Failed(Failure),
}

/// How it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// The bundle is one that the board takes.
    Accepted {
        /// The bundle's version.
        version: String,
        /// The version that runs.
        from_version: String,
        /// The slot that it goes into.
        slot: String,
    },
    /// What is done now.
    Progress {
        /// What.
        step: UpdateStep,
        /// Bytes done.
        done: u64,
        /// Bytes in all; 0 where nothing is counted.
        total: u64,
    },
    /// Last: it is on the card, and the board starts it.
    Restarting,
}

/// The half that sends the bundle.
pub struct Sender {
    connection: Connection,
    stream: SendStream,
}

/// The half that says how it goes; the board gives up when it has not the whole bundle and both halves are dropped.
pub struct Reports(Frames);

pub(crate) async fn start(connection: &Connection, may_downgrade: bool) -> Result<(Sender, Reports), UpdateError> {
    let (conversation, _) = Conversation::open(connection, &Open::Update { may_downgrade }, &[]).await?;
    let Conversation {
        connection,
        send,
        receive,
    } = conversation;
    let sender = Sender {
        connection,
        stream: send,
    };
    Ok((sender, Reports(receive)))
}

impl Sender {
    /// Sends the bundle's next bytes.
    ///
    /// # Errors
    /// [`UpdateError::Request`] when the connection is lost or the board takes no more: [`Reports`] says why.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), UpdateError> {
        for piece in bytes.chunks(PIECE_BYTES) {
            let sent = self
                .stream
                .write_all(&frame::encode(&UpdateInput::Bytes(piece.to_vec())))
                .await;
            sent.map_err(|error| RequestError::interrupted(&self.connection, &error))?;
        }
        Ok(())
    }

    /// That was all of it.
    pub fn finish(mut self) {
        // Finished twice, or the board is done with it: the same.
        let _ = self.stream.finish();
    }
}

impl Reports {
    /// The next report; nothing follows [`Report::Restarting`].
    ///
    /// # Errors
    /// [`UpdateError`].
    pub async fn next(&mut self) -> Result<Report, UpdateError> {
        loop {
            return match self.0.next(frame::Reader::next_open::<UpdateOutput>).await? {
                Some(UpdateOutput::Accepted {
                    version,
                    from_version,
                    slot,
                }) => Ok(Report::Accepted {
                    version,
                    from_version,
                    slot,
                }),
                Some(UpdateOutput::Progress { step, done, total }) => Ok(Report::Progress { step, done, total }),
                Some(UpdateOutput::Restarting) => Ok(Report::Restarting),
                Some(UpdateOutput::Failed(failure)) => Err(UpdateError::Failed(failure)),
                Some(_) => continue,
                None => Err(RequestError::Interrupted("the board ended the stream".to_owned()).into()),
            };
        }
    }
}
