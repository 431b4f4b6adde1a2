//! Pairing with a board by the code that it shows.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sis_identity::Identity;
use sis_protocol::hello::{self, Hello};
use sis_protocol::pairing::PairLink;
use sis_protocol::wire::{CloseCode, Open, Opened};

use crate::client::ConnectError;
use crate::endpoint;
use crate::request::{Conversation, RequestError};
use crate::session::Disconnect;
use crate::store::PairedBoard;

const PATIENCE: Duration = Duration::from_secs(20);

/// Why pairing did not come about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PairError {
    /// The library refused; not expected.
    #[error(transparent)]
    Setup(#[from] ConnectError),
    /// No address of the code answers.
    #[error("the board is not reached: {0}")]
    Unreachable(String),
    /// The board says no: the token is wrong, used or expired.
    #[error("the board refuses to pair: {0}")]
    Refused(String),
    /// The board speaks another major version.
    #[error("{0}")]
    Version(String),
    /// The connection was lost on the way; ask the board for a new code.
    #[error("pairing was interrupted ({0}): ask the board for a new code")]
    Interrupted(String),
}

/// Shows the board `link`'s token over a connection to its key, so that it keeps this host's key. The addresses in `instead` are used in
/// place of the link's when there are any (a forwarded port); `client_name` is what the board will call this host.
///
/// # Errors
/// [`PairError`].
pub async fn pair(
    link: &PairLink,
    instead: &[SocketAddr],
    identity: &Identity,
    client_name: &str,
) -> Result<PairedBoard, PairError> {
    let addresses = if instead.is_empty() {
        link.addresses.as_slice()
    } else {
        instead
    };
    let config = endpoint::client_config(identity, link.key)?;
    let (endpoint, connection) = endpoint::connect(&config, addresses)
        .await
        .map_err(|why| PairError::Unreachable(why.reason))?;
    let open = Open::Pair {
        token: link.token.to_vec(),
        name: client_name.to_owned(),
        hello: Hello::new(concat!("sis-client ", env!("CARGO_PKG_VERSION"))),
    };
    let reached = connection.remote_address();
    let asked = tokio::time::timeout(PATIENCE, Conversation::open(&connection, &open, &[])).await;
    let opened = match asked {
        Err(_) => return Err(PairError::Interrupted("no answer".to_owned())),
        Ok(Ok((_, opened))) => opened,
        Ok(Err(RequestError::Failed(failure))) => return Err(PairError::Refused(failure.message)),
        Ok(Err(error)) => {
            // The refusal may be the connection's end itself.
            return Err(match connection.close_reason().map(|why| endpoint::disconnect(&why)) {
                Some(Disconnect { code: Some(_), reason }) => PairError::Refused(reason),
                _ => PairError::Interrupted(error.to_string()),
            });
        }
    };
    let Opened::Welcome(welcome) = opened else {
        return Err(PairError::Interrupted("the board answered something else".to_owned()));
    };
    connection.close(CloseCode::Done.code().into(), b"");
    endpoint::flush(&endpoint).await;
    hello::check(&welcome.hello).map_err(PairError::Version)?;
    let mut known = addresses.to_vec();
    known.sort_by_key(|address| *address != reached);
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(PairedBoard {
        name: link
            .name
            .clone()
            .or(welcome.hello.name)
            .unwrap_or_else(|| "board".to_owned()),
        key: link.key,
        addresses: known,
        role: welcome.role,
        paired_ms: u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX),
    })
}
