//! Samples as datagrams while the stream is open.

use quinn::{Connection, SendDatagramError};
use sis_protocol::control::{ErrorCode, Failure};
use sis_protocol::wire::{Opened, split};

use super::{Stream, StreamError};
use crate::state::State;

pub(crate) async fn metrics(stream: &mut Stream, connection: &Connection, state: &State) -> Result<(), StreamError> {
    if connection.max_datagram_size().is_none() {
        let message = "this client does not take datagrams".to_owned();
        stream
            .refuse(Failure {
                code: ErrorCode::InvalidRequest,
                message,
            })
            .await;
        return Ok(());
    }
    stream.send(&Opened::Ready).await?;
    let mut samples = state.sampler.subscribe();
    let mut seq = 0;
    loop {
        tokio::select! {
            changed = samples.changed() => if changed.is_err() { return Ok(()) },
            _ = stream.send.stopped() => return Ok(()),
        }
        let Some(sample) = samples.borrow_and_update().clone() else {
            continue;
        };
        let Some(max_bytes) = connection.max_datagram_size() else {
            return Ok(());
        };
        seq += 1;
        let ts_ns = sample.ts_ns.unwrap_or_default();
        for datagram in split(seq, ts_ns, &sample, max_bytes) {
            match connection.send_datagram(datagram.into()) {
                // The path's limit fell in between: this sample is lost, which the next one's number shows.
                Ok(()) | Err(SendDatagramError::TooLarge) => {}
                Err(_) => return Ok(()),
            }
        }
    }
}
