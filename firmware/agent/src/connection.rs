//! One client: who it is, and what it may open.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, Incoming, RecvStream, SendStream, VarInt};
use rustls::pki_types::CertificateDer;
use sis_identity::key_hash_of;
use sis_protocol::control::{ErrorCode, Failure};
use sis_protocol::hello::{self, Hello};
use sis_protocol::pairing::{KeyHash, required};
use sis_protocol::wire::{CloseCode, MAX_CLIENT_FRAME_BYTES, Open, Opened};
use tokio::task::JoinSet;

use crate::paired::Client;
use crate::state::{PairError, State};
use crate::stderr;
use crate::streams::{self, Stream};
use crate::tokens::RedeemError;

/// A handshake takes no longer.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
/// A client that is not paired has so long to show a token.
const PAIRING_PATIENCE: Duration = Duration::from_secs(20);
/// A stream has so long to say what it is for.
const OPEN_PATIENCE: Duration = Duration::from_secs(10);
/// Streams a paired client may have open.
const MAX_STREAMS: u32 = 64;
/// An unpaired client's one frame is no longer.
const MAX_PAIR_FRAME_BYTES: usize = 1024;

/// From the first packet to the last.
pub(crate) async fn serve(incoming: Incoming, state: &Arc<State>) {
    let from = incoming.remote_address();
    let Ok(connecting) = incoming.accept() else { return };
    let Ok(Ok(connection)) = tokio::time::timeout(HANDSHAKE_PATIENCE, connecting).await else {
        return;
    };
    let Some(key) = peer_key(&connection) else {
        close(
            &connection,
            CloseCode::NoCertificate,
            "This board only speaks to clients that show a certificate; use `sisctl pair`.",
        );
        return;
    };
    let client = match state.find_client(key) {
        Some(client) => client,
        None => {
            let Some(_stranger) = state.enter_stranger() else {
                close(
                    &connection,
                    CloseCode::Busy,
                    "Too many clients that are not paired: try again in a while.",
                );
                return;
            };
            match pair(&connection, state, key, from).await {
                Some(client) => client,
                None => return,
            }
        }
    };
    talk(&connection, state, client).await;
}

fn close(connection: &Connection, code: CloseCode, sentence: &str) {
    connection.close(VarInt::from_u32(code.code()), sentence.as_bytes());
}

fn peer_key(connection: &Connection) -> Option<KeyHash> {
    let certificates = connection
        .peer_identity()?
        .downcast::<Vec<CertificateDer<'static>>>()
        .ok()?;
    key_hash_of(certificates.first()?)
}

/// The one thing that an unknown key can do.
async fn pair(connection: &Connection, state: &State, key: KeyHash, from: SocketAddr) -> Option<Client> {
    let not_paired = "This key is not paired with this board: run `pair` on the board's console and `sisctl pair` with the code it shows.";
    let first = async {
        let (send, receive) = connection.accept_bi().await.ok()?;
        let mut stream = Stream::new(send, receive, MAX_PAIR_FRAME_BYTES);
        let open = stream.next_open::<Open>().await.ok()??;
        Some((stream, open))
    };
    let Ok(Some((mut stream, Open::Pair { token, name, hello }))) = tokio::time::timeout(PAIRING_PATIENCE, first).await
    else {
        close(connection, CloseCode::NotPaired, not_paired);
        return None;
    };
    if let Err(sentence) = hello::check(&hello) {
        close(connection, CloseCode::VersionMismatch, &sentence);
        return None;
    }
    match state.pair(&token, from, key, &name) {
        Ok(client) => {
            stderr::info(format_args!("paired {} as {} from {from}", client.name, client.role));
            let welcome = Opened::Welcome(state.welcome(&client));
            // The client is paired whether or not it hears of it: it can connect.
            if stream.send(&welcome).await.is_ok() {
                stream.finish();
            }
            Some(client)
        }
        Err(error) => {
            stderr::info(format_args!("pairing from {from} refused: {error}"));
            let code = match error {
                PairError::Token(RedeemError::TooManyAttempts) => CloseCode::Busy,
                _ => CloseCode::PairingRefused,
            };
            close(connection, code, &error.to_string());
            None
        }
    }
}

