//! A log from a cursor on, at the client's own pace.

use sis_protocol::control::{ErrorCode, Failure};
use sis_protocol::wire::{Cursor, EventFrame, Opened, Start, Topic};

use super::{Stream, StreamError};
use crate::log::Read;
use crate::state::State;

/// About so many bytes are copied out of the log at a time.
const BATCH_BYTES: usize = 16 * 1024;

pub(crate) async fn subscribe(
    stream: &mut Stream,
    state: &State,
    topic: Topic,
    start: Start,
) -> Result<(), StreamError> {
    let Some(log) = state.log(topic) else {
        let message = "this agent does not know that topic: update it".to_owned();
        stream
            .refuse(Failure {
                code: ErrorCode::Unsupported,
                message,
            })
            .await;
        return Ok(());
    };
    let mut watch = log.watch();
    let (oldest, head_seq) = log.range();
    let mut at = match start {
        Start::Oldest => oldest,
        Start::Newest(count) => head_seq.saturating_sub(u64::from(count)).max(oldest),
        Start::After(cursor) if cursor.epoch == state.epoch && (oldest..=head_seq).contains(&cursor.seq) => cursor.seq,
        Start::After(_) => {
            stream.send(&Opened::Ready).await?;
            return stale(stream, state, oldest, head_seq).await;
        }
        _ => {
            let message = "this agent does not know that way to start: update it".to_owned();
            stream
                .refuse(Failure {
                    code: ErrorCode::Unsupported,
                    message,
                })
                .await;
            return Ok(());
        }
    };
    stream.send(&Opened::Ready).await?;
    stream
        .send(&EventFrame::Started {
            after: Cursor {
                epoch: state.epoch,
                seq: at,
            },
            head_seq,
        })
        .await?;
    loop {
        watch.mark_unchanged();
        match log.read(at, BATCH_BYTES) {
            Read::Frames { bytes, last_seq } => {
                stream.send_bytes(&bytes).await?;
                at = last_seq;
            }
            Read::Stale => {
                let (oldest, head_seq) = log.range();
                return stale(stream, state, oldest, head_seq).await;
            }
            Read::UpToDate => tokio::select! {
                changed = watch.changed() => if changed.is_err() { return Ok(()) },
                _ = stream.send.stopped() => return Ok(()),
            },
        }
    }
}

async fn stale(stream: &mut Stream, state: &State, oldest: u64, head_seq: u64) -> Result<(), StreamError> {
    let oldest = Cursor {
        epoch: state.epoch,
        seq: oldest,
    };
    stream.send(&EventFrame::StaleCursor { oldest, head_seq }).await?;
    stream.finish();
    Ok(())
}
