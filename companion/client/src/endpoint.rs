//! QUIC endpoints and connections to a board whose key is known.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, IdleTimeout, TransportConfig, VarInt};
use sis_identity::Identity;
use sis_protocol::pairing::KeyHash;
use sis_protocol::wire::CloseCode;

use crate::client::ConnectError;
use crate::session::Disconnect;

/// Without a packet for so long the board is gone.
const IDLE_TIMEOUT_MS: u32 = 12_000;
/// So often something is sent when there is nothing to say.
const KEEP_ALIVE: Duration = Duration::from_secs(3);
/// An address that has not answered the handshake by then is passed over.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(8);

/// For the last packet of a connection; when that is lost the board notices by the idle time-out.
const FLUSH: Duration = Duration::from_millis(50);

/// The TLS and transport settings for one board.
pub(crate) fn client_config(identity: &Identity, board: KeyHash) -> Result<ClientConfig, ConnectError> {
    let tls = sis_identity::client_config(identity, board)?;
    let tls = QuicClientConfig::try_from(tls).map_err(|error| ConnectError::Setup(error.to_string()))?;
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(Some(256 * 1024));
    let mut config = ClientConfig::new(Arc::new(tls));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

/// Connects to the first address that answers.
pub(crate) async fn connect(
    config: &ClientConfig,
    addresses: &[SocketAddr],
) -> Result<(Endpoint, Connection), Disconnect> {
    let mut last = Disconnect {
        code: None,
        reason: "no address is known for this board".to_owned(),
    };
    for address in addresses {
        match connect_one(config, *address).await {
            Ok(connected) => return Ok(connected),
            // The board itself has spoken: the other addresses are the same board.
            Err(why) if why.code.is_some() => return Err(why),
            Err(why) => last = why,
        }
    }
    Err(last)
}

async fn connect_one(config: &ClientConfig, address: SocketAddr) -> Result<(Endpoint, Connection), Disconnect> {
    let failed = |reason: String| Disconnect {
        code: None,
        reason: format!("{address}: {reason}"),
    };
    let local: IpAddr = if address.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let endpoint = Endpoint::client(SocketAddr::new(local, 0)).map_err(|error| failed(error.to_string()))?;
    // The name is not looked at: the key is.
    let connecting = endpoint
        .connect_with(config.clone(), address, "sis")
        .map_err(|error| failed(error.to_string()))?;
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, connecting).await {
        Ok(Ok(connection)) => Ok((endpoint, connection)),
        Ok(Err(error)) => {
            let why = disconnect(&error);
            Err(Disconnect {
                reason: format!("{address}: {}", why.reason),
                ..why
            })
        }
        Err(_) => Err(failed(format!("no answer within {} s", HANDSHAKE_TIMEOUT.as_secs()))),
    }
}

/// Lets a close that was asked for reach the other side, without waiting for it for long.
pub(crate) async fn flush(endpoint: &Endpoint) {
    let _ = tokio::time::timeout(FLUSH, endpoint.wait_idle()).await;
}

/// What the end of a connection means.
pub(crate) fn disconnect(error: &ConnectionError) -> Disconnect {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            let code = close.error_code.into_inner();
            let mut reason = String::from_utf8_lossy(&close.reason).into_owned();
            if reason.is_empty() {
                reason = match CloseCode::from_code(code) {
                    Some(CloseCode::Done | CloseCode::ShuttingDown) => "the board closed the connection".to_owned(),
                    Some(meaning) => format!("the board closed the connection: {meaning:?}"),
                    None => format!("the board closed the connection with code {code}"),
                };
            }
            Disconnect {
                code: Some(code),
                reason,
            }
        }
        ConnectionError::TimedOut => Disconnect {
            code: None,
            reason: "the board is no longer heard".to_owned(),
        },
        // RFC 9001 section 4.8 with RFC 8446 alert 50: what our own verifier answers to a key that is not the pinned one.
        ConnectionError::TransportError(error) if error.to_string().contains("certificate") => Disconnect {
            code: None,
            reason: "the board shows another key than the one paired with; pair again if it was set up anew".to_owned(),
        },
        other => Disconnect {
            code: None,
            reason: other.to_string(),
        },
    }
}