/// A client that is paired pairs once more: with another name or role, or because it does not know that the board kept its key. What
/// this connection may do stays as it was.
async fn pair_again(
    connection: &Connection,
    stream: &mut Stream,
    state: &State,
    client: &Client,
    token: &[u8],
    name: &str,
    hello: &Hello,
) {
    if let Err(sentence) = hello::check(hello) {
        close(connection, CloseCode::VersionMismatch, &sentence);
        return;
    }
    match state.pair(token, connection.remote_address(), client.key, name) {
        Ok(client) => {
            stderr::info(format_args!("paired {} as {} once more", client.name, client.role));
            if stream.send(&Opened::Welcome(state.welcome(&client))).await.is_ok() {
                stream.finish();
            }
        }
        Err(error) => {
            let failure = Failure {
                code: ErrorCode::Forbidden,
                message: error.to_string(),
            };
            stream.refuse(failure).await;
        }
    }
}

async fn talk(connection: &Connection, state: &Arc<State>, client: Client) {
    connection.set_max_concurrent_bi_streams(VarInt::from_u32(MAX_STREAMS));
    let Some(_entered) = state.enter(client.key, connection.clone()) else {
        close(
            connection,
            CloseCode::Busy,
            "This client has too many connections to this board: close one.",
        );
        return;
    };
    // Unpaired between the look-up and the entry: not found there, so looked for again here.
    if state.find_client(client.key).is_none() {
        close(
            connection,
            CloseCode::NotPaired,
            "This key was unpaired from the board.",
        );
        return;
    }
    let client = Arc::new(client);
    // Dropped when the connection ends, and every stream's task with it.
    let mut streams = JoinSet::new();
    loop {
        let Ok((send, receive)) = connection.accept_bi().await else {
            return;
        };
        while streams.try_join_next().is_some() {}
        let (connection, state, client) = (connection.clone(), Arc::clone(state), Arc::clone(&client));
        streams.spawn(async move { serve_stream(&connection, &state, &client, send, receive).await });
    }
}

async fn serve_stream(
    connection: &Connection,
    state: &Arc<State>,
    client: &Client,
    send: SendStream,
    receive: RecvStream,
) {
    let mut stream = Stream::new(send, receive, MAX_CLIENT_FRAME_BYTES);
    let open = match tokio::time::timeout(OPEN_PATIENCE, stream.next_open::<Open>()).await {
        Ok(Ok(Some(open))) => open,
        // Nothing was asked, or the connection is gone.
        Ok(Ok(None) | Err(streams::StreamError::Gone)) | Err(_) => return,
        Ok(Err(streams::StreamError::Malformed(error))) => {
            close(connection, CloseCode::ProtocolError, &error.to_string());
            return;
        }
    };
    if let Err(permission) = required(client.role, &open) {
        stream.refuse(streams::forbidden(client.role, permission)).await;
        return;
    }
    let ended = match open {
        Open::Hello(hello) => {
            if let Err(sentence) = hello::check(&hello) {
                close(connection, CloseCode::VersionMismatch, &sentence);
                return;
            }
            // The role may have changed since the connection was made only by pairing anew, which is another connection.
            let welcome = stream.send(&Opened::Welcome(state.welcome(client))).await;
            stream.finish();
            welcome
        }
        Open::Requests => streams::requests(&mut stream, state, client).await,
        Open::Subscribe { topic, start } => streams::subscribe(&mut stream, state, topic, start).await,
        Open::Exec(command) => streams::exec(stream, state, client, command).await,
        Open::Metrics => streams::metrics(&mut stream, connection, state).await,
        Open::Update { may_downgrade } => streams::update(stream, state, client, may_downgrade).await,
        Open::Pair { token, name, hello } => {
            pair_again(connection, &mut stream, state, client, &token, &name, &hello).await;
            return;
        }
        _ => {
            let message = "this agent does not know that kind of stream: update it".to_owned();
            stream
                .refuse(Failure {
                    code: ErrorCode::Unsupported,
                    message,
                })
                .await;
            return;
        }
    };
    if let Err(streams::StreamError::Malformed(error)) = ended {
        close(connection, CloseCode::ProtocolError, &error.to_string());
    }
}
