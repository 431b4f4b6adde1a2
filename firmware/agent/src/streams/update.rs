//! A bundle from a client, and the client told how it goes.

use std::sync::Arc;

use sis_protocol::wire::{Opened, UpdateInput, UpdateOutput};
use tokio::sync::mpsc;

use super::{Stream, StreamError};
use crate::paired::Client;
use crate::state::State;
use crate::update::{self, Input};

/// Pieces of the bundle that wait to be stored, and lines that wait to be told.
const QUEUE: usize = 4;
const TOLD: usize = 64;

pub(crate) async fn update(
    mut stream: Stream,
    state: &Arc<State>,
    client: &Client,
    may_downgrade: bool,
) -> Result<(), StreamError> {
    let begun = match update::begin(state) {
        Ok(begun) => begun,
        Err(failure) => {
            stream.refuse(failure).await;
            return Ok(());
        }
    };
    stream.send(&Opened::Ready).await?;
    let (pieces, input) = mpsc::channel(QUEUE);
    let (tell, mut told) = mpsc::channel(TOLD);
    let by = client.name.clone();
    // Goes on when this stream is gone: what was received whole is installed.
    drop(tokio::task::spawn_blocking(move || {
        update::run(begun, &by, may_downgrade, input, &tell)
    }));
    let Stream { mut send, mut receive } = stream;
    let forward = async move {
        while let Some(input) = receive
            .next(sis_protocol::wire::frame::Reader::next_open::<UpdateInput>)
            .await?
        {
            // The update has ended early: it says why.
            if let UpdateInput::Bytes(bytes) = input
                && pieces.send(Input::Bytes(bytes)).await.is_err()
            {
                return Ok::<(), StreamError>(());
            }
        }
        let _ = pieces.send(Input::End).await;
        Ok(())
    };
    let answer = async move {
        while let Some(output) = told.recv().await {
            let frame = sis_protocol::wire::frame::encode(&output);
            send.write_all(&frame).await.map_err(|_| StreamError::Gone)?;
            if matches!(output, UpdateOutput::Restarting | UpdateOutput::Failed(_)) {
                break;
            }
        }
        let _ = send.finish();
        Ok(())
    };
    tokio::pin!(forward);
    tokio::pin!(answer);
    let mut is_sent = false;
    loop {
        tokio::select! {
            sent = &mut forward, if !is_sent => { sent?; is_sent = true; }
            answered = &mut answer => return answered,
        }
    }
}
